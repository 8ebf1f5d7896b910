"""What the reader needs from the header of an image, read without its pixels: `DicomHeader`, `read_headers`."""

from __future__ import annotations

import re
import secrets
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException
from pydicom.filereader import read_dataset, read_partial, read_preamble
from pydicom.tag import BaseTag, Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian, MediaStorageDirectoryStorage

from tagstrain.data.archive import SourceImage
from tagstrain.data.cine import PixelSpacing
from tagstrain.errors import InputError
from tagstrain.io.archive import ByteSource
from tagstrain.io.dicom_functional_groups import FRAME_KEYWORDS, frame_datasets
from tagstrain.io.dicom_values import damage_told, number, numbers, positive, text, words
from tagstrain.io.limits import MAX_OBJECT_BYTES, check_unpacked_size
from tagstrain.io.pseudonym import pseudonym

MAX_SIDE_PX = 4096

_META_GROUP = 0x0002
_COMMAND_GROUP = bytes(2)
_PIECE_BYTES = 1024**2
_SALT = secrets.token_bytes()

# Only these are ever parsed: no attribute of the patient can reach a message. Of PatientID a stand-in is kept.
_KEYWORDS = (
    *FRAME_KEYWORDS,
    "SOPClassUID",
    "SOPInstanceUID",
    "PatientID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "Modality",
    "ImageType",
    "SeriesDescription",
    "ProtocolName",
    "SequenceName",
    "SeriesNumber",
    "InstanceNumber",
    "AcquisitionDate",
    "AcquisitionTime",
    "AcquisitionDateTime",
    "NumberOfFrames",
    "SamplesPerPixel",
    "Rows",
    "Columns",
    "PhotometricInterpretation",
    "BitsStored",
    "PixelRepresentation",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)
_GE_GROUP, _GE_CREATOR, _GE_IMAGE_KIND = 0x0043, "GEMS_PARM_01", 0x2F
"""GE's own attribute of what an image shows: a number that counts through `_COMPONENTS`."""
_TAGS: list[BaseTag | int] = [
    *(Tag(tag) for keyword in _KEYWORDS if (tag := tag_for_keyword(keyword)) is not None),
    Tag(_GE_GROUP, 0x10),
    Tag(_GE_GROUP, 0x1000 + _GE_IMAGE_KIND),
]
_PIXEL_TAGS = (0x7FE00008, 0x7FE00009, 0x7FE00010)  # float, double and integer pixels

_CLOCKS = ("NominalCardiacTriggerDelayTime", "ActualCardiacTriggerDelayTime", "TriggerTime")
_COMPONENTS = ("MAGNITUDE", "PHASE", "REAL", "IMAGINARY")
# Vendors' words in the third and later values of ImageType and FrameType.
_COMPONENT_WORD = re.compile(
    r"^(?:(?P<PHASE>P|PHASE|PHASE MAP|P_.*)|(?P<REAL>R|REAL|R_.*)|(?P<IMAGINARY>I|IMAGINARY|I_.*))$"
)


