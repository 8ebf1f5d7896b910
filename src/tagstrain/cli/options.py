"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

PixelSpacingOption = Annotated[
    tuple[float, float] | None,
    typer.Option(metavar="ROW COLUMN", help="Pixel spacing for files that store none.", show_default=False),
]
WeightsOption = Annotated[
    Path | None,
    typer.Option(exists=True, dir_okay=False, help="safetensors file, in place of the shipped weights."),
]
