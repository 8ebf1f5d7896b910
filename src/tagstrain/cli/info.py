"""``tagstrain info``: what a file or folder holds."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tagstrain.cli.exits import ExitCode, finish
from tagstrain.cli.options import PixelSpacingOption
from tagstrain.cli.tables import facts_table
from tagstrain.data import SliceSource, Study, TaggedCine
from tagstrain.errors import TagstrainError
from tagstrain.io import read_study

MAX_SLICES = 50
"""Slices read without ``--all``: enough for any study, and an HDF5 file with a cohort in it answers at once."""


@dataclass(frozen=True, slots=True)
class SliceFacts:
    """What a slice holds, without its pixels."""

    name: str
    level: str
    source: str
    n_frames: int
    n_rows: int
    n_columns: int
    row_spacing_mm: float
    column_spacing_mm: float
    first_time_ms: float
    last_time_ms: float
    ed_frame: int
    has_affine: bool
    warnings: tuple[str, ...]

    @classmethod
    def of(cls, cine: TaggedCine) -> SliceFacts:
        """Describe a cine."""
        n_frames, n_rows, n_columns = cine.frames.shape
        return cls(
            name=cine.name,
            level=cine.level.value,
            source=cine.source,
            n_frames=n_frames,
            n_rows=n_rows,
            n_columns=n_columns,
            row_spacing_mm=cine.pixel_spacing.row_mm,
            column_spacing_mm=cine.pixel_spacing.column_mm,
            first_time_ms=float(cine.frame_times_ms[0]),
            last_time_ms=float(cine.frame_times_ms[-1]),
            ed_frame=cine.ed_frame,
            has_affine=cine.affine is not None,
            warnings=cine.warnings,
        )

    def cells(self) -> tuple[str, ...]:
        """The facts as text."""
        return (
            self.name,
            self.level,
            str(self.n_frames),
            f"{self.n_rows} x {self.n_columns}",
            f"{self.row_spacing_mm:.4g} x {self.column_spacing_mm:.4g}",
            f"{self.first_time_ms:.0f} to {self.last_time_ms:.0f}",
            str(self.ed_frame),
        )


HEADERS = ("Slice", "Level", "Frames", "Rows x columns", "Spacing, row x column (mm)", "Times (ms)", "ED frame")


@dataclass(frozen=True, slots=True)
class SliceProblem:
    """A slice that cannot be read, and why."""

    name: str
    problem: str


def info(
    path: Annotated[Path, typer.Argument(readable=False, help="DICOM file, folder or zip, NIfTI or HDF5 file.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    every_slice: Annotated[
        bool, typer.Option("--all", help=f"Read all slices, not only the first {MAX_SLICES}.")
    ] = False,
    pixel_spacing_mm: PixelSpacingOption = None,
) -> None:
    """Show what a file or folder holds.

    Slices, frames, matrix, spacing and times, and what had to be assumed to read it.
    """
    study = read_study(path, pixel_spacing_mm)
    slices = [_describe(source) for source in islice(study.slices, None if every_slice else MAX_SLICES)]
    facts = [entry for entry in slices if isinstance(entry, SliceFacts)]
    problems = [entry for entry in slices if isinstance(entry, SliceProblem)]
    if as_json:
        content = {
            "study": study.key,
            "format": study.format,
            "n_slices": len(study.slices),
            "slices": [asdict(entry) for entry in facts],
            "unreadable": [asdict(entry) for entry in problems],
            "skipped": list(study.skipped),
        }
        typer.echo(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        _print(study, facts, problems)
    finish(ExitCode.SOME_FAILED if problems else ExitCode.DONE)


def _describe(source: SliceSource) -> SliceFacts | SliceProblem:
    """Read one slice and describe it."""
    try:
        return SliceFacts.of(source.load())
    except (TagstrainError, ValueError) as error:
        return SliceProblem(source.name, str(error))


def _print(study: Study, facts: list[SliceFacts], problems: list[SliceProblem]) -> None:
    """Print a table of the slices, then what is worth knowing about them."""
    console = Console()
    console.print(facts_table(f"{study.key} ({study.format})", HEADERS, [entry.cells() for entry in facts]))
    notes = [f"{entry.name} cannot be read: {entry.problem}" for entry in problems]
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
    for note in notes:
        console.print(f"- {note}", highlight=False, markup=False, soft_wrap=True)
