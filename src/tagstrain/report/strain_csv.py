"""``strain.csv``: every strain value of a study on its own line."""

from __future__ import annotations

import csv
from math import isfinite
from pathlib import Path

from tagstrain.data import SliceResult
from tagstrain.report.strain_table import StrainRow, strain_rows


class StrainCsv:
    """Writes one study's tidy table; strain as a fraction, an empty value where it is not known."""

    def __init__(self, path: Path, key: str) -> None:
        self._key = key
        self._file = path.open("w", encoding="utf-8", newline="")
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._writer.writerow(StrainRow._fields)

    def add(self, result: SliceResult) -> None:
        """Write the curves of a slice."""
        for row in strain_rows(self._key, result):
            value = f"{row.value:.6f}" if isfinite(row.value) else ""
            time_ms = f"{row.time_ms:.3f}"
            self._writer.writerow(
                (row.study, row.slice, row.frame, time_ms, row.component, row.region, row.measure, value)
            )

    def close(self) -> None:
        """Finish the file."""
        self._file.close()
