"""One network alone on an HDF5 file, as the predecessor's predictor scripts do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

from tagstrain.data import SliceFailure
from tagstrain.errors import InputError, TagstrainError
from tagstrain.geometry.original_crop import IMAGE_SIZE
from tagstrain.inference.localize import ViewLocalizer
from tagstrain.inference.models import load_localizer, pick_device
from tagstrain.inference.original import OriginalLocalizer
from tagstrain.inference.rnncnn import RnnCnn
from tagstrain.io import read_study
from tagstrain.io.atomic import atomic_file, disk_told
from tagstrain.io.hdf5 import iterate_cropped_sequences, iterate_first_frames
from tagstrain.io.hdf5_layout import CROPPED_LANDMARKS, N_FRAMES
from tagstrain.io.lenient_file import LenientFile
from tagstrain.networks import preprocessing, rnncnn
from tagstrain.networks.localizer import BatchStatistics

ORIGINAL_BATCH_SIZE = 20
"""Rows per batch in the predecessor's own scripts."""


class Predicted(NamedTuple):
    """What came of a file."""

    n_rows: int
    failures: tuple[SliceFailure, ...]
    """Rows that are NaN, or NaN in part, and why."""


class _Row(NamedTuple):
    """What is written of one row."""

    values: dict[str, NDArray[np.float64]]
    failure: str | None = None


def predict_localizer(
    path: Path,
    output: Path,
    weights: Path | None = None,
    device: str = "auto",
    overwrite: bool = False,
    batch_statistics: BatchStatistics | None = None,
    batch_size: int = ORIGINAL_BATCH_SIZE,
    pixel_spacing_mm: tuple[float, float] | None = None,
) -> Predicted:
    """Write ``bbox_corners`` (n, 4) for every row of ``image_seqs`` and, with our localizer, ``quality_confidence``.

    Our localizer sees the cine; a row that cannot be read, or shows no ventricle, is NaN with confidence 0. A network
    of the predecessor sees frame 0 in raw grey levels, ``batch_size`` rows at once (the last batch may be smaller); a
    row with NaN pixels is NaN and does not count in its batch.

    Parameters
    ----------
    batch_statistics
        For a network of the predecessor: ``"original"`` normalizes by the rows of a batch, so that a box depends on
        the rows beside it, as it did there; ``"moving"`` by the statistics gathered in training, each row by itself.
        None for what the weights file says.
    batch_size
        Matters for ``"original"`` statistics alone.
    pixel_spacing_mm
        Distance between rows and between columns [mm], in place of what the file stores; networks of the predecessor
        do not ask for it.

    Raises
    ------
    InputError
        If the file or the weights cannot be used.
    TagstrainError
        If ``batch_statistics`` is given for a network that is not the predecessor's.
    """
    localizer = load_localizer(weights, pick_device(device))
    if isinstance(localizer, OriginalLocalizer):
        if batch_statistics is not None:
            localizer.network.batch_statistics = batch_statistics
        return _write(output, overwrite, _original_boxes(path, localizer, batch_size))
    if batch_statistics is not None:
        raise TagstrainError(
            "--batch-statistics is for localizers of the predecessor, which read frame 0 in raw grey levels; these "
            "weights are not. Leave it out, or give --weights that import-tf1 wrote."
        )
    return _write(output, overwrite, _boxes(path, localizer, pixel_spacing_mm))


def _boxes(path: Path, localizer: ViewLocalizer, pixel_spacing_mm: tuple[float, float] | None) -> Iterator[_Row]:
    """Box and confidence of every row, by our localizer."""
    for source in read_study(path, pixel_spacing_mm).slices:
        corners, confidence, failure = np.full(4, np.nan), 0.0, None
        try:
            found = localizer.localize(source.load())
        except InputError as error:
            failure = str(error)
        else:
            assert found.confidence is not None  # ours state one
            corners, confidence = np.array(found.box), found.confidence
            if not np.isfinite(corners).all():
                failure = "No left ventricle found"
        yield _Row({"bbox_corners": corners, "quality_confidence": np.array(confidence)}, failure)


