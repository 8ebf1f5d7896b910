"""CIM exports: what a simulated heart's export says is read back, and every gap is named and counted."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread

from cim_export import DECIMALS, MODEL, N_FRAMES, SimulatedCase, simulated_case, strain_file, write_cim_export
from tagstrain.data import Box
from tagstrain.errors import InputError
from tagstrain.geometry import OriginalCrop
from tagstrain.io import LandmarkFile, read_study
from tagstrain.io.cim import find_cases, find_image, read_case, read_sample_points
from tagstrain.io.cim_training import CimSummary, SkipReason, write_cim_training_file

NAME = "case_07"
PAD = (256 - 64) // 2


@pytest.fixture(scope="module")
def case() -> SimulatedCase:
    return simulated_case()


@pytest.fixture
def export(tmp_path: Path, case: SimulatedCase) -> tuple[Path, Path]:
    return write_cim_export(tmp_path, case, NAME)


def convert(export: tuple[Path, Path], **options: bool) -> tuple[Path, CimSummary, list[str]]:
    """Write the training file beside the export; gives file, counts and reports."""
    path, reports = export[0].parent / "train.h5", []
    return path, write_cim_training_file(*export, path, report=reports.append, **options), reports


def edit(path: Path, old: str, new: str) -> None:
    """Replace text in a file, which must hold it."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def image_of(export: tuple[Path, Path], level: int, frame: int) -> Path:
    return export[1] / NAME / f"IM_{level + 1:02d}_{frame + 1:04d}.dcm"


@pytest.mark.parametrize("posix", [False, True])
def test_the_file_holds_the_simulated_truth(tmp_path: Path, case: SimulatedCase, posix: bool) -> None:
    path, summary, reports = convert(write_cim_export(tmp_path, case, NAME, posix))
    assert (summary.n_cases, summary.n_slices, reports) == (1, 3, [])
    with h5py.File(path) as file:
        assert file["image_seqs"].shape == (3, 20, 256, 256)
        assert file["image_seqs"].dtype == np.uint16
        assert file["landmark_coords"].shape == file["cropped_landmark_coords"].shape == (3, 20, 2, 168)
        assert file["cropped_image_seqs"].shape == (3, 20, 128, 128)
        assert file["cropped_image_seqs"].dtype == file["regions"].dtype == np.float32
        assert not {"_cases", "_models", "_slices"} & set(file)
        for level, cine in enumerate(case.cines):
            truth = case.landmarks_px[level] + PAD
            points = np.moveaxis(file["landmark_coords"][level, :N_FRAMES], 1, 2)
            np.testing.assert_allclose(points, truth, atol=0.51 * 10.0**-DECIMALS)
            assert np.isnan(file["landmark_coords"][level, N_FRAMES:]).all()
            stored = file["image_seqs"][level]
            np.testing.assert_array_equal(stored[:N_FRAMES, PAD:-PAD, PAD:-PAD], cine.frames)
            assert stored.sum() == cine.frames.sum()
            np.testing.assert_array_equal(file["regions"][level, :N_FRAMES], [case.regions(level)] * N_FRAMES)
            assert np.isnan(file["regions"][level, N_FRAMES:]).all()
            np.testing.assert_allclose(file["px_spaces"][level], cine.pixel_spacing.row_mm)
            np.testing.assert_allclose(file["frame_times_ms"][level, :N_FRAMES], cine.frame_times_ms)
        assert list(file["n_frames"]) == [N_FRAMES] * 3
        assert list(file["ed_frame_idx"]) == [0] * 3
        assert list(file["es_frame_idx"]) == [case.es_frame] * 3


def test_boxes_and_crops_follow_the_predecessors_rules(export: tuple[Path, Path], case: SimulatedCase) -> None:
    path, _, _ = convert(export)
    with h5py.File(path) as file:
        for level in range(3):
            points = np.moveaxis(file["landmark_coords"][level, :N_FRAMES], 1, 2)
            box = Box(*file["bbox_corners"][level])
            # 64 x 64 images are smaller than the box of a large heart, which is cut at their borders.
            own = Box.around(points[0] - PAD).within(64, 64)
            np.testing.assert_allclose(box, np.array(own) + PAD)
            crop = OriginalCrop.around(box, *file["image_seqs"].shape[2:])
            crops, crop_points = crop.sample(file["image_seqs"][level, :N_FRAMES]), crop.to_crop(points)
            np.testing.assert_array_equal(file["cropped_image_seqs"][level, :N_FRAMES], crops)
            np.testing.assert_allclose(
                np.moveaxis(file["cropped_landmark_coords"][level, :N_FRAMES], 1, 2), crop_points, rtol=1e-6
            )


