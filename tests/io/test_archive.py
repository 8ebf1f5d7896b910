"""Zips that must not be read, and zips that cannot."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from unittest.mock import patch

import pytest
from io_examples import assert_same_cine, example_cine, write_study, zip_folder

from tagstrain.errors import InputError
from tagstrain.io import archive as archive_module
from tagstrain.io import read_study


@pytest.mark.parametrize("name", ["../x.dcm", "/etc/x.dcm", "a/../../x.dcm", "..\\x.dcm", "C:\\x.dcm", "a/.."])
def test_paths_outside_the_zip_are_refused(tmp_path: Path, name: str) -> None:
    write_study(tmp_path / "case", [example_cine()])
    path = zip_folder(tmp_path / "case", tmp_path / "a.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, b"x")
    with pytest.raises(InputError, match=r"a\.zip: .*path outside the zip"):
        read_study(path)


def test_names_with_dots_are_fine(tmp_path: Path) -> None:
    write_study(tmp_path / "case", [example_cine()])
    path = zip_folder(tmp_path / "case", tmp_path / "a.zip", prefix="..a/b..c/")
    assert_same_cine(read_study(path).slices[0].load(), example_cine())


def test_zips_that_unpack_to_too_much_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros.dcm", bytes(10_000_000))
    with pytest.raises(InputError, match="times its size"):
        read_study(tmp_path / "a.zip")
    write_study(tmp_path / "case", [example_cine()])
    path = zip_folder(tmp_path / "case", tmp_path / "b.zip")
    with (
        patch.object(archive_module, "MAX_UNCOMPRESSED_BYTES", 1000),
        pytest.raises(InputError, match="would unpack to"),
    ):
        read_study(path)


def test_a_member_that_lies_about_its_size_is_damaged(tmp_path: Path) -> None:
    """The declared size bounds what is unpacked, so a lie cannot exhaust the memory."""
    write_study(tmp_path / "case", [example_cine()])
    path = zip_folder(tmp_path / "case", tmp_path / "a.zip")
    size = (tmp_path / "case" / "IM_01_0001.dcm").stat().st_size
    data = path.read_bytes()
    directory = data.index(b"PK\x01\x02")
    lie = data[directory:].replace(struct.pack("<I", size), struct.pack("<I", 300))
    path.write_bytes(data[:directory] + lie)
    with pytest.raises(InputError):
        read_study(path)


def test_encrypted_zips_are_refused(tmp_path: Path) -> None:
    write_study(tmp_path / "case", [example_cine()])
    path = zip_folder(tmp_path / "case", tmp_path / "a.zip")
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1  # general purpose bit 0 in the central directory
    path.write_bytes(data)
    with pytest.raises(InputError, match="is encrypted"):
        read_study(path)


def test_truncated_and_empty_zips_are_refused(tmp_path: Path) -> None:
    write_study(tmp_path / "case", [example_cine()])
    path = zip_folder(tmp_path / "case", tmp_path / "a.zip")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="truncated or damaged"):
        read_study(path)
    with zipfile.ZipFile(path, "w"):
        pass
    with pytest.raises(InputError, match="is empty"):
        read_study(path)


def test_one_damaged_member_loses_only_its_frame(tmp_path: Path) -> None:
    cine = example_cine()
    write_study(tmp_path / "case", [cine])
    path = zip_folder(tmp_path / "case", tmp_path / "a.zip")
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("IM_01_0004.dcm")
    data = bytearray(path.read_bytes())
    data[info.header_offset + 30 + len(info.filename) + info.compress_size // 2] ^= 0xFF
    path.write_bytes(data)
    study = read_study(path)
    assert study.skipped == ("IM_01_0004.dcm: is damaged within the zip",)
    found = study.slices[0].load()
    assert found.n_frames == 3
    assert any("3 of the 4 frames" in warning for warning in found.warnings)
