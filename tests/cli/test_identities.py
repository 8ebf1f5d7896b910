"""Who a study is about: nowhere in what is written or printed unless asked for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from pipeline_fakes import make_cine
from tagstrain.cli.main import run
from tagstrain.data import SliceLevel
from tagstrain.inference.models import Models
from tagstrain.io import write_dicom_study

PLANTED = {
    "PatientName": "Zyxwvut^Quentin",
    "PatientID": "PID 7391/55",
    "PatientBirthDate": "19470229",
    "PatientAddress": "Elm Row 99182",
    "OtherPatientIDs": "NHS-5550123",
    "AccessionNumber": "ACC8820017",
    "StudyID": "STUDY60131",
    "ReferringPhysicianName": "Brontosaur^Ada",
    "InstitutionName": "Hospital Nowhere",
    "StudyDate": "20140713",
    "SeriesDescription": "tagging of Zyxwvut",
    "PatientComments": "Quentin was restless",
}
SECRETS = ("zyxwvut", "quentin", "7391", "19470229", "99182", "5550123", "8820017", "60131", "brontosaur", "nowhere")


@pytest.fixture(autouse=True)
def _fake_networks(monkeypatch: pytest.MonkeyPatch, fake_models: Models) -> None:
    monkeypatch.setattr("tagstrain.cli.analyze.load_models", lambda *arguments: fake_models)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A study of one slice, planted with identities; one file of it is damaged, so that messages are made."""
    folder = tmp_path / "Zyxwvut_Quentin_7391" / "case7"
    files = write_dicom_study(folder, [make_cine(n_frames=4)], 1)
    for file in files:
        dataset = dcmread(file)
        for keyword, value in PLANTED.items():
            setattr(dataset, keyword, value)
        dataset.save_as(file)
    (folder / "broken.dcm").write_bytes(files[0].read_bytes()[:700])
    return folder


def secrets_in(*texts: bytes) -> list[str]:
    """Planted words that stand in any text, as ASCII or in two bytes per character."""
    joined = b"\n".join(text.lower() for text in texts)
    return [secret for secret in SECRETS if secret.encode() in joined or secret.encode("utf-16-le") in joined]


