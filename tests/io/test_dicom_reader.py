"""Order, repeats, names and faults of classic DICOM."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from io_examples import (
    LEVELS,
    assert_same_cine,
    by_name,
    edit_dicom,
    example_cine,
    example_cines,
    set_study,
    write_study,
)
from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.uid import JPEGLSLossless, RLELossless

from tagstrain.data import PixelSpacing, SliceLevel
from tagstrain.errors import InputError
from tagstrain.io import read_study, write_dicom_study
from tagstrain.io.slice_levels import levels_from_position

N_FRAMES = 4


def blank(*keywords: str):
    """Edit that removes attributes."""

    def edit(dataset: FileDataset) -> None:
        for keyword in keywords:
            if keyword in dataset:
                delattr(dataset, keyword)

    return edit


def test_frames_are_ordered_by_trigger_time_whatever_the_instance_numbers(tmp_path: Path) -> None:
    cine = example_cine()
    files = write_study(tmp_path, [cine])
    edit_dicom(files, lambda d: setattr(d, "InstanceNumber", N_FRAMES + 1 - d.InstanceNumber))
    assert_same_cine(read_study(tmp_path).slices[0].load(), cine)


def test_uneven_trigger_times_are_kept(tmp_path: Path) -> None:
    files = write_study(tmp_path, [example_cine()])
    times_ms = [3.0, 40.25, 71.5, 140.0]
    for file, time in zip(files, times_ms, strict=True):
        edit_dicom([file], lambda d, time=time: setattr(d, "TriggerTime", time))
    np.testing.assert_array_equal(read_study(tmp_path).slices[0].load().frame_times_ms, times_ms)


@pytest.mark.parametrize(
    ("attributes", "interval_ms"),
    [
        ({"FrameTime": 21.0}, 21.0),
        ({"NominalInterval": 800, "CardiacNumberOfImages": 4}, 200.0),
        ({"TemporalResolution": 37.0}, 37.0),
        ({}, 40.0),
    ],
)
@pytest.mark.parametrize("tied", [True, False])
def test_without_distinct_trigger_times_the_instance_numbers_order_and_a_warning_says_so(
    tmp_path: Path, attributes: dict[str, float], interval_ms: float, tied: bool
) -> None:
    cine = example_cine()
    files = write_study(tmp_path, [cine])
    for k, file in enumerate(files):  # file names in the opposite order, so that they cannot help
        file.rename(tmp_path / f"z{len(files) - k}.dcm")
    files = sorted(tmp_path.iterdir())

    def edit(dataset: FileDataset) -> None:
        blank("TriggerTime", "NominalInterval", "CardiacNumberOfImages")(dataset)
        if tied:
            dataset.TriggerTime = 5
        for keyword, value in attributes.items():
            setattr(dataset, keyword, value)

    edit_dicom(files, edit)
    found = read_study(tmp_path).slices[0].load()
    np.testing.assert_array_equal(found.frames, cine.frames)
    np.testing.assert_allclose(found.frame_times_ms, np.arange(4) * interval_ms)
    assert ("repeat" if tied else "missing") in found.warnings[0]
    assert f"{interval_ms:g} ms" in found.warnings[1]


@pytest.mark.parametrize("without", [(0,), (1,), (2, 5), (7,)])
@pytest.mark.parametrize("tied", [True, False])
def test_a_few_trigger_times_that_are_missing_or_repeat_are_filled_in_and_told(
    tmp_path: Path, without: tuple[int, ...], tied: bool
) -> None:
    cine = example_cine(n_frames=8)
    files = write_study(tmp_path, [cine])
    for k in without:
        edit_dicom([files[k]], lambda d: setattr(d, "TriggerTime", 999) if tied else blank("TriggerTime")(d))
    if tied and len(without) == 1:
        edit_dicom([files[without[0]]], lambda d: setattr(d, "TriggerTime", dcmread(files[3]).TriggerTime))
    found = read_study(tmp_path).slices[0].load()
    assert_same_cine(found, cine)
    n_filled = max(len(without), 2) if tied else len(without)
    assert found.warnings[0].startswith(f"trigger times of {n_filled} of 8 frames are missing or repeat")


@pytest.mark.parametrize("keyword", ["TemporalPositionIdentifier", "InstanceNumber"])
@pytest.mark.parametrize("step", [1, 3])
def test_without_trigger_times_a_missing_frame_leaves_a_gap(tmp_path: Path, keyword: str, step: int) -> None:
    cine = example_cine(n_frames=8)

    def edit(dataset: FileDataset) -> None:
        blank("TriggerTime")(dataset)
        dataset.FrameTime = 30.0
        setattr(dataset, keyword, 5 + step * dataset.InstanceNumber)

    files = write_study(tmp_path, [cine])
    edit_dicom(files, edit)
    files[4].unlink()
    found = read_study(tmp_path).slices[0].load()
    np.testing.assert_array_equal(found.frame_times_ms, 30.0 * np.array([0, 1, 2, 3, 5, 6, 7]))
    assert any("1 frames in between are missing" in warning for warning in found.warnings)


def test_a_first_frame_at_the_r_wave_keeps_its_time_and_none_comes_before(tmp_path: Path) -> None:
    times_ms = {0: 0.0, 1: 12.0, 5: 187.0, 6: 222.0, 7: 0.0}
    files = write_study(tmp_path, [example_cine(n_frames=8)])
    for k, file in enumerate(files):
        edit_dicom([file], lambda d, k=k: setattr(d, "TriggerTime", times_ms.get(k, 12.0 + 35 * (k - 1))))
    found = read_study(tmp_path).slices[0].load()
    np.testing.assert_allclose(found.frame_times_ms, [0, 12, 47, 82, 117, 187, 222, 257])
    edit_dicom([files[0], files[7]], blank("TriggerTime"))
    found = read_study(tmp_path).slices[0].load()
    np.testing.assert_allclose(found.frame_times_ms, [0, 12, 47, 82, 117, 187, 222, 257])


@pytest.mark.parametrize("numbers", [(1, 3, 10, 12, 17, 40), (1, 2, 3, 101, 102, 103)])
@pytest.mark.parametrize("announced", [True, False])
def test_numbers_that_do_not_count_the_frames_leave_an_even_interval(
    tmp_path: Path, numbers: tuple[int, ...], announced: bool
) -> None:
    files = write_study(tmp_path, [example_cine(n_frames=6)])
    edit_dicom(files, lambda d: (blank("TriggerTime")(d), setattr(d, "FrameTime", 30.0)))
    if not announced:
        edit_dicom(files, blank("CardiacNumberOfImages"))
    for file, number in zip(files, numbers, strict=True):
        edit_dicom([file], lambda d, number=number: setattr(d, "InstanceNumber", number))
    found = read_study(tmp_path).slices[0].load()
    np.testing.assert_array_equal(found.frame_times_ms, 30.0 * np.arange(6))
    assert not any("in between" in warning for warning in found.warnings)
    for k, file in enumerate(files[:3] + files[4:]):
        edit_dicom([file], lambda d, k=k: setattr(d, "TriggerTime", 25.0 * (k + (k > 2))))
    np.testing.assert_allclose(read_study(tmp_path).slices[0].load().frame_times_ms, 25.0 * np.arange(6))


BROKEN_OFF_LATE = [((8, 8), 1), ((8, 3), 0), ((8, 2), 0), ((8, 8, 2), 1)]
BROKEN_OFF_FIRST = [((7, 8), 1), ((3, 8), 1)]


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize(
    ("place", "n_frames", "used"),
    [(lambda k, run: 100 * run + k, *case) for case in (*BROKEN_OFF_LATE, *BROKEN_OFF_FIRST)]
    + [(lambda k, run: 3 * k + run, *case) for case in BROKEN_OFF_LATE],
)
def test_rounds_that_instance_numbers_alone_tell_apart_are_no_longer_cine(
    tmp_path: Path, place: Callable[[int, int], int], n_frames: tuple[int, ...], used: int, announced: bool
) -> None:
    """Numbered one round after the other, or time by time; the last round is used that was not broken off."""
    cines = [example_cine(n_frames=8, seed=run) for run in range(len(n_frames))]
    for run, n_kept in enumerate(n_frames):
        files = write_study(tmp_path / f"{run}", [cines[run]], seed=run)
        for file in files[n_kept:]:
            file.unlink()

        def edit(dataset: FileDataset, run: int = run) -> None:
            dataset.update({"StudyInstanceUID": "1.2.3", "PatientID": "P1", "SeriesInstanceUID": "1.2.3.4"})
            dataset.InstanceNumber = place(dataset.InstanceNumber, run)
            if not announced:
                del dataset.CardiacNumberOfImages

        edit_dicom(files[:n_kept], edit)
    study = read_study(tmp_path)
    (source,) = study.slices
    assert_same_cine(source.load(), cines[used])
    assert sum("repeated" in reason for reason in study.skipped) == len(n_frames) - 1


@pytest.mark.parametrize("time_ms", [lambda k: 60 * (k // 2), lambda k: 1000 * (k // 4)])
def test_as_many_images_as_announced_are_one_acquisition_whatever_their_times(
    tmp_path: Path, time_ms: Callable[[int], int]
) -> None:
    cine = example_cine(n_frames=8)
    for k, file in enumerate(write_study(tmp_path, [cine])):
        edit_dicom([file], lambda d, k=k: setattr(d, "TriggerTime", time_ms(k)))
    (source,) = read_study(tmp_path).slices
    found = source.load()
    np.testing.assert_array_equal(found.frames, cine.frames)
    assert "trigger times repeat" in found.warnings[0]


@pytest.mark.parametrize("n_announced", [None, 1, 6])
@pytest.mark.parametrize("times_ms", [(0, 35, 70, 0, 140, 175, 210, 245), (0,) * 8])
def test_times_that_are_not_known_and_written_as_0_begin_no_round(
    tmp_path: Path, times_ms: tuple[int, ...], n_announced: int | None
) -> None:
    cine = example_cine(n_frames=8)
    for file, time_ms in zip(write_study(tmp_path, [cine]), times_ms, strict=True):
        edit_dicom([file], lambda d, t=time_ms: d.update({"TriggerTime": t, "CardiacNumberOfImages": n_announced}))
    (source,) = read_study(tmp_path).slices
    found = source.load()
    np.testing.assert_array_equal(found.frames, cine.frames)
    if times_ms[-1]:
        np.testing.assert_allclose(found.frame_times_ms, 35.0 * np.arange(8))


def test_a_repeat_that_is_whole_as_announced_is_used(tmp_path: Path) -> None:
    """The heart beat faster: both acquisitions of the series have as many frames as announced."""
    for run, n_frames in enumerate((12, 7)):
        cine = example_cine(n_frames=n_frames, seed=run)
        files = write_study(tmp_path / f"{run}", [cine], seed=run)
        set_study(files)
        edit_dicom(files, lambda d, run=run: d.update({"SeriesInstanceUID": "1.2.3.4", "AcquisitionNumber": run + 1}))
    (source,) = read_study(tmp_path).slices
    assert_same_cine(source.load(), cine)


def test_repeats_of_a_study_may_have_fewer_frames(tmp_path: Path) -> None:
    """Another breath-hold with a faster heart: nothing announces how many frames it has."""
    for run, n_frames in enumerate((12, 7)):
        cine = example_cine(n_frames=n_frames, level=SliceLevel.BASAL, seed=run)
        files = write_study(tmp_path / f"{run}", [cine], seed=run)
        set_study(files)
        edit_dicom(files, lambda d, run=run: (setattr(d, "SeriesNumber", run), blank("CardiacNumberOfImages")(d))[0])
    (source,) = read_study(tmp_path).slices
    assert_same_cine(source.load(), cine)


@pytest.mark.parametrize(("frame", "time_ms"), [(3, 0.0), (2, 1000.0), (5, 120.0)])
def test_a_trigger_time_that_the_instance_numbers_contradict_is_told(
    tmp_path: Path, frame: int, time_ms: float
) -> None:
    files = write_study(tmp_path, [example_cine(7)])
    (source,) = read_study(tmp_path).slices
    assert source.load().warnings == ()
    edit_dicom(files[frame : frame + 1], lambda d: setattr(d, "TriggerTime", time_ms))
    (source,) = read_study(tmp_path).slices
    assert any(
        f"{time_ms:g}" in warning and "contradicts the instance numbers" in warning
        for warning in source.load().warnings
    )


@pytest.mark.parametrize("numbers", [(3, 1, 4, 7, 5, 2, 6), (1, 2, 3, 3, 5, 6, 7), (7, 6, 5, 4, 3, 2, 1)])
def test_instance_numbers_without_an_order_contradict_no_trigger_time(tmp_path: Path, numbers: tuple[int, ...]) -> None:
    for file, number in zip(write_study(tmp_path, [example_cine(7)]), numbers, strict=True):
        edit_dicom([file], lambda d, number=number: setattr(d, "InstanceNumber", number))
    (source,) = read_study(tmp_path).slices
    assert source.load().warnings == ()


def test_pixel_spacings_that_differ_by_rounding_are_one(tmp_path: Path) -> None:
    files = write_study(tmp_path, [example_cine()])
    edit_dicom(files[1:2], lambda d: setattr(d, "PixelSpacing", [1.50001, 1.25]))
    (source,) = read_study(tmp_path).slices
    assert_same_cine(source.load(), example_cine())


def test_one_series_with_several_slices_is_split_by_position(tmp_path: Path) -> None:
    cines = example_cines()
    edit_dicom(write_study(tmp_path, cines), lambda d: setattr(d, "SeriesInstanceUID", "1.2.3"))
    edit_dicom(sorted(tmp_path.iterdir()), lambda d: setattr(d, "SeriesDescription", "tagging"))
    found = by_name(read_study(tmp_path))
    assert list(found) == ["basal", "mid", "apical"]
    for level, cine in zip(LEVELS, cines, strict=True):
        assert_same_cine(found[level.value], cine)
        assert any("positions" in warning for warning in found[level.value].warnings)


def test_several_slices_in_one_series_without_positions_are_no_cine(tmp_path: Path) -> None:
    cines = [example_cine(6, seed=k, start_ms=12.5 + k) for k in range(3)]
    edit_dicom(write_study(tmp_path, cines), blank("ImagePositionPatient"))
    edit_dicom(sorted(tmp_path.iterdir()), lambda d: setattr(d, "SeriesInstanceUID", "1.2.3"))
    with pytest.raises(InputError, match=r"18 images without positions.* announces 6.*folder of their own"):
        read_study(tmp_path)


@pytest.mark.parametrize("final", ["s", ""])
def test_levels_come_from_uk_biobank_descriptions_in_any_file_order(tmp_path: Path, final: str) -> None:
    descriptions = [f"cine_tagging_3sl_SAX_b{k}{final}" for k in (3, 1, 2)]
    cines = [example_cine(seed=k, level=LEVELS[k]) for k in (2, 0, 1)]
    write_dicom_study(tmp_path / "case", cines, 1, descriptions)
    found = by_name(read_study(tmp_path / "case"))
    assert list(found) == ["basal", "mid", "apical"]
    for k, level in enumerate(LEVELS):
        assert_same_cine(found[level.value], example_cine(seed=k))
        assert found[level.value].level is level
        assert found[level.value].warnings == ()


def test_descriptions_that_contradict_the_positions_are_told(tmp_path: Path) -> None:
    descriptions = [f"cine_tagging_3sl_SAX_b{k}s" for k in (2, 1, 3)]
    write_dicom_study(tmp_path / "case", [example_cine(seed=k) for k in range(3)], 1, descriptions)
    for cine in by_name(read_study(tmp_path / "case")).values():
        assert any("do not follow" in warning for warning in cine.warnings)


def test_where_names_and_positions_have_the_apex_at_other_ends_the_orientation_is_not_used(tmp_path: Path) -> None:
    """As where a patient who lies on the back is registered as prone."""
    files = write_study(tmp_path / "case")
    turned = np.diag([-1.0, -1.0, 1.0])

    def register_prone(dataset: FileDataset) -> None:
        sides = np.reshape(dataset.ImageOrientationPatient, (2, 3)).astype(float)
        dataset.ImageOrientationPatient = [float(x) for x in (sides @ turned).ravel()]
        dataset.ImagePositionPatient = [float(x) for x in turned @ np.array(dataset.ImagePositionPatient, float)]

    assert all(
        cine.affine is not None and not cine.warnings for cine in by_name(read_study(tmp_path / "case")).values()
    )
    edit_dicom(files, register_prone)
    found = by_name(read_study(tmp_path / "case"))
    assert list(found) == ["basal", "mid", "apical"]
    for cine, expected in zip(found.values(), example_cines(), strict=True):
        assert_same_cine(cine, expected)
        assert cine.affine is None
        assert any("registered" in warning for warning in cine.warnings)


def test_two_uk_biobank_slices_keep_their_levels(tmp_path: Path) -> None:
    write_study(tmp_path / "case", example_cines()[1:])
    assert [source.name for source in read_study(tmp_path / "case").slices] == ["mid", "apical"]


def test_the_thirds_of_a_longer_stack_get_their_levels(tmp_path: Path) -> None:
    cines = [example_cine(seed=k) for k in range(4)]
    write_dicom_study(tmp_path / "case", cines[::-1], 1, ["tag"] * 4)
    found = by_name(read_study(tmp_path / "case"))
    assert list(found) == ["basal", "mid", "mid_2", "apical"]
    for cine, expected in zip(found.values(), cines[::-1], strict=True):
        np.testing.assert_array_equal(cine.frames, expected.frames)
        assert any("positions" in warning for warning in cine.warnings)


def test_a_plane_that_was_imaged_twice_leaves_the_others_their_levels_and_is_told(tmp_path: Path) -> None:
    cines = [example_cine(seed=k) for k in range(4)]
    files = write_dicom_study(tmp_path / "case", cines, 1, ["tag", "tag", "tag again", "tag"])
    edit_dicom(files[8:12], lambda d: setattr(d, "ImagePositionPatient", dcmread(files[4]).ImagePositionPatient))
    found = by_name(read_study(tmp_path / "case"))
    assert list(found) == ["basal", "mid", "mid_2", "apical"]
    for name, again in (("basal", False), ("mid", True), ("mid_2", True), ("apical", False)):
        assert any("its plane is shown by series" in warning for warning in found[name].warnings) is again


@pytest.mark.parametrize("tilt_deg", [-4.0, 0.0, 4.0])
def test_a_tilted_slice_keeps_its_place(tilt_deg: float) -> None:
    """Slices 15 mm apart, the middle one tilted about its own middle, 180 mm from the image's corner."""
    along, x = np.array([1.0, -1.0, -1.0]) / np.sqrt(3), np.array([1.0, 1.0, 0.0]) / np.sqrt(2)
    tilts = np.deg2rad([0.0, tilt_deg, 0.0])
    affines, middles = [], []
    for k, tilt in enumerate(tilts):
        y = np.cos(tilt) * np.cross(along, x) + np.sin(tilt) * along
        middle = 15.0 * k * along
        affine = np.eye(4)
        affine[:3] = np.column_stack([x, y, np.cross(x, y), middle - 180 * x - 180 * y])
        affines.append(affine)
        middles.append(middle)
    order, levels = levels_from_position(affines, middles)
    assert order == [0, 1, 2]
    assert levels == list(LEVELS)


