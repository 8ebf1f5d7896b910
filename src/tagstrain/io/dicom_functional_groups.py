"""Enhanced (multi-frame) DICOM seen as classic: one flat data set per frame (`frame_datasets`)."""

from __future__ import annotations

from typing import NamedTuple

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
    "SliceThickness",
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
_GROUP_TAGS = (Tag(0x5200, 0x9229), Tag(0x5200, 0x9230))  # shared, per frame


class _Found(NamedTuple):
    """Elements below an item by where they stand."""

    standard: dict[BaseTag, DataElement]
    private: dict[BaseTag, DataElement]


def frame_datasets(dataset: Dataset) -> list[Dataset]:
    """Attributes of every frame: its own functional groups before the shared ones, these before the object's own.

    Philips keeps some attributes in private sequences below the functional groups; they count where no other place
    has them. Groups of converted objects (unassigned attributes) are read like any other.
    """
    items = sequence(dataset, "PerFrameFunctionalGroupsSequence")
    if not items:
        return []
    own = {element.tag: element for element in dataset if element.tag not in _GROUP_TAGS}
    shared = _Found({}, {})
    for item in sequence(dataset, "SharedFunctionalGroupsSequence")[:1]:
        _collect(item, shared, is_private=False)
    frames = []
    for item in items:
        found = _Found({}, {})
        _collect(item, found, is_private=False)
        frames.append(Dataset({**shared.private, **found.private, **own, **shared.standard, **found.standard}))
    return frames


def _collect(item: Dataset, found: _Found, is_private: bool, depth: int = 0) -> None:
    """Gather the wanted attributes below an item, the first of each."""
    elements = found.private if is_private else found.standard
    for tag in list(item.keys()):
        if tag in _FRAME_TAGS:
            elements.setdefault(tag, item[tag])
        elif depth < MAX_DEPTH and _may_be_sequence(item, tag):
            element = item[tag]
            if element.VR == "SQ" and element.value:
                _collect(element.value[0], found, is_private or tag.is_private, depth + 1)


def _may_be_sequence(item: Dataset, tag: BaseTag) -> bool:
    """Whether an element is a sequence or, unread in an implicit transfer syntax, could be one."""
    element: DataElement | RawDataElement = item.get_item(tag)
    return element.VR in ("SQ", "UN", None)