def test_the_file_can_be_read_as_cines_and_as_truth(export: tuple[Path, Path], case: SimulatedCase) -> None:
    path, _, _ = convert(export)
    study = read_study(path)
    for level, (source, cine) in enumerate(zip(study.slices, case.cines, strict=True)):
        found = source.load()
        assert found.n_frames == N_FRAMES
        np.testing.assert_allclose(found.frame_times_ms, cine.frame_times_ms)
        row = LandmarkFile(path).row(level)
        assert (row.n_frames, row.ed_frame, row.es_frame) == (N_FRAMES, 0, case.es_frame)


def test_case_names_are_stored_when_asked_for(export: tuple[Path, Path]) -> None:
    path, _, _ = convert(export, case_names=True)
    with h5py.File(path) as file:
        assert list(file["_cases"].asstr()) == [NAME] * 3
        assert list(file["_models"].asstr()) == [MODEL] * 3
        assert list(file["_slices"].asstr()) == [f"series_1_slice_{k}" for k in (1, 2, 3)]


def test_a_later_frame_without_landmarks_is_missing_and_the_others_stay(
    export: tuple[Path, Path], case: SimulatedCase
) -> None:
    strain_file(export[0], NAME, 1, 2).unlink()
    edit(strain_file(export[0], NAME, 2, 3), "Region", "Area")
    path, summary, reports = convert(export)
    assert summary.missing_frames == {SkipReason.FRAME_LANDMARKS: 2}
    assert len(reports) == 2
    assert "slice_2: frame 2 has no landmarks" in reports[0]
    assert "has no column Region" in reports[1]
    with h5py.File(path) as file:
        assert np.isnan(file["landmark_coords"][1, 2]).all()
        assert np.isnan(file["cropped_landmark_coords"][1, 2]).all()
        assert np.isfinite(file["landmark_coords"][1, [0, 1, 3]]).all()
        assert file["image_seqs"][1, 2].any()
        assert list(file["n_frames"]) == [N_FRAMES] * 3


def test_a_later_frame_without_image_is_missing(export: tuple[Path, Path]) -> None:
    image_of(export, 0, 1).unlink()
    image_of(export, 2, 3).unlink()
    path, summary, reports = convert(export)
    assert summary.missing_frames == {SkipReason.FRAME_IMAGE: 2}
    assert all("IM_0" in report for report in reports)
    with h5py.File(path) as file:
        assert list(file["n_frames"]) == [N_FRAMES, N_FRAMES, N_FRAMES - 1]
        assert np.isnan(file["landmark_coords"][0, 1]).all()
        assert not file["image_seqs"][0, 1].any()
        assert np.isfinite(file["landmark_coords"][0, [0, 2, 3]]).all()
        assert np.isnan(file["frame_times_ms"][0]).all()
    assert read_study(path).slices[0].load().n_frames == N_FRAMES


def test_slices_without_a_first_frame_are_skipped(export: tuple[Path, Path], case: SimulatedCase) -> None:
    image_of(export, 0, 0).write_bytes(b"no image")
    edit(strain_file(export[0], NAME, 2, 0), "imageX", "x")
    path, summary, reports = convert(export)
    assert summary.skipped_slices == {SkipReason.NO_FIRST_IMAGE: 1, SkipReason.NO_FIRST_LANDMARKS: 1}
    assert summary.n_slices == 1
    assert "is not a DICOM file" in reports[0]
    assert "has no column imageX" in reports[1]
    with h5py.File(path) as file:
        points = np.moveaxis(file["landmark_coords"][0, :N_FRAMES], 1, 2)
    np.testing.assert_allclose(points, case.landmarks_px[1] + PAD, atol=1e-4)


