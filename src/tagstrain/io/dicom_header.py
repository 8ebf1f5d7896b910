"""What the reader needs from the header of one classic DICOM file, read without its pixels: `DicomHeader`."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset, FileDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import dcmread, read_partial
from pydicom.pixels.decoders.base import get_decoder
from pydicom.tag import BaseTag, Tag

from tagstrain.data.cine import PixelSpacing
from tagstrain.errors import InputError
from tagstrain.io.archive import ByteSource

# Only these are ever parsed: no attribute of the patient can reach a message.
_KEYWORDS = (
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "SeriesDescription",
    "SeriesNumber",
    "InstanceNumber",
    "AcquisitionDate",
    "AcquisitionTime",
    "TriggerTime",
    "NominalInterval",
    "FrameTime",
    "TemporalResolution",
    "CardiacNumberOfImages",
    "NumberOfFrames",
    "SamplesPerPixel",
    "Rows",
    "Columns",
    "PixelSpacing",
    "ImageOrientationPatient",
    "ImagePositionPatient",
)
_TAGS: list[BaseTag | int] = [Tag(tag) for keyword in _KEYWORDS if (tag := tag_for_keyword(keyword)) is not None]
_PIXEL_TAGS = (0x7FE00008, 0x7FE00009, 0x7FE00010)  # float, double and integer pixels

# What pydicom and its plug-ins raise on damaged files.
_DAMAGE = (
    InvalidDicomError,
    BytesLengthException,
    struct.error,
    zlib.error,
    EOFError,
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    NotImplementedError,
    RuntimeError,
    OverflowError,
    MemoryError,
    AssertionError,
)


@dataclass(frozen=True, eq=False, slots=True)
class DicomHeader:
    """One image of a series: where its bytes are, when and where it was taken. None where a file is silent."""

    source: ByteSource
    instance_uid: str
    series_uid: str
    series_description: str
    series_number: float | None
    acquired: str
    """Date and time of acquisition, which sort as text; empty where not stored."""
    instance_number: float | None
    trigger_time_ms: float | None
    interval_ms: float | None
    """Time between frames from FrameTime, NominalInterval and CardiacNumberOfImages, or TemporalResolution."""
    n_expected: int | None
    """CardiacNumberOfImages: frames of the complete slice."""
    shape: tuple[int, int]
    """Rows, columns."""
    pixel_spacing: PixelSpacing | None
    orientation: NDArray[np.float64] | None
    """Unit vectors (2, 3) along which the column index and the row index grow, in LPS."""
    position_mm: NDArray[np.float64] | None
    """Centre of the first pixel, in LPS."""


def read_header(source: ByteSource, stream: BinaryIO) -> DicomHeader:
    """Read everything but the pixels.

    Raises
    ------
    InputError
        If it is not a DICOM file, is damaged, or holds no single image.
    """
    seen_pixels: list[bool] = []

    def is_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
        """Stop at the pixels, and remember that there were some."""
        if tag in _PIXEL_TAGS:
            seen_pixels.append(length != 0)
        return tag in _PIXEL_TAGS

    with _damage_told(source):
        dataset = read_partial(stream, stop_when=is_pixels, specific_tags=_TAGS)
        header = _parse(source, dataset)
        n_frames = _number(dataset, "NumberOfFrames")
        samples = _number(dataset, "SamplesPerPixel")
    if not any(seen_pixels) or 0 in header.shape:
        raise InputError(source.path, "holds no pixel data", "Give the images, not reports or directories")
    if n_frames is not None and n_frames > 1:
        raise InputError(source.path, "is a multi-frame object", "Export the series as classic single-frame DICOM")
    if samples is not None and samples > 1:
        raise InputError(source.path, "is a color image", "Give the magnitude images of the scanner")
    return header


def read_pixels(header: DicomHeader) -> NDArray[np.float64]:
    """Pixels ``(row, column)`` with rescale slope and intercept applied.

    Raises
    ------
    InputError
        If they are damaged or in a compression for which no pydicom plug-in is installed.
    """
    source = header.source
    data = source.read()
    with _damage_told(source):
        dataset = dcmread(BytesIO(data))
        _require_decoder(source, dataset)
        pixels = np.asarray(dataset.pixel_array)
        slope, intercept = _number(dataset, "RescaleSlope"), _number(dataset, "RescaleIntercept")
    if pixels.shape != header.shape:
        raise InputError(source.path, f"pixels have shape {pixels.shape}, expected {header.shape}", "Export it again")
    return np.asarray(pixels * (1.0 if slope is None else slope) + (intercept or 0.0), np.float64)


def _require_decoder(source: ByteSource, dataset: FileDataset) -> None:
    """Refuse a compression that no installed plug-in decodes."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_compressed or syntax.is_deflated:
        return
    decoder = get_decoder(syntax)
    if not decoder.is_available:
        raise InputError(
            source.path,
            f"is compressed as {syntax.name}, for which no decoder is installed",
            "Install one: pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg pyjpegls",
        )


