"""The strain curves of a slice under the names they have in every result file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tagstrain.data import Peak, StrainResult
from tagstrain.data.landmarks import MIDWALL_RING

MEASURES = ("green_lagrange", "linear")
CHORDS = "chords between landmarks"
"""What the strain of these curves is of; that of `tagstrain.mechanics` is of the deformation gradient."""
PEAK_REGIONS = {
    "circumferential_mean": "mean of rings",
    "circumferential_midwall": "mid-wall ring",
    "radial": "across the wall",
}
"""Where each peak of `peak_strains` is measured, as tables and figures say it."""


class Curve(NamedTuple):
    """One strain curve and what it measures."""

    component: str
    """``"circumferential"`` or ``"radial"``."""
    region: str
    """``"ring_0"`` (endocardium) to ``"ring_6"``, ``"ring_mean"``; ``"wall"``, ``"layer_0"`` (innermost) on."""
    measure: str
    """``"green_lagrange"`` or ``"linear"``."""
    values: NDArray[np.float64]
    """Strain as a fraction, shape ``(time,)``."""


def strain_curves(strain: StrainResult) -> Iterator[Curve]:
    """Every curve of a slice: rings and their mean, the whole wall and its layers, in both measures."""
    green = (strain.circumferential, strain.circumferential_mean, strain.radial, strain.radial_layers)
    linear = (
        strain.circumferential_linear,
        strain.circumferential_linear_mean,
        strain.radial_linear,
        strain.radial_layers_linear,
    )
    for measure, (rings, ring_mean, wall, layers) in zip(MEASURES, (green, linear), strict=True):
        for ring, values in enumerate(rings.T):
            yield Curve("circumferential", f"ring_{ring}", measure, values)
        yield Curve("circumferential", "ring_mean", measure, ring_mean)
        yield Curve("radial", "wall", measure, wall)
        for layer, values in enumerate(layers.T):
            yield Curve("radial", f"layer_{layer}", measure, values)


class PeakPair(NamedTuple):
    """Peak of one quantity in both measures; None where the curve is not known."""

    green_lagrange: Peak | None
    linear: Peak | None


def peak_strains(strain: StrainResult) -> dict[str, PeakPair]:
    """Peak shortening around the ring and peak thickening across the wall, by the name they are reported under."""
    midwall_linear = strain.circumferential_linear[:, MIDWALL_RING]
    return {
        "circumferential_mean": PeakPair(
            known_peak(strain, strain.circumferential_mean, shortening=True),
            known_peak(strain, strain.circumferential_linear_mean, shortening=True),
        ),
        "circumferential_midwall": PeakPair(
            known_peak(strain, strain.circumferential_midwall, shortening=True),
            known_peak(strain, midwall_linear, shortening=True),
        ),
        "radial": PeakPair(
            known_peak(strain, strain.radial, shortening=False),
            known_peak(strain, strain.radial_linear, shortening=False),
        ),
    }


def known_peak(strain: StrainResult, curve: NDArray[np.float64], *, shortening: bool) -> Peak | None:
    """Peak of a curve, None where every value is NaN."""
    return None if np.isnan(curve).all() else strain.peak(curve, shortening)
