"""Tissue that tracking laid over itself, laid flat again: `unfolded`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.spatial import Delaunay, QhullError

_LEAST_AREA_RATIO = 0.02
"""Area of a triangle over its area at ED, below which it counts as turned over."""
_RIGHTED_AREA_RATIO = 0.1
"""The same, once it is righted."""
_LEAST_CELL_AREA, _MOST_CELL_DIAGONAL = 0.5, 1.15
"""Two triangles are the halves of a cell, as of a grid of landmarks, if on its other diagonal, which is at most so much
longer, they would be about as large."""
_MAX_ROUNDS = 400
_ROUNDS_TO_SMOOTH = 40
"""Rounds after which corners that still cross are drawn towards the mean displacement of their neighbors, once."""
_LARGEST_CIRCUMRADIUS = 2.5
"""Over the median: wider triangles span a cavity, or a gap between groups of points, and not tissue."""
_FLATTEST = 2.0
"""Circumradius over the longest side, of an angle of 165 degrees: three points almost on a line bend either way."""


def unfolded(tracks_px: NDArray[np.floating], ed_points_px: NDArray[np.floating]) -> NDArray[np.float64]:
    """Trajectories in which no tissue between neighboring points is turned over.

    Neighbors are those of a Delaunay triangulation at ED. Tissue keeps the orientation of its triangles; blood has
    none, and points at the edge of a cavity that closes can cross. Corners of a triangle that turned over move by as
    little as rights it, in the least-squares sense, until all lie right again or `_MAX_ROUNDS` are over; other points
    stay where they are.

    Parameters
    ----------
    tracks_px
        Shape ``(time, point, 2)``, finite.
    ed_points_px
        The same points at ED, shape ``(point, 2)``.

    References
    ----------
    Mueller et al., J Vis Commun Image Represent 2007;18:109, equations 8 and 9: moving points onto a constraint
    """
    tracks, ed = np.array(tracks_px, np.float64), np.asarray(ed_points_px, np.float64)
    triangles = _triangles(ed)
    if not len(triangles):
        return tracks
    ed_area = _areas(ed, triangles)
    neighbors = _neighbor_means(triangles, len(ed))
    for frame in np.flatnonzero((_areas(tracks, triangles) / ed_area < _LEAST_AREA_RATIO).any(axis=-1)):
        for round_ in range(1, _MAX_ROUNDS + 1):
            area = _areas(tracks[frame], triangles)
            turned = area / ed_area < _LEAST_AREA_RATIO
            if not turned.any():
                break
            missing = _RIGHTED_AREA_RATIO * ed_area[turned] - area[turned]
            tracks[frame] += _righting(tracks[frame], triangles[turned], missing)
            if round_ % _ROUNDS_TO_SMOOTH == 0:
                crossing = np.unique(triangles[turned])
                moved = tracks[frame] - ed
                tracks[frame, crossing] += ((neighbors @ moved)[crossing] - moved[crossing]) / 2
    return tracks


def _triangles(points: NDArray[np.float64]) -> NDArray[np.intp]:
    """Corners ``(triangle, 3)`` of the tissue between points; none where they lie on a line, or almost so.

    Cells, as of a grid of landmarks, are there by both of their diagonals: they may not be folded at any corner.
    """
    none = np.empty((0, 3), np.intp)
    if len(points) < 3:
        return none
    try:
        mesh = Delaunay(points)
    except QhullError:  # all on a line
        return none
    corners = np.asarray(mesh.simplices, np.intp)
    sides = np.linalg.norm(points[corners] - points[np.roll(corners, 1, axis=-1)], axis=-1)
    longest, area = sides.max(axis=-1), np.abs(_areas(points, corners))
    sound = area > 1e-6 * longest**2
    radius = sides.prod(axis=-1) / (4 * np.maximum(area, 1e-12))
    kept = sound & (radius <= np.minimum(_LARGEST_CIRCUMRADIUS * np.median(radius), _FLATTEST * longest))
    return np.concatenate([corners[kept], _across(points, corners, mesh.neighbors, kept)])


def _across(
    points: NDArray[np.float64], corners: NDArray[np.intp], neighbors: NDArray[np.intp], kept: NDArray[np.bool_]
) -> NDArray[np.intp]:
    """Triangles on the other diagonal of two neighbors that are both kept and make up a cell, about a rectangle."""
    here, corner = np.nonzero(kept[:, None] & (neighbors > np.arange(len(corners))[:, None]) & kept[neighbors])
    there = neighbors[here, corner]
    tip = corners[here, corner]
    a, b = corners[here, (corner + 1) % 3], corners[here, (corner + 2) % 3]
    other_tip = corners[there].sum(axis=-1) - a - b
    flipped = np.stack([np.stack([tip, a, other_tip], axis=-1), np.stack([tip, other_tip, b], axis=-1)], axis=1)
    area = _areas(points, flipped.reshape(-1, 3)).reshape(-1, 2) / _areas(points, corners[here])[:, None]
    diagonal, other = (np.linalg.norm(points[p] - points[q], axis=-1) for p, q in ((a, b), (tip, other_tip)))
    is_cell = (area > _LEAST_CELL_AREA).all(axis=-1) & (other < _MOST_CELL_DIAGONAL * diagonal)
    return np.asarray(flipped[is_cell].reshape(-1, 3))


def _areas(points: NDArray[np.float64], triangles: NDArray[np.intp]) -> NDArray[np.float64]:
    """Signed areas ``(..., triangle)``."""
    a, b, c = (points[..., triangles[:, corner], :] for corner in range(3))
    first, second = b - a, c - a
    area: NDArray[np.float64] = (first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]) / 2
    return area


def _righting(
    points: NDArray[np.float64], triangles: NDArray[np.intp], missing_area: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The least moves ``(point, 2)`` that give triangles their area; of a corner of several, the mean of its moves."""
    a, b, c = (points[triangles[:, corner]] for corner in range(3))
    opposite = np.stack([c - b, a - c, b - a], axis=1)
    gradient = np.stack([-opposite[..., 1], opposite[..., 0]], axis=-1) / 2
    # Three corners in one place have no gradient: they stay for others to move.
    steepness = (gradient**2).sum(axis=(1, 2)) + 1e-3 * np.abs(missing_area)
    moves = (missing_area / steepness)[:, None, None] * gradient
    total, count = np.zeros_like(points), np.zeros(len(points))
    np.add.at(total, triangles, moves)
    np.add.at(count, triangles, 1)
    return np.asarray(total / np.maximum(count, 1)[:, None])


def _neighbor_means(triangles: NDArray[np.intp], n_points: int) -> coo_array:
    """Matrix that takes values at points to the means over their neighbors."""
    pairs = np.concatenate([triangles[:, [a, b]] for a in range(3) for b in range(3) if a != b])
    pairs = np.unique(pairs, axis=0)
    count = np.bincount(pairs[:, 0], minlength=n_points)
    return coo_array((1 / count[pairs[:, 0]], (pairs[:, 0], pairs[:, 1])), shape=(n_points, n_points)).tocsr()
