"""One network alone on an HDF5 file, as the predecessor's predictor scripts do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

from tagstrain.errors import InputError
from tagstrain.inference.localize import ViewLocalizer
from tagstrain.inference.models import pick_device
from tagstrain.inference.rnncnn import RnnCnn
from tagstrain.io import read_study
from tagstrain.io.atomic import atomic_file
from tagstrain.io.hdf5 import iterate_cropped_sequences
from tagstrain.networks import preprocessing, rnncnn


def predict_localizer(
    path: Path, output: Path, weights: Path | None = None, device: str = "auto", overwrite: bool = False
) -> int:
    """Write ``bbox_corners`` (n, 4) and ``quality_confidence`` (n,) for every row of ``image_seqs``.

    A row that cannot be read is NaN with confidence 0.

    Returns
    -------
        Number of rows.

    Raises
    ------
    InputError
        If the file or the weights cannot be used.
    """
    localizer = ViewLocalizer.from_weights(weights, pick_device(device))

    def rows() -> Iterator[dict[str, NDArray[np.float64]]]:
        for source in read_study(path).slices:
            try:
                found = localizer.localize(source.load())
            except InputError:
                yield {"bbox_corners": np.full(4, np.nan), "quality_confidence": np.array(0.0)}
            else:
                yield {"bbox_corners": np.array(found.box), "quality_confidence": np.array(found.confidence)}

    return _write(output, overwrite, rows())


def predict_rnncnn(
    path: Path, output: Path, weights: Path | None = None, device: str = "auto", overwrite: bool = False
) -> int:
    """Write ``cropped_landmark_coords`` (n, T, 2, 168) for every row of ``cropped_image_seqs`` (n, T, 128, 128).

    Returns
    -------
        Number of rows.

    Raises
    ------
    InputError
        If the file or the weights cannot be used.
    """
    model = RnnCnn.from_weights(weights, pick_device(device))

    def rows() -> Iterator[dict[str, NDArray[np.float64]]]:
        for crops in iterate_cropped_sequences(path):
            if crops.shape[1:] != (rnncnn.INPUT_SIZE, rnncnn.INPUT_SIZE):
                problem = f"cropped_image_seqs has images of {crops.shape[1:]}, expected 128 x 128"
                raise InputError(path, problem, "Write crops of 128 x 128, or use 'tagstrain track' on whole images")
            prepared = preprocessing.landmark_input(torch.from_numpy(crops)[None].to(model.device))
            with torch.inference_mode():
                landmarks = model.network(prepared)[0].cpu().double().numpy()
            yield {"cropped_landmark_coords": landmarks}

    return _write(output, overwrite, rows())


def _write(output: Path, overwrite: bool, rows: Iterator[dict[str, NDArray[np.float64]]]) -> int:
    """Grow one dataset per name, row by row; shorter rows end in NaN."""
    count = 0
    with atomic_file(output, overwrite) as temporary, h5py.File(temporary, "w") as file:
        for row in rows:
            for name, values in row.items():
                if name not in file:
                    shape = (0, *values.shape)
                    file.create_dataset(name, shape, "f4", maxshape=(None,) * len(shape), fillvalue=np.nan)
                dataset = file[name]
                sizes = [max(a, b) for a, b in zip(dataset.shape[1:], values.shape, strict=True)]
                dataset.resize((count + 1, *sizes))
                dataset[(count, *(slice(n) for n in values.shape))] = values
            count += 1
    return count
