"""``tagstrain info``: what a file or folder holds."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from tagstrain.cli.exits import ExitCode, finish
from tagstrain.cli.options import KeepIdsOption, PixelSpacingOption
from tagstrain.cli.slice_facts import HEADERS, SliceFacts, SliceProblem, describe_slice
from tagstrain.cli.tables import facts_table
from tagstrain.data import Study
from tagstrain.errors import TagstrainError
from tagstrain.io import read_study
from tagstrain.io.shown_names import given_name
from tagstrain.io.study import FoundStudies, find_studies
from tagstrain.report.results_json import patient_record

MAX_ENTRIES = 50
"""Slices, or studies of a cohort, read without ``--all``: enough for any study, and a large cohort answers at once."""


def info(
    path: Annotated[
        Path,
        typer.Argument(
            readable=False, help="DICOM file, folder or zip, NIfTI, HDF5 or npz file, folder of zips or studies."
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    everything: Annotated[
        bool, typer.Option("--all", help=f"Read all slices or studies, not only the first {MAX_ENTRIES}.")
    ] = False,
    pixel_spacing_mm: PixelSpacingOption = None,
    keep_ids: KeepIdsOption = False,
) -> None:
    """Show what a file or folder holds.

    Slices, frames, matrix, spacing, times and tags as measured in the first frame, what had to be assumed to read
    them, and what was skipped. A folder of zips or studies is listed study by study.
    """
    found = find_studies(path)
    limit = None if everything else MAX_ENTRIES
    if found.paths != (path,):
        finish(_show_cohort(path, found, limit, as_json, pixel_spacing_mm, keep_ids))
        return
    finish(_show_study(read_study(path, pixel_spacing_mm, keep_ids), limit, as_json))


def _show_study(study: Study, limit: int | None, as_json: bool) -> ExitCode:
    """Read the slices of a study and print what they are."""
    slices = [describe_slice(source) for source in islice(study.slices, limit)]
    facts = [entry for entry in slices if isinstance(entry, SliceFacts)]
    problems = [entry for entry in slices if isinstance(entry, SliceProblem)]
    if as_json:
        _print_json(
            {
                "study": study.key,
                **({} if study.identity is None else {"patient": patient_record(study.identity)}),
                "format": study.format,
                "n_series": _n_series(facts),
                "n_slices": len(study.slices),
                "slices": [_slice_record(entry, study) for entry in facts],
                "unreadable": [asdict(entry) for entry in problems],
                "skipped": list(study.skipped),
            }
        )
    else:
        _print_study(study, facts, problems)
    return ExitCode.SOME_FAILED if problems else ExitCode.DONE


def _n_series(facts: list[SliceFacts]) -> int | None:
    """Count the series that the slices come from; None for formats that know no series."""
    return len({entry.series_uid for entry in facts if entry.series_uid}) or None


def _slice_record(entry: SliceFacts, study: Study) -> dict[str, Any]:
    """A slice as JSON; its series' identifier only where the study's identity is kept."""
    record = asdict(entry)
    if study.identity is None:
        del record["series_uid"]
    return record


def _print_study(study: Study, facts: list[SliceFacts], problems: list[SliceProblem]) -> None:
    """Print a table of the slices, then what is worth knowing about them."""
    console = Console()
    n_series = _n_series(facts)
    title = f"{study.key} ({study.format}{'' if n_series is None else f', {n_series} series'})"
    console.print(facts_table(title, HEADERS, [entry.cells() for entry in facts]))
    notes = [] if study.identity is None else [f"{k}: {v}" for k, v in patient_record(study.identity).items()]
    notes += [f"{entry.name} cannot be read: {entry.problem}" for entry in problems]
    assumed: dict[str, list[str]] = {}
    for entry in facts:
        for warning in entry.warnings:
            assumed.setdefault(warning, []).append(entry.name)
    for warning, names in assumed.items():
        where = ", ".join(names) if len(names) <= 3 else f"{len(names)} slices"
        notes.append(f"{where}: {warning}")
    notes += [f"Skipped: {reason}" for reason in study.skipped]
    n_more = len(study.slices) - len(facts) - len(problems)
    if n_more:
        notes.append(f"{n_more} more slices; read them with --all")
    _print_notes(console, notes)


@dataclass(frozen=True, slots=True)
class StudyFacts:
    """What one study of a cohort holds, by its headers alone."""

    input: str
    study: str | None = None
    n_slices: int = 0
    slices: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    error: str | None = None
    """Why it cannot be read."""


def _show_cohort(
    path: Path,
    found: FoundStudies,
    limit: int | None,
    as_json: bool,
    pixel_spacing_mm: tuple[float, float] | None,
    keep_ids: bool,
) -> ExitCode:
    """Read the headers of every study and print what they are."""
    studies = [_describe_study(entry, pixel_spacing_mm, keep_ids) for entry in islice(found.paths, limit)]
    if as_json:
        _print_json(
            {
                "folder": given_name(path),
                "n_studies": len(found.paths),
                "studies": [asdict(entry) for entry in studies],
                "skipped": [found.note] if found.note else [],
            }
        )
    else:
        _print_cohort(path, found, studies)
    n_unreadable = sum(entry.error is not None for entry in studies)
    if n_unreadable == len(studies):
        return ExitCode.UNREADABLE
    return ExitCode.SOME_FAILED if n_unreadable else ExitCode.DONE


def _describe_study(path: Path, pixel_spacing_mm: tuple[float, float] | None, keep_ids: bool) -> StudyFacts:
    """Read the headers of one study."""
    try:
        study = read_study(path, pixel_spacing_mm, keep_ids)
    except TagstrainError as error:
        return StudyFacts(path.name, error=str(error))
    names = tuple(source.name for source in study.slices)
    return StudyFacts(path.name, study.key, len(names), names, study.skipped)


def _print_cohort(path: Path, found: FoundStudies, studies: list[StudyFacts]) -> None:
    """Print a table of the studies, then what is worth knowing about them."""
    console = Console()
    rows = [(entry.study or entry.input, str(entry.n_slices), ", ".join(entry.slices)) for entry in studies]
    title = f"{given_name(path)} ({len(found.paths)} studies)"
    console.print(facts_table(title, ("Study", "Slices", "Names"), rows))
    notes = [f"{entry.input} cannot be read: {entry.error}" for entry in studies if entry.error is not None]
    notes += [f"{entry.input}: skipped {reason}" for entry in studies for reason in entry.skipped]
    notes += [found.note] if found.note else []
    n_more = len(found.paths) - len(studies)
    if n_more:
        notes.append(f"{n_more} more studies; read them with --all")
    _print_notes(console, notes)


def _print_notes(console: Console, notes: list[str]) -> None:
    """Print one line per note."""
    for note in notes:
        console.print(f"- {note}", highlight=False, markup=False, soft_wrap=True)


def _print_json(content: dict[str, Any]) -> None:
    """Print JSON that every parser reads."""
    typer.echo(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False))