@dataclass(frozen=True, eq=False, slots=True)
class DicomHeader:
    """One image, a file's only one or a frame of it: where it is stored, when and where taken.

    None, or empty text, where a file is silent.
    """

    source: ByteSource
    image: SourceImage
    patient: str
    """Stand-in for PatientID, the same for all of a patient's images; tells patients apart and does not name them."""
    study_uid: str
    series_uid: str
    frame_of_reference_uid: str
    series_description: str
    protocol: str
    """ProtocolName and SequenceName, which may hint at tags."""
    series_number: float | None
    acquired: str
    """Date and time of acquisition, which sort as text."""
    acquisition_number: float | None
    """Tells acquisitions within a series or object apart."""
    instance_number: float | None
    """Place within the series; within the object for one of several frames."""
    temporal_position: float | None
    trigger_time_ms: float | None
    rr_interval_ms: float | None
    interval_ms: float | None
    """Time between frames from FrameTime, the RR interval and CardiacNumberOfImages, or TemporalResolution."""
    n_expected: int | None
    """CardiacNumberOfImages: frames of the complete slice."""
    component: str
    """``MAGNITUDE``, ``PHASE``, ``REAL`` or ``IMAGINARY``; magnitude where a file is silent."""
    tagging: str
    """``NONE``, ``GRID`` or ``LINE`` where the scanner says so."""
    tag_angle_deg: float | None
    tag_spacing_mm: float | None
    shape: tuple[int, int]
    """Rows, columns."""
    pixel_spacing: PixelSpacing | None
    orientation: NDArray[np.float64] | None
    """Unit vectors (2, 3) along which the column index and the row index grow, in LPS."""
    slice_thickness_mm: float | None
    position_mm: NDArray[np.float64] | None
    """Centre of the first pixel, in LPS."""
    rescale_slope: float
    rescale_intercept: float

    @property
    def instance_uid(self) -> str:
        """SOPInstanceUID of the object that holds the image."""
        return self.image.sop_instance_uid


