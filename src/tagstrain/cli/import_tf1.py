"""``tagstrain import-tf1`` and ``export-tf1``: the predecessor's weights in, and out again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace the output file.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]


def import_tf1(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            metavar="PREFIX",
            readable=False,
            help="TensorFlow 1 checkpoint: its .index file, with or without that ending, or an .npz of its variables.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE.safetensors", help="File for the weights.")],
    eight_bits: Annotated[bool, typer.Option("--eight-bits", help="Store the weights in 8 bits; not exact.")] = False,
    overwrite: OverwriteOption = False,
    quiet: QuietOption = False,
) -> None:
    """Turn the predecessor's TensorFlow 1 weights into ours.

    Reads a checkpoint of its localizer or rnncnn without TensorFlow, and checks every name and shape.
    """
    from tagstrain.networks.tf1_import import import_tf1 as write_weights

    summary = write_weights(checkpoint, output, eight_bits, overwrite)
    if not quiet:
        ignored = f", {summary.n_ignored} that only served training ignored" if summary.n_ignored else ""
        typer.echo(f"{output}: {summary.network}, {summary.n_variables} variables{ignored}")
        typer.echo(f"Data of the checkpoint: sha256 {summary.source_sha256}")


def export_tf1(
    weights: Annotated[
        Path, typer.Argument(metavar="FILE.safetensors", readable=False, help="Weights that import-tf1 wrote.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="VARS.npz", help="File for the variables.")],
    overwrite: OverwriteOption = False,
    quiet: QuietOption = False,
) -> None:
    """Turn imported weights back into TensorFlow 1 variables.

    Writes an .npz of variable name to array, bit for bit what was imported.
    """
    from tagstrain.networks.tf1_import import export_tf1 as write_variables

    n_variables = write_variables(weights, output, overwrite)
    if not quiet:
        typer.echo(f"{output}: {n_variables} variables")