def _original_boxes(path: Path, localizer: OriginalLocalizer, batch_size: int) -> Iterator[_Row]:
    """Box of every row, by a network of the predecessor, batch by batch."""
    for batch in _batches(iterate_first_frames(path), batch_size):
        if batch[0].shape != (IMAGE_SIZE, IMAGE_SIZE):
            problem = "image_seqs has images of {} x {}, this network reads 256 x 256".format(*batch[0].shape)
            raise InputError(path, problem, "Pad or cut them, or use 'tagstrain analyze', which does")
        images = np.stack(batch)
        readable = np.isfinite(images).all(axis=(1, 2))
        corners = np.full((len(images), 4), np.nan)
        if readable.any():
            corners[readable] = localizer.boxes(images[readable])
        for row in corners:
            yield _Row({"bbox_corners": row}, "Frame 0 has NaN or infinite pixels" if np.isnan(row).any() else None)


def predict_rnncnn(
    path: Path, output: Path, weights: Path | None = None, device: str = "auto", overwrite: bool = False
) -> Predicted:
    """Write ``cropped_landmark_coords`` (n, T, 2, 168) for every row of ``cropped_image_seqs`` (n, T, 128, 128).

    Networks of the predecessor see the crops in raw grey levels, ours see them normalized. A row with NaN pixels has
    NaN landmarks where these reach; so has padding, which ``n_frames`` counts out as in the input.

    Raises
    ------
    InputError
        If the file or the weights cannot be used.
    """
    model = RnnCnn.from_weights(weights, pick_device(device))

    def rows() -> Iterator[_Row]:
        for crops, n_stored in iterate_cropped_sequences(path):
            if crops.shape[1:] != (rnncnn.INPUT_SIZE, rnncnn.INPUT_SIZE):
                problem = f"cropped_image_seqs has images of {crops.shape[1:]}, expected 128 x 128"
                raise InputError(path, problem, "Write crops of 128 x 128, or use 'tagstrain track' on whole images")
            prepared = torch.from_numpy(crops)[None].to(model.device)
            if not model.info.reads_raw:
                prepared = preprocessing.landmark_input(prepared)
            with torch.inference_mode():
                landmarks = model.network(prepared)[0].cpu().double().numpy()
            n_unknown = int((~np.isfinite(landmarks)).any(axis=(1, 2)).sum())
            failure = f"Has NaN or infinite pixels: {n_unknown} of {len(crops)} frames have no landmarks"
            padded = np.full((n_stored, *landmarks.shape[1:]), np.nan)
            padded[: len(landmarks)] = landmarks
            values = {CROPPED_LANDMARKS: padded, N_FRAMES: np.array(len(landmarks))}
            yield _Row(values, failure if n_unknown else None)

    return _write(output, overwrite, rows())


def _batches(rows: Iterable[NDArray[np.float32]], size: int) -> Iterator[list[NDArray[np.float32]]]:
    """Lists of ``size`` rows, the last one maybe shorter; itertools has it from Python 3.12 on."""
    remaining = iter(rows)
    while batch := list(islice(remaining, size)):
        yield batch


def _write(output: Path, overwrite: bool, rows: Iterator[_Row]) -> Predicted:
    """Grow one dataset per name, row by row; shorter rows end in NaN."""
    count = 0
    failures: list[SliceFailure] = []
    with atomic_file(output, overwrite) as temporary, disk_told(output), LenientFile(temporary) as disk:
        with h5py.File(disk, "w") as file:
            for row in rows:
                if row.failure is not None:
                    failures.append(SliceFailure(f"row_{count:05d}", row.failure))
                for name, values in row.values.items():
                    _put(file, name, count, values)
                disk.check()
                count += 1
        disk.check()
    return Predicted(count, tuple(failures))


def _put(file: h5py.File, name: str, row: int, values: NDArray[np.float64]) -> None:
    """Write a value of the next row, whose axes may be longer than those of the rows before."""
    if name not in file:
        shape = (0, *values.shape)
        kind, fill = ("f4", np.nan) if values.dtype.kind == "f" else ("i4", 0)
        file.create_dataset(name, shape, kind, maxshape=(None,) * len(shape), fillvalue=fill)
    dataset = file[name]
    sizes = [max(a, b) for a, b in zip(dataset.shape[1:], values.shape, strict=True)]
    dataset.resize((row + 1, *sizes))
    dataset[(row, *(slice(n) for n in values.shape))] = values
