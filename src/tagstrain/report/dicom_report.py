"""A study's strain as a DICOM Comprehensive 3D SR after template TID 1500: `StrainReport`."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from highdicom.sr import (
    AlgorithmIdentification,
    Comprehensive3DSR,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as standard
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from tagstrain.data import Peak, Provenance, SliceFailure, SliceResult, SourceSeries, StrainResult, TaggedCine
from tagstrain.quality import SliceQuality
from tagstrain.report import dicom_codes as codes
from tagstrain.report.curves import peak_strains
from tagstrain.report.dicom_study import REPORT_SERIES, SOFTWARE, DicomStudy, source_instances
from tagstrain.report.results_json import CONVENTIONS

_TOLD = ("strain", "green_lagrange", "linear", "ring_mean", "wall", "es_frame")

_IN_PERCENT = {**CONVENTIONS, "strain": CONVENTIONS["strain"].replace("fraction relative", "percent, relative")}


class Quantity(NamedTuple):
    """One line of a slice's measurements; left out of the report where the value is None."""

    name: Code
    value: float | None
    unit: Code
    derivation: Code | None = None
    """How the value was taken from a curve."""


def slice_quantities(strain: StrainResult) -> list[Quantity]:
    """What the report says about a slice."""
    peaks = peak_strains(strain)
    mean, midwall, radial = (peaks[name] for name in ("circumferential_mean", "circumferential_midwall", "radial"))
    es_time_ms = round(float(strain.frame_times_ms[strain.es_frame]), 3)
    return [
        Quantity(codes.CIRCUMFERENTIAL_MEAN, _percent(mean.green_lagrange), codes.PERCENT, codes.MINIMUM),
        Quantity(codes.CIRCUMFERENTIAL_MIDWALL, _percent(midwall.green_lagrange), codes.PERCENT, codes.MINIMUM),
        Quantity(codes.RADIAL_WALL, _percent(radial.green_lagrange), codes.PERCENT, codes.MAXIMUM),
        Quantity(codes.CIRCUMFERENTIAL_LINEAR, _percent(mean.linear), codes.PERCENT, codes.MINIMUM),
        Quantity(codes.RADIAL_LINEAR, _percent(radial.linear), codes.PERCENT, codes.MAXIMUM),
        Quantity(codes.END_SYSTOLE_TIME, es_time_ms, codes.MILLISECOND),
        Quantity(codes.END_DIASTOLE_FRAME, strain.ed_frame + 1, codes.NO_UNITS),
        Quantity(codes.END_SYSTOLE_FRAME, strain.es_frame + 1, codes.NO_UNITS),
    ]


def _percent(peak: Peak | None) -> float | None:
    """Peak in percent, with as many digits as the other result files have."""
    return None if peak is None else round(100 * peak.value, 4)


class StrainReport:
    """Gathers the measurements of a study's slices and writes them as one document.

    Slices whose pixels did not come from DICOM images cannot be part of it: a report must refer to its evidence.
    """

    def __init__(self, study: DicomStudy) -> None:
        self._study = study
        self._groups: list[MeasurementsAndQualitativeEvaluations] = []
        self._evidence: list[Dataset] = []
        self._first: TaggedCine | None = None
        self._comments = [study.provenance.disclaimer, *(f"{name}: {_IN_PERCENT[name]}." for name in _TOLD)]

    def add(self, result: SliceResult, source: SourceSeries, quality: SliceQuality | None = None) -> None:
        """Take a slice's measurements, and say how far they can be trusted."""
        self._first = self._first or result.cine
        self._groups.append(_measurement_group(result, source, self._study.provenance))
        self._evidence += self._study.source_images(result.cine, source)
        if quality is not None:
            self._comments.append(f"Slice {result.name}: quality {'; '.join((quality.grade, *quality.reasons))}.")
        self._comments += [f"Slice {result.name}: {warning}." for warning in result.warnings]

    def fail(self, failure: SliceFailure) -> None:
        """Say that a slice was not measured."""
        self._comments.append(f"Slice {failure.name} was not measured: {failure.reason}")

    def warn(self, warning: str) -> None:
        """Say what a reader of all slices together should know."""
        self._comments.append(f"Study: {warning}.")

    def write(self, path: Path) -> None:
        """Write the document; nothing is written without a single slice."""
        if self._first is None:
            return
        provenance = self._study.provenance
        document = Comprehensive3DSR(
            evidence=self._evidence,
            content=self._content(),
            series_instance_uid=self._study.series_uid(self._first, REPORT_SERIES),
            series_number=REPORT_SERIES.number,
            series_description=REPORT_SERIES.description,
            sop_instance_uid=generate_uid(),
            instance_number=1,
            manufacturer=SOFTWARE,
            manufacturer_model_name=self._study.model_name,
            software_versions=provenance.software_version,
            device_serial_number=provenance.software_version,
            is_complete=True,
            coding_schemes=[codes.own_scheme()],
        )
        document.update(self._study.patient_and_study(self._first))
        document.save_as(path, enforce_file_format=True)

    def _content(self) -> Dataset:
        """The tree of content items."""
        report = MeasurementReport(
            observation_context=ObservationContext(observer_device_context=_observer(self._study)),
            procedure_reported=codes.HEART_MRI,
            imaging_measurements=self._groups,
        )
        root: Dataset = report[0]
        root.ContentSequence.extend(
            TextContentItem(codes.COMMENT, text, RelationshipTypeValues.CONTAINS) for text in self._comments
        )
        return root


def _observer(study: DicomStudy) -> ObserverContext:
    """The software that measured; every version of it is a device of its own."""
    version = study.provenance.software_version
    return ObserverContext(
        observer_type=standard.DCM.Device,
        observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
            uid=generate_uid(entropy_srcs=[SOFTWARE, version]),
            name=SOFTWARE,
            manufacturer_name=SOFTWARE,
            model_name=study.model_name,
            serial_number=version,
        ),
    )


def _measurement_group(
    result: SliceResult, source: SourceSeries, provenance: Provenance
) -> MeasurementsAndQualitativeEvaluations:
    """What was measured on one slice (TID 1501), on which images, with what."""
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=generate_uid(), identifier=result.name),
        finding_sites=[
            FindingSite(codes.LEFT_VENTRICLE_MYOCARDIUM, topographical_modifier=codes.LEVELS.get(result.cine.level))
        ],
        algorithm_id=AlgorithmIdentification(
            name=f"{SOFTWARE} {provenance.tracker}",
            version=provenance.software_version,
            parameters=[f"{name} weights {version}" for name, version in provenance.weights.items()] or None,
        ),
        measurements=[
            Measurement(quantity.name, quantity.value, quantity.unit, derivation=quantity.derivation)
            for quantity in slice_quantities(result.strain)
            if quantity.value is not None
        ],
        source_images=[
            SourceImageForMeasurementGroup(image.sop_class_uid, image.sop_instance_uid, frames or None)
            for image, frames in source_instances(source)
        ],
    )
