"""Line tags acquired in two series, one per direction, as one grid: `pair_lines`, `crossed_slice`, `crossed_frames`.

Series of two breath-holds may show the heart in two places: `breath_holds_apart_mm`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft2, rfft2
from scipy.ndimage import gaussian_filter

from tagstrain.data.cine import PixelSpacing
from tagstrain.errors import InputError
from tagstrain.io.assembly import is_same_spacing
from tagstrain.io.dicom_series import FrameGroup
from tagstrain.io.dicom_timing import OrderedSlice
from tagstrain.io.slice_levels import SAME_SLICE_MM

LEAST_MATCHED = 0.8
"""Share of the shorter set's frames that need a partner in the other."""
TAG_BLUR_MM = 6.0
"""Width of the Gaussian that takes tags of 4 to 10 mm out of an image."""
LARGEST_SHIFT_MM = 30.0
LEAST_CORRELATION = 0.5
NOTED_SHIFT_MM = 4.0
"""Half a tag. A heart that lies 8 mm apart before a chest that stays is found 3 to 8 mm apart."""
ONE_DIRECTION = "its tags are lines of one direction: motion along them cannot be seen"


def pair_lines(groups: Sequence[FrameGroup]) -> list[tuple[FrameGroup, ...]]:
    """Put together the slices whose line tags cross in one place on one matrix; all others stay alone."""
    paired: list[tuple[FrameGroup, ...]] = []
    left = list(groups)
    while left:
        group = left.pop(0)
        partner = next((other for other in left if group.crosses(other) and _share_pixels(group, other)), None)
        if partner is None:
            paired.append((group,))
        else:
            left.remove(partner)
            paired.append((group, partner))
    return paired


def crossed_slice(first: OrderedSlice, second: OrderedSlice) -> OrderedSlice:
    """Match the frames of two sets of line tags by time; the result has a frame for each pair.

    Matched frames are each other's nearest and lie less than half a frame interval apart; the result's time is the mean
    of the two. The heart may have beaten a little faster in one breath-hold: what has no partner then is left out.

    Raises
    ------
    InputError
        If fewer than `LEAST_MATCHED` of the shorter set, or not its first, have a partner.
    """
    if len(second.headers) < len(first.headers):
        first, second = second, first
    apart_ms = np.abs(first.frame_times_ms[:, None] - second.frame_times_ms)
    interval_ms = float(np.median(np.diff(first.frame_times_ms)))
    nearest = apart_ms.argmin(axis=1)
    is_matched = (apart_ms.min(axis=1) < interval_ms / 2) & (
        apart_ms.argmin(axis=0)[nearest] == np.arange(len(nearest))
    )
    if not is_matched[0] or is_matched.mean() < LEAST_MATCHED:
        largest_ms = float(apart_ms.min(axis=1).max())
        problem = f"the frames of its two sets of line tags do not match in time (up to {largest_ms:.0f} ms apart)"
        raise InputError(first.headers[0].source.shown, problem, "Give each set alone, or series of the same timing")
    kept, partner = np.flatnonzero(is_matched), nearest[is_matched]
    largest_ms = float(apart_ms[kept, partner].max())
    numbers = [f"{part.headers[0].series_number or 0:g}" for part in (first, second)]
    warning = f"a grid was made of the crossing line tags of series {' and '.join(numbers)}"
    if largest_ms >= 1:
        warning += f", whose frames are up to {largest_ms:.0f} ms apart"
    n_unused = len(first.headers) + len(second.headers) - 2 * len(kept)
    if n_unused:
        warning += f"; {n_unused} frames without a partner are not used"
    return replace(
        first,
        headers=tuple(first.headers[k] for k in kept),
        frame_times_ms=(first.frame_times_ms[kept] + second.frame_times_ms[partner]) / 2,
        warnings=(*dict.fromkeys((*first.warnings, *second.warnings)), warning),
        crossing_headers=tuple(second.headers[k] for k in partner),
    )


def crossed_frames(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    """Geometric mean of two images with crossing tags.

    Each direction's modulation multiplies the tissue's signal, as the two of a grid do (see
    `tagstrain.simulation.tags`), and a different gain of the two only scales the result.
    """
    return np.asarray(np.sqrt(np.maximum(first, 0)) * np.sqrt(np.maximum(second, 0)), np.float32)


def breath_holds_apart_mm(
    first: NDArray[np.float32], second: NDArray[np.float32], spacing: PixelSpacing
) -> float | None:
    """How far apart two cines of which a grid is made show the heart; None below `NOTED_SHIFT_MM` or where unclear."""
    shift_mm = heart_shift_mm(first, second, np.array([spacing.column_mm, spacing.row_mm]))
    return shift_mm if shift_mm >= NOTED_SHIFT_MM else None


def breath_hold_warning(apart_mm: float) -> str:
    """What is to be said of a grid made of two cines that show the heart in two places."""
    return (
        f"the heart seems to lie {apart_mm:.0f} mm apart in the two breath-holds of its line tags: the grid made of "
        "them shows it twice, and strain across the wall is wrong. Look at the images before using its numbers"
    )


def heart_shift_mm(
    first: NDArray[np.float32], second: NDArray[np.float32], spacing_xy_mm: NDArray[np.float64]
) -> float:
    """How far apart two cines ``(time, row, column)`` of one plane show the beating heart; NaN where that is unclear.

    Without its tags, and without what the whole image does in time, tissue changes where the heart beats, so that a
    chest that stays has no say. Maps of that are laid on each other where they correlate best.
    """
    maps = [_beating(frames, spacing_xy_mm) for frames in (first, second)]
    energy = float(np.sqrt(np.prod([np.square(each).sum() for each in maps])))
    if not energy > 0:
        return np.nan
    correlation = irfft2(rfft2(maps[1]) * np.conj(rfft2(maps[0])), s=maps[0].shape) / energy
    y, x = np.meshgrid(*(np.fft.fftfreq(n, 1 / n) for n in maps[0].shape), indexing="ij")
    shift_mm = np.hypot(x * spacing_xy_mm[0], y * spacing_xy_mm[1])
    best = np.where(shift_mm <= LARGEST_SHIFT_MM, correlation, -1.0).argmax()
    return float(shift_mm.flat[best]) if correlation.flat[best] >= LEAST_CORRELATION else np.nan


def _beating(frames: NDArray[np.float32], spacing_xy_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """How much every pixel changes beside what all do, about its mean, fading towards the image's border."""
    width_x, width_y = TAG_BLUR_MM / spacing_xy_mm
    blurred = gaussian_filter(np.asarray(frames, np.float64), (0, width_y, width_x))
    blurred -= blurred.mean(axis=0)
    whole = blurred.mean(axis=(1, 2))
    blurred -= whole[:, None, None] * np.tensordot(whole, blurred, (0, 0)) / max(float(whole @ whole), 1e-12)
    change = blurred.std(axis=0)
    rows, columns = change.shape
    return np.asarray((change - change.mean()) * np.hanning(rows)[:, None] * np.hanning(columns))


def _share_pixels(one: FrameGroup, other: FrameGroup) -> bool:
    """Whether two slices have the same matrix and spacing in the same place."""
    first, second = one.affine, other.affine
    if first is None or second is None or one.first.shape != other.first.shape:
        return False
    has_same_spacing = is_same_spacing(one.first.pixel_spacing, other.first.pixel_spacing)
    has_same_axes = bool(np.allclose(first[:3, :3], second[:3, :3], atol=0.01))
    return has_same_spacing and has_same_axes and bool(np.linalg.norm(first[:3, 3] - second[:3, 3]) <= SAME_SLICE_MM)
