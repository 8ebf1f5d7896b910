"""Tissue that tracking laid over itself, laid flat again: `unfolded`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.spatial import Delaunay, QhullError

_LEAST_AREA_RATIO = 0.02
_MAX_ROUNDS = 200
_ROUNDS_TO_WIDEN = 20
"""Rounds after which neighbors give way too: those that stay may hold a triangle the wrong way up."""
_LARGEST_CIRCUMRADIUS = 2.5
"""Over the median: wider triangles span a cavity, or a gap between groups of points, and not tissue."""
_FLATTEST = 2.0
"""Circumradius over the longest side, of an angle of 165 degrees: three points almost on a line bend either way."""


def unfolded(tracks_px: NDArray[np.floating], ed_points_px: NDArray[np.floating]) -> NDArray[np.float64]:
    """Trajectories in which no tissue between neighboring points is turned over.

    Neighbors are those of a Delaunay triangulation at ED. Tissue keeps the orientation of its triangles; blood has
    none, and points at the edge of a cavity that closes can cross. Corners of a triangle that turned over are drawn
    to the mean displacement of their neighbors until all lie right again, after a while their neighbors too; other
    points stay where they are.

    Parameters
    ----------
    tracks_px
        Shape ``(time, point, 2)``, finite.
    ed_points_px
        The same points at ED, shape ``(point, 2)``.
    """
    tracks, ed = np.array(tracks_px, np.float64), np.asarray(ed_points_px, np.float64)
    triangles = _triangles(ed)
    if not len(triangles):
        return tracks
    ed_area = _areas(ed, triangles)
    neighbors = _neighbor_means(triangles, len(ed))
    for frame in np.flatnonzero((_areas(tracks, triangles) / ed_area < _LEAST_AREA_RATIO).any(axis=-1)):
        displacement = tracks[frame] - ed
        doubtful = np.zeros(len(ed), np.bool_)
        for round_ in range(1, _MAX_ROUNDS + 1):
            turned = _areas(ed + displacement, triangles) / ed_area < _LEAST_AREA_RATIO
            if not turned.any():
                break
            doubtful[triangles[turned]] = True
            if round_ % _ROUNDS_TO_WIDEN == 0:
                doubtful |= neighbors @ doubtful.astype(float) > 0
            displacement[doubtful] = (displacement[doubtful] + (neighbors @ displacement)[doubtful]) / 2
        tracks[frame] = ed + displacement
    return tracks


def _triangles(points: NDArray[np.float64]) -> NDArray[np.intp]:
    """Corners ``(triangle, 3)`` of the tissue between points; none where they lie on a line, or almost so."""
    none = np.empty((0, 3), np.intp)
    if len(points) < 3:
        return none
    try:
        corners = np.asarray(Delaunay(points).simplices, np.intp)
    except QhullError:  # all on a line
        return none
    sides = np.linalg.norm(points[corners] - points[np.roll(corners, 1, axis=-1)], axis=-1)
    longest, area = sides.max(axis=-1), np.abs(_areas(points, corners))
    sound = area > 1e-6 * longest**2
    radius = sides.prod(axis=-1) / (4 * np.maximum(area, 1e-12))
    within = np.minimum(_LARGEST_CIRCUMRADIUS * np.median(radius), _FLATTEST * longest)
    kept: NDArray[np.intp] = corners[sound & (radius <= within)]
    return kept


def _areas(points: NDArray[np.float64], triangles: NDArray[np.intp]) -> NDArray[np.float64]:
    """Signed areas ``(..., triangle)``."""
    a, b, c = (points[..., triangles[:, corner], :] for corner in range(3))
    first, second = b - a, c - a
    area: NDArray[np.float64] = (first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]) / 2
    return area


def _neighbor_means(triangles: NDArray[np.intp], n_points: int) -> coo_array:
    """Matrix that takes values at points to the means over their neighbors."""
    pairs = np.concatenate([triangles[:, [a, b]] for a in range(3) for b in range(3) if a != b])
    pairs = np.unique(pairs, axis=0)
    count = np.bincount(pairs[:, 0], minlength=n_points)
    return coo_array((1 / count[pairs[:, 0]], (pairs[:, 0], pairs[:, 1])), shape=(n_points, n_points)).tocsr()
