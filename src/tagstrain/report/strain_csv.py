"""``strain.csv``: every strain value of a study on its own line."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from tagstrain.data import SliceResult
from tagstrain.report.curves import strain_curves

COLUMNS = ("study", "slice", "frame", "time_ms", "component", "region", "measure", "value")


class StrainCsv:
    """Writes one study's tidy table; strain as a fraction, an empty value where it is not known."""

    def __init__(self, path: Path, key: str) -> None:
        self._key = key
        self._file = path.open("w", encoding="utf-8", newline="")
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._writer.writerow(COLUMNS)

    def add(self, result: SliceResult) -> None:
        """Write the curves of a slice."""
        times = [f"{time:.3f}" for time in result.strain.frame_times_ms]
        for curve in strain_curves(result.strain):
            texts = (f"{value:.6f}" if np.isfinite(value) else "" for value in curve.values + 0.0)
            self._writer.writerows(
                (self._key, result.name, frame, time, curve.component, curve.region, curve.measure, text)
                for frame, (time, text) in enumerate(zip(times, texts, strict=True))
            )

    def close(self) -> None:
        """Finish the file."""
        self._file.close()
