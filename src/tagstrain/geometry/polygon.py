"""Closed contours as polygons: rays from inside, the landmark grid and the pixels between two of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tagstrain.geometry.grid import wall_grid

MIN_AREA = 1e-9
"""Polygons of less have no area but what rounding leaves."""
_N_SCAN_LINES = 200
_SHRINKING = 0.02
"""Share of the outermost ring's area by which one ring may enclose less than the one before."""
_LARGEST_LOOPS = 0.002
"""Share of the area of a contour that may lie in loops: drawn freely, its ends often cross by a pixel."""


def area_centroid(polygon: NDArray[np.floating]) -> NDArray[np.float64]:
    """Centroid of the area inside a polygon ``(point, 2)``, any unit.

    Raises
    ------
    ValueError
        If the polygon has fewer than three corners or no area.
    """
    corners = np.asarray(polygon, np.float64)
    if corners.ndim != 2 or corners.shape[1] != 2 or len(corners) < 3 or not np.isfinite(corners).all():
        raise ValueError(f"expected at least three finite corners (x, y), got an array of shape {corners.shape}")
    origin = corners.mean(axis=0)
    first = corners - origin
    second = np.roll(first, -1, axis=0)
    cross = _cross(first, second)
    if abs(cross.sum()) / 2 < MIN_AREA:
        raise ValueError("the polygon has no area")
    return np.asarray(origin + ((first + second) * cross[:, None]).sum(axis=0) / (3 * cross.sum()))


def enclosed_area(polygon: NDArray[np.floating]) -> float:
    """Area inside a polygon ``(point, 2)``, any unit squared, whichever way round its corners go."""
    first = np.asarray(polygon, np.float64) - np.mean(polygon, axis=0)
    return float(abs(_cross(first, np.roll(first, -1, axis=0)).sum()) / 2)


def crosses_itself(polygon: NDArray[np.floating]) -> bool:
    """Whether a closed polygon ``(point, 2)`` crosses itself and so has loops, of more than 0.2 % of its area together.

    What lies inside once is the polygon's, what lies inside twice or the other way round is a loop's; parts that are
    traced to and fro enclose nothing.
    """
    start = np.asarray(polygon, np.float64) - np.mean(polygon, axis=0)
    end = np.roll(start, -1, axis=0)
    low, high = start[:, 1].min(), start[:, 1].max()
    whole = loops = 0.0
    sense = 1.0 if _cross(start, end).sum() >= 0 else -1.0
    for y in low + (high - low) * (np.arange(_N_SCAN_LINES) + 0.5) / _N_SCAN_LINES:
        meets = (start[:, 1] <= y) != (end[:, 1] <= y)
        a, b = start[meets], end[meets]
        x = a[:, 0] + (y - a[:, 1]) / (b[:, 1] - a[:, 1]) * (b[:, 0] - a[:, 0])
        order = np.argsort(x, kind="stable")
        # How often what follows each side on the line lies inside, in the polygon's own sense.
        turns = sense * np.cumsum(np.sign(a[:, 1] - b[:, 1])[order])[:-1]
        lengths = np.diff(x[order])
        whole += lengths[turns != 0].sum()
        loops += lengths[(turns != 0) & (turns != 1)].sum()
    return bool(loops > _LARGEST_LOOPS * whole)


def is_in_order(landmarks: NDArray[np.floating]) -> bool:
    """Whether the rings ``(spoke, ring, 2)`` go once around, and no spoke or ring of a cell crosses the other."""
    points = np.asarray(landmarks, np.float64)
    after = np.roll(points, -1, axis=0)
    a, b, c, d = points[:, :-1], after[:, :-1], after[:, 1:], points[:, 1:]
    areas = _turn(a, b, c) + _turn(a, c, d)
    crosses = _sides_cross(a, b, c, d) | _sides_cross(b, c, d, a)
    offset = points[:, 0] - points[:, 0].mean(axis=0)
    direction = offset @ np.array([1, 1j])
    around_rad = np.angle(np.roll(direction, -1) / direction).sum()
    has_one_sense = (areas > 0).all() or (areas < 0).all()
    return bool(has_one_sense and not crosses.any() and np.isclose(abs(around_rad), 2 * np.pi))


