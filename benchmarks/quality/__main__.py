"""Calibrate the quality of slices on simulated cines, sound and spoiled, and test it on others.

    python -m benchmarks.quality

Writes results.md beside this file and the calibration that is shipped with the package, or both to --out. Analyzed
cines stay in the work folder and are used again as long as the code and the weights that made them are the same, so
that a run that was interrupted goes on where it was.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks.made_by import PACKAGE, made_by
from benchmarks.quality.cases import CALIBRATION, SEEDS, CaseKey, collect
from benchmarks.quality.fit import fit_calibration
from benchmarks.quality.table import results_markdown
from benchmarks.quality.true_errors import judge_case
from tagstrain.inference.models import DEFAULT_TRACKER, load_models

HERE = Path(__file__).parent
NUMBERS = {"calibration": 216, "test": 108, "held back": 39, "second generator": 10}
ASSET = PACKAGE / "quality" / "assets" / "calibration.json"


def main() -> None:
    """Make the cases, fit, test, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, number in NUMBERS.items():
        parser.add_argument(_option(name), type=int, default=number, help=f"slices of the set '{name}'")
    parser.add_argument("--processes", type=int, default=2, help="workers, one core each")
    parser.add_argument("--work", type=Path, default=Path("build/quality"), help="folder for analyzed cines")
    parser.add_argument("--out", type=Path, help="folder for results.md and calibration.json of a trial")
    options = parser.parse_args()
    results, asset = HERE / "results.md", ASSET
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        results, asset = options.out / results.name, options.out / asset.name
    numbers = {name: getattr(options, name.replace(" ", "_")) for name in SEEDS}
    keys = [CaseKey(name, index) for name, n in numbers.items() for index in range(n)]
    weights = dict(load_models(device="cpu").provenance.weights)
    own_sources = [HERE / name for name in ("cases.py", "corruption.py", "shown_cine.py")]
    drawn_by = ("settings", "second_case", "second_generator", "annulus_motion", "spamm_bloch")
    own_sources += [HERE.parent / "accuracy" / f"{name}.py" for name in drawn_by]
    own_sources.append(PACKAGE / "quality" / "second_opinion.py")
    work = options.work / made_by(own_sources, weights)
    failed: list[CaseKey] = []
    judged = []
    for key, case in zip(keys, collect(keys, work, options.processes), strict=True):
        measured = judge_case(case)
        if measured is None:
            failed.append(key)
        else:
            judged.append(measured)
    fitted = [case for case in judged if case.set_name == CALIBRATION]
    judging = {name: weights[name] for name in ("localizer", "tracker", "placer")}
    calibration = fit_calibration(fitted, DEFAULT_TRACKER.value, judging)
    asset.write_text(json.dumps(calibration.to_json(), indent=1) + "\n")
    command = " ".join(["python -m benchmarks.quality", *(f"{_option(k)} {n}" for k, n in numbers.items())])
    text = results_markdown(judged, failed, calibration, command)
    results.write_text(text)
    print(text)


def _option(set_name: str) -> str:
    """Option that says how many slices of a set."""
    return "--" + set_name.replace(" ", "-")


if __name__ == "__main__":
    main()
