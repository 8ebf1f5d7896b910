"""Analyzing several studies into one results folder, one slice in memory at a time: `AnalysisRun`."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from time import perf_counter

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from tagstrain.cli.earlier_run import EarlierRun, is_done, is_from
from tagstrain.cli.exits import CommandExit, ExitCode, code_of_interruption, options_not_input
from tagstrain.cli.results_folder import RUN_LOG
from tagstrain.cli.run_record import RunRecord, StageTimes, StudyRecord
from tagstrain.cli.tables import SliceTable
from tagstrain.data import SliceFailure, SliceResult, Study
from tagstrain.errors import InputError, OutputError, TagstrainError
from tagstrain.inference.analyze import AnalysisConfig, Models, analyze_slices, check_walls
from tagstrain.io import atomic_folder, read_study
from tagstrain.io.fingerprint import input_sha256
from tagstrain.io.input_folder import RUN_RECORD
from tagstrain.io.shown_names import given_name, printable
from tagstrain.quality import Grade, SliceOrder, SliceQuality, assess
from tagstrain.report.exports import ExportFormat, StudyExports
from tagstrain.report.results import StudyWriter

N_SKIPPED_TOLD = 3
"""Series and files that were skipped and are named on the screen; the log names all."""

QUICK_TO_SAVE_S = 0.05
SAVING_PAUSE = 20.0
"""Between two times that ``run.json`` is written, over the time that writing takes: of 100 000 studies it is 40 MB."""

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
    earlier: EarlierRun = field(default_factory=EarlierRun)
    """What stands in ``root`` already."""
    resume: bool = False
    """Leave what is done as it is; otherwise it is replaced."""
    table: SliceTable = field(default_factory=SliceTable)
    _saved_at_s: float = 0.0
    _saving_s: float = 0.0
    """How long ``run.json`` took to write."""
    _models: Models | None = None
    _are_models_broken: bool = False
    """Whether loading them failed: the next study would fare no better."""
    # Taken from the start, since a study cannot have the name of a file of the run; names that differ in case only
    # are the same folder on some file systems.
    _taken: set[str] = field(default_factory=lambda: {RUN_RECORD, RUN_LOG})

    def add_all(self, inputs: Sequence[tuple[int, Path]]) -> None:
        """Analyze inputs, each with its index on the command line; ``run.json`` says at any time how far it has come.

        Raises
        ------
        CommandExit
            If nothing could be read, or the run was interrupted, once that was said.
        OutputError
            If the run cannot go on from the earlier one.
        """
        try:
            if not (self.root / RUN_RECORD).exists():  # from here on the folder is known as ours
                self.record.write(self.root / RUN_RECORD)
            waiting = self._waiting(inputs)
            n_studies = self.record.n_studies
            cohort = self.progress.add_task("studies", total=n_studies, completed=n_studies - len(waiting))
            self.progress.update(cohort, visible=n_studies > 1)
            for path, outcome, folder in waiting:
                try:
                    self._add(path, outcome, partial(self._folder_for, folder))
                    if folder is not None and outcome.folder not in (None, folder):
                        self._remove(folder, outcome)
                except (TagstrainError, OSError):
                    raise
                except Exception as error:  # a mistake in the program must not stop the studies beside this one
                    if self.record.n_studies == 1 or self._are_models_broken:
                        raise
                    self._fail(outcome, error)
                self._save()
                self.progress.advance(cohort)
            if self.record.exit_code is ExitCode.UNREADABLE:
                raise CommandExit(ExitCode.UNREADABLE)
            self._save(self.record.exit_code)
        except CommandExit:
            raise
        except KeyboardInterrupt as interruption:
            code = code_of_interruption(interruption)
            self._stop_early(code, f"Interrupted: {self._how_far()}")
            raise CommandExit(code) from None
        except BaseException:
            if self.record.studies:
                self._stop_early(ExitCode.ERROR, self._how_far())
            raise

    def _remove(self, folder: str, outcome: StudyRecord) -> None:
        """Take away the results that were replaced under another name, which may be the patient's ID, and say so."""
        try:
            shutil.rmtree(self.root / folder)
        except OSError as error:
            self.print_error(f"{outcome.folder}: the results that it replaces cannot be removed ({error.strerror})")
            return
        self.record.earlier_studies = [study for study in self.record.earlier_studies if study["folder"] != folder]
        self._warn(f"{outcome.folder}: replaces results of another name, which were removed; {RUN_LOG} still has it")

    def _fail(self, outcome: StudyRecord, error: Exception) -> None:
        """Say and record that the program failed a study."""
        _log.exception("%s: internal error", outcome.input)
        outcome.error = f"internal error ({type(error).__name__}); {RUN_LOG} says where"
        outcome.is_internal_error, outcome.folder = True, None
        self.print_error(f"{outcome.input}: {outcome.error}")
        self.record.studies.append(outcome)

    def _how_far(self) -> str:
        """How many studies are done, in words."""
        return f"{self.record.n_done} of {self.record.n_studies} studies are done; run again with --resume to go on"

    def _stop_early(self, code: ExitCode, message: str) -> None:
        """Say and record that the run ends before all was tried."""
        _log.warning("%s", message)
        self.print_error(message)
        with suppress(OSError, OutputError):  # a full disk may be why; the record of the last study stands then
            self._save(code)

    def _save(self, exit_code: ExitCode | None = None) -> None:
        """Write ``run.json``, but never in place of an earlier run's as long as nothing could be read.

        While the run goes on, a large record waits for its turn; what a killed run did not record is analyzed again.
        """
        if self.record.exit_code is ExitCode.UNREADABLE:
            return
        start = perf_counter()
        is_its_turn = self._saving_s < QUICK_TO_SAVE_S or start - self._saved_at_s > SAVING_PAUSE * self._saving_s
        if exit_code is not None or is_its_turn:
            self.record.write(self.root / RUN_RECORD, exit_code)
            self._saved_at_s = perf_counter()
            self._saving_s = self._saved_at_s - start

    def _waiting(self, inputs: Sequence[tuple[int, Path]]) -> list[tuple[Path, StudyRecord, str | None]]:
        """Inputs that are to be analyzed, each with the folder of the earlier results that it replaces."""
        paths = [path for _, path in inputs]
        outcomes = [StudyRecord(_name(path), index) for index, path in inputs]
        if not self.earlier.studies:
            return [(path, outcome, None) for path, outcome in zip(paths, outcomes, strict=True)]
        self._compare_settings()
        self.record.earlier_studies = list(self.earlier.studies)
        self._taken |= {study["folder"].casefold() for study in self.earlier.studies}
        for path, outcome in zip(paths, outcomes, strict=True):
            outcome.input_sha256 = input_sha256(path)
        waiting: list[tuple[Path, StudyRecord, str | None]] = []
        for path, outcome, study in zip(paths, outcomes, self.earlier.results_of(outcomes), strict=True):
            stays = study is not None and self.resume and is_done(study)
            if study is not None and stays and is_from(study, outcome):
                self.record.studies.append(outcome.done_as(study))
            elif study is None or stays:
                waiting.append((path, outcome, None))
            else:
                waiting.append((path, outcome, study["folder"]))
                if study.get("input_sha256") is not None and not is_from(study, outcome):
                    self._warn(f"{outcome.input}: is not the same as when {study['folder']} was made from it")
        if self.record.studies:
            self._warn(f"{self.record.n_done} of {self.record.n_studies} studies are done already and stay as they are")
        return waiting

    def _compare_settings(self) -> None:
        """Refuse to go on from a run of other settings, and remember where results of several stand side by side."""
        self._loaded_models()
        differences = self.earlier.differences(self.record)
        if differences and self.resume:
            raise OutputError(
                f"{self.root}: was made with other settings ({'; '.join(differences)}). "
                "Give the same ones, replace the results with --overwrite, or choose another output"
            )
        if differences:
            self.earlier.mark_other_settings()

    def _loaded_models(self) -> Models:
        """The models, loaded when they are first asked for."""
        if self._models is None:
            self._are_models_broken = True
            with options_not_input():
                self._models = self.load_models()
            self._are_models_broken = False
            self.record.provenance = self._models.provenance
        return self._models

    def add(self, path: Path, key: str) -> None:
        """Analyze one input into the folder with that key; one that cannot be read is reported."""
        self._add(path, StudyRecord(_name(path)), lambda _: key)

    def _add(self, path: Path, outcome: StudyRecord, folder_for: Callable[[str], str]) -> None:
        """Analyze one input into a folder that may depend on the key that the reader gives."""
        if outcome.input_sha256 is None:
            outcome.input_sha256 = input_sha256(path)
        try:
            study = read_study(path, self.pixel_spacing_mm, self.keep_ids)
        except InputError as error:
            outcome.error = str(error)
            _log.error("%s", error)
            self.print_error(str(error))
            self.record.studies.append(outcome)
            return
        check_walls(study, self.config)
        study = replace(study, key=folder_for(study.key))
        models = self._loaded_models()
        _log.info("%s: %s, %d slices", study.key, study.format, len(study.slices))
        for reason in study.skipped:
            _log.info("%s: skipped %s", study.key, reason)
        outcome.folder = study.key
        outcome.skipped = study.skipped
        if study.skipped:
            more = "; and more, see run.log" if len(study.skipped) > N_SKIPPED_TOLD else ""
            told = "; ".join(study.skipped[:N_SKIPPED_TOLD]) + more
            self.print_warning(f"{study.key}: skipped {len(study.skipped)} series or files: {told}")
        self._analyze(study, models, outcome)
        self.record.studies.append(outcome)

    def _analyze(self, study: Study, models: Models, outcome: StudyRecord) -> None:
        """Analyze a study and write its folder."""
        table, times = SliceTable(), StageTimes()
        with atomic_folder(self.root / study.key, overwrite=True, marker="results.json") as folder:
            self._write_slices(folder, study, models, outcome, table, times)
            self._write_function(folder, study.key)
        # Of what could not be kept, nothing is told as measured.
        self.table.extend(table)
        self.record.times.extend(times)

    def _write_slices(
        self, folder: Path, study: Study, models: Models, outcome: StudyRecord, table: SliceTable, times: StageTimes
    ) -> None:
        """Analyze a study's slices, write their results and tell ``table`` and ``times`` of them."""
        source = f"{study.format}: {printable(study.path.name)}"
        with (
            self._shown_while(study) as task,
            StudyWriter(folder, study.key, source, models.provenance, study.identity) as writer,
            StudyExports(folder, study, source, models, self.exports) as exports,
        ):
            order = SliceOrder()
            for slice_outcome in analyze_slices(study, models, self.config):
                outcome.n_slices += 1
                if isinstance(slice_outcome, SliceFailure):
                    table.fail(study.key, slice_outcome)
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
                    if quality.grade is not Grade.REJECT:  # how tissue turns that was not followed says nothing
                        order.add(slice_outcome)
                    assessed = perf_counter()
                    table.add(study.key, slice_outcome, quality)
                    self._write(folder, writer, slice_outcome, quality)
                    not_made = exports.add(slice_outcome, quality)
                    for warning in (*slice_outcome.warnings, *_quality_warnings(quality), *not_made):
                        self._warn(f"{study.key}, {slice_outcome.name}: {warning}")
                    own_s = {"quality": assessed - start, "write": perf_counter() - assessed}
                    times.add({**slice_outcome.timings_s, **own_s})
                self.progress.advance(task)
            for doubt in order.doubts():
                writer.warn(doubt)
                exports.warn(doubt)
                self._warn(f"{study.key}: {doubt}")

    @contextmanager
    def _shown_while(self, study: Study) -> Iterator[TaskID]:
        """The progress of a study, which is gone with it: a cohort has more than a screen has lines."""
        task = self.progress.add_task(study.key, total=len(study.slices))
        try:
            yield task
        finally:
            self.progress.remove_task(task)

    def _write_function(self, folder: Path, key: str) -> None:
        """Write regional function, and with figures the page; without both the results are whole all the same."""
        # Imported here for the same reason as the figures below.
        from tagstrain.report.mechanics_files import write_mechanics
        from tagstrain.report.saved_study import read_saved_study

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
            write_summary_figure(folder / f"{result.name}.png", result, quality)

    def _folder_for(self, earlier: str | None, key: str) -> str:
        """The folder of earlier results, unless its name is not from the key: it may be an ID that is left out now."""
        if earlier is not None and re.fullmatch(re.escape(key) + r"(_\d+)?", earlier):
            return earlier
        return self._free_key(key)

    def _free_key(self, key: str) -> str:
        """The key, with a number where another study of this run has it already."""
        candidate, number = key, 1
        while candidate.casefold() in self._taken:
            number += 1
            candidate = f"{key}_{number}"
        self._taken.add(candidate.casefold())
        return candidate


def _name(path: Path) -> str:
    """Name of an input, also of the current folder; bytes in it that are no UTF-8 are spelled out."""
    return printable(given_name(path))


def _quality_warnings(quality: SliceQuality) -> Iterator[str]:
    """Why a slice is not good."""
    if quality.grade is not Grade.GOOD:
        yield f"quality {quality.grade}: {'; '.join(quality.reasons)}"


def progress_bar(quiet: bool) -> Progress:
    """Progress by slice on stderr, gone when done; nothing where nobody watches."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal)
