"""Which slices stand for the ventricle."""

from __future__ import annotations

from dataclasses import replace

import pytest
from numpy.testing import assert_allclose

from saved_results import short_axis_slices, still
from tagstrain.data import SliceLevel, SliceResult
from tagstrain.inference.mechanics import ventricle_mechanics
from tagstrain.quality import Grade
from tagstrain.report.study_function import study_function


def test_a_rejected_slice_does_not_pull_the_peak_of_the_ventricle() -> None:
    basal, mid, apical = short_axis_slices(24)
    slices = [basal, still(mid), apical]
    peak = ventricle_mechanics([basal, mid, apical]).circumferential.global_measures.peak
    function = study_function(slices, {"basal": Grade.GOOD, "mid": Grade.REJECT, "apical": Grade.UNGRADED})
    assert function.ventricle is not None
    assert function.ventricle.circumferential.global_measures.peak == pytest.approx(peak, abs=1e-3)
    assert function.ventricle.twist is not None
    assert function.left_out == {"mid": "quality reject"}
    assert function.ventricle_missing == ""
    assert {slice_.phases.es_ms for slice_ in function.slices} == {function.ventricle.phases.es_ms}
    assert_allclose(function.slices[1].circumferential.slice_mean.peak, 0, atol=1e-6)


def test_there_is_no_twist_to_a_rejected_apex() -> None:
    function = study_function(short_axis_slices(6), {"apical": Grade.REJECT})
    assert function.ventricle is not None
    assert function.ventricle.twist_missing.endswith("there is no apical one")


def test_slices_that_were_not_assessed_stand_for_the_ventricle() -> None:
    slices = short_axis_slices(6)
    function = study_function(slices, {})
    assert function.ventricle is not None
    assert len(function.ventricle.slices) == len(function.slices) == 3
    assert not function.left_out


def test_without_a_ventricle_every_slice_has_its_own_end_systole() -> None:
    slices = short_axis_slices(12)[:2]
    late = replace(slices[1].cine, frame_times_ms=slices[1].cine.frame_times_ms * 1.3)
    slices[1] = replace(slices[1], cine=late)
    function = study_function(slices, {"basal": Grade.REJECT, "mid": Grade.REJECT})
    assert function.ventricle is None
    assert function.ventricle_missing == "quality reject"
    early_ms, late_ms = (slice_.phases.es_ms for slice_ in function.slices)
    assert late_ms > 1.2 * early_ms


def unplaced(result: SliceResult, name: str) -> SliceResult:
    """The slice as a row of an HDF5 file."""
    return replace(result, cine=replace(result.cine, name=name, level=SliceLevel.UNKNOWN, affine=None))


def test_slices_that_know_neither_level_nor_place_are_no_ventricle() -> None:
    rows = [unplaced(result, f"row_{k}") for k, result in enumerate(short_axis_slices(6))]
    function = study_function(rows, {"row_1": Grade.REJECT})
    assert function.ventricle is None
    assert function.ventricle_missing == "slices of unknown level are not taken together"
    assert set(function.left_out) == {"row_0", "row_1", "row_2"}
    alone = study_function(rows[:1], {})
    assert alone.ventricle is not None
    assert not alone.left_out


def test_slices_that_know_their_place_are_a_ventricle_without_the_others() -> None:
    basal, mid, apical = short_axis_slices(6)
    level_unknown = replace(mid, cine=replace(mid.cine, level=SliceLevel.UNKNOWN))
    function = study_function([basal, level_unknown, unplaced(apical, "row_2")], {})
    assert function.ventricle is not None
    assert len(function.ventricle.slices) == 2
    assert list(function.left_out) == ["row_2"]
