"""What a path stands for: one study, or a cohort of zips."""

from __future__ import annotations

from pathlib import Path

from io_examples import example_cine, write_nifti, write_study, zip_folder

from tagstrain.io import read_study
from tagstrain.io.study import find_studies


def test_a_folder_of_zips_is_a_cohort_in_the_order_of_names(tmp_path: Path) -> None:
    for name in ("20_20211_2_0.zip", "3_20211_2_0.ZIP", "100_20211_2_0.zip"):
        (tmp_path / name).write_bytes(b"never opened")
    found = find_studies(tmp_path)
    assert [path.name for path in found.paths] == ["100_20211_2_0.zip", "20_20211_2_0.zip", "3_20211_2_0.ZIP"]
    assert found.note == ""


def test_what_lies_beside_the_zips_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.zip").touch()
    (tmp_path / "fetched.lis").touch()
    (tmp_path / "older").mkdir()
    found = find_studies(tmp_path)
    assert found.paths == (tmp_path / "a.zip",)
    assert "2 files or folders" in found.note
    assert "fetched.lis, older" in found.note


def test_a_folder_of_images_stays_one_study_and_names_the_zip_it_skips(tmp_path: Path) -> None:
    write_study(tmp_path / "case")
    zip_folder(tmp_path / "case", tmp_path / "download.zip")
    (tmp_path / "download.zip").rename(tmp_path / "case" / "download.zip")
    assert find_studies(tmp_path / "case").paths == (tmp_path / "case",)
    assert any("download.zip" in reason for reason in read_study(tmp_path / "case").skipped)
    (tmp_path / "nifti").mkdir()
    write_nifti(tmp_path / "nifti" / "tag_1.nii", example_cine())
    (tmp_path / "nifti" / "a.zip").touch()
    assert find_studies(tmp_path / "nifti").paths == (tmp_path / "nifti",)


def test_anything_else_is_one_study(tmp_path: Path) -> None:
    (tmp_path / "a.zip").touch()
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "a.zip", tmp_path / "empty", tmp_path / "absent"):
        assert find_studies(path).paths == (path,)
