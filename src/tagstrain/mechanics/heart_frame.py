"""Landmarks in polar coordinates about the ventricle's center, which the landmarks carry along: `polar_motion`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class PolarMotion(NamedTuple):
    """Where the landmarks are around the ventricle's center, at ED and in every frame.

    Angles turn from +x towards +y of the image. NaN where a landmark is not known, now or at ED.
    """

    center_mm: NDArray[np.float64]
    """Center ``(x, y)`` in every frame, shape ``(time, 2)``."""
    ed_radius_mm: NDArray[np.float64]
    """Distance from the center at ED, shape ``(spoke, ring)``."""
    ed_angle_rad: NDArray[np.float64]
    """Direction from the center at ED, -pi to pi, shape ``(spoke, ring)``."""
    radius_mm: NDArray[np.float64]
    """Distance from the center, shape ``(time, spoke, ring)``."""
    rotation_rad: NDArray[np.float64]
    """Turn about the center since ED, -pi to pi, shape ``(time, spoke, ring)``."""

    @property
    def angle_rad(self) -> NDArray[np.float64]:
        """Direction from the center in every frame, shape ``(time, spoke, ring)``; not wrapped."""
        return self.ed_angle_rad + self.rotation_rad


def polar_motion(landmarks_mm: NDArray[np.floating], ed_frame: int = 0) -> PolarMotion:
    """Motion of the landmarks about the center of the ventricle.

    The center at ED is that of the concentric circles that fit the rings best, which missing spokes do not shift. In
    other frames it is the same weighted mean of the landmarks, and takes part in every affine motion of the whole
    ventricle, so that bulk motion neither strains nor turns anything.

    Parameters
    ----------
    landmarks_mm
        Landmark positions [mm], shape ``(time, spoke, ring, 2)``, last axis ``(x, y)``; NaN where not known.
    ed_frame
        Index of the undeformed frame.

    Raises
    ------
    ValueError
        If fewer landmarks are known at ED than the center needs.
    """
    landmarks = np.asarray(landmarks_mm, np.float64)
    ed = landmarks[ed_frame]
    ed_center = concentric_center(ed)
    landmarks = np.where(np.isfinite(ed), landmarks, np.nan)
    center = np.stack([_carried_center(ed, ed_center, frame) for frame in landmarks])
    from_ed_center = ed - ed_center
    from_center = landmarks - center[:, None, None]
    ed_angle = np.arctan2(from_ed_center[..., 1], from_ed_center[..., 0])
    angle = np.arctan2(from_center[..., 1], from_center[..., 0])
    return PolarMotion(
        center_mm=center,
        ed_radius_mm=np.hypot(from_ed_center[..., 0], from_ed_center[..., 1]),
        ed_angle_rad=ed_angle,
        radius_mm=np.hypot(from_center[..., 0], from_center[..., 1]),
        rotation_rad=np.mod(angle - ed_angle + np.pi, 2 * np.pi) - np.pi,
    )


def concentric_center(landmarks_mm: NDArray[np.floating]) -> NDArray[np.float64]:
    """Common center ``(x, y)`` of the circles that fit the rings ``(spoke, ring, 2)`` of one frame best.

    Kåsa's algebraic fit, linear in the center and in one constant per ring; NaN landmarks are left out.

    Raises
    ------
    ValueError
        If no ring has three known landmarks.

    References
    ----------
    Kåsa, IEEE Trans Instrum Meas 1976;IM-25(1):8-14, doi:10.1109/TIM.1976.6312298
    """
    landmarks = np.asarray(landmarks_mm, np.float64)
    is_known = np.isfinite(landmarks).all(axis=-1)
    if is_known.sum(axis=0).max() < 3:
        raise ValueError("landmarks: fewer than three are known on every ring at ED, so the center is not known")
    ring = np.nonzero(is_known)[1]
    origin = landmarks[is_known].mean(axis=0)
    points = landmarks[is_known] - origin
    # x^2 + y^2 = 2 (x, y) center + constant of the ring
    equations = np.concatenate([2 * points, np.eye(landmarks.shape[1])[ring]], axis=1)
    solution = np.linalg.lstsq(equations, (points**2).sum(axis=1), rcond=None)[0]
    return np.asarray(origin + solution[:2])


def _carried_center(
    ed_mm: NDArray[np.float64], ed_center_mm: NDArray[np.float64], now_mm: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Weighted mean of the landmarks known now, with weights that give the ED center on every ring at ED.

    Ring by ring, so that rings which turn or shrink unequally leave it in place too. Rings with fewer than three known
    landmarks do not count; NaN where none is left.
    """
    is_known = np.isfinite(ed_mm).all(axis=-1) & np.isfinite(now_mm).all(axis=-1)
    is_known &= is_known.sum(axis=0) >= 3
    if not is_known.any():
        return np.full(2, np.nan)
    ring = np.nonzero(is_known)[1] == np.arange(ed_mm.shape[1])[:, None]
    from_center = ed_mm[is_known] - ed_center_mm
    conditions = np.concatenate([np.ones((1, len(from_center))), ring * from_center[:, 0], ring * from_center[:, 1]])
    wanted = np.zeros(len(conditions))
    wanted[0] = 1  # the weights' sum; their moments about the center vanish
    weights = np.linalg.lstsq(conditions, wanted, rcond=None)[0]
    return np.asarray(weights @ now_mm[is_known])
