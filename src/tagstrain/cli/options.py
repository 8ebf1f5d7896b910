"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tagstrain.inference.models import Preprocessing


def check_spacing(pixel_spacing_mm: tuple[float, float] | None) -> tuple[float, float] | None:
    """Refuse a spacing that no image can have."""
    if pixel_spacing_mm is not None and not all(0 < mm < float("inf") for mm in pixel_spacing_mm):
        raise typer.BadParameter(
            f"expected two positive lengths in mm, got {pixel_spacing_mm}", param_hint="--pixel-spacing-mm"
        )
    return pixel_spacing_mm


PixelSpacingOption = Annotated[
    tuple[float, float] | None,
    typer.Option(
        metavar="ROW COLUMN",
        help="Pixel spacing for files that store none.",
        show_default=False,
        callback=check_spacing,
    ),
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
