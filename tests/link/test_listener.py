"""The whole link with an analysis whose answer is known: nothing lost, nothing done twice, whatever is interrupted."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event

import pytest
from archive_fakes import (
    PATIENT,
    FakeAnalysis,
    FakeArchive,
    listener_config,
    send,
    wait_for_stage,
    wait_until,
    write_study,
)
from pydicom import dcmread

from tagstrain.errors import OutputError, TagstrainError
from tagstrain.link import DicomNode, Listener, Spool, Stage
from tagstrain.link.worker import MAX_RETRY_S, MAX_STARTS, retry_delay_s


@pytest.fixture
def spool_folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def analysis(tmp_path: Path) -> FakeAnalysis:
    return FakeAnalysis(tmp_path / "out")


@pytest.fixture
def listener(analysis: FakeAnalysis) -> Callable[..., Listener]:
    """Make a listener on a spool that sends to these archives."""

    def make(spool: Spool, archives: Sequence[FakeArchive] = (), **changes: object) -> Listener:
        nodes = [DicomNode("ARCHIVE", "127.0.0.1", archive.port, "TAGSTRAIN") for archive in archives]
        return Listener(spool, analysis.results, analysis, nodes, listener_config(**changes))

    return make


def test_a_study_is_analyzed_and_its_result_goes_back_to_its_patient(
    spool_folder: Path, listener: Callable[..., Listener], analysis: FakeAnalysis, tmp_path: Path
) -> None:
    files = write_study(tmp_path / "a")
    with FakeArchive() as archive, Spool(spool_folder) as spool, listener(spool, [archive]) as link:
        send(link.port, files)
        (study,) = wait_for_stage(spool, Stage.DONE)
    assert analysis.seen == [(study.key, len(files))]
    (result,) = archive.received
    source = dcmread(files[0])
    assert result.StudyInstanceUID == source.StudyInstanceUID
    assert (result.PatientID, result.PatientName) == (source.PatientID, PATIENT)


def test_a_late_image_has_its_study_analyzed_again_with_all_images(
    spool_folder: Path, listener: Callable[..., Listener], analysis: FakeAnalysis, tmp_path: Path
) -> None:
    *early, late = write_study(tmp_path / "a")
    with FakeArchive() as archive, Spool(spool_folder) as spool, listener(spool, [archive]) as link:
        send(link.port, early)
        wait_for_stage(spool, Stage.DONE)
        send(link.port, [late])
        wait_until(lambda: len(archive.received) == 2, "the second result is sent")
        (study,) = wait_for_stage(spool, Stage.DONE)
    assert analysis.seen == [(study.key, len(early)), (study.key, len(early) + 1)]


def test_images_are_taken_during_an_analysis_whose_result_is_then_not_sent(
    spool_folder: Path, listener: Callable[..., Listener], analysis: FakeAnalysis, tmp_path: Path
) -> None:
    analysis.may_end = Event()
    *early, late = write_study(tmp_path / "a")
    other = write_study(tmp_path / "b", seed=2)
    with FakeArchive() as archive, Spool(spool_folder) as spool, listener(spool, [archive], idle_s=0.5) as link:
        send(link.port, early)
        wait_for_stage(spool, Stage.ANALYZING)
        assert send(link.port, [late, *other]) == [0] * (1 + len(other))
        analysis.may_end.set()
        wait_for_stage(spool, Stage.DONE, n=2)
    numbers = [result.InstanceNumber for result in archive.received]
    assert sorted(numbers) == [len(early) + 1, len(other)], "that of the early images alone is out of date"


def test_an_archive_that_forwards_the_study_with_our_result_starts_no_circle(
    spool_folder: Path, listener: Callable[..., Listener], analysis: FakeAnalysis, tmp_path: Path
) -> None:
    files = write_study(tmp_path / "a")
    with Spool(spool_folder) as spool, listener(spool, idle_s=0.1) as link:
        send(link.port, files)
        wait_for_stage(spool, Stage.DONE)
        send(link.port, files)
        assert spool.in_stage(Stage.DONE)
    assert len(analysis.seen) == 1


def test_a_study_that_fails_keeps_its_reason_and_the_others_go_on(
    spool_folder: Path, listener: Callable[..., Listener], analysis: FakeAnalysis, tmp_path: Path
) -> None:
    analysis.error = TagstrainError("no tags in it")
    with Spool(spool_folder) as spool, listener(spool) as link:
        send(link.port, write_study(tmp_path / "a"))
        (failed,) = wait_for_stage(spool, Stage.FAILED)
        assert failed.reason == "no tags in it"
        analysis.error = RuntimeError(f"a mistake about {PATIENT}")
        send(link.port, write_study(tmp_path / "b", seed=2))
        wait_for_stage(spool, Stage.FAILED, n=2)
        analysis.error = None
        send(link.port, write_study(tmp_path / "c", seed=3))
        wait_for_stage(spool, Stage.DONE)
    with Spool(spool_folder) as spool:
        assert [study.reason for study in spool.in_stage(Stage.FAILED)] == [
            "no tags in it",
            "internal error (RuntimeError); the log says where",
        ]


def test_a_disk_that_is_full_during_the_analysis_costs_a_study_only_if_it_stays_so(
    spool_folder: Path,
    listener: Callable[..., Listener],
    analysis: FakeAnalysis,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tagstrain.link.worker._TROUBLE_S", 0.05)
    analysis.error = OutputError("OUT: cannot be written")
    with Spool(spool_folder) as spool, listener(spool) as link:
        send(link.port, write_study(tmp_path / "a"))
        (study,) = wait_for_stage(spool, Stage.FAILED)
        assert len(analysis.seen) == MAX_STARTS
        assert study.reason == "given up after 3 analyses: OUT: cannot be written"
        spool.queue_failed()
        wait_until(lambda: len(analysis.seen) > MAX_STARTS, "it is tried again")
        analysis.error = None
        wait_for_stage(spool, Stage.DONE)


def test_results_wait_until_the_archive_takes_them(
    spool_folder: Path, listener: Callable[..., Listener], analysis: FakeAnalysis, tmp_path: Path
) -> None:
    with FakeArchive(statuses=[0xA700, 0xA700]) as archive, Spool(spool_folder) as spool:
        with listener(spool, [archive]) as link:
            send(link.port, write_study(tmp_path / "a"))
            wait_for_stage(spool, Stage.DONE)
        assert len(archive.received) == 1
        assert len(analysis.seen) == 1


def test_results_that_could_not_be_sent_are_sent_by_the_next_listener_once_to_each_archive(
    spool_folder: Path, listener: Callable[..., Listener], analysis: FakeAnalysis, tmp_path: Path
) -> None:
    with FakeArchive() as up, FakeArchive(statuses=[0xA700]) as down:
        with Spool(spool_folder) as spool, listener(spool, [up, down], first_retry_s=60) as link:
            send(link.port, write_study(tmp_path / "a"))
            wait_until(lambda: any(study.n_failed_sends for study in spool.in_stage(Stage.SENDING)), "it failed")
            (study,) = spool.in_stage(Stage.SENDING)
            assert "refused movie.dcm with status 0xA700" in study.reason
        assert (len(up.received), len(down.received)) == (1, 0)
        with Spool(spool_folder) as spool, listener(spool, [up, down], first_retry_s=0):
            wait_for_stage(spool, Stage.DONE)
        assert (len(up.received), len(down.received)) == (1, 1)
    assert len(analysis.seen) == 1


def test_results_that_were_removed_before_they_were_sent_are_made_again(
    spool_folder: Path, listener: Callable[..., Listener], analysis: FakeAnalysis, tmp_path: Path
) -> None:
    with FakeArchive(statuses=[0xA700]) as archive:
        with Spool(spool_folder) as spool, listener(spool, [archive], first_retry_s=60) as link:
            send(link.port, write_study(tmp_path / "a"))
            wait_until(lambda: any(study.n_failed_sends for study in spool.in_stage(Stage.SENDING)), "it failed")
        shutil.rmtree(analysis.results)
        with Spool(spool_folder) as spool, listener(spool, [archive], first_retry_s=0):
            wait_for_stage(spool, Stage.DONE)
        assert len(archive.received) == 1
    assert len(analysis.seen) == 2


def test_a_study_whose_analysis_leaves_nothing_to_send_fails_in_the_end(
    spool_folder: Path, listener: Callable[..., Listener], analysis: FakeAnalysis, tmp_path: Path
) -> None:
    with Spool(spool_folder) as spool, listener(spool) as link:
        analysis.results = tmp_path / "elsewhere"
        send(link.port, write_study(tmp_path / "a"))
        (study,) = wait_for_stage(spool, Stage.FAILED)
    assert "no DICOM objects" in study.reason
    assert len(analysis.seen) == MAX_STARTS


def test_retries_wait_longer_every_time_up_to_an_hour() -> None:
    delays_s = [retry_delay_s(n, 10) for n in range(1, 2000)]
    assert delays_s[:4] == [10, 20, 40, 80]
    assert delays_s == sorted(delays_s)
    assert delays_s[-1] == MAX_RETRY_S


def test_a_stopped_listener_leaves_the_rest_to_the_next(
    spool_folder: Path, listener: Callable[..., Listener], analysis: FakeAnalysis, tmp_path: Path
) -> None:
    files = write_study(tmp_path / "a")
    with Spool(spool_folder) as spool, listener(spool, idle_s=3600) as link:
        send(link.port, files[:2])
    assert not analysis.seen
    with Spool(spool_folder) as spool, listener(spool) as link:
        send(link.port, files[2:])
        (study,) = wait_for_stage(spool, Stage.DONE)
    assert analysis.seen == [(study.key, len(files))]


def test_no_name_of_a_patient_reaches_the_log(
    spool_folder: Path, listener: Callable[..., Listener], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.DEBUG, "tagstrain"),
        FakeArchive() as archive,
        Spool(spool_folder) as spool,
        listener(spool, [archive]) as link,
    ):
        send(link.port, write_study(tmp_path / "a"))
        (study,) = wait_for_stage(spool, Stage.DONE)
    assert f"{study.key}: done, 1 objects sent" in caplog.text
    for part in PATIENT.split("^"):
        assert part not in caplog.text


LISTENER_TO_KILL = """
    import sys
    from pathlib import Path
    from threading import Event
    from tagstrain.link import Listener, ListenerConfig, Spool

    def analyze(images, key):
        print("analyzing", flush=True)
        Event().wait()

    root, idle_s = Path(sys.argv[1]), float(sys.argv[2])
    with Spool(root) as spool:
        config = ListenerConfig("TAGSTRAIN", 0, idle_s=idle_s)
        with Listener(spool, root / "out", analyze, [], config) as listener:
            print(listener.port, flush=True)
            Event().wait()
