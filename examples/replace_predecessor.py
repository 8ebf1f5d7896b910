"""Drop-in for the step of a UK Biobank pipeline that ran the predecessor: three NIfTI files in, the same tables out.

    python examples/replace_predecessor.py SUBJECT... -o OUT

SUBJECT is a folder named by its eid that holds tag_1.nii.gz (base), tag_2.nii.gz (middle) and tag_3.nii.gz (apex).
OUT gets strain_tagged.csv with one line per subject, sorted by eid, and <eid>/timeseries/strain_tagged.npz; with the
folder of the subjects as OUT, the latter are where such a pipeline keeps them. Column names and keys are those of
that pipeline, including the one that says SAX and is not. Nothing is padded, truncated or left out: a value that
cannot be measured is an empty cell. Files among the subjects, such as the table of an earlier run, are skipped.
Exit codes: 0 all done, 1 usage error or results that cannot be written, 3 some slices failed.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import make_smoothing_spline
from scipy.signal import find_peaks

from tagstrain import analyze
from tagstrain.errors import InputError, TagstrainError
from tagstrain.inference.models import DEFAULT_TRACKER, Device, Models, TrackerName, load_models
from tagstrain.io import atomic_file

FILES = {"basal": "tag_1.nii.gz", "mid": "tag_2.nii.gz", "apical": "tag_3.nii.gz"}
LEVELS = (*FILES, "global")
MIN_SPLINE_FRAMES = 5


@dataclass(frozen=True, eq=False, slots=True)
class Curves:
    """Engineering strain of a slice or of all three [%], shortening negative, and when it was measured."""

    times_ms: NDArray[np.float64]
    circumferential_percent: NDArray[np.float64]
    """Mean of all rings."""
    radial_percent: NDArray[np.float64]


def measure_subject(folder: Path, models: Models) -> dict[str, Curves]:
    """Curves of the slices that could be measured; the others are named on stderr."""
    measured: dict[str, Curves] = {}
    for level, name in FILES.items():
        try:
            study = analyze(folder / name, models=models)
        except TagstrainError as error:
            print(f"Error: {folder.name}, {level}: {error}", file=sys.stderr)
            continue
        for failure in study.failures:
            print(f"Error: {folder.name}, {level}: {failure.reason}", file=sys.stderr)
        for result in study.slices[:1]:
            for warning in result.warnings:
                print(f"Warning: {folder.name}, {level}: {warning}", file=sys.stderr)
            strain = result.strain
            circumferential, radial = strain.circumferential_linear_mean, strain.radial_linear
            measured[level] = Curves(strain.frame_times_ms, 100 * circumferential, 100 * radial)
    if len(measured) == len(FILES):
        measured["global"] = mean_of_slices([measured[level] for level in FILES])
    return measured


def mean_of_slices(slices: Sequence[Curves]) -> Curves:
    """Plain mean of the slices' curves, at the first slice's times as far as all slices reach.

    Slices of one subject can differ in timing and in the number of frames; where they do, the others are
    interpolated linearly. Where they do not, this is the mean frame by frame.
    """
    # Slices start at slightly different times after the R wave; frame 0 is the reference of each.
    since_start = [curves.times_ms - curves.times_ms[0] for curves in slices]
    end_ms = min(times[-1] for times in since_start)
    kept = since_start[0] <= end_ms + 1e-6
    at_ms = since_start[0][kept]
    columns = [
        np.mean([np.interp(at_ms, t, getattr(c, name)) for t, c in zip(since_start, slices, strict=True)], axis=0)
        for name in ("circumferential_percent", "radial_percent")
    ]
    return Curves(slices[0].times_ms[kept], *columns)


def smoothed(times_ms: NDArray[np.float64], curve: NDArray[np.float64]) -> NDArray[np.float64]:
    """Curve smoothed as much as generalized cross-validation asks for, at the same times; needs no R.

    The pipeline calls R's ``fANCOVA::loess.as`` (local quadratic regression, its span chosen by GCV); this is a cubic
    smoothing spline, its penalty chosen by GCV. Both follow a smooth curve and average noise; single values differ,
    most at the ends, where the spline is straight. Fewer than 5 frames are returned as they are.
    """
    if len(curve) < MIN_SPLINE_FRAMES:
        return curve
    # SciPy searches the penalty in a range that suits points about 1 apart: time is counted in mean frame intervals.
    frames = (times_ms - times_ms[0]) / np.mean(np.diff(times_ms))
    return np.asarray(make_smoothing_spline(frames, curve)(frames))


def strain_rate_peaks(times_ms: NDArray[np.float64], strain: NDArray[np.float64]) -> tuple[float, float]:
    """Highest positive and deepest negative strain rate [1/s] of a curve of fractions; NaN where there is none.

    The last frame is left out. Time and strain are averaged over 3 neighbours; a peak is the greatest local extremum
    of the gradient, and its rate the slope of the averaged curve from 1 sample before it to 2 after (positive) or
    2 before to 2 after (negative). A peak too near an end for that does not count.
    """
    times_s = _mean_of_three(times_ms[:-1] / 1000)
    averaged = _mean_of_three(strain[:-1])
    if len(averaged) < 2:
        return np.nan, np.nan
    rate = np.gradient(averaged, times_s)
    found = []
    for signed, before in ((rate, 1), (-rate, 2)):
        peaks, properties = find_peaks(signed, height=0)
        peak = int(peaks[np.argmax(properties["peak_heights"])]) if len(peaks) else -1
        first, last = peak - before, peak + 2
        fits = first >= 0 and last < len(averaged)
        found.append((averaged[last] - averaged[first]) / (times_s[last] - times_s[first]) if fits else np.nan)
    return float(found[0]), float(found[1])


def features(measured: Mapping[str, Curves], rr_interval_ms: float | None = None) -> dict[str, float]:
    """Numbers of a subject by column name, NaN where one cannot be measured.

    Parameters
    ----------
    rr_interval_ms
        RR interval of the resting ECG, for the time-to-peak indices, NaN where the subject has none; None leaves the
        indices out of the table.
    """
    row: dict[str, float] = {}
    for level in LEVELS:
        curves = measured.get(level)
        row[f"Strain-Tagged: Circumferential strain ({level}) [%]"] = (
            np.nan if curves is None else curves.circumferential_percent.min()
        )
        row[f"Strain-Tagged: Radial strain ({level}) [%]"] = np.nan if curves is None else curves.radial_percent.max()
    for component, prefix in (("Circumferential", "Strain-SAX"), ("Radial", "Strain-Tagged")):  # sic, as expected there
        peak_percent = time_ms = systolic = diastolic = np.nan
        if "global" in measured:
            curves = measured["global"]
            curve = curves.circumferential_percent if component == "Circumferential" else curves.radial_percent
            size = np.abs(smoothed(curves.times_ms, curve))
            peak_percent, time_ms = size.max(), curves.times_ms[size.argmax()] - curves.times_ms[0]
            positive, negative = strain_rate_peaks(curves.times_ms, curve / 100)
            # A contracting wall shortens around the cavity and thickens across.
            systolic, diastolic = (negative, positive) if component == "Circumferential" else (positive, negative)
        row[f"{prefix}: Peak Systolic {component} Strain (Absolute Value) [%]"] = peak_percent
        row[f"Strain-Tagged: Peak Systolic {component} Strain Rate [1/s]"] = systolic
        row[f"Strain-Tagged: Early Diastolic {component} Strain Rate [1/s]"] = diastolic
        row[f"Strain-Tagged: Time to Peak {component} Strain [ms]"] = time_ms
        if rr_interval_ms is not None:
            row[f"Strain-Tagged: Time to Peak {component} Strain Index"] = time_ms / rr_interval_ms
    return {name: float(value) for name, value in row.items()}


def time_series(measured: Mapping[str, Curves]) -> dict[str, NDArray[np.float64]]:
    """Curves [%] by the key that the pipeline's NPZ files use; NaN throughout for a slice that was not measured."""
    n_frames = max((len(curves.times_ms) for curves in measured.values()), default=0)
    missing = Curves(*np.full((3, n_frames), np.nan))
    series: dict[str, NDArray[np.float64]] = {}
    for level in LEVELS:
        curves = measured.get(level, missing)
        series[f"Strain-Tagged: {level.capitalize()} Circumferential strain [%]"] = curves.circumferential_percent
        series[f"Strain-Tagged: {level.capitalize()} Radial strain [%]"] = curves.radial_percent
    return series


