"""Classic single-frame DICOM, from a file, a folder or a zip, as slices in order from base to apex."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np

from tagstrain.data.cine import PixelSpacing, SliceLevel, TaggedCine
from tagstrain.data.study import SliceSource, Study
from tagstrain.errors import InputError
from tagstrain.io.archive import FileBytes, open_archive, read_member, zip_members
from tagstrain.io.assembly import UnreadableSlice, checked_cine, given_spacing, safe_name, unique_names
from tagstrain.io.dicom_header import DicomHeader, read_header, read_pixels
from tagstrain.io.dicom_series import FrameGroup, OrderedSlice, group_slices, order_frames
from tagstrain.io.slice_levels import (
    LEVEL_UNKNOWN,
    LEVELS,
    LEVELS_FROM_POSITION,
    ORDER_DISAGREES,
    order_towards_apex,
)

PREAMBLE_BYTES = 132
N_SKIPPED_NAMED = 20


@dataclass(frozen=True, eq=False, slots=True)
class DicomSlice:
    """One slice whose headers are known; pixels are decoded when it is loaded."""

    name: str
    level: SliceLevel
    images: OrderedSlice

    def load(self) -> TaggedCine:
        """Decode the pixels.

        Raises
        ------
        InputError
            If an image is damaged or its compression cannot be decoded.
        """
        headers = self.images.headers
        return checked_cine(
            headers[0].source.path,
            np.stack([read_pixels(header).astype(np.float32) for header in headers]),
            frame_times_ms=self.images.frame_times_ms,
            pixel_spacing=self.images.pixel_spacing,
            name=self.name,
            level=self.level,
            affine=self.images.affine,
            source=f"DICOM, {len(headers)} files, first {headers[0].source.path.name}",
            warnings=self.images.warnings,
        )


def read_dicom_folder(path: Path, pixel_spacing_mm: tuple[float, float] | None = None, keep_ids: bool = False) -> Study:
    """Read all DICOM files below a folder; what is not an image is named in ``skipped``.

    Raises
    ------
    InputError
        If no slice of it can be used.
    """
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return _build_study(path, _file_headers(files), pixel_spacing_mm, safe_name(path.resolve().name))


def read_dicom_file(path: Path, pixel_spacing_mm: tuple[float, float] | None = None, keep_ids: bool = False) -> Study:
    """Read one DICOM file, which is an error for a classic single-frame one, since motion needs two frames.

    Raises
    ------
    InputError
        If no slice of it can be used.
    """
    return _build_study(path, _file_headers([path]), pixel_spacing_mm, safe_name(path.stem))


def read_dicom_zip(path: Path, pixel_spacing_mm: tuple[float, float] | None = None, keep_ids: bool = False) -> Study:
    """Read the DICOM files of a zip, flat or nested, without unpacking it to disk.

    Raises
    ------
    InputError
        If the zip is unsafe or damaged, or no slice of it can be used.
    """
    return _build_study(path, _zip_headers(path), pixel_spacing_mm, safe_name(path.stem))


def is_dicom(start: bytes) -> bool:
    """Whether a file's first 132 bytes are those of DICOM part 10."""
    return start[128:PREAMBLE_BYTES] == b"DICM"


def _file_headers(files: Iterable[Path]) -> Iterator[DicomHeader | InputError]:
    """Headers of files, or why a file gives none."""
    for file in files:
        try:
            with file.open("rb") as stream:
                start = stream.read(PREAMBLE_BYTES)
                stream.seek(0)
                yield read_header(FileBytes(file), stream) if is_dicom(start) else _not_dicom(file)
        except InputError as error:
            yield error
        except OSError as error:
            yield InputError(file, f"cannot be read ({error.strerror})", "Check the file")


def _zip_headers(path: Path) -> Iterator[DicomHeader | InputError]:
    """Headers of the members of a zip, or why a member gives none."""
    members = zip_members(path)
    with open_archive(path) as archive:
        for member in members:
            try:
                data = read_member(archive, member)
                yield read_header(member, BytesIO(data)) if is_dicom(data) else _not_dicom(member.path)
            except InputError as error:
                yield error


