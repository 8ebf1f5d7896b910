"""``tagstrain predict``: one network alone on an HDF5 file."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

from tagstrain.cli.exits import ExitCode, finish, options_not_input
from tagstrain.cli.messages import print_error
from tagstrain.cli.options import PixelSpacingOption, WeightsOption
from tagstrain.inference.models import Device


class BatchStatisticsName(StrEnum):
    """What the predecessor's localizer normalizes by."""

    ORIGINAL = "original"
    MOVING = "moving"


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
    batch_statistics: Annotated[
        BatchStatisticsName | None,
        typer.Option(
            help="Normalize the predecessor's localizer by the batch at hand (original), as it always did, or by "
            "what was gathered in training (moving).  [default: what the weights file says]",
            show_default=False,
        ),
    ] = None,
    batch_size: Annotated[
        int,
        typer.Option(min=1, help="Rows per batch of the predecessor's localizer; other networks take rows one by one."),
    ] = 20,
    pixel_spacing_mm: PixelSpacingOption = None,
    device: Annotated[
        Device, typer.Option(help="Where the network runs; auto takes a GPU if there is one.")
    ] = Device.AUTO,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace PRED.h5.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Run one network: bbox_corners from whole images, or cropped_landmark_coords from crops.

    Rows that fail are NaN where there is no answer, and named on stderr; the exit code is then 3.
    """
    if network is Network.RNNCNN and batch_statistics is not None:
        raise typer.BadParameter("rnncnn has no batch normalization", param_hint="--batch-statistics")
    if network is Network.RNNCNN and pixel_spacing_mm is not None:
        raise typer.BadParameter("rnncnn reads crops, whatever size their pixels have", param_hint="--pixel-spacing-mm")
    from tagstrain.inference.predict import predict_localizer, predict_rnncnn
    from tagstrain.io.atomic import keep_inputs
    from tagstrain.networks.weights import stored_settings

    keep_inputs(output, input_file, weights)
    with options_not_input():
        stored_settings(network.value, weights)

    if network is Network.RNNCNN:
        n_rows, failures = predict_rnncnn(input_file, output, weights, device.value, overwrite)
    else:
        statistics: Literal["original", "moving"] | None = None
        if batch_statistics is not None:
            statistics = "original" if batch_statistics is BatchStatisticsName.ORIGINAL else "moving"
        n_rows, failures = predict_localizer(
            input_file, output, weights, device.value, overwrite, statistics, batch_size, pixel_spacing_mm
        )
    for failure in failures:
        print_error(f"{input_file.name}, {failure.name}: {failure.reason}")
    if failures:
        print_error(f"{input_file.name}: {len(failures)} of {n_rows} rows failed")
    if not quiet:
        typer.echo(f"{output}: {n_rows} rows")
    finish(ExitCode.SOME_FAILED if failures else ExitCode.DONE)