def write_time_series(path: Path, measured: Mapping[str, Curves]) -> None:
    """Write the curves of a subject as NPZ."""
    with atomic_file(path, overwrite=True) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **time_series(measured))


def write_table(path: Path, rows: Mapping[str, Mapping[str, float]]) -> None:
    """Write the numbers of the subjects, by eid: columns in alphabetical order, ``eid`` last, empty where missing."""
    columns = sorted({name for row in rows.values() for name in row})
    with atomic_file(path, overwrite=True) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow([*columns, "eid"])
        for eid in sorted(rows, key=lambda eid: (int(eid) if eid.isdecimal() else 0, eid)):
            writer.writerow(["" if np.isnan(rows[eid][name]) else rows[eid][name] for name in columns] + [eid])


def read_rr_intervals(path: Path) -> dict[str, float]:
    """RR interval [ms] by eid, from a table with the columns ``eid`` and ``rr_interval_ms``; an empty cell is NaN."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:  # spreadsheets put a mark before the first column
            table = csv.DictReader(stream)
            for name in ("eid", "rr_interval_ms"):
                if name not in (table.fieldnames or ()):
                    found = ", ".join(table.fieldnames or ()) or "nothing"
                    raise InputError(path, f"column {name} is missing (found: {found})", "Name the columns so")
            return {row["eid"]: float(row["rr_interval_ms"] or "nan") for row in table}
    except FileNotFoundError:
        raise InputError(path, "does not exist", "Check the path given with --rr-intervals") from None
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(path, f"cannot be read ({error})", "Write a CSV with columns eid, rr_interval_ms") from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure all subjects with models loaded once; returns the exit code."""
    parser = argparse.ArgumentParser(description="Tagged strain tables as UK Biobank pipelines expect them.")
    parser.add_argument("subjects", nargs="+", type=Path, metavar="SUBJECT")
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="OUT")
    parser.add_argument("--tracker", choices=list(TrackerName), default=DEFAULT_TRACKER)
    parser.add_argument("--device", choices=list(Device), default=Device.AUTO)
    parser.add_argument("--localizer-weights", type=Path)
    parser.add_argument("--tracker-weights", type=Path)
    parser.add_argument("--rr-intervals", type=Path, metavar="CSV", help="columns eid, rr_interval_ms")
    options = parser.parse_args(arguments)
    try:
        return write_subjects(options)
    except TagstrainError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1


