"""The spoke-and-ring landmark grid between an endocardial and an epicardial contour: `wall_grid`, `is_in_order`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def wall_grid(endo: NDArray[np.floating], epi: NDArray[np.floating], n_rings: int) -> NDArray[np.float64]:
    """Landmarks equally spaced on straight spokes from endocardium to epicardium.

    Parameters
    ----------
    endo, epi
        One point per spoke, shape ``(..., spoke, 2)``, any unit.

    Returns
    -------
        Shape ``(..., spoke, ring, 2)``, ring 0 on ``endo``, the last on ``epi``.
    """
    depth = np.linspace(0, 1, n_rings)[:, None]
    return endo[..., :, None, :] * (1 - depth) + epi[..., :, None, :] * depth


def is_in_order(landmarks: NDArray[np.floating]) -> bool:
    """Whether the rings ``(spoke, ring, 2)`` go once around, and no spoke or ring of a cell crosses the other."""
    points = np.asarray(landmarks, np.float64)
    after = np.roll(points, -1, axis=0)
    a, b, c, d = points[:, :-1], after[:, :-1], after[:, 1:], points[:, 1:]
    areas = _area(a, b, c) + _area(a, c, d)
    crosses = _cross(a, b, c, d) | _cross(b, c, d, a)
    offset = points[:, 0] - points[:, 0].mean(axis=0)
    direction = offset @ np.array([1, 1j])
    around_rad = np.angle(np.roll(direction, -1) / direction).sum()
    has_one_sense = (areas > 0).all() or (areas < 0).all()
    return bool(has_one_sense and not crosses.any() and np.isclose(abs(around_rad), 2 * np.pi))


def _cross(
    a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64], d: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Whether the ways from ``a`` to ``b`` and from ``c`` to ``d``, points ``(..., 2)``, cross."""
    return np.asarray((_area(a, b, c) * _area(a, b, d) < 0) & (_area(c, d, a) * _area(c, d, b) < 0))


def _area(a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64]) -> NDArray[np.float64]:
    """Signed areas of triangles whose corners are ``(..., 2)``."""
    first, second = b - a, c - a
    return np.asarray((first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]) / 2)
