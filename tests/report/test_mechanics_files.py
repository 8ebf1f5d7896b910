"""``mechanics.json`` and ``mechanics.csv`` of a study."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from saved_results import reject, short_axis_slices, still, write_results
from tagstrain.data import Insertion, Point
from tagstrain.mechanics import StudyMechanics
from tagstrain.report.mechanics_files import segments_reliable, write_mechanics
from tagstrain.report.saved_study import SavedStudy, read_saved_study


@pytest.fixture
def saved(tmp_path: Path) -> SavedStudy:
    """Three slices, of which the apical one does not know the insertion well."""
    slices = [
        replace(result, insertion=Insertion(Point(40.0, 30.0), -1.9, confidence))
        for result, confidence in zip(short_axis_slices(8), (0.9, 0.8, 0.3), strict=True)
    ]
    return read_saved_study(write_results(tmp_path / "case_7", slices))


@pytest.fixture
def folder(tmp_path: Path, saved: SavedStudy) -> Path:
    write_mechanics(tmp_path / "case_7", saved)
    return tmp_path / "case_7"


def ventricle_of(saved: SavedStudy) -> StudyMechanics:
    assert saved.function is not None
    assert saved.function.ventricle is not None
    return saved.function.ventricle


def test_table_holds_what_was_measured_once_and_with_its_unit(folder: Path, saved: SavedStudy) -> None:
    table = pd.read_csv(folder / "mechanics.csv", keep_default_na=False)
    mechanics = ventricle_of(saved)
    names = ["slice", "region", "component", "measure"]
    assert not table.duplicated(names).any()
    values = table.set_index(names)
    peak = values.loc[("", "segment_9", "circumferential", "peak")]
    assert float(peak.value) == pytest.approx(mechanics.circumferential.segment_measures[9].peak, rel=1e-5)
    assert (peak.unit, peak.reliable) == ("1", "yes")
    assert values.loc[("", "segment_14", "radial", "time_to_peak_ms")].reliable == "no"
    midwall = values.loc[("", "layer_mid", "circumferential", "peak")]
    assert float(midwall.value) == pytest.approx(mechanics.circumferential.layer_measures["mid"].peak, rel=1e-5)
    rate = values.loc[("mid", "slice", "radial", "systolic_rate_per_s")]
    assert float(rate.value) == pytest.approx(mechanics.slices[1].radial.slice_mean.systolic_rate_per_s, rel=1e-5)
    assert (rate.unit, rate.reliable) == ("1/s", "")
    units = dict(zip(table.measure, table.unit, strict=True))
    assert units["peak_torsion_deg_per_cm"] == "deg/cm"
    assert units["peak_untwist_rate_deg_per_s"] == "deg/s"
    assert units["time_to_peak_of_rr"] == "1"


def test_json_holds_the_curves_with_null_for_what_is_missing(folder: Path, saved: SavedStudy) -> None:
    text = (folder / "mechanics.json").read_text(encoding="utf-8")
    assert "NaN" not in text
    record = json.loads(text)
    mechanics = ventricle_of(saved)
    segment = record["ventricle"]["circumferential"]["segments"]["1"]
    np.testing.assert_allclose(segment["curve"], mechanics.circumferential.segments[:, 0], atol=1e-6)
    assert set(record["ventricle"]["radial"]["segments"]) == {str(number) for number in range(1, 17)}
    assert [entry["name"] for entry in record["slices"]] == ["basal", "mid", "apical"]
    np.testing.assert_allclose(record["slices"][0]["area_ratio"][0], 1, atol=1e-6)
    assert "not for diagnostic use" in record["disclaimer"]


def test_a_slice_without_a_level_has_no_segments(tmp_path: Path) -> None:
    result = short_axis_slices(6)[0]
    unknown = replace(result, cine=replace(result.cine, level="unknown", affine=None))
    saved = read_saved_study(write_results(tmp_path / "a", [unknown]))
    write_mechanics(tmp_path / "a", saved)
    regions = set(pd.read_csv(tmp_path / "a" / "mechanics.csv").region)
    assert regions == {"ventricle", "slice", "layer_endo", "layer_mid", "layer_epi"}
    assert json.loads((tmp_path / "a" / "mechanics.json").read_text())["ventricle"]["twist"] is None


def test_a_rejected_slice_is_named_and_in_no_value_of_the_ventricle(tmp_path: Path) -> None:
    basal, mid, apical = short_axis_slices(8)
    folder = reject(write_results(tmp_path / "a", [basal, still(mid), apical]), 1)
    write_mechanics(folder, read_saved_study(folder))
    without = write_results(tmp_path / "b", [basal, apical])
    write_mechanics(without, read_saved_study(without))
    record, other = (json.loads((path / "mechanics.json").read_text(encoding="utf-8")) for path in (folder, without))
    assert record["ventricle"] == other["ventricle"]
    assert record["left_out"] == [{"name": "mid", "reason": "quality reject"}]
    assert other["left_out"] == []
    assert [entry["quality"] for entry in record["slices"]] == [None, "reject", None]
    table = pd.read_csv(folder / "mechanics.csv", keep_default_na=False)
    assert {row.slice: row.quality for row in table.itertuples()} == {
        "": "",
        "basal": "",
        "mid": "reject",
        "apical": "",
    }
    assert not {"segment_7", "segment_12"} & set(table.region)
    pd.testing.assert_frame_equal(
        table[table.slice != "mid"].reset_index(drop=True),
        pd.read_csv(without / "mechanics.csv", keep_default_na=False),
    )


def test_where_every_slice_is_rejected_there_are_no_values_of_the_ventricle(tmp_path: Path) -> None:
    folder = reject(write_results(tmp_path / "a", short_axis_slices(6)), 0, 1, 2)
    write_mechanics(folder, read_saved_study(folder))
    record = json.loads((folder / "mechanics.json").read_text(encoding="utf-8"))
    assert record["ventricle"] is None
    assert [entry["name"] for entry in record["left_out"]] == ["basal", "mid", "apical"]
    assert set(pd.read_csv(folder / "mechanics.csv").slice) == {"basal", "mid", "apical"}


def test_segments_of_images_that_may_be_mirrored_are_not_relied_on(saved: SavedStudy) -> None:
    assert saved.function is not None
    assert any(segments_reliable(saved.results.slices, saved.function).values())
    unoriented = [replace(result, cine=replace(result.cine, affine=None)) for result in saved.results.slices]
    assert not any(segments_reliable(unoriented, saved.function).values())


def test_doubts_about_the_study_stand_beside_its_regional_function(tmp_path: Path, saved: SavedStudy) -> None:
    (tmp_path / "doubted").mkdir()
    write_mechanics(tmp_path / "doubted", replace(saved, warnings=("slice levels may be mixed up",)))
    assert json.loads((tmp_path / "doubted" / "mechanics.json").read_text())["warnings"] == [
        "slice levels may be mixed up"
    ]
