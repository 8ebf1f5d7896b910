"""Everything measured about how far a slice can be trusted, by name and unit: `Signals`, `measure_signals`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tagstrain.data import SliceResult, TaggedCine
from tagstrain.data.landmarks import MIDWALL_RING
from tagstrain.geometry import CropTransform
from tagstrain.inference.interfaces import Localizer, Placer, Tracker, grey_doubt
from tagstrain.inference.odd_frames import kept_frames
from tagstrain.inference.steps import steps_px
from tagstrain.mechanics.strain import circumferential_strain
from tagstrain.quality.motion_field import (
    cell_area_spread,
    folded_share,
    jump_mm,
    largest_known,
    rms_known,
    roughness_mm,
    wall_area_ratio,
)
from tagstrain.quality.second_opinion import (
    agreement,
    closure_mm,
    first_view,
    frame_of_given_wall,
    localizer_overlap,
    place_again,
    track_back,
    view_distance_mm,
    wall_distance_mm,
)
from tagstrain.quality.tag_visibility import tag_visibility
from tagstrain.quality.wall_shape import border_distance_mm, wall_shape

STEPS_SEEN_IN, LEAST_SEEN_MM = 1.5, 70.0
"""How much wider than the wall, and how wide at least, the crop is in which steps are looked for, as the tracker's."""


@dataclass(frozen=True, slots=True)
class Signals:
    """What was measured on one slice; NaN where it could not be."""

    n_tag_directions: int
    """2 for a grid, 1 for line tags, whose motion along the lines leaves no trace, 0 where no tags were found."""
    tag_visibility_ed: float
    """Share of the wall's contrast that is the tag pattern laid at ED (`TagVisibility.share`), in the ED frame."""
    tag_visibility_mean: float
    """Mean over frames."""
    tag_visibility_lowest: float
    """Lowest of any frame up to ES."""
    tag_evenness: float
    """Visibility in the worst patch of the wall over the median patch (`TagVisibility.evenness`)."""
    systolic_evenness: float
    """The same of eighths of the ring in systole (`TagVisibility.systolic_evenness`); NaN where tags have faded."""
    visibility_rise: float
    """By how much the visibility rises again above what it had fallen to, at most: no tags are laid in between."""
    visibility_rise_frame: int
    """Frame in which it stands highest above what it had fallen to."""
    tags_end_ms: float
    """Time of the last frame in which tags are seen; NaN where none are."""
    sigma_mm: float
    """Standard deviation that the tracker states, RMS over landmarks and frames."""
    view_distance_mm: float
    """How far landmarks lie from where the first of the tracker's views sees them, RMS; NaN where
    `LandmarkTracks.first_view_px` is None."""
    view_strain_difference: float
    """Mid-wall circumferential strain of the slice against that of the first view (`Agreement`)."""
    view_regional_difference: float
    """The same of sixths of the ring."""
    closure_mm: float
    """How far landmarks miss their ED places, followed to the last frame and back, RMS."""
    back_strain_difference: float
    """Mid-wall circumferential strain on the way back against that on the way there (`Agreement`), of the slice."""
    back_regional_difference: float
    """The same of sixths of the ring."""
    repeat_wall_mm: float
    """How far the wall placed once more, by every other frame (`place_again`), lies from this one at ED
    (`wall_distance_mm`)."""
    given_wall_frame: int
    """Frame in which that wall comes to lie where the user's does at ED (`frame_of_given_wall`), else ED."""
    border_spread_mm: float
    """How blurred the placer saw endocardium and epicardium then, RMS along all spokes; NaN if it does not say."""
    without_grey_mm: float
    """How far that wall moves when the placer is not shown grey levels (`GreyDoubt`); NaN if it cannot say."""
    by_motion_mm: float
    """How far it moves from there when the placer is not shown how far tags persist either."""
    strain_roughness: float
    """Difference of mid-wall circumferential strain from the mean of that beside it on the ring, RMS."""
    strain_gradient_per_mm: float
    """Change of circumferential strain with depth in the wall, RMS over spokes and frames: where it is steep, little
    off the true mid-wall is much off its strain."""
    wall_area_change: float
    """Largest change of the wall's area against ED, as a fraction."""
    cell_area_spread: float
    """Largest spread of the area ratio over the cells of the landmark grid, as a fraction."""
    folded_share: float
    """Largest share of the cells that are turned inside out."""
    roughness_mm: float
    """Largest RMS distance of displacements from the mean of those beside them."""
    step_mm: float
    """Largest step that all tissue in sight makes from one frame to the next (`inference.steps`); 0 where none does."""
    step_frame: int
    """Frame after it."""
    jump_mm: float
    """Largest RMS distance of the landmarks of a frame, without such steps, from the straight way between its
    neighbors, brought down to the usual interval beside a gap (`motion_field.jump_mm`)."""
    jump_frame: int
    """That frame."""
    unknown_share: float
    """Largest share of landmarks in any frame of which nobody says where they are."""
    unknown_frame: int
    """That frame."""
    largest_stretch: float
    """Largest circumferential strain, mid-wall, of any frame: a beating ring shortens."""
    peak_shortening: float
    """Largest circumferential shortening, mid-wall, of any frame, as a fraction (Green-Lagrange); 0 for a ring that
    only stretches."""
    largest_gap: float
    """Longest interval between frames over the median interval."""
    cavity_radius_mm: float
    wall_thickness_mm: float
    axis_ratio: float
    """Longer over shorter axis of the epicardium at ED."""
    thickness_step: float
    """Largest ratio between the length of a spoke at ED and those beside it (`WallShape`)."""
    localizer_overlap: float
    """Intersection over union of the box around the landmarks at ED and that in which the localizer sees the left
    ventricle by itself; 0 where it sees none."""
    border_distance_mm: float
    """Least distance of a landmark from the border of the image over the cycle; negative outside."""


