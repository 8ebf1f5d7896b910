"""Every strain value of a study on its own row, as ``strain.csv`` and ``strain.parquet`` list them."""

from __future__ import annotations

from collections.abc import Iterator
from math import nan
from typing import NamedTuple

from tagstrain.data import SliceResult
from tagstrain.data.landmarks import MIDWALL_RING
from tagstrain.quality import SliceQuality
from tagstrain.report.curves import Curve, known_peak, strain_curves


class StrainRow(NamedTuple):
    """One value; the fields are the columns of the tables."""

    study: str
    slice: str
    frame: int
    """Counted from 0."""
    time_ms: float
    component: str
    region: str
    measure: str
    value: float
    """Strain as a fraction; NaN where it is not known."""
    quality: str | None
    """Grade of the slice; None where it was not assessed."""
    low_80: float = nan
    """Bounds of the intervals stand beside the peak of mid-wall circumferential strain, and nowhere else."""
    high_80: float = nan
    low_95: float = nan
    high_95: float = nan


def strain_rows(key: str, result: SliceResult, quality: SliceQuality | None = None) -> Iterator[StrainRow]:
    """The rows of one slice."""
    grade = None if quality is None else str(quality.grade)
    times_ms = result.strain.frame_times_ms.tolist()
    for curve in strain_curves(result.strain):
        name = (curve.component, curve.region, curve.measure)
        peak = known_peak(result.strain, curve.values, shortening=True) if _is_midwall(curve) else None
        # + 0.0 turns -0.0 into 0.0
        for frame, (time_ms, value) in enumerate(zip(times_ms, (curve.values + 0.0).tolist(), strict=True)):
            bounds = _bounds(quality) if quality is not None and peak is not None and frame == peak.frame else ()
            yield StrainRow(key, result.name, frame, time_ms, *name, value, grade, *bounds)


def _is_midwall(curve: Curve) -> bool:
    """Whether a curve is the one whose peak has intervals."""
    return (curve.component, curve.region, curve.measure) == (
        "circumferential",
        f"ring_{MIDWALL_RING}",
        "green_lagrange",
    )


def _bounds(quality: SliceQuality) -> tuple[float, ...]:
    """The intervals of the peak, lower bounds first."""
    return (*quality.peak_circumferential_interval_80, *quality.peak_circumferential_interval_95)
