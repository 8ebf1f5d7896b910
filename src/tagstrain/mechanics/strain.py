"""Strain of the left-ventricular wall from the lengths of material lines between landmarks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

StrainMeasure = Callable[[NDArray[np.floating], NDArray[np.floating]], NDArray[np.float64]]
"""Turns a length now and the same length at ED into a strain: `green_lagrange` or `engineering`."""


def green_lagrange(length: NDArray[np.floating], reference_length: NDArray[np.floating]) -> NDArray[np.float64]:
    """Green-Lagrange strain ``((l / L)**2 - 1) / 2`` of lines that were ``reference_length`` long.

    Raises
    ------
    ValueError
        If a reference length is zero, which leaves the strain undefined.
    """
    stretch = _stretch(length, reference_length)
    return (stretch * stretch - 1) / 2


def engineering(length: NDArray[np.floating], reference_length: NDArray[np.floating]) -> NDArray[np.float64]:
    """Engineering strain ``l / L - 1``, called ``linear`` in the result files.

    Raises
    ------
    ValueError
        If a reference length is zero, which leaves the strain undefined.
    """
    return _stretch(length, reference_length) - 1


def circumferential_lengths(landmarks: NDArray[np.floating]) -> NDArray[np.float64]:
    """Distances between neighbouring spokes on every ring.

    Parameters
    ----------
    landmarks
        Shape ``(..., spoke, ring, 2)``, any unit of length that is the same along x and y. Spokes are in angular
        order and closed: the last one neighbours the first.

    Returns
    -------
        Shape ``(..., spoke, ring)``; entry ``k`` lies between spokes ``k`` and ``k + 1``.
    """
    points = np.asarray(landmarks, np.float64)
    return _norm(np.roll(points, -1, axis=-3) - points)


def wall_lengths(landmarks: NDArray[np.floating]) -> NDArray[np.float64]:
    """Distances from the first ring to the last of every spoke, shape ``(..., spoke)``; input as above."""
    points = np.asarray(landmarks, np.float64)
    return _norm(points[..., -1, :] - points[..., 0, :])


def layer_lengths(landmarks: NDArray[np.floating]) -> NDArray[np.float64]:
    """Distances between neighbouring rings of every spoke, shape ``(..., spoke, ring - 1)``; input as above."""
    return _norm(np.diff(np.asarray(landmarks, np.float64), axis=-2))


def circumferential_strain(
    landmarks_mm: NDArray[np.floating], ed_frame: int = 0, measure: StrainMeasure = green_lagrange
) -> NDArray[np.float64]:
    """Circumferential strain of every ring, one value per pair of neighbouring spokes.

    Two neighbours on a ring span a material line of length ``L`` at ED and ``l`` now; its Green-Lagrange strain is
    ``E_cc = ((l / L)**2 - 1) / 2``. Shortening is negative: -0.18 is a line that shrank to 0.80 ``L``.

    Parameters
    ----------
    landmarks_mm
        Landmark positions [mm], shape ``(..., time, spoke, ring, 2)``, last axis ``(x, y)``.
        Spokes are in angular order and closed: the last one neighbours the first.
    ed_frame
        Index of the undeformed frame.
    measure
        `green_lagrange` or `engineering`.

    Returns
    -------
        Strain as a fraction, shape ``(..., time, spoke, ring)``; entry ``k`` lies between spokes ``k`` and
        ``k + 1``. Exactly 0 at ED, NaN where a landmark is NaN now or at ED.

    Raises
    ------
    ValueError
        If two neighbours coincide at ED, which leaves their strain undefined.

    References
    ----------
    Ferdian et al., Radiol Cardiothorac Imaging 2020;2(1):e190032, doi:10.1148/ryct.2020190032
    """
    lengths = circumferential_lengths(landmarks_mm)
    return measure(lengths, lengths[..., ed_frame, None, :, :])


def radial_strain(
    landmarks_mm: NDArray[np.floating], ed_frame: int = 0, measure: StrainMeasure = green_lagrange
) -> NDArray[np.float64]:
    """Radial strain across the whole wall, from the first ring to the last; thickening is positive.

    Input, missing values and errors as `circumferential_strain`; the result has shape ``(..., time, spoke)``.

    References
    ----------
    Ferdian et al., Radiol Cardiothorac Imaging 2020;2(1):e190032, doi:10.1148/ryct.2020190032
    """
    lengths = wall_lengths(landmarks_mm)
    return measure(lengths, lengths[..., ed_frame, None, :])


def radial_layer_strain(
    landmarks_mm: NDArray[np.floating], ed_frame: int = 0, measure: StrainMeasure = green_lagrange
) -> NDArray[np.float64]:
    """Radial strain of every layer, the wall between one ring and the next.

    Input, missing values and errors as `circumferential_strain`; the result has shape
    ``(..., time, spoke, ring - 1)``, innermost layer first.
    """
    lengths = layer_lengths(landmarks_mm)
    return measure(lengths, lengths[..., ed_frame, None, :, :])


def mean_known(values: NDArray[np.floating], axis: int) -> NDArray[np.float64]:
    """Mean of the values that are not NaN; NaN only where all of them are."""
    known = ~np.isnan(values)
    count = known.sum(axis=axis)
    total = np.where(known, values, 0.0).sum(axis=axis)
    return np.asarray(np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0))


def end_systolic_frame(circumferential: NDArray[np.floating]) -> int:
    """Frame in which the circumferential strain, averaged over the known rings, is most negative.

    Parameters
    ----------
    circumferential
        Slice means per ring, shape ``(time, ring)``.

    Raises
    ------
    ValueError
        If no value is known.
    """
    curve = mean_known(circumferential, axis=1)
    if np.isnan(curve).all():
        raise ValueError("circumferential strain: no value is known, so there is no end-systolic frame")
    return int(np.nanargmin(curve))


def _stretch(length: NDArray[np.floating], reference_length: NDArray[np.floating]) -> NDArray[np.float64]:
    """Length now over length at ED, exactly 1 where they are equal."""
    reference = np.asarray(reference_length, np.float64)
    n_zero = int(np.count_nonzero(reference == 0))
    if n_zero:
        raise ValueError(f"landmarks: {n_zero} pairs of neighbours coincide at ED, so their strain is undefined")
    return np.asarray(np.asarray(length, np.float64) / reference)


def _norm(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Euclidean length along the last axis."""
    return np.asarray(np.hypot(vectors[..., 0], vectors[..., 1]))
