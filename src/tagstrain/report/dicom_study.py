"""What the DICOM objects made from one study share: patient, study, series and device (`DicomStudy`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from highdicom import SOPClass
from pydicom import config
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid
from pydicom.valuerep import validate_value

from tagstrain.data import ArchiveIdentity, Provenance, SourceImage, SourceSeries, TaggedCine

SOFTWARE = "tagstrain"
CHARACTER_SET = "ISO_IR 192"
_SEXES = ("M", "F", "O")
_MAX_ID_CHARS = 64


class ResultSeries(NamedTuple):
    """A series of a study that holds one kind of our objects; numbered beyond what scanners use."""

    number: int
    description: str


REPORT_SERIES = ResultSeries(9001, "tagstrain strain report")
SEGMENTATION_SERIES = ResultSeries(9002, "tagstrain myocardium")
MOVIE_SERIES = ResultSeries(9003, "tagstrain movie")


@dataclass(frozen=True, slots=True)
class DicomStudy:
    """Where in an archive the objects of one study belong.

    Where identities are kept they join the DICOM study that the images came from. Elsewhere they get a study of their
    own: an archive files a study under one patient, and ours is then a pseudonym. Every run makes new series and
    instances, since what it found may differ from the last.
    """

    key: str
    """Patient ID where no identity is kept."""
    provenance: Provenance
    identity: ArchiveIdentity | None = None
    run_uid: str = field(default_factory=generate_uid)
    """What the unique identifiers of this run grow from."""

    def new_object(
        self, cine: TaggedCine, series: ResultSeries, instance_number: int, sop_class_uid: str, modality: str
    ) -> SOPClass:
        """An object of any class with what every class has: patient, study, series, equipment."""
        made = SOPClass(
            study_instance_uid=self.study_uid(cine),
            series_instance_uid=self.series_uid(cine, series),
            series_number=series.number,
            series_description=series.description,
            sop_instance_uid=generate_uid(),
            sop_class_uid=sop_class_uid,
            instance_number=instance_number,
            modality=modality,
            manufacturer=SOFTWARE,
            manufacturer_model_name=self.model_name,
            software_versions=self.provenance.software_version,
            device_serial_number=self.provenance.software_version,
            transfer_syntax_uid=ExplicitVRLittleEndian,
            specific_character_set=CHARACTER_SET,
        )
        made.update(self.patient_and_study(cine))
        return made

    @property
    def model_name(self) -> str:
        """Name of what measured, as a device is named."""
        return f"{SOFTWARE} {self.provenance.tracker}"

    def study_uid(self, cine: TaggedCine) -> str:
        """The study of the images that the cine was read from where identities are kept, else one of this run."""
        source = cine.source_series
        return (
            source.study_uid
            if source is not None and self.identity is not None
            else generate_uid(entropy_srcs=[self.run_uid, "study"])
        )

    def series_uid(self, cine: TaggedCine, series: ResultSeries) -> str:
        """The series of one kind of objects, one per study."""
        return generate_uid(entropy_srcs=[self.run_uid, self.study_uid(cine), series.description])

    def patient_and_study(self, cine: TaggedCine) -> Dataset:
        """Patient and study as the archive names them, or no more than the study's key."""
        who = self.identity if self.identity is not None else ArchiveIdentity(patient_id=self.key[:_MAX_ID_CHARS])
        dataset = Dataset()
        dataset.SpecificCharacterSet = CHARACTER_SET
        dataset.StudyInstanceUID = self.study_uid(cine)
        values = {
            "PatientID": who.patient_id,
            "PatientName": who.patient_name,
            "PatientBirthDate": who.birth_date,
            "PatientSex": who.sex if who.sex in _SEXES else "",
            "StudyID": who.study_id,
            "StudyDate": who.study_date,
            "StudyTime": who.study_time,
            "AccessionNumber": who.accession_number,
            "ReferringPhysicianName": who.referring_physician_name,
        }
        for keyword, value in values.items():
            setattr(dataset, keyword, value if _is_valid(keyword, value) else "")
        return dataset

    def source_images(self, cine: TaggedCine, source: SourceSeries) -> Iterator[Dataset]:
        """The images that a cine was read from, each once, as far as references to them need it."""
        for image, _ in source_instances(source):
            dataset = self.patient_and_study(cine)
            dataset.StudyInstanceUID = source.study_uid
            dataset.SeriesInstanceUID = source.series_uid
            dataset.SOPClassUID, dataset.SOPInstanceUID = image.sop_class_uid, image.sop_instance_uid
            yield dataset


def referable_source(cine: TaggedCine) -> SourceSeries | None:
    """The archived images of a cine, None where there are none or they have no valid identifiers or a private class."""
    source = cine.source_series
    if source is None:
        return None
    classes = [UID(image.sop_class_uid, config.IGNORE) for image in source.images]
    names = [source.study_uid, source.series_uid, *(image.sop_instance_uid for image in source.images)]
    if source.frame_of_reference_uid is not None:
        names.append(source.frame_of_reference_uid)
    are_valid = all(uid.is_valid for uid in (*classes, *(UID(name, config.IGNORE) for name in names)))
    return source if are_valid and not any(uid.is_private for uid in classes) else None


def source_instances(source: SourceSeries) -> list[tuple[SourceImage, list[int]]]:
    """The distinct objects of a series in order, with the frames of each that were used; none for single-frame ones."""
    frames: dict[str, list[int]] = {}
    first: dict[str, SourceImage] = {}
    for image in source.images:
        first.setdefault(image.sop_instance_uid, image)
        numbers = frames.setdefault(image.sop_instance_uid, [])
        if image.frame_number is not None:
            numbers.append(image.frame_number)
    return [(image, frames[uid]) for uid, image in first.items()]


def reference_to(image: SourceImage) -> Dataset:
    """Item of a sequence that refers to an image, or to one frame of it."""
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = image.sop_class_uid, image.sop_instance_uid
    if image.frame_number is not None:
        item.ReferencedFrameNumber = image.frame_number
    return item


def _is_valid(keyword: str, value: str) -> bool:
    """Whether an object may carry a value: archives refuse objects with malformed dates, which scanners do write."""
    if not value.isprintable():  # escape codes would change the character set
        return False
    try:
        validate_value(dictionary_VR(keyword), value, config.RAISE)
    except ValueError:
        return False
    return True
