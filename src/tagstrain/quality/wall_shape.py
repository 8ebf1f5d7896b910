"""Size and shape of the wall at ED, and whether real hearts have them: `WallShape`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tagstrain.data import LandmarkTracks, TaggedCine

_NO_LENGTH_MM = 1e-3
"""Put in place of spokes whose ends fall together, which have no ratio to others."""


class WallShape(NamedTuple):
    """The ring of muscle at ED."""

    cavity_radius_mm: float
    """Mean distance of the endocardial landmarks from their middle."""
    thickness_mm: float
    """Mean length of a spoke."""
    axis_ratio: float
    """Longer over shorter axis of the epicardium, from its second moments; 1 is round."""
    thickness_step: float
    """Largest ratio between the length of a spoke and the median of the two on either side of it, whichever is longer;
    1 is even."""


def wall_shape(ed_landmarks_mm: NDArray[np.floating]) -> WallShape:
    """Measure ED landmarks ``(spoke, ring, 2)``."""
    points = np.asarray(ed_landmarks_mm, np.float64)
    endo = points[:, 0] - np.nanmean(points[:, 0], axis=0)
    across = points[:, -1] - points[:, 0]
    epi = points[:, -1]
    length = np.hypot(across[:, 0], across[:, 1])
    axes = np.linalg.eigvalsh(np.cov(epi[np.isfinite(epi).all(axis=-1)].T))
    return WallShape(
        cavity_radius_mm=float(np.nanmean(np.hypot(endo[:, 0], endo[:, 1]))),
        thickness_mm=float(np.nanmean(length)),
        axis_ratio=float(np.sqrt(axes[1] / axes[0])) if axes[0] > 0 else float("inf"),
        thickness_step=_largest_step(length),
    )


def _largest_step(length_mm: NDArray[np.float64]) -> float:
    known_mm = np.maximum(np.where(np.isnan(length_mm), np.nanmedian(length_mm), length_mm), _NO_LENGTH_MM)
    beside_mm = np.median([np.roll(known_mm, shift) for shift in (-2, -1, 1, 2)], axis=0)
    ratio = known_mm / beside_mm
    return float(np.maximum(ratio, 1 / ratio).max())


def border_distance_mm(cine: TaggedCine, landmarks: LandmarkTracks) -> float:
    """Least distance of any landmark from the border of the image over the cycle; negative outside."""
    rows, columns = cine.frames.shape[1:]
    points = landmarks.points_px
    inward_px = np.minimum(points + 0.5, np.array([columns, rows]) - 0.5 - points)
    return float(np.nanmin(inward_px * cine.spacing_xy_mm))
