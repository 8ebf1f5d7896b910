"""Which slices stand for the ventricle."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from saved_results import SLICE_DISTANCE_MM, short_axis_slices, still
from tagstrain.data import SliceLevel, SliceResult
from tagstrain.inference.mechanics import ventricle_mechanics
from tagstrain.inference.strain import slice_strain
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


def across(result: SliceResult, name: str) -> SliceResult:
    """The slice as if it had been seen in a long axis: its plane turned by a right angle about the image's rows."""
    affine = result.cine.affine
    assert affine is not None
    turned = affine.copy()
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    turned[:3, 1] = np.linalg.norm(affine[:3, 1]) * normal / np.linalg.norm(normal)
    turned[:3, 2] = -affine[:3, 1]
    return replace(result, cine=replace(result.cine, name=name, level=SliceLevel.UNKNOWN, affine=turned))


def test_a_long_axis_is_no_part_of_the_ventricle() -> None:
    basal, mid, apical = short_axis_slices(6)
    alone = study_function([basal, mid, apical], {})
    function = study_function([basal, mid, across(still(mid), "slice_4"), apical], {})
    assert set(function.left_out) == {"slice_4"}
    assert "long axis" in function.left_out["slice_4"]
    assert alone.ventricle is not None
    assert function.ventricle is not None
    assert_allclose(function.ventricle.circumferential.global_mean, alone.ventricle.circumferential.global_mean)


def tilted(result: SliceResult, name: str, tilt_deg: float) -> SliceResult:
    """The slice in a plane turned a little about the image's rows, its level not known."""
    affine = result.cine.affine
    assert affine is not None
    row, column = affine[:3, 0], affine[:3, 1]
    normal = np.linalg.norm(column) * np.cross(row, column) / np.linalg.norm(np.cross(row, column))
    turned = affine.copy()
    angle = np.radians(tilt_deg)
    turned[:3, 1] = np.cos(angle) * column + np.sin(angle) * normal
    turned[:3, 2] = np.cross(turned[:3, 0], turned[:3, 1])
    return replace(result, cine=replace(result.cine, name=name, level=SliceLevel.UNKNOWN, affine=turned))


def test_short_axes_that_are_not_quite_parallel_are_a_ventricle() -> None:
    slices = [tilted(each, f"slice_{k}", 9.0 * k) for k, each in enumerate(short_axis_slices(6))]
    function = study_function(slices, {})
    assert not function.left_out
    assert function.ventricle is not None
    assert set(study_function([*slices, across(slices[0], "slice_9")], {}).left_out) == {"slice_9"}


def test_two_long_axes_do_not_put_out_the_short_ones() -> None:
    basal, mid, apical = (tilted(each, f"slice_{k}", 0.0) for k, each in enumerate(short_axis_slices(6)))
    two_chambers, three_chambers = across(mid, "long_1"), tilted(across(mid, "x"), "long_2", 44.0)
    assert set(study_function([two_chambers, three_chambers, basal, mid, apical], {}).left_out) == {"long_1", "long_2"}
    function = study_function([two_chambers, basal, across(mid, "long_3"), mid], {})
    assert function.ventricle is None, "two of each: nobody knows"


def test_of_two_planes_that_cross_nobody_knows_which_is_the_short_axis() -> None:
    _, mid, _ = short_axis_slices(6)
    unknown = replace(mid, cine=replace(mid.cine, name="slice_1", level=SliceLevel.UNKNOWN))
    function = study_function([unknown, across(mid, "slice_2")], {})
    assert function.ventricle is None
    assert set(function.left_out) == {"slice_1", "slice_2"}
    assert set(study_function([mid, across(mid, "slice_2")], {}).left_out) == {"slice_2"}


def cut_off(result: SliceResult, n_frames: int) -> SliceResult:
    """The slice as if the rest of its frames had been lost."""
    times_ms = result.cine.frame_times_ms[:n_frames]
    cine = replace(result.cine, frames=result.cine.frames[:n_frames], frame_times_ms=times_ms)
    landmarks = replace(
        result.landmarks, points_px=result.landmarks.points_px[:n_frames], sigma_px=result.landmarks.sigma_px[:n_frames]
    )
    return replace(result, cine=cine, landmarks=landmarks, strain=slice_strain(landmarks, cine.spacing_xy_mm, times_ms))


