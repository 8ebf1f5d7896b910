"""One study's result files, written slice by slice: `StudyWriter`."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from tagstrain.data import ArchiveIdentity, Provenance, SliceFailure, SliceResult
from tagstrain.quality import SliceQuality
from tagstrain.report.results_hdf5 import ResultsHdf5
from tagstrain.report.results_json import ResultsJson
from tagstrain.report.strain_csv import StrainCsv


class StudyWriter:
    """Writes ``results.json``, ``strain.csv`` and ``results.h5`` of one study into a folder that exists.

    Memory does not grow with the number of slices. Give every slice of the study, in input order, to `add` or to
    `fail`: row ``k`` of ``results.h5`` is slice ``k`` either way. The files are complete once the writer is closed.

    Parameters
    ----------
    folder
        Where to write; files of those names are replaced.
    key
        Names the study in the files.
    source
        What was read: format and file name.
    provenance
        What makes the results.
    identity
        Patient and study, which ``results.json`` then names; None where results are to be de-identified.
    """

    def __init__(
        self, folder: Path, key: str, source: str, provenance: Provenance, identity: ArchiveIdentity | None = None
    ) -> None:
        self._files = ExitStack()
        try:
            self._json = ResultsJson(folder / "results.json", key, source, provenance, identity)
            self._files.callback(self._json.close)
            self._csv = StrainCsv(folder / "strain.csv", key)
            self._files.callback(self._csv.close)
            self._hdf5 = ResultsHdf5(folder / "results.h5", key, source, provenance)
            self._files.callback(self._hdf5.close)
        except BaseException:
            self._files.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def add(self, result: SliceResult, quality: SliceQuality | None = None) -> None:
        """Write a slice's results, and how far they can be trusted where that was assessed."""
        self._hdf5.add(result, quality)
        self._json.add(result, quality)
        self._csv.add(result, quality)

    def warn(self, warning: str) -> None:
        """Write a warning about the study as a whole."""
        self._json.warn(warning)

    def fail(self, failure: SliceFailure) -> None:
        """Write that a slice could not be analyzed, and why."""
        self._hdf5.fail(failure.name, failure.reason)
        self._json.fail(failure)

    def close(self) -> None:
        """Finish all files; a second call does nothing."""
        self._files.close()
