"""From what a file says to a `TaggedCine`: assumptions put into words, refusals told as input errors."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tagstrain.data.cine import NOMINAL_FRAME_INTERVAL_MS, PixelSpacing, TaggedCine
from tagstrain.errors import InputError
from tagstrain.io.shown_names import printable

GIVE_SPACING = "Give it with --pixel-spacing-mm ROW COLUMN"
SPACING_MM = (0.2, 10.0)
"""From images interpolated to 1024 pixels to more than a tag spacing."""
SPACING_OF_HEARTS = f"{SPACING_MM[0]:g} to {SPACING_MM[1]:g} mm"
GIVEN = "the user's pixel spacing"
ED_ASSUMED = "frame 0 was taken as end-diastole: the file does not say which frame it is"
PLAUSIBLE_INTERVAL_MS = (5.0, 500.0)
"""Between the frames of a cine, wider than any tagged one (10 to 100 ms)."""
PLAUSIBLE_RR_MS = (50.0, 4000.0)
"""From one R wave to the next, 15 beats a minute or more; those of rodents are 80 ms and longer."""
MAX_NAME_LENGTH = 100
"""Characters of a study's or slice's name: file systems allow 255, of which suffixes and numbers take some."""


@dataclass(frozen=True, slots=True)
class UnreadableSlice:
    """A slice that was found and cannot be used; loading it raises the reason."""

    name: str
    path: Path
    problem: str
    remedy: str

    @classmethod
    def from_error(cls, name: str, error: InputError) -> UnreadableSlice:
        """Keep an error for the moment when the slice is asked for."""
        return cls(name, error.path, error.problem, error.remedy)

    def error(self) -> InputError:
        """Why the slice cannot be used."""
        return InputError(self.path, self.problem, self.remedy)

    def load(self) -> TaggedCine:
        """Raise the reason."""
        raise self.error()


def checked_cine(
    path: Path, frames: NDArray[Any], frame_times_ms: NDArray[np.float64], warnings: tuple[str, ...] = (), **fields: Any
) -> TaggedCine:
    """Build a `TaggedCine` of ``frames``, which become float32, with frame times that a cine can have.

    Raises
    ------
    InputError
        If the values make no cine (NaN pixels, times that do not increase, ...).
    """
    with np.errstate(over="ignore", invalid="ignore"):
        pixels = np.ascontiguousarray(frames, np.float32)
    times_ms, told = plausible_times(frame_times_ms)
    rr_interval_ms, told_of_rr = plausible_rr_interval(fields.pop("rr_interval_ms", None))
    told += told_of_rr
    source = printable(fields.pop("source", ""))
    try:
        return TaggedCine(
            frames=pixels,
            frame_times_ms=times_ms,
            warnings=(*warnings, *told),
            rr_interval_ms=rr_interval_ms,
            source=source,
            **fields,
        )
    except ValueError as error:
        raise InputError(path, str(error), "Check the file or export it again") from error


def nominal_times(n_frames: int, why: str = "frame times are not stored") -> tuple[NDArray[np.float64], str]:
    """Frame times [ms] where a file has none that can be used, and the warning that says so."""
    warning = f"{why}: {NOMINAL_FRAME_INTERVAL_MS:g} ms between frames was assumed"
    return np.arange(n_frames, dtype=np.float64) * NOMINAL_FRAME_INTERVAL_MS, warning


def plausible_rr_interval(rr_interval_ms: float | None) -> tuple[float | None, tuple[str, ...]]:
    """RR interval [ms] that a heart can have, and what was assumed where a file's cannot be right; None for none."""
    if rr_interval_ms is None or not rr_interval_ms > 0:  # 0, as some write what they do not know
        return None, ()
    low_ms, high_ms = PLAUSIBLE_RR_MS
    if low_ms <= rr_interval_ms <= high_ms:
        return rr_interval_ms, ()
    found = f"the RR interval is stored as {rr_interval_ms:g} ms, expected {low_ms:g} to {high_ms:g}"
    if low_ms <= 1000 * rr_interval_ms <= high_ms:
        return 1000 * rr_interval_ms, (f"{found}: it was taken as seconds; store it in ms",)
    return None, (f"{found}: it was not used",)


def plausible_times(frame_times_ms: NDArray[np.float64]) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Frame times [ms] that a cine can have, and what was assumed where a file's cannot be right.

    The tracker reads them, so wrong ones change the strain itself. Times whose median interval is out of
    `PLAUSIBLE_INTERVAL_MS` are taken as seconds where that mends it, else nominal ones stand in for them. Times that
    are not finite or do not increase come back as they are, for `TaggedCine` to refuse.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # times without end have no interval
        intervals_ms = np.diff(frame_times_ms)
    if not (
        intervals_ms.ndim == 1 and intervals_ms.size and np.isfinite(intervals_ms).all() and intervals_ms.min() > 0
    ):
        return frame_times_ms, ()
    low_ms, high_ms = PLAUSIBLE_INTERVAL_MS
    interval_ms = float(np.median(intervals_ms))
    if low_ms <= interval_ms <= high_ms:
        return frame_times_ms, ()
    found = f"frame times are stored {interval_ms:g} ms apart, expected {low_ms:g} to {high_ms:g}"
    if low_ms <= 1000 * interval_ms <= high_ms:
        return 1000 * frame_times_ms, (f"{found}: they were taken as seconds; store them in ms",)
    times_ms, warning = nominal_times(len(frame_times_ms), found)
    return times_ms, (f"{warning}; mend the times in the file, or their unit",)