def test_a_slice_whose_images_differ_is_skipped(export: tuple[Path, Path]) -> None:
    dataset = dcmread(image_of(export, 1, 2))
    dataset.PixelSpacing = [3.0, 3.0]
    dataset.save_as(image_of(export, 1, 2))
    _, summary, _ = convert(export)
    assert summary.skipped_slices == {SkipReason.MIXED_IMAGES: 1}


def test_slices_that_nothing_can_learn_from_are_skipped(export: tuple[Path, Path]) -> None:
    for frame in range(N_FRAMES):
        dataset = dcmread(image_of(export, 0, frame))
        del dataset.PixelSpacing
        dataset.save_as(image_of(export, 0, frame))
    for frame in range(1, N_FRAMES):
        image_of(export, 1, frame).unlink()
    _, summary, _ = convert(export)
    assert summary.skipped_slices == {SkipReason.NO_SPACING: 1, SkipReason.ONE_FRAME: 1}
    assert summary.n_slices == 1


def test_gray_levels_that_are_no_whole_numbers_make_the_file_float(export: tuple[Path, Path]) -> None:
    for level in range(3):
        for frame in range(N_FRAMES):
            dataset = dcmread(image_of(export, level, frame))
            dataset.RescaleSlope, dataset.RescaleIntercept = 0.5, 0.25
            dataset.save_as(image_of(export, level, frame))
    path, summary, _ = convert(export)
    assert summary.n_slices == 3
    with h5py.File(path) as file:
        assert file["image_seqs"].dtype == np.float32
        assert file["image_seqs"][0].max() % 1 in (0.25, 0.75)


def test_a_case_that_cannot_be_read_does_not_stop_the_others(tmp_path: Path, case: SimulatedCase) -> None:
    export = write_cim_export(tmp_path, case, NAME)
    (tmp_path / "images" / NAME).rename(tmp_path / "away")
    for name in ("case_08", "case_09"):
        write_cim_export(tmp_path, case, name)
    (tmp_path / "away").rename(tmp_path / "images" / NAME)
    (export[0] / "case_08" / "system" / "case_08.img_imageptr").unlink()
    edit(export[0] / "case_09" / "system" / f"case_09.{MODEL}", "Series 1 Slice", "SERIES 1 SLICE")
    edit(export[0] / "case_09" / "system" / f"case_09.{MODEL}", "Series 2 Slice", "SERIES 2 SLICE")
    _, summary, reports = convert(export)
    assert (summary.n_cases, summary.n_slices) == (1, 3)
    assert summary.skipped_cases == {SkipReason.CASE_UNREADABLE: 2}
    assert "no .img_imageptr files" in reports[0]
    assert "Check that CIM_TAG_2D version 6 wrote it" in reports[1]


def test_frame_numbers_beyond_the_cine_are_told_and_not_stored(export: tuple[Path, Path]) -> None:
    edit(
        export[0] / NAME / "system" / f"{NAME}.{MODEL}",
        "Slice 2 End-systolic Frame : 2",
        "Slice 2 End-systolic Frame : 9",
    )
    path, summary, reports = convert(export)
    assert summary.missing_frames == {SkipReason.FRAME_NUMBER: 1}
    assert "ES frame 9 is not one of its 4 frames" in reports[0]
    with h5py.File(path) as file:
        assert list(file["es_frame_idx"]) == [2, -1, 2]


def test_nothing_usable_is_an_error_and_leaves_no_file(export: tuple[Path, Path], tmp_path: Path) -> None:
    for level in range(3):
        strain_file(export[0], NAME, level, 0).unlink()
    with pytest.raises(InputError, match=r"no slice that can be used.*no landmarks in the first frame: 3"):
        convert(export)
    assert not (tmp_path / "train.h5").exists()


@pytest.mark.parametrize(
    "line", ["0\t0\t0", "0\t0\tx\tIMAGEPATH\\a.dcm", "0 0 0 IMAGEPATH", "0\t0\t999999999\tIMAGEPATH\\a"]
)
def test_damaged_pointer_files_are_told_by_line(export: tuple[Path, Path], line: str) -> None:
    path = export[0] / NAME / "system" / f"{NAME}.img_imageptr"
    path.write_text(path.read_text().splitlines()[0] + "\n\n" + line + "\n")
    with pytest.raises(InputError, match="line 3 is not series, slice, index and path"):
        read_case(export[0] / NAME)


