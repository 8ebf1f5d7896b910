"""Studies to send, a sender, an analysis with a known answer and an archive that keeps what it gets."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid
from pynetdicom import AE, evt
from pynetdicom.association import Association

from pipeline_fakes import make_cine
from tagstrain.io import write_dicom_study
from tagstrain.link import ListenerConfig, Spool, SpooledStudy, Stage
from tagstrain.link.receiver import STORAGE_CLASSES, VERIFICATION

PATIENT = "Doe^Jane"
WAIT_S = 20.0


def write_study(folder: Path, seed: int = 1, n_frames: int = 4) -> list[Path]:
    """Files of a study of one slice, with a patient's name in them."""
    files = write_dicom_study(folder, [make_cine(n_frames=n_frames)], seed)
    for file in files:
        dataset = dcmread(file)
        dataset.PatientName = PATIENT
        dataset.save_as(file)
    return files


def listener_config(**changes: object) -> ListenerConfig:
    """Settings with which a study is complete at once and a failed sending is tried again at once."""
    settings: dict[str, object] = {"ae_title": "TAGSTRAIN", "port": 0, "idle_s": 0.3, "first_retry_s": 0.2}
    return ListenerConfig(**{**settings, **changes})  # type: ignore[arg-type]


@contextmanager
def association(port: int, called: str = "TAGSTRAIN", calling: str = "SCANNER") -> Iterator[Association]:
    """An association with the listener, which may have been rejected."""
    entity = AE(ae_title=calling)
    for uid in (VERIFICATION, *STORAGE_CLASSES):
        entity.add_requested_context(uid)
    opened = entity.associate("127.0.0.1", port, ae_title=called)
    try:
        yield opened
    finally:
        if opened.is_established:
            opened.release()


def send(port: int, files: Sequence[Path]) -> list[int]:
    """Send files over one association; gives the statuses."""
    with association(port) as opened:
        return [opened.send_c_store(file).Status for file in files]


def wait_until(is_so: Callable[[], bool], what: str) -> None:
    """Wait for something that must happen soon."""
    deadline_s = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < deadline_s, f"waited in vain until {what}"
        time.sleep(0.02)


def wait_for_stage(spool: Spool, *stages: Stage, n: int = 1) -> list[SpooledStudy]:
    """Wait until ``n`` studies have come to one of these stages."""
    wait_until(lambda: len(spool.in_stage(*stages)) == n, f"{n} studies are {' or '.join(stages)}")
    return spool.in_stage(*stages)


@dataclass
class FakeAnalysis:
    """Writes one result object per study, which names the patient of the images; remembers what it was given."""

    results: Path
    may_end: Event | None = None
    """Where given, the analysis does not end before it is set."""
    error: Exception | None = None
    seen: list[tuple[str, int]] = field(default_factory=list)
    """Key and number of images of every study analyzed."""

    def __call__(self, images: Path, key: str) -> None:
        files = sorted(images.iterdir())
        self.seen.append((key, len(files)))
        if self.may_end is not None:
            assert self.may_end.wait(WAIT_S)
        if self.error is not None:
            raise self.error
        write_result(self.results / key / "dicom" / "movie.dcm", dcmread(files[0]), len(files))


def write_result(path: Path, source: Dataset, number: int) -> None:
    """A small object of the same patient and study, that says how many images it was made from."""
    result = Dataset()
    result.file_meta = FileMetaDataset()
    result.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    result.SOPClassUID = result.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    result.SOPInstanceUID = generate_uid(entropy_srcs=[source.StudyInstanceUID, str(number)])
    result.file_meta.MediaStorageSOPInstanceUID = result.SOPInstanceUID
    result.StudyInstanceUID, result.SeriesInstanceUID = source.StudyInstanceUID, generate_uid()
    result.PatientID, result.PatientName = source.PatientID, source.PatientName
    result.Modality, result.InstanceNumber = "OT", number
    result.SamplesPerPixel, result.PhotometricInterpretation = 1, "MONOCHROME2"
    result.Rows = result.Columns = 2
    result.BitsAllocated = result.BitsStored = 8
    result.HighBit, result.PixelRepresentation = 7, 0
    result.PixelData = b"\0\1\2\3"
    path.parent.mkdir(parents=True, exist_ok=True)
    result.save_as(path, enforce_file_format=True)


class FakeArchive:
    """An archive in this process that takes secondary captures; answers with the given statuses first."""

    def __init__(self, statuses: Sequence[int] = ()) -> None:
        self.received: list[Dataset] = []
        self._statuses = list(statuses)
        self._entity = AE(ae_title="ARCHIVE")
        self._entity.require_called_aet = True
        self._entity.add_supported_context(SecondaryCaptureImageStorage)
        self._server = self._entity.start_server(
            ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, self._keep)]
        )
        assert self._server is not None
        self.port = int(self._server.server_address[1])

    def __enter__(self) -> FakeArchive:
        return self

    def __exit__(self, *error: object) -> None:
        self._entity.shutdown()

    def _keep(self, event: evt.Event) -> int:
        status = self._statuses.pop(0) if self._statuses else 0x0000
        if status == 0x0000:
            self.received.append(event.dataset)
        return status
