"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tagstrain.inference.models import Preprocessing

PixelSpacingOption = Annotated[
    tuple[float, float] | None,
    typer.Option(metavar="ROW COLUMN", help="Pixel spacing for files that store none.", show_default=False),
]
KeepIdsOption = Annotated[
    bool,
    typer.Option("--keep-ids", help="Name studies by patient ID and keep the patient's identity; left out otherwise."),
]
WeightsOption = Annotated[
    Path | None,
    typer.Option(exists=True, dir_okay=False, help="safetensors file, in place of the shipped weights."),
]
PreprocessingOption = Annotated[
    Preprocessing | None,
    typer.Option(
        help="How images are cut and resampled for the networks; original is the predecessor's way.  "
        "[default: what the weights were made for]",
        show_default=False,
    ),
]