def test_two_slices_are_ordered_and_numbered_with_a_warning(tmp_path: Path) -> None:
    cines = [example_cine(seed=k) for k in range(2)]
    files = write_dicom_study(tmp_path / "case", cines, 1, ["tag"] * 2)
    shift = dcmread(files[0]).ImagePositionPatient
    edit_dicom(files[:4], lambda d: setattr(d, "ImagePositionPatient", dcmread(files[4]).ImagePositionPatient))
    edit_dicom(files[4:], lambda d: setattr(d, "ImagePositionPatient", shift))
    found = by_name(read_study(tmp_path / "case"))
    assert list(found) == ["slice_1", "slice_2"]
    assert all(cine.level is SliceLevel.UNKNOWN and "level" in cine.warnings[-1] for cine in found.values())
    assert_same_cine(found["slice_1"], cines[1])


def test_the_last_complete_of_repeated_series_is_used(tmp_path: Path) -> None:
    """Three runs of the basal slice: whole, whole, broken off."""
    for run in range(3):
        files = write_study(tmp_path / f"run{run}", [example_cine(level=SliceLevel.BASAL, seed=run)], seed=run)
        edit_dicom(files, lambda d, run=run: setattr(d, "SeriesNumber", 10 + run))
        set_study(files)
    files[-1].unlink()
    study = read_study(tmp_path)
    (source,) = study.slices
    assert_same_cine(source.load(), example_cine(seed=1))
    assert len(study.skipped) == 2
    assert all("repeated" in reason for reason in study.skipped)


