"""The judgment on a slice in the result files."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from contracting_slice import contracting_slice
from tagstrain.data import Provenance, SliceFailure
from tagstrain.quality import Grade, Signals, SliceQuality
from tagstrain.quality.error_model import Interval
from tagstrain.report.results import StudyWriter
from tagstrain.report.strain_table import strain_rows

PROVENANCE = Provenance("1.2.3", "flow", {}, "cpu")
SIGNALS = Signals(**{name: k / 8 for k, name in enumerate(Signals.__dataclass_fields__)})  # type: ignore[arg-type]
QUALITY = SliceQuality(
    Grade.USABLE,
    ("tags fade early", "the motion jumps"),
    replace(SIGNALS, closure_mm=float("nan")),
    0.5,
    0.0125,
    0.03,
    Interval(-0.25, -0.15),
    Interval(-0.3, -0.1),
)
UNKNOWN = replace(
    QUALITY,
    grade=Grade.REJECT,
    reasons=(),
    predicted_error_mm=float("nan"),
    peak_circumferential_interval_80=Interval(float("nan"), float("nan")),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A study of four slices: judged, failed, judged without numbers, not judged; with a warning about the whole."""
    with StudyWriter(tmp_path, "case", "", PROVENANCE) as writer:
        writer.add(contracting_slice(6, (40, 36), name="basal"), QUALITY)
        writer.fail(SliceFailure("mid", "no ventricle found"))
        writer.add(contracting_slice(5, (40, 36), name="apical"), UNKNOWN)
        writer.add(contracting_slice(4, (40, 36), name="extra"))
        writer.warn("slice levels may be mixed up")
    return tmp_path


def test_json_says_grade_reasons_numbers_and_signals(folder: Path) -> None:
    study = json.loads((folder / "results.json").read_text())
    judged, unknown, unjudged = (slice_["quality"] for slice_ in study["slices"])
    signals = judged.pop("signals")
    assert judged == {
        "grade": "usable",
        "reasons": ["tags fade early", "the motion jumps"],
        "predicted_error_mm": 0.5,
        "predicted_circumferential_error": 0.0125,
        "predicted_regional_circumferential_error": 0.03,
        "peak_circumferential_interval_80": [-0.25, -0.15],
        "peak_circumferential_interval_95": [-0.3, -0.1],
    }
    assert list(signals) == list(Signals.__dataclass_fields__)
    assert signals["closure_mm"] is None
    assert signals["sigma_mm"] == SIGNALS.sigma_mm
    assert unknown["predicted_error_mm"] is None
    assert unknown["peak_circumferential_interval_80"] == [None, None]
    assert unjudged is None
    assert study["warnings"] == ["slice levels may be mixed up"]


def test_hdf5_has_a_row_for_every_slice(folder: Path) -> None:
    with h5py.File(folder / "results.h5") as file:
        assert [grade.decode() for grade in file["quality_grade"]] == ["usable", "", "reject", ""]
        assert file["quality_reasons"][0].decode() == "tags fade early; the motion jumps"
        np.testing.assert_allclose(file["predicted_error_mm"], [0.5, np.nan, np.nan, np.nan])
        np.testing.assert_allclose(file["peak_circumferential_interval_80"][0], [-0.25, -0.15], rtol=1e-6)
        assert np.isnan(file["peak_circumferential_interval_95"][[1, 3]]).all()


def test_csv_has_the_interval_beside_the_peak_alone(folder: Path) -> None:
    with (folder / "strain.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["slice"]: row["quality"] for row in rows} == {"basal": "usable", "apical": "reject", "extra": ""}
    (beside,) = [row for row in rows if row["low_80"]]
    assert (beside["slice"], beside["region"], beside["measure"]) == ("basal", "ring_3", "green_lagrange")
    assert [beside[name] for name in ("low_80", "high_80", "low_95", "high_95")] == [
        "-0.250000",
        "-0.150000",
        "-0.300000",
        "-0.100000",
    ]
    curve = [
        float(row["value"])
        for row in rows
        if (row["slice"], row["region"], row["measure"]) == ("basal", "ring_3", "green_lagrange")
    ]
    assert float(beside["value"]) == min(curve)


def test_a_slice_whose_mid_wall_is_not_known_has_no_peak_to_give_an_interval_for(tmp_path: Path) -> None:
    result = contracting_slice(5, (40, 36))
    unknown = np.full_like(result.strain.circumferential, np.nan)
    rows = list(strain_rows("case", replace(result, strain=replace(result.strain, circumferential=unknown)), QUALITY))
    assert rows
    assert all(np.isnan(row.low_95) for row in rows)
