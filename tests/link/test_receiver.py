"""The receiver: who is let in, what is acknowledged, and that an acknowledged image is on the disk."""

from __future__ import annotations

import errno
import logging
import os
import random
import socket
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest
from archive_fakes import PATIENT, association, listener_config, send, wait_for_stage, wait_until, write_study
from pydicom import Dataset, dcmread
from pydicom.uid import ImplicitVRLittleEndian, SecondaryCaptureImageStorage
from pynetdicom import AE
from pynetdicom.dsutils import encode

from tagstrain.errors import TagstrainError
from tagstrain.link import ListenerConfig, Spool, Stage
from tagstrain.link.receiver import CANNOT_UNDERSTAND, DOES_NOT_MATCH, OUT_OF_RESOURCES, SUCCESS, Receiver


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with Spool(tmp_path / "spool") as spool:
        yield spool


@pytest.fixture
def receiver(spool: Spool) -> Iterator[Receiver]:
    receiver = Receiver(spool, listener_config())
    receiver.start()
    yield receiver
    receiver.stop(grace_s=5)


def stored(spool: Spool) -> list[Dataset]:
    """Every image in the spool."""
    return [
        dcmread(file, stop_before_pixels=True)
        for study in spool.in_stage(*Stage)
        for file in sorted(spool.images(study.key).iterdir())
    ]


def test_echo_is_answered(receiver: Receiver) -> None:
    with association(receiver.port) as opened:
        assert opened.send_c_echo().Status == SUCCESS


@pytest.mark.parametrize("seed", range(3))
def test_studies_arrive_whole_in_any_order_with_duplicates(
    receiver: Receiver, spool: Spool, tmp_path: Path, seed: int
) -> None:
    files = write_study(tmp_path / "a", 1) + write_study(tmp_path / "b", 2)
    rng = random.Random(seed)
    order = rng.sample(files, len(files)) + rng.sample(files, 3)
    assert send(receiver.port, order) == [SUCCESS] * len(order)
    sent = {dataset.SOPInstanceUID: dataset.StudyInstanceUID for dataset in map(dcmread, files)}
    assert {dataset.SOPInstanceUID: dataset.StudyInstanceUID for dataset in stored(spool)} == sent
    assert len(stored(spool)) == len(files)
    assert len(spool.in_stage(Stage.RECEIVING)) == 2


def test_pixels_arrive_bit_for_bit(receiver: Receiver, spool: Spool, tmp_path: Path) -> None:
    files = write_study(tmp_path / "a", n_frames=2)
    send(receiver.port, files)
    sent = {dataset.SOPInstanceUID: dataset.PixelData for dataset in map(dcmread, files)}
    (study,) = spool.in_stage(Stage.RECEIVING)
    found = [dcmread(file) for file in spool.images(study.key).iterdir()]
    assert {dataset.SOPInstanceUID: dataset.PixelData for dataset in found} == sent


def test_what_is_acknowledged_was_flushed_to_the_disk_before(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[str] = []
    fsync = os.fsync

    def watch(descriptor: int) -> None:
        flushed.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watch)
    (file, *_) = write_study(tmp_path / "a")
    assert send(receiver.port, [file]) == [SUCCESS]
    folder = next((tmp_path / "spool" / "studies").iterdir())
    (image,) = folder.iterdir()
    written = next(k for k, name in enumerate(flushed) if name.startswith(f".{image.name}"))
    assert folder.name in flushed[written:], "the folder, too, must hold the new name"


