"""Everything that one slice's landmarks say about its function: `slice_mechanics`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tagstrain.mechanics.dyssynchrony import (
    Dyssynchrony,
    internal_stretch_fraction,
    time_to_peak_sd_ms,
    uniformity_ratio,
)
from tagstrain.mechanics.regions import LAYERS, RegionalCurves
from tagstrain.mechanics.slice_deformation import SliceDeformation, SliceMotion, deform_slice
from tagstrain.mechanics.smoothing import smooth_curve
from tagstrain.mechanics.strain import mean_known
from tagstrain.mechanics.timing import CardiacPhases, CurveMeasures, end_systole_ms, measure_curve


@dataclass(frozen=True, slots=True)
class RegionalMeasures:
    """Measures of one strain component, per region."""

    slice_mean: CurveMeasures
    layers: Mapping[str, CurveMeasures]
    """By the names in `regions.LAYERS`."""
    segments: Mapping[int, CurveMeasures]
    """By AHA segment number; empty where the slice's level is not known."""


@dataclass(frozen=True, eq=False, slots=True)
class SliceMechanics:
    """Curves of one slice and what they measure."""

    deformation: SliceDeformation
    phases: CardiacPhases
    es_frame: int
    """The frame nearest to end-systole."""
    circumferential: RegionalMeasures
    radial: RegionalMeasures
    dyssynchrony: Dyssynchrony


def slice_mechanics(motion: SliceMotion, es_ms: float | None = None) -> SliceMechanics:
    """Measure one slice.

    Parameters
    ----------
    motion
        The tracked landmarks, with what is known about the slice.
    es_ms
        End-systole of the whole ventricle; the slice's own (`timing.end_systole_ms`) where None.

    Raises
    ------
    ValueError
        If the landmarks allow no strain: too few known, or coinciding at ED.
    """
    deformation = deform_slice(motion)
    if es_ms is None:
        es_ms = end_systole_ms(
            deformation.circumferential.slice_mean, motion.frame_times_ms, motion.ed_frame, motion.rr_interval_ms
        )
    return measure_slice(deformation, es_ms)


def measure_slice(deformation: SliceDeformation, es_ms: float) -> SliceMechanics:
    """Measures of a slice whose curves are known already; ``es_ms`` as in `slice_mechanics`."""
    motion = deformation.motion
    phases = CardiacPhases(motion.ed_ms, max(es_ms, motion.ed_ms), motion.rr_interval_ms)
    circumferential = _measure_regions(deformation.circumferential, deformation, phases, is_shortening=True)
    return SliceMechanics(
        deformation=deformation,
        phases=phases,
        es_frame=int(np.argmin(np.abs(motion.frame_times_ms - es_ms))),
        circumferential=circumferential,
        radial=_measure_regions(deformation.radial, deformation, phases, is_shortening=False),
        dyssynchrony=dyssynchrony_of([deformation], list(circumferential.segments.values()), phases),
    )


def dyssynchrony_of(
    deformations: list[SliceDeformation], segment_measures: list[CurveMeasures], phases: CardiacPhases
) -> Dyssynchrony:
    """Indices of dyssynchrony over one or more slices.

    Parameters
    ----------
    deformations
        The slices.
    segment_measures
        Of the circumferential strain of all their segments.
    phases
        End-diastole and end-systole of the ventricle.
    """
    segment_curves = [
        smooth_curve(values, slice_.motion.frame_times_ms)
        for slice_ in deformations
        for values in slice_.circumferential.segments.T
    ]
    return Dyssynchrony(
        time_to_peak_sd_ms=time_to_peak_sd_ms(segment_measures),
        circumferential_uniformity=uniformity_ratio([_sectors(slice_.circumferential) for slice_ in deformations]),
        radial_uniformity=uniformity_ratio([_sectors(slice_.radial) for slice_ in deformations]),
        internal_stretch_fraction=internal_stretch_fraction(segment_curves, phases),
    )


def _sectors(curves: RegionalCurves) -> NDArray[np.float64]:
    """Strain per spoke, mean through the wall, shape ``(time, spoke)``."""
    return mean_known(curves.landmarks, axis=2)


def _measure_regions(
    curves: RegionalCurves, deformation: SliceDeformation, phases: CardiacPhases, is_shortening: bool
) -> RegionalMeasures:
    """Measure the curve of every region."""

    def measure(values: NDArray[np.float64]) -> CurveMeasures:
        return measure_curve(smooth_curve(values, deformation.motion.frame_times_ms), phases, is_shortening)

    return RegionalMeasures(
        slice_mean=measure(curves.slice_mean),
        layers={name: measure(values) for name, values in zip(LAYERS, curves.layers.T, strict=True)},
        segments={
            number: measure(values) for number, values in zip(deformation.segments, curves.segments.T, strict=True)
        },
    )
