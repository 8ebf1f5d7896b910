"""Cines from NumPy ``.npz`` files, one slice per file, in either of two layouts told apart by their arrays.

Ours:

==================== =================== ====================================================================
``frames``           (time, row, column) pixels, any integer or float
``frame_times_ms``   (time,)             time since the R wave; optional: nominal times with a warning
``pixel_spacing_mm`` (2,)                distance between rows and between columns; optional where given otherwise
``ed_frame``         ()                  index of the end-diastolic frame; optional: frame 0 with a warning
``rr_interval_ms``   ()                  time from one R wave to the next; optional
``affine``           (4, 4)              map from ``(column, row, 0, 1)`` to LPS [mm]; optional
==================== =================== ====================================================================

That of Displacement-INR, a successor of the predecessor's method; it stores no times and no ED frame:

==================== =================== ====================================================================
``images``           (time, row, column) pixels, any integer or float
``px_spacing``       () or (2,)          mm per pixel; two numbers are read as (row, column)
``slice_name``       ()                  names the slice; optional
==================== =================== ====================================================================

Its ``points``, ``bounding_box`` and ``es_frame_number`` are results, which are not read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tagstrain.data.cine import PixelSpacing, SliceLevel, TaggedCine
from tagstrain.data.study import SliceSource, Study
from tagstrain.errors import InputError
from tagstrain.io.assembly import (
    ED_ASSUMED,
    GIVEN,
    UnreadableSlice,
    checked_cine,
    given_spacing,
    nominal_times,
    resolve_spacing,
    safe_name,
    spans_plane,
    unique_names,
    with_spacing,
)
from tagstrain.io.limits import check_cine_size
from tagstrain.io.npz_arrays import NpzArrays, open_npz
from tagstrain.io.shown_names import given_name
from tagstrain.io.slice_levels import LEVEL_UNKNOWN, LEVELS_FROM_POSITION, level_from_file_name, towards_apex

SUFFIX = ".npz"

_FRAMES, _SPACING = "frames", "pixel_spacing_mm"
_SUCCESSOR_FRAMES, _SUCCESSOR_SPACING, _SUCCESSOR_NAME = "images", "px_spacing", "slice_name"


@dataclass(frozen=True, eq=False, slots=True)
class NpzSlice:
    """One file; its pixels are read when it is loaded."""

    path: Path
    name: str
    level: SliceLevel
    given_spacing: PixelSpacing | None = None
    affine: NDArray[np.float64] | None = None
    """As stored: its steps may be those of other pixels than are given, its position holds all the same."""
    middle_mm: NDArray[np.float64] | None = None
    is_level_from_position: bool = False

    def load(self) -> TaggedCine:
        """Read the file.

        Raises
        ------
        InputError
            If it is damaged or its values make no cine.
        """
        with open_npz(self.path) as arrays:
            is_ours = _FRAMES in arrays
            frames = arrays.array(_FRAMES if is_ours else _SUCCESSOR_FRAMES)
            spacing_name = _SPACING if is_ours else _SUCCESSOR_SPACING
            stored_spacing = _spacing(arrays, spacing_name)
            times_ms = arrays.numbers("frame_times_ms") if is_ours else None
            ed_frame = arrays.number("ed_frame") if is_ours else None
            rr_interval_ms = arrays.number("rr_interval_ms") if is_ours else None
            affine = _affine(arrays) if is_ours else None
        spacing, warnings = resolve_spacing(self.path, stored_spacing, self.given_spacing, f"array {spacing_name}")
        if affine is not None and affine.shape == (4, 4):
            name = f"array {spacing_name}" if self.given_spacing is None else GIVEN
            affine, told = with_spacing(affine, spacing, stored_spacing, name)
            warnings += told
        if times_ms is None:
            times_ms, warning = nominal_times(len(frames))
            warnings += (warning,)
        if ed_frame is not None and not ed_frame.is_integer():
            raise InputError(self.path, f"array ed_frame: expected a whole number, got {ed_frame:g}", "Mend it")
        if ed_frame is None:
            warnings += (ED_ASSUMED,)
        if self.level is SliceLevel.UNKNOWN:
            warnings += (LEVEL_UNKNOWN,)
        if self.is_level_from_position:
            warnings += (LEVELS_FROM_POSITION,)
        return checked_cine(
            self.path,
            frames,
            frame_times_ms=times_ms,
            pixel_spacing=spacing,
            name=self.name,
            level=self.level,
            ed_frame=int(ed_frame or 0),
            affine=affine,
            source=f"NumPy {self.path.name}",
            rr_interval_ms=rr_interval_ms,
            warnings=warnings,
        )


def read_npz_study(
    path: Path,
    files: Sequence[Path],
    pixel_spacing_mm: tuple[float, float] | None = None,
    skipped: tuple[str, ...] = (),
) -> Study:
    """List one slice per file, from base to apex where names or positions tell; pixels are read when one is loaded.

    Parameters
    ----------
    path
        What the user gave: the file, or the folder that holds ``files``.
    skipped
        What else the folder holds, with the reason.

    Raises
    ------
    InputError
        If no file can be used.
    """
    given = given_spacing(pixel_spacing_mm)
    readable: list[NpzSlice] = []
    unreadable: list[UnreadableSlice] = []
    for file in files:
        try:
            readable.append(_describe(file, given))
        except InputError as error:
            unreadable.append(UnreadableSlice.from_error(safe_name(file.stem, "slice"), error))
    if not readable:
        raise unreadable[0].error()
    placed = [
        replace(entry, name=level.value, level=level, is_level_from_position=True) if level else entry
        for entry, level in towards_apex(readable, may_name=not unreadable)
    ]
    found: list[NpzSlice | UnreadableSlice] = [*placed, *unreadable]
    names = unique_names([entry.name for entry in found])
    slices: tuple[SliceSource, ...] = tuple(replace(entry, name=name) for entry, name in zip(found, names, strict=True))
    key = safe_name(path.stem if path.is_file() else given_name(path))
    return Study(key=key, path=path, slices=slices, format="npz", skipped=skipped)


def _describe(path: Path, given: PixelSpacing | None) -> NpzSlice:
    """Check the shape of a file's pixels, and name its slice by level, else by what the file or its name says."""
    with open_npz(path) as arrays:
        name = _FRAMES if _FRAMES in arrays else _SUCCESSOR_FRAMES
        if name not in arrays:
            problem = f"holds neither an array {_FRAMES} nor {_SUCCESSOR_FRAMES} (found: {arrays.listing()})"
            raise InputError(path, problem, "Write it in one of the layouts that the documentation gives")
        shape = arrays.shape(name)
        slice_name = arrays.text(_SUCCESSOR_NAME) if name == _SUCCESSOR_FRAMES else None
        affine = _affine(arrays) if name == _FRAMES else None
    if len(shape) != 3 or 0 in shape:
        raise InputError(path, f"array {name}: expected shape (time, row, column), got {shape}", "Write it so")
    check_cine_size(path, shape)
    words = slice_name or path.stem
    level = level_from_file_name(words)
    middle_mm = None
    if affine is None or affine.shape != (4, 4):
        affine = None  # told where the slice is loaded
    else:
        middle_mm = affine[:3] @ [(shape[2] - 1) / 2, (shape[1] - 1) / 2, 0.0, 1.0]
    named = level.value if level else safe_name(words, "slice")
    return NpzSlice(path, named, level or SliceLevel.UNKNOWN, given, affine, middle_mm)


def _spacing(arrays: NpzArrays, name: str) -> PixelSpacing | None:
    """Pixel spacing; one number stands for square pixels."""
    values = arrays.numbers(name)
    if values is None:
        return None
    if values.size not in (1, 2):
        raise InputError(
            arrays.path, f"array {name}: expected (row, column) in mm, got shape {values.shape}", "Mend it"
        )
    values = values.ravel()
    return PixelSpacing(float(values[0]), float(values[-1]))


def _affine(arrays: NpzArrays) -> NDArray[np.float64] | None:
    """Position of the slice; None where not stored."""
    affine = arrays.numbers("affine")
    if affine is not None and not np.isfinite(affine).all():
        raise InputError(arrays.path, "array affine holds values that are NaN or infinite", "Mend it or leave it out")
    if affine is not None and affine.shape == (4, 4) and not spans_plane(affine):
        raise InputError(arrays.path, "array affine spans no plane", "Mend it or leave it out")
    return affine
