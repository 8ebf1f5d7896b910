"""How well the tags are seen in the wall, frame by frame, and where they end: `tag_visibility`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from tagstrain.data import LandmarkTracks, TaggedCine
from tagstrain.errors import TagsNotFoundError
from tagstrain.geometry.tag_spectrum import measure_tags
from tagstrain.inference.harmonic_phase import relative_contrast
from tagstrain.inference.harp import N_FRAMES_WITH_STRONG_TAGS
from tagstrain.inference.odd_frames import odd_frames

SURROUNDINGS = 1.2
"""Region in which the tags are measured, over the largest distance of a landmark from the middle."""
CONTRAST_WINDOW = 0.6
"""Neighborhood of the contrast normalization over the tag spacing."""
SAMPLES_BETWEEN_SPOKES, SAMPLES_BETWEEN_RINGS = 4, 2
"""Finer than the tags: neighboring spokes alone can lie a whole tag spacing apart."""
N_SECTORS, N_SYSTOLIC_SECTORS = 6, 8
SYSTOLE_MS = (150.0, 400.0)
"""Since ED: by then the blood has left that was tagged with the wall, and the wall's tags have hardly faded."""
LEAST_SYSTOLIC_VISIBILITY = 0.22
"""Median over the ring below which tags have faded, or drown, all around it."""
LEAST_VISIBILITY = 0.03
"""Tags that hold less of the wall's contrast are gone; noise alone stays below."""


@dataclass(frozen=True, eq=False, slots=True)
class TagVisibility:
    """The tags in the tissue between the landmarks."""

    n_directions: int
    """Sets of tag lines: 2 for a grid, 1 for line tags, 0 where none were found."""
    share: NDArray[np.float64]
    """Share of the wall's contrast that is the tag pattern laid at ED, shape ``(time,)``; 0 (noise alone) to 1.

    It falls when tags fade, when noise drowns them, and when the landmarks do not follow the tissue. Interpolated over
    frames that do not belong between their neighbors.
    """
    end_frame: int
    """First frame of two in a row (or the last) without tags; the number of frames where they last."""
    evenness: float
    """Lowest over median of the patches of the wall (inner and outer half of every sixth), means over frames.

    It falls where part of what was taken for wall holds no tags that last: blood, lung, or tissue that was lost.
    """
    systolic_evenness: float
    """Lowest over median of the eighths of the wall, means over the frames of `SYSTOLE_MS`; NaN where there are none,
    or where tags are hardly seen all around.

    It falls where the ring is open, as at the outflow tract: what was taken for wall there is blood from within to
    without, whose tags are those of its surroundings at first.
    """


def tag_visibility(cine: TaggedCine, landmarks: LandmarkTracks) -> TagVisibility:
    """Spectral power at the tag frequencies against everything else, in coordinates that move with the tissue.

    Carried back to ED by the landmarks, the tags of every frame are the plane waves that they were when laid.
    """
    ed, spacing_xy_mm = landmarks.ed_frame, cine.spacing_xy_mm
    center_px = np.nanmean(landmarks.points_px[ed], axis=(0, 1))
    points_px = _refined(landmarks.points_px)
    ed_mm = (points_px[ed] - center_px) * spacing_xy_mm
    reach_mm = SURROUNDINGS * float(np.nanmax(np.linalg.norm(ed_mm, axis=-1)))
    strongest = cine.frames[max(0, min(ed, cine.n_frames - N_FRAMES_WITH_STRONG_TAGS)) :][:N_FRAMES_WITH_STRONG_TAGS]
    try:
        pattern = measure_tags(strongest, spacing_xy_mm, center_px, reach_mm)
    except TagsNotFoundError:
        return TagVisibility(0, np.zeros(cine.n_frames), 0, 0.0, float("nan"))
    spacing_px = float(np.mean([d.tag_spacing_mm for d in pattern.directions]) / cine.pixel_mm)
    contrast = relative_contrast(cine.frames, CONTRAST_WINDOW * spacing_px)
    values = np.stack([_sampled(image, points) for image, points in zip(contrast, points_px, strict=True)])
    waves = np.exp(-2j * np.pi * ed_mm @ pattern.frequencies_xy.T)
    share = np.array([_share(frame, waves) for frame in values])
    # What a frame that does not belong there shows tells nothing about the tags.
    kept = np.flatnonzero(~odd_frames(cine.frames))
    share = np.interp(np.arange(len(share)), kept, share[kept])
    since_ed_ms = cine.frame_times_ms[kept] - cine.frame_times_ms[ed]
    is_systole = (since_ed_ms >= SYSTOLE_MS[0]) & (since_ed_ms <= SYSTOLE_MS[1])
    return TagVisibility(
        len(pattern.directions),
        share,
        _end_frame(share, ed),
        _evenness(values[kept], waves),
        _systolic_evenness(values[kept[is_systole]], waves),
    )


