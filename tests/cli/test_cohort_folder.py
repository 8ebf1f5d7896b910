"""A folder of zips or of patients: each is a study of its own, in ``analyze`` and ``info``."""

from __future__ import annotations

import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline_fakes import make_cine
from tagstrain.cli import info as info_module
from tagstrain.cli.main import run
from tagstrain.data import SliceLevel, TaggedCine
from tagstrain.inference.models import Models
from tagstrain.io import write_dicom_study


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Three zips, the second of which is damaged, beside a list."""
    folder = tmp_path / "cohort"
    folder.mkdir()
    files = write_dicom_study(tmp_path / "dicom", [make_cine(n_frames=3)], 1)
    for eid in (1000001, 1000002, 1000003):
        with zipfile.ZipFile(folder / f"{eid}_20211_2_0.zip", "w") as archive:
            for file in files:
                archive.write(file, file.name)
    damaged = folder / "1000002_20211_2_0.zip"
    damaged.write_bytes(damaged.read_bytes()[:-50])
    (folder / "bulk.lis").write_text("1000001 20211_2_0\n")
    return folder


def test_every_zip_is_analyzed_and_a_damaged_one_stops_no_other(
    cohort: Path,
    tmp_path: Path,
    fake_models: Models,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("tagstrain.cli.analyze.load_models", lambda *arguments: fake_models)
    out = tmp_path / "out"
    assert run(["analyze", str(cohort), "-o", str(out), "--no-figures"]) == 3
    record = json.loads((out / "run.json").read_text())
    assert record["command"][2] == "cohort"
    assert [(study["input"], study["status"]) for study in record["studies"]] == [
        ("1000001_20211_2_0.zip", "done"),
        ("1000002_20211_2_0.zip", "unreadable"),
        ("1000003_20211_2_0.zip", "done"),
    ]
    assert (out / "1000003_20211_2_0" / "results.json").exists()
    assert "bulk.lis" in capsys.readouterr().err
    assert "bulk.lis" in (out / "run.log").read_text()


def test_one_readers_contours_are_not_for_a_cohort(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "wall.json").write_text("{}")
    arguments = ["analyze", str(cohort), "-o", str(tmp_path / "out"), "--contours", str(tmp_path / "wall.json")]
    assert run(arguments) == 1
    assert "one study" in capsys.readouterr().err


def test_info_lists_the_studies(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["info", str(cohort), "--json"]) == 3
    content = json.loads(capsys.readouterr().out)
    assert (content["folder"], content["n_studies"]) == ("cohort", 3)
    first, damaged, _ = content["studies"]
    assert (first["study"], first["n_slices"], first["slices"]) == ("1000001_20211_2_0", 1, ["mid"])
    assert "truncated or damaged" in damaged["error"]
    assert "bulk.lis" in content["skipped"][0]
    assert run(["info", str(cohort)]) == 3
    shown = capsys.readouterr().out
    assert "cohort (3 studies)" in shown
    assert "1000002_20211_2_0.zip cannot be read" in shown


def test_info_lists_a_large_cohort_only_in_part(
    cohort: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(info_module, "MAX_ENTRIES", 1)
    assert run(["info", str(cohort)]) == 0
    assert "2 more studies" in capsys.readouterr().out
    run(["info", str(cohort), "--json", "--all"])
    assert len(json.loads(capsys.readouterr().out)["studies"]) == 3


def test_a_cohort_of_which_nothing_can_be_read_ends_with_2(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"no zip")
    assert run(["info", str(tmp_path)]) == 2


def test_names_that_look_like_markup_are_shown_as_they_are(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = cohort.rename(cohort.with_name("cohort [old]"))
    (folder / "1000002_20211_2_0.zip").rename(folder / "[bold].zip")
    run(["info", str(folder)])
    table, *_notes = capsys.readouterr().out.split("\n- ")
    assert "cohort [old]" in table
    assert "[bold].zip" in table


@pytest.fixture
def patients(tmp_path: Path) -> Path:
    """Sub-folders of two patients, as ``simulate --dicom`` writes them."""
    for k in range(2):
        write_dicom_study(tmp_path / "two" / f"sub-{k:02d}", three_slices(), seed=40 + k)
    return tmp_path / "two"


def three_slices() -> list[TaggedCine]:
    """Basal, middle and apical slice."""
    levels = (SliceLevel.BASAL, SliceLevel.MID, SliceLevel.APICAL)
    return [replace(make_cine(n_frames=3), name=level.value, level=level) for level in levels]


def mix(patients: Path) -> Path:
    """Put the files of two patients into one folder."""
    folder = patients.with_name("mixed")
    folder.mkdir()
    for file in sorted(patients.rglob("*.dcm")):
        shutil.copy(file, folder / f"{file.parent.name}_{file.name}")
    return folder


def test_two_patients_in_sub_folders_are_two_studies(
    patients: Path, tmp_path: Path, fake_models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tagstrain.cli.analyze.load_models", lambda *arguments: fake_models)
    out = tmp_path / "out"
    assert run(["analyze", str(patients), "-o", str(out), "--no-figures", "-q"]) == 0
    studies = json.loads((out / "run.json").read_text())["studies"]
    assert [(study["input"], study["folder"], study["n_slices"], study["skipped"]) for study in studies] == [
        ("sub-00", "sub-00", 3, []),
        ("sub-01", "sub-01", 3, []),
    ]


def test_info_lists_two_patients_in_sub_folders(patients: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["info", str(patients), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert [(study["study"], study["slices"]) for study in content["studies"]] == [
        ("sub-00", ["basal", "mid", "apical"]),
        ("sub-01", ["basal", "mid", "apical"]),
    ]
    assert "tagstrain-4" not in json.dumps(content)  # the patients' IDs


def test_two_patients_mixed_in_a_folder_or_zip_are_refused_and_the_others_go_on(
    patients: Path,
    tmp_path: Path,
    fake_models: Models,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("tagstrain.cli.analyze.load_models", lambda *arguments: fake_models)
    folder, zipped = mix(patients), tmp_path / "zipped.zip"
    with zipfile.ZipFile(zipped, "w") as archive:
        for file in sorted(patients.rglob("*.dcm")):
            archive.write(file, file.relative_to(patients))
    for path in (folder, zipped):
        for command in (["info", str(path)], ["analyze", str(path), "-o", str(tmp_path / "refused")]):
            assert run(command) == 2
            said = capsys.readouterr().err
            assert f"{path.name}: holds slices of 2 patients" in said
            assert "tagstrain-4" not in said
    assert not (tmp_path / "refused").exists()
    out = tmp_path / "out"
    assert run(["analyze", str(folder), str(patients), "-o", str(out), "--no-figures", "-q"]) == 3
    record = json.loads((out / "run.json").read_text())
    assert [study["status"] for study in record["studies"]] == ["unreadable", "done", "done"]
    assert "tagstrain-4" not in (out / "run.log").read_text()


def test_analyze_says_what_it_skipped(
    tmp_path: Path, fake_models: Models, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tagstrain.cli.analyze.load_models", lambda *arguments: fake_models)
    (file, *_) = write_dicom_study(tmp_path / "case", three_slices(), 1)
    for k in range(4):
        shutil.copy(file, tmp_path / "case" / f"z{k}.dcm")
    assert run(["analyze", str(tmp_path / "case"), "-o", str(tmp_path / "out"), "--no-figures"]) == 0
    said = capsys.readouterr().err
    assert f"Warning: case: skipped 4 series or files: z0.dcm: a copy of {file.name}; z1.dcm" in said
    assert "; and more, see run.log" in said
    assert "z3.dcm" in (tmp_path / "out" / "run.log").read_text()
