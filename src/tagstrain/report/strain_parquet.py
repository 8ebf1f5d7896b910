"""``strain.parquet``: the rows of ``strain.csv`` with types, and with their units and conventions: `StrainParquet`."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tagstrain.data import Provenance, SliceFailure, SliceResult
from tagstrain.quality import SliceQuality
from tagstrain.report.results_json import CONVENTIONS
from tagstrain.report.strain_table import StrainRow, strain_rows

_BOUNDS = ("low_80", "high_80", "low_95", "high_95")
_NUMBERS = {"frame": pa.int32()} | dict.fromkeys(("time_ms", "value", *_BOUNDS), pa.float64())
_UNITS = {"time_ms": "ms"} | dict.fromkeys(("value", *_BOUNDS), "1")
_TOLD = ("strain", "green_lagrange", "linear", "ring_mean", "wall", "layer", "es_frame", "frames")


class StrainParquet:
    """Writes one study's table, one row group per slice; a value that is not known is null."""

    def __init__(self, path: Path, key: str, source: str, provenance: Provenance) -> None:
        self._key = key
        self._schema = _schema(source, provenance)
        self._writer = pq.ParquetWriter(path, self._schema)

    def add(self, result: SliceResult, quality: SliceQuality | None = None) -> tuple[()]:
        """Write the curves of a slice, all of which can be."""
        columns = zip(*strain_rows(self._key, result, quality), strict=True)
        arrays = [
            pa.array(column, field.type, from_pandas=True) for column, field in zip(columns, self._schema, strict=True)
        ]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))
        return ()

    def fail(self, failure: SliceFailure) -> None:
        """A slice that could not be analyzed has no rows."""

    def warn(self, warning: str) -> None:
        """The study as a whole has no row."""

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()


def _schema(source: str, provenance: Provenance) -> pa.Schema:
    """Names and types of the columns, with what a reader of the numbers should know."""
    fields = [
        pa.field(name, _NUMBERS.get(name, pa.string()), metadata={"unit": _UNITS[name]} if name in _UNITS else None)
        for name in StrainRow._fields
    ]
    metadata = {
        "source": source,
        "software": "tagstrain",
        "software_version": provenance.software_version,
        "tracker": provenance.tracker,
        "weights": json.dumps(dict(provenance.weights)),
        "disclaimer": provenance.disclaimer,
        "conventions": json.dumps({name: CONVENTIONS[name] for name in _TOLD}),
    }
    return pa.schema(fields, metadata)
