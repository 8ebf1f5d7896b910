"""What the page's cine player needs of a slice: pictures, landmarks and strain, packed small (`cine_record`)."""

from __future__ import annotations

import base64
import io
from math import ceil, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tagstrain.data import SliceResult
from tagstrain.mechanics.slice_mechanics import SliceMechanics

_JPEG_QUALITY = 88
STEPS_PER_PX = 32
"""Landmarks are whole multiples of this part of a pixel."""
STEPS_PER_UNIT_STRAIN = 10_000
MISSING = -32768
"""Stands for a landmark or strain that is not known."""


def cine_record(result: SliceResult, mechanics: SliceMechanics) -> dict[str, Any]:
    """One slice as plain JSON values; ``landmarks`` and strains are base64 of little-endian 16-bit integers."""
    cine = result.cine
    n_frames, n_rows, n_columns = cine.frames.shape
    n_sheet_columns = ceil(sqrt(n_frames))
    deformation = mechanics.deformation
    return {
        "name": result.name,
        "frameTimesMs": np.round(cine.frame_times_ms, 2).tolist(),
        "edFrame": result.strain.ed_frame,
        "esFrame": mechanics.es_frame,
        "rows": n_rows,
        "columns": n_columns,
        "pixelAspect": cine.pixel_spacing.row_mm / cine.pixel_spacing.column_mm,
        "columnMm": cine.pixel_spacing.column_mm,
        "sheet": _sheet(result, n_sheet_columns),
        "sheetColumns": n_sheet_columns,
        "spokes": result.landmarks.points_px.shape[1],
        "rings": result.landmarks.points_px.shape[2],
        "landmarks": _packed(result.landmarks.points_px, STEPS_PER_PX),
        "circumferential": _packed(deformation.circumferential.landmarks, STEPS_PER_UNIT_STRAIN),
        "radial": _packed(deformation.radial.landmarks, STEPS_PER_UNIT_STRAIN),
    }


def _sheet(result: SliceResult, n_sheet_columns: int) -> str:
    """All frames, cut to the heart and to its grays, side by side in one JPEG as a data URI."""
    frames = result.cine.frames
    n_frames, n_rows, n_columns = frames.shape
    dark, bright = float(frames.min()), float(frames.max())
    values = ((frames - dark) * (255 / max(bright - dark, 1e-6))).round().astype(np.uint8)
    n_sheet_rows = ceil(n_frames / n_sheet_columns)
    sheet = np.zeros((n_sheet_rows * n_rows, n_sheet_columns * n_columns), np.uint8)
    for frame, pixels in enumerate(values):
        row, column = divmod(frame, n_sheet_columns)
        sheet[row * n_rows : (row + 1) * n_rows, column * n_columns : (column + 1) * n_columns] = pixels
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, format="JPEG", quality=_JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _packed(values: NDArray[np.float64], steps_per_unit: int) -> str:
    """Whole steps as base64, `MISSING` where not finite; values too large for 16 bits take the largest."""
    steps = np.clip(np.nan_to_num(values * steps_per_unit, nan=0.0, posinf=0.0, neginf=0.0).round(), -32767, 32767)
    return base64.b64encode(np.where(np.isfinite(values), steps, MISSING).astype("<i2").tobytes()).decode("ascii")
