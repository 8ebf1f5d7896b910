"""The myocardium in every frame of a slice as a DICOM Segmentation: `write_segmentation`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from highdicom import (
    UID,
    AlgorithmIdentificationSequence,
    CoordinateSystemNames,
    PixelMeasuresSequence,
    PlaneOrientationSequence,
    PlanePositionSequence,
    SOPClass,
)
from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription
from highdicom.sr import CodedConcept
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pack_bits
from pydicom.tag import BaseTag, Tag
from pydicom.uid import SegmentationStorage

from tagstrain.data import Provenance, SliceResult, SourceImage, SourceSeries, TaggedCine
from tagstrain.geometry.polygon import wall_mask
from tagstrain.report import dicom_codes as codes
from tagstrain.report.dicom_study import (
    SEGMENTATION_SERIES,
    SOFTWARE,
    DicomStudy,
    reference_to,
    source_instances,
)

_SEGMENT = 1
_ONE_BIT = {
    "SamplesPerPixel": 1,
    "PhotometricInterpretation": "MONOCHROME2",
    "BitsAllocated": 1,
    "BitsStored": 1,
    "HighBit": 0,
    "PixelRepresentation": 0,
    "LossyImageCompression": "00",
    "SegmentationType": "BINARY",
    "SegmentsOverlap": "NO",
}


def write_segmentation(path: Path, result: SliceResult, study: DicomStudy, instance_number: int) -> None:
    """Write the wall between the first and the last ring, one binary frame per frame of the cine.

    Built from highdicom's parts and not with its ``Segmentation``, which refuses frames that share a position: ours
    differ in time. A pixel belongs to the wall if its center does.

    Raises
    ------
    ValueError
        If the cine did not come from DICOM images that say where they lie.
    """
    cine = result.cine
    source = cine.source_series
    if source is None or cine.affine is None or source.frame_of_reference_uid is None:
        raise ValueError("source_series, frame_of_reference_uid and affine: expected all to be known")
    masks = np.stack([wall_mask(ring[:, 0], ring[:, -1], cine.frames.shape[1:]) for ring in result.landmarks.points_px])
    made = study.new_object(cine, SEGMENTATION_SERIES, instance_number, SegmentationStorage, "SEG")
    made.ImageType = ["DERIVED", "PRIMARY"]
    made.ContentLabel = "MYOCARDIUM"
    made.ContentDescription = "Left ventricular myocardium"
    made.ImageComments = f"Slice {result.name}. {study.provenance.disclaimer}"
    made.ContentCreatorName = None
    made.FrameOfReferenceUID = source.frame_of_reference_uid
    made.PositionReferenceIndicator = None
    for keyword, value in _ONE_BIT.items():
        setattr(made, keyword, value)
    made.SegmentSequence = [_segment(study.provenance, is_automatic=result.seen_box is not None)]
    _add_dimensions(made)
    made.SharedFunctionalGroupsSequence = [_shared_groups(cine, cine.affine, source.slice_thickness_mm)]
    made.PerFrameFunctionalGroupsSequence = [_frame_groups(t, image) for t, image in enumerate(source.images)]
    _refer_to(made, source)
    made.NumberOfFrames, made.Rows, made.Columns = masks.shape
    made.PixelData = pack_bits(masks.astype(np.uint8), pad=True)
    made.save_as(path, enforce_file_format=True)


def _refer_to(made: SOPClass, source: SourceSeries) -> None:
    """Name the source images, which lie in another study where identities are not kept."""
    if made.StudyInstanceUID == source.study_uid:
        made.ReferencedSeriesSequence = [_referenced_series(source)]
        return
    other = Dataset()
    other.StudyInstanceUID = source.study_uid
    other.ReferencedSeriesSequence = [_referenced_series(source)]
    made.StudiesContainingOtherReferencedInstancesSequence = [other]


def _segment(provenance: Provenance, is_automatic: bool) -> SegmentDescription:
    """What the segment is and what drew it; from a box or a wall of the user's it is not automatic."""
    made_by = SegmentAlgorithmTypeValues.AUTOMATIC if is_automatic else SegmentAlgorithmTypeValues.SEMIAUTOMATIC
    return SegmentDescription(
        segment_number=_SEGMENT,
        segment_label="Left ventricular myocardium",
        segmented_property_category=codes.ANATOMICAL_STRUCTURE,
        segmented_property_type=codes.LEFT_VENTRICLE_MYOCARDIUM,
        algorithm_type=made_by,
        algorithm_identification=AlgorithmIdentificationSequence(
            name=f"{SOFTWARE} {provenance.tracker}",
            family=codes.ARTIFICIAL_INTELLIGENCE,
            version=provenance.software_version,
            parameters=dict(provenance.weights) or None,
        ),
    )


def _add_dimensions(made: SOPClass) -> None:
    """Declare that frames are told apart by segment and by time."""
    organization = Dataset()
    organization.DimensionOrganizationUID = UID()
    made.DimensionOrganizationSequence = [organization]
    made.DimensionIndexSequence = [
        _dimension(organization.DimensionOrganizationUID, Tag(pointer), Tag(group))
        for pointer, group in (
            ("ReferencedSegmentNumber", "SegmentIdentificationSequence"),
            ("TemporalPositionIndex", "FrameContentSequence"),
        )
    ]


def _dimension(organization_uid: str, pointer: BaseTag, group: BaseTag) -> Dataset:
    """One axis along which frames are ordered."""
    item = Dataset()
    item.DimensionOrganizationUID = organization_uid
    item.DimensionIndexPointer, item.FunctionalGroupPointer = pointer, group
    return item


def _shared_groups(cine: TaggedCine, affine: NDArray[np.float64], slice_thickness_mm: float | None) -> Dataset:
    """What all frames share: segment, spacing and place."""
    along_row, along_column = (affine[:3, axis] / np.linalg.norm(affine[:3, axis]) for axis in (0, 1))
    patient = CoordinateSystemNames.PATIENT
    identification = Dataset()
    identification.ReferencedSegmentNumber = _SEGMENT
    item = Dataset()
    item.SegmentIdentificationSequence = [identification]
    item.PixelMeasuresSequence = PixelMeasuresSequence(cine.pixel_spacing, slice_thickness_mm)
    item.PlaneOrientationSequence = PlaneOrientationSequence(patient, [*along_row.tolist(), *along_column.tolist()])
    item.PlanePositionSequence = PlanePositionSequence(patient, affine[:3, 3].tolist())
    return item


def _frame_groups(t: int, image: SourceImage) -> Dataset:
    """What one frame has of its own: its time and the image that it was drawn on."""
    content = Dataset()
    content.TemporalPositionIndex = t + 1
    content.DimensionIndexValues = [_SEGMENT, t + 1]
    drawn_on = reference_to(image)
    drawn_on.PurposeOfReferenceCodeSequence = [CodedConcept.from_code(codes.SOURCE_IMAGE)]
    drawn_on.SpatialLocationsPreserved = "YES"
    derivation = Dataset()
    derivation.SourceImageSequence = [drawn_on]
    derivation.DerivationCodeSequence = [CodedConcept.from_code(codes.SEGMENTATION_DERIVATION)]
    item = Dataset()
    item.FrameContentSequence = [content]
    item.DerivationImageSequence = [derivation]
    return item


def _referenced_series(source: SourceSeries) -> Dataset:
    """All images that are referred to, by series."""
    item = Dataset()
    item.SeriesInstanceUID = source.series_uid
    item.ReferencedInstanceSequence = [
        reference_to(image._replace(frame_number=None)) for image, _ in source_instances(source)
    ]
    return item