def measure_signals(result: SliceResult, tracker: Tracker, placer: Placer, localizer: Localizer) -> Signals:
    """Measure a slice.

    Parameters
    ----------
    tracker
        What followed the landmarks; it is asked to follow them back.
    placer
        What finds walls; it is asked once more, of every other frame.
    localizer
        What finds hearts; it is asked where it was not before.
    """
    cine, landmarks, strain = result.cine, result.landmarks, result.strain
    ed, times_ms = landmarks.ed_frame, cine.frame_times_ms
    points_mm = landmarks.points_px * cine.spacing_xy_mm
    tags = tag_visibility(cine, landmarks)
    kept = kept_frames(cine)
    stepped_mm = _steps_mm(cine, landmarks.points_px, kept)[kept]
    step_lengths_mm = np.linalg.norm(np.diff(stepped_mm, axis=0), axis=-1)
    # Frames that are left out lie between those beside them.
    steps_mm = np.stack([np.interp(times_ms, times_ms[kept], along) for along in stepped_mm.T], axis=-1)
    jumps_mm = jump_mm(points_mm - steps_mm[:, None, None], times_ms)
    shape = wall_shape(points_mm[ed])
    intervals_ms = np.diff(times_ms)
    back, again = track_back(result, tracker), place_again(result, placer)
    by_view = agreement(result, first_view(landmarks))
    on_the_way_back = agreement(result, back)
    spread_mm = None if again is None else again.border_spread_mm
    doubt = grey_doubt(cine, again, placer)
    first, end = sorted((ed, strain.es_frame))
    unknown = 1 - np.isfinite(points_mm).all(axis=-1).mean(axis=(1, 2))
    rises = tags.share - np.minimum.accumulate(tags.share)
    return Signals(
        n_tag_directions=tags.n_directions,
        tag_visibility_ed=float(tags.share[ed]),
        tag_visibility_mean=float(tags.share.mean()),
        tag_visibility_lowest=float(tags.share[first : end + 1].min()),
        tag_evenness=tags.evenness,
        systolic_evenness=tags.systolic_evenness,
        visibility_rise=float(rises.max()),
        visibility_rise_frame=int(rises.argmax()),
        tags_end_ms=float(times_ms[tags.end_frame - 1]) if tags.end_frame else float("nan"),
        sigma_mm=rms_known(landmarks.sigma_px) * cine.pixel_mm,
        view_distance_mm=view_distance_mm(result),
        view_strain_difference=by_view.circumferential,
        view_regional_difference=by_view.regional,
        closure_mm=closure_mm(result, back),
        back_strain_difference=on_the_way_back.circumferential,
        back_regional_difference=on_the_way_back.regional,
        repeat_wall_mm=wall_distance_mm(result, again),
        given_wall_frame=frame_of_given_wall(result, again, tracker),
        border_spread_mm=float("nan") if spread_mm is None else rms_known(spread_mm),
        without_grey_mm=doubt.without_grey_mm,
        by_motion_mm=doubt.by_motion_mm,
        strain_roughness=_strain_roughness(points_mm, ed),
        strain_gradient_per_mm=_strain_gradient_per_mm(points_mm, ed),
        wall_area_change=largest_known(np.abs(wall_area_ratio(points_mm, ed) - 1)),
        cell_area_spread=largest_known(cell_area_spread(points_mm, ed)),
        folded_share=largest_known(folded_share(points_mm, ed)),
        roughness_mm=largest_known(roughness_mm(points_mm, ed)),
        step_mm=float(step_lengths_mm.max()),
        step_frame=int(np.flatnonzero(kept)[step_lengths_mm.argmax() + 1]),
        jump_mm=largest_known(jumps_mm),
        jump_frame=int(np.nanargmax(jumps_mm)) + 1 if np.isfinite(jumps_mm).any() else ed,
        unknown_share=float(unknown.max()),
        unknown_frame=int(unknown.argmax()),
        largest_stretch=largest_known(strain.circumferential_midwall),
        peak_shortening=float(np.maximum(largest_known(-strain.midwall_of_beat), 0.0)) + 0.0,  # never -0.0
        largest_gap=float(intervals_ms.max() / np.median(intervals_ms)),
        cavity_radius_mm=shape.cavity_radius_mm,
        wall_thickness_mm=shape.thickness_mm,
        axis_ratio=shape.axis_ratio,
        thickness_step=shape.thickness_step,
        localizer_overlap=localizer_overlap(result, localizer),
        border_distance_mm=border_distance_mm(cine, landmarks),
    )


