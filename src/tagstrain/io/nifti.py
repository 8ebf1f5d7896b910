"""NIfTI files (x, y, 1, t), (x, y, z, t) or (x, y, t): rows are y, columns are x, one slice per z."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.openers import ImageOpener
from nibabel.spatialimages import HeaderDataError
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
    resolve_spacing,
    safe_name,
    spans_plane,
    unique_names,
    with_spacing,
)
from tagstrain.io.limits import check_cine_size, check_unpacked_size
from tagstrain.io.nifti_times import SUFFIXES, FrameTiming, HeaderTiming, frame_timing, nifti_stem
from tagstrain.io.shown_names import given_name
from tagstrain.io.silence import silenced
from tagstrain.io.slice_levels import (
    LEVEL_UNKNOWN,
    LEVELS_FROM_POSITION,
    level_from_file_name,
    towards_apex,
)

MAX_IMAGE_BYTES = 1024**3

_MM_PER_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # xyzt_units & 7: unknown, meter, mm, micrometer
_LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

# What nibabel and the decompressor raise on damaged files.
_DAMAGE = (
    ImageFileError,
    HeaderDataError,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    OverflowError,
    MemoryError,
    AttributeError,
)


@dataclass(frozen=True, eq=False, slots=True)
class NiftiSlice:
    """One z of a file; pixels are read when it is loaded."""

    path: Path
    z: int
    name: str
    level: SliceLevel
    timing: FrameTiming
    pixel_spacing: PixelSpacing
    affine: NDArray[np.float64] | None
    shape: tuple[int, int]
    """Columns and rows."""
    warnings: tuple[str, ...]

    @property
    def middle_mm(self) -> NDArray[np.float64] | None:
        """The image's middle in LPS; None where not known."""
        x, y = ((n - 1) / 2 for n in self.shape)
        return None if self.affine is None else self.affine[:3] @ [x, y, 0.0, 1.0]

    def load(self) -> TaggedCine:
        """Read the pixels.

        Raises
        ------
        InputError
            If they are truncated, damaged or not finite.
        """
        with _damage_told(self.path):
            image = _open(self.path)
            pixels = np.asanyarray(image.dataobj[:, :, self.z] if len(image.shape) > 3 else image.dataobj)
        return checked_cine(
            self.path,
            np.moveaxis(pixels, -1, 0).swapaxes(1, 2),
            frame_times_ms=self.timing.frame_times_ms,
            pixel_spacing=self.pixel_spacing,
            name=self.name,
            level=self.level,
            affine=self.affine,
            source=f"NIfTI {self.path.name}, z = {self.z}",
            rr_interval_ms=self.timing.rr_interval_ms,
            warnings=self.warnings,
        )


def is_nifti_name(path: Path) -> bool:
    """Whether the file's name ends as NIfTI does."""
    return path.name.lower().endswith(SUFFIXES)


def read_nifti_study(
    path: Path,
    files: Sequence[Path],
    pixel_spacing_mm: tuple[float, float] | None = None,
    skipped: tuple[str, ...] = (),
) -> Study:
    """List the slices of one or more files; pixels are read when a slice is loaded.

    Parameters
    ----------
    path
        What the user gave: the file, or the folder that holds ``files``.
    skipped
        What else the folder holds, with the reason.

    Raises
    ------
    InputError
        If no slice of any file can be used.
    """
    given = given_spacing(pixel_spacing_mm)
    slices: list[NiftiSlice | UnreadableSlice] = []
    for file in files:
        try:
            slices += _list_slices(file, given)
        except InputError as error:
            slices.append(UnreadableSlice.from_error(safe_name(nifti_stem(file), "slice"), error))
    unreadable = [entry for entry in slices if isinstance(entry, UnreadableSlice)]
    if len(unreadable) == len(slices):
        raise unreadable[0].error() if unreadable else InputError(path, "is empty", "Give a folder with the images")
    stem = nifti_stem(path) if path.is_file() else given_name(path)
    return Study(key=safe_name(stem), path=path, slices=_name_slices(slices), format="nifti", skipped=skipped)