def write_subjects(options: argparse.Namespace) -> int:
    """Measure and write all subjects; returns the exit code."""
    rr_intervals = None if options.rr_intervals is None else read_rr_intervals(options.rr_intervals)
    for path in filter(Path.is_file, options.subjects):
        print(f"Skipped: {path.name} is no folder of a subject", file=sys.stderr)
    folders = [path for path in options.subjects if not path.is_file()]
    if not folders:
        raise TagstrainError("No SUBJECT is a folder. Give the folders that hold tag_1.nii.gz and so on.")
    models = load_models(options.tracker, options.device, options.localizer_weights, options.tracker_weights)
    rows: dict[str, dict[str, float]] = {}
    n_incomplete = 0
    for folder in folders:
        eid = folder.resolve().name
        measured = measure_subject(folder, models)
        n_incomplete += "global" not in measured
        rows[eid] = features(measured, None if rr_intervals is None else rr_intervals.get(eid, np.nan))
        write_time_series(options.output / eid / "timeseries" / "strain_tagged.npz", measured)
    write_table(options.output / "strain_tagged.csv", rows)
    print(f"{options.output}: {len(rows)} subjects, {n_incomplete} of them incomplete")
    return 3 if n_incomplete else 0


def _mean_of_three(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Moving average over 3 samples, where there are 3."""
    return np.convolve(values, np.ones(3) / 3, mode="valid") if len(values) >= 3 else np.zeros(0)


if __name__ == "__main__":
    raise SystemExit(main())
