"""``strain.csv``: every strain value of a study on its own line."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from tagstrain.data import SliceResult
from tagstrain.data.landmarks import MIDWALL_RING
from tagstrain.quality import SliceQuality
from tagstrain.report.curves import Curve, strain_curves

COLUMNS = (
    *("study", "slice", "frame", "time_ms", "component", "region", "measure", "value"),
    *("quality", "low_80", "high_80", "low_95", "high_95"),
)


class StrainCsv:
    """Writes one study's tidy table; strain as a fraction, an empty value where it is not known.

    ``quality`` is the grade of the slice. Intervals stand beside the value that they belong to, the peak of mid-wall
    circumferential strain, and nowhere else.
    """

    def __init__(self, path: Path, key: str) -> None:
        self._key = key
        self._file = path.open("w", encoding="utf-8", newline="")
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._writer.writerow(COLUMNS)

    def add(self, result: SliceResult, quality: SliceQuality | None = None) -> None:
        """Write the curves of a slice."""
        grade = "" if quality is None else str(quality.grade)
        times = [f"{time:.3f}" for time in result.strain.frame_times_ms]
        for curve in strain_curves(result.strain):
            peak_frame = np.nanargmin(curve.values) if quality is not None and _is_midwall(curve) else None
            for frame, (time, value) in enumerate(zip(times, curve.values + 0.0, strict=True)):
                bounds = _bounds(quality) if quality is not None and frame == peak_frame else ("",) * 4
                place = (self._key, result.name, frame, time, curve.component, curve.region, curve.measure)
                self._writer.writerow((*place, _text(value), grade, *bounds))

    def close(self) -> None:
        """Finish the file."""
        self._file.close()


def _is_midwall(curve: Curve) -> bool:
    """Whether a curve is the one whose peak has intervals."""
    return (curve.component, curve.region, curve.measure) == (
        "circumferential",
        f"ring_{MIDWALL_RING}",
        "green_lagrange",
    )


def _bounds(quality: SliceQuality) -> tuple[str, ...]:
    """The intervals of the peak."""
    intervals = (quality.peak_circumferential_interval_80, quality.peak_circumferential_interval_95)
    return tuple(_text(bound) for interval in intervals for bound in interval)


def _text(value: float) -> str:
    """A strain as text, empty where it is not known."""
    return f"{value:.6f}" if np.isfinite(value) else ""
