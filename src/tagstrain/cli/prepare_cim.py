"""``tagstrain prepare-cim``: CIM analysis folders and their DICOM images to a training file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from tagstrain.cli.analysis_run import progress_bar
from tagstrain.cli.exits import ExitCode, finish
from tagstrain.cli.messages import print_error
from tagstrain.io.cim_training import CimSummary, SkipReason, write_cim_training_file


def prepare_cim(
    cim_folder: Annotated[
        Path, typer.Argument(metavar="CIM_DIR", readable=False, help="Folder with cases of CIM_TAG_2D version 6.")
    ],
    image_folder: Annotated[
        Path, typer.Argument(metavar="DICOM_DIR", readable=False, help="What IMAGEPATH in their pointer files means.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE.h5", help="Training file to write.")],
    case_names: Annotated[
        bool, typer.Option("--case-names", help="Store case, model and slice names: they may identify patients.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace FILE.h5.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Turn experts' CIM analyses into a training file.

    One row per short-axis slice, in the predecessor's layout. What is missing is named, skipped and counted.
    """
    with progress_bar(quiet) as progress:
        task = progress.add_task(output.name, total=None)
        summary = write_cim_training_file(
            cim_folder,
            image_folder,
            output,
            case_names,
            overwrite,
            report=print_error,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    if not quiet:
        _print_summary(output, summary)
    skipped = summary.skipped_cases.total() + summary.skipped_slices.total()
    finish(ExitCode.SOME_FAILED if skipped else ExitCode.DONE)


def _print_summary(output: Path, summary: CimSummary) -> None:
    """Print how many of what were written and skipped."""
    typer.echo(f"{output}: {summary.n_slices} slices written, {summary.n_cases} cases read")
    for title, counts in (
        ("cases skipped", summary.skipped_cases),
        ("slices skipped", summary.skipped_slices),
        ("incomplete in slices written", summary.missing_frames),
    ):
        typer.echo(f"  {title}: {counts.total()}{_reasons(counts)}")


def _reasons(counts: Counter[SkipReason]) -> str:
    """The reasons behind a count."""
    return "".join(f"\n    {reason}: {n}" for reason, n in sorted(counts.items()))