def test_a_slice_whose_frames_end_early_does_not_end_the_curves_of_the_others() -> None:
    basal, mid, apical = short_axis_slices(24)
    whole = study_function([basal, mid, apical], {})
    es = mid.strain.es_frame
    function = study_function([basal, mid, cut_off(apical, es // 2)], {})
    ends_ms = apical.cine.frame_times_ms[es // 2 - 1]
    assert function.left_out == {"apical": f"its frames end at {ends_ms:.0f} ms, before the end-systole of the others"}
    assert whole.ventricle is not None
    assert function.ventricle is not None
    assert function.ventricle.phases.es_ms == pytest.approx(whole.ventricle.phases.es_ms, abs=40)
    assert len(function.ventricle.frame_times_ms) == len(whole.ventricle.frame_times_ms)
    # Noise may have made the frame before the last the shortest.
    short = cut_off(apical, es // 2)
    short = replace(short, strain=replace(short.strain, es_frame=es // 2 - 2))
    assert set(study_function([basal, mid, short], {}).left_out) == {"apical"}


def test_a_slice_that_ends_just_before_the_end_systole_of_the_others_does_not_make_it_theirs() -> None:
    basal, mid, apical = short_axis_slices(24)
    function = study_function([basal, mid, cut_off(apical, mid.strain.es_frame)], {})
    assert set(function.left_out) == {"apical"}


def test_a_short_slice_that_hardly_contracts_does_not_end_the_systole_of_the_others() -> None:
    """Noise says where it is shortest, anywhere in its frames."""
    basal, mid, apical = short_axis_slices(24)
    n = mid.strain.es_frame - 2
    short = still(cut_off(apical, n))
    for es_frame in range(n):
        noisy = replace(short, strain=replace(short.strain, es_frame=es_frame))
        assert set(study_function([basal, mid, noisy], {}).left_out) == {"apical"}


def test_two_short_slices_do_not_outvote_the_whole_one() -> None:
    slices = short_axis_slices(24)
    short = []
    for each in slices[1:]:
        cut = cut_off(each, each.strain.es_frame - 2)
        short.append(replace(cut, strain=replace(cut.strain, es_frame=cut.cine.n_frames - 2)))
    assert set(study_function([slices[0], *short], {}).left_out) == {"mid", "apical"}


def test_whole_slices_are_not_put_out_by_one_of_a_slower_heart() -> None:
    basal, mid, apical = short_axis_slices(24)
    times_ms = 2 * mid.cine.frame_times_ms
    slow = replace(mid, cine=replace(mid.cine, frame_times_ms=times_ms))
    slow = replace(slow, strain=slice_strain(slow.landmarks, slow.cine.spacing_xy_mm, times_ms))
    function = study_function([cut_off(basal, 14), slow, cut_off(apical, 14)], {})
    assert basal.strain.es_frame < 12
    assert times_ms[slow.strain.es_frame] > apical.cine.frame_times_ms[13]
    assert not function.left_out


def later(result: SliceResult, by_ms: float) -> SliceResult:
    """The slice as if its times counted from another moment."""
    times_ms = result.cine.frame_times_ms + by_ms
    strain = slice_strain(result.landmarks, result.cine.spacing_xy_mm, times_ms)
    return replace(result, cine=replace(result.cine, frame_times_ms=times_ms), strain=strain)


@pytest.mark.parametrize("by_ms", [60.0, 250.0, 900.0, 5000.0])
def test_a_slice_on_another_clock_does_not_spoil_the_ventricle(by_ms: float) -> None:
    basal, mid, apical = short_axis_slices(24)
    without = study_function([basal, mid], {}).ventricle
    function = study_function([basal, mid, later(apical, by_ms)], {})
    assert set(function.left_out) == {"apical"}
    assert f"lies {by_ms:.0f} ms after that of the others" in function.left_out["apical"]
    assert without is not None
    assert function.ventricle is not None
    np.testing.assert_allclose(function.ventricle.circumferential.global_mean, without.circumferential.global_mean)
    assert set(study_function([basal, later(mid, by_ms)], {}).left_out) == {"mid"}


def test_slices_that_all_begin_late_are_a_ventricle() -> None:
    assert not study_function([later(each, 900.0) for each in short_axis_slices(24)], {}).left_out
    basal, mid, apical = short_axis_slices(24)
    assert not study_function([basal, mid, later(apical, 40.0)], {}).left_out


def test_the_distance_for_torsion_does_not_depend_on_where_the_patient_lies() -> None:
    """The apical plane is turned by 2 degrees about the middle of its heart, which stays where it is."""
    basal, mid, apical = short_axis_slices(24)
    turned = tilted(apical, "apical", 2.0).cine.affine
    assert turned is not None
    assert apical.cine.affine is not None
    middle_px = [*apical.landmarks.points_px[0, :, -1].mean(axis=0), 0, 1]
    turned[:3, 3] += ((apical.cine.affine - turned) @ middle_px)[:3]
    a_little = replace(apical, cine=replace(apical.cine, affine=turned))

    def distance_mm(slices: list[SliceResult], shift_mm: float) -> float:
        moved = []
        for each in slices:
            assert each.cine.affine is not None
            affine = each.cine.affine.copy()
            affine[:3, 3] += shift_mm * np.array([1.0, -0.5, 0.3])
            moved.append(replace(each, cine=replace(each.cine, affine=affine)))
        first, *_, last = (each.deformation.motion.depth_mm for each in ventricle_mechanics(moved).slices)
        assert first is not None
        assert last is not None
        return last - first

    expected = distance_mm([basal, mid, apical], 0.0)
    assert expected == pytest.approx(2 * SLICE_DISTANCE_MM)
    for shift_mm in (0.0, 100.0, -300.0):
        assert distance_mm([basal, mid, a_little], shift_mm) == pytest.approx(expected, rel=0.002)


def test_a_slice_that_drifts_on_does_not_put_out_one_that_has_its_end_systole() -> None:
    _, mid, apical = short_axis_slices(24)
    drifting = replace(mid, strain=replace(mid.strain, es_frame=23))
    assert not study_function([drifting, cut_off(apical, 20)], {}).left_out


def test_slices_that_all_end_in_systole_are_a_ventricle() -> None:
    slices = [cut_off(each, each.strain.es_frame // 2) for each in short_axis_slices(24)]
    function = study_function(slices, {})
    assert not function.left_out
    assert function.ventricle is not None
