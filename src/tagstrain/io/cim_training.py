"""From CIM exports and their DICOM images to a training file in the predecessor's layout: `write_cim_training_file`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tagstrain.data.cine import PixelSpacing
from tagstrain.data.results import Box
from tagstrain.errors import InputError, LocalizationError
from tagstrain.geometry import OriginalCrop
from tagstrain.io.archive import FileBytes
from tagstrain.io.cim import N_SAMPLE_POINTS, CimSlice, find_cases, find_image, read_case, read_sample_points
from tagstrain.io.dicom_header import DicomHeader, read_header
from tagstrain.io.dicom_pixels import read_pixels
from tagstrain.io.hdf5_layout import CASES, MODELS, SLICES
from tagstrain.io.landmark_writer import LandmarkFileWriter

MIN_FRAMES = 20
"""Frames of a row at least: the predecessor's trainer takes rows of 20."""
MIN_SIDE_PX = 256
"""Side of the stored images at least: the predecessor's networks take 256 x 256."""


class SkipReason(StrEnum):
    """Why a case, a slice or a frame is not in the file."""

    CASE_UNREADABLE = "case cannot be read"
    NO_FIRST_LANDMARKS = "no landmarks in the first frame"
    NO_FIRST_IMAGE = "no image of the first frame"
    NO_BOX = "landmarks of the first frame lie outside the image"
    OUTSIDE_CROP = "box lies outside the middle 256 x 256 pixels"
    MIXED_IMAGES = "images differ in size or spacing"
    NO_SPACING = "images have no pixel spacing"
    ONE_FRAME = "only the first frame has an image"
    GRAY_LEVELS = "gray levels of a later frame are not whole numbers, as those of the first frames are"
    FRAME_LANDMARKS = "no landmarks in a later frame"
    FRAME_IMAGE = "no image of a later frame"
    FRAME_NUMBER = "ED or ES frame is not one of the slice"


@dataclass(slots=True)
class CimSummary:
    """How many of what were read and written."""

    n_cases: int = 0
    n_slices: int = 0
    """Slices written."""
    skipped_cases: Counter[SkipReason] = field(default_factory=Counter)
    skipped_slices: Counter[SkipReason] = field(default_factory=Counter)
    missing_frames: Counter[SkipReason] = field(default_factory=Counter)
    """Frames of written slices that lack landmarks or an image, and ED or ES numbers that are none."""


class _SliceSkippedError(Exception):
    """Ends the reading of a slice."""

    def __init__(self, reason: SkipReason, detail: str = "") -> None:
        self.reason = reason
        super().__init__(f"{reason} ({detail.rstrip('.')})" if detail else str(reason))


@dataclass(frozen=True, eq=False, slots=True)
class _Row:
    """One slice as it will be stored; ``missing`` says in words what the slice lacks."""

    frames: NDArray[np.float64]
    points_px: NDArray[np.float64]
    regions: NDArray[np.float64]
    box: Box
    pixel_spacing: PixelSpacing
    frame_times_ms: NDArray[np.float64] | None
    missing: tuple[tuple[SkipReason, str], ...]


