"""Cines from HDF5 files in the predecessor's layout, one row at a time: memory does not grow with the file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tagstrain.data.cine import PixelSpacing, TaggedCine
from tagstrain.data.study import Study
from tagstrain.errors import InputError
from tagstrain.io.assembly import (
    ED_ASSUMED,
    GIVE_SPACING,
    checked_cine,
    given_spacing,
    nominal_times,
    resolve_spacing,
    safe_name,
)
from tagstrain.io.hdf5_layout import (
    CROPPED_IMAGES,
    ED_FRAME,
    FRAME_TIMES,
    IMAGE_AXES,
    IMAGES,
    N_FRAMES,
    ROW_SPACING,
    RR_INTERVAL,
    open_hdf5,
    require_dataset,
    row_frame,
    row_n_frames,
    row_number,
    row_numbers,
    row_spacing,
)
from tagstrain.io.landmark_file import LandmarkFile, LandmarkRow
from tagstrain.io.landmark_writer import LandmarkFileWriter
from tagstrain.io.limits import MAX_PADDED_RATIO, check_unpacked_size

__all__ = [
    "Hdf5Row",
    "LandmarkFile",
    "LandmarkFileWriter",
    "LandmarkRow",
    "iterate_cropped_sequences",
    "iterate_first_frames",
    "read_hdf5_study",
]


@dataclass(frozen=True, slots=True)
class Hdf5Row:
    """One row of a file; the file is opened when the pixels are asked for."""

    path: Path
    row: int
    given_spacing: PixelSpacing | None = None

    @property
    def name(self) -> str:
        """``row_00000`` and so on, so that names sort as rows do."""
        return f"row_{self.row:05d}"

    def load(self) -> TaggedCine:
        """Read the row.

        Raises
        ------
        InputError
            If the row is damaged or its values make no cine.
        """
        with open_hdf5(self.path) as file:
            images = require_dataset(file, self.path, IMAGES, IMAGE_AXES)
            n_rows = images.shape[0]
            n_frames = row_n_frames(file, self.path, self.row, images)
            stored = images[self.row, :n_frames]
            frames = stored if N_FRAMES in file else _without_blank_end(stored)
            stored_spacing = row_spacing(file, self.path, self.row, n_rows)
            stored_times = row_numbers(file, self.path, FRAME_TIMES, self.row, n_rows)
            rr_interval_ms = row_number(file, self.path, RR_INTERVAL, self.row, n_rows)
            stored_ed = row_frame(file, self.path, ED_FRAME, self.row, n_rows)
        label = self.path.with_name(f"{self.path.name}, row {self.row}")
        warnings: list[str] = []
        if len(frames) < n_frames:
            warnings.append(
                f"frames {len(frames) + 1} to {n_frames} are blank and were taken for padding; {N_FRAMES} would say so"
            )
        spacing, spacing_warnings = resolve_spacing(label, stored_spacing, self.given_spacing, ROW_SPACING)
        warnings += spacing_warnings
        if stored_times is None or np.isnan(stored_times).all():
            times_ms, warning = nominal_times(len(frames))
            warnings.append(warning)
        else:
            times_ms = stored_times[: len(frames)]
        if stored_ed is None:
            warnings.append(ED_ASSUMED)
        return checked_cine(
            label,
            frames,
            frame_times_ms=times_ms,
            pixel_spacing=spacing,
            name=self.name,
            ed_frame=stored_ed or 0,
            source=f"HDF5 {label.name}",
            pixel_type=frames.dtype.name,
            rr_interval_ms=rr_interval_ms,
            warnings=tuple(warnings),
        )


def _without_blank_end(frames: NDArray[Any]) -> NDArray[Any]:
    """Frames ``(time, row, column)`` without the last ones that are of one grey level each or NaN, as those are that
    pipelines fill short cines up with; all of them where fewer than two are left."""
    n_shown = len(frames)
    while n_shown > 0:
        last = frames[n_shown - 1]
        if last.min() != last.max() and not np.isnan(last).all():
            break
        n_shown -= 1
    return frames[:n_shown] if n_shown > 1 else frames


def read_hdf5_study(path: Path, pixel_spacing_mm: tuple[float, float] | None = None) -> Study:
    """List the rows of a file as slices; pixels are read when a slice is loaded.

    Parameters
    ----------
    pixel_spacing_mm
        Distance between rows and between columns [mm], in place of what the file stores.

    Raises
    ------
    InputError
        If the file is damaged, or holds no images or, unless given, no pixel spacing.
    """
    given = given_spacing(pixel_spacing_mm)
    with open_hdf5(path) as file:
        images = require_dataset(file, path, IMAGES, IMAGE_AXES)
        n_rows, n_stored = images.shape[:2]
        if n_stored < 2:
            raise InputError(path, "holds 1 frame per row, at least 2 are needed to measure motion", "Add the others")
        # Rows that were announced and never written take no space: any number of them fits into a small file.
        check_unpacked_size(path, images.nbytes, images.id.get_storage_size(), sys.maxsize, MAX_PADDED_RATIO)
        if given is None and ROW_SPACING not in file:
            raise InputError(path, f"dataset {ROW_SPACING} (mm per pixel) is missing", f"Add it. {GIVE_SPACING}")
    rows = tuple(Hdf5Row(path, row, given) for row in range(n_rows))
    return Study(key=safe_name(path.stem), path=path, slices=rows, format="hdf5")


def iterate_first_frames(path: Path) -> Iterator[NDArray[np.float32]]:
    """Frame 0 of every row of ``image_seqs``, shape ``(image row, image column)``, one row in memory at a time.

    Raises
    ------
    InputError
        If the file is damaged or has no images.
    """
    with open_hdf5(path) as file:
        images = require_dataset(file, path, IMAGES, IMAGE_AXES)
        for row in range(images.shape[0]):
            yield np.asarray(images[row, 0], np.float32)


def iterate_cropped_sequences(path: Path) -> Iterator[tuple[NDArray[np.float32], int]]:
    """Every row of ``cropped_image_seqs`` without padding, shape ``(time, 128, 128)``, and its frames with padding.

    Raises
    ------
    InputError
        If the file is damaged or has no cropped images.
    """
    with open_hdf5(path) as file:
        crops = require_dataset(file, path, CROPPED_IMAGES, IMAGE_AXES)
        for row in range(crops.shape[0]):
            n_frames = row_n_frames(file, path, row, crops)
            yield np.asarray(crops[row, :n_frames], np.float32), int(crops.shape[1])
