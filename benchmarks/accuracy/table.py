"""The results as Markdown and JSON: `write_results`."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import tagstrain
from benchmarks.accuracy.methods import Method
from benchmarks.accuracy.settings import SEED_A, SEED_B, SEED_C
from benchmarks.accuracy.test_sets import ALL_SETTINGS, SETS
from tagstrain.io.atomic import atomic_file
from tagstrain.io.hdf5 import LandmarkFile
from tagstrain.report.evaluation import Evaluation

COLUMNS = (
    "method",
    "cines",
    "failed",
    "RMSE mm",
    "median mm",
    "95 % mm",
    "E_cc MAE",
    "E_cc bias",
    "E_rr MAE",
    "E_rr bias",
    "within sigma %",
    "s / slice",
)
NOTES = """\
All methods are given the true landmarks (24 x 7) of the ED frame. Errors are those of the displacement, all frames but
ED: RMSE of a cine, mean over cines; median and 95th percentile of all points of all cines. Strain is Green-Lagrange,
slice mean at the true ES frame: E_cc of the middle ring, E_rr of the chord from endocardium to epicardium; mean
absolute error and bias (prediction minus truth). "Within sigma": share of coordinates whose error is within the stated
standard deviation; 68 % is right. Seconds are process time on one core. A cine that a method gives up counts with no
motion.
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One method on one set or setting."""

    set_name: str
    setting: str
    method: str
    evaluation: Evaluation | None
    n_failed: int
    seconds_per_slice: float | None
    skipped: str = ""


def failed_and_seconds(predictions: Sequence[Path]) -> tuple[int, float | None]:
    """Rows that a method gave up, and its mean time per row where the files tell."""
    failed, seconds = 0, []
    for path in predictions:
        with LandmarkFile(path) as file:
            for index in range(len(file)):
                quality = file.row(index).quality
                failed += quality.get("failed", 0.0) > 0
                seconds.append(quality.get("seconds", np.nan))
    mean = float(np.mean(seconds))
    return int(failed), None if np.isnan(mean) else mean


def write_results(
    folder: Path, rows: Sequence[Row], methods: Sequence[Method], command: str, numbers: dict[str, int]
) -> None:
    """Write results.md and results.json; each is whole or absent."""
    made = _made(methods, command, numbers)
    with atomic_file(folder / "results.md", overwrite=True) as path:
        path.write_text(_markdown(rows, made))
    record = {**made, "rows": [_record(row) for row in rows]}
    with atomic_file(folder / "results.json", overwrite=True) as path:
        path.write_text(json.dumps(record, indent=1) + "\n")


def _made(methods: Sequence[Method], command: str, numbers: dict[str, int]) -> dict[str, Any]:
    """How the numbers came about."""
    packages = ("numpy", "scipy", "torch")
    return {
        "command": command,
        "seeds": {"A": SEED_A, "B": f"{SEED_B} and following, one per setting", "C": SEED_C},
        "numbers": numbers,
        "machine": {"processor": _processor(), "cores": os.cpu_count(), "python": platform.python_version()},
        "versions": {"tagstrain": tagstrain.__version__, **{name: version(name) for name in packages}},
        "weights": {method.name: method.weights for method in methods if method.weights},
        "skipped": {method.name: method.skipped for method in methods if method.skipped},
    }


def _processor() -> str:
    """Model of the CPU where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def _record(row: Row) -> dict[str, Any]:
    evaluation = None if row.evaluation is None else row.evaluation.to_json()
    return {
        "set": row.set_name,
        "setting": row.setting,
        "method": row.method,
        "skipped": row.skipped,
        "n_failed": row.n_failed,
        "seconds_per_slice": row.seconds_per_slice,
        "evaluation": evaluation,
    }


def _markdown(rows: Sequence[Row], made: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {value}" for name, value in made["versions"].items())
    seeds = ", ".join(f"{name} {value}" for name, value in made["seeds"].items())
    lines = [
        "# Trackers on simulated cines, ED points given",
        "",
        f"Command: `{made['command']}`. Seeds: {seeds}. {versions}; {made['machine']['processor']}, "
        f"{made['machine']['cores']} cores.",
        "",
        *(f"- {name}: {weights}" for name, weights in made["weights"].items()),
        "",
        NOTES,
    ]
    for name, meaning in SETS.items():
        mine = [row for row in rows if row.set_name == name]
        settings = list(dict.fromkeys(row.setting for row in mine))
        # The pool first, then what it is made of.
        for setting in sorted(settings, key=lambda s: s != ALL_SETTINGS):
            title = (
                f"## {name}: {meaning}"
                if setting in ("", ALL_SETTINGS) or len(settings) == 1
                else f"### {name}: {setting}"
            )
            lines += [title, "", _line(COLUMNS), _line(["---"] * len(COLUMNS))]
            lines += [_line(_cells(row)) for row in mine if row.setting == setting]
            lines.append("")
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cells(row: Row) -> list[str]:
    if row.evaluation is None:
        return [row.method, f"skipped: {row.skipped}", *[""] * (len(COLUMNS) - 2)]
    e = row.evaluation
    cells = [row.method, str(e.n_rows), str(row.n_failed)]
    cells += [_number(v, "{:.3f}") for v in (e.displacement.rmse_row_mean_mm, e.displacement.epe_median_mm)]
    cells.append(_number(e.displacement.epe_p95_mm, "{:.3f}"))
    for name in ("circumferential_midwall", "radial"):
        at_es = e.strain[name].end_systolic if e.strain else None
        cells += [_number(at_es and at_es.mae, "{:.4f}"), _number(at_es and at_es.bias, "{:+.4f}")]
    cells.append(_number(None if e.within_one_sigma is None else 100 * e.within_one_sigma, "{:.1f}"))
    cells.append(_number(row.seconds_per_slice, "{:.2f}"))
    return cells


def _number(value: float | None, form: str) -> str:
    """Formatted number, or a dash for what is not known."""
    return "-" if value is None or not np.isfinite(value) else form.format(value)
