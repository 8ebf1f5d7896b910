"""A study's results as DICOM objects beside its result files: `ResultsDicom`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tagstrain.data import SliceFailure, SliceResult
from tagstrain.quality import SliceQuality
from tagstrain.report.dicom_movie import write_movie
from tagstrain.report.dicom_report import StrainReport
from tagstrain.report.dicom_segmentation import write_segmentation
from tagstrain.report.dicom_study import DicomStudy, referable_source


class ResultsDicom:
    """Writes ``strain_report.dcm``, and per slice ``<slice>_movie.dcm`` and ``<slice>_segmentation.dcm``.

    Report and segmentation refer to the images they were made from; a slice that has none, as one from another format,
    gets the movie alone.
    """

    def __init__(self, folder: Path, study: DicomStudy) -> None:
        folder.mkdir()
        self._folder = folder
        self._study = study
        self._report = StrainReport(study)
        self._n_slices = 0

    def add(self, result: SliceResult, quality: SliceQuality | None = None) -> list[str]:
        """Write a slice; returns what could not be made, in words."""
        self._n_slices += 1
        source = referable_source(result.cine)
        result = replace(result, cine=replace(result.cine, source_series=source))
        write_movie(self._folder / f"{result.name}_movie.dcm", result, self._study, self._n_slices)
        if source is None:
            return ["Of DICOM only the movie was written: there are no DICOM images with valid identifiers to refer to"]
        self._report.add(result, source, quality)
        if source.frame_of_reference_uid is None or result.cine.affine is None:
            return ["No DICOM segmentation was written: the images do not say where they lie"]
        path = self._folder / f"{result.name}_segmentation.dcm"
        write_segmentation(path, result, self._study, self._n_slices)
        return []

    def fail(self, failure: SliceFailure) -> None:
        """Note that a slice could not be analyzed."""
        self._report.fail(failure)

    def warn(self, warning: str) -> None:
        """Note what concerns the study as a whole."""
        self._report.warn(warning)

    def close(self) -> None:
        """Write the report, which holds all slices."""
        self._report.write(self._folder / "strain_report.dcm")
