"""Sending: objects arrive as they are, and every way in which an archive fails is a `SendError` that says which."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BytesIO
from pathlib import Path
from socket import create_server
from threading import Thread

import pytest
from archive_fakes import FakeArchive, write_result, write_study
from pydicom import Dataset, dcmread

from tagstrain.link import DicomNode, DicomWeb
from tagstrain.link.sender import SendError


@pytest.fixture
def objects(tmp_path: Path) -> list[Path]:
    """Two result objects of one study."""
    source = dcmread(write_study(tmp_path / "study")[0])
    paths = [tmp_path / "a.dcm", tmp_path / "b.dcm"]
    for number, path in enumerate(paths):
        write_result(path, source, number)
    return paths


def node(port: int, ae_title: str = "ARCHIVE") -> DicomNode:
    return DicomNode(ae_title, "127.0.0.1", port, "TAGSTRAIN")


@pytest.fixture
def closed_port() -> int:
    """A port on which nobody listens."""
    with create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def same(received: list[Dataset], paths: list[Path]) -> bool:
    sent = [dcmread(path) for path in paths]
    return [dataset.SOPInstanceUID for dataset in received] == [dataset.SOPInstanceUID for dataset in sent] and all(
        one.PixelData == other.PixelData and one.PatientID == other.PatientID
        for one, other in zip(received, sent, strict=True)
    )


def test_objects_arrive_by_c_store(objects: list[Path]) -> None:
    with FakeArchive() as archive:
        assert list(node(archive.port).send(objects)) == objects
        assert same(archive.received, objects)


def test_a_refused_object_is_told_after_the_ones_that_were_taken(objects: list[Path]) -> None:
    with FakeArchive(statuses=[0x0000, 0xA700]) as archive:
        sending = node(archive.port).send(objects)
        assert next(sending) == objects[0]
        with pytest.raises(SendError, match=r"ARCHIVE@127.0.0.1:\d+ refused b.dcm with status 0xA700"):
            next(sending)


def test_a_refused_object_does_not_hold_up_those_after_it(objects: list[Path], tmp_path: Path) -> None:
    """As segmentations do in an archive that knows none."""
    (image, *_) = write_study(tmp_path / "images", seed=2)
    with FakeArchive(statuses=[0xA700, 0x0000]) as archive:
        sending = node(archive.port).send([objects[0], image, objects[1]])
        assert next(sending) == objects[1]
        with pytest.raises(SendError, match=f"refused a.dcm with status 0xA700; .*does not take {image.name}"):
            next(sending)
    for status in (409, 413, 422):
        with web_archive([(status, None), (200, None)]) as (url, received):
            sending = DicomWeb(url).send(objects)
            assert next(sending) == objects[1]
            with pytest.raises(SendError, match=rf"a\.dcm: HTTP {status}"):
                next(sending)
            assert len(received) == 1


def test_an_archive_that_takes_none_of_the_objects_is_told_so(tmp_path: Path) -> None:
    images = write_study(tmp_path / "images", seed=2)[:2]
    with FakeArchive() as archive, pytest.raises(SendError, match="takes no MR Image Storage"):
        next(node(archive.port).send(images))


@pytest.mark.parametrize("status", [503, 429, 401, 404])
def test_a_web_archive_that_fails_is_not_asked_again_at_once(status: int, objects: list[Path]) -> None:
    with web_archive([(status, None), (200, None)]) as (url, received):
        with pytest.raises(SendError, match=rf"a\.dcm: HTTP {status}"):
            next(DicomWeb(url).send(objects))
        assert received == []


def test_a_remark_is_no_refusal(objects: list[Path]) -> None:
    with FakeArchive(statuses=[0xB000, 0xB007]) as archive:
        assert list(node(archive.port).send(objects)) == objects


def test_an_archive_that_is_away_is_told(objects: list[Path], closed_port: int) -> None:
    with pytest.raises(SendError, match="cannot be reached"):
        next(node(closed_port).send(objects))


def test_a_host_that_does_not_exist_is_told(objects: list[Path]) -> None:
    with pytest.raises(SendError, match="cannot be reached"):
        next(DicomNode("ARCHIVE", "no-such-host.invalid", 104, "TAGSTRAIN").send(objects))


def test_a_rejected_association_is_told(objects: list[Path]) -> None:
    with FakeArchive() as archive, pytest.raises(SendError, match=r"OTHER@.* refused the association"):
        next(node(archive.port, "OTHER").send(objects))


def test_a_kind_of_object_that_the_archive_does_not_take_is_told(objects: list[Path], tmp_path: Path) -> None:
    (image, *_) = write_study(tmp_path / "images", seed=2)
    with FakeArchive() as archive:
        sending = node(archive.port).send([objects[0], image])
        assert next(sending) == objects[0]
        with pytest.raises(SendError, match=f"does not take {image.name}"):
            next(sending)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("PACS@10.0.0.1:104", ("PACS", "10.0.0.1", 104)), ("MY PACS@[::1]:11112", ("MY PACS", "::1", 11112))],
)
def test_a_node_is_read_from_text(text: str, expected: tuple[str, str, int]) -> None:
    found = DicomNode.parse(text, "TAGSTRAIN")
    assert (found.ae_title, found.host, found.port) == expected


@pytest.mark.parametrize(
    "text", ["", "PACS", "PACS@host", "PACS@host:", "PACS@:104", "@host:104", "P@h:0", "P@h:70000"]
)
def test_text_that_is_no_node_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        DicomNode.parse(text, "TAGSTRAIN")


class WebArchive(BaseHTTPRequestHandler):
    """A STOW-RS service; its server holds ``received`` and the ``answers`` (status, failure reason) to give."""

    def do_POST(self) -> None:
        header = b"Content-Type: " + self.headers["Content-Type"].encode() + b"\r\n\r\n"
        body = self.rfile.read(int(self.headers["Content-Length"]))
        message = BytesParser().parsebytes(header + body)
        assert self.path == "/dicom-web/studies"
        assert message.get_content_type() == "multipart/related"
        status, failure = self.server.answers.pop(0) if self.server.answers else (200, None)  # type: ignore[attr-defined]
        parts = message.get_payload()
        assert isinstance(parts, list)
        if status == 200 and failure is None:
            self.server.received += [_object_in(part) for part in parts]  # type: ignore[attr-defined]
        answer = Dataset()
        if failure is not None:
            answer.FailedSOPSequence = [Dataset()]
            answer.FailedSOPSequence[0].FailureReason = failure
        content = json.dumps(answer.to_json_dict()).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/dicom+json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_arguments: object) -> None:
        """Keep the tests' output quiet."""


