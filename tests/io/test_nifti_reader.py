"""Axes, units, levels and faults of NIfTI."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from io_examples import LEVELS, assert_same_cine, by_name, example_cine, write_nifti

from tagstrain.data import PixelSpacing, SliceLevel
from tagstrain.errors import InputError
from tagstrain.io import read_study


def save(path: Path, pixels: np.ndarray, affine: np.ndarray | None = None, **header: object) -> Path:
    """Write an image with header fields set by name."""
    image = nib.Nifti1Image(pixels, affine)
    for name, value in header.items():
        image.header[name] = value
    nib.save(image, path)
    return path


def edit_header(path: Path, **header: object) -> None:
    """Change header fields in the file itself: saving through nibabel would derive some of them anew."""
    edited = nib.Nifti1Header(path.read_bytes()[:348], check=False)
    for name, value in header.items():
        edited[name] = value
    path.write_bytes(edited.binaryblock + path.read_bytes()[348:])


def test_rows_are_y_and_columns_are_x(tmp_path: Path) -> None:
    pixels = np.zeros((6, 4, 1, 3), np.int16)
    pixels[5, 1] = 7
    (source,) = read_study(save(tmp_path / "a.nii", pixels)).slices
    cine = source.load()
    assert cine.frames.shape == (3, 4, 6)
    assert cine.frames[2, 1, 5] == 7
    assert cine.source == "NIfTI a.nii, z = 0"


def test_every_z_is_a_slice_with_its_own_position(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 99, (5, 4, 2, 3)).astype(np.int16)
    affine = np.array([[1.25, 0, 0, -10], [0, 1.5, 0, -20], [0, 0, 8, 30], [0, 0, 0, 1.0]])
    path = save(tmp_path / "a.nii.gz", pixels, affine, sform_code=1)
    found = by_name(read_study(path))
    assert list(found) == ["slice_1", "slice_2"]
    by_height = sorted(found.values(), key=lambda cine: cine.affine[2, 3])
    for z, cine in enumerate(by_height):
        np.testing.assert_array_equal(cine.frames, pixels[:, :, z].transpose(2, 1, 0))
        np.testing.assert_allclose(cine.affine @ [1, 2, 0, 1], [8.75, 17, 30 + 8 * z, 1])
        assert cine.pixel_spacing == PixelSpacing(1.5, 1.25)
        assert any("level" in warning for warning in cine.warnings)


def test_three_parallel_short_axis_slices_are_named_from_base_to_apex(tmp_path: Path) -> None:
    """The third axis points right, back and up (RAS +, -, +): away from the apex, so the last z is basal."""
    affine = np.eye(4)
    affine[:3, 2] = np.array([0.6, -0.6, 0.5]) * 10
    affine[:3, 0] = np.array([0.6, 0.6, 0.0])
    affine[:3, 1] = np.cross(affine[:3, 2], affine[:3, 0]) / 10
    pixels = np.random.default_rng(0).integers(0, 99, (5, 4, 3, 3)).astype(np.int16)
    found = by_name(read_study(save(tmp_path / "a.nii.gz", pixels, affine)))
    assert list(found) == ["basal", "mid", "apical"]
    np.testing.assert_array_equal(found["basal"].frames, pixels[:, :, 2].transpose(2, 1, 0))
    assert all(any("positions" in warning for warning in cine.warnings) for cine in found.values())


@pytest.mark.parametrize("names", [("tag_1", "tag_2", "tag_3"), ("x-BASAL", "a mid b", "apical")])
def test_levels_come_from_file_names(tmp_path: Path, names: tuple[str, ...]) -> None:
    cines = [example_cine(seed=k) for k in range(3)]
    for name, cine in zip(names, cines, strict=True):
        write_nifti(tmp_path / f"{name}.nii.gz", cine)
    (tmp_path / "readme.md").write_text("x")
    study = read_study(tmp_path)
    assert study.skipped == ("readme.md: is not a NIfTI file",)
    for level, cine, (name, found) in zip(LEVELS, cines, by_name(study).items(), strict=True):
        assert name == level.value
        assert found.level is level
        assert_same_cine(found, cine)


def test_other_files_of_a_folder_keep_their_names(tmp_path: Path) -> None:
    for name in ("b x", "a"):
        write_nifti(tmp_path / f"{name}.nii", example_cine())
    assert list(by_name(read_study(tmp_path))) == ["a", "b_x"]


@pytest.mark.parametrize(("unit", "step"), [("sec", 0.0335), ("msec", 33.5), ("usec", 33500.0)])
@pytest.mark.parametrize(("length", "factor"), [("mm", 1.0), ("meter", 1e-3), ("micron", 1e3)])
def test_units_are_honored(tmp_path: Path, unit: str, step: float, length: str, factor: float) -> None:
    path = write_nifti(tmp_path / "a.nii", example_cine(), units=(length, unit))
    edit_header(path, pixdim=[1, 1.25 * factor, 1.5 * factor, 8 * factor, step, 1, 1, 1], toffset=step)
    cine = read_study(path).slices[0].load()
    np.testing.assert_allclose(cine.pixel_spacing, (1.5, 1.25), rtol=1e-6)
    np.testing.assert_allclose(cine.frame_times_ms, 33.5 * np.arange(1, 5), rtol=1e-6)


@pytest.mark.parametrize(
    ("step", "interval_ms", "word"),
    [(0.03, 30.0, "taken as s"), (35.0, 35.0, "taken as ms"), (1.0, 40.0, "assumed"), (0.0, 40.0, "assumed")],
)
def test_a_missing_unit_of_time_is_guessed_aloud(tmp_path: Path, step: float, interval_ms: float, word: str) -> None:
    path = save(tmp_path / "a.nii", np.zeros((3, 3, 1, 4), np.int16), pixdim=[1, 1, 1, 1, step, 1, 1, 1])
    cine = read_study(path).slices[0].load()
    np.testing.assert_allclose(np.diff(cine.frame_times_ms), interval_ms, rtol=1e-6)
    assert any(word in warning for warning in cine.warnings)


@pytest.mark.parametrize(("unit", "step"), [("sec", 0.03), ("msec", 30.0)])
def test_of_three_axes_the_third_is_time(tmp_path: Path, unit: str, step: float) -> None:
    path = write_nifti(tmp_path / "a.nii", example_cine(), units=("mm", unit), shape="x y t")
    edit_header(path, pixdim=[1, 1.25, 1.5, step, 1, 1, 1, 1], toffset=0)  # as nibabel fills what the image has not
    cine = read_study(path).slices[0].load()
    np.testing.assert_allclose(np.diff(cine.frame_times_ms), 30, rtol=1e-6)


@pytest.mark.parametrize("step", [1.0, 0.03, 8.0])
def test_a_third_step_without_unit_is_no_time(tmp_path: Path, step: float) -> None:
    path = save(tmp_path / "a.nii", np.zeros((3, 3, 4), np.int16), pixdim=[1, 1, 1, step, 30, 1, 1, 1])
    cine = read_study(path).slices[0].load()
    np.testing.assert_allclose(np.diff(cine.frame_times_ms), 40)
    assert any("frame times are not stored" in warning for warning in cine.warnings)


def test_the_default_step_of_one_second_is_no_frame_interval(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "a.nii", example_cine(), units=("mm", "sec"))
    edit_header(path, pixdim=[1, 1, 1, 8, 1, 1, 1, 1])
    cine = read_study(path).slices[0].load()
    np.testing.assert_allclose(np.diff(cine.frame_times_ms), 40)
    assert any("1000 ms apart, expected 5 to 500: 40 ms" in warning for warning in cine.warnings)


def test_scale_factors_are_applied(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 1, 4), None)
    image.header.set_slope_inter(0.5, 10)
    nib.save(image, tmp_path / "a.nii")
    raw = np.asanyarray(nib.load(tmp_path / "a.nii").dataobj)
    np.testing.assert_allclose(read_study(tmp_path / "a.nii").slices[0].load().frames, raw[:, :, 0].transpose(2, 1, 0))


def test_one_file_that_cannot_be_read_does_not_lose_the_others(tmp_path: Path) -> None:
    write_nifti(tmp_path / "tag_1.nii.gz", example_cine())
    (tmp_path / "tag_2.nii.gz").write_bytes(b"nothing")
    good, bad = read_study(tmp_path).slices
    assert_same_cine(good.load(), example_cine())
    assert good.load().level is SliceLevel.BASAL
    with pytest.raises(InputError, match=r"tag_2\.nii\.gz"):
        bad.load()


@pytest.mark.parametrize(
    ("pixels", "header", "message"),
    [
        (np.zeros((4, 4, 1, 1), np.int16), {}, "single frame"),
        (np.zeros((4, 4), np.int16), {}, "shape"),
        (np.zeros((4, 4, 1, 3, 2), np.int16), {}, "shape"),
        (np.zeros((4, 4, 1, 3), np.complex64), {}, "complex64"),
        (np.zeros((4, 4, 1, 3), np.int16), {"pixdim": [1, 0, 0, 1, 1, 1, 1, 1]}, "--pixel-spacing-mm ROW COLUMN"),
        (np.zeros((4, 4, 1, 3), np.int16), {"xyzt_units": 7}, "unit of length"),
    ],
)
def test_faults_are_named(tmp_path: Path, pixels: np.ndarray, header: dict[str, object], message: str) -> None:
    path = save(tmp_path / "a.nii", pixels)
    edit_header(path, **header)
    with pytest.raises(InputError, match=message):
        read_study(path)


def test_nan_pixels_are_refused_when_loaded(tmp_path: Path) -> None:
    pixels = np.zeros((4, 4, 1, 3), np.float32)
    pixels[1, 2, 0, 1] = np.nan
    (source,) = read_study(save(tmp_path / "a.nii", pixels)).slices
    with pytest.raises(InputError, match="1 pixels are NaN"):
        source.load()


def test_what_the_library_mends_is_not_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = write_nifti(tmp_path / "a.nii", example_cine())
    edit_header(path, sform_code=99)
    read_study(path).slices[0].load()
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_truncated_files_are_refused(tmp_path: Path, suffix: str) -> None:
    path = write_nifti(tmp_path / f"a{suffix}", example_cine(rows=40, columns=40))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match="truncated"):
        read_study(path).slices[0].load()


def test_a_text_file_named_nifti_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_text("not an image")
    with pytest.raises(InputError, match="named NIfTI but is not"):
        read_study(tmp_path / "a.nii")


@pytest.mark.parametrize("row", [0.0, np.nan])
def test_a_position_that_spans_no_plane_is_told_and_not_used(tmp_path: Path, row: float) -> None:
    path = save(tmp_path / "a.nii", np.ones((5, 4, 1, 3), np.int16), np.eye(4), sform_code=1)
    edit_header(path, srow_x=[row, row, row, 0], srow_y=[0, 1, 0, 0], srow_z=[0, 0, 1, 0])
    cine = read_study(path).slices[0].load()
    assert cine.affine is None
    assert any("spans no plane" in warning for warning in cine.warnings)
