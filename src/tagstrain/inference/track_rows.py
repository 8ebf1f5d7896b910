"""Tracking every row of an HDF5 file in the predecessor's layout: `track_given_rows`, `track_placed_rows`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tagstrain.data import Box, PixelSpacing, PointTracks, SliceResult, TaggedCine
from tagstrain.data.landmarks import N_RINGS, N_SPOKES
from tagstrain.errors import InputError, TagstrainError, TrackingError
from tagstrain.inference.analyze import AnalysisConfig, analyze_slice
from tagstrain.inference.given_points import MAX_OUTSIDE_MM, can_be_followed, refuse_blank
from tagstrain.inference.interfaces import Tracker
from tagstrain.inference.models import Models
from tagstrain.inference.odd_frames import odd_frame_warnings
from tagstrain.io.hdf5 import read_hdf5_study
from tagstrain.io.hdf5_layout import IMAGE_AXES, IMAGES, LANDMARKS, open_hdf5, require_dataset
from tagstrain.io.landmark_file import LandmarkFile, LandmarkRow


@dataclass(frozen=True, eq=False, slots=True)
class TrackedRow:
    """Trajectories of one row, or why there are none, and what is known of it besides."""

    name: str
    tracks: PointTracks | None = None
    box: Box | None = None
    confidence: float = np.nan
    """Of the localization; NaN where the ED points were given or the localizer states none."""
    pixel_spacing: PixelSpacing | None = None
    frame_times_ms: NDArray[np.float64] | None = None
    es_frame: int | None = None
    ed_frame: int | None = None
    n_frames: int | None = None
    failure: str | None = None
    warnings: tuple[str, ...] = ()
    """What had to be assumed, or was left out, in words."""
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
        said = TrackedRow(source.name)
        try:
            row = landmarks.row(index)
            said = _said(source.name, row)
            cine = source.load()
            said = _shown(said, cine)
            ed_points_px = row.points_px[row.ed_frame]
            if not np.isfinite(ed_points_px).all(axis=-1).any():
                raise TrackingError(_no_points_at_ed(row))
            refuse_blank(ed_points_px, cine, "the points")
            tracks = tracker.track(cine, ed_points_px)
            found = np.isfinite(tracks.points_px[row.ed_frame]).all(axis=-1)
            if not found.any():
                raise TrackingError(
                    f"No point of the ED frame ({row.ed_frame}) lies in the image or near it. Mend the landmarks"
                )
        except TagstrainError as error:
            yield replace(said, failure=str(error))
            continue
        yield replace(
            said,
            tracks=tracks,
            box=row.box or Box.around(ed_points_px[found]).within(*cine.frames.shape[1:]),
            warnings=(*said.warnings, *odd_frame_warnings(cine), *_outside(ed_points_px, cine)),
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
        said = TrackedRow(source.name)
        try:
            cine = source.load()
            said = _shown(said, cine)
            result = analyze_slice(cine, models, config)
        except TagstrainError as error:
            yield replace(said, failure=str(error))
            continue
        localization = result.localization
        yield replace(
            said,
            tracks=result.landmarks.to_points(),
            box=localization.box,
            confidence=np.nan if localization.confidence is None else localization.confidence,
            ed_frame=result.landmarks.ed_frame,
            es_frame=result.strain.es_frame,
            warnings=result.warnings,
            result=result,
        )


def _outside(ed_points_px: NDArray[np.float64], cine: TaggedCine) -> tuple[str, ...]:
    """What is to be said of points ``(point, 2)`` that lie outside of the image."""
    is_known = np.isfinite(ed_points_px).all(axis=-1)
    n_outside = int((is_known & ~cine.shows(ed_points_px)).sum())
    n_lost = int((is_known & ~can_be_followed(ed_points_px, cine)).sum())
    if not n_outside:
        return ()
    parts = []
    if n_lost < n_outside:
        parts.append(f"{n_outside - n_lost} are followed by what is seen beside them")
    if n_lost:
        parts.append(f"{n_lost}, more than {MAX_OUTSIDE_MM:g} mm outside, are not followed")
    return (f"{n_outside} of {len(ed_points_px)} points lie outside of the image: {'; '.join(parts)}",)


def _said(name: str, row: LandmarkRow) -> TrackedRow:
    """What the file says of a row, tracked or not."""
    misfit = row.misfit
    said = TrackedRow(
        name,
        box=row.box,
        pixel_spacing=None if row.pixel_spacing_mm is None else PixelSpacing(*row.pixel_spacing_mm),
        es_frame=row.es_frame,
        ed_frame=row.ed_frame,
        warnings=() if misfit is None else (f"{misfit.problem}. {misfit.remedy}",),
    )
    return _within(said, row.n_frames)


def _shown(said: TrackedRow, cine: TaggedCine) -> TrackedRow:
    """What the images say of a row, too."""
    shown = replace(
        said,
        pixel_spacing=cine.pixel_spacing,
        frame_times_ms=cine.frame_times_ms,
        ed_frame=cine.ed_frame,
        warnings=(*cine.warnings, *said.warnings),
    )
    return _within(shown, cine.n_frames)


def _within(said: TrackedRow, n_frames: int) -> TrackedRow:
    """A row of so many frames, of which ES is one, or not known."""
    if said.es_frame is None or said.es_frame < n_frames:
        return replace(said, n_frames=n_frames)
    wrong_es = f"es_frame_idx is {said.es_frame} of {n_frames} frames: taken as not known"
    return replace(said, n_frames=n_frames, es_frame=None, warnings=(*said.warnings, wrong_es))


def _no_points_at_ed(row: LandmarkRow) -> str:
    """Say which frames have points instead."""
    known = np.flatnonzero(np.isfinite(row.points_px).all(axis=-1).any(axis=-1))
    others = ", ".join(map(str, known)) or "none"
    return f"No point is given for the ED frame ({row.ed_frame}); frames that have points: {others}"
