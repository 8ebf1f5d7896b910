"""``tagstrain report``: results in, one page per study out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tagstrain.cli.exits import ExitCode, finish
from tagstrain.cli.messages import print_error
from tagstrain.errors import InputError


def report(
    output: Annotated[
        Path,
        typer.Argument(
            metavar="OUT", readable=False, help="Folder that 'tagstrain analyze -o' wrote, or one study's folder in it."
        ),
    ],
    pdf: Annotated[bool, typer.Option("--pdf", help="Print each report to report.pdf as well, by Chromium.")] = False,
) -> None:
    """Write a report of every study, from its results alone.

    report.html shows the moving slices, bull's-eyes, curves and values, and opens without a network.
    """
    # Imported here: the help and the other commands need no plotting.
    from tagstrain.report.pdf import find_chromium, print_pdf
    from tagstrain.report.study_page import write_report

    folders = _study_folders(output)
    browser = find_chromium() if pdf else None
    n_failed = 0
    for folder in folders:
        try:
            page = write_report(folder)
        except InputError as error:
            n_failed += 1
            print_error(f"{folder.name}: {error}")
            continue
        typer.echo(str(page))
        if browser is not None:
            typer.echo(str(print_pdf(page, browser)))
    if n_failed == len(folders):
        finish(ExitCode.UNREADABLE)
    finish(ExitCode.SOME_FAILED if n_failed else ExitCode.DONE)


def _study_folders(output: Path) -> list[Path]:
    """The folders with results.

    Raises
    ------
    InputError
        If there are none.
    """
    from tagstrain.report.saved_study import RESULTS_JSON

    candidates = [output, *sorted(output.iterdir())] if output.is_dir() else []
    folders = [folder for folder in candidates if (folder / RESULTS_JSON).is_file()]
    if not folders:
        raise InputError(output, f"holds no {RESULTS_JSON}", "Give the folder that 'tagstrain analyze -o' wrote")
    return folders
