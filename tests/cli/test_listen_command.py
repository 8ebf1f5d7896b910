"""``tagstrain listen``: what it writes, how it ends, and which options it refuses."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest
from pydicom import dcmread
from pydicom.uid import MRImageStorage
from pynetdicom import AE

from pipeline_fakes import make_cine
from tagstrain.cli.main import run
from tagstrain.inference.models import Models
from tagstrain.io import write_dicom_study

WAIT_S = 20.0


@pytest.fixture(autouse=True)
def _fake_networks(monkeypatch: pytest.MonkeyPatch, fake_models: Models) -> None:
    """Run the command with parts whose answers are known."""
    monkeypatch.setattr("tagstrain.cli.listen.load_models", lambda *arguments: fake_models)


@pytest.fixture
def listen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[[list[Path], int], tuple[int, str]]:
    """Run ``tagstrain listen``, send it files, stop it when so many studies have ended; gives exit code and log."""

    def call(files: list[Path], n_ended: int) -> tuple[int, str]:
        shown: list[str] = []

        def read() -> str:
            shown.append(capsys.readouterr().err)
            return "".join(shown)

        sender = Thread(target=_send_and_stop, args=(files, n_ended, read))
        sender.start()
        arguments = ["listen", "-o", str(tmp_path / "out"), "--port", "0", "--idle-s", "0.3", "--no-figures"]
        code = int(run(arguments))
        sender.join(WAIT_S)
        return code, read()

    return call


def _send_and_stop(files: list[Path], n_ended: int, read: Callable[[], str]) -> None:
    """Send files to the listener in this process, then stop it as a service manager does."""
    try:
        entity = AE(ae_title="SCANNER")
        entity.add_requested_context(MRImageStorage)
        port = int(_wait_for(r"port (\d+)", read)[0])
        opened = entity.associate("127.0.0.1", port, ae_title="TAGSTRAIN")
        for file in files:
            assert opened.send_c_store(file).Status == 0
        opened.release()
        _wait_for(r"[0-9a-f]{12}: (?:done|failed)", read, n_ended)
    finally:
        os.kill(os.getpid(), signal.SIGTERM)


def _wait_for(pattern: str, read: Callable[[], str], n: int = 1) -> list[str]:
    """Wait until the log shows something so many times."""
    deadline_s = time.monotonic() + WAIT_S
    while len(found := re.findall(pattern, read())) < n:
        assert time.monotonic() < deadline_s, read()
        time.sleep(0.05)
    return [str(text) for text in found]


def test_a_study_is_analyzed_as_analyze_does(
    listen: Callable[[list[Path], int], tuple[int, str]], tmp_path: Path
) -> None:
    files = write_dicom_study(tmp_path / "study", [make_cine(n_frames=6)], 1)
    code, log = listen(files, 1)
    assert code == 0
    (results,) = (tmp_path / "out").glob("*/results.json")
    content = json.loads(results.read_text())
    assert [entry["name"] for entry in content["slices"]] == ["mid"]
    assert re.fullmatch("[0-9a-f]{12}", results.parent.name)
    assert f"{results.parent.name}: complete, {len(files)} images" in log
    record = json.loads((tmp_path / "out" / "spool" / "records" / f"{results.parent.name}.json").read_text())
    assert record["stage"] == "done"


def test_a_study_without_a_ventricle_and_one_of_a_single_frame_fail_with_their_reasons(
    listen: Callable[[list[Path], int], tuple[int, str]], tmp_path: Path
) -> None:
    empty = write_dicom_study(tmp_path / "empty", [make_cine(n_frames=3, empty=True)], 1)
    single, *_ = write_dicom_study(tmp_path / "single", [make_cine(n_frames=3)], 2)
    code, log = listen([*empty, single], 2)
    assert code == 0
    assert "failed: all slices failed; mid: No left ventricle found" in log
    assert "holds single frames only" in log
    patient = str(dcmread(single).PatientID)
    assert patient not in log


def test_a_restarted_listener_removes_what_it_left_half_written(
    listen: Callable[[list[Path], int], tuple[int, str]], tmp_path: Path
) -> None:
    files = write_dicom_study(tmp_path / "study", [make_cine(n_frames=6)], 1)
    listen(files, 1)
    (results,) = (tmp_path / "out").glob("*/results.json")
    own, foreign = (f".{key}.0123456789ab.partial" for key in (results.parent.name, "other"))
    for name in (own, foreign):
        (tmp_path / "out" / name).mkdir()
    listen([], 0)
    assert [path.name for path in (tmp_path / "out").glob("*.partial")] == [foreign]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--aet", "MUCH TOO LONG A TITLE"], "AE title: expected 1 to 16"),
        (["--from", "A\\B"], "AE title: expected 1 to 16"),
        (["--port", "70000"], "port: expected 0 to 65535"),
        (["--send-to", "PACS"], "expected AET@HOST:PORT, got 'PACS'"),
        (["--stow", "archive/dicom-web"], "expected http(s)://HOST"),
        (["--idle-s", "-1"], "--idle-s"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(
    options: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["listen", "-o", str(tmp_path / "out"), *options]) == 1
    assert told in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()
