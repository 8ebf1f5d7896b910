"""The side that archives and scanners send to: C-STORE and C-ECHO, spooled before they are answered (`Receiver`)."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from io import BytesIO
from weakref import WeakKeyDictionary

from pydicom import dcmread
from pydicom.uid import (
    UID,
    EnhancedMRImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    LegacyConvertedEnhancedMRImageStorage,
    MRImageStorage,
    RLELossless,
)
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.transport import ThreadedAssociationServer

from tagstrain.errors import OutputError, TagstrainError
from tagstrain.link.config import ListenerConfig
from tagstrain.link.spool import Spool

VERIFICATION = UID("1.2.840.10008.1.1")
STORAGE_CLASSES = (MRImageStorage, EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage)
# What the reader decodes without loss. Deflated is left out: a few bytes of it can unpack to any size.
TRANSFER_SYNTAXES = [
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    JPEGLosslessSV1,
    JPEGLossless,
    JPEGLSLossless,
    JPEG2000Lossless,
    RLELossless,
]
MAX_INSTANCE_BYTES = 256 * 1024**2
"""An association that sends a larger image is aborted: it is held in memory until it is written."""
MAX_ASSOCIATIONS = 8

# Status of a C-STORE (PS3.4 section B.2.3).
SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
DOES_NOT_MATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Incoming:
    """What came over one association."""

    studies: set[str] = field(default_factory=set)
    message_bytes: int = 0
    """Size so far of the message that is coming in."""


class Receiver:
    """Takes images from the network into a spool; every one that is answered with success is on the disk."""

    def __init__(self, spool: Spool, config: ListenerConfig) -> None:
        self._spool = spool
        self._config = config
        self._incoming: WeakKeyDictionary[Association, _Incoming] = WeakKeyDictionary()
        self._entity = AE(ae_title=config.ae_title)
        self._entity.maximum_associations = MAX_ASSOCIATIONS
        self._entity.require_called_aet = not config.any_called_ae_title
        self._entity.require_calling_aet = list(config.calling_ae_titles)
        self._entity.add_supported_context(VERIFICATION)
        for storage_class in STORAGE_CLASSES:
            self._entity.add_supported_context(storage_class, TRANSFER_SYNTAXES)
        self._server: ThreadedAssociationServer | None = None

    @property
    def port(self) -> int:
        """Port that it listens on, once started."""
        return self._config.port if self._server is None else int(self._server.server_address[1])

    def start(self) -> None:
        """Begin to listen.

        Raises
        ------
        TagstrainError
            If the port cannot be had.
        """
        address = (self._config.host, self._config.port)
        handlers: list[evt.EventHandlerType] = [
            (evt.EVT_C_STORE, self._on_store),
            (evt.EVT_PDU_RECV, self._on_data_unit),
            (evt.EVT_DIMSE_RECV, self._on_message),
            (evt.EVT_RELEASED, self._on_release),
        ]
        try:
            self._server = self._entity.start_server(address, block=False, evt_handlers=handlers)
        except OSError as error:
            where = f"port {self._config.port} of {self._config.host}"
            raise TagstrainError(f"{where}: cannot listen there ({error.strerror}). Choose another port") from error

    def stop(self, grace_s: float) -> None:
        """Let no new association in, give those that are open some time to end, and abort what is left."""
        if self._server is None:
            return
        self._server.shutdown()
        deadline_s = time.monotonic() + grace_s
        while self._entity.active_associations and time.monotonic() < deadline_s:
            time.sleep(0.05)
        self._entity.shutdown()
        self._server = None

    def _on_store(self, event: evt.Event) -> int:
        """Spool an image and say how that went."""
        request = event.request
        assert isinstance(request, C_STORE)
        content = event.encoded_dataset()
        study_uid, instance_uid = _identifiers(content)
        if not study_uid or not instance_uid:
            _log.warning("An image without StudyInstanceUID or SOPInstanceUID was refused")
            return CANNOT_UNDERSTAND
        if instance_uid != request.AffectedSOPInstanceUID:
            _log.warning("An image that was announced under another SOPInstanceUID than it has was refused")
            return DOES_NOT_MATCH
        try:
            key = self._spool.store(study_uid, instance_uid, content)
        except (OSError, OutputError) as error:
            _log.error("An image was refused, since it cannot be spooled: %s", error)
            return OUT_OF_RESOURCES
        self._of(event.assoc).studies.add(key)
        return SUCCESS

    def _on_data_unit(self, event: evt.Event) -> None:
        """Abort an association whose message grows beyond any image, before it has filled the memory."""
        if not isinstance(event.pdu, P_DATA_TF):
            return
        incoming = self._of(event.assoc)
        incoming.message_bytes += len(event.pdu)
        if incoming.message_bytes > MAX_INSTANCE_BYTES:
            _log.error("An association was aborted: it sent an image of more than %d bytes", MAX_INSTANCE_BYTES)
            event.assoc.abort()

    def _on_message(self, event: evt.Event) -> None:
        """Begin to count anew: a message is complete."""
        self._of(event.assoc).message_bytes = 0

    def _on_release(self, event: evt.Event) -> None:
        """Take the studies that came over this association as complete, if asked to."""
        studies = self._of(event.assoc).studies
        if self._config.on_release:
            for key in studies:
                self._spool.queue(key)

    def _of(self, association: Association) -> _Incoming:
        return self._incoming.setdefault(association, _Incoming())


def _identifiers(content: bytes) -> tuple[str, str]:
    """StudyInstanceUID and SOPInstanceUID of a DICOM file; empty where it lacks them."""
    tags = ["StudyInstanceUID", "SOPInstanceUID"]
    dataset = dcmread(BytesIO(content), stop_before_pixels=True, specific_tags=tags)
    # As bytes: pydicom would warn of a malformed UID with the value, which nobody has checked for names.
    study_uid, instance_uid = (dataset.get_item(tag).value or b"" if tag in dataset else b"" for tag in tags)
    return _text(study_uid), _text(instance_uid)


def _text(uid: bytes) -> str:
    """A UID without its padding."""
    return uid.decode("ascii", errors="replace").strip(" \0")
