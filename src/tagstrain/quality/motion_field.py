"""What the motion of the landmarks says about itself: area of the wall, smoothness, fold-overs, jumps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tagstrain.mechanics.strain import mean_known

Array = NDArray[np.float64]


def cell_areas_mm2(landmarks_mm: NDArray[np.floating]) -> Array:
    """Signed area of the cells between neighboring spokes and rings.

    Parameters
    ----------
    landmarks_mm
        Shape ``(..., spoke, ring, 2)``, spokes closed.

    Returns
    -------
        Shape ``(..., spoke, ring - 1)``; one sign as long as neither spokes nor rings change order.
    """
    points = np.asarray(landmarks_mm, np.float64)
    after = np.roll(points, -1, axis=-3)
    first = after[..., 1:, :] - points[..., :-1, :]
    second = points[..., 1:, :] - after[..., :-1, :]
    return np.asarray((first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]) / 2)


def wall_area_ratio(landmarks_mm: NDArray[np.floating], ed_frame: int) -> Array:
    """Area of the wall over that at ED, shape ``(time,)``; near 1 for a slice that leaves its plane little.

    Of the cells that are known both now and at ED; NaN where none is.
    """
    areas = cell_areas_mm2(landmarks_mm)
    known = np.isfinite(areas) & np.isfinite(areas[ed_frame])
    now, then = (np.where(known, area, 0).sum(axis=(1, 2)) for area in (areas, areas[ed_frame]))
    return np.asarray(np.divide(now, then, out=np.full(len(areas), np.nan), where=then != 0))


def cell_area_spread(landmarks_mm: NDArray[np.floating], ed_frame: int) -> Array:
    """Spread of the cells' area ratios about their median, half of 16th to 84th percentile, shape ``(time,)``.

    NaN where no cell is known.
    """
    areas = cell_areas_mm2(landmarks_mm)
    ratio = (areas / areas[ed_frame]).reshape(len(areas), -1)
    spread = np.full(len(ratio), np.nan)
    known = np.isfinite(ratio).any(axis=1)
    if known.any():
        low, high = np.nanpercentile(ratio[known], [16, 84], axis=1)
        spread[known] = (high - low) / 2
    return spread


def folded_share(landmarks_mm: NDArray[np.floating], ed_frame: int) -> Array:
    """Share of the known cells that are turned inside out, shape ``(time,)``: tissue cannot pass through tissue.

    NaN where none is known.
    """
    areas = cell_areas_mm2(landmarks_mm)
    upright = areas * np.sign(areas[ed_frame])
    return mean_known(np.where(np.isfinite(upright), upright <= 0, np.nan).reshape(len(areas), -1), axis=1)


def roughness_mm(landmarks_mm: NDArray[np.floating], ed_frame: int) -> Array:
    """How far displacements lie from the mean of those of both neighboring spokes, RMS, shape ``(time,)``."""
    points = np.asarray(landmarks_mm, np.float64)
    moved = points - points[ed_frame]
    beside = (np.roll(moved, 1, axis=1) + np.roll(moved, -1, axis=1)) / 2
    return root_mean_square(moved - beside)


def jump_mm(landmarks_mm: NDArray[np.floating], frame_times_ms: NDArray[np.floating]) -> Array:
    """How far landmarks lie from the straight way between the frames before and after, RMS, shape ``(time - 2,)``.

    A heart moves smoothly in time; a frame of another moment of the cycle does not lie on its way. By how much a smooth
    way bends grows with the product of the intervals to both neighbors: beside a gap, it is brought down to that of
    frames at the median interval.
    """
    times = np.asarray(frame_times_ms, np.float64)
    before, after = times[1:-1] - times[:-2], times[2:] - times[1:-1]
    share = (before / (before + after)).reshape(-1, 1, 1, 1)
    points = np.asarray(landmarks_mm, np.float64)
    between = points[:-2] + share * (points[2:] - points[:-2])
    usual = np.median(np.diff(times)) ** 2
    return np.asarray(root_mean_square(points[1:-1] - between) / np.maximum(1.0, before * after / usual))


def root_mean_square(vectors: NDArray[np.floating]) -> Array:
    """Root mean square length of known vectors ``(time, ..., 2)`` of every frame; NaN where none is known."""
    squares = (np.asarray(vectors, np.float64) ** 2).sum(axis=-1)
    known = np.isfinite(squares)
    in_frame = tuple(range(1, squares.ndim))
    total = np.where(known, squares, 0).sum(axis=in_frame)
    count = known.sum(axis=in_frame)
    return np.asarray(np.sqrt(np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)))


def largest_known(values: NDArray[np.floating]) -> float:
    """Largest of all known values; NaN where none is known."""
    known = values[np.isfinite(values)]
    return float(known.max()) if known.size else float("nan")


def rms_known(values: NDArray[np.floating]) -> float:
    """Root mean square of all known values; NaN where none is known."""
    known = values[np.isfinite(values)]
    return float(np.sqrt(np.mean(known**2))) if known.size else float("nan")
