"""Write then read gives the same cine, in every format and through every way in."""

from __future__ import annotations

import pickle
from pathlib import Path
from tempfile import TemporaryDirectory

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from io_examples import (
    assert_same_cine,
    by_name,
    example_cine,
    example_cines,
    write_hdf5,
    write_nifti,
    write_plain_hdf5,
    write_study,
    zip_folder,
)
from pydicom import dcmread

from tagstrain.data import SliceLevel
from tagstrain.io import read_study, write_dicom_study

sizes = st.integers(1, 33)
lengths_mm = st.floats(0.3, 5).map(lambda mm: round(mm, 6))
frame_counts = st.integers(2, 35)


def test_dicom_written_is_read_back_with_names_levels_and_positions(tmp_path: Path) -> None:
    cines = example_cines()
    write_study(tmp_path / "case 7", cines)
    study = read_study(tmp_path / "case 7")
    assert (study.key, study.format, study.skipped) == ("case_7", "dicom", ())
    assert [source.name for source in study.slices] == ["basal", "mid", "apical"]
    for source, cine in zip(study.slices, cines, strict=True):
        found = source.load()
        assert_same_cine(found, cine)
        assert found.level is cine.level
        assert found.warnings == ()
        assert found.affine is not None


def test_all_formats_give_the_same_pixels_spacing_and_times(tmp_path: Path) -> None:
    cines = example_cines()
    write_study(tmp_path / "dicom", cines)
    (tmp_path / "nifti").mkdir()
    for k, cine in enumerate(cines):
        write_nifti(tmp_path / "nifti" / f"tag_{k + 1}.nii.gz", cine)
    ways = [
        tmp_path / "dicom",
        zip_folder(tmp_path / "dicom", tmp_path / "flat.zip"),
        zip_folder(tmp_path / "dicom", tmp_path / "nested.zip", prefix="a b/c/"),
        tmp_path / "nifti",
        write_hdf5(tmp_path / "rows.h5", cines),
    ]
    for way in ways:
        study = read_study(way)
        assert len(study.slices) == 3, way.name
        for source, cine in zip(study.slices, cines, strict=True):
            assert_same_cine(source.load(), cine)


def test_zip_and_folder_give_the_same_slices(tmp_path: Path) -> None:
    write_study(tmp_path / "dicom")
    (tmp_path / "dicom" / "manifest.cvs").write_text("filename,date\nx.dcm,Aug 30, 2015\n")
    folder = read_study(tmp_path / "dicom")
    zipped = read_study(zip_folder(tmp_path / "dicom", tmp_path / "1234567_20211_2_0.zip"))
    assert zipped.key == "1234567_20211_2_0"
    assert folder.skipped == zipped.skipped == ()
    for one, other in zip(folder.slices, zipped.slices, strict=True):
        assert one.name == other.name
        assert_same_cine(one.load(), other.load())


def test_affine_survives_dicom_and_agrees_with_nifti(tmp_path: Path) -> None:
    """LPS of DICOM and RAS of NIfTI name the same point of the patient."""
    cine = example_cine(level=SliceLevel.MID)
    write_dicom_study(tmp_path / "dicom", [cine], seed=3)
    from_dicom = by_name(read_study(tmp_path / "dicom"))["mid"]
    assert from_dicom.affine is not None
    write_dicom_study(tmp_path / "again", [from_dicom], seed=4)
    again = by_name(read_study(tmp_path / "again"))["mid"]
    np.testing.assert_allclose(again.affine, from_dicom.affine, atol=1e-6)
    ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ from_dicom.affine
    path = write_nifti(tmp_path / "mid.nii.gz", cine, ras)
    image = nib.load(path)
    from_nifti = by_name(read_study(path))["mid"]
    assert from_nifti.affine is not None
    corner = np.array([6, 2, 0, 1.0])
    np.testing.assert_allclose((image.affine @ corner)[:3] * [-1, -1, 1], (from_nifti.affine @ corner)[:3], atol=1e-4)
    np.testing.assert_allclose((from_dicom.affine @ corner)[:3], (from_nifti.affine @ corner)[:3], atol=1e-4)


@settings(max_examples=15, deadline=None)
@given(n_frames=frame_counts, rows=sizes, columns=sizes, row_mm=lengths_mm, column_mm=lengths_mm)
def test_any_size_and_spacing_survives_dicom(
    n_frames: int, rows: int, columns: int, row_mm: float, column_mm: float
) -> None:
    cine = example_cine(n_frames, rows, columns, (row_mm, column_mm))
    with TemporaryDirectory() as folder:
        write_study(Path(folder) / "case", [cine])
        (source,) = read_study(Path(folder) / "case").slices
        assert_same_cine(source.load(), cine)