def test_an_incomplete_slice_is_used_and_told(tmp_path: Path) -> None:
    files = write_study(tmp_path, [example_cine()])
    files[2].unlink()
    cine = read_study(tmp_path).slices[0].load()
    assert cine.n_frames == 3
    assert any("3 of the 4 frames" in warning for warning in cine.warnings)


def test_copies_of_the_same_image_are_used_once(tmp_path: Path) -> None:
    cine = example_cine()
    write_study(tmp_path / "a", [cine])
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    study = read_study(tmp_path)
    assert_same_cine(study.slices[0].load(), cine)
    assert sum("a copy of" in reason for reason in study.skipped) == 4


def test_rescale_slope_and_intercept_are_applied(tmp_path: Path) -> None:
    cine = example_cine()

    def edit(dataset: FileDataset) -> None:
        dataset.RescaleSlope, dataset.RescaleIntercept = 2 * dataset.InstanceNumber, -3

    edit_dicom(write_study(tmp_path, [cine]), edit)
    slopes = 2 * np.arange(1, 5)[:, None, None]
    np.testing.assert_array_equal(read_study(tmp_path).slices[0].load().frames, cine.frames * slopes - 3)


@pytest.mark.parametrize(("slope", "intercept"), [(1, 0), (2, -3)])
def test_images_that_are_stored_with_black_and_white_exchanged_are_turned(
    tmp_path: Path, slope: float, intercept: float
) -> None:
    cine = example_cine()

    def edit(dataset: FileDataset) -> None:
        highest = 2**dataset.BitsStored - 1
        dataset.PixelData = (highest - dataset.pixel_array).astype(np.uint16).tobytes()
        dataset.PhotometricInterpretation = "MONOCHROME1"
        dataset.RescaleSlope, dataset.RescaleIntercept = slope, intercept

    edit_dicom(write_study(tmp_path, [cine]), edit)
    np.testing.assert_array_equal(read_study(tmp_path).slices[0].load().frames, cine.frames * slope + intercept)


