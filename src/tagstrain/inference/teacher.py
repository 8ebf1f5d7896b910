"""Walls and tracks to learn from where there are no labels: `follow_cohort`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tagstrain.data import (
    UNKNOWN_DOUBT,
    Box,
    FollowedSlice,
    LandmarkTracks,
    Localization,
    SliceFailure,
    SliceResult,
    Study,
    TaggedCine,
)
from tagstrain.data.landmarks import N_RINGS, N_SPOKES
from tagstrain.errors import TagsNotFoundError, TagstrainError
from tagstrain.geometry.polygon import grid_between
from tagstrain.inference.analyze import Models, analyze_slices
from tagstrain.inference.flow import FlowTracker
from tagstrain.inference.harp import HarpTracker
from tagstrain.inference.interfaces import Placement, Placer, grey_doubt
from tagstrain.inference.odd_frames import kept_frames
from tagstrain.inference.placer import WITHOUT_GREY, MotionPlacer
from tagstrain.networks.symmetry import N_SYMMETRIES

PHASE_SIGMA_MM = 1.0
"""Standard deviation up to which phase tracking counts as having seen a point."""
MARGIN = 0.9
"""Surroundings that are kept on every side, over the extent of the wall: training crops reach no further."""

WALL_AGREED_MM = 1.5
"""Distance of the wall placed in one crop from the median of all, mean over landmarks and median over crops, up to
which the crops agree on it."""
_OTHER_BOXES = ((-0.2, -0.2, 0.9), (0.2, 0.2, 1.15), (0.2, -0.2, 1.0), (-0.2, 0.2, 1.3))
"""Shift along x and y, in sides of the box around the wall, and size over it."""


def teaching_models(models: Models) -> Models:
    """The same pipeline with a flow tracker that averages all eight symmetries."""
    assert isinstance(models.tracker, FlowTracker)
    return replace(models, tracker=replace(models.tracker, symmetries=tuple(range(N_SYMMETRIES))), insertion=None)


def follow_cohort(study: Study, models: Models, with_walls: bool = True) -> Iterator[FollowedSlice | SliceFailure]:
    """Localize, place and follow every slice of a study that is fit to learn from, one in memory at a time.

    Parameters
    ----------
    models
        From `teaching_models`.
    with_walls
        Whether walls are to be taught; placing them from several crops takes longer than all else.

    Yields
    ------
        What was followed, or why a slice is left out.
    """
    placer = models.placer if with_walls else None
    without_grey = replace(placer, left_out=WITHOUT_GREY) if isinstance(placer, MotionPlacer) else None
    for outcome in analyze_slices(study, models):
        yield outcome if isinstance(outcome, SliceFailure) else followed_slice(outcome, placer, without_grey)


def followed_slice(
    result: SliceResult, placer: Placer | None, without_grey: Placer | None
) -> FollowedSlice | SliceFailure:
    """Turn a result into what can be learned from: from ED on, cut to the heart, doubted where phase tracking sees it
    elsewhere, with the walls on which a placer agrees with itself from several crops.

    Parameters
    ----------
    placer
        What placed the wall of the result; None where no walls are to be taught.
    without_grey
        The same, not shown grey levels; None where there is no such placer.
    """
    kept = _frames_from_ed(result.cine)
    if len(kept) < 2:
        return SliceFailure(result.cine.name, "has no frame after ED")
    cine = _cut_to(result.cine, kept)
    points_px, sigma_px = result.landmarks.points_px[kept], result.landmarks.sigma_px[kept]
    if not np.isfinite(points_px).all():
        return SliceFailure(result.cine.name, "part of the wall lies outside the image")
    tracks = _doubted_by_phase(cine, LandmarkTracks(points_px, sigma_px))
    box = Box.around(points_px[0].reshape(-1, 2))
    wall_px, doubt = None, UNKNOWN_DOUBT
    if placer is not None:
        wall_px = agreed_wall(cine, points_px[0], placer)
        doubt = grey_doubt(cine, _placed(cine, box, placer), placer)
    without_grey_px = None
    if without_grey is not None and (seen := _placed(cine, box, without_grey)) is not None:
        without_grey_px = agreed_wall(cine, seen.wall_px, without_grey)
    walls_px = [each[None] for each in (wall_px, without_grey_px) if each is not None]
    cut, origin_xy = _around_heart(cine, np.concatenate([points_px, *walls_px]))
    return FollowedSlice(
        cut,
        replace(tracks, points_px=tracks.points_px - origin_xy),
        None if wall_px is None else wall_px - origin_xy,
        None if without_grey_px is None else without_grey_px - origin_xy,
        doubt,
    )


def agreed_wall(cine: TaggedCine, wall_px: NDArray[np.float64], placer: Placer) -> NDArray[np.float64] | None:
    """Landmarks at ED ``(spoke, ring, 2)`` [px] on which placing from crops that are off agrees; None if it does not.

    Parameters
    ----------
    wall_px
        What the placer placed first, around which the crops lie; it has its say too.
    """
    box = Box.around(wall_px.reshape(-1, 2))
    side_px, center_px = np.array([box.x2 - box.x1, box.y2 - box.y1]), np.array(box.center_xy)
    walls_px = [wall_px]
    for shift_x, shift_y, size in _OTHER_BOXES:
        middle, half_px = center_px + np.array([shift_x, shift_y]) * side_px, size * side_px / 2
        other = _placed(cine, Box(*(middle - half_px).tolist(), *(middle + half_px).tolist()), placer)
        if other is None:
            return None
        walls_px.append(other.wall_px)
    agreed_px = np.median(walls_px, axis=0)
    apart_mm = np.linalg.norm((np.array(walls_px) - agreed_px) * cine.spacing_xy_mm, axis=-1).mean(axis=(1, 2))
    if np.median(apart_mm) > WALL_AGREED_MM:
        return None
    try:
        grid_between(agreed_px[:, 0], agreed_px[:, -1], N_SPOKES, N_RINGS)
    except ValueError:  # no contours that one can learn from
        return None
    return agreed_px


def _placed(cine: TaggedCine, box: Box, placer: Placer) -> Placement | None:
    """The wall in and around a box; None if none is found."""
    try:
        return placer.place(cine, Localization(box, None))
    except TagstrainError:
        return None


def _frames_from_ed(cine: TaggedCine) -> NDArray[np.intp]:
    """Frames from ED on, without those that do not belong there: their motion is interpolated, not seen."""
    return np.flatnonzero(kept_frames(cine)[cine.ed_frame :]) + cine.ed_frame


def _cut_to(cine: TaggedCine, frames: NDArray[np.intp]) -> TaggedCine:
    """Some frames of a cine, the first of them ED, without a word about whose they are."""
    times_ms = cine.frame_times_ms[frames] - cine.frame_times_ms[frames[0]]
    kept = {"frames": cine.frames[frames], "frame_times_ms": times_ms}
    return replace(cine, ed_frame=0, source_series=None, affine=None, source="", name="slice", **kept)


def _doubted_by_phase(cine: TaggedCine, tracks: LandmarkTracks) -> LandmarkTracks:
    """Less sure by how far phase tracking sees the points elsewhere, which moves none of them: it errs more.

    Phase tracking has no say where tags have faded, nor with line tags: motion along them it takes for none.
    """
    points_px = tracks.points_px
    try:
        by_phase = HarpTracker().track(cine, points_px[0].reshape(-1, 2))
    except TagsNotFoundError:
        return tracks
    apart_px = np.linalg.norm(by_phase.points_px.reshape(points_px.shape) - points_px, axis=-1)
    seen = by_phase.sigma_px.reshape(apart_px.shape) * cine.pixel_mm < PHASE_SIGMA_MM
    return replace(tracks, sigma_px=np.hypot(tracks.sigma_px, np.where(seen, apart_px, 0.0)))


def _around_heart(cine: TaggedCine, points_px: NDArray[np.float64]) -> tuple[TaggedCine, NDArray[np.float64]]:
    """The part of the image that any training crop may show, with the place of its first pixel ``(x, y)``."""
    low, high = points_px.min(axis=(0, 1, 2)), points_px.max(axis=(0, 1, 2))
    reach_px = MARGIN * ((high - low) * cine.spacing_xy_mm).max() / cine.spacing_xy_mm
    rows, columns = cine.frames.shape[1:]
    first = np.maximum(np.floor(low - reach_px), 0).astype(int)
    last = np.minimum(np.ceil(high + reach_px), [columns - 1, rows - 1]).astype(int)
    window = np.ascontiguousarray(cine.frames[:, first[1] : last[1] + 1, first[0] : last[0] + 1])
    return replace(cine, frames=window), first.astype(float)