def _end_frame(share: NDArray[np.float64], ed: int) -> int:
    """Where tags end after ED; one frame alone, as a mistriggered one, is no end."""
    unseen = np.append(share < LEAST_VISIBILITY, True)
    unseen[:ed] = False
    ends = np.flatnonzero(unseen[:-1] & unseen[1:])
    return int(ends[0]) if ends.size else len(share)


def _evenness(values: NDArray[np.float64], waves: NDArray[np.complex128]) -> float:
    """Lowest over median share of the patches, from values ``(time, spoke, ring)``."""
    n_spokes, n_rings = waves.shape[:2]
    half = n_rings // 2
    layers = slice(half), slice(n_rings - half, None)
    patches = [(sector, layer) for sector in _sectors(n_spokes, N_SECTORS) for layer in layers]
    lowest, median = _lowest_and_median(values, waves, patches)
    return lowest / median if median > 0 else 0.0


def _systolic_evenness(values: NDArray[np.float64], waves: NDArray[np.complex128]) -> float:
    """The same of eighths of the whole wall, from the values of some frames."""
    sectors = _sectors(len(waves), N_SYSTOLIC_SECTORS)
    known = [(sector, slice(None)) for sector in sectors if np.isfinite(values[:, sector]).any()]
    lowest, median = _lowest_and_median(values, waves, known) if known else (0.0, 0.0)
    return lowest / median if median >= LEAST_SYSTOLIC_VISIBILITY else float("nan")


def _sectors(n_spokes: int, n: int) -> list[slice]:
    """Spokes of each of ``n`` equal parts of the ring."""
    return [slice(k * n_spokes // n, (k + 1) * n_spokes // n) for k in range(n)]


def _lowest_and_median(
    values: NDArray[np.float64], waves: NDArray[np.complex128], patches: list[tuple[slice, slice]]
) -> tuple[float, float]:
    """Lowest and median share of patches (spokes, rings) of the wall, each a mean over the frames of ``values``."""
    shares = [np.mean([_share(frame[patch], waves[patch]) for frame in values]) for patch in patches]
    return float(min(shares)), float(np.median(shares))


def _refined(landmarks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Landmarks ``(time, spoke, ring, 2)`` on more spokes and rings of the same wall."""
    closed = np.concatenate([landmarks, landmarks[:, :1]], axis=1)
    spokes = _between(closed, SAMPLES_BETWEEN_SPOKES, axis=1)[:, :-1]
    return _between(spokes, SAMPLES_BETWEEN_RINGS, axis=2)


def _between(points: NDArray[np.float64], n_samples: int, axis: int) -> NDArray[np.float64]:
    """Points along one axis with ``n_samples`` steps from one to the next, the ends included."""
    positions = np.arange((points.shape[axis] - 1) * n_samples + 1) / n_samples
    before = np.minimum(positions.astype(int), points.shape[axis] - 2)
    share = np.expand_dims(positions - before, tuple(n for n in range(points.ndim) if n != axis))
    return np.asarray((1 - share) * points.take(before, axis) + share * points.take(before + 1, axis))


def _sampled(image: NDArray[np.float64], points_px: NDArray[np.float64]) -> NDArray[np.float64]:
    """Image at points ``(..., 2)``; NaN for points that are not known or not in the image."""
    rows, columns = image.shape
    with np.errstate(invalid="ignore"):
        known = ((points_px >= -0.5) & (points_px <= np.array([columns, rows]) - 0.5)).all(axis=-1)
    values = np.full(points_px.shape[:-1], np.nan)
    values[known] = map_coordinates(image, points_px[known].T[::-1], order=1, mode="nearest")
    return values


def _share(values: NDArray[np.float64], waves: NDArray[np.complex128]) -> float:
    """Share of the variance of values ``(...)`` that lies in waves ``(..., direction)``."""
    known = np.isfinite(values)
    if not known.any():
        return 0.0
    centered = values[known] - values[known].mean()
    variance = float(np.mean(centered**2))
    amplitudes = (centered[:, None] * waves[known]).mean(axis=0)
    return min(1.0, float((2 * np.abs(amplitudes) ** 2).sum()) / variance) if variance > 0 else 0.0
