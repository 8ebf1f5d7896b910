"""``strain.csv``: every strain value of a study on its own line."""

from __future__ import annotations

import csv
from math import isfinite
from pathlib import Path

from tagstrain.data import SliceResult
from tagstrain.quality import SliceQuality
from tagstrain.report.strain_table import StrainRow, strain_rows


class StrainCsv:
    """Writes one study's tidy table; strain as a fraction, an empty value where it is not known."""

    def __init__(self, path: Path, key: str) -> None:
        self._key = key
        self._file = path.open("w", encoding="utf-8", newline="")
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._writer.writerow(StrainRow._fields)

    def add(self, result: SliceResult, quality: SliceQuality | None = None) -> None:
        """Write the curves of a slice."""
        for row in strain_rows(self._key, result, quality):
            self._writer.writerow(_text(name, value) for name, value in row._asdict().items())

    def close(self) -> None:
        """Finish the file."""
        self._file.close()


def _text(name: str, value: str | float | None) -> str:
    """A cell: strains with six decimals, empty where they are not known."""
    if isinstance(value, float):
        return f"{value:.{3 if name == 'time_ms' else 6}f}" if isfinite(value) else ""
    return "" if value is None else str(value)
