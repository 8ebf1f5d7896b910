"""The spoke-and-ring landmark grid between an endocardial and an epicardial contour."""

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
