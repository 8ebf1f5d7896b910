"""``tagstrain predict``: one network alone on an HDF5 file."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tagstrain.cli.options import WeightsOption
from tagstrain.inference.models import Device


class Network(StrEnum):
    """Networks that can be run alone."""

    LOCALIZER = "localizer"
    RNNCNN = "rnncnn"


def predict(
    network: Annotated[Network, typer.Argument(help="Network to run.")],
    input_file: Annotated[
        Path, typer.Argument(metavar="INPUT.h5", help="image_seqs for the localizer, cropped_image_seqs for rnncnn.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="PRED.h5", help="File for the predictions.")],
    weights: WeightsOption = None,
    device: Annotated[
        Device, typer.Option(help="Where the network runs; auto takes a GPU if there is one.")
    ] = Device.AUTO,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace PRED.h5.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Run one network: bbox_corners from whole images, or cropped_landmark_coords from crops."""
    from tagstrain.inference.predict import predict_localizer, predict_rnncnn

    run = predict_localizer if network is Network.LOCALIZER else predict_rnncnn
    n_rows = run(input_file, output, weights, device.value, overwrite)
    if not quiet:
        typer.echo(f"{output}: {n_rows} rows")
