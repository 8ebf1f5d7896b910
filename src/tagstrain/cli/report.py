"""``tagstrain report``: results in, one page per study out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tagstrain.cli.exits import ExitCode, finish
from tagstrain.cli.messages import print_error
from tagstrain.errors import InputError, OutputError


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
    n_unreadable = n_unprinted = 0
    for folder in folders:
        try:
            page = write_report(folder)
            typer.echo(str(page))
            if browser is not None:
                typer.echo(str(print_pdf(page, browser)))
        except InputError as error:
            n_unreadable += 1
            print_error(f"{folder.name}: {error}")
        except OutputError as error:
            n_unprinted += 1
            print_error(f"{folder.name}: {error}")
    if n_unreadable == len(folders):
        finish(ExitCode.UNREADABLE)
    finish(ExitCode.SOME_FAILED if n_unreadable or n_unprinted else ExitCode.DONE)


def _study_folders(output: Path) -> list[Path]:
    """The folders with results.

    Raises
    ------
    InputError
        If there are none.
    """
    from tagstrain.report.saved_study import RESULTS_JSON

    # What a run that is going on, or was killed, has not finished is hidden.
    candidates = [output, *sorted(output.glob("[!.]*"))] if output.is_dir() else []
    folders = [folder for folder in candidates if (folder / RESULTS_JSON).is_file()]
    if not output.exists():
        raise InputError(output, "does not exist", "Check the path")
    if not folders:
        raise InputError(output, f"holds no {RESULTS_JSON}", "Give the folder that 'tagstrain analyze -o' wrote")
    return folders
