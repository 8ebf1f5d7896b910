"""Write HDF5 files in the predecessor's layout, row by row: predictions and training data (`LandmarkFileWriter`)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from tagstrain.data.results import Box
from tagstrain.io.atomic import atomic_file, disk_told
from tagstrain.io.hdf5_layout import (
    BOXES,
    COLUMN_SPACING,
    CROPPED_IMAGES,
    CROPPED_LANDMARKS,
    ED_FRAME,
    ES_FRAME,
    FRAME_TIMES,
    IMAGES,
    LANDMARKS,
    N_FRAMES,
    QUALITY_PREFIX,
    REGIONS,
    ROW_SPACING,
    SIGMA,
)
from tagstrain.io.lenient_file import LenientFile


class LandmarkFileWriter:
    """Context manager that grows a file by one row per `append`; the file appears when the block ends without error.

    A dataset exists once a row has a value for it. Rows without one, before or after, hold NaN there (-1 in frame
    indices, 0 in images, empty text), and so do frames beyond a row's own.

    Parameters
    ----------
    path
        File to write.
    n_frames
        Frames per row as stored, ``T``; shorter rows are padded.
    overwrite
        Whether an existing file may be replaced.

    Raises
    ------
    OutputError
        On entering, if the file exists or cannot be written; later, if the disk refuses.
    """

    def __init__(self, path: Path, n_frames: int, overwrite: bool = False) -> None:
        if n_frames < 1:
            raise ValueError(f"n_frames: expected at least 1, got {n_frames}")
        self.path = path
        self.n_frames = n_frames
        self._overwrite = overwrite
        self._n_rows = 0
        self._stack = ExitStack()
        self._file: h5py.File | None = None
        self._disk: LenientFile | None = None

    def __enter__(self) -> LandmarkFileWriter:
        with ExitStack() as stack:
            temporary = stack.enter_context(atomic_file(self.path, self._overwrite))
            with disk_told(self.path):
                self._disk = stack.enter_context(LenientFile(temporary))
            stack.callback(self._check_disk)
            self._file = stack.enter_context(h5py.File(self._disk, "w"))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None and kind is None:
            for dataset in self._file.values():
                dataset.resize(self._n_rows, axis=0)
        self._stack.__exit__(kind, error, trace)
        self._file = None

    def __len__(self) -> int:
        return self._n_rows

    def append(
        self,
        points_px: NDArray[np.floating],
        box: Box | None,
        pixel_spacing_mm: tuple[float, float] | None,
        ed_frame: int | None,
        es_frame: int | None = None,
        frames: NDArray[Any] | None = None,
        sigma_px: NDArray[np.floating] | None = None,
        quality: Mapping[str, float] | None = None,
        frame_times_ms: NDArray[np.floating] | None = None,
        n_frames: int | None = None,
        cropped_frames: NDArray[np.floating] | None = None,
        cropped_points_px: NDArray[np.floating] | None = None,
        regions: NDArray[np.floating] | None = None,
        text: Mapping[str, str] | None = None,
    ) -> None:
        """Write one row.

        Parameters
        ----------
        points_px
            ``(x, y)`` in pixels of the whole image, shape ``(time, point, 2)``, NaN where missing.
        pixel_spacing_mm
            Distance between rows and between columns [mm].
        ed_frame, es_frame
            None where not known.
        frames
            Images ``(time, row, column)``, stored in the type they come in.
        sigma_px
            Standard deviation of the points [px], shape ``(time, point)``.
        quality
            Columns ``quality_<name>``.
        n_frames
            Real frames; the length of ``points_px`` unless given.
        cropped_frames, cropped_points_px
            Crop ``(time, 128, 128)`` and its points ``(time, point, 2)`` in crop pixels.
        regions
            AHA segment of the points, shape ``(time, point)``; NaN where not known.
        text
            Columns of text by the name of their dataset.

        Raises
        ------
        ValueError
            If a shape does not fit ``T`` or the rows before.
        OutputError
            If the disk refuses.
        """
        n_real = len(points_px) if n_frames is None else n_frames
        if points_px.ndim != 3 or points_px.shape[-1] != 2:
            raise ValueError(f"points_px: expected shape (time, point, 2), got {points_px.shape}")
        if not 1 <= n_real <= len(points_px) <= self.n_frames:
            raise ValueError(f"{n_real} of {len(points_px)} frames do not fit rows of {self.n_frames}")
        columns: dict[str, NDArray[Any] | None] = {
            LANDMARKS: self._padded(_axes_first(points_px), n_real, np.nan),
            BOXES: np.asarray(box if box is not None else [np.nan] * 4, np.float64),
            ED_FRAME: np.array(-1 if ed_frame is None else ed_frame, np.int64),
            ES_FRAME: np.array(-1 if es_frame is None else es_frame, np.int64),
            N_FRAMES: np.array(n_real, np.int64),
            SIGMA: None if sigma_px is None else self._padded(np.asarray(sigma_px, np.float64), n_real, np.nan),
            IMAGES: None if frames is None else self._padded(frames, n_real, 0),
            CROPPED_IMAGES: None,
            CROPPED_LANDMARKS: None,
            FRAME_TIMES: None,
            REGIONS: None if regions is None else self._padded(np.asarray(regions, np.float32), n_real, np.nan),
        }
        if frame_times_ms is not None:
            columns[FRAME_TIMES] = self._padded(np.asarray(frame_times_ms, np.float64), n_real, np.nan)
        if cropped_frames is not None:
            columns[CROPPED_IMAGES] = self._padded(np.asarray(cropped_frames, np.float32), n_real, 0)
        if cropped_points_px is not None:
            crop_points = _axes_first(cropped_points_px).astype(np.float32)
            columns[CROPPED_LANDMARKS] = self._padded(crop_points, n_real, np.nan)
        row_mm, column_mm = (np.nan, np.nan) if pixel_spacing_mm is None else pixel_spacing_mm
        columns[ROW_SPACING] = np.array(row_mm, np.float64)
        if column_mm != row_mm and not np.isnan(row_mm):
            columns[COLUMN_SPACING] = np.array(column_mm, np.float64)
        for name, value in (quality or {}).items():
            columns[QUALITY_PREFIX + name] = np.array(value, np.float64)
        for name, words in (text or {}).items():
            columns[name] = np.array(words, h5py.string_dtype())
        row = {name: values for name, values in columns.items() if values is not None}
        self._check_shapes(row)
        try:
            for name, values in row.items():
                self._put(name, values)
        finally:
            self._check_disk()
        self._n_rows += 1

    def _padded(self, values: NDArray[Any], n_real: int, fill: float) -> NDArray[Any]:
        """Fit the first axis to ``T`` frames, of which ``n_real`` are kept."""
        if not n_real <= len(values) <= self.n_frames:
            raise ValueError(f"expected {n_real} to {self.n_frames} frames, got {len(values)}")
        padded = np.full((self.n_frames, *values.shape[1:]), fill, values.dtype)
        padded[:n_real] = values[:n_real]
        return padded

    def _check_shapes(self, row: Mapping[str, NDArray[Any]]) -> None:
        """Refuse a row before any of it is written, so that no row is half there."""
        file = self._open_file()
        for name, values in row.items():
            if name not in file:
                continue
            if file[name].shape[1:] != values.shape:
                raise ValueError(f"{name}: rows before have shape {file[name].shape[1:]}, this one {values.shape}")
            if not np.can_cast(values.dtype, file[name].dtype, "safe"):
                raise ValueError(f"{name}: rows before are {file[name].dtype}, which cannot hold {values.dtype}")

    def _put(self, name: str, values: NDArray[Any]) -> None:
        """Write one value of the next row; earlier rows that had none keep the fill value."""
        file = self._open_file()
        if name not in file:
            fill: Any = {"f": np.nan, "O": ""}.get(values.dtype.kind, -1)
            file.create_dataset(
                name,
                shape=(0, *values.shape),
                maxshape=(None, *values.shape),
                dtype=values.dtype,
                chunks=(1, *values.shape) if values.ndim > 1 else (256, *values.shape),
                fillvalue=0 if name in (IMAGES, CROPPED_IMAGES) else fill,
            )
        file[name].resize(self._n_rows + 1, axis=0)
        file[name][self._n_rows] = values

    def _check_disk(self) -> None:
        """Say so if the disk refused something."""
        with disk_told(self.path):
            if self._disk is not None:
                self._disk.check()

    def _open_file(self) -> h5py.File:
        """File that the block holds open."""
        if self._file is None:
            raise RuntimeError("LandmarkFileWriter is used as: with LandmarkFileWriter(path, n_frames) as writer")
        return self._file


def _axes_first(points: NDArray[np.floating]) -> NDArray[np.float64]:
    """Points ``(time, point, 2)`` in the file's order ``(time, 2, point)``."""
    return np.moveaxis(np.asarray(points, np.float64), -1, -2)