def _not_dicom(path: Path) -> InputError:
    """Say that a file is something else."""
    return InputError(path, "is not a DICOM file", "Give DICOM, NIfTI or HDF5")


def _build_study(
    path: Path, found: Iterable[DicomHeader | InputError], pixel_spacing_mm: tuple[float, float] | None, key: str
) -> Study:
    """Sort what was found into slices; fail only if none is left."""
    given = given_spacing(pixel_spacing_mm)
    headers: list[DicomHeader] = []
    errors: list[InputError] = []
    for entry in found:
        if isinstance(entry, InputError):
            errors.append(entry)
        else:
            headers.append(entry)
    if not headers:
        raise _no_image(path, errors)
    groups, left_out = group_slices(headers)
    if not groups:
        raise InputError(
            path,
            f"holds single frames only ({len(headers)}), at least 2 of one slice are needed to measure motion",
            "Give the folder or zip with all frames of the slice",
        )
    slices = _name_slices(groups, [_ordered(group, given) for group in groups])
    unreadable = [source for source in slices if isinstance(source, UnreadableSlice)]
    if len(unreadable) == len(slices):
        raise unreadable[0].error()
    skipped = _first_few([f"{error.path.name}: {error.problem}" for error in errors])
    return Study(key=key, path=path, slices=slices, format="dicom", skipped=(*skipped, *left_out))


def _no_image(path: Path, errors: list[InputError]) -> InputError:
    """Why a study without a single image cannot be used."""
    telling = [error for error in errors if error.problem != "is not a DICOM file"] or errors
    if not errors:
        return InputError(path, "is empty", "Give a folder or zip with the images")
    if len(errors) == 1 and path.is_file() and errors[0].path == path:
        return errors[0]
    problem = f"holds no image that can be used ({len(errors)} files; {telling[0].path.name} {telling[0].problem})"
    return InputError(path, problem, telling[0].remedy)


def _ordered(group: FrameGroup, given: PixelSpacing | None) -> OrderedSlice | InputError:
    """Images of a slice in order, or why they cannot be used."""
    try:
        return order_frames(group, given)
    except InputError as error:
        return error


def _name_slices(groups: list[FrameGroup], images: list[OrderedSlice | InputError]) -> tuple[SliceSource, ...]:
    """Order the slices from base to apex and name them by level where that is known."""
    levels: list[SliceLevel | None] = [group.level for group in groups]
    order, is_certain = order_towards_apex([group.affine for group in groups])
    warning = LEVEL_UNKNOWN
    if None not in levels:
        by_name = sorted(range(len(groups)), key=lambda k: LEVELS.index(levels[k] or SliceLevel.BASAL))
        # Either end of the normal may point to the apex: only an order that neither gives is a contradiction.
        disagrees = len(groups) == 3 and is_certain and by_name not in (order, order[::-1])
        order, warning = by_name, ORDER_DISAGREES if disagrees else ""
    elif len(groups) == 3 and is_certain and levels == [None] * 3:
        for k, level in zip(order, LEVELS, strict=True):
            levels[k] = level
        warning = LEVELS_FROM_POSITION
    names = unique_names([str(levels[k] or f"slice_{place + 1}") for place, k in enumerate(order)])
    slices: list[SliceSource] = []
    for k, name in zip(order, names, strict=True):
        image = images[k]
        if isinstance(image, InputError):
            slices.append(UnreadableSlice.from_error(name, image))
            continue
        told = (warning,) if warning and (warning != LEVEL_UNKNOWN or levels[k] is None) else ()
        image = replace(image, warnings=(*image.warnings, *told))
        slices.append(DicomSlice(name, levels[k] or SliceLevel.UNKNOWN, image))
    return tuple(slices)


def _first_few(lines: list[str]) -> list[str]:
    """Keep a list of skipped files readable."""
    if len(lines) <= N_SKIPPED_NAMED:
        return lines
    return [*lines[:N_SKIPPED_NAMED], f"and {len(lines) - N_SKIPPED_NAMED} more files that are no usable image"]
