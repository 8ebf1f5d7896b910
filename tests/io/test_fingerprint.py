"""An input is known again by what it holds, wherever it lies."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tagstrain.io.fingerprint import input_sha256


def test_a_file_is_known_by_its_bytes(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_bytes(b"tags")
    assert input_sha256(tmp_path / "a") == input_sha256(tmp_path / "b") == hashlib.sha256(b"tags").hexdigest()


def test_a_folder_is_known_by_names_sizes_and_starts(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep" / "1.dcm").write_bytes(b"12")
        (tmp_path / name / "2.dcm").write_bytes(b"1")
    assert input_sha256(tmp_path / "a") == input_sha256(tmp_path / "b")
    (tmp_path / "b" / "2.dcm").write_bytes(b"2")
    assert input_sha256(tmp_path / "a") != input_sha256(tmp_path / "b")
    (tmp_path / "b" / "2.dcm").write_bytes(b"12")
    assert input_sha256(tmp_path / "a") != input_sha256(tmp_path / "b")


def test_a_folder_of_other_files_than_dicom_is_known_by_all_of_their_bytes(tmp_path: Path) -> None:
    """Masked images begin alike."""
    for name, value in (("a", 1), ("b", 2)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tag.nii").write_bytes(bytes(100_000) + bytes([value]))
    assert input_sha256(tmp_path / "a") != input_sha256(tmp_path / "b")


def test_what_is_not_there_is_not_known(tmp_path: Path) -> None:
    assert input_sha256(tmp_path / "absent") is None
