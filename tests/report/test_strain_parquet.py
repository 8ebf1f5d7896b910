"""``strain.parquet`` beside ``strain.csv``."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from contracting_slice import contracting_slice
from tagstrain.data import Provenance
from tagstrain.report.strain_csv import StrainCsv
from tagstrain.report.strain_parquet import StrainParquet

PROVENANCE = Provenance("1.2.3", "flow", {"tracker": "4 sha256:ab"}, "cpu")


def test_rows_and_columns_are_those_of_the_csv(tmp_path: Path) -> None:
    basal = contracting_slice(3, name="basal")
    radial = basal.strain.radial.copy()
    radial[1] = np.nan
    writers = (
        StrainCsv(tmp_path / "strain.csv", "case"),
        StrainParquet(tmp_path / "strain.parquet", "case", "dicom: case.zip", PROVENANCE),
    )
    for writer in writers:
        writer.add(replace(basal, strain=replace(basal.strain, radial=radial)))
        writer.add(contracting_slice(4))
        writer.close()
    table = pd.read_parquet(tmp_path / "strain.parquet")
    listed = pd.read_csv(tmp_path / "strain.csv")
    assert table["value"].isna().sum() == 1
    pd.testing.assert_frame_equal(table, listed, check_dtype=False, atol=1e-6, rtol=0)


def test_types_units_and_origin_stand_in_the_schema(tmp_path: Path) -> None:
    writer = StrainParquet(tmp_path / "strain.parquet", "case", "dicom: case.zip", PROVENANCE)
    writer.add(contracting_slice(3))
    writer.close()
    schema = pq.read_schema(tmp_path / "strain.parquet")
    assert [str(schema.field(name).type) for name in ("study", "frame", "time_ms", "value")] == [
        "string",
        "int32",
        "double",
        "double",
    ]
    assert schema.field("time_ms").metadata[b"unit"] == b"ms"
    assert schema.metadata[b"source"] == b"dicom: case.zip"
    assert schema.metadata[b"software_version"] == b"1.2.3"
    assert json.loads(schema.metadata[b"weights"]) == {"tracker": "4 sha256:ab"}
    assert "((l / L)**2 - 1) / 2" in json.loads(schema.metadata[b"conventions"])["green_lagrange"]


def test_a_study_without_slices_gives_an_empty_table(tmp_path: Path) -> None:
    StrainParquet(tmp_path / "strain.parquet", "case", "dicom: case.zip", PROVENANCE).close()
    assert pd.read_parquet(tmp_path / "strain.parquet").empty