def read_headers(source: ByteSource, stream: BinaryIO) -> tuple[DicomHeader, ...]:
    """Read everything but the pixels: one header for a single image, one per frame for an enhanced object.

    A media directory (DICOMDIR) has none.

    Raises
    ------
    InputError
        If it is not a DICOM file, is damaged, or holds no grey-scale MR image.
    """
    seen_pixels: list[bool] = []

    def is_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
        """Stop at the pixels, and remember that there were some."""
        if tag in _PIXEL_TAGS:
            seen_pixels.append(length != 0)
        return tag in _PIXEL_TAGS

    with damage_told(source):
        refuse_deflate_bomb(source, stream)
        dataset = read_partial(stream, stop_when=is_pixels, specific_tags=_TAGS)
        if text(dataset.file_meta, "MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
            return ()
        modality = text(dataset, "Modality")
        samples = number(dataset, "SamplesPerPixel")
        n_frames = number(dataset, "NumberOfFrames")
        shape = (int(number(dataset, "Rows") or 0), int(number(dataset, "Columns") or 0))
        frames = frame_datasets(dataset)
        if not frames:
            headers: tuple[DicomHeader, ...] = (_parse(source, dataset, shape, None),)
        else:
            clocks = _running_clocks(frames)
            headers = tuple(_parse(source, frame, shape, k + 1, clocks) for k, frame in enumerate(frames))
    if not any(seen_pixels) or min(shape) <= 0:
        raise InputError(source.shown, "holds no pixel data", "Give the images, not reports or directories")
    if modality not in ("", "MR"):
        raise InputError(source.shown, "is no MR image by its Modality (0008,0060)", "Give the tagged MR series")
    if samples is not None and samples > 1:
        raise InputError(source.shown, "is a color image", "Give the magnitude images of the scanner")
    if max(shape) > MAX_SIDE_PX:
        raise InputError(source.shown, f"claims {shape[0]} x {shape[1]} pixels", "Copy or export it again")
    if not frames and n_frames is not None and n_frames > 1:
        problem = "is a multi-frame object without functional groups, which would say when each frame was taken"
        raise InputError(source.shown, problem, "Export the series as enhanced MR or as classic single-frame DICOM")
    if frames and n_frames != len(frames):
        problem = f"describes {len(frames)} frames and announces {n_frames or 0:g}"
        raise InputError(source.shown, problem, "Copy or export it again")
    return headers


def read_header(source: ByteSource, stream: BinaryIO) -> DicomHeader:
    """Read the header of a file that holds one image.

    Raises
    ------
    InputError
        As `read_headers` does, or if the file holds several images.
    """
    headers = read_headers(source, stream)
    if len(headers) != 1:
        raise InputError(source.shown, f"holds {len(headers)} images, expected one", "Export it as single-frame DICOM")
    return headers[0]


def refuse_deflate_bomb(source: ByteSource, stream: BinaryIO) -> None:
    """Refuse a deflated file that grows too large, since pydicom unpacks it as a whole before it reads anything.

    To be called within `damage_told`, with the stream at its start, where it is left.

    Raises
    ------
    InputError
        Which says by how much.
    """
    read_preamble(stream, force=False)
    # Not by the group length, which a file may give wrong and pydicom does not follow either.
    read_dataset(
        stream, is_implicit_VR=False, is_little_endian=True, stop_when=lambda tag, *_: tag >> 16 != _META_GROUP
    )
    data_at = stream.tell()
    stream.seek(0)
    if DeflatedExplicitVRLittleEndian.encode() in stream.read(data_at):
        packed = stream.read()
        if packed.startswith(_COMMAND_GROUP):  # which pydicom would pass over first
            raise InputError(source.shown, "is truncated or damaged (commands before its data)", "Export it again")
        n_unpacked = _inflated_size(packed, MAX_OBJECT_BYTES)
        check_unpacked_size(source.shown, n_unpacked, len(packed), MAX_OBJECT_BYTES)
    stream.seek(0)


def _inflated_size(packed: bytes, limit_bytes: int) -> int:
    """Bytes that deflated ones unpack to, counted piece by piece and no further than just above a limit."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    n_unpacked = 0
    while packed and not inflater.eof and n_unpacked <= limit_bytes:
        n_unpacked += len(inflater.decompress(packed, _PIECE_BYTES))
        packed = inflater.unconsumed_tail
    return n_unpacked


def _parse(
    source: ByteSource,
    dataset: Dataset,
    shape: tuple[int, int],
    frame_number: int | None,
    clocks: Sequence[str] = _CLOCKS,
) -> DicomHeader:
    """Take the values out of a flat data set; one that cannot be read counts as missing."""
    spacing = numbers(dataset, "PixelSpacing", 2)
    directions = numbers(dataset, "ImageOrientationPatient", 6)
    n_expected = number(dataset, "CardiacNumberOfImages")
    stored_slope = number(dataset, "RescaleSlope")
    slope, intercept = 1.0 if stored_slope is None else stored_slope, number(dataset, "RescaleIntercept") or 0.0
    turned_at = _turned_at(dataset)
    is_alone = frame_number is None or number(dataset, "NumberOfFrames") == 1
    return DicomHeader(
        source=source,
        image=SourceImage(text(dataset, "SOPClassUID"), text(dataset, "SOPInstanceUID"), frame_number),
        patient=_patient(text(dataset, "PatientID").strip()),
        study_uid=text(dataset, "StudyInstanceUID"),
        series_uid=text(dataset, "SeriesInstanceUID"),
        frame_of_reference_uid=text(dataset, "FrameOfReferenceUID"),
        series_description=text(dataset, "SeriesDescription"),
        protocol=f"{text(dataset, 'ProtocolName')} {text(dataset, 'SequenceName')}",
        series_number=number(dataset, "SeriesNumber"),
        acquired=text(dataset, "AcquisitionDate") + text(dataset, "AcquisitionTime")
        or text(dataset, "AcquisitionDateTime"),
        acquisition_number=_first(dataset, "FrameAcquisitionNumber", "AcquisitionNumber"),
        instance_number=number(dataset, "InstanceNumber") if is_alone else frame_number,
        temporal_position=_first(dataset, "TemporalPositionIndex", "TemporalPositionIdentifier"),
        trigger_time_ms=_first(dataset, *clocks),
        rr_interval_ms=_rr_interval_ms(dataset),
        interval_ms=_frame_interval_ms(dataset),
        n_expected=int(n_expected) if n_expected is not None and n_expected >= 1 else None,
        component=_component(dataset),
        tagging=text(dataset, "Tagging").strip().upper(),
        tag_angle_deg=number(dataset, "TagAngleFirstAxis"),
        tag_spacing_mm=positive(dataset, "TagSpacingFirstDimension"),
        shape=shape,
        pixel_spacing=None if spacing is None else PixelSpacing(float(spacing[0]), float(spacing[1])),
        orientation=None if directions is None else _unit_vectors(directions.reshape(2, 3)),
        slice_thickness_mm=positive(dataset, "SliceThickness"),
        position_mm=numbers(dataset, "ImagePositionPatient", 3),
        rescale_slope=slope if turned_at is None else -slope,
        rescale_intercept=intercept if turned_at is None else intercept + slope * turned_at,
    )


def _running_clocks(frames: Sequence[Dataset]) -> Sequence[str]:
    """The clocks of an object's frames, without those that stand still: scanners write 0 for what they do not know.

    Only where a plane has several frames can a clock be seen to stand still.
    """
    planes: dict[str, list[Dataset]] = {}
    for frame in frames:
        planes.setdefault(text(frame, "ImagePositionPatient"), []).append(frame)

    def runs(clock: str) -> bool:
        return any(len({number(frame, clock) for frame in plane}) > 1 for plane in planes.values())

    return [clock for clock in _CLOCKS if runs(clock)] or _CLOCKS


def _turned_at(dataset: Dataset) -> float | None:
    """Sum of the lowest and the highest value that pixels may have, where the lowest are shown white (MONOCHROME1,
    PS3.3 section C.7.6.3.1.2); None elsewhere."""
    if text(dataset, "PhotometricInterpretation") != "MONOCHROME1":
        return None
    return -1.0 if number(dataset, "PixelRepresentation") else 2 ** (number(dataset, "BitsStored") or 16.0) - 1


def _patient(patient_id: str) -> str:
    """Stand-in for a PatientID that holds in this process only; empty for none."""
    return pseudonym(patient_id, _SALT) if patient_id else ""


def _first(dataset: Dataset, *keywords: str) -> float | None:
    """Number of the first attribute that has one."""
    found = (number(dataset, keyword) for keyword in keywords)
    return next((value for value in found if value is not None), None)


def _rr_interval_ms(dataset: Dataset) -> float | None:
    """Time from one R wave to the next."""
    interval_ms = positive(dataset, "RRIntervalTimeNominal") or positive(dataset, "NominalInterval")
    per_minute = positive(dataset, "HeartRate")
    return interval_ms or (60000 / per_minute if per_minute else None)


def _frame_interval_ms(dataset: Dataset) -> float | None:
    """Time between frames where the trigger times do not give it."""
    frame_time_ms = positive(dataset, "FrameTime")
    if frame_time_ms is not None:
        return frame_time_ms
    beat_ms, n_images = _rr_interval_ms(dataset), number(dataset, "CardiacNumberOfImages")
    if beat_ms is not None and n_images is not None and n_images >= 2:
        return beat_ms / n_images
    return positive(dataset, "TemporalResolution")


def _component(dataset: Dataset) -> str:
    """Which part of the complex image this is."""
    stated = text(dataset, "ComplexImageComponent").strip().upper()
    if stated in _COMPONENTS:
        return stated
    with suppress(KeyError, ValueError, TypeError, BytesLengthException, NotImplementedError):
        return dict(enumerate(_COMPONENTS))[int(dataset.private_block(_GE_GROUP, _GE_CREATOR)[_GE_IMAGE_KIND].value)]
    for word in words(dataset, "FrameType")[2:] + words(dataset, "ImageType")[2:]:
        match = _COMPONENT_WORD.match(word)
        if match and match.lastgroup:
            return match.lastgroup
    return _COMPONENTS[0]


def _unit_vectors(directions: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Directions of length 1; None where they span no plane."""
    lengths = np.linalg.norm(directions, axis=1, keepdims=True)
    if (lengths < 1e-3).any() or np.linalg.norm(np.cross(*(directions / lengths))) < 0.5:
        return None
    return np.asarray(directions / lengths)
