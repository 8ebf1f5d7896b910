"""The spoke-and-ring landmark grid between an endocardial and an epicardial contour, and its cells."""

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


def cell_areas(landmarks: NDArray[np.floating]) -> NDArray[np.float64]:
    """Signed area of the cells between neighboring spokes and rings.

    Parameters
    ----------
    landmarks
        Shape ``(..., spoke, ring, 2)``, any unit, spokes closed.

    Returns
    -------
        Shape ``(..., spoke, ring - 1)``; one sign as long as neither spokes nor rings change order.
    """
    points = np.asarray(landmarks, np.float64)
    after = np.roll(points, -1, axis=-3)
    first = after[..., 1:, :] - points[..., :-1, :]
    second = points[..., 1:, :] - after[..., :-1, :]
    return np.asarray((first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]) / 2)
