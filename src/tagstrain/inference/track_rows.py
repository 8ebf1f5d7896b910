"""Tracking every row of an HDF5 file in the predecessor's layout: `track_given_rows`, `track_placed_rows`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tagstrain.data import Box, PixelSpacing, PointTracks, SliceResult
from tagstrain.data.landmarks import N_RINGS, N_SPOKES
from tagstrain.errors import InputError, TagstrainError, TrackingError
from tagstrain.inference.analyze import AnalysisConfig, analyze_slice
from tagstrain.inference.interfaces import Tracker
from tagstrain.inference.models import Models
from tagstrain.io.hdf5 import IMAGE_AXES, read_hdf5_study
from tagstrain.io.hdf5_layout import IMAGES, LANDMARKS, open_hdf5, require_dataset
from tagstrain.io.landmark_file import LandmarkFile, LandmarkRow


@dataclass(frozen=True, eq=False, slots=True)
class TrackedRow:
    """Trajectories of one row, or why there are none."""

    name: str
    tracks: PointTracks | None = None
    box: Box | None = None
    confidence: float = np.nan
    """Of the localization; NaN where the ED points were given or the localizer states none."""
    pixel_spacing: PixelSpacing | None = None
    frame_times_ms: NDArray[np.float64] | None = None
    es_frame: int | None = None
    ed_frame: int = 0
    failure: str | None = None
    result: SliceResult | None = None
    """All that was measured, where the landmarks were placed."""


def row_shape(path: Path, given_ed: bool) -> tuple[int, int]:
    """Frames per row as stored, padding included, and points per frame: the file's own or the landmark grid's.

    Raises
    ------
    InputError
        If the file is damaged or has no images or, with ``given_ed``, no landmarks.
    """
    with open_hdf5(path) as file:
        n_frames = int(require_dataset(file, path, IMAGES, IMAGE_AXES).shape[1])
        if not given_ed:
            return n_frames, N_SPOKES * N_RINGS
        return n_frames, int(require_dataset(file, path, LANDMARKS, "row, time, 2, point").shape[-1])


def track_given_rows(
    path: Path, tracker: Tracker, pixel_spacing_mm: tuple[float, float] | None = None
) -> Iterator[TrackedRow]:
    """Track the points that the file gives for the ED frame, row by row; a row that fails does not stop the others.

    Raises
    ------
    InputError
        If the file is damaged or its images and landmarks differ in the number of rows.
    """
    study = read_hdf5_study(path, pixel_spacing_mm)
    landmarks = LandmarkFile(path)
    if len(landmarks) != len(study.slices):
        raise InputError(
            path, f"{len(landmarks)} rows of landmarks for {len(study.slices)} of images", "Write one for each"
        )
    for index, source in enumerate(study.slices):
        try:
            row = landmarks.row(index)
            cine = source.load()
            ed_points_px = row.points_px[row.ed_frame]
            if not np.isfinite(ed_points_px).all(axis=-1).any():
                raise TrackingError(_no_points_at_ed(row))
            tracks = tracker.track(cine, ed_points_px)
            if not np.isfinite(tracks.points_px).any():
                raise TrackingError(
                    f"No point of the ED frame ({row.ed_frame}) lies in the image or near it. Mend the landmarks"
                )
        except TagstrainError as error:
            yield TrackedRow(source.name, failure=str(error))
            continue
        rows, columns = cine.frames.shape[1:]
        box = row.box or Box.around(ed_points_px).within(rows, columns)
        yield TrackedRow(
            source.name, tracks, box, np.nan, cine.pixel_spacing, cine.frame_times_ms, row.es_frame, cine.ed_frame
        )


def track_placed_rows(
    path: Path,
    models: Models,
    config: AnalysisConfig | None = None,
    pixel_spacing_mm: tuple[float, float] | None = None,
) -> Iterator[TrackedRow]:
    """Localize, place and track every row; a row that fails does not stop the others.

    Raises
    ------
    InputError
        If the file is damaged.
    """
    for source in read_hdf5_study(path, pixel_spacing_mm).slices:
        try:
            result = analyze_slice(source.load(), models, config)
        except TagstrainError as error:
            yield TrackedRow(source.name, failure=str(error))
            continue
        cine, localization = result.cine, result.localization
        yield TrackedRow(
            source.name,
            result.landmarks.to_points(),
            localization.box,
            np.nan if localization.confidence is None else localization.confidence,
            cine.pixel_spacing,
            cine.frame_times_ms,
            result.strain.es_frame,
            cine.ed_frame,
            result=result,
        )


def _no_points_at_ed(row: LandmarkRow) -> str:
    """Say which frames have points instead."""
    known = np.flatnonzero(np.isfinite(row.points_px).all(axis=-1).any(axis=-1))
    others = ", ".join(map(str, known)) or "none"
    return f"No point is given for the ED frame ({row.ed_frame}); frames that have points: {others}"