def _list_slices(path: Path, given: PixelSpacing | None) -> list[NiftiSlice]:
    """Read the header of a file and describe its slices."""
    with _damage_told(path):
        image = _open(path)
        with ImageOpener(str(path)) as stream:  # as stored: nibabel repairs the header it hands out
            header = type(image.header).from_fileobj(stream, check=False)
        shape = tuple(int(n) for n in image.shape)
        dtype = np.dtype(image.get_data_dtype())
        zooms = [float(mm) for mm in np.asarray(header["pixdim"])[1:5]]
        units = int(header["xyzt_units"])
        pixels_at = float(header["vox_offset"])
        start = float(header["toffset"])
        has_position = int(header["sform_code"]) > 0 or int(header["qform_code"]) > 0
        affine: NDArray[np.float64] | None = np.asarray(image.affine, np.float64)
    _check_shape(path, shape, dtype, pixels_at)
    mm = _MM_PER_UNIT.get(units & 7)
    if mm is None:
        raise InputError(path, f"its xyzt_units ({units}) name no unit of length", "Mend the header")
    stored = PixelSpacing(zooms[1] * mm, zooms[0] * mm) if zooms[0] or zooms[1] else None
    spacing, told = resolve_spacing(path, stored, given, "pixdim")
    if units & 7 == 0 and given is None:
        told += ("the header names no unit of length: mm was assumed",)
    timing = frame_timing(path, HeaderTiming(zooms[len(shape) - 1], start, units & 56, len(shape) == 4), shape[-1])
    if not has_position:
        affine = None
    elif affine is not None and not (np.isfinite(affine).all() and spans_plane(affine)):
        affine = None
        told += ("the position in the header spans no plane: it was not used",)
    elif affine is not None:
        in_mm = affine * np.array([[mm], [mm], [mm], [1.0]])
        affine, told_of_steps = with_spacing(in_mm, spacing, stored, "pixdim" if given is None else GIVEN)
        told += told_of_steps
    level = level_from_file_name(nifti_stem(path))
    n_slices = shape[2] if len(shape) == 4 else 1
    return [
        NiftiSlice(
            path=path,
            z=z,
            name=safe_name(nifti_stem(path), "slice"),
            level=level if level and n_slices == 1 else SliceLevel.UNKNOWN,
            timing=timing,
            pixel_spacing=spacing,
            affine=None if affine is None else _slice_affine(affine, z),
            shape=(shape[0], shape[1]),
            warnings=(*told, *timing.warnings, ED_ASSUMED),
        )
        for z in range(n_slices)
    ]


def _check_shape(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], pixels_at: float) -> None:
    """Refuse what is no gray cine, or says to be larger than its file can hold, before anything is allocated."""
    if dtype.kind not in "iuf":
        raise InputError(path, f"holds {dtype} pixels, expected integers or floats", "Give the magnitude images")
    if len(shape) not in (3, 4) or min(shape) < 1:
        problem = f"has shape {shape}, expected (x, y, t), (x, y, 1, t) or (x, y, z, t)"
        raise InputError(path, problem, "Convert the series so that time is the last axis")
    if shape[-1] < 2:
        raise InputError(path, f"holds a single frame (shape {shape})", "Give the file with all frames of the cycle")
    n_bytes = dtype.itemsize * prod(shape)
    n_stored = path.stat().st_size
    if path.name.lower().endswith(".gz"):
        n_before = int(pixels_at) if np.isfinite(pixels_at) and pixels_at > 0 else 0
        check_unpacked_size(path, n_bytes + n_before, n_stored, MAX_IMAGE_BYTES)
    elif n_bytes > n_stored:
        problem = f"is truncated: its header announces {n_bytes} bytes of pixels"
        raise InputError(path, problem, "Copy or convert it again")
    check_cine_size(path, (shape[0], shape[1], shape[-1]))


def _slice_affine(affine: NDArray[np.float64], z: int) -> NDArray[np.float64]:
    """Map from ``(column, row, 0, 1)`` of slice ``z`` to LPS [mm]."""
    to_slice = np.eye(4)
    to_slice[2, 3] = z
    return np.asarray(_LPS_FROM_RAS @ affine @ to_slice)


def _name_slices(slices: Sequence[NiftiSlice | UnreadableSlice]) -> tuple[SliceSource, ...]:
    """Order the slices from base to apex where that is known, the unreadable last, and give each its own name."""
    readable = [entry for entry in slices if isinstance(entry, NiftiSlice)]
    unreadable = [entry for entry in slices if isinstance(entry, UnreadableSlice)]
    is_alone = len({entry.path for entry in slices}) == 1
    placed = [
        _with_level(entry, level, LEVELS_FROM_POSITION) if level else entry
        for entry, level in towards_apex(readable, may_name=not unreadable)
    ]
    readable = [
        _with_level(entry, entry.level, LEVEL_UNKNOWN if entry.level is SliceLevel.UNKNOWN else "") for entry in placed
    ]
    names = [
        entry.level.value if entry.level is not SliceLevel.UNKNOWN else f"slice_{place + 1}" if is_alone else entry.name
        for place, entry in enumerate(readable)
    ]
    names = unique_names(names + [entry.name for entry in unreadable])
    named: list[SliceSource] = [replace(entry, name=name) for entry, name in zip(readable, names, strict=False)]
    named += [replace(entry, name=name) for entry, name in zip(unreadable, names[len(readable) :], strict=True)]
    return tuple(named)


def _with_level(entry: NiftiSlice, level: SliceLevel, warning: str) -> NiftiSlice:
    """Set a slice's level and say how it came about."""
    return replace(entry, level=level, warnings=(*entry.warnings, warning) if warning else entry.warnings)


def _open(path: Path) -> Any:
    """NIfTI image whose pixels are still on disk (nibabel is partly typed, hence Any)."""
    image = nib.load(path)
    if not isinstance(image, nib.Nifti1Image):
        raise ImageFileError("another format")
    return image


@contextmanager
def _damage_told(path: Path) -> Iterator[None]:
    """Turn what nibabel raises into an `InputError`; what it mends in a header and prints is kept off the screen."""
    try:
        with silenced(nib.imageglobals.logger):
            yield
    except FileNotFoundError as error:
        raise InputError(path, "does not exist", "Check the path") from error
    except _DAMAGE as error:
        problem = f"is not a NIfTI file that can be read ({type(error).__name__}: truncated or damaged)"
        raise InputError(path, problem, "Copy or convert it again") from error
