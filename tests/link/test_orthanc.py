"""The link beside a real archive: Orthanc sends a study, and finds the results filed with it.

Needs Debian's ``orthanc``; by STOW-RS also ``orthanc-dicomweb``.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from socket import create_server
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest
from archive_fakes import (
    PATIENT,
    FakeAnalysis,
    listener_config,
    wait_for_stage,
    wait_until,
    write_study,
)
from pydicom import dcmread

from tagstrain.io import write_dicom_study
from tagstrain.link import Destination, DicomNode, DicomWeb, Listener, Spool, Stage
from tagstrain.simulation import dataset
from tagstrain.simulation.config import PRESETS

ORTHANC = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")
DICOM_WEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")

pytestmark = pytest.mark.skipif(ORTHANC is None, reason="Orthanc is not installed")


class Orthanc:
    """A running Orthanc, spoken to by its REST API."""

    def __init__(self, http_port: int, dicom_port: int) -> None:
        self.url = f"http://127.0.0.1:{http_port}"
        self.dicom_port = dicom_port

    def call(self, method: str, path: str, body: bytes | None = None) -> Any:
        """Answer to a request, from JSON."""
        with urlopen(Request(self.url + path, body, method=method), timeout=30) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def is_up(self) -> bool:
        try:
            self.call("GET", "/system")
        except (URLError, ConnectionError):
            return False
        return True

    def upload(self, files: list[Path]) -> str:
        """Put files in; gives Orthanc's name of their study."""
        (study,) = {self.call("POST", "/instances", file.read_bytes())["ParentStudy"] for file in files}
        return str(study)

    def forward(self, study: str, port: int) -> None:
        """Have Orthanc send a study to the listener on that port."""
        node = json.dumps({"AET": "TAGSTRAIN", "Host": "127.0.0.1", "Port": port})
        self.call("PUT", "/modalities/tagstrain", node.encode())
        done = self.call("POST", "/modalities/tagstrain/store", study.encode())
        assert done["FailedInstancesCount"] == 0

    def results(self, study: str) -> list[dict[str, Any]]:
        """Tags of the instances of a study that are no MR images, by keyword."""
        tags = [
            self.call("GET", f"/instances/{instance['ID']}/simplified-tags")
            for instance in self.call("GET", f"/studies/{study}/instances")
        ]
        return [found for found in tags if found["Modality"] != "MR"]


def free_port() -> int:
    with create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """An empty Orthanc on free ports of this machine, stopped when the tests are done."""
    folder = tmp_path_factory.mktemp("orthanc")
    server = Orthanc(free_port(), free_port())
    settings = {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "index"),
        "HttpPort": int(server.url.rpartition(":")[2]),
        "DicomPort": server.dicom_port,
        "DicomAet": "ORTHANC",
        "DicomCheckCalledAet": True,
        "RemoteAccessAllowed": False,
        "Plugins": [str(DICOM_WEB)] if DICOM_WEB.exists() else [],
    }
    config = folder / "orthanc.json"
    config.write_text(json.dumps(settings))
    assert ORTHANC is not None
    with (folder / "log").open("w") as log, subprocess.Popen([ORTHANC, str(config)], stdout=log, stderr=log) as process:
        try:
            wait_until(server.is_up, "Orthanc answers")
            yield server
        finally:
            process.terminate()
            process.wait(timeout=30)


def destination_of(orthanc: Orthanc, way: str) -> Destination:
    if way == "stow":
        return DicomWeb(f"{orthanc.url}/dicom-web")
    return DicomNode("ORTHANC", "127.0.0.1", orthanc.dicom_port, "TAGSTRAIN")


@pytest.mark.parametrize(
    ("way", "seed"),
    [
        ("c-store", 1),
        pytest.param("stow", 2, marks=pytest.mark.skipif(not DICOM_WEB.exists(), reason="no orthanc-dicomweb")),
    ],
)
def test_a_result_is_filed_with_the_study_it_was_made_from(
    orthanc: Orthanc, tmp_path: Path, way: str, seed: int
) -> None:
    files = write_study(tmp_path / "study", seed)
    study = orthanc.upload(files)
    analysis = FakeAnalysis(tmp_path / "out")
    with (
        Spool(tmp_path / "spool") as spool,
        Listener(spool, analysis.results, analysis, [destination_of(orthanc, way)], listener_config()) as listener,
    ):
        orthanc.forward(study, listener.port)
        wait_for_stage(spool, Stage.DONE)
        (result,) = orthanc.results(study)
        assert result["PatientID"] == dcmread(files[0]).PatientID
        assert result["PatientName"] == PATIENT
        assert result["InstanceNumber"] == str(len(files))


def test_orthanc_gets_a_result_that_it_missed_while_it_refused_us(orthanc: Orthanc, tmp_path: Path) -> None:
    study = orthanc.upload(write_study(tmp_path / "study", seed=3))
    analysis = FakeAnalysis(tmp_path / "out")
    wrong = DicomNode("OTHER", "127.0.0.1", orthanc.dicom_port, "TAGSTRAIN")
    config = listener_config(first_retry_s=0)
    with Spool(tmp_path / "spool") as spool, Listener(spool, analysis.results, analysis, [wrong], config) as listener:
        orthanc.forward(study, listener.port)
        wait_until(lambda: any(found.n_failed_sends for found in spool.in_stage(Stage.SENDING)), "it was refused")
    assert not orthanc.results(study)
    right = destination_of(orthanc, "c-store")
    with Spool(tmp_path / "spool") as spool, Listener(spool, analysis.results, analysis, [right], config):
        wait_for_stage(spool, Stage.DONE)
    assert len(orthanc.results(study)) == 1
    assert len(analysis.seen) == 1


def test_the_command_measures_strain_in_a_study_from_orthanc(
    orthanc: Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PRESETS, "ukb", replace(PRESETS["ukb"], n_frames=8))
    monkeypatch.setattr(dataset, "OVERSAMPLING", 1)
    (cine, *_), _ = dataset.simulated_study(5, "ukb")
    study = orthanc.upload(write_dicom_study(tmp_path / "study", [cine], 5))
    out, log = tmp_path / "out", tmp_path / "log"
    command = [sys.executable, "-m", "tagstrain", "listen", "-o", str(out), "--port", "0", "--idle-s", "0.5"]
    command += ["--send-to", f"ORTHANC@127.0.0.1:{orthanc.dicom_port}", "--device", "cpu", "--no-figures"]
    with log.open("w") as stream, subprocess.Popen(command, stderr=stream) as process:
        try:
            port = _wait_for(r"Listening as TAGSTRAIN on 127.0.0.1, port (\d+)", log)
            orthanc.forward(study, int(port))
            key = _wait_for(r"(\w{12}): done", log)
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
    results = json.loads((out / key / "results.json").read_text())
    assert [entry["name"] for entry in results["slices"]] == [cine.level.value]
    assert sorted(found["Modality"] for found in orthanc.results(study)) == ["OT", "SEG", "SR"]


def _wait_for(pattern: str, log: Path, limit_s: float = 120.0) -> str:
    """First group of a pattern, once the log of a command shows it."""
    deadline_s = time.monotonic() + limit_s
    while (found := re.search(pattern, log.read_text())) is None:
        assert time.monotonic() < deadline_s, log.read_text()
        time.sleep(0.1)
    return found[1]
