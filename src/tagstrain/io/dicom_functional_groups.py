"""Enhanced (multi-frame) DICOM seen as classic: one flat data set per frame (`frame_datasets`)."""

from __future__ import annotations

from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag

from tagstrain.io.dicom_values import sequence

MAX_DEPTH = 5

FRAME_KEYWORDS = (
    "FrameType",
    "ComplexImageComponent",
    "AcquisitionNumber",
    "FrameAcquisitionNumber",
    "TriggerTime",
    "NominalCardiacTriggerDelayTime",
    "ActualCardiacTriggerDelayTime",
    "NominalInterval",
    "RRIntervalTimeNominal",
    "HeartRate",
    "FrameTime",
    "TemporalResolution",
    "CardiacNumberOfImages",
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
    "PixelSpacing",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "RescaleSlope",
    "RescaleIntercept",
    "Tagging",
    "TagAngleFirstAxis",
    "TagSpacingFirstDimension",
)
"""Attributes that may differ from frame to frame, wherever below a functional group they stand."""

_FRAME_TAGS = frozenset(Tag(tag) for keyword in FRAME_KEYWORDS if (tag := tag_for_keyword(keyword)) is not None)


def frame_datasets(dataset: Dataset) -> list[Dataset]:
    """Attributes of every frame: its own functional groups before the shared ones, these before the object's own.

    Philips keeps some attributes in private sequences below the functional groups; they count where no other place
    has them. Groups of converted objects (unassigned attributes) are read like any other.
    """
    standard, private = Dataset(), Dataset()
    for item in sequence(dataset, "SharedFunctionalGroupsSequence")[:1]:
        _collect(item, standard, private)
    frames = []
    for item in sequence(dataset, "PerFrameFunctionalGroupsSequence"):
        own_standard, own_private = Dataset(), Dataset()
        _collect(item, own_standard, own_private)
        frame = Dataset()
        for layer in (private, own_private, dataset, standard, own_standard):
            frame.update(layer)
        frames.append(frame)
    return frames


def _collect(item: Dataset, standard: Dataset, private: Dataset, depth: int = 0) -> None:
    """Gather the wanted attributes below an item, the first found of each, apart for private sequences."""
    for tag in list(item.keys()):
        if tag in _FRAME_TAGS:
            if tag not in standard:
                standard[tag] = item[tag]
        elif depth < MAX_DEPTH and _may_be_sequence(item, tag):
            element = item[tag]
            if element.VR == "SQ" and element.value:
                _collect(element.value[0], private if tag.is_private else standard, private, depth + 1)


def _may_be_sequence(item: Dataset, tag: BaseTag) -> bool:
    """Whether an element is a sequence or, unread in an implicit transfer syntax, could be one."""
    element: DataElement | RawDataElement = item.get_item(tag)
    return element.VR in ("SQ", "UN", None)
