"""Deformation gradients from the landmark grid: by local least squares at landmarks, by elements between them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tagstrain.mechanics.heart_frame import MIN_RING_LANDMARKS, heart_frame, ring_motion
from tagstrain.mechanics.strain import mean_known

RING_REACH = 2
"""The radial derivative at a landmark is fitted to the rings up to this many away, as far as the wall goes."""


def landmark_gradients(landmarks_mm: NDArray[np.floating], ed_frame: int = 0) -> NDArray[np.float64]:
    """Deformation gradient at every landmark, by least squares over its neighborhood.

    ``F = [x_s x_c] [X_s X_c]^-1`` maps two directions at ED (``X``) to what they are now (``x``). Along the ring
    (``c``) it is the difference between the two neighboring spokes. Along the spoke (``s``) it is a straight line
    fitted over the rings in reach, after taking out what the rings do as a whole (`heart_frame.ring_motion`): each is
    turned back by its own rotation, and the line runs over the rings' mean radii now, ``r``, not over those at ED,
    ``R``. Chain rule and two parabolas, ``r**2`` over ``R**2`` and rotation over ``R``, put both back in.

    A thick-walled cylinder that keeps its volume while it contracts, lengthens and twists moves exactly so,
    ``r**2 = k R**2 + constant`` (Guccione et al., J Biomech Eng 1991;113:42-55): there is no bias at the endocardium,
    where a line over ``R`` misses a fifth of the radial strain and a parabola would amplify noise. Affine motion is
    exact too.

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
    ed = landmarks[ed_frame]
    along_spoke, along_spoke_ed = _spoke_tangents(landmarks, ed_frame)
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


def _spoke_tangents(
    landmarks_mm: NDArray[np.float64], ed_frame: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Derivative of place along the spokes, now and at ED, by the rings' radius at ED; ``(time, spoke, ring, 2)``."""
    frame, rings = heart_frame(landmarks_mm, ed_frame), ring_motion(_on_whole_spokes(landmarks_mm), ed_frame)
    radius_ed = mean_known(frame.ed_radius_mm, axis=0)
    radius = rings.stretch * radius_ed
    thickening = _profile_slopes(radius**2, radius_ed**2) * radius_ed / radius  # d(r) / d(R)
    turn_per_mm = _profile_slopes(rings.rotation_rad, radius_ed)
    from_center = landmarks_mm - frame.center_mm[:, None, None]
    turned_back = _turned(from_center, -rings.rotation_rad[:, None])
    line = _line_tangents(turned_back, radius[:, None]) * thickening[:, None, :, None]
    slip = turn_per_mm[:, None, :, None] * np.stack([-from_center[..., 1], from_center[..., 0]], axis=-1)
    # At ED over the same landmarks as now, so that both lines have the same bias.
    ed_as_known = np.where(np.isfinite(landmarks_mm), landmarks_mm[ed_frame], np.nan)
    return _turned(line, rings.rotation_rad[:, None]) + slip, _line_tangents(ed_as_known, radius_ed)


def _on_whole_spokes(landmarks_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """The landmarks of the spokes that are known from one side of the wall to the other, frame by frame.

    Rings with gaps in different places would not move alike where the ventricle as a whole moves alike. Rings of which
    next to nothing is known break no spoke; where too few whole spokes are left, all landmarks stay.
    """
    is_known = np.isfinite(landmarks_mm).all(axis=-1)
    is_ring_known = is_known.sum(axis=1, keepdims=True) >= MIN_RING_LANDMARKS
    is_whole = (is_known | ~is_ring_known).all(axis=2, keepdims=True)
    is_whole |= is_whole.sum(axis=1, keepdims=True) < MIN_RING_LANDMARKS
    return np.where(is_whole[..., None], landmarks_mm, np.nan)


def _line_tangents(points_mm: NDArray[np.float64], radius_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Slopes of both coordinates ``(..., ring, 2)`` over a radius ``(..., ring)``."""
    return np.stack([_slopes(points_mm[..., axis], radius_mm) for axis in range(2)], axis=-1)


def _turned(vectors: NDArray[np.float64], angle_rad: NDArray[np.float64]) -> NDArray[np.float64]:
    """Vectors ``(..., 2)`` turned from +x towards +y."""
    cosine, sine = np.cos(angle_rad), np.sin(angle_rad)
    x, y = vectors[..., 0], vectors[..., 1]
    return np.stack([cosine * x - sine * y, sine * x + cosine * y], axis=-1)


def _profile_slopes(profile: NDArray[np.float64], against: NDArray[np.float64]) -> NDArray[np.float64]:
    """Slope at each ring of the parabola through a ring profile ``(time, ring)``, over the rings in reach.

    The mean of a whole ring is known well enough for a parabola, where one landmark is not. NaN at a ring that is
    itself not known.
    """
    slopes = np.full(profile.shape, np.nan)
    for ring in np.flatnonzero(np.isfinite(against)):
        reach = slice(max(0, ring - RING_REACH), ring + RING_REACH + 1)
        y, steps = profile[:, reach], against[reach] - against[ring]
        is_known = np.isfinite(y)
        for known in np.unique(is_known, axis=0):
            if known.sum() > 1:
                frames = (is_known == known).all(axis=1)
                slopes[frames, ring] = np.polyfit(steps[known], y[frames][:, known].T, min(2, known.sum() - 1))[-2]
    return slopes


def _slopes(values: NDArray[np.float64], against: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least-squares slope of ``values`` ``(..., ring)`` over the rings in reach of each; NaN where fewer than two."""
    values, against = np.broadcast_arrays(values, against)
    slopes = np.full(values.shape, np.nan)
    for ring in range(values.shape[-1]):
        reach = slice(max(0, ring - RING_REACH), ring + RING_REACH + 1)
        y, x = values[..., reach], against[..., reach]
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