def write_cim_training_file(
    cim_folder: Path,
    image_folder: Path,
    path: Path,
    case_names: bool = False,
    overwrite: bool = False,
    report: Callable[[str], None] = lambda _: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> CimSummary:
    """Write one row per slice of every case; what is missing is reported and skipped.

    Images smaller than the stored size stand in its middle between zeros, and landmarks and boxes are in pixels of
    the image as stored. Rows have 20 frames or as many as the longest slice. A frame without landmarks is NaN in
    points and regions; one without an image is, besides, 0 in the images. The frames up to the last image are
    counted in ``n_frames``. Crops are those of `OriginalCrop`, in float. A slice without landmarks or image in
    frame 0, which gives the box, is skipped; so is one without pixel spacing or motion, which nothing can learn from.

    Parameters
    ----------
    image_folder
        What IMAGEPATH in the pointer files stands for.
    case_names
        Whether to store ``_cases``, ``_models`` and ``_slices``, which may identify patients.
    report
        Called with a line for every case, slice or frame that cannot be used.
    progress
        Called with the number of slices done and in all.

    Raises
    ------
    InputError
        If there is no case, or not one slice can be used.
    OutputError
        If the file cannot be written.
    """
    if not image_folder.is_dir():
        raise InputError(image_folder, "is not a folder", "Give the folder that IMAGEPATH stands for")
    summary = CimSummary()
    slices = list(_list_slices(cim_folder, summary, report))
    # Sizes and kinds of pixels only: the images of a whole export would fill the memory.
    first_images = [_first_image(source, image_folder) for source in slices]
    side = max([MIN_SIDE_PX, *(size for size, _ in first_images)])
    # One data set holds all rows: whole numbers, as the predecessor stores them, unless some image has others.
    dtype: type[np.uint16 | np.float32] = np.uint16 if all(fits for _, fits in first_images) else np.float32
    n_frames = max([MIN_FRAMES, *(max(source.images, default=0) + 1 for source in slices)])
    with LandmarkFileWriter(path, n_frames, overwrite) as writer:
        for done, source in enumerate(slices, start=1):
            label = f"{source.case}, {source.model}, {source.name}"
            try:
                row = _padded(_read_row(source, image_folder), side)
                crop = _crop(row)
                if dtype is np.uint16 and not _fit_uint16(row.frames):
                    raise _SliceSkippedError(SkipReason.GRAY_LEVELS)
            except _SliceSkippedError as skipped:
                summary.skipped_slices[skipped.reason] += 1
                report(f"{label}: {skipped}")
            else:
                for reason, words in row.missing:
                    summary.missing_frames[reason] += 1
                    report(f"{label}: {words}")
                _append(writer, row, crop, source, dtype, case_names)
                summary.n_slices += 1
            progress(done, len(slices))
        if not summary.n_slices:
            raise InputError(cim_folder, f"gives no slice that can be used ({_counts(summary)})", "Check the export")
    return summary


def _list_slices(cim_folder: Path, summary: CimSummary, report: Callable[[str], None]) -> Iterator[CimSlice]:
    """Slices of all cases that can be read."""
    for folder in find_cases(cim_folder):
        try:
            slices = read_case(folder)
        except InputError as error:
            summary.skipped_cases[SkipReason.CASE_UNREADABLE] += 1
            report(f"{folder.name}: {SkipReason.CASE_UNREADABLE} ({str(error).rstrip('.')})")
        else:
            summary.n_cases += 1
            yield from slices


def _first_image(source: CimSlice, image_folder: Path) -> tuple[int, bool]:
    """Longer side of frame 0 and whether it fits uint16; one that cannot be read is reported when its turn comes."""
    try:
        pixels = _read_image(source.images, 0, image_folder)[1]
    except InputError:
        return 0, True
    return max(pixels.shape), _fit_uint16(pixels)


def _read_image(images: Mapping[int, str], frame: int, folder: Path) -> tuple[DicomHeader, NDArray[np.float64]]:
    """Header and pixels of a frame."""
    if frame not in images:
        raise InputError(f"frame {frame}", "the pointer file names no image", "Export the case again")
    path = find_image(folder, images[frame])
    try:
        with path.open("rb") as stream:
            header = read_header(FileBytes(path), stream)
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror})", "Check the file") from error
    return header, read_pixels(header)


