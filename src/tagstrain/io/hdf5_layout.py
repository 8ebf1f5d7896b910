"""The predecessor's HDF5 layout with our extensions: dataset names, opening, and checked access to one row.

One row is one slice through one cycle. ``n`` rows, ``T`` frames, ``P`` points:

===================== ================= ======================================================================
``image_seqs``        (n, T, H, W)      pixels, any integer or float
``landmark_coords``   (n, T, 2, P)      axis 2 is (x, y), pixels of the whole image; NaN where missing
``bbox_corners``      (n, 4)            x1, y1, x2, y2
``px_spaces``         (n,)              mm from one row to the next
``px_spaces_column``  (n,)              extension: mm from one column to the next, where it differs
``ed_frame_idx``      (n,)              frame index; -1 not known
``es_frame_idx``      (n,)              frame index; -1 not known
``n_frames``          (n,)              extension: real frames of the row, the others are padding
``frame_times_ms``    (n, T)            extension: time since the R wave
``rr_interval_ms``    (n,)              extension: time from one R wave to the next; NaN where not known
``regions``           (n, T, P)         AHA segment of every landmark; NaN where missing
``_cases``            (n,)              text, as are ``_models`` and ``_slices``: where a row comes from
``landmark_sigma``    (n, T, P)         extension: one standard deviation [px]
``quality_<name>``    (n,)              extension: quality columns
===================== ================= ======================================================================
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from tagstrain.data.cine import PixelSpacing
from tagstrain.errors import InputError
from tagstrain.io.limits import MAX_OBJECT_BYTES, check_cine_size

IMAGES = "image_seqs"
LANDMARKS = "landmark_coords"
BOXES = "bbox_corners"
ROW_SPACING = "px_spaces"
COLUMN_SPACING = "px_spaces_column"
ED_FRAME = "ed_frame_idx"
ES_FRAME = "es_frame_idx"
N_FRAMES = "n_frames"
RR_INTERVAL = "rr_interval_ms"
FRAME_TIMES = "frame_times_ms"
SIGMA = "landmark_sigma"
QUALITY_PREFIX = "quality_"
IMAGE_AXES = "row, time, image row, image column"
CROPPED_IMAGES = "cropped_image_seqs"
CROPPED_LANDMARKS = "cropped_landmark_coords"
REGIONS = "regions"
CASES = "_cases"
MODELS = "_models"
SLICES = "_slices"

_AXES_OF_ROW = {BOXES: 1, FRAME_TIMES: 1}
"""Axes of what one row holds, where that is not a single number."""

MAX_SHARED_VALUES = 100_000
"""Numbers that are stored once for all rows: a row has some for each of its frames."""

# What h5py raises on damaged files, by the layer that notices: reading, look-up, decoding, allocation.
_DAMAGE = (OSError, KeyError, ValueError, TypeError, RuntimeError, OverflowError, MemoryError, AttributeError)


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open a file for reading; whatever h5py finds wrong with it becomes an `InputError`."""
    try:
        with h5py.File(path, "r") as file:
            yield file
    except FileNotFoundError as error:
        raise InputError(path, "does not exist", "Check the path") from error
    except PermissionError as error:
        raise InputError(path, "may not be read", "Change its permissions") from error
    except IsADirectoryError as error:
        problem = "is a folder, expected an HDF5 file in the predecessor's layout"
        raise InputError(path, problem, "Give the file; tagstrain analyze takes folders of images") from error
    except _DAMAGE as error:
        code = error.errno if isinstance(error, OSError) else None
        # What the system said comes wrapped in addresses and descriptors.
        reason = os.strerror(code) if code else str(error).replace(str(path), path.name).strip("'\"")
        if "file signature not found" in reason:
            remedy = "Give one in the predecessor's layout; tagstrain analyze takes other formats"
            raise InputError(path, "is not an HDF5 file", remedy) from error
        raise InputError(path, f"is truncated or damaged ({reason})", "Copy or download it again") from error


def require_dataset(file: h5py.File, path: Path, name: str, axes: str) -> h5py.Dataset:
    """Dataset ``name``, numbers only.

    Parameters
    ----------
    axes
        Names of the axes, separated by commas, for the check of the count and the message.
    """
    dataset = file.get(name)
    if not isinstance(dataset, h5py.Dataset):
        found = ", ".join(sorted(file)) or "nothing"
        raise InputError(path, f"dataset {name} is missing (found: {found})", "Check that it is the right file")
    n_axes = len(axes.split(","))
    if dataset.ndim != n_axes or dataset.dtype.kind not in "iuf":
        raise InputError(
            path,
            f"dataset {name}: expected numbers of shape ({axes}), got {dataset.dtype} of shape {dataset.shape}",
            "Write it in the layout that the documentation gives",
        )
    if 0 in dataset.shape:
        raise InputError(path, f"dataset {name} is empty (shape {dataset.shape})", "Check how it was written")
    _check_storage(dataset, path, name)
    return dataset


