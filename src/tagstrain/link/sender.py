"""Where results go: an archive that takes C-STORE (`DicomNode`) or STOW-RS (`DicomWeb`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Protocol, Self
from urllib.parse import urlsplit

from dicomweb_client import DICOMwebClient
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext, build_context
from requests import RequestException

from tagstrain.errors import TagstrainError
from tagstrain.link.config import MAX_PORT, check_ae_title

CONNECT_S = 10.0
REPLY_S = 60.0
# Stored, some with remarks (PS3.4 section B.2.3).
_STORED = (0x0000, 0xB000, 0xB006, 0xB007)
_UNCOMPRESSED = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
_OBJECT_REFUSED = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.CONFLICT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
)
_NEVER_CHUNKED_BYTES = 2**31
"""Bodies are sent whole, with their length: not every archive takes HTTP chunks."""


class SendError(TagstrainError):
    """An archive did not take a result; it may later."""


class RefusedError(SendError):
    """It did not take this one; it may take others."""


class Destination(Protocol):
    """An archive that takes DICOM objects."""

    @property
    def name(self) -> str:
        """Names the archive in the log and in the record of what was sent."""
        ...

    def send(self, objects: Sequence[Path]) -> Iterator[Path]:
        """Send DICOM files; each is given back once the archive has acknowledged it.

        Raises
        ------
        SendError
            After the last, if some were refused, as by an archive that knows no segmentations; at once if it is gone.
        """
        ...


@dataclass(frozen=True, slots=True)
class DicomNode:
    """An archive that takes C-STORE."""

    ae_title: str
    host: str
    port: int
    own_ae_title: str
    """What we call ourselves there."""

    @classmethod
    def parse(cls, text: str, own_ae_title: str) -> Self:
        """Read ``AET@HOST:PORT``.

        Raises
        ------
        ValueError
            If it is something else.
        """
        ae_title, _, address = text.partition("@")
        host, _, port = address.rpartition(":")
        check_ae_title(ae_title)
        if not (host and port.isascii() and port.isdecimal() and 0 < int(port) <= MAX_PORT):
            raise ValueError(f"expected AET@HOST:PORT, got {text!r}")
        return cls(ae_title, host.strip("[]"), int(port), own_ae_title)

    @property
    def name(self) -> str:
        """``AET@HOST:PORT``."""
        return f"{self.ae_title}@{self.host}:{self.port}"

    def send(self, objects: Sequence[Path]) -> Iterator[Path]:
        """Send DICOM files over one association; each is given back once the archive has acknowledged it."""
        association = self._associate(_contexts([dcmread(path, stop_before_pixels=True) for path in objects]))
        try:
            yield from _each(objects, lambda path: self._store(association, path))
        finally:
            association.release()

    def _associate(self, contexts: list[PresentationContext]) -> Association:
        """Open an association that offers what is to be sent."""
        entity = AE(ae_title=self.own_ae_title)
        entity.connection_timeout = CONNECT_S
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = REPLY_S
        try:
            association = entity.associate(self.host, self.port, contexts=contexts, ae_title=self.ae_title)
        except OSError as error:  # the host's name is not known
            raise SendError(f"{self.name} cannot be reached: {error.strerror}") from error
        if not association.is_established:
            if refused := [context.abstract_syntax for context in association.rejected_contexts]:
                kinds = ", ".join(sorted({kind.name for kind in refused if kind is not None}))
                raise RefusedError(f"{self.name} takes no {kinds}")
            how = "refused the association" if association.is_rejected else "cannot be reached"
            raise SendError(f"{self.name} {how}")
        return association

    def _store(self, association: Association, path: Path) -> None:
        """Send one file."""
        try:
            status = association.send_c_store(path)
        except ValueError as error:  # no context for it was accepted
            raise RefusedError(f"{self.name} does not take {path.name}: {error}") from error
        except RuntimeError as error:  # the association has ended
            raise SendError(f"{self.name} does not take {path.name}: {error}") from error
        if "Status" not in status:
            raise SendError(f"{self.name} did not answer to {path.name}")
        if status.Status not in _STORED:
            raise RefusedError(f"{self.name} refused {path.name} with status 0x{status.Status:04X}")


def _each(objects: Sequence[Path], store: Callable[[Path], None]) -> Iterator[Path]:
    """Store one object after another; those that were refused are told at the end."""
    refused: list[RefusedError] = []
    for path in objects:
        try:
            store(path)
        except RefusedError as error:
            refused.append(error)
        else:
            yield path
    if refused:
        raise RefusedError("; ".join(map(str, refused))) from refused[0]


def _contexts(headers: Sequence[Dataset]) -> list[PresentationContext]:
    """What an association must offer to send these objects, each in the way it is encoded."""
    offers: dict[tuple[UID, str], PresentationContext] = {}
    for header in headers:
        storage_class, encoding = header.SOPClassUID, header.file_meta.TransferSyntaxUID
        encodings: list[str | UID] = list(_UNCOMPRESSED) if encoding in _UNCOMPRESSED else [encoding]
        offers.setdefault((storage_class, encodings[0]), build_context(storage_class, encodings))
    return list(offers.values())


class DicomWeb:
    """An archive that takes STOW-RS (PS3.18 section 10.5); names and passwords are those of ``~/.netrc``.

    Parameters
    ----------
    url
        Of the DICOMweb service, without ``/studies``.

    Raises
    ------
    ValueError
        If it is no such URL, or holds a password, which would reach the log.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            raise ValueError(f"expected http(s)://HOST[:PORT]/PATH without user and password, got {parts.hostname!r}")
        self.name = url.rstrip("/")

    def send(self, objects: Sequence[Path]) -> Iterator[Path]:
        """Send DICOM files, one request each, so that a refused one does not hide which were stored."""
        client = DICOMwebClient(self.name, chunk_size=_NEVER_CHUNKED_BYTES, timeout=(CONNECT_S, REPLY_S))
        client.set_http_retry_params(retry=False)  # the spool does that, and outlives this process
        yield from _each(objects, lambda path: self._store(client, path))

    def _store(self, client: DICOMwebClient, path: Path) -> None:
        """Send one file."""
        try:
            answer = client.store_instances([dcmread(path)])
        except RequestException as error:
            # Other answers, or none, are not about this object: the next would fare no better.
            is_refusal = error.response is not None and error.response.status_code in _OBJECT_REFUSED
            kind = RefusedError if is_refusal else SendError
            raise kind(f"{self.name} did not take {path.name}: {_in_short(error)}") from error
        for failed in answer.get("FailedSOPSequence", ()):
            reason = f"0x{failed.get('FailureReason', 0):04X}"
            raise RefusedError(f"{self.name} refused {path.name} with reason {reason}")


def _in_short(error: RequestException) -> str:
    """What went wrong, without the addresses and objects that requests quotes."""
    return type(error).__name__ if error.response is None else f"HTTP {error.response.status_code}"
