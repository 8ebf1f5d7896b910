"""What another way of following the same tissue says: backwards from the last frame, or another tracker."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from tagstrain.data import LandmarkTracks, SliceResult
from tagstrain.errors import TagstrainError
from tagstrain.inference.interfaces import Tracker
from tagstrain.inference.strain import slice_strain
from tagstrain.quality.motion_field import root_mean_square


class Agreement(NamedTuple):
    """Distance of two estimates of one motion."""

    distance_mm: float
    """Root mean square over landmarks and frames."""
    circumferential_difference: float
    """Root mean square over frames of the difference in mid-wall strain."""


def track_back(result: SliceResult, tracker: Tracker) -> LandmarkTracks | None:
    """Follow the landmarks of the last frame backwards; None where the tracker gives up."""
    last = result.cine.n_frames - 1
    cine = replace(result.cine, ed_frame=last)
    points_px = result.landmarks.to_points().points_px[last]
    try:
        tracks = tracker.track(cine, points_px)
    except TagstrainError:
        return None
    return LandmarkTracks.from_points(tracks, result.landmarks.points_px.shape[2])


def closure_mm(result: SliceResult, backward: LandmarkTracks | None) -> float:
    """How far the landmarks miss their ED places when they are followed to the last frame and back, RMS."""
    if backward is None:
        return float("nan")
    ed = result.landmarks.ed_frame
    missed_px = backward.points_px[ed] - result.landmarks.points_px[ed]
    return float(root_mean_square(missed_px[None] * result.cine.spacing_xy_mm)[0])


def agreement(result: SliceResult, other: LandmarkTracks) -> Agreement:
    """Compare the landmarks with another estimate from the same ED places, as of another tracker.

    HARP beside the default tracker tells no more of its error than `Signals` do and doubles the time of a slice
    (benchmarks/quality/results.md), so that `assess` does not ask it.
    """
    cine = result.cine
    difference_mm = (other.points_px - result.landmarks.points_px) * cine.spacing_xy_mm
    curve = slice_strain(other, cine.spacing_xy_mm, cine.frame_times_ms).circumferential_midwall
    return Agreement(
        float(root_mean_square(difference_mm.reshape(1, -1, 2))[0]),
        float(np.sqrt(np.nanmean((curve - result.strain.circumferential_midwall) ** 2))),
    )