@settings(max_examples=30, deadline=None)
@given(n_frames=frame_counts, rows=sizes, columns=sizes, row_mm=lengths_mm, column_mm=lengths_mm, flat=st.booleans())
def test_any_size_and_spacing_survives_nifti(
    n_frames: int, rows: int, columns: int, row_mm: float, column_mm: float, flat: bool
) -> None:
    cine = example_cine(n_frames, rows, columns, (row_mm, column_mm))
    with TemporaryDirectory() as folder:
        path = write_nifti(Path(folder) / "a.nii", cine, shape="x y t" if flat else "x y 1 t")
        (source,) = read_study(path).slices
        assert_same_cine(source.load(), cine)


@settings(max_examples=30, deadline=None)
@given(
    counts=st.lists(frame_counts, min_size=1, max_size=3), rows=sizes, columns=sizes, row_mm=lengths_mm, mm=lengths_mm
)
def test_any_size_and_spacing_survives_hdf5(
    counts: list[int], rows: int, columns: int, row_mm: float, mm: float
) -> None:
    cines = [example_cine(n, rows, columns, (row_mm, mm), seed=k) for k, n in enumerate(counts)]
    with TemporaryDirectory() as folder:
        study = read_study(write_hdf5(Path(folder) / "rows.h5", cines))
        for source, cine in zip(study.slices, cines, strict=True):
            found = source.load()
            assert_same_cine(found, cine)
            assert found.warnings == ()


@pytest.mark.parametrize("dtype", ["u1", "i1", "<u2", ">u2", "<i2", "i4", "u4", "i8", "f2", "f4", ">f8"])
def test_every_pixel_type_is_read_from_hdf5_and_nifti(tmp_path: Path, dtype: str) -> None:
    images = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5).astype(dtype)
    path = write_plain_hdf5(tmp_path / "a.h5", images, px_spaces=np.array([1.5, 2.0]))
    for k, source in enumerate(read_study(path).slices):
        np.testing.assert_array_equal(source.load().frames, images[k].astype(np.float32))
    if dtype == "f2":  # NIfTI has no half precision
        return
    nib.save(nib.Nifti1Image(images[0].transpose(2, 1, 0), None, dtype=images.dtype), tmp_path / "a.nii")
    np.testing.assert_array_equal(read_study(tmp_path / "a.nii").slices[0].load().frames, images[0])


def test_dicom_pixels_that_are_no_whole_numbers_come_back_to_quantization(tmp_path: Path) -> None:
    cine = example_cine()
    frames = (cine.frames / 1000 - 1.7).astype(np.float32)
    scaled = type(cine)(frames, cine.frame_times_ms, cine.pixel_spacing)
    write_study(tmp_path / "case", [scaled])
    found = read_study(tmp_path / "case").slices[0].load().frames
    np.testing.assert_allclose(found, frames, atol=np.ptp(frames) / 65535)


def test_same_seed_gives_the_same_dicom_bytes_and_another_seed_other_identifiers(tmp_path: Path) -> None:
    cines = example_cines()
    one, same, other = (write_dicom_study(tmp_path / n, cines, s) for n, s in [("a", 5), ("b", 5), ("c", 6)])
    assert [file.read_bytes() for file in one] == [file.read_bytes() for file in same]
    uids = {dcmread(file).SOPInstanceUID for file in [*one, *other]}
    assert len(uids) == 2 * len(one)


def test_dicom_is_in_the_style_of_uk_biobank(tmp_path: Path) -> None:
    files = write_study(tmp_path / "case")
    dataset = dcmread(files[-1])
    assert dataset.file_meta.MediaStorageSOPClassUID.name == "MR Image Storage"
    assert dataset.SeriesDescription == "cine_tagging_3sl_SAX_b3s"
    assert (dataset.InstanceNumber, dataset.CardiacNumberOfImages) == (4, 4)
    assert list(dataset.PixelSpacing) == [1.5, 1.25]
    assert dataset.pixel_array.dtype == np.uint16
    positions = np.array([dcmread(file).ImagePositionPatient for file in files[::4]], float)
    normal = np.cross(*np.array(dataset.ImageOrientationPatient, float).reshape(2, 3))
    steps = np.diff(positions, axis=0)
    np.testing.assert_allclose(steps @ normal, np.linalg.norm(steps, axis=1), rtol=1e-6)
    assert (steps @ normal > 5).all()


def test_slices_can_be_handed_to_another_process(tmp_path: Path) -> None:
    cine = example_cine()
    write_study(tmp_path / "dicom", [cine])
    ways = [
        tmp_path / "dicom",
        zip_folder(tmp_path / "dicom", tmp_path / "a.zip"),
        write_nifti(tmp_path / "a.nii.gz", cine),
        write_hdf5(tmp_path / "a.h5", [cine]),
    ]
    for way in ways:
        source = pickle.loads(pickle.dumps(read_study(way).slices[0]))
        assert_same_cine(source.load(), cine)