"""


def start_listener(spool_folder: Path, idle_s: float) -> subprocess.Popen[str]:
    """A listener in a process of its own, whose analyses never end; its first line is its port."""
    code = textwrap.dedent(LISTENER_TO_KILL)
    command = [sys.executable, "-c", code, str(spool_folder), str(idle_s)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("when", ["before the analysis", "during the analysis"])
def test_a_killed_process_loses_nothing_it_acknowledged(
    when: str, spool_folder: Path, listener: Callable[..., Listener], analysis: FakeAnalysis, tmp_path: Path
) -> None:
    files = write_study(tmp_path / "a")
    with start_listener(spool_folder, idle_s=3600 if when == "before the analysis" else 0.1) as process:
        assert process.stdout is not None
        statuses = send(int(process.stdout.readline()), files)
        if when == "during the analysis":
            assert process.stdout.readline() == "analyzing\n"
        os.kill(process.pid, signal.SIGKILL)
    assert statuses == [0] * len(files)
    with FakeArchive() as archive, Spool(spool_folder) as spool, listener(spool, [archive]):
        (study,) = wait_for_stage(spool, Stage.DONE)
    assert analysis.seen == [(study.key, len(files))]
    assert len(archive.received) == 1


def test_a_study_that_ends_the_process_every_time_fails_in_the_end(
    spool_folder: Path, listener: Callable[..., Listener], analysis: FakeAnalysis, tmp_path: Path
) -> None:
    with Spool(spool_folder) as spool, listener(spool, idle_s=3600) as link:
        send(link.port, write_study(tmp_path / "a"))
    for _ in range(MAX_STARTS):  # what a kill during the analysis leaves
        with Spool(spool_folder) as spool:
            (study,) = spool.in_stage(Stage.RECEIVING, Stage.ANALYZING)
            spool.update(study, Stage.ANALYZING, n_starts=study.n_starts + 1)
    with Spool(spool_folder) as spool, listener(spool):
        (study,) = wait_for_stage(spool, Stage.FAILED)
    assert study.reason == "given up after 3 analyses: each was interrupted"
    assert not analysis.seen
