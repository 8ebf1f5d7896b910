"""What a second way of measuring a slice says: followed back from the end, or placed by half of the frames.

A tracker that can hurry (`quick_variant`) does so on the way back: that ranks errors as well as one without haste.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tagstrain.data import Box, LandmarkTracks, Localization, SliceResult
from tagstrain.data.landmarks import MIDWALL_RING
from tagstrain.errors import TagstrainError
from tagstrain.inference.interfaces import Localizer, Placement, Placer, Tracker, quick_variant
from tagstrain.mechanics.strain import circumferential_strain, mean_known
from tagstrain.quality.motion_field import rms_known, root_mean_square

Array = NDArray[np.float64]
N_REGIONS = 6
LEAST_FRAMES = 2
LEAST_MISFIT_MM, CLEARLY_BETTER = 1.5, 0.5
"""A wall was drawn on another frame where both contours lie further than this from those placed at ED, and at most this
share as far from them in that frame.

In five simulated hearts true walls of the fourth frame after ED and of the eighth lie 2.3 mm off or more with each
contour and come to 0.25 at most; of true walls at ED one contour lies 0.5 mm off at most; a reader's of a real heart, 3
mm off, fits no other frame.
"""


class Agreement(NamedTuple):
    """How far two estimates of mid-wall circumferential strain lie apart, RMS over frames; NaN where one is missing.

    Strain of another wall counts: where the wall is drawn is part of what is measured.
    """

    circumferential: float
    """Of the slice's mean."""
    regional: float
    """Of sixths of the ring."""


def track_back(result: SliceResult, tracker: Tracker) -> LandmarkTracks | None:
    """Follow the landmarks from the end of the cine further from ED back; None where the tracker gives up."""
    last = result.cine.n_frames - 1
    end = last if result.landmarks.ed_frame <= last / 2 else 0
    cine = replace(result.cine, ed_frame=end)
    points_px = result.landmarks.to_points().points_px[end]
    try:
        tracks = quick_variant(tracker).track(cine, points_px)
    except TagstrainError:
        return None
    back = LandmarkTracks.from_points(tracks, result.landmarks.points_px.shape[2])
    return replace(back, ed_frame=result.landmarks.ed_frame)


def place_again(result: SliceResult, placer: Placer) -> Placement | None:
    """Place the wall once more, by every other frame alone, ED among them; None where that fails.

    What is well seen comes out the same. A wall that the user gave is placed too: how else would it be doubted?
    """
    cine, ed = result.cine, result.landmarks.ed_frame
    frames = np.arange(ed % 2, cine.n_frames, 2)
    if len(frames) < LEAST_FRAMES:
        return None
    rows, columns = cine.frames.shape[1:]
    half = replace(
        cine,
        frames=cine.frames[frames],
        frame_times_ms=cine.frame_times_ms[frames],
        ed_frame=ed // 2,
        source_series=None,  # it lists an image for every frame
    )
    try:
        return placer.place(half, Localization(_wall_box(result).within(rows, columns), None))
    except TagstrainError:
        return None


def localizer_overlap(result: SliceResult, localizer: Localizer) -> float:
    """Intersection over union of the wall's box and the localizer's, which is asked where it was not before; 0 where it
    sees no heart."""
    try:
        seen = result.seen_box or localizer.localize(result.cine).box
    except TagstrainError:
        return 0.0
    return _wall_box(result).iou(seen) if np.isfinite(seen).all() else 0.0


def _wall_box(result: SliceResult) -> Box:
    """The box around the known landmarks at ED."""
    points_px = result.landmarks.points_px[result.landmarks.ed_frame].reshape(-1, 2)
    return Box.around(points_px[np.isfinite(points_px).all(axis=1)])


def agreement(result: SliceResult, other: LandmarkTracks | None) -> Agreement:
    """Compare the landmarks with another estimate."""
    if other is None:
        return Agreement(float("nan"), float("nan"))
    spacing, ed = result.cine.spacing_xy_mm, result.landmarks.ed_frame
    ours = regional_strain(result.landmarks.points_px * spacing, ed)
    try:
        theirs = regional_strain(other.points_px * spacing, other.ed_frame)
    except ValueError:  # landmarks that fell together
        return Agreement(float("nan"), float("nan"))
    difference = theirs - ours
    return Agreement(rms_known(mean_known(difference, axis=1)), rms_known(difference))


