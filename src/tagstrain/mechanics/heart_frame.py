"""The ventricle's frame of reference: its center, which the landmarks carry along, and the motion of whole rings."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MIN_RING_LANDMARKS = 3
"""Fewer known landmarks tell neither a ring's center nor its rotation."""


class HeartFrame(NamedTuple):
    """Where the landmarks are around the ventricle's center.

    Angles turn from +x towards +y of the image. NaN where a landmark is not known, now or at ED.
    """

    center_mm: NDArray[np.float64]
    """Center ``(x, y)`` in every frame, shape ``(time, 2)``."""
    ed_radius_mm: NDArray[np.float64]
    """Distance from the center at ED, shape ``(spoke, ring)``."""
    ed_angle_rad: NDArray[np.float64]
    """Direction from the center at ED, -pi to pi, shape ``(spoke, ring)``."""
    angle_rad: NDArray[np.float64]
    """Direction from the center in every frame, -pi to pi, shape ``(time, spoke, ring)``."""


class RingMotion(NamedTuple):
    """What each ring as a whole has done since ED; NaN where fewer than three of its landmarks are known."""

    stretch: NDArray[np.float64]
    """Size now over size at ED, shape ``(time, ring)``."""
    rotation_rad: NDArray[np.float64]
    """Rotation from +x towards +y, within half a turn of that of all rings together, which lies in -pi to pi; shape
    ``(time, ring)``."""


def heart_frame(landmarks_mm: NDArray[np.floating], ed_frame: int = 0) -> HeartFrame:
    """Polar coordinates about the center of the ventricle.

    The center at ED is that of the concentric circles that fit the rings best, which missing spokes do not shift. In
    other frames it is the same weighted mean of the landmarks, and takes part in every affine motion of the whole
    ventricle.

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
    from_ed_center = ed - ed_center
    center = np.stack([_carried_center(ed, ed_center, frame) for frame in landmarks])
    from_center = np.where(np.isfinite(ed), landmarks, np.nan) - center[:, None, None]
    return HeartFrame(
        center_mm=center,
        ed_radius_mm=np.hypot(from_ed_center[..., 0], from_ed_center[..., 1]),
        ed_angle_rad=np.arctan2(from_ed_center[..., 1], from_ed_center[..., 0]),
        angle_rad=np.arctan2(from_center[..., 1], from_center[..., 0]),
    )


def ring_motion(landmarks_mm: NDArray[np.floating], ed_frame: int = 0) -> RingMotion:
    """Rotation and stretch of every ring about its own centroid; parameters as `heart_frame`.

    The rotation is that of the best rigid fit, the stretch the ratio of root mean square radii. Neither asks where the
    ventricle's center is, about which landmarks near an almost closed cavity would turn by any angle.

    References
    ----------
    Kabsch, Acta Cryst 1976;A32:922-923, doi:10.1107/S0567739476001873
    """
    landmarks = np.asarray(landmarks_mm, np.float64)
    is_known = np.isfinite(landmarks).all(axis=-1) & np.isfinite(landmarks[ed_frame]).all(axis=-1)
    is_known &= is_known.sum(axis=1, keepdims=True) >= MIN_RING_LANDMARKS
    now = _about_centroids(landmarks, is_known)
    ed = _about_centroids(np.broadcast_to(landmarks[ed_frame], landmarks.shape), is_known)
    along = (ed * now).sum(axis=(1, 3))
    across = (ed[..., 0] * now[..., 1] - ed[..., 1] * now[..., 0]).sum(axis=1)
    ed_size = (ed**2).sum(axis=(1, 3))
    is_told = ed_size > 0
    ratio = np.divide((now**2).sum(axis=(1, 3)), ed_size, out=np.full(ed_size.shape, np.nan), where=is_told)
    together = np.arctan2(across.sum(axis=1, keepdims=True), along.sum(axis=1, keepdims=True))
    # Rings on both sides of half a turn would seem a whole turn apart.
    beyond = np.arctan2(across, along) - together
    rotation_rad = together + np.arctan2(np.sin(beyond), np.cos(beyond))
    return RingMotion(np.sqrt(ratio), np.where(is_told, rotation_rad, np.nan))


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
    if is_known.sum(axis=0).max() < MIN_RING_LANDMARKS:
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
    is_known &= is_known.sum(axis=0) >= MIN_RING_LANDMARKS
    if not is_known.any():
        return np.full(2, np.nan)
    ring = np.nonzero(is_known)[1] == np.arange(ed_mm.shape[1])[:, None]
    from_center = ed_mm[is_known] - ed_center_mm
    conditions = np.concatenate([np.ones((1, len(from_center))), ring * from_center[:, 0], ring * from_center[:, 1]])
    wanted = np.zeros(len(conditions))
    wanted[0] = 1  # the weights' sum; their moments about the center vanish
    weights = np.linalg.lstsq(conditions, wanted, rcond=None)[0]
    return np.asarray(weights @ now_mm[is_known])


def _about_centroids(landmarks_mm: NDArray[np.float64], is_known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Known landmarks ``(time, spoke, ring, 2)`` from the centroid of their ring, 0 for the others."""
    known = np.where(is_known[..., None], landmarks_mm, 0.0)
    count = np.maximum(is_known.sum(axis=1, keepdims=True), 1)[..., None]
    return np.where(is_known[..., None], known - known.sum(axis=1, keepdims=True) / count, 0.0)
