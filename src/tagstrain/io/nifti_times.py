"""When the frames of a NIfTI file were taken: its sidecar JSON where there is one, else its header.

The sidecar has the name of the image with ``.json`` in place of ``.nii`` or ``.nii.gz``, as in BIDS. Of its keys, the
first that is there is read:

==================== ========= ==================================================================================
``FrameTimesMs``     list      time of every frame since the R wave [ms]; ``frame_times_ms`` is the same
``TriggerTime``      list      the same under its DICOM name (0018,1060)
``FrameTimesStart``  list      the same in seconds, as BIDS stores all times
``RRIntervalMs``     number    time from one R wave to the next [ms]; ``rr_interval_ms`` is the same
``NominalInterval``  number    the same under its DICOM name (0018,1062)
==================== ========= ==================================================================================

``RepetitionTime`` is not read: between frames of a cine it is that of the pulses for some scanners, of the frames for
others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tagstrain.io.assembly import nominal_times

SUFFIXES = (".nii", ".nii.gz")

_MS_PER_UNIT = {8: 1000.0, 16: 1.0, 24: 0.001}  # xyzt_units & 56: second, ms, microsecond
_MS_PER_TIME = {"FrameTimesMs": 1.0, "frame_times_ms": 1.0, "TriggerTime": 1.0, "FrameTimesStart": 1000.0}
_RR_KEYS = ("RRIntervalMs", "rr_interval_ms", "NominalInterval")
_MAX_SIDECAR_BYTES = 16 * 1024**2


@dataclass(frozen=True, eq=False, slots=True)
class FrameTiming:
    """Times of the frames, and what had to be assumed about them."""

    frame_times_ms: NDArray[np.float64]
    rr_interval_ms: float | None
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HeaderTiming:
    """What a header says about time."""

    step: float
    """``pixdim`` of the last axis, which is time."""
    start: float
    """``toffset``"""
    unit: int
    """``xyzt_units & 56``"""
    is_time: bool
    """Whether the step can only be that of time, unit or not; of three axes, the third is space to many programs."""


def nifti_stem(path: Path) -> str:
    """Name of the file without ``.nii`` or ``.nii.gz``."""
    name = path.name
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


def sidecar_path(path: Path) -> Path:
    """Where the sidecar of an image is, if it has one."""
    return path.with_name(nifti_stem(path) + ".json")


def frame_timing(path: Path, header: HeaderTiming, n_frames: int) -> FrameTiming:
    """Timing from the sidecar; where it is silent or wrong, from the header, else nominal.

    A sidecar that cannot be used is told in the warnings, and never fails the image.
    """
    content, told = _read_sidecar(sidecar_path(path))
    rr_interval_ms, rr_told = _rr_interval_ms(content)
    times_ms, times_told = _sidecar_times_ms(content, n_frames)
    told += rr_told + times_told
    if times_ms is None:
        times_ms, header_told = _header_times_ms(header, n_frames)
        told += header_told
    return FrameTiming(times_ms, rr_interval_ms, told)


def _read_sidecar(path: Path) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """Content of a sidecar, empty where there is none, and what is wrong with it."""
    if not path.is_file():
        return {}, ()
    try:
        if path.stat().st_size > _MAX_SIDECAR_BYTES:
            return {}, (f"{path.name} is far too large for a sidecar: it was not read",)
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return {}, (f"{path.name} cannot be read as JSON: it was not used",)
    return (content, ()) if isinstance(content, dict) else ({}, (f"{path.name} is no JSON object: it was not used",))


def _sidecar_times_ms(content: Mapping[str, Any], n_frames: int) -> tuple[NDArray[np.float64] | None, tuple[str, ...]]:
    """Frame times that a sidecar gives, and why they cannot be used."""
    for key, factor in _MS_PER_TIME.items():
        # One number, as converters write it, is the trigger time of the first frame alone.
        if not isinstance(content.get(key), list):
            continue
        times_ms = _finite_numbers(content[key], factor)
        if times_ms is None or len(times_ms) != n_frames:
            return None, (f"{key} in the sidecar: expected {n_frames} numbers, one per frame; it was not used",)
        if np.any(np.diff(times_ms) <= 0):
            return None, (f"{key} in the sidecar does not increase from frame to frame; it was not used",)
        return times_ms, ()
    return None, ()


def _rr_interval_ms(content: Mapping[str, Any]) -> tuple[float | None, tuple[str, ...]]:
    """RR interval that a sidecar gives, and why it cannot be used."""
    key = next((key for key in _RR_KEYS if key in content), None)
    if key is None:
        return None, ()
    values = _finite_numbers([content[key]])
    if values is None or values[0] <= 0:
        return None, (f"{key} in the sidecar is no positive time; it was not used",)
    return float(values[0]), ()


def _finite_numbers(values: list[Any], factor: float = 1.0) -> NDArray[np.float64] | None:
    """JSON numbers times a factor as an array; None where one is something else or not finite."""
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return None
    try:
        with np.errstate(over="ignore"):
            numbers = np.array(values, np.float64) * factor
    except OverflowError:  # JSON allows integers of any length
        return None
    return numbers if np.isfinite(numbers).all() else None


def _header_times_ms(header: HeaderTiming, n_frames: int) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Frame times from the time step of the header, with what had to be assumed."""
    step = header.step
    told: tuple[str, ...] = ()
    factor = _MS_PER_UNIT.get(header.unit)
    if factor is None and header.is_time and header.unit == 0:
        # Converters often leave the unit out; a default of 1 says nothing, and 0 < step < 1 can only be seconds.
        factor = 1000.0 if 0 < step < 1 else 1.0 if 5 <= step <= 1000 else None
        if factor is not None:
            name = "s" if factor > 1 else "ms"
            told = (f"the header names no unit of time: its step of {step:g} was taken as {name}",)
    if factor is None or not (np.isfinite(step) and step > 0):
        times_ms, warning = nominal_times(n_frames)
        return times_ms, (warning,)
    start = header.start
    start_ms = start * factor if np.isfinite(start) and abs(start * factor) < 10_000 else 0.0
    return start_ms + np.arange(n_frames, dtype=np.float64) * step * factor, told
