"""``tagstrain simulate``: tagged cines from physics, with exact truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tagstrain.cli.analysis_run import progress_bar
from tagstrain.simulation.config import PRESETS


def simulate(
    number: Annotated[int, typer.Option("-n", "--number", min=1, help="Slices to simulate; with --dicom, studies.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE.h5", help="File in the predecessor's layout.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same bytes.")] = 0,
    preset: Annotated[str, typer.Option(help=f"What the cines look like: {', '.join(PRESETS)}.")] = "default",
    dicom: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for studies of three slices as DICOM.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Simulate tagged cines: HDF5 with landmarks, boxes and crops, DICOM studies, or both."""
    if output is None and dicom is None:
        raise typer.BadParameter("give -o FILE.h5, --dicom DIR or both")
    if preset not in PRESETS:
        raise typer.BadParameter(f"expected one of {', '.join(PRESETS)}, got {preset!r}", param_hint="--preset")
    from tagstrain.inference.models import pick_device
    from tagstrain.simulation.dataset import write_dataset, write_dicom_studies

    if output is not None:
        with progress_bar(quiet) as progress:
            task = progress.add_task(output.name, total=number)
            write_dataset(
                output, number, seed, preset, pick_device(device), overwrite, lambda n: progress.advance(task, n)
            )
        if not quiet:
            typer.echo(f"{output}: {number} slices")
    if dicom is not None:
        for folder in write_dicom_studies(dicom, number, seed, preset, overwrite):
            if not quiet:
                typer.echo(folder)
