"""Every strain value of a study on its own row, as ``strain.csv`` and ``strain.parquet`` list them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tagstrain.data import SliceResult
from tagstrain.report.curves import strain_curves


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


def strain_rows(key: str, result: SliceResult) -> Iterator[StrainRow]:
    """The rows of one slice."""
    times_ms = result.strain.frame_times_ms.tolist()
    for curve in strain_curves(result.strain):
        # + 0.0 turns -0.0 into 0.0
        for frame, (time_ms, value) in enumerate(zip(times_ms, (curve.values + 0.0).tolist(), strict=True)):
            yield StrainRow(key, result.name, frame, time_ms, curve.component, curve.region, curve.measure, value)
