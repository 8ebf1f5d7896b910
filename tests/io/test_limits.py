"""Small files that announce or unpack to more than memory holds."""

from __future__ import annotations

import gzip
import io
import struct
import tracemalloc
import zipfile
from copy import copy
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest
from io_examples import example_cine, write_nifti, write_study, zip_folder

from tagstrain.errors import InputError
from tagstrain.io import LandmarkFile, read_study
from tagstrain.io.limits import MAX_RATIO


def test_members_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    """The directory of a zip may name the same bytes any number of times."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("00.dcm", np.random.default_rng(0).bytes(5000))
        for k in range(1, 100):
            entry = copy(archive.filelist[0])
            entry.filename = f"{k:02d}.dcm"
            archive.filelist.append(entry)
    (tmp_path / "a.zip").write_bytes(stream.getvalue())
    with pytest.raises(InputError, match="overlap"):
        read_study(tmp_path / "a.zip")


def test_a_member_larger_than_any_image_is_refused_whatever_it_packs_to(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a.dcm", bytes(10_000_000))
    data = stream.getvalue()
    at = data.index(b"PK\x01\x02") + 24  # uncompressed size in the directory
    (tmp_path / "a.zip").write_bytes(data[:at] + struct.pack("<I", 1_500_000_000) + data[at + 4 :])
    with pytest.raises(InputError, match=r"file of 1\.4 GiB"):
        read_study(tmp_path / "a.zip")


def test_a_member_that_unpacks_to_more_than_it_announces_is_never_unpacked_whole(tmp_path: Path) -> None:
    packed_zip = io.BytesIO()
    with zipfile.ZipFile(packed_zip, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.dcm", bytes(100_000_000))
    data = bytearray(packed_zip.getvalue())
    at = data.index(b"PK\x01\x02") + 24  # uncompressed size in the directory
    data[at : at + 4] = struct.pack("<I", 100_000)
    (tmp_path / "a.zip").write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="damaged within the zip"):
            read_study(tmp_path / "a.zip")
    finally:
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak_bytes < 20_000_000


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_zips_packed_by_methods_that_cannot_be_bounded_are_refused(tmp_path: Path, method: int) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as archive:
        archive.writestr("a.dcm", bytes(1000))
    with pytest.raises(InputError, match="another method than deflate"):
        read_study(tmp_path / "a.zip")


def test_a_zip_within_a_zip_is_not_opened(tmp_path: Path) -> None:
    write_study(tmp_path / "case", [example_cine()])
    inner = zip_folder(tmp_path / "case", tmp_path / "inner.zip")
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as archive:
        archive.write(inner, "inner.zip")
    with pytest.raises(InputError, match=r"inner\.zip is not a DICOM file"):
        read_study(tmp_path / "outer.zip")


def test_a_compressed_nifti_of_nothing_but_zeros_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((256, 256, 1, 20), np.int16), None), path)
    with pytest.raises(InputError, match="times its size"):
        read_study(path)


@pytest.mark.parametrize("value", [1e12, np.inf, np.nan, -5])
def test_pixels_announced_far_behind_the_header_are_refused(tmp_path: Path, value: float) -> None:
    path = write_nifti(tmp_path / "a.nii.gz", example_cine())
    data = bytearray(gzip.decompress(path.read_bytes()))
    data[108:112] = struct.pack("<f", value)  # vox_offset
    path.write_bytes(gzip.compress(bytes(data)))
    with pytest.raises(InputError):
        read_study(path).slices[0].load()


@pytest.mark.parametrize(
    ("shape", "chunks", "message"),
    [
        ((10**12, 2, 4, 4), (1, 2, 4, 4), "times its size"),
        ((1, 20, 10**5, 10**5), (1, 1, 64, 64), "announces a slice"),
        ((1, 2, 4, 4), (2**30, 1, 1, 1), "chunks of 1.0 GiB"),
    ],
)
def test_hdf5_that_announces_what_it_does_not_store_is_refused(
    tmp_path: Path, shape: tuple[int, ...], chunks: tuple[int, ...], message: str
) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("image_seqs", shape, "u1", chunks=chunks, maxshape=(None,) * 4)
        file["px_spaces"] = [1.4]
    with pytest.raises(InputError, match=message):
        read_study(tmp_path / "a.h5")


def test_hdf5_whose_padding_was_compressed_is_read(tmp_path: Path) -> None:
    frames = np.zeros((1, 60, 128, 128))
    frames[0, :20, 60:64, 60:64] = np.random.default_rng(0).uniform(size=(20, 4, 4))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        images = file.create_dataset("image_seqs", data=frames, chunks=(1, 60, 128, 128), compression="gzip")
        assert images.nbytes > MAX_RATIO * images.id.get_storage_size()
        file["px_spaces"], file["n_frames"] = [1.4], [20]
    np.testing.assert_array_equal(read_study(tmp_path / "a.h5").slices[0].load().frames, frames[0, :20].astype("f4"))


def test_a_small_column_of_a_row_file_may_not_be_large_either(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["image_seqs"] = np.ones((1, 2, 4, 4), np.uint8)
        file["px_spaces"] = [1.4]
        file.create_dataset("frame_times_ms", (1, 2**40), "f8", chunks=(1, 100))
    with pytest.raises(InputError, match="announces a slice"):
        read_study(tmp_path / "a.h5").slices[0].load()


@pytest.mark.parametrize("name", ["frame_times_ms", "bbox_corners"])
def test_what_is_stored_once_for_all_rows_may_not_be_large(tmp_path: Path, name: str) -> None:
    def read() -> None:
        read_study(tmp_path / "a.h5").slices[0].load()
        LandmarkFile(tmp_path / "a.h5").row(0)

    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["image_seqs"] = np.ones((2, 2, 4, 4), np.uint8)
        file["landmark_coords"] = np.ones((2, 2, 2, 3))
        file["px_spaces"] = 1.4
        file.create_dataset(name, (400_000_000,), "f8", chunks=(1000,))
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=f"dataset {name}: expected numbers"):
            read()
    finally:
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak_bytes < 50_000_000


def test_no_more_is_allocated_than_a_file_holds(tmp_path: Path) -> None:
    """A length of gigabytes in a header of hundreds of bytes."""
    (path, *_) = write_study(tmp_path / "case", [example_cine()])
    data = path.read_bytes()
    at = data.index(b"\x08\x00\x16\x00UI")  # SOPClassUID, made a type with a length of four bytes
    lie = data[: at + 4] + b"OB\0\0" + struct.pack("<I", 3_000_000_000) + data[at + 8 :]
    path.write_bytes(lie)
    tracemalloc.start()
    try:
        read_study(tmp_path / "case")
    finally:
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak_bytes < 50_000_000


def test_hdf5_that_reads_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(range(256)))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("image_seqs", (1, 2, 8, 8), "u1", external=[(str(tmp_path / "secret"), 0, 128)])
        file["px_spaces"] = [1.4]
    with pytest.raises(InputError, match="in another file"):
        read_study(tmp_path / "a.h5")
