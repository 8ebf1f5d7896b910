"""Further formats of a study's results, written beside them slice by slice when asked for: `StudyExports`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import ExitStack
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from tagstrain.data import SliceFailure, SliceResult, Study
from tagstrain.errors import TagstrainError
from tagstrain.inference.models import Models
from tagstrain.quality import SliceQuality


class ExportFormat(StrEnum):
    """Formats that can be asked for by name."""

    DICOM = "dicom"
    NIFTI = "nifti"
    PARQUET = "parquet"


def require_export_packages(formats: Collection[ExportFormat]) -> None:
    """Check that what the formats need is installed, before the work that leads to them begins.

    Raises
    ------
    TagstrainError
        If a package is missing.
    """
    if ExportFormat.DICOM in formats and find_spec("highdicom") is None:
        raise TagstrainError("--export dicom needs the package highdicom. Install it: pip install 'tagstrain[dicom]'.")


class ExportWriter(Protocol):
    """Writes one format; gets every slice of a study, in input order, and holds none."""

    def add(self, result: SliceResult, quality: SliceQuality | None = None) -> Sequence[str]:
        """Write a slice, and its quality where the format has a place for it.

        Returns
        -------
            What could not be made, in words.
        """
        ...

    def fail(self, failure: SliceFailure) -> None:
        """Take note of a slice that could not be analyzed."""
        ...

    def warn(self, warning: str) -> None:
        """Take note of a warning about the study as a whole."""
        ...

    def close(self) -> None:
        """Finish the files."""
        ...


class StudyExports:
    """Writes ``dicom/``, ``nifti/`` and ``strain.parquet`` of one study into its folder, as far as asked for.

    Parameters
    ----------
    folder
        The study's, which exists.
    source
        What was read: format and file name.
    models
        What the slices were analyzed with.
    """

    def __init__(
        self, folder: Path, study: Study, source: str, models: Models, formats: Collection[ExportFormat]
    ) -> None:
        self._files = ExitStack()
        self._writers: list[ExportWriter] = []
        try:
            for form in sorted(set(formats)):
                writer = _open(form, folder, study, source, models)
                self._files.callback(writer.close)
                self._writers.append(writer)
        except BaseException:
            self._files.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._files.close()

    def add(self, result: SliceResult, quality: SliceQuality | None = None) -> list[str]:
        """Write a slice in every format; returns what could not be made, in words."""
        return [warning for writer in self._writers for warning in writer.add(result, quality)]

    def fail(self, failure: SliceFailure) -> None:
        """Take note of a slice that could not be analyzed."""
        for writer in self._writers:
            writer.fail(failure)

    def warn(self, warning: str) -> None:
        """Take note of a warning about the study as a whole."""
        for writer in self._writers:
            writer.warn(warning)


def _open(form: ExportFormat, folder: Path, study: Study, source: str, models: Models) -> ExportWriter:
    """The writer of a format; what it needs is loaded only where it is asked for."""
    if form is ExportFormat.DICOM:
        from tagstrain.report.dicom_study import DicomStudy
        from tagstrain.report.results_dicom import ResultsDicom

        return ResultsDicom(folder / "dicom", DicomStudy(study.key, models.provenance, study.identity))
    if form is ExportFormat.NIFTI:
        from tagstrain.report.nifti_maps import NiftiMaps

        return NiftiMaps(folder / "nifti", models.tracker, models.provenance)
    from tagstrain.report.strain_parquet import StrainParquet

    return StrainParquet(folder / "strain.parquet", study.key, source, models.provenance)
