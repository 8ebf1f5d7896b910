"""Deformation gradients from the landmark grid: by local least squares at landmarks, by elements between them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tagstrain.mechanics.heart_frame import PolarMotion, polar_motion

RING_REACH = 2
"""The radial derivative at a landmark is fitted to the rings up to this many away, as far as the wall goes."""


def landmark_gradients(landmarks_mm: NDArray[np.floating], ed_frame: int = 0) -> NDArray[np.float64]:
    """Deformation gradient at every landmark, by least squares over its neighborhood.

    ``F = [x_s x_c] [X_s X_c]^-1`` maps two directions at ED (``X``) to what they are now (``x``). Along the ring
    (``c``) it is the difference between the two neighboring spokes. Along the spoke (``s``) straight lines are fitted
    over the rings in reach, in polar coordinates about the center: to ``r**2`` now as a function of ``R**2`` at ED,
    and to the rotation as a function of ``R``. A thick-walled cylinder that keeps its volume while it contracts,
    lengthens and twists moves so exactly, ``r**2 = k R**2 + constant`` (Guccione et al., J Biomech Eng
    1991;113:42-55): the line follows the steep gradient at the endocardium without bias, where a line through ``r``
    would not, and a parabola would amplify noise. Affine motion is exact too where spokes run through the center.

    Parameters
    ----------
    landmarks_mm
        Landmark positions [mm], shape ``(time, spoke, ring, 2)``, last axis ``(x, y)``. Spokes are in angular order
        and closed; ring 0 is the endocardium.
    ed_frame
        Index of the undeformed frame.

    Returns
    -------
        ``F[..., i, j]``, derivative of place ``i`` now by place ``j`` at ED, shape ``(time, spoke, ring, 2, 2)``.
        NaN where the landmark, a neighboring spoke's on the same ring, or all others in reach are not known.

    Raises
    ------
    ValueError
        If landmarks coincide at ED or too few are known there.
    """
    landmarks = np.asarray(landmarks_mm, np.float64)
    motion = polar_motion(landmarks, ed_frame)
    ed = landmarks[ed_frame]
    along_spoke_ed = _spoke_tangents(ed)
    along_spoke = _carried_tangents(along_spoke_ed, motion)
    along_ring_ed = np.roll(ed, -1, axis=-3) - np.roll(ed, 1, axis=-3)
    along_ring = np.roll(landmarks, -1, axis=-3) - np.roll(landmarks, 1, axis=-3)
    return _gradients(along_spoke, along_ring, along_spoke_ed, along_ring_ed)


def element_gradients(landmarks_mm: NDArray[np.floating], ed_frame: int = 0) -> NDArray[np.float64]:
    """Deformation gradient at the middle of every bilinear element between two spokes and two rings.

    No neighborhood beyond the element's four corners: finer and noisier than `landmark_gradients`, and the first to
    show a fold, as a determinant that is not positive.

    Parameters and errors as `landmark_gradients`.

    Returns
    -------
        Shape ``(time, spoke, ring - 1, 2, 2)``; element ``[k, j]`` lies between spokes ``k`` and ``k + 1`` and rings
        ``j`` and ``j + 1``. NaN where a corner is not known.

    References
    ----------
    Zienkiewicz and Taylor, The Finite Element Method, 5th ed. 2000, vol. 1, section 8.5
    """
    landmarks = np.asarray(landmarks_mm, np.float64)
    next_spoke = np.roll(landmarks, -1, axis=-3)
    across = np.diff(landmarks, axis=-2) + np.diff(next_spoke, axis=-2)
    around = next_spoke - landmarks
    around = around[..., :-1, :] + around[..., 1:, :]
    return _gradients(across, around, across[ed_frame], around[ed_frame])


def _spoke_tangents(ed_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Direction of the spoke at each landmark ``(spoke, ring, 2)``, from the rings in reach; per step of a ring."""
    rings = np.broadcast_to(np.arange(ed_mm.shape[-2], dtype=np.float64), ed_mm.shape[:-1])
    return np.stack([_slopes(ed_mm[..., axis], rings) for axis in range(2)], axis=-1)


def _carried_tangents(tangents_ed: NDArray[np.float64], motion: PolarMotion) -> NDArray[np.float64]:
    """What the ED directions ``(spoke, ring, 2)`` along the spokes have become, ``(time, spoke, ring, 2)``."""
    spread = _slopes(motion.radius_mm**2, motion.ed_radius_mm**2)  # d(r^2) / d(R^2)
    turn_per_mm = _slopes(motion.rotation_rad, motion.ed_radius_mm)
    radial_ed, around_ed = _unit_vectors(motion.ed_angle_rad)
    outward_ed = (tangents_ed * radial_ed).sum(axis=-1)
    sideways_ed = (tangents_ed * around_ed).sum(axis=-1)
    radial, around = _unit_vectors(motion.angle_rad)
    outward = spread * motion.ed_radius_mm / motion.radius_mm * outward_ed
    sideways = motion.radius_mm * (sideways_ed / motion.ed_radius_mm + turn_per_mm * outward_ed)
    return np.asarray(outward[..., None] * radial + sideways[..., None] * around)


def _slopes(values: NDArray[np.float64], against: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least-squares slope of ``values`` ``(..., ring)`` over the rings in reach of each; NaN where fewer than two."""
    n_rings = values.shape[-1]
    slopes = np.full(values.shape, np.nan)
    for ring in range(n_rings):
        reach = slice(max(0, ring - RING_REACH), ring + RING_REACH + 1)
        y, x = np.broadcast_arrays(values[..., reach], against[..., reach])
        is_known = np.isfinite(y) & np.isfinite(x)
        count = is_known.sum(axis=-1, keepdims=True)
        x_step = np.where(is_known, x - _mean(x, is_known, count), 0.0)
        y_step = np.where(is_known, y - _mean(y, is_known, count), 0.0)
        spread = (x_step**2).sum(axis=-1)
        is_enough = (count[..., 0] > 1) & (spread > 0)
        np.divide((x_step * y_step).sum(axis=-1), spread, out=slopes[..., ring], where=is_enough)
    return slopes


def _mean(values: NDArray[np.float64], is_known: NDArray[np.bool_], count: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean of the known values along the last axis, 0 where there are none."""
    return np.asarray(np.where(is_known, values, 0.0).sum(axis=-1, keepdims=True) / np.maximum(count, 1))


def _unit_vectors(angle_rad: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Radial and circumferential unit vectors ``(..., 2)`` at an angle, the latter a quarter turn from +x to +y on."""
    cosine, sine = np.cos(angle_rad), np.sin(angle_rad)
    return np.stack([cosine, sine], axis=-1), np.stack([-sine, cosine], axis=-1)


def _gradients(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    first_ed: NDArray[np.float64],
    second_ed: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Linear maps ``(..., 2, 2)`` that take two ED vectors ``(..., 2)`` to the two vectors they are now."""
    determinant = first_ed[..., 0] * second_ed[..., 1] - first_ed[..., 1] * second_ed[..., 0]
    n_flat = int(np.count_nonzero(determinant == 0))
    if n_flat:
        raise ValueError(f"landmarks: {n_flat} neighborhoods have no area at ED, so their strain is undefined")
    # Rows of the inverse of the matrix whose columns are the ED vectors.
    to_first = np.stack([second_ed[..., 1], -second_ed[..., 0]], axis=-1) / determinant[..., None]
    to_second = np.stack([-first_ed[..., 1], first_ed[..., 0]], axis=-1) / determinant[..., None]
    return np.asarray(first[..., :, None] * to_first[..., None, :] + second[..., :, None] * to_second[..., None, :])