def _check_storage(dataset: h5py.Dataset, path: Path, name: str) -> None:
    """Refuse a dataset whose rows or chunks would not fit into memory, or that reads other files."""
    if dataset.external is not None or dataset.is_virtual:
        raise InputError(path, f"dataset {name} keeps its values in another file", "Copy them into this one")
    label = path.with_name(f"{path.name}, dataset {name}")
    check_cine_size(label, dataset.shape[1:])
    chunk_bytes = dataset.dtype.itemsize * prod(dataset.chunks or ())
    if chunk_bytes > MAX_OBJECT_BYTES:
        raise InputError(label, f"is stored in chunks of {chunk_bytes / 1024**3:.1f} GiB", "Write one chunk per row")


def row_numbers(file: h5py.File, path: Path, name: str, row: int, n_rows: int) -> NDArray[np.float64] | None:
    """Row ``row`` of an optional dataset, flat; None where the file has no such dataset.

    What is stored once, without an axis for the rows or with one of length 1, holds for all of them.
    """
    if name not in file:
        return None
    dataset = file[name]
    found = f"{dataset.dtype} of shape {dataset.shape}" if isinstance(dataset, h5py.Dataset) else "a group"
    is_numbers = isinstance(dataset, h5py.Dataset) and dataset.dtype.kind in "iuf"
    is_for_all = is_numbers and dataset.size <= MAX_SHARED_VALUES and _is_stored_once(dataset, name)
    if not is_for_all and not (is_numbers and dataset.ndim > 0 and dataset.shape[0] == n_rows):
        problem = f"dataset {name}: expected numbers, one row for each of the {n_rows} rows or one for all, got {found}"
        raise InputError(path, problem, "Write it in the layout that the documentation gives")
    _check_storage(dataset, path, name)
    if not is_for_all:
        return np.asarray(dataset[row], np.float64).ravel()
    return np.asarray(dataset[()], np.float64).ravel()


def _is_stored_once(dataset: h5py.Dataset, name: str) -> bool:
    """Whether a dataset holds what one row holds, alone or as the one row that it has."""
    n_axes = _AXES_OF_ROW.get(name, 0)
    return bool(dataset.ndim == n_axes or (dataset.ndim > n_axes and dataset.shape[0] == 1))


def row_number(file: h5py.File, path: Path, name: str, row: int, n_rows: int) -> float | None:
    """Single finite number of a row; None where it is missing or NaN."""
    values = row_numbers(file, path, name, row, n_rows)
    if values is None or values.size != 1 or not np.isfinite(values[0]):
        return None
    return float(values[0])


def row_frame(file: h5py.File, path: Path, name: str, row: int, n_rows: int) -> int | None:
    """Frame index of a row; None where it is missing or negative.

    Raises
    ------
    InputError
        If it is no whole number.
    """
    value = row_number(file, path, name, row, n_rows)
    return None if value is None or value < 0 else _whole(value, path, name, row)


def row_n_frames(file: h5py.File, path: Path, row: int, dataset: h5py.Dataset) -> int:
    """Count the real frames of a row of a dataset (row, time, ...): ``n_frames``, else all that are stored."""
    n_rows, n_stored = dataset.shape[:2]
    value = row_number(file, path, N_FRAMES, row, n_rows)
    if value is None:
        return int(n_stored)
    if not 1 <= value <= n_stored:
        name = dataset.name.lstrip("/")
        problem = f"row {row}: {N_FRAMES} is {value:g}, but {name} holds {n_stored} per row"
        remedy = "Mend it, or store every frame" + (" (NaN where no points are known)" if name == LANDMARKS else "")
        raise InputError(path, problem, remedy)
    return _whole(value, path, N_FRAMES, row)


def _whole(value: float, path: Path, name: str, row: int) -> int:
    if value != int(value):
        raise InputError(path, f"row {row}: {name} is {value:g}", "Write a whole number")
    return int(value)


def row_spacing(file: h5py.File, path: Path, row: int, n_rows: int) -> PixelSpacing | None:
    """Pixel spacing of a row; None where it is missing or NaN.

    ``px_spaces`` holds one number per row for square pixels; two per row are read as (row, column).
    """
    values = row_numbers(file, path, ROW_SPACING, row, n_rows)
    if values is None or not 1 <= values.size <= 2 or np.isnan(values).any():
        return None
    column_mm = row_number(file, path, COLUMN_SPACING, row, n_rows)
    return PixelSpacing(float(values[0]), float(values[-1]) if column_mm is None else column_mm)