def first_view(landmarks: LandmarkTracks) -> LandmarkTracks | None:
    """The landmarks as the first view sees them; None where the tracker does not say."""
    seen_px = landmarks.first_view_px
    return None if seen_px is None else replace(landmarks, points_px=seen_px, first_view_px=None)


def view_distance_mm(result: SliceResult) -> float:
    """How far the landmarks of the first view lie from those of all views, RMS over landmarks and frames."""
    seen = first_view(result.landmarks)
    if seen is None:
        return float("nan")
    offset_mm = (seen.points_px - result.landmarks.points_px) * result.cine.spacing_xy_mm
    return rms_known(np.linalg.norm(offset_mm, axis=-1))


def closure_mm(result: SliceResult, backward: LandmarkTracks | None) -> float:
    """How far the landmarks miss their ED places when they are followed to the end further from ED and back, RMS."""
    if backward is None:
        return float("nan")
    ed = result.landmarks.ed_frame
    missed_px = backward.points_px[ed] - result.landmarks.points_px[ed]
    return float(root_mean_square(missed_px[None] * result.cine.spacing_xy_mm)[0])


def wall_distance_mm(result: SliceResult, other: Placement | None) -> float:
    """How far another wall lies from ours at ED: distance of centers and of mean radii, RMS of both contours."""
    if other is None:
        return float("nan")
    return float(np.sqrt((_apart_mm(result, other.wall_px) ** 2).mean()))


def frame_of_given_wall(result: SliceResult, placed: Placement | None, tracker: Tracker) -> int:
    """Frame in which the placed wall comes to lie where the user's is said to lie at ED.

    It is another one than ED where a reader drew what was seen there: both contours then lie elsewhere at ED, and both
    fit. ED where the placed wall fits as well there, for walls that were placed, and where the tracker gives up.
    """
    ed = result.landmarks.ed_frame
    is_placed = not result.is_wall_given or result.seen_box is not None  # placers may say nothing of their borders
    if placed is None or is_placed:
        return ed
    if not _apart_mm(result, placed.wall_px).min() > LEAST_MISFIT_MM:
        return ed
    try:
        tracks = quick_variant(tracker).track(result.cine, placed.wall_px.reshape(-1, 2))
    except TagstrainError:
        return ed
    walls_px = tracks.points_px.reshape(-1, *placed.wall_px.shape)
    apart_mm = np.nan_to_num([_apart_mm(result, wall_px) for wall_px in walls_px], nan=np.inf)
    best = int((apart_mm**2).sum(axis=1).argmin())
    return best if (apart_mm[best] < CLEARLY_BETTER * apart_mm[ed]).all() else ed


def _apart_mm(result: SliceResult, wall_px: Array) -> Array:
    """How far endocardium and epicardium of a wall ``(spoke, ring, 2)`` lie from ours at ED, by center and radius."""
    ours_px = result.landmarks.points_px[result.landmarks.ed_frame]
    first, second = (_circles_mm(each_px * result.cine.spacing_xy_mm) for each_px in (ours_px, wall_px))
    return np.asarray(np.linalg.norm(first - second, axis=1))


def _circles_mm(wall_mm: Array) -> Array:
    """Center x, y and mean radius of endocardium and epicardium, ``(2, 3)``."""
    contours = wall_mm[:, [0, -1]]
    center = mean_known(contours, axis=0)
    radius = mean_known(np.linalg.norm(contours - center, axis=-1), axis=0)
    return np.column_stack([center, radius])


def regional_strain(points_mm: Array, ed_frame: int) -> Array:
    """Mid-wall circumferential strain in sixths of the ring by the angle at ED, from +x, ``(time, sixth)``.

    NaN where none is known.
    """
    strain = circumferential_strain(points_mm, ed_frame)[:, :, MIDWALL_RING]
    ring = points_mm[ed_frame, :, MIDWALL_RING]
    middle = (ring + np.roll(ring, -1, axis=0)) / 2 - mean_known(ring, axis=0)
    angle = np.nan_to_num(np.arctan2(middle[:, 1], middle[:, 0]))
    sixth = np.floor(angle / (2 * np.pi) * N_REGIONS).astype(int) % N_REGIONS
    return np.column_stack([mean_known(strain[:, sixth == k], axis=1) for k in range(N_REGIONS)])