@contextmanager
def _damage_told(source: ByteSource) -> Iterator[None]:
    """Turn what pydicom raises into an `InputError`; its text stays out, since it quotes the file's values."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except InvalidDicomError as error:
        raise InputError(source.path, "is not a DICOM file", "Give DICOM, NIfTI or HDF5") from error
    except _DAMAGE as error:
        problem = f"is truncated or damaged ({type(error).__name__} while decoding)"
        raise InputError(source.path, problem, "Copy or export it again") from error


def _parse(source: ByteSource, dataset: Dataset) -> DicomHeader:
    """Take the values out of a dataset; one that cannot be read counts as missing."""
    spacing = _numbers(dataset, "PixelSpacing", 2)
    directions = _numbers(dataset, "ImageOrientationPatient", 6)
    n_expected = _number(dataset, "CardiacNumberOfImages")
    return DicomHeader(
        source=source,
        instance_uid=_text(dataset, "SOPInstanceUID"),
        series_uid=_text(dataset, "SeriesInstanceUID"),
        series_description=_text(dataset, "SeriesDescription"),
        series_number=_number(dataset, "SeriesNumber"),
        acquired=_text(dataset, "AcquisitionDate") + _text(dataset, "AcquisitionTime"),
        instance_number=_number(dataset, "InstanceNumber"),
        trigger_time_ms=_number(dataset, "TriggerTime"),
        interval_ms=_frame_interval_ms(dataset),
        n_expected=int(n_expected) if n_expected is not None and n_expected >= 1 else None,
        shape=(int(_number(dataset, "Rows") or 0), int(_number(dataset, "Columns") or 0)),
        pixel_spacing=None if spacing is None else PixelSpacing(float(spacing[0]), float(spacing[1])),
        orientation=None if directions is None else _unit_vectors(directions.reshape(2, 3)),
        position_mm=_numbers(dataset, "ImagePositionPatient", 3),
    )


def _frame_interval_ms(dataset: Dataset) -> float | None:
    """Time between frames where the trigger times do not give it."""
    frame_time = _number(dataset, "FrameTime")
    if frame_time is not None and frame_time > 0:
        return frame_time
    beat_ms, n_images = _number(dataset, "NominalInterval"), _number(dataset, "CardiacNumberOfImages")
    if beat_ms is not None and n_images is not None and beat_ms > 0 and n_images >= 2:
        return beat_ms / n_images
    resolution = _number(dataset, "TemporalResolution")
    return resolution if resolution is not None and resolution > 0 else None


def _unit_vectors(directions: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Directions of length 1; None where they span no plane."""
    lengths = np.linalg.norm(directions, axis=1, keepdims=True)
    if (lengths < 1e-3).any() or np.linalg.norm(np.cross(*(directions / lengths))) < 0.5:
        return None
    return np.asarray(directions / lengths)


def _numbers(dataset: Dataset, keyword: str, count: int) -> NDArray[np.float64] | None:
    """Finite numbers of an attribute; None where it is missing, has another count or is no number."""
    try:
        value: Any = dataset.get(keyword)
        numbers = np.asarray(value, np.float64).ravel()
    except (ValueError, TypeError, OverflowError, BytesLengthException, NotImplementedError):
        return None
    return numbers if numbers.size == count and np.isfinite(numbers).all() else None


def _number(dataset: Dataset, keyword: str) -> float | None:
    """Single finite number of an attribute; None where it is missing or no number."""
    numbers = _numbers(dataset, keyword, 1)
    return None if numbers is None else float(numbers[0])


def _text(dataset: Dataset, keyword: str) -> str:
    """Text of an attribute; empty where it is missing."""
    value = dataset.get(keyword)
    return "" if value is None else str(value)
