"""Tracks to learn from where there are no labels: `follow_cohort`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tagstrain.data import FollowedSlice, LandmarkTracks, SliceFailure, SliceResult, Study, TaggedCine
from tagstrain.errors import TagsNotFoundError
from tagstrain.inference.analyze import Models, analyze_slices
from tagstrain.inference.flow import FlowTracker
from tagstrain.inference.harp import HarpTracker
from tagstrain.networks.symmetry import N_SYMMETRIES

PHASE_AGREEMENT_MM = 1.0
"""Distance from the learned tracks up to which phase tracking counts as right about the same tag line, and standard
deviation up to which it counts as having seen the point at all.

Well below half of the narrowest tag spacing in use, 4 mm: beyond that it may follow the next line."""
MARGIN = 0.9
"""Surroundings that are kept on every side, over the extent of the wall: training crops reach no further."""


def teaching_models(models: Models) -> Models:
    """The same pipeline with a flow tracker that averages all eight symmetries."""
    assert isinstance(models.tracker, FlowTracker)
    return replace(models, tracker=replace(models.tracker, symmetries=tuple(range(N_SYMMETRIES))), insertion=None)


def follow_cohort(study: Study, models: Models) -> Iterator[FollowedSlice | SliceFailure]:
    """Localize, place and follow every slice of a study that is fit to learn from, one in memory at a time.

    Parameters
    ----------
    models
        From `teaching_models`.

    Yields
    ------
        What was followed, or why a slice is left out.
    """
    for outcome in analyze_slices(study, models):
        yield outcome if isinstance(outcome, SliceFailure) else followed_slice(outcome)


def followed_slice(result: SliceResult) -> FollowedSlice | SliceFailure:
    """Turn a result into what can be learned from: from ED on, cut to the heart, corrected by phase tracking."""
    ed = result.cine.ed_frame
    cine = _from_ed(result.cine)
    if cine is None:
        return SliceFailure(result.cine.name, "has no frame after ED")
    points_px, sigma_px = result.landmarks.points_px[ed:], result.landmarks.sigma_px[ed:]
    tracks = _checked_by_phase(cine, LandmarkTracks(points_px, sigma_px))
    cut, origin_xy = _around_heart(cine, points_px)
    return FollowedSlice(cut, replace(tracks, points_px=tracks.points_px - origin_xy))


def _from_ed(cine: TaggedCine) -> TaggedCine | None:
    """The cine from ED on; None where nothing comes after."""
    ed = cine.ed_frame
    if ed > cine.n_frames - 2:
        return None
    kept = {"frames": cine.frames[ed:], "frame_times_ms": cine.frame_times_ms[ed:] - cine.frame_times_ms[ed]}
    return replace(cine, ed_frame=0, source_series=None, affine=None, source="", name="slice", **kept)


def _checked_by_phase(cine: TaggedCine, tracks: LandmarkTracks) -> LandmarkTracks:
    """Half-way to the phase-tracked place where both mean the same tag line; less sure by how far they are apart.

    Phase tracking has no say where tags have faded, nor with line tags: motion along them it takes for none.
    """
    points_px = tracks.points_px
    try:
        by_phase = HarpTracker().track(cine, points_px[0].reshape(-1, 2))
    except TagsNotFoundError:
        return tracks
    pixel_mm = np.sqrt(np.prod(cine.spacing_xy_mm))
    off_px = by_phase.points_px.reshape(points_px.shape) - points_px
    seen = by_phase.sigma_px.reshape(points_px.shape[:-1]) * pixel_mm < PHASE_AGREEMENT_MM
    agree = seen & (np.linalg.norm(off_px * cine.spacing_xy_mm, axis=-1) < PHASE_AGREEMENT_MM)
    apart_px = np.where(seen, np.linalg.norm(off_px, axis=-1), 0.0)
    return replace(
        tracks,
        points_px=points_px + np.where(agree[..., None], off_px / 2, 0.0),
        sigma_px=np.hypot(tracks.sigma_px, apart_px),
    )


def _around_heart(cine: TaggedCine, points_px: NDArray[np.float64]) -> tuple[TaggedCine, NDArray[np.float64]]:
    """The part of the image that any training crop may show, with the place of its first pixel ``(x, y)``."""
    low, high = points_px.min(axis=(0, 1, 2)), points_px.max(axis=(0, 1, 2))
    reach_px = MARGIN * ((high - low) * cine.spacing_xy_mm).max() / cine.spacing_xy_mm
    rows, columns = cine.frames.shape[1:]
    first = np.maximum(np.floor(low - reach_px), 0).astype(int)
    last = np.minimum(np.ceil(high + reach_px), [columns - 1, rows - 1]).astype(int)
    window = np.ascontiguousarray(cine.frames[:, first[1] : last[1] + 1, first[0] : last[0] + 1])
    return replace(cine, frames=window), first.astype(float)
