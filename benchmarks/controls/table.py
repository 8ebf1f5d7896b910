"""The runs as Markdown and JSON: `write_table`."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import tagstrain
from benchmarks.controls.variants import VARIANTS

COLUMNS = {
    "RMSE mm": ("rmse_mm", 1, 2),
    "median mm": ("median_mm", 1, 2),
    "95 % mm": ("percentile_95_mm", 1, 2),
    "E_cc MAE": ("circumferential_mae", 1, 4),
    "E_rr MAE": ("radial_mae", 1, 3),
    "E_rr bias": ("radial_bias", 1, 3),
    "within sigma %": ("within_sigma", 100, 0),
}
"""Name in the record, factor and decimals of each column."""
NOTES = """\
All variants see the same simulated crops in the same batches, for as many steps as the next table says, and are given
the true landmarks (24 x 7) of the ED frame. A: the distribution they are trained on, other seeds; B: the settings of
`benchmarks.accuracy` held back from training. Mean over seeds, then half the range between them where there are
several. Errors are those of the displacement, all frames but ED: RMSE of a cine, mean over cines; median and 95th
percentile of all points. Strain is Green-Lagrange, slice mean at the true ES frame. "Within sigma": 68 % is right.
GFLOP: convolutions, matrix products and attention, for one cine of the training data. Seconds are those of training
beside the other runs, not to be compared between variants.
"""


def write_table(folder: Path, records: Sequence[dict[str, Any]], failed: dict[str, str], command: str) -> str:
    """Write results.json and results.md; returns the latter. ``failed`` says why by the name of the run."""
    made = {
        "command": command,
        "versions": {
            "tagstrain": tagstrain.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
        "machine": _machine(),
    }
    record = {**made, "runs": list(records), "failed": failed}
    (folder / "results.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    versions = ", ".join(f"{name} {version}" for name, version in made["versions"].items())  # type: ignore[attr-defined]
    lines = [
        "# Architectures of trackers on equal data",
        "",
        f"Command: `{command}`. {versions}; {made['machine']}.",
        "",
    ]
    lines += [NOTES]
    lines += [f"- `{name}`: {VARIANTS[name].meaning}" for name in VARIANTS if any(_of(records, name))]
    lines += [f"- **failed**: {name}: {reason}" for name, reason in failed.items()]
    lines += ["", "## Training", ""]
    lines += _rows(
        ["variant", "seeds", "steps", "seconds", "parameters", "GFLOP / cine", "peak GiB"],
        [_training_row(name, _of(records, name)) for name in VARIANTS if _of(records, name)],
    )
    for test in ("A", "B"):
        lines += ["", f"## Set {test}", ""]
        lines += _rows(
            ["variant", *COLUMNS],
            [[name, *_error_cells(_of(records, name), test)] for name in VARIANTS if _of(records, name)],
        )
    text = "\n".join(lines) + "\n"
    (folder / "results.md").write_text(text, encoding="utf-8")
    return text


def _of(records: Sequence[dict[str, Any]], variant: str) -> list[dict[str, Any]]:
    return [record for record in records if record["variant"] == variant]


def _training_row(variant: str, runs: Sequence[dict[str, Any]]) -> list[str]:
    done = [run["steps"] for run in runs]
    wanted = runs[0]["settings"]["steps"]
    steps = str(wanted) if min(done) == wanted else f"{', '.join(map(str, done))} of {wanted}: out of time"
    peaks = [run["peak_gib"] for run in runs if run["peak_gib"] is not None]
    return [
        variant,
        ", ".join(str(run["settings"]["seed"]) for run in runs),
        steps,
        f"{np.mean([run['seconds'] for run in runs]):.0f}",
        f"{runs[0]['parameters'] / 1e6:.2f} M",
        f"{runs[0]['gflop_per_cine']:.1f}",
        f"{max(peaks):.1f}" if peaks else "",
    ]


def _error_cells(runs: Sequence[dict[str, Any]], test: str) -> list[str]:
    cells = []
    for name, factor, decimals in COLUMNS.values():
        values = factor * np.array([run["errors"][test][name] for run in runs])
        spread = f" ± {(values.max() - values.min()) / 2:.{decimals}f}" if len(values) > 1 else ""
        cells.append(f"{values.mean():.{decimals}f}{spread}")
    return cells


def _rows(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows)]


def _machine() -> str:
    gpu = f"{torch.cuda.get_device_name()}, " if torch.cuda.is_available() else ""
    return f"{gpu}{os.cpu_count()} CPU cores, {platform.machine()}"
