"""Accuracy on fresh simulated cines: localiser, landmarks found automatically, and trackers given true ED points.

    python benchmarks/spine.py --number 200 --seed 771001 --work build/spine --table benchmarks/spine.md

Every step is a ``tagstrain`` command, run in one process; existing files of the work folder are used again.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import time
from pathlib import Path

import h5py
import numpy as np
import torch

import tagstrain
from tagstrain.cli.main import run
from tagstrain.data import Box
from tagstrain.io.hdf5 import LandmarkFile, LandmarkFileWriter
from tagstrain.networks.weights import load_weights


def main() -> None:
    """Simulate, track, evaluate, write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=200)
    parser.add_argument("--seed", type=int, default=771_001)
    parser.add_argument("--preset", default="default")
    parser.add_argument("--work", type=Path, default=Path("build/spine"))
    parser.add_argument("--table", type=Path, default=Path("benchmarks/spine.md"))
    options = parser.parse_args()
    work: Path = options.work
    work.mkdir(parents=True, exist_ok=True)
    truth = work / "truth.h5"
    simulate = ["simulate", "--seed", str(options.seed), "--preset", options.preset]
    step(truth, [*simulate, "-n", str(options.number), "-o", str(truth)])
    predictions = {
        "no motion, ED given": work / "no_motion.h5",
        "rnncnn, ED given": work / "rnncnn_given.h5",
        "harp, ED given": work / "harp_given.h5",
        "flow, ED given": work / "flow_given.h5",
        "flow, automatic": work / "flow_auto.h5",
    }
    write_no_motion(truth, predictions["no motion, ED given"])
    for name, path in predictions.items():
        tracker, start = name.split(", ")
        if tracker != "no motion":
            given = ["--given-ed"] if start == "ED given" else []
            step(path, ["track", str(truth), "-o", str(path), "--tracker", tracker, "--quiet", *given])
    boxes = work / "boxes.h5"
    step(boxes, ["predict", "localizer", str(truth), "-o", str(boxes)])

    evaluations = {}
    for name, path in predictions.items():
        record = path.with_suffix(".json")
        run(["evaluate", str(truth), str(path), "--json", str(record)])
        evaluations[name] = json.loads(record.read_text())
    options.table.write_text(report(options, truth, boxes, predictions, evaluations))
    print(options.table.read_text())


def step(result: Path, arguments: list[str]) -> None:
    """Run a command unless its result is there."""
    if not result.exists():
        print("$ tagstrain", *arguments, flush=True)
        start = time.perf_counter()
        code = run(arguments)
        print(f"exit {int(code)} after {time.perf_counter() - start:.0f} s", flush=True)


def write_no_motion(truth: Path, path: Path) -> None:
    """The trivial tracker: every point stays where it was at ED."""
    with LandmarkFile(truth) as rows, LandmarkFileWriter(path, rows.row(0).points_px.shape[0], overwrite=True) as out:
        for index in range(len(rows)):
            row = rows.row(index)
            still = np.broadcast_to(row.points_px[row.ed_frame], row.points_px.shape)
            out.append(still, row.box, row.pixel_spacing_mm, row.ed_frame, row.es_frame)


def report(
    options: argparse.Namespace, truth: Path, boxes: Path, predictions: dict[str, Path], evaluations: dict[str, dict]
) -> str:
    """The table as Markdown, with command, seed and machine."""
    with h5py.File(truth) as a, h5py.File(boxes) as b:
        pairs = list(zip(a["bbox_corners"][:], b["bbox_corners"][:], strict=True))
        confidence = b["quality_confidence"][:]
    failed = {name: n_failed(path) for name, path in predictions.items()}
    iou = np.array([Box(*found).iou(Box(*true)) for true, found in pairs])
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    lines = [
        "# Fresh simulated cines",
        "",
        f"Command: `python benchmarks/spine.py --number {options.number} --seed {options.seed} "
        f"--preset {options.preset}`; tagstrain {tagstrain.__version__} at "
        f"{commit.stdout.strip()}; PyTorch {torch.__version__.split('+')[0]}, {os.cpu_count()} CPU cores, "
        f"{platform.machine()}.",
        "The seed was never trained on. Weights: "
        + "; ".join(f"{name} {load_weights(name)[1]}" for name in ("localizer", "tracker", "placer", "rnncnn"))
        + ".",
        "",
        "## Localizer",
        "",
        "| slices | mean IoU | median | 5th percentile | lowest | below 0.5 | below 0.5 and confidence >= 0.5 |",
        "|---|---|---|---|---|---|---|",
        f"| {len(iou)} | {iou.mean():.3f} | {np.median(iou):.3f} | {np.percentile(iou, 5):.3f} | {iou.min():.3f} "
        f"| {int((iou < 0.5).sum())} | {int(((iou < 0.5) & (confidence >= 0.5)).sum())} |",
        "",
        "## Trackers",
        "",
        "Position: all frames; displacement: since ED, placement error removed. Strain: mean absolute error "
        "(bias) of the slice mean at ES, Green-Lagrange.",
        "",
        "| tracker | slices | failed | RMSE mm, mean of slices | median EPE mm | 95 % EPE mm | displacement RMSE mm "
        "| ED placement RMSE mm | E_cc mid-wall at ES | E_rr at ES | box IoU |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, e in evaluations.items():
        lines.append(
            f"| {name} | {e['n_rows']} | {failed[name]} | {e['position']['rmse_row_mean_mm']:.2f} "
            f"| {e['position']['epe_median_mm']:.2f} | {e['position']['epe_p95_mm']:.2f} "
            f"| {e['displacement']['rmse_row_mean_mm']:.2f} | {e['placement']['rmse_row_mean_mm']:.2f} "
            f"| {strain(e, 'circumferential_midwall')} | {strain(e, 'radial')} | {overlap(e)} |"
        )
    return "\n".join(lines) + "\n"


def n_failed(path: Path) -> int:
    """Rows that the tracker gave up."""
    with h5py.File(path) as file:
        return int(np.nansum(file["quality_failed"][:])) if "quality_failed" in file else 0


def strain(evaluation: dict, name: str) -> str:
    """Mean absolute error and bias of a strain at ES."""
    at_es = evaluation["strain"][name]["end_systolic"]
    return f"{at_es['mae']:.4f} ({at_es['bias']:+.4f})"


def overlap(evaluation: dict) -> str:
    """Mean IoU of the boxes found."""
    return f"{evaluation['boxes']['iou_mean']:.3f}" if evaluation["boxes"] else ""


if __name__ == "__main__":
    main()
