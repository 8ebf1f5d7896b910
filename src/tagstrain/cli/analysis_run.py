"""Analyzing several studies into one results folder, one slice in memory at a time: `AnalysisRun`."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tagstrain.cli.exits import options_not_input
from tagstrain.cli.run_record import RunRecord, StudyRecord
from tagstrain.cli.tables import SliceTable
from tagstrain.data import SliceFailure, SliceResult, Study
from tagstrain.errors import InputError, OutputError, TagstrainError
from tagstrain.inference.analyze import AnalysisConfig, Models, analyze_slices
from tagstrain.io import atomic_file, atomic_folder, prepare_output, read_study
from tagstrain.io.contours import ANY_SLICE
from tagstrain.quality import Grade, SliceOrder, SliceQuality, assess
from tagstrain.report.exports import ExportFormat, StudyExports
from tagstrain.report.results import StudyWriter

RUN_RECORD = "run.json"
RUN_LOG = "run.log"
N_SKIPPED_TOLD = 3
"""Series and files that were skipped and are named on the screen; the log names all."""

_log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class AnalysisRun:
    """Reads studies, analyzes their slices and writes each study's folder, counting what happens on the way."""

    root: Path
    load_models: Callable[[], Models]
    """Called once, when the first study could be read."""
    config: AnalysisConfig
    record: RunRecord
    pixel_spacing_mm: tuple[float, float] | None
    keep_ids: bool
    figures: bool
    exports: Collection[ExportFormat]
    print_error: Callable[[str], None]
    print_warning: Callable[[str], None]
    progress: Progress
    table: SliceTable = field(default_factory=SliceTable)
    _models: Models | None = None
    # Taken from the start, since a study cannot have the name of a file of the run; names that differ in case only
    # are the same folder on some file systems.
    _taken: set[str] = field(default_factory=lambda: {RUN_RECORD, RUN_LOG})

    def add(self, path: Path, key: str | None = None) -> None:
        """Analyze one input; one that cannot be read is reported, and the next may come.

        Parameters
        ----------
        key
            Names the study's folder in place of the key that the reader gives it.
        """
        outcome = StudyRecord(path.name or path.resolve().name)
        self.record.studies.append(outcome)
        try:
            study = read_study(path, self.pixel_spacing_mm, self.keep_ids)
        except InputError as error:
            outcome.error = str(error)
            _log.error("%s", error)
            self.print_error(str(error))
            return
        self._check_walls(study)
        study = replace(study, key=self._free_key(key or study.key))
        if self._models is None:
            with options_not_input():
                self._models = self.load_models()
            self.record.provenance = self._models.provenance
        _log.info("%s: %s, %d slices", study.key, study.format, len(study.slices))
        for reason in study.skipped:
            _log.info("%s: skipped %s", study.key, reason)
        outcome.folder = study.key
        outcome.skipped = study.skipped
        if study.skipped:
            more = "; and more, see run.log" if len(study.skipped) > N_SKIPPED_TOLD else ""
            told = "; ".join(study.skipped[:N_SKIPPED_TOLD]) + more
            self.print_warning(f"{study.key}: skipped {len(study.skipped)} series or files: {told}")
        self._analyze(study, self._models, outcome)

    def _check_walls(self, study: Study) -> None:
        """Refuse contours for slices that are not there: a name mistyped would place a wall that the user drew."""
        names = [source.name for source in study.slices]
        unknown = sorted(set(self.config.walls or {}) - {ANY_SLICE, *names})
        if unknown:
            raise TagstrainError(
                f"--contours names {', '.join(unknown)}, which {study.key} does not have. "
                f"Its slices are {', '.join(names)}."
            )

    def _analyze(self, study: Study, models: Models, outcome: StudyRecord) -> None:
        """Analyze a study's slices and write its folder."""
        task = self.progress.add_task(study.key, total=len(study.slices))
        source = f"{study.format}: {study.path.name}"
        with (
            atomic_folder(self.root / study.key, overwrite=True, marker="results.json") as folder,
            StudyWriter(folder, study.key, source, models.provenance, study.identity) as writer,
            StudyExports(folder, study, source, models, self.exports) as exports,
        ):
            order = SliceOrder()
            for slice_outcome in analyze_slices(study, models, self.config):
                outcome.n_slices += 1
                if isinstance(slice_outcome, SliceFailure):
                    self.table.fail(study.key, slice_outcome)
                    writer.fail(slice_outcome)
                    exports.fail(slice_outcome)
                    outcome.failures.append(slice_outcome)
                    self.print_error(f"{study.key}, {slice_outcome.name}: {slice_outcome.reason}")
                else:
                    start = perf_counter()
                    quality = assess(
                        slice_outcome,
                        models.tracker,
                        models.placer,
                        models.localizer,
                        weights=models.provenance.weights,
                    )
                    order.add(slice_outcome)
                    assessed = perf_counter()
                    self.table.add(study.key, slice_outcome, quality)
                    self._write(folder, writer, slice_outcome, quality)
                    not_made = exports.add(slice_outcome, quality)
                    for warning in (*slice_outcome.warnings, *_quality_warnings(quality), *not_made):
                        self._warn(f"{study.key}, {slice_outcome.name}: {warning}")
                    own_s = {"quality": assessed - start, "write": perf_counter() - assessed}
                    self.record.times.add({**slice_outcome.timings_s, **own_s})
                self.progress.advance(task)
            for doubt in order.doubts():
                writer.warn(doubt)
                self._warn(f"{study.key}: {doubt}")
        self._write_function(study.key)

    def _write_function(self, key: str) -> None:
        """Write regional function, and with figures the page; without both the results are whole all the same."""
        # Imported here for the same reason as the figures below.
        from tagstrain.report.mechanics_files import write_mechanics
        from tagstrain.report.saved_study import read_saved_study

        folder = self.root / key
        try:
            saved = read_saved_study(folder)
        except InputError as error:
            self._warn(f"{key}: no regional function and no report: {error}")
            return
        write_mechanics(folder, saved)
        if saved.function is not None and saved.function.ventricle is None:
            self._warn(f"{key}: no values of the whole ventricle: {saved.function.ventricle_missing}")
        if self.figures:
            from tagstrain.report.study_page import write_page

            write_page(folder, saved)

    def _warn(self, message: str) -> None:
        """Say a warning on the screen and in the log."""
        _log.warning("%s", message)
        self.print_warning(message)

    def _write(self, folder: Path, writer: StudyWriter, result: SliceResult, quality: SliceQuality) -> None:
        """Write a slice's numbers and pictures."""
        writer.add(result, quality)
        if self.figures:
            # Imported here: matplotlib takes longer to load than a run without figures should wait.
            from tagstrain.report.animation import write_animation
            from tagstrain.report.figures import write_summary_figure

            write_animation(folder / f"{result.name}.gif", result)
            write_summary_figure(folder / f"{result.name}.png", result)

    def _free_key(self, key: str) -> str:
        """The key, with a number where another study of this run has it already."""
        candidate, number = key, 1
        while candidate.casefold() in self._taken:
            number += 1
            candidate = f"{key}_{number}"
        self._taken.add(candidate.casefold())
        return candidate