@pytest.mark.parametrize("later_ms", [0.0, 3.0, 12.0])
@pytest.mark.parametrize("attribute", ["AcquisitionNumber", "TemporalPositionIdentifier"])
def test_two_acquisitions_of_a_plane_in_one_series_are_no_longer_cine(
    tmp_path: Path, later_ms: float, attribute: str
) -> None:
    cine = example_cine()
    for number in (1, 2):
        later = replace(cine, frame_times_ms=cine.frame_times_ms + (number - 1) * later_ms)
        files = write_study(tmp_path / f"{number}", [later], seed=number)
        same = {"SeriesInstanceUID": "1.2.3", "StudyInstanceUID": "1.2", "PatientID": "P1", attribute: number}
        edit_dicom(files, lambda d, same=same: d.update(same))
    study = read_study(tmp_path)
    assert [source.load().n_frames for source in study.slices] == [cine.n_frames]
    assert any("repeated" in reason for reason in study.skipped)


@pytest.mark.parametrize("attribute", ["AcquisitionNumber", "TemporalPositionIdentifier"])
@pytest.mark.parametrize("n_announced", [12, None])
@pytest.mark.parametrize("segment", [lambda k: k % 2, lambda k: k % 4, lambda k: k // 6, lambda k: k])
def test_segments_of_one_cine_stay_one(
    tmp_path: Path, attribute: str, n_announced: int | None, segment: Callable[[int], int]
) -> None:
    def edit(dataset: FileDataset) -> None:
        dataset.CardiacNumberOfImages = n_announced
        setattr(dataset, attribute, segment(int(dataset.InstanceNumber) - 1) + 1)

    cine = example_cine(n_frames=12)
    edit_dicom(write_study(tmp_path, [cine]), edit)
    (source,) = read_study(tmp_path).slices
    assert_same_cine(source.load(), cine)


def test_compressed_pixels_are_decoded(tmp_path: Path) -> None:
    cine = example_cine()
    files = write_study(tmp_path, [cine])
    edit_dicom(files, lambda d: d.compress(RLELossless, generate_instance_uid=False))
    assert dcmread(files[0]).file_meta.TransferSyntaxUID == RLELossless
    assert_same_cine(read_study(tmp_path).slices[0].load(), cine)


def test_a_missing_decoder_is_named(tmp_path: Path) -> None:
    files = write_study(tmp_path, [example_cine()])
    edit_dicom(files, lambda d: d.compress(RLELossless, generate_instance_uid=False))
    edit_dicom(files, lambda d: setattr(d.file_meta, "TransferSyntaxUID", JPEGLSLossless))
    (source,) = read_study(tmp_path).slices
    decoder = "pydicom.pixels.decoders.base.Decoder.is_available"
    with patch(decoder, False), pytest.raises(InputError, match=r"JPEG-LS.*no decoder.*pip install"):
        source.load()


def test_series_of_one_frame_are_skipped_with_the_reason(tmp_path: Path) -> None:
    write_study(tmp_path / "a", [example_cine()])
    (file, *rest) = write_study(tmp_path / "b", [example_cine()], seed=9)
    for other in rest:
        other.unlink()
    study = read_study(tmp_path)
    assert len(study.slices) == 1
    assert len(study.skipped) == 1
    assert file.name in study.skipped[0]
    assert "single frame" in study.skipped[0]


def test_a_broken_slice_does_not_lose_the_others(tmp_path: Path) -> None:
    files = write_study(tmp_path)
    edit_dicom(files[:1], lambda d: (setattr(d, "Rows", 8), setattr(d, "PixelData", d.PixelData[:-14]))[0])
    edit_dicom(files[4:8], blank("PixelSpacing"))
    basal, mid, apical = read_study(tmp_path).slices
    assert [basal.name, mid.name] == ["basal", "mid"]
    with pytest.raises(InputError, match="different sizes"):
        basal.load()
    with pytest.raises(InputError, match="--pixel-spacing-mm ROW COLUMN"):
        mid.load()
    assert_same_cine(apical.load(), example_cine(seed=2))


def test_truncated_pixels_fail_only_their_slice(tmp_path: Path) -> None:
    files = write_study(tmp_path)
    files[2].write_bytes(files[2].read_bytes()[:-20])
    basal, mid, _ = read_study(tmp_path).slices
    with pytest.raises(InputError, match=rf"{files[2].name}.*truncated or damaged"):
        basal.load()
    mid.load()


def test_given_spacing_fills_in_and_replaces_with_a_warning(tmp_path: Path) -> None:
    files = write_study(tmp_path)
    edit_dicom(files[:4], blank("PixelSpacing"))
    basal, mid, _ = (source.load() for source in read_study(tmp_path, (2.0, 1.0)).slices)
    assert basal.pixel_spacing == mid.pixel_spacing == PixelSpacing(2.0, 1.0)
    assert basal.warnings == ()
    assert "1.5 x 1.25" in mid.warnings[0]
    assert mid.affine is not None
    np.testing.assert_allclose(np.linalg.norm(mid.affine[:3, :2], axis=0), [1.0, 2.0], rtol=1e-9)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (blank("PixelData"), "no pixel data"),
        (blank("PixelSpacing"), r"PixelSpacing \(0028,0030\) is missing.*--pixel-spacing-mm ROW COLUMN"),
        (lambda d: setattr(d, "PixelSpacing", [0, 0]), "0 x 0 mm.*--pixel-spacing-mm"),
        (lambda d: setattr(d, "NumberOfFrames", 3), "multi-frame"),
        (lambda d: setattr(d, "SamplesPerPixel", 3), "color"),
        (lambda d: setattr(d, "PixelSpacing", [1, d.InstanceNumber]), "different PixelSpacing"),
        (lambda d: setattr(d, "SeriesInstanceUID", f"1.2.{d.InstanceNumber}"), "single frame"),
    ],
)
def test_a_study_without_a_usable_slice_is_refused(tmp_path: Path, edit, message: str) -> None:
    edit_dicom(write_study(tmp_path / "case", [example_cine()]), edit)
    with pytest.raises(InputError, match=message):
        read_study(tmp_path / "case")