def test_a_full_disk_is_answered_with_out_of_resources_and_later_taken(
    receiver: Receiver, spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    files = write_study(tmp_path / "a")
    assert send(receiver.port, files[:2]) == [SUCCESS] * 2
    monkeypatch.setattr(os, "fsync", full)
    assert send(receiver.port, files) == [OUT_OF_RESOURCES] * len(files)
    assert len(stored(spool)) == 2
    monkeypatch.undo()
    assert send(receiver.port, files) == [SUCCESS] * len(files)
    assert len(stored(spool)) == len(files)


def test_an_association_cut_in_the_middle_of_an_image_leaves_only_whole_ones(
    receiver: Receiver, spool: Spool, tmp_path: Path
) -> None:
    files = write_study(tmp_path / "a")
    with association(receiver.port) as opened:
        assert opened.send_c_store(files[0]).Status == SUCCESS
        connection = opened.dul.socket.socket
        send_all = opened.dul.socket.send

        def cut(data: bytes) -> None:
            """Let the command through, and half of the image, which is longer."""
            if len(data) < 1000:
                send_all(data)
            else:
                connection.sendall(data[: len(data) // 2])
                connection.shutdown(socket.SHUT_RDWR)

        opened.dul.socket.send = cut
        assert "Status" not in opened.send_c_store(files[1])
    (only,) = stored(spool)
    assert only.SOPInstanceUID == dcmread(files[0]).SOPInstanceUID
    assert send(receiver.port, files) == [SUCCESS] * len(files)
    assert len(stored(spool)) == len(files)


def test_an_image_larger_than_any_is_aborted_while_it_comes_in(
    receiver: Receiver, spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tagstrain.link.receiver.MAX_INSTANCE_BYTES", 20_000)
    (file, *_) = write_study(tmp_path / "a")
    with association(receiver.port) as opened:
        assert [opened.send_c_store(file).Status for _ in range(5)] == [SUCCESS] * 5, "the limit is per image"
        large = dcmread(file)
        large.PixelData = bytes(200_000)
        assert "Status" not in opened.send_c_store(large)
        wait_until(lambda: opened.is_aborted, "the association is aborted")
    assert len(stored(spool)) == 1


@pytest.mark.parametrize(
    ("changes", "called", "calling", "is_let_in"),
    [
        ({}, "TAGSTRAIN", "SCANNER", True),
        ({}, "OTHER", "SCANNER", False),
        ({"any_called_ae_title": True}, "OTHER", "SCANNER", True),
        ({"calling_ae_titles": ("PACS", "SCANNER")}, "TAGSTRAIN", "SCANNER", True),
        ({"calling_ae_titles": ("PACS",)}, "TAGSTRAIN", "SCANNER", False),
    ],
)
def test_ae_titles_decide_who_is_let_in(
    spool: Spool, changes: dict[str, object], called: str, calling: str, is_let_in: bool
) -> None:
    receiver = Receiver(spool, listener_config(**changes))
    receiver.start()
    with association(receiver.port, called, calling) as opened:
        assert (opened.is_established, opened.is_rejected) == (is_let_in, not is_let_in)
    receiver.stop(grace_s=5)


def test_only_magnetic_resonance_images_are_taken(receiver: Receiver) -> None:
    entity = AE()
    entity.add_requested_context(SecondaryCaptureImageStorage)
    opened = entity.associate("127.0.0.1", receiver.port, ae_title="TAGSTRAIN")
    wait_until(lambda: opened.is_aborted or opened.is_rejected, "the association ends for want of anything to send")
    assert not opened.accepted_contexts


def test_an_image_that_names_no_study_is_refused(receiver: Receiver, spool: Spool, tmp_path: Path) -> None:
    (file, *_) = write_study(tmp_path / "a")
    dataset = dcmread(file)
    with association(receiver.port) as opened:
        dataset.StudyInstanceUID = ""
        assert opened.send_c_store(dataset).Status == CANNOT_UNDERSTAND
        del dataset.StudyInstanceUID
        assert opened.send_c_store(dataset).Status == CANNOT_UNDERSTAND
    assert not spool.in_stage(*Stage)


def test_an_image_announced_under_another_uid_is_refused(
    receiver: Receiver, spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file, *_) = write_study(tmp_path / "a")
    dataset = dcmread(file)
    dataset.SOPInstanceUID = "1.2.3"
    monkeypatch.setattr("pynetdicom.association.encode", lambda _announced, *how: encode(dataset, *how))
    with association(receiver.port) as opened:
        assert opened.send_c_store(file).Status == DOES_NOT_MATCH
    assert not spool.in_stage(*Stage)


def test_rubbish_in_place_of_an_image_is_refused_and_the_next_image_taken(
    receiver: Receiver, spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = write_study(tmp_path / "a")
    monkeypatch.setattr("pynetdicom.association.encode", lambda *_: b"\xff" * 50)
    with association(receiver.port) as opened:
        assert opened.send_c_store(files[0]).Status >= CANNOT_UNDERSTAND
    monkeypatch.undo()
    assert send(receiver.port, files) == [SUCCESS] * len(files)


def test_implicit_encoding_is_kept_as_it_came(receiver: Receiver, spool: Spool, tmp_path: Path) -> None:
    (file, *_) = write_study(tmp_path / "a")
    dataset = dcmread(file)
    entity = AE()
    entity.add_requested_context(dataset.SOPClassUID, ImplicitVRLittleEndian)
    opened = entity.associate("127.0.0.1", receiver.port, ae_title="TAGSTRAIN")
    assert opened.send_c_store(dataset).Status == SUCCESS
    opened.release()
    (found,) = stored(spool)
    assert found.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    assert found.TriggerTime == dataset.TriggerTime


def test_release_completes_a_study_if_asked_to(spool: Spool, tmp_path: Path) -> None:
    receiver = Receiver(spool, listener_config(on_release=True, idle_s=3600))
    receiver.start()
    files = write_study(tmp_path / "a")
    with association(receiver.port) as opened:
        assert opened.send_c_store(files[0]).Status == SUCCESS
        assert spool.in_stage(Stage.RECEIVING)
    wait_for_stage(spool, Stage.QUEUED)
    with association(receiver.port) as opened:
        assert opened.send_c_store(files[1]).Status == SUCCESS
        opened.abort()
    receiver.stop(grace_s=5)
    assert len(spool.in_stage(Stage.RECEIVING)) == 1, "an association that broke off completes nothing"


def test_stopping_lets_an_open_association_end(spool: Spool, tmp_path: Path) -> None:
    receiver = Receiver(spool, listener_config())
    receiver.start()
    port = receiver.port
    files = write_study(tmp_path / "a")
    with association(port) as opened:
        assert opened.send_c_store(files[0]).Status == SUCCESS
        stopping = Thread(target=receiver.stop, args=(10.0,))
        stopping.start()
        with association(port) as late:
            assert not late.is_established
        assert [opened.send_c_store(file).Status for file in files[1:]] == [SUCCESS] * (len(files) - 1)
    stopping.join(timeout=5)
    assert not stopping.is_alive()
    assert len(stored(spool)) == len(files)


def test_a_port_in_use_is_said(spool: Spool, receiver: Receiver) -> None:
    second = Receiver(spool, listener_config(port=receiver.port))
    with pytest.raises(TagstrainError, match=f"port {receiver.port} .* Choose another port"):
        second.start()


def test_no_name_of_a_patient_is_logged_or_names_a_file(
    receiver: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "tagstrain"):
        send(receiver.port, write_study(tmp_path / "a"))
    names = " ".join(str(path) for path in (tmp_path / "spool").rglob("*"))
    for part in PATIENT.split("^"):
        assert part not in caplog.text + names


@pytest.mark.parametrize("title", ["", "A" * 17, "A\\B", " A", "Ä", "A\n"])
def test_titles_that_the_standard_forbids_are_refused(title: str) -> None:
    with pytest.raises(ValueError, match="AE title"):
        ListenerConfig(title, 0)
