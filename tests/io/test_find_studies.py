"""What a path stands for: one study, or a cohort of zips or folders."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import pytest
from io_examples import example_cine, example_cines, set_study, write_nifti, write_study, zip_folder

from tagstrain.errors import InputError
from tagstrain.io import read_study
from tagstrain.io.dicom_header import read_headers
from tagstrain.io.fingerprint import input_sha256
from tagstrain.io.input_folder import folders_in
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


@pytest.mark.parametrize(
    ("folders", "studies"),
    [
        (("sub-01", "sub-02"), ["sub-01", "sub-02"]),
        (("sub-01/ses-1", "sub-02"), ["sub-01", "sub-02"]),
        (("rawdata/sub-01", "rawdata/sub-02"), ["sub-01", "sub-02"]),
        (("P01_mid", "P02_mid"), ["P01_mid", "P02_mid"]),
        (("basal", "mid", "apical"), ["study"]),
        (("base", "mid", "apex"), ["study"]),
        (("cine_tagging_3sl_SAX_b1s", "cine_tagging_3sl_SAX_b2s"), ["study"]),
        (("only",), ["study"]),
        ((".", "deeper"), ["study"]),
    ],
)
def test_sub_folders_of_nifti_are_subjects_unless_they_are_named_by_level(
    tmp_path: Path, folders: tuple[str, ...], studies: list[str]
) -> None:
    study = tmp_path / "study"
    for folder in folders:
        (study / folder).mkdir(parents=True, exist_ok=True)
        write_nifti(study / folder / "tag_1.nii", example_cine())
    found = find_studies(study)
    assert [path.name for path in found.paths] == studies
    assert ("sub-folders of images are taken for studies" in found.note) == (len(studies) > 1)


def test_nifti_beside_dicom_makes_no_subjects(tmp_path: Path) -> None:
    """A study with its converted copies: it is read as DICOM, as a folder of both is."""
    write_study(tmp_path / "dicom")
    for name in ("basal_only", "all"):
        (tmp_path / "converted" / name).mkdir(parents=True)
        write_nifti(tmp_path / "converted" / name / "tag_1.nii", example_cine())
    assert find_studies(tmp_path).paths == (tmp_path,)
    assert read_study(tmp_path).format == "dicom"


def test_what_lies_beside_and_below_subjects_is_told(tmp_path: Path) -> None:
    for folder in ("sub-01/ses-1", "sub-01/ses-2", "sub-02"):
        (tmp_path / folder).mkdir(parents=True)
        write_nifti(tmp_path / folder / "tag_1.nii", example_cine())
    (tmp_path / "participants.tsv").touch()
    note = find_studies(tmp_path).note
    assert "sub-01: all images below are taken for one heart" in note
    assert "1 files or folders beside its studies are left out (participants.tsv)" in note


def test_anything_else_is_one_study(tmp_path: Path) -> None:
    (tmp_path / "a.zip").touch()
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "a.zip", tmp_path / "empty", tmp_path / "absent"):
        assert find_studies(path).paths == (path,)


def by_series(files: list[Path]) -> None:
    """Move every series of a folder into a sub-folder of its own."""
    for file in files:
        series = file.parent / file.name[:5]
        series.mkdir(exist_ok=True)
        file.rename(series / file.name)


def cohort(folder: Path) -> Path:
    """Three patients, a sub-folder each, the series of the second again in sub-folders of their own."""
    write_study(folder / "sub-00", seed=40)
    by_series(write_study(folder / "sub-01", seed=41))
    write_study(folder / "sub-02" / "DICOM", seed=42)
    return folder


def test_sub_folders_of_several_patients_are_a_cohort(tmp_path: Path) -> None:
    found = find_studies(cohort(tmp_path))
    assert [path.name for path in found.paths] == ["sub-00", "sub-01", "sub-02"]
    assert found.note == ""
    for path in found.paths:
        study = read_study(path)
        assert study.key == path.name
        assert [source.name for source in study.slices] == ["basal", "mid", "apical"]


def test_what_lies_beside_the_sub_folders_is_told_and_damaged_studies_are_not_passed_over(tmp_path: Path) -> None:
    for file in write_study(cohort(tmp_path) / "sub-03"):
        file.write_bytes(file.read_bytes()[:300])
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("x")
    (tmp_path / "list.csv").write_text("sub-00")
    found = find_studies(tmp_path)
    assert [path.name for path in found.paths] == ["sub-00", "sub-01", "sub-02", "sub-03"]
    assert "2 files or folders" in found.note
    assert "list.csv, notes" in found.note


def test_examinations_of_one_patient_are_studies_of_their_own(tmp_path: Path) -> None:
    for k, visit in enumerate(("visit 1", "visit 2")):
        set_study(write_study(tmp_path / visit), f"1.2.{k}", "P1")
    assert [path.name for path in find_studies(tmp_path).paths] == ["visit 1", "visit 2"]


@pytest.mark.parametrize(
    ("study_uids", "patient_ids", "n_studies"),
    [
        (("1.2", "1.2"), ("P1", "P1"), 1),
        (("1.2", "1.3"), ("", ""), 2),
        (("1.2", "1.3"), ("P1", ""), 2),
        (("1.2", "1.2"), ("P1", ""), 1),
        (("", ""), ("P1", "P2"), 2),
        (("", ""), ("P1", "P1"), 1),
        (("1.2", "1.2"), ("P1", "P2"), 2),
        (("1.2", ""), ("P1", ""), 1),
        (("", ""), ("", ""), 1),
    ],
)
def test_what_anonymized_images_still_name_decides(
    tmp_path: Path, study_uids: tuple[str, str], patient_ids: tuple[str, str], n_studies: int
) -> None:
    for k, (study_uid, patient_id) in enumerate(zip(study_uids, patient_ids, strict=True)):
        cines = example_cines()[:1] if k == 0 else example_cines()[1:]
        set_study(write_study(tmp_path / f"{k}", cines, seed=k), study_uid, patient_id)
    assert len(find_studies(tmp_path).paths) == n_studies


def test_patients_who_share_sub_folders_are_not_split_and_never_read_as_one(tmp_path: Path) -> None:
    """Series by sub-folder, two of one patient and one of another; and the files of both in one folder."""
    for name in ("series", "files"):
        files = write_study(tmp_path / name)
        set_study(files[:8], "1.2", "P1")
        set_study(files[8:], "1.3", "P2")
        if name == "series":
            by_series(files)
    for folder in (tmp_path / "series", tmp_path / "files"):
        assert find_studies(folder).paths == (folder,)
        with pytest.raises(InputError, match=f"{folder.name}: holds slices of 2 patients.*a folder or zip of its own"):
            read_study(folder)


def test_a_mixed_sub_folder_of_a_cohort_is_refused_by_itself(tmp_path: Path) -> None:
    write_study(cohort(tmp_path) / "sub-01" / "of another", seed=43)
    paths = find_studies(tmp_path).paths
    assert [path.name for path in paths] == ["sub-00", "sub-01", "sub-02"]
    with pytest.raises(InputError, match="sub-01: holds slices of 2 patients"):
        read_study(paths[1])


def test_a_single_folder_of_the_cohort_is_looked_into(tmp_path: Path) -> None:
    folder = cohort(tmp_path / "disc" / "DICOM")
    (tmp_path / "disc" / "DICOMDIR").touch()
    found = find_studies(tmp_path / "disc")
    assert found.paths == find_studies(folder).paths
    assert "1 files or folders beside its studies are left out (DICOMDIR)" in found.note
    assert find_studies(folder / "sub-02").paths == (folder / "sub-02",)


def test_one_array_beside_sub_folders_of_them_is_told_to_make_one_heart(tmp_path: Path) -> None:
    for name in ("sub-01", "sub-02"):
        (tmp_path / name).mkdir()
        write_nifti(tmp_path / name / "tag.nii", example_cine())
    write_nifti(tmp_path / "mean.nii", example_cine())
    found = find_studies(tmp_path)
    assert found.paths == (tmp_path,)
    assert "taken for one heart" in found.note
    assert "mean.nii" in found.note
    assert "sub-01, sub-02" in found.note
    assert find_studies(tmp_path / "sub-01").note == ""


def link(place: Path, target: Path) -> None:
    place.symlink_to(target, target_is_directory=True)


def test_a_cohort_may_be_picked_by_links_whose_names_count(tmp_path: Path) -> None:
    whole, picked = cohort(tmp_path / "cohort"), tmp_path / "picked"
    picked.mkdir()
    for name, study in (("P1", "sub-02"), ("P0", "sub-00")):
        link(picked / name, whole / study)
    assert find_studies(picked).paths == (picked / "P0", picked / "P1")
    found, expected = read_study(picked / "P1"), read_study(whole / "sub-02")
    assert found.key == "P1"
    assert [s.name for s in found.slices] == [s.name for s in expected.slices]
    assert input_sha256(picked / "P1") == input_sha256(whole / "sub-02")
    (picked / "P0").unlink()
    assert find_studies(picked).paths == (picked / "P1",)


@pytest.mark.parametrize("is_array", [False, True])
def test_a_study_does_not_reach_out_by_links(tmp_path: Path, is_array: bool) -> None:
    folder = tmp_path / "cohort"
    if is_array:
        for name in ("sub-00", "sub-01"):
            (folder / name).mkdir(parents=True)
            write_nifti(folder / name / "tag.nii", example_cine())
    else:
        cohort(folder)
    alone = find_studies(folder), read_study(folder / "sub-00"), input_sha256(folder / "sub-00")
    link(folder / "sub-00" / "prior", folder / "sub-01")
    link(folder / "sub-00" / "up", folder)
    found = find_studies(folder), read_study(folder / "sub-00"), input_sha256(folder / "sub-00")
    assert found[0] == alone[0]
    assert [s.name for s in found[1].slices] == [s.name for s in alone[1].slices]
    assert found[2] == alone[2]
    assert find_studies(folder / "sub-00").note == ""


@pytest.mark.parametrize("is_array", [False, True])
def test_links_beside_images_or_studies_pick_nothing(tmp_path: Path, is_array: bool) -> None:
    for name in ("own/cine", "backup"):
        if is_array:
            (tmp_path / name).mkdir(parents=True)
            write_nifti(tmp_path / name / "tag.nii", example_cine())
        else:
            set_study(write_study(tmp_path / name), study_uid=f"1.2.{len(name)}", patient_id=name)
    link(tmp_path / "own" / "prior", tmp_path / "backup")
    assert find_studies(tmp_path / "own").paths == (tmp_path / "own",)
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "report.pdf").touch()
    link(tmp_path / "report" / "prior", tmp_path / "backup")
    assert find_studies(tmp_path / "report").paths == (tmp_path / "report",)


def test_a_backup_that_is_linked_beside_a_cohort_does_not_break_it(tmp_path: Path) -> None:
    folder = cohort(tmp_path / "cohort")
    alone = find_studies(folder).paths
    link(folder / "backup", cohort(tmp_path / "copy") / "sub-01")
    found = find_studies(folder)
    assert found.paths == alone
    assert "backup" in found.note


def test_links_that_lead_back_or_to_the_same_are_not_followed(tmp_path: Path) -> None:
    folder = cohort(tmp_path / "cohort")
    alone = find_studies(folder)
    for name, target in (("a", folder), ("b", tmp_path), ("c", folder / "sub-01"), ("d", tmp_path / "lost")):
        link(folder / name, target)
    assert find_studies(folder).paths == alone.paths
    link(tmp_path / "elsewhere", folder / "sub-01")
    for name in ("sub-03", "sub-04"):
        link(
            folder / name, cohort(tmp_path / "other") / "sub-02" if name == "sub-03" else tmp_path / "other" / "sub-02"
        )
    assert [path.name for path in folders_in(folder)] == ["sub-00", "sub-01", "sub-02", "sub-03"]


def test_images_behind_links_that_are_not_followed_are_told(tmp_path: Path) -> None:
    (tmp_path / "picked" / "P1").mkdir(parents=True)
    link(tmp_path / "picked" / "P1" / "tagged", write_study(tmp_path / "whole")[0].parent)
    with pytest.raises(InputError, match=r"P1: holds no file, only links.*Give a folder whose own entries link"):
        read_study(tmp_path / "picked" / "P1")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: is empty"):
        read_study(tmp_path / "empty")
    link(tmp_path / "empty" / "IM_1.dcm", tmp_path / "not_fetched")
    with pytest.raises(InputError, match="only links that lead nowhere"):
        read_study(tmp_path / "empty")


def test_one_header_per_folder_is_read(tmp_path: Path) -> None:
    folder = cohort(tmp_path)
    with patch("tagstrain.io.dicom_files.read_headers", wraps=read_headers) as reads:
        find_studies(folder)
    assert reads.call_count == 5
