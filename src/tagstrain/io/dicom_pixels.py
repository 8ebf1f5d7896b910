"""Pixels of DICOM images, each file decoded once: `read_frames`, `read_pixels`."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset
from pydicom.filereader import dcmread
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import iter_pixels

from tagstrain.errors import InputError
from tagstrain.io.archive import ByteSource, read_each
from tagstrain.io.dicom_header import DicomHeader
from tagstrain.io.dicom_values import damage_told
from tagstrain.io.limits import check_cine_size


def read_frames(headers: Sequence[DicomHeader]) -> NDArray[np.float32]:
    """Pixels ``(time, row, column)`` of images of one size, rescaled each by its own slope and intercept.

    Raises
    ------
    InputError
        If they are damaged, too large for memory, or in a compression for which no pydicom plug-in is installed.
    """
    shape = (len(headers), *headers[0].shape)
    check_cine_size(headers[0].source.shown, shape)
    frames = np.empty(shape, np.float32)
    files = _places_by_file(headers)
    for (source, places), data in zip(files.items(), read_each(files), strict=True):
        pixels = _decode(source, data, [_frame_index(headers[k]) for k in places])
        with np.errstate(over="ignore"):  # what a damaged slope makes infinite is refused with the cine
            for k, image in zip(places, pixels, strict=True):
                frames[k] = _rescaled(headers[k], image)
    return frames


def read_pixels(header: DicomHeader) -> NDArray[np.float64]:
    """Pixels ``(row, column)`` of one image with rescale slope and intercept applied.

    Raises
    ------
    InputError
        As `read_frames` does.
    """
    return _rescaled(header, _decode(header.source, header.source.read(), [_frame_index(header)])[0])


def _places_by_file(headers: Sequence[DicomHeader]) -> dict[ByteSource, list[int]]:
    """Where the images of each file stand in the sequence."""
    places: dict[ByteSource, list[int]] = {}
    for k, header in enumerate(headers):
        places.setdefault(header.source, []).append(k)
    return places


def _frame_index(header: DicomHeader) -> int:
    """Index within the file."""
    return (header.image.frame_number or 1) - 1


def _decode(source: ByteSource, data: bytes, indices: list[int]) -> list[NDArray[np.generic]]:
    """Stored values of some frames of a file, in the order asked for."""
    with damage_told(source):
        dataset = dcmread(BytesIO(data))
        _require_decoder(source, dataset)
        return [np.asarray(pixels) for pixels in iter_pixels(dataset, indices=indices)]


def _rescaled(header: DicomHeader, pixels: NDArray[np.generic]) -> NDArray[np.float64]:
    """Stored values times slope plus intercept."""
    if pixels.shape != header.shape:
        problem = f"pixels have shape {pixels.shape}, expected {header.shape}"
        raise InputError(header.source.shown, problem, "Export it again")
    return np.asarray(pixels, np.float64) * header.rescale_slope + header.rescale_intercept


def _require_decoder(source: ByteSource, dataset: FileDataset) -> None:
    """Refuse a compression that no installed plug-in decodes."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_compressed or syntax.is_deflated:
        return
    decoder = get_decoder(syntax)
    if not decoder.is_available:
        raise InputError(
            source.shown,
            f"is compressed as {syntax.name}, for which no decoder is installed",
            "Install one: pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg pyjpegls",
        )