def _object_in(part: Message) -> Dataset:
    content = part.get_payload(decode=True)
    assert isinstance(content, bytes)
    return dcmread(BytesIO(content))


@contextmanager
def web_archive(answers: list[tuple[int, int | None]] | None = None) -> Iterator[tuple[str, list[Dataset]]]:
    """URL of a STOW-RS service, and what it received."""
    server = HTTPServer(("127.0.0.1", 0), WebArchive)
    server.received, server.answers = [], answers or []  # type: ignore[attr-defined]
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/dicom-web", server.received  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_objects_arrive_by_stow(objects: list[Path]) -> None:
    with web_archive() as (url, received):
        assert list(DicomWeb(url + "/").send(objects)) == objects
        assert same(received, objects)


@pytest.mark.parametrize(
    ("answer", "told"), [((503, None), "HTTP 503"), ((409, 0x0110), "HTTP 409"), ((202, 0x0110), "reason 0x0110")]
)
def test_a_web_archive_that_refuses_is_told_after_what_it_took(
    objects: list[Path], answer: tuple[int, int | None], told: str
) -> None:
    with web_archive([(200, None), answer]) as (url, received):
        sending = DicomWeb(url).send(objects)
        assert next(sending) == objects[0]
        with pytest.raises(SendError, match=f"b.dcm.*{told}"):
            next(sending)
        assert len(received) == 1


def test_a_web_archive_that_is_away_is_told(objects: list[Path], closed_port: int) -> None:
    with pytest.raises(SendError, match=r"did not take a\.dcm: ConnectionError"):
        next(DicomWeb(f"http://127.0.0.1:{closed_port}/dicom-web").send(objects))


@pytest.mark.parametrize(
    "url", ["", "host", "ftp://host/x", "http://", "https://user:secret@host/dicom-web", "http://:secret@host/x"]
)
def test_a_url_that_is_none_or_holds_a_password_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="expected http") as refusal:
        DicomWeb(url)
    assert "secret" not in str(refusal.value)