def resolve_spacing(
    path: Path, stored: PixelSpacing | None, given: PixelSpacing | None, name: str
) -> tuple[PixelSpacing, tuple[str, ...]]:
    """Choose between the spacing a file stores and the one the user gives, which wins and is told where it differs.

    Parameters
    ----------
    name
        What the format calls the spacing, for the message.

    Raises
    ------
    InputError
        If there is neither, or the stored one is none that a heart is imaged with, as where it is in cm or µm.
    """
    if given is not None:
        if stored is None or is_same_spacing(stored, given):
            return given, ()
        row, column = stored
        return given, (f"the pixel spacing given replaces the stored one ({row:g} x {column:g} mm, row x column)",)
    if stored is None:
        raise InputError(path, f"{name} is missing", GIVE_SPACING)
    if not is_spacing_of_hearts(stored):
        problem = f"{name} is {stored.row_mm:g} x {stored.column_mm:g} mm, expected {SPACING_OF_HEARTS}"
        raise InputError(path, problem, GIVE_SPACING)
    return stored, ()


def is_same_spacing(one: PixelSpacing | None, other: PixelSpacing | None) -> bool:
    """Whether two spacings differ by rounding at most; two unknown ones are the same."""
    return one == other if one is None or other is None else np.allclose(one, other, rtol=1e-4)


def is_spacing_of_hearts(spacing: PixelSpacing) -> bool:
    """Whether human hearts may be imaged with a pixel spacing; those that are not may be in another unit."""
    return all(SPACING_MM[0] <= mm <= SPACING_MM[1] for mm in spacing)


def given_spacing(pixel_spacing_mm: tuple[float, float] | None) -> PixelSpacing | None:
    """Spacing that the user gave, ``(row, column)`` [mm].

    Raises
    ------
    ValueError
        If it is not two positive lengths.
    """
    if pixel_spacing_mm is None:
        return None
    row_mm, column_mm = pixel_spacing_mm
    given = PixelSpacing(float(row_mm), float(column_mm))
    if not given.is_possible:
        raise ValueError(f"pixel_spacing_mm: expected two positive lengths (row, column), got {pixel_spacing_mm}")
    return given


def with_spacing(
    affine: NDArray[np.float64], spacing: PixelSpacing, stored: PixelSpacing | None, name: str
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """A map ``(4, 4)`` from pixels to patient coordinates whose steps are those of the pixel spacing, and what is said
    where they were others.

    Parameters
    ----------
    stored
        Spacing that the file states besides, which may have been replaced: steps that agree with it are not told again.
    name
        What the format calls the spacing, for the message.
    """
    steps_mm = np.linalg.norm(affine[:3, :2], axis=0)
    wanted_mm = np.array([spacing.column_mm, spacing.row_mm])
    scaled = affine @ np.diag([*(wanted_mm / steps_mm), 1.0, 1.0])
    known_mm = [wanted_mm] + ([] if stored is None else [np.array([stored.column_mm, stored.row_mm])])
    if any(np.allclose(steps_mm, known, rtol=0.01) for known in known_mm):
        return scaled, ()
    return scaled, (
        f"the position in the file has pixels of {steps_mm[1]:g} x {steps_mm[0]:g} mm, {name} of "
        f"{spacing.row_mm:g} x {spacing.column_mm:g} mm (row x column): the latter was used",
    )


def spans_plane(affine: NDArray[np.float64]) -> bool:
    """Whether a map ``(4, 4)`` from pixels to patient coordinates gives x and y directions that differ."""
    steps = affine[:3, :2]
    with np.errstate(over="ignore", invalid="ignore"):  # steps without end span none
        return bool(np.linalg.norm(np.cross(steps[:, 0], steps[:, 1])) > 1e-3 * np.prod(np.linalg.norm(steps, axis=0)))


def safe_name(text: str, fallback: str = "study") -> str:
    """Keep letters, digits, dot, dash and underscore, and no more than a file name can hold anywhere."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text)[:MAX_NAME_LENGTH].strip("._-") or fallback


def unique_names(names: list[str]) -> list[str]:
    """Number the names that occur twice, so that each slice of a study has its own."""
    taken: set[str] = set()
    unique: list[str] = []
    for name in names:
        candidate, count = name, 1
        while candidate in taken:
            count += 1
            candidate = f"{name}_{count}"
        taken.add(candidate)
        unique.append(candidate)
    return unique