def everything_in(folder: Path) -> list[bytes]:
    """Every file's content and every name."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path.read_bytes() for path in files] + [str(path.relative_to(folder)).encode() for path in files]


def test_the_search_finds_what_is_planted(study: Path) -> None:
    assert len(secrets_in(*everything_in(study))) == len(SECRETS)


def test_nothing_that_identifies_reaches_results_log_pictures_or_screen(
    study: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(["analyze", str(study), "-o", str(out), "--timings"]) == 0
    assert {path.suffix for path in (out / "case7").iterdir()} >= {".gif", ".png", ".json", ".h5", ".csv"}
    assert "patient" not in json.loads((out / "case7" / "results.json").read_text())
    printed = capfd.readouterr()
    # The screen names OUT as it was typed; nothing else of any path.
    screen = (printed.out + printed.err).replace(str(out), "OUT").replace("\n", "")
    assert secrets_in(screen.encode(), *everything_in(out)) == []


def test_files_that_are_named_after_the_patient_are_told_by_their_place(
    study: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """As consoles export them; one is damaged, one is none, and of one slice the sizes differ, so that it fails."""
    write_dicom_study(study / "more", [replace(make_cine(n_frames=3), level=SliceLevel.BASAL)], 2)
    larger = [replace(make_cine(n_frames=3, shape=(50, 60)), level=SliceLevel.BASAL)]
    write_dicom_study(study / "larger", larger, 2)
    for file in sorted((study / "more").iterdir())[1:]:
        file.unlink()
    for k, file in enumerate(sorted(path for path in study.rglob("*") if path.is_file())):
        if file.suffix == ".dcm" and file.name != "broken.dcm":
            dataset = dcmread(file)
            dataset.StudyInstanceUID, dataset.PatientID = "1.2.3", "PID 7391/55"
            if file.parent != study:
                dataset.SeriesInstanceUID = "1.2.3.4"
            dataset.save_as(file)
        file.rename(study / f"ZYXWVUT_QUENTIN.MR.HEART.{k:04d}.19470229.{file.stem}.IMA")
    (study / "Zyxwvut.txt").write_text("restless")
    out = tmp_path / "out"
    assert run(["analyze", str(study), "-o", str(out), "--no-figures", "--export", "dicom"]) == 3
    printed = capfd.readouterr()
    screen = (printed.out + printed.err).replace(str(out), "OUT").replace("\n", "")
    # Four digits stand in some UID of the exported objects by chance.
    assert set(secrets_in(screen.encode(), *everything_in(out))) <= {"7391"}
    (told,) = json.loads((out / "run.json").read_text())["studies"]
    assert "file 10 of 10: is not a DICOM file" in told["skipped"]
    assert "file 5 of 10: holds no pixel data" in told["skipped"]
    assert len(told["failures"]) == 1


def test_info_shows_nothing_that_identifies(study: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for options in ([], ["--json"]):
        run(["info", str(study), *options])
    printed = capfd.readouterr()
    assert "1 series" in printed.out
    assert '"n_series": 1' in printed.out
    assert secrets_in((printed.out + printed.err).encode()) == []
    assert dcmread(study / "IM_01_0001.dcm").SeriesInstanceUID not in printed.out


def test_identities_are_kept_where_the_user_says_so(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    series_uid = dcmread(study / "IM_01_0001.dcm").SeriesInstanceUID
    assert run(["analyze", str(study), str(study), "-o", str(out), "--keep-ids", "--no-figures"]) == 0
    assert sorted(path.name for path in out.iterdir() if path.is_dir()) == ["PID_7391_55", "PID_7391_55_2"]
    results = json.loads((out / "PID_7391_55" / "results.json").read_text())
    assert results["study"] == "PID_7391_55"
    assert results["patient"]["patient_id"] == "PID 7391/55"
    assert results["patient"]["birth_date"] == "19470229"
    assert "--keep-ids" in json.loads((out / "run.json").read_text())["command"]
    capsys.readouterr()
    run(["info", str(study), "--keep-ids", "--json"])
    content = json.loads(capsys.readouterr().out)
    assert content["patient"]["patient_name"] == "Zyxwvut^Quentin"
    assert content["slices"][0]["series_uid"] == series_uid
    run(["info", str(study), "--keep-ids"])
    assert "patient_name: Zyxwvut^Quentin" in capsys.readouterr().out


def test_overwrite_leaves_no_results_under_the_other_name(
    study: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Who analyzes again to be rid of the identities is, but for the log, which is told."""
    out = tmp_path / "out"
    command = ["analyze", str(study), "-o", str(out), "--no-figures", "--overwrite"]
    assert run([*command, "--keep-ids"]) == 0
    assert run(command) == 0
    assert [path.name for path in out.iterdir() if path.is_dir()] == ["case7"]
    told = " ".join(capfd.readouterr().err.split())
    assert "case7: replaces results of another name, which were removed; run.log still has it" in told
    record = json.loads((out / "run.json").read_text())
    assert [entry["folder"] for entry in record["studies"]] == ["case7"]
    assert record["earlier_studies"] == []
    (out / "run.log").unlink()
    assert secrets_in(*everything_in(out)) == []
    assert run([*command, "--keep-ids"]) == 0
    assert [path.name for path in out.iterdir() if path.is_dir()] == ["PID_7391_55"]


def test_formats_without_identities_keep_their_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "case.npz", frames=np.ones((3, 8, 8)), pixel_spacing_mm=[1, 1])
    assert run(["info", str(tmp_path / "case.npz"), "--keep-ids", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["study"] == "case"
    assert "patient" not in content