def _steps_mm(cine: TaggedCine, points_px: NDArray[np.float64], kept: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Steps since ED ``(time, 2)`` of all that is around landmarks ``(time, spoke, ring, 2)``."""
    ed_points_px = points_px[cine.ed_frame].reshape(-1, 2)
    known_mm = ed_points_px[np.isfinite(ed_points_px).all(axis=-1)] * cine.spacing_xy_mm
    x, y = (known_mm.min(axis=0) + known_mm.max(axis=0)) / 2 / cine.spacing_xy_mm
    side_mm = max(STEPS_SEEN_IN * float(np.ptp(known_mm, axis=0).max()), LEAST_SEEN_MM)
    spacing_xy_mm = (float(cine.spacing_xy_mm[0]), float(cine.spacing_xy_mm[1]))
    crop = CropTransform((float(x), float(y)), side_mm, 1, spacing_xy_mm)
    return steps_px(cine, crop, kept) * cine.spacing_xy_mm


def _strain_gradient_per_mm(points_mm: NDArray[np.float64], ed_frame: int) -> float:
    """Difference of circumferential strain over the distance at ED, between the rings next to the borders."""
    inner, outer = 1, points_mm.shape[2] - 2
    strain = circumferential_strain(points_mm, ed_frame)
    ed_mm = points_mm[ed_frame]
    apart_mm = np.linalg.norm(ed_mm[:, outer] - ed_mm[:, inner], axis=-1)
    between_spokes_mm = (apart_mm + np.roll(apart_mm, -1)) / 2  # where strain lies
    return rms_known((strain[:, :, outer] - strain[:, :, inner]) / between_spokes_mm)


def _strain_roughness(points_mm: NDArray[np.float64], ed_frame: int) -> float:
    """Spread of mid-wall circumferential strain from one pair of spokes to the next; NaN where none is known."""
    strain = circumferential_strain(points_mm, ed_frame)[:, :, MIDWALL_RING]
    return rms_known(strain - (np.roll(strain, 1, axis=1) + np.roll(strain, -1, axis=1)) / 2)
