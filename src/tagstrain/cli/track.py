"""``tagstrain track``: landmark trajectories for every row of an HDF5 file."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from tagstrain.cli.analysis_run import progress_bar
from tagstrain.cli.exits import ExitCode, finish, options_not_input
from tagstrain.cli.messages import print_error, print_warning
from tagstrain.cli.options import PixelSpacingOption, PreprocessingOption, WeightsOption
from tagstrain.data import SliceResult
from tagstrain.inference.analyze import LOW_CONFIDENCE, AnalysisConfig
from tagstrain.inference.models import DEFAULT_TRACKER, Device, Models, TrackerName, load_models, load_tracker
from tagstrain.inference.track_rows import TrackedRow, row_shape, track_given_rows, track_placed_rows
from tagstrain.io import LandmarkFileWriter
from tagstrain.io.atomic import keep_inputs
from tagstrain.quality import Grade, assess

GRADE_NUMBERS = {Grade.GOOD: 2.0, Grade.USABLE: 1.0, Grade.UNGRADED: np.nan, Grade.REJECT: 0.0}
"""Grades in the column ``quality_grade``, which holds numbers."""
MAX_WARNINGS = 20
"""Printed at most; each names the rows that have it in common."""


def track(
    input_file: Annotated[
        Path, typer.Argument(metavar="INPUT.h5", readable=False, help="Images in the predecessor's layout.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="PRED.h5", help="File for the trajectories.")],
    given_ed: Annotated[
        bool, typer.Option("--given-ed", help="Track the file's own landmarks of the ED frame; place none.")
    ] = False,
    tracker: Annotated[TrackerName, typer.Option(help="What follows the points.")] = DEFAULT_TRACKER,
    device: Annotated[
        Device, typer.Option(help="Where the networks run; auto takes a GPU if there is one.")
    ] = Device.AUTO,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace PRED.h5.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
    min_confidence: Annotated[
        float, typer.Option(min=0, max=1, help="Localizations less certain than this fail the row.")
    ] = LOW_CONFIDENCE,
    pixel_spacing_mm: PixelSpacingOption = None,
    localizer_weights: WeightsOption = None,
    tracker_weights: WeightsOption = None,
    placer_weights: WeightsOption = None,
    preprocessing: PreprocessingOption = None,
) -> None:
    """Track points through every row of a file.

    Rows that fail are NaN and have quality_failed = 1. Where landmarks were placed, quality_grade is 2 for good, 1 for
    usable, 0 for slices to be rejected, and NaN for those that cannot be graded.
    """
    keep_inputs(output, input_file, localizer_weights, tracker_weights, placer_weights)
    for name, weights in (("--placer-weights", placer_weights), ("--localizer-weights", localizer_weights)):
        if given_ed and weights is not None:
            raise typer.BadParameter("has no use with --given-ed; leave one of them out", param_hint=name)
    n_frames, n_points = row_shape(input_file, given_ed)
    n_rows = n_failed = 0
    warned: dict[str, list[str]] = {}
    models: Models | None = None
    with LandmarkFileWriter(output, n_frames, overwrite) as writer, progress_bar(quiet) as progress:
        if given_ed:
            with options_not_input():
                follower = load_tracker(tracker.value, device.value, tracker_weights, preprocessing)
            rows = track_given_rows(input_file, follower, pixel_spacing_mm)
        else:
            with options_not_input():
                models = load_models(
                    tracker.value, device.value, localizer_weights, tracker_weights, preprocessing, placer_weights
                )
            models = replace(models, insertion=None)  # the file has no place for it
            rows = track_placed_rows(input_file, models, AnalysisConfig(min_confidence), pixel_spacing_mm)
        task = progress.add_task(input_file.name, total=None)
        for row in rows:
            _write(writer, row, n_points, models)
            n_rows += 1
            for warning in row.warnings:
                warned.setdefault(warning, []).append(row.name)
            if row.failure is not None:
                n_failed += 1
                name = input_file.name
                reason = row.failure.removeprefix(f"{name}, ").removeprefix(f"{name}: ")
                print_error(f"{name}, {row.name}: {reason}")
            progress.advance(task)
    if not quiet:
        for warning, names in islice(warned.items(), MAX_WARNINGS):
            others = f" and {len(names) - 1} more" if len(names) > 1 else ""
            print_warning(f"{input_file.name}, {names[0]}{others}: {warning}")
        if len(warned) > MAX_WARNINGS:
            print_warning(f"{input_file.name}: {len(warned) - MAX_WARNINGS} further warnings are not shown")
        typer.echo(f"{output}: {n_rows - n_failed} of {n_rows} rows tracked, {n_points} points each")
    finish(ExitCode.SOME_FAILED if n_failed else ExitCode.DONE)


def _write(writer: LandmarkFileWriter, row: TrackedRow, n_points: int, models: Models | None) -> None:
    """Write a row; one that failed is all NaN, one whose points were given (no ``models``) is not judged."""
    quality = {"confidence": row.confidence, "failed": float(row.failure is not None)}
    if row.result is not None and models is not None:
        quality |= _quality_columns(row.result, models)
    n_frames = min(row.n_frames or writer.n_frames, writer.n_frames)  # labels may have more frames than images
    unknown = np.full((n_frames, n_points, 2), np.nan)
    writer.append(
        unknown if row.tracks is None else row.tracks.points_px,
        row.box,
        row.pixel_spacing,
        row.ed_frame,
        row.es_frame,
        sigma_px=unknown[..., 0] if row.tracks is None else row.tracks.sigma_px,
        quality=quality,
        frame_times_ms=row.frame_times_ms,
    )


def _quality_columns(result: SliceResult, models: Models) -> dict[str, float]:
    """The judgment on a slice whose landmarks were placed, as numbers."""
    quality = assess(result, models.tracker, models.placer, models.localizer, weights=models.provenance.weights)
    return {
        "grade": GRADE_NUMBERS[quality.grade],
        "predicted_error_mm": quality.predicted_error_mm,
        "predicted_circumferential_error": quality.predicted_circumferential_error,
        "predicted_regional_circumferential_error": quality.predicted_regional_circumferential_error,
    }
