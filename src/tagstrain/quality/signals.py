"""Everything measured about how far a slice can be trusted, by name and unit: `Signals`, `measure_signals`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tagstrain.data import SliceResult
from tagstrain.inference.interfaces import Tracker
from tagstrain.quality.motion_field import (
    cell_area_spread,
    end_drift_mm,
    folded_share,
    jump_mm,
    roughness_mm,
    wall_area_ratio,
)
from tagstrain.quality.second_opinion import closure_mm, track_back
from tagstrain.quality.tag_visibility import tag_visibility
from tagstrain.quality.wall_shape import border_distance_mm, wall_shape


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
    tags_end_ms: float
    """Time of the last frame in which tags are seen; NaN where none are."""
    sigma_mm: float
    """Standard deviation that the tracker states, RMS over landmarks and frames."""
    closure_mm: float
    """How far landmarks miss their ED places, followed to the last frame and back, RMS."""
    wall_area_change: float
    """Largest change of the wall's area against ED, as a fraction."""
    cell_area_spread: float
    """Largest spread of the area ratio over the cells of the landmark grid, as a fraction."""
    folded_share: float
    """Largest share of the cells that are turned inside out."""
    roughness_mm: float
    """Largest RMS distance of displacements from the mean of those beside them."""
    jump_mm: float
    """Largest RMS distance of the landmarks of a frame from the straight way between its neighbors."""
    jump_frame: int
    """That frame."""
    largest_stretch: float
    """Largest circumferential strain, mid-wall, of any frame: a beating ring shortens."""
    end_drift_mm: float
    """How far the wall as a whole lies from its ED place in the last frame."""
    largest_gap: float
    """Longest interval between frames over the median interval."""
    localization_confidence: float
    """Of the localizer, 0 to 1; NaN where none is stated."""
    cavity_radius_mm: float
    wall_thickness_mm: float
    axis_ratio: float
    """Longer over shorter axis of the epicardium at ED."""
    border_distance_mm: float
    """Least distance of a landmark from the border of the image over the cycle; negative outside."""


def measure_signals(result: SliceResult, tracker: Tracker) -> Signals:
    """Measure a slice.

    Parameters
    ----------
    tracker
        What followed the landmarks; it is asked to follow them back.
    """
    cine, landmarks, strain = result.cine, result.landmarks, result.strain
    ed, times_ms = landmarks.ed_frame, cine.frame_times_ms
    points_mm = landmarks.points_px * cine.spacing_xy_mm
    tags = tag_visibility(cine, landmarks)
    jumps_mm = jump_mm(points_mm, times_ms)
    shape = wall_shape(points_mm[ed])
    intervals_ms = np.diff(times_ms)
    confidence = result.localization.confidence
    first, end = sorted((ed, strain.es_frame))
    return Signals(
        n_tag_directions=tags.n_directions,
        tag_visibility_ed=float(tags.share[ed]),
        tag_visibility_mean=float(tags.share.mean()),
        tag_visibility_lowest=float(tags.share[first : end + 1].min()),
        tag_evenness=tags.evenness,
        tags_end_ms=float(times_ms[tags.end_frame - 1]) if tags.end_frame else float("nan"),
        sigma_mm=_sigma_mm(landmarks.sigma_px, cine.spacing_xy_mm),
        closure_mm=closure_mm(result, track_back(result, tracker)),
        wall_area_change=_largest(np.abs(wall_area_ratio(points_mm, ed) - 1)),
        cell_area_spread=_largest(cell_area_spread(points_mm, ed)),
        folded_share=_largest(folded_share(points_mm, ed)),
        roughness_mm=_largest(roughness_mm(points_mm, ed)),
        jump_mm=_largest(jumps_mm),
        jump_frame=int(np.nanargmax(jumps_mm)) + 1 if np.isfinite(jumps_mm).any() else ed,
        largest_stretch=float(np.nanmax(strain.circumferential_midwall)),
        end_drift_mm=end_drift_mm(points_mm, ed),
        largest_gap=float(intervals_ms.max() / np.median(intervals_ms)),
        localization_confidence=float("nan") if confidence is None else confidence,
        cavity_radius_mm=shape.cavity_radius_mm,
        wall_thickness_mm=shape.thickness_mm,
        axis_ratio=shape.axis_ratio,
        border_distance_mm=border_distance_mm(cine, landmarks),
    )


def _largest(values: NDArray[np.float64]) -> float:
    """Largest value of any frame; NaN where none is known."""
    known = values[np.isfinite(values)]
    return float(known.max()) if known.size else float("nan")


def _sigma_mm(sigma_px: NDArray[np.float64], spacing_xy_mm: NDArray[np.float64]) -> float:
    """Root mean square of the stated standard deviations; NaN where none is stated."""
    known = sigma_px[np.isfinite(sigma_px)]
    return float(np.sqrt(np.mean(known**2)) * spacing_xy_mm.mean()) if known.size else float("nan")