@pytest.mark.parametrize("levels_up", [0, 1, 2])
def test_cases_are_found_at_three_levels(tmp_path: Path, levels_up: int) -> None:
    case = tmp_path / "top" / "reader" / "case"
    (case / "system").mkdir(parents=True)
    assert find_cases([case, case.parent, case.parent.parent][levels_up]) == [case]


def test_folders_without_cases_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no case"):
        find_cases(tmp_path)
    with pytest.raises(InputError, match="is not a folder"):
        find_cases(tmp_path / "absent")


@pytest.mark.parametrize(
    "pointer",
    [
        r"IMAGEPATH\Case 1\im_1.DCM",
        r"IMAGEPATH\\Case 1\\im_1.DCM",
        "IMAGEPATH/case 1/IM_1.dcm",
        "imagepath\\case 1/IM_1.dcm",
        "case 1/IM_1.dcm",
    ],
)
def test_pointers_are_read_whatever_their_slashes_and_case(tmp_path: Path, pointer: str) -> None:
    image = tmp_path / "case 1" / "IM_1.dcm"
    image.parent.mkdir()
    image.touch()
    assert find_image(tmp_path, pointer) == image
    assert find_image(tmp_path, str(image)) == image


@pytest.mark.parametrize("pointer", ["IMAGEPATH\\..\\secret.dcm", "/etc/hosts", "C:\\images\\a.dcm", "IMAGEPATH", ""])
def test_pointers_out_of_the_image_folder_are_refused(tmp_path: Path, pointer: str) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "secret.dcm").touch()
    with pytest.raises(InputError, match="leads out of the image folder"):
        find_image(tmp_path / "images", pointer)


@given(
    frames=st.lists(st.integers(0, 30), min_size=1, unique=True),
    style=st.sampled_from(["{}", ": {}", "= {}", "   {} "]),
)
def test_frame_numbers_are_read_as_they_are(
    tmp_path_factory: pytest.TempPathFactory, frames: list[int], style: str
) -> None:
    folder = tmp_path_factory.mktemp("cim") / "c"
    (folder / "system").mkdir(parents=True)
    (folder / "system" / "c.img_imageptr").write_text("header\n0\t0\t0\tIMAGEPATH\\a.dcm\n")
    lines = [f"Series 1 Slice {k + 1} End-diastolic Frame {style.format(frame)}" for k, frame in enumerate(frames)]
    (folder / "system" / "c.model_x").write_text("\n".join(lines))
    found = read_case(folder)
    assert {(s.name, s.ed_frame, s.es_frame) for s in found} == {
        (f"series_1_slice_{k + 1}", frame, None) for k, frame in enumerate(frames)
    }


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "has no column imageX, imageY, Region"),
        ("imageX Region imageY\n" + "1 2 3\n" * 167, "has 167 points, expected 168"),
        ("imageX Region imageY\n" + "1 2\n" * 168, "not numbers"),
        ("imageX Region imageY\n" + "1 2 x\n" * 168, "not numbers"),
        ("imageX Region imageY\n" + "1 2 nan\n" * 168, "not finite"),
    ],
)
def test_faults_of_strain_files_are_named(tmp_path: Path, content: str, problem: str) -> None:
    (tmp_path / "a_1_samplePt_strain.dat").write_text(content)
    with pytest.raises(InputError, match=problem):
        read_sample_points(tmp_path / "a_1_samplePt_strain.dat")


def test_columns_are_found_by_name(tmp_path: Path) -> None:
    lines = [f" {k}  5 {k + 0.5}" for k in range(168)]
    (tmp_path / "a.dat").write_text("\n".join(["imageY Region  imageX", *lines, ""]))
    points = read_sample_points(tmp_path / "a.dat")
    np.testing.assert_array_equal(points.image_xy_px, np.stack([np.arange(168) + 0.5, np.arange(168)], axis=1))
    assert (points.regions == 5).all()