def _read_row(source: CimSlice, image_folder: Path) -> _Row:
    """Read images and landmarks of a slice, in pixels of its own images."""
    headers: dict[int, DicomHeader] = {}
    images: dict[int, NDArray[np.float64]] = {}
    missing: list[tuple[SkipReason, str]] = []
    for frame in range(max([0, *source.images, *source.strain_files]) + 1):
        try:
            headers[frame], images[frame] = _read_image(source.images, frame, image_folder)
        except InputError as error:
            if frame == 0:
                raise _SliceSkippedError(SkipReason.NO_FIRST_IMAGE, str(error)) from error
            missing.append((SkipReason.FRAME_IMAGE, f"frame {frame} has no image ({str(error).rstrip('.')})"))
    if len({(header.shape, header.pixel_spacing) for header in headers.values()}) > 1:
        raise _SliceSkippedError(SkipReason.MIXED_IMAGES)
    if headers[0].pixel_spacing is None:
        raise _SliceSkippedError(SkipReason.NO_SPACING)
    if len(images) == 1:
        raise _SliceSkippedError(SkipReason.ONE_FRAME)
    rows, columns = headers[0].shape
    n_frames = max(images) + 1
    frames = np.zeros((n_frames, rows, columns))
    points = np.full((n_frames, N_SAMPLE_POINTS, 2), np.nan)
    regions = np.full((n_frames, N_SAMPLE_POINTS), np.nan)
    for frame, pixels in images.items():
        frames[frame] = pixels
        try:
            if frame not in source.strain_files:
                raise InputError(f"frame {frame}", "has no strain file", "Export the frame again")
            sample = read_sample_points(source.strain_files[frame])
        except InputError as error:
            if frame == 0:
                raise _SliceSkippedError(SkipReason.NO_FIRST_LANDMARKS, str(error)) from error
            words = f"frame {frame} has no landmarks ({str(error).rstrip('.')})"
            missing.append((SkipReason.FRAME_LANDMARKS, words))
            continue
        # CIM measures y from the lower edge: rows - y, not rows - 1 - y, as the predecessor reads it.
        points[frame] = np.array([0.0, rows]) + sample.image_xy_px * np.array([1.0, -1.0])
        regions[frame] = sample.regions
    for name, number in (("ED", source.ed_frame), ("ES", source.es_frame)):
        if number is not None and not 0 <= number < n_frames:
            missing.append((SkipReason.FRAME_NUMBER, f"{name} frame {number} is not one of its {n_frames} frames"))
    box = Box.around(points[0]).within(rows, columns)
    if not (box.x1 < box.x2 and box.y1 < box.y2):
        raise _SliceSkippedError(SkipReason.NO_BOX)
    return _Row(frames, points, regions, box, headers[0].pixel_spacing, _times_ms(headers), tuple(missing))


def _times_ms(headers: Mapping[int, DicomHeader]) -> NDArray[np.float64] | None:
    """Trigger times [ms] of the frames; None unless every frame has one and they increase."""
    times = [headers[t].trigger_time_ms if t in headers else None for t in range(max(headers) + 1)]
    known = np.array([time for time in times if time is not None])
    return known if len(known) == len(times) and (np.diff(known) > 0).all() else None


def _padded(row: _Row, side: int) -> _Row:
    """Put images that are smaller than the stored ones in their middle, and move what lies on them."""
    n_frames, rows, columns = row.frames.shape
    top, left = (side - rows) // 2, (side - columns) // 2
    frames = np.zeros((n_frames, side, side))
    frames[:, top : top + rows, left : left + columns] = row.frames
    box = Box(row.box.x1 + left, row.box.y1 + top, row.box.x2 + left, row.box.y2 + top)
    points = row.points_px + np.array([left, top])
    return _Row(frames, points, row.regions, box, row.pixel_spacing, row.frame_times_ms, row.missing)


def _crop(row: _Row) -> OriginalCrop:
    try:
        return OriginalCrop.around(row.box, *row.frames.shape[1:])
    except LocalizationError:
        raise _SliceSkippedError(SkipReason.OUTSIDE_CROP) from None


def _append(
    writer: LandmarkFileWriter,
    row: _Row,
    crop: OriginalCrop,
    source: CimSlice,
    dtype: type[np.uint16 | np.float32],
    case_names: bool,
) -> None:
    """Store a row."""
    n_frames = len(row.frames)
    crops, crop_points = crop.sample(row.frames), crop.to_crop(row.points_px)
    writer.append(
        row.points_px,
        row.box,
        row.pixel_spacing,
        ed_frame=_frame_or_unknown(source.ed_frame, n_frames),
        es_frame=_frame_or_unknown(source.es_frame, n_frames),
        frames=row.frames.astype(dtype),
        frame_times_ms=row.frame_times_ms,
        cropped_frames=crops,
        cropped_points_px=crop_points,
        regions=row.regions,
        text={CASES: source.case, MODELS: source.model, SLICES: source.name} if case_names else None,
    )


def _frame_or_unknown(frame: int | None, n_frames: int) -> int:
    """A frame of the slice, -1 where it is not known or not one of them."""
    return frame if frame is not None and 0 <= frame < n_frames else -1


def _fit_uint16(pixels: NDArray[np.float64]) -> bool:
    """Whether all are whole numbers from 0 to 65535."""
    return bool(pixels.min() >= 0 and pixels.max() <= 65535 and np.array_equal(pixels, np.rint(pixels)))


def _counts(summary: CimSummary) -> str:
    """What was skipped, for the message of a run that wrote nothing."""
    skipped = summary.skipped_cases + summary.skipped_slices
    return ", ".join(f"{reason}: {n}" for reason, n in skipped.items()) or "no short-axis slice is listed"
