"""An `Evaluation` as tables for the terminal."""

from __future__ import annotations

import numpy as np
from rich.console import Console
from rich.table import Table

from tagstrain.mechanics.accuracy import DifferenceSummary
from tagstrain.report.curves import PEAK_REGIONS
from tagstrain.report.evaluation import Evaluation


def print_evaluation(evaluation: Evaluation, console: Console) -> None:
    """Print distances in mm, strain differences in percentage points, box overlap and calibration."""
    console.print(
        f"{evaluation.prediction} against {evaluation.truth}: "
        f"{evaluation.n_rows} rows, {evaluation.n_points} points per frame",
        highlight=False,
        markup=False,
    )
    console.print(_points_table(evaluation))
    if not evaluation.position.n_points:
        console.print("No frame but ED is known in both files: there is no tracking to compare", highlight=False)
    if evaluation.n_missing:
        console.print(f"{evaluation.n_missing} true points have no prediction and are left out", highlight=False)
    if evaluation.n_out_of_order:
        told = "true walls do not run spoke by spoke from the inside: strain says nothing of them"
        console.print(f"{evaluation.n_out_of_order} {told}", highlight=False)
    if evaluation.strain is not None:
        console.print(_strain_table(evaluation))
    if evaluation.boxes is not None:
        boxes = evaluation.boxes
        console.print(
            f"Box IoU: mean {boxes.iou_mean:.3f}, median {boxes.iou_median:.3f}, worst {boxes.iou_min:.3f}, "
            f"below 0.5 in {100 * boxes.fraction_below_half:.1f} % of {boxes.n_boxes}",
            highlight=False,
            markup=False,
        )
    if evaluation.within_one_sigma is not None:
        console.print(
            f"Stated uncertainty: {100 * evaluation.within_one_sigma:.1f} % of coordinates within one sigma "
            f"(68.3 % is right), error / sigma {evaluation.normalized_error_rms:.2f} rms (1 is right)",
            highlight=False,
            markup=False,
        )
        if evaluation.placement.rmse_pooled_mm > 0:
            console.print(
                "  Sigma is stated of how points were followed; these began elsewhere than the true ones, which it "
                "leaves out.",
                highlight=False,
                markup=False,
            )


def _points_table(evaluation: Evaluation) -> Table:
    """Distances between points."""
    table = Table(title="Distance between points (mm)", title_justify="left")
    table.add_column("")
    for heading in ("RMSE, mean of rows", "RMSE, median of rows", "median", "95th percentile"):
        table.add_column(heading, justify="right")
    parts = {
        "position, all frames": evaluation.position,
        "displacement since ED": evaluation.displacement,
        "placement at ED": evaluation.placement,
        "placement, best rotation": evaluation.placement_best_rotation,
    }
    for label, part in parts.items():
        if part is not None:
            values = (part.rmse_row_mean_mm, part.rmse_row_median_mm, part.epe_median_mm, part.epe_p95_mm)
            table.add_row(label, *(_number(value, "{:.3f}") for value in values))
    return table


def _strain_table(evaluation: Evaluation) -> Table:
    """Strain differences, prediction minus truth."""
    table = Table(title="Green-Lagrange strain, prediction - truth (percentage points)", title_justify="left")
    table.add_column("")
    for heading in ("ES bias", "ES SD", "ES mean abs.", "peak bias", "peak SD", "peak mean abs.", "rows"):
        table.add_column(heading, justify="right")
    for name, accuracy in (evaluation.strain or {}).items():
        cells = (*_percent(accuracy.end_systolic), *_percent(accuracy.peak), str(accuracy.peak.n))
        table.add_row(f"{name.partition('_')[0]}, {PEAK_REGIONS[name]}", *cells)
    return table


def _percent(summary: DifferenceSummary) -> tuple[str, str, str]:
    """Bias, SD and mean absolute error in percentage points."""
    return (
        _number(100 * summary.bias, "{:+.2f}"),
        _number(100 * summary.sd, "{:.2f}"),
        _number(100 * summary.mae, "{:.2f}"),
    )


def _number(value: float, form: str) -> str:
    """Formatted number, or a dash for what is not known."""
    return form.format(value) if np.isfinite(value) else "-"
