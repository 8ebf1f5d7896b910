"""Trackers side by side on simulated cines that training never draws from, all given the true ED points.

    python -m benchmarks.accuracy --number-a 48 --number-b 6 --number-c 32

Writes results.md and results.json beside this file. Cines and trajectories stay in the work folder and are used again
as long as the code and the weights that made them are the same. To judge a method that is not part of tagstrain, make
the test files with --prepare, write one prediction file for each under the same name into a folder, and give it with
--also NAME=FOLDER.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

import tagstrain
from benchmarks.accuracy.methods import METHODS, Method, Timed, load_methods
from benchmarks.accuracy.table import Row, failed_and_seconds, write_results
from benchmarks.accuracy.test_sets import ALL_SETTINGS, SETS, TestFile, test_files
from tagstrain.errors import TagstrainError
from tagstrain.inference.track_rows import row_shape, track_given_rows
from tagstrain.io.hdf5 import LandmarkFile, LandmarkFileWriter
from tagstrain.report.evaluation import evaluate_pooled

HERE = Path(__file__).parent
PACKAGE = Path(tagstrain.__file__).parent


def main(arguments: list[str] | None = None) -> int:
    """Make the cines, track them, write the table."""
    options = _options(arguments)
    torch.set_num_threads(1)  # seconds per slice are those of one core, for every method
    numbers = {"A": options.number_a, "B": options.number_b, "C": options.number_c}
    made_by = _digest([*HERE.glob("*.py"), *PACKAGE.glob("simulation/*.py")], exclude={"__main__", "methods", "table"})
    work: Path = options.work / made_by
    try:
        files = []
        for file in test_files(work / "truth", options.sets, numbers):
            print(f"{file.set_name} {file.setting}".strip(), f"({file.path})", flush=True)
            files.append(file)
        if options.prepare:
            return 0
        methods = load_methods(options.methods, options.rnncnn_weights, options.flow_weights)
        rows = []
        for method in methods:
            rows += _rows(method.name, files, _predictions(method, files, work), method)
        for name, given in options.also.items():
            rows += _rows(name, files, [_given(given, file) for file in files], Method(name, None, "not ours"))
    except TagstrainError as error:
        print(error, file=sys.stderr)
        return 2
    write_results(options.out, rows, methods, _command(sys.argv[1:] if arguments is None else arguments), numbers)
    print((options.out / "results.md").read_text())
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.accuracy",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    def names(known: Iterable[str]) -> object:
        def parse(text: str) -> tuple[str, ...]:
            asked = tuple(part.strip() for part in text.split(",") if part.strip())
            unknown = set(asked) - set(known)
            if unknown:
                raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: choose from {', '.join(known)}")
            return tuple(name for name in known if name in asked)

        return parse

    parser.add_argument("--sets", type=names(SETS), default=tuple(SETS), help="comma-separated: A,B,C")  # type: ignore[arg-type]
    parser.add_argument(
        "--methods",
        type=names(METHODS),  # type: ignore[arg-type]
        default=METHODS,
        help=f"comma-separated: {','.join(METHODS)}",
    )
    parser.add_argument("--number-a", type=int, default=48, help="cines of set A")
    parser.add_argument("--number-b", type=int, default=6, help="cines of each setting of set B")
    parser.add_argument("--number-c", type=int, default=32, help="cines of set C")
    parser.add_argument("--flow-weights", type=Path, help="safetensors file; the shipped weights unless given")
    parser.add_argument("--rnncnn-weights", type=Path, help="safetensors file; the shipped weights unless given")
    parser.add_argument(
        "--also",
        action="append",
        default=[],
        metavar="NAME=FOLDER",
        help="predictions of another method, one file per test file and named like it; or one FILE.h5 for one test "
        "file; can be given several times",
    )
    parser.add_argument("--prepare", action="store_true", help="make the test files and stop")
    parser.add_argument("--work", type=Path, default=Path("build/accuracy"), help="folder for cines and trajectories")
    parser.add_argument("--out", type=Path, default=HERE, help="folder for results.md and results.json")
    options = parser.parse_args(arguments)
    if min(options.number_a, options.number_b, options.number_c) < 1:
        parser.error("numbers of cines must be at least 1")
    if any("=" not in text for text in options.also):
        parser.error("--also expects NAME=FOLDER or NAME=FILE.h5")
    options.also = {name: Path(path) for name, path in (text.split("=", 1) for text in options.also)}
    return options


def _command(arguments: list[str]) -> str:
    """The command as it is published: files by their names, since folders are a matter of the machine."""
    shown = []
    for argument in arguments:
        label, sign, path = argument.rpartition("=")
        shown.append(label + sign + (Path(path).name if "/" in path else path))
    return " ".join(["python -m benchmarks.accuracy", *(f"'{word}'" if " " in word else word for word in shown)])


def _digest(paths: Iterable[Path], exclude: Iterable[str] = ()) -> str:
    """Short hash of source files."""
    digest = hashlib.sha256()
    for path in sorted(p for p in paths if p.stem not in exclude):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:10]


def _predictions(method: Method, files: list[TestFile], work: Path) -> list[Path | None]:
    """Prediction file of every test file, made where it is missing; None where the method cannot run."""
    if method.tracker is None:
        print(f"{method.name}: skipped. {method.skipped}", file=sys.stderr)
        return [None] * len(files)
    sources = [p for part in ("inference", "networks", "geometry") for p in (PACKAGE / part).glob("*.py")]
    code = _digest([*sources, HERE / "methods.py"])
    weights = hashlib.sha256(method.weights.encode()).hexdigest()[:8]
    folder = work / f"{method.name.replace(' ', '_')}_{weights}_{code}"
    predictions: list[Path | None] = []
    for file in files:
        path = folder / file.path.name
        if not path.exists():
            print(method.name, file.path.stem, flush=True)
            _track(Timed(method.tracker), file.path, path)
        predictions.append(path)
    return predictions


def _track(tracker: Timed, truth: Path, path: Path) -> None:
    """Track every row; where a tracker gives up its points stay where they were, so that giving up gains nothing."""
    n_frames, n_points = row_shape(truth, given_ed=True)
    with LandmarkFileWriter(path, n_frames) as writer:
        given = LandmarkFile(truth)
        for index, row in enumerate(track_given_rows(truth, tracker)):
            start = given.row(index)
            seconds = tracker.seconds.pop() if tracker.seconds else np.nan  # a row may fail before it is tracked
            unknown = np.full((n_frames, n_points), np.nan)
            points, sigma = (
                (np.repeat(start.points_px[start.ed_frame][None], n_frames, axis=0), unknown)
                if row.tracks is None
                else (row.tracks.points_px, row.tracks.sigma_px)
            )
            writer.append(
                points,
                start.box,
                start.pixel_spacing_mm,
                start.ed_frame,
                start.es_frame,
                sigma_px=sigma,
                quality={"failed": float(row.tracks is None), "seconds": seconds},
            )


def _given(given: Path, file: TestFile) -> Path | None:
    """Somebody else's prediction for a test file; None where there is none."""
    path = given / file.path.name if given.is_dir() else given
    return path if path.exists() else None


def _rows(name: str, files: list[TestFile], predictions: list[Path | None], method: Method) -> list[Row]:
    """Rows of the table: each file, and the pool of each set that has several."""
    rows = []
    groups = [(file.set_name, file.setting, [file]) for file in files]
    for set_name in SETS:
        pool = [file for file in files if file.set_name == set_name]
        if len(pool) > 1:
            groups.append((set_name, ALL_SETTINGS, pool))
    found = dict(zip((file.path for file in files), predictions, strict=True))
    for set_name, setting, members in groups:
        pairs = [(file.path, found[file.path]) for file in members]
        known = [(truth, prediction) for truth, prediction in pairs if prediction is not None]
        if len(known) < len(pairs):
            reason = method.skipped or "no prediction file"
            rows.append(Row(set_name, setting, name, None, 0, None, reason))
        else:
            failed, seconds = failed_and_seconds([prediction for _, prediction in known])
            rows.append(Row(set_name, setting, name, evaluate_pooled(known), failed, seconds))
    return rows


if __name__ == "__main__":
    sys.exit(main())
