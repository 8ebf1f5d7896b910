"""Patient and study as a DICOM file names them, read only on request: `read_identity`."""

from __future__ import annotations

from io import BytesIO

from pydicom.datadict import tag_for_keyword
from pydicom.filereader import dcmread
from pydicom.tag import BaseTag, Tag

from tagstrain.data.archive import ArchiveIdentity
from tagstrain.io.archive import ByteSource
from tagstrain.io.dicom_values import damage_told, text

_KEYWORDS = {
    "patient_id": "PatientID",
    "patient_name": "PatientName",
    "birth_date": "PatientBirthDate",
    "sex": "PatientSex",
    "study_id": "StudyID",
    "study_date": "StudyDate",
    "study_time": "StudyTime",
    "accession_number": "AccessionNumber",
    "referring_physician_name": "ReferringPhysicianName",
}
_TAGS: list[BaseTag | int] = [Tag(tag) for word in _KEYWORDS.values() if (tag := tag_for_keyword(word)) is not None]


def read_identity(source: ByteSource) -> ArchiveIdentity:
    """Read who a file is about; no other part of the reader parses these attributes.

    Raises
    ------
    InputError
        If the file is damaged.
    """
    data = source.read()
    with damage_told(source):
        dataset = dcmread(BytesIO(data), stop_before_pixels=True, specific_tags=_TAGS)
        return ArchiveIdentity(**{field: text(dataset, keyword) for field, keyword in _KEYWORDS.items()})