def _quality_warnings(quality: SliceQuality) -> Iterator[str]:
    """Why a slice is not good."""
    if quality.grade is not Grade.GOOD:
        yield f"quality {quality.grade}: {'; '.join(quality.reasons)}"


@contextmanager
def results_folder(output: Path, overwrite: bool) -> Iterator[Path]:
    """Folder to write a run into: a temporary one that becomes ``output``, or ``output`` itself to replace parts of it.

    Raises
    ------
    OutputError
        Before any work, if ``output`` holds something that must not be replaced or cannot be written to; also for
        whatever the disk refuses during the work.
    """
    try:
        if overwrite and output.is_dir() and any(output.iterdir()):
            prepare_output(output, overwrite, marker=RUN_RECORD)
            if not os.access(output, os.W_OK | os.X_OK):
                raise OutputError(f"{output}: is not writable. Choose another output or change the permissions")
            yield output
        else:
            with atomic_folder(output) as folder:
                yield folder
    except OSError as error:
        raise OutputError(f"{output}: cannot be written ({error.strerror or error})") from error


@contextmanager
def log_file(path: Path) -> Iterator[None]:
    """Copy what the package logs to a file that is kept if the run ends well."""
    logger = logging.getLogger("tagstrain")
    level = logger.level
    with atomic_file(path, overwrite=True) as temporary:
        handler = logging.FileHandler(temporary, encoding="utf-8")
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        try:
            yield
        finally:
            logger.setLevel(level)
            logger.removeHandler(handler)
            handler.close()


def progress_bar(quiet: bool) -> Progress:
    """Progress by slice on stderr, gone when done; nothing where nobody watches."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal)


def written_files(output: Path, folders: Sequence[str]) -> list[str]:
    """Names of the files of this run, relative to ``output``."""
    names = [name for name in (RUN_RECORD, RUN_LOG) if (output / name).exists()]
    for folder in folders:
        names += sorted(f"{folder}/{file.name}" for file in (output / folder).iterdir())
    return names
