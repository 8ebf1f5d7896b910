"""What an archive knows of a cine: `SourceSeries` to refer to its images, `ArchiveIdentity` to file results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class SourceImage(NamedTuple):
    """One frame in the archive."""

    sop_class_uid: str
    sop_instance_uid: str
    frame_number: int | None = None
    """From 1 within a multi-frame object; None for a single-frame one."""


@dataclass(frozen=True, slots=True)
class SourceSeries:
    """The DICOM series that a cine was read from."""

    study_uid: str
    series_uid: str
    frame_of_reference_uid: str | None
    images: tuple[SourceImage, ...]
    """One per frame of the cine, in its order."""
    slice_thickness_mm: float | None = None


@dataclass(frozen=True, slots=True)
class ArchiveIdentity:
    """Patient and study as DICOM names them, read only where the user keeps identities; empty where not stored."""

    patient_id: str = ""
    patient_name: str = ""
    birth_date: str = ""
    sex: str = ""
    study_id: str = ""
    study_date: str = ""
    study_time: str = ""
    accession_number: str = ""
    referring_physician_name: str = ""
