"""What an ``analyze`` run did, as it stands in ``run.json``: `RunRecord`, `StudyRecord`, `StageTimes`."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter
from typing import Any

import tagstrain
from tagstrain.cli.exits import ExitCode
from tagstrain.data import Provenance, SliceFailure
from tagstrain.data.results import NOT_FOR_DIAGNOSIS
from tagstrain.io.atomic import write_durably

STAGES = ("read", "localize", "place", "track", "strain", "insertion", "quality", "write")
"""Stages of the pipeline in their order, as timed for every slice."""

RECORDED_PACKAGES = ("numpy", "scipy", "h5py", "pydicom", "nibabel", "torch", "matplotlib", "pillow")


class StudyStatus(StrEnum):
    """How the analysis of one study went."""

    DONE = "done"
    SOME_SLICES_FAILED = "some slices failed"
    ALL_SLICES_FAILED = "all slices failed"
    UNREADABLE = "unreadable"
    INTERNAL_ERROR = "internal error"
    """A mistake in the program, or a machine that gave out; nothing of the study is written."""


@dataclass(slots=True)
class StudyRecord:
    """Outcome of one input, filled while it is analysed."""

    input: str
    """Name of the file or folder; its parents are left out, since they can carry a patient's name."""
    input_index: int = 0
    """Which INPUT of the command line it was or lay in, counted from 0."""
    input_sha256: str | None = None
    """See `tagstrain.io.fingerprint.input_sha256`: inputs of different folders can have one name."""
    folder: str | None = None
    """Folder of its results in OUT; None where it could not be read."""
    error: str | None = None
    is_internal_error: bool = False
    """Whether the input is not to blame for it."""
    n_slices: int = 0
    failures: list[SliceFailure] = field(default_factory=list)
    skipped: tuple[str, ...] = ()

    @property
    def status(self) -> StudyStatus:
        """How it went."""
        if self.error is not None:
            return StudyStatus.INTERNAL_ERROR if self.is_internal_error else StudyStatus.UNREADABLE
        if not self.failures:
            return StudyStatus.DONE
        return StudyStatus.ALL_SLICES_FAILED if len(self.failures) == self.n_slices else StudyStatus.SOME_SLICES_FAILED

    def done_as(self, told: Mapping[str, Any]) -> StudyRecord:
        """The same input, analyzed without failures by an earlier run, whose ``run.json`` tells so."""
        return replace(self, folder=told["folder"], n_slices=told["n_slices"], skipped=tuple(told["skipped"]))


@dataclass(slots=True)
class StageTimes:
    """Wall time by stage, summed over the slices that went through it."""

    total_s: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    n_slices: int = 0

    def add(self, timings_s: Mapping[str, float]) -> None:
        """Count one slice."""
        self.extend(StageTimes(dict(timings_s), 1))

    def extend(self, other: StageTimes) -> None:
        """Count the slices of others."""
        self.n_slices += other.n_slices
        for stage, seconds in other.total_s.items():
            self.total_s[stage] = self.total_s.get(stage, 0.0) + seconds

    def mean_s(self) -> dict[str, float]:
        """Mean wall time per slice [s] by stage; empty where no slice was analysed."""
        return {stage: total / self.n_slices for stage, total in self.total_s.items()} if self.n_slices else {}


@dataclass(slots=True)
class RunRecord:
    """One run of ``analyze``: what was asked, with which software, and how every study went."""

    command: list[str]
    settings: Mapping[str, Any]
    n_studies: int = 1
    """How many there are to analyze."""
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    provenance: Provenance | None = None
    studies: list[StudyRecord] = field(default_factory=list)
    earlier_studies: list[dict[str, Any]] = field(default_factory=list)
    """Studies of earlier runs as ``run.json`` told of them; those that this run replaced are left out in writing."""
    times: StageTimes = field(default_factory=StageTimes)
    _start_s: float = field(default_factory=perf_counter)

    @property
    def exit_code(self) -> ExitCode:
        """Unreadable if nothing could be read, an error if the program failed the rest, else whether all is done."""
        statuses = {study.status for study in self.studies}
        if statuses <= {StudyStatus.UNREADABLE}:
            return ExitCode.UNREADABLE
        if statuses <= {StudyStatus.UNREADABLE, StudyStatus.INTERNAL_ERROR}:
            return ExitCode.ERROR
        return ExitCode.DONE if statuses == {StudyStatus.DONE} else ExitCode.SOME_FAILED

    @property
    def n_done(self) -> int:
        """How many studies are done."""
        return sum(study.status is StudyStatus.DONE for study in self.studies)

    def write(self, path: Path, exit_code: ExitCode | None = None) -> None:
        """Write the record as JSON, in place of an earlier one; without an exit code the run is still going on."""
        written = {study.folder for study in self.studies}
        content = {
            "software": "tagstrain",
            "software_version": tagstrain.__version__,
            "disclaimer": NOT_FOR_DIAGNOSIS,
            "command": self.command,
            "started": self.started.isoformat(timespec="seconds"),
            "duration_s": round(perf_counter() - self._start_s, 3),
            "exit_code": None if exit_code is None else int(exit_code),
            "settings": dict(self.settings),
            "provenance": None if self.provenance is None else provenance_json(self.provenance),
            "versions": {"python": platform.python_version(), **_package_versions()},
            "n_studies": self.n_studies,
            "studies": [_study_json(study) for study in self.studies],
            "earlier_studies": [study for study in self.earlier_studies if study["folder"] not in written],
            "n_slices_analyzed": self.times.n_slices,
            "mean_time_per_slice_s": {stage: round(seconds, 4) for stage, seconds in self.times.mean_s().items()},
        }
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        # Names of files may be of bytes that are no UTF-8.
        write_durably(path, text.encode("utf-8", "backslashreplace"))


def _study_json(study: StudyRecord) -> dict[str, Any]:
    """A study's outcome as JSON."""
    return {
        "input": study.input,
        "input_index": study.input_index,
        "input_sha256": study.input_sha256,
        "status": study.status.value,
        "folder": study.folder,
        "error": study.error,
        "n_slices": study.n_slices,
        "n_failed": len(study.failures),
        "failures": [{"slice": failure.name, "reason": failure.reason} for failure in study.failures],
        "skipped": list(study.skipped),
    }


def provenance_json(provenance: Provenance) -> dict[str, Any]:
    """Provenance as JSON; its mappings may be of any kind."""
    mappings = {"weights": dict(provenance.weights), "preprocessing": dict(provenance.preprocessing)}
    return {**asdict(provenance), **mappings}


@cache
def _package_versions() -> dict[str, str]:
    """Versions of the packages that numbers depend on."""
    versions = {}
    for name in RECORDED_PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:  # an unpinned, partial install: what is not there cannot have mattered
            continue
    return versions