def test_a_single_dicom_file_is_refused_with_the_way_out(tmp_path: Path) -> None:
    files = write_study(tmp_path, [example_cine()])
    with pytest.raises(InputError, match=r"single frame.*Give the folder"):
        read_study(files[0])
    edit_dicom(files[:1], blank("PixelData"))
    with pytest.raises(InputError, match=rf"^{files[0].name}: holds no pixel data"):
        read_study(files[0])


def test_folders_without_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is empty"):
        read_study(tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InputError, match=r"no image.*notes\.txt is not a DICOM file"):
        read_study(tmp_path)


def test_unusable_files_are_skipped_by_name_or_together_where_they_are_many(tmp_path: Path) -> None:
    write_study(tmp_path / "images", [example_cine()])
    for k in range(30):
        (tmp_path / f"note_{k:02d}.txt").write_text("x")
    (tmp_path / "empty.dcm").write_bytes(b"\0" * 128 + b"DICM")
    assert read_study(tmp_path).skipped == (
        "empty.dcm: holds no pixel data",
        "note_00.txt and 29 more files: is not a DICOM file",
    )


def test_no_attribute_of_the_patient_reaches_names_messages_or_logs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "Sekret"

    def edit(dataset: FileDataset) -> None:
        dataset.PatientName, dataset.PatientID = f"{secret}^Jo", f"{secret}1"
        dataset.PatientComments = dataset.StudyDescription = dataset.ImageComments = secret
        dataset.SeriesDescription = f"tagging {secret}"
        dataset.TriggerTime = 1

    files = write_study(tmp_path / "case", example_cines())
    edit_dicom(files, edit)
    edit_dicom(files[:4], lambda d: setattr(d, "Rows", 8 + d.InstanceNumber % 2))
    for file in files[4:6]:  # a number that is none, of the length that was there
        file.write_bytes(file.read_bytes().replace(b"\x20\x00\x11\x00IS\x02\x002 ", b"\x20\x00\x11\x00IS\x02\x00Se"))
    for extra in files[8:11]:
        extra.unlink()
    with caplog.at_level(logging.DEBUG):
        study = read_study(tmp_path / "case")
        told = [study.key, *study.skipped]
        for source in study.slices:
            told.append(source.name)
            try:
                cine = source.load()
                told += [cine.name, cine.source, *cine.warnings]
            except InputError as error:
                told.append(str(error))
    assert secret not in " ".join(told)
    assert caplog.text == ""  # pydicom would quote the number that is none
    assert len(told) > 6


def test_one_seed_makes_the_same_bytes_of_the_same_cines_and_another_study_of_others(tmp_path: Path) -> None:
    cine = example_cine(seed=1)
    first, again = (write_study(tmp_path / name, [cine]) for name in ("first", "again"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]
    others = [
        example_cine(seed=2),
        replace(cine, pixel_spacing=PixelSpacing(9.0, 9.0)),
        replace(cine, frame_times_ms=2 * cine.frame_times_ms),
    ]
    for number, other in enumerate(others):
        for path, elsewhere in zip(first, write_study(tmp_path / f"other{number}", [other]), strict=True):
            here, there = dcmread(path), dcmread(elsewhere)
            assert here.PatientID == there.PatientID
            for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"):
                assert here[name].value != there[name].value