def runs_from_inside(landmarks: NDArray[np.floating]) -> bool:
    """Whether the rings ``(spoke, ring, 2)`` enclose ever more, and the outermost goes once around.

    A coarser look than `is_in_order`: thin walls in whole pixels, and spokes without length, pass.
    """
    points = np.asarray(landmarks, np.float64)
    areas = [enclosed_area(points[:, ring]) for ring in range(points.shape[1])]
    is_growing = (np.diff(areas) > -_SHRINKING * areas[-1]).all() and areas[0] < areas[-1]
    return bool(is_growing and not crosses_itself(points[:, -1]))


def _sides_cross(
    a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64], d: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Whether the ways from ``a`` to ``b`` and from ``c`` to ``d``, points ``(..., 2)``, cross."""
    return np.asarray((_turn(a, b, c) * _turn(a, b, d) < 0) & (_turn(c, d, a) * _turn(c, d, b) < 0))


def _turn(a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64]) -> NDArray[np.float64]:
    """Twice the signed area of triangles whose corners are ``(..., 2)``."""
    return _cross(b - a, c - a)


def _cross(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Twice the signed area of the triangles that pairs of points ``(..., 2)`` span with the origin."""
    return np.asarray(first[..., 0] * second[..., 1] - second[..., 0] * first[..., 1])


def radii_along(
    polygon: NDArray[np.floating], center: NDArray[np.floating], angles_rad: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Distance from ``center`` ``(2,)`` to a closed polygon ``(point, 2)`` along rays at ``angles_rad`` ``(ray,)``.

    Angles turn from +x towards +y. Where a ray meets the polygon more than once, the last crossing counts.

    Raises
    ------
    ValueError
        If some ray does not meet the polygon: the centre lies outside.
    """
    start = np.asarray(polygon, np.float64) - center
    side = np.roll(start, -1, axis=0) - start
    direction = np.stack([np.cos(angles_rad), np.sin(angles_rad)], axis=-1)[:, None]
    # direction * radius = start + share * side
    determinant = direction[..., 0] * -side[:, 1] + direction[..., 1] * side[:, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        radius = (start[:, 0] * -side[:, 1] + start[:, 1] * side[:, 0]) / determinant
        share = (direction[..., 0] * start[:, 1] - direction[..., 1] * start[:, 0]) / determinant
    # A little over the ends, so that a ray through a corner does not slip between two sides.
    meets = (radius > 0) & (share >= -1e-9) & (share <= 1 + 1e-9)
    if not meets.any(axis=1).all():
        raise ValueError("the center does not lie inside the polygon")
    return np.asarray(np.where(meets, radius, -np.inf).max(axis=1))


def grid_between(
    endo: NDArray[np.floating], epi: NDArray[np.floating], n_spokes: int, n_rings: int
) -> NDArray[np.float64]:
    """Landmarks ``(spoke, ring, 2)`` between two closed contours ``(point, 2)``, on straight spokes at equal angles.

    Spokes start at the centre of the epicardium; spoke 0 points along +x, spokes turn towards +y.

    Raises
    ------
    ValueError
        If a contour has no area, or the epicardium does not hold the endocardium, or that not the centre.
    """
    center = area_centroid(epi)
    area_centroid(endo)  # refuses what is no contour
    angles = 2 * np.pi * np.arange(n_spokes) / n_spokes
    outer = radii_along(epi, center, angles)
    try:
        inner = radii_along(endo, center, angles)
    except ValueError:
        raise ValueError("the endocardium does not hold the center of the epicardium") from None
    if (inner >= outer).any():
        raise ValueError("the endocardium does not lie inside the epicardium")
    direction = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    return wall_grid(center + inner[:, None] * direction, center + outer[:, None] * direction, n_rings)


def wall_mask(endo: NDArray[np.floating], epi: NDArray[np.floating], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Pixels of an image of ``shape`` ``(row, column)`` whose center lies between two closed contours ``(point, 2)``.

    Contours are in pixels; corners that are NaN are left out. Fewer than three corners hold nothing.
    """
    return pixels_inside(epi, shape) & ~pixels_inside(endo, shape)


def pixels_inside(polygon: NDArray[np.floating], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Pixels of an image of ``shape`` ``(row, column)`` whose center lies inside a polygon; see `wall_mask`."""
    from matplotlib.path import Path  # takes long to load, and most that is done with polygons needs no pixels

    corners = polygon[np.isfinite(polygon).all(axis=-1)]
    if len(corners) < 3:
        return np.zeros(shape, bool)
    centers_xy = np.indices(shape)[::-1].reshape(2, -1).T
    closed = Path(np.concatenate([corners, corners[:1]]), closed=True)
    return np.asarray(closed.contains_points(centers_xy).reshape(shape))
