"""Spacing and orientation of the tags in an image, from the peaks of its Fourier transform: `measure_tags`.

`measure_image_tags` does so where nobody has said yet where to look.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from tagstrain.errors import TagsNotFoundError

MIN_TAG_SPACING_MM = 4.0
MAX_TAG_SPACING_MM = 10.0

SEARCH_RADIUS_MM = 80.0
"""Tags cover all tissue: the wider the search, the higher their peaks stand out of noise and anatomy."""
MIN_IMAGE_STRENGTH = 16.0
"""Least strength over `SEARCH_RADIUS_MM`; in 24 simulated cines, first frame: 67 or more with tags, 11 at most without.
"""
MIN_FIELD_MM = 40.0
"""A narrower image shows too few tags to be judged."""
SPIKE_LEVEL = 4.0
"""Grey level over the 99th percentile above which a pixel shows no tissue: one would drown all tags.

In 46 simulated cines it is 2.9 at most."""


@dataclass(frozen=True, slots=True)
class TagDirection:
    """One set of parallel tag lines, described by the wave that crosses them."""

    frequency_xy: tuple[float, float]
    """Spatial frequency along ``(x, y)`` [cycles/mm]; x to the right, or y down where x is zero."""
    strength: float
    """Amplitude of the Fourier peak over the median amplitude of all tag frequencies; noise alone stays below 5."""

    @property
    def tag_spacing_mm(self) -> float:
        """Distance between neighbouring tag lines."""
        return 1 / float(np.hypot(*self.frequency_xy))

    @property
    def tag_angle_deg(self) -> float:
        """Angle of the normal of the tag lines, from x towards y (clockwise on the screen); -90 to 90."""
        return float(np.degrees(np.arctan2(self.frequency_xy[1], self.frequency_xy[0])))


@dataclass(frozen=True, slots=True)
class TagPattern:
    """The tags of a slice: one direction (line tags) or two (grid tags), the stronger first."""

    directions: tuple[TagDirection, ...]

    @property
    def frequencies_xy(self) -> NDArray[np.float64]:
        """Spatial frequencies [cycles/mm], shape ``(direction, 2)``."""
        return np.array([direction.frequency_xy for direction in self.directions])


def measure_tags(
    frames: NDArray[np.floating],
    spacing_xy_mm: NDArray[np.floating],
    center_xy_px: NDArray[np.floating],
    radius_mm: float,
    min_strength: float = 8.0,
) -> TagPattern:
    """Tag directions, spacing and angle within a round region of interest.

    The Fourier transform is evaluated directly at physical frequencies, so pixels need not be square, and is refined
    around each peak well below the width of a Fourier bin. Where the two peaks of a grid are sought, directions less
    than 35 degrees apart are taken as one.

    Parameters
    ----------
    frames
        The frames in which the tags stand out most, usually the first few; shape ``(time, row, column)``.
    spacing_xy_mm
        Pixel spacing along ``(x, y)``.
    center_xy_px, radius_mm
        The region of interest, weighted down smoothly towards its edge.
    min_strength
        Least `TagDirection.strength` of a direction.

    Raises
    ------
    TagsNotFoundError
        If no direction is that strong.
    """
    patch, x_mm, y_mm = _windowed_patch(frames, spacing_xy_mm, center_xy_px, radius_mm)
    step = 1 / (8 * radius_mm)
    highest = 1.15 / MIN_TAG_SPACING_MM
    along_x = np.arange(0, highest + step, step)
    along_y = np.arange(-highest, highest + step, step)
    power = _power(patch, x_mm, y_mm, along_x, along_y)

    frequency = np.hypot(along_x, along_y[:, None])
    in_band = (frequency >= 1 / MAX_TAG_SPACING_MM / 1.05) & (frequency <= 1.05 / MIN_TAG_SPACING_MM)
    floor = float(np.median(power[in_band]))
    # A peak must top its surroundings too: the flank of the low frequencies of plain tissue is no tag.
    summit = power >= _neighborhood_maximum(power)
    found: list[TagDirection] = []
    candidates = [tuple(index) for index in np.argwhere(in_band & summit)]
    for row, column in sorted(candidates, key=lambda index: -power[index]):
        strength = float(np.sqrt(power[row, column] / floor)) if floor > 0 else 0.0
        if strength < min_strength or (found and strength < 0.2 * found[0].strength):
            break
        peak = np.array([along_x[column], along_y[row]])
        if all(_angle_between_deg(peak, np.array(other.frequency_xy)) > 35 for other in found):
            fx, fy = _refine(patch[:1], x_mm, y_mm, peak, step)  # later frames have deformed tags
            found.append(TagDirection((fx, fy) if (fx, fy) > (0.0, 0.0) else (-fx, -fy), strength))
        if len(found) == 2:
            break
    if not found:
        raise TagsNotFoundError(
            f"no tag lines {MIN_TAG_SPACING_MM:g} to {MAX_TAG_SPACING_MM:g} mm apart around pixel "
            f"({center_xy_px[0]:.0f}, {center_xy_px[1]:.0f}); is this a tagged cine, and is its pixel spacing right?"
        )
    return TagPattern(tuple(found))


def measure_image_tags(frame: NDArray[np.floating], spacing_xy_mm: NDArray[np.floating]) -> TagPattern:
    """Tags around the middle of an image.

    Parameters
    ----------
    frame
        An early frame, shape ``(row, column)``.
    spacing_xy_mm
        Pixel spacing along ``(x, y)``.

    Raises
    ------
    TagsNotFoundError
        If there are none, or the image is too small or too coarse to show any.
    """
    size_xy_px = np.array(frame.shape[::-1])
    if (size_xy_px * spacing_xy_mm).min() < MIN_FIELD_MM or np.max(spacing_xy_mm) > MIN_TAG_SPACING_MM:
        width_mm, height_mm = size_xy_px * spacing_xy_mm
        raise TagsNotFoundError(
            f"{size_xy_px[0]} x {size_xy_px[1]} pixels over {width_mm:.3g} x {height_mm:.3g} mm cannot show tag lines"
        )
    return measure_tags(frame[None], spacing_xy_mm, (size_xy_px - 1) / 2, SEARCH_RADIUS_MM, MIN_IMAGE_STRENGTH)


def _windowed_patch(
    frames: NDArray[np.floating],
    spacing_xy_mm: NDArray[np.floating],
    center_xy_px: NDArray[np.floating],
    radius_mm: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Frames around the center as relative contrast under a Hann window, with their pixel positions [mm]."""
    rows, columns = frames.shape[-2:]
    reach = radius_mm / np.asarray(spacing_xy_mm)
    low = np.clip(np.floor(center_xy_px - reach).astype(int), 0, [columns - 1, rows - 1])
    high = np.clip(np.ceil(center_xy_px + reach).astype(int) + 1, low + 1, [columns, rows])
    patch = np.asarray(frames[:, low[1] : high[1], low[0] : high[0]], np.float64)
    brightest = SPIKE_LEVEL * np.percentile(np.abs(patch), 99)
    patch = patch.clip(-brightest, brightest)
    sigma = MAX_TAG_SPACING_MM * 0.6 / np.asarray(spacing_xy_mm)
    mean = gaussian_filter(patch, (0, sigma[1], sigma[0]), mode="nearest")
    contrast = (patch - mean) / (np.abs(mean) + 0.1 * np.abs(mean).mean() + np.finfo(float).tiny)
    x_mm = (np.arange(low[0], high[0]) - center_xy_px[0]) * spacing_xy_mm[0]
    y_mm = (np.arange(low[1], high[1]) - center_xy_px[1]) * spacing_xy_mm[1]
    radius = np.minimum(np.hypot(x_mm, y_mm[:, None]) / radius_mm, 1)
    window = np.cos(np.pi / 2 * radius) ** 2
    contrast -= (contrast * window).sum((1, 2), keepdims=True) / max(window.sum(), np.finfo(float).tiny)
    return contrast * window, x_mm, y_mm


def _power(
    patch: NDArray[np.float64],
    x_mm: NDArray[np.float64],
    y_mm: NDArray[np.float64],
    along_x: NDArray[np.float64],
    along_y: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Power, mean over frames, at every pair of frequencies [cycles/mm]; shape ``(along_y, along_x)``."""
    wave_x = np.exp(-2j * np.pi * np.outer(x_mm, along_x))
    wave_y = np.exp(-2j * np.pi * np.outer(along_y, y_mm))
    return np.asarray((np.abs(wave_y @ patch @ wave_x) ** 2).mean(axis=0))


def _neighborhood_maximum(power: NDArray[np.float64]) -> NDArray[np.float64]:
    """Largest value among each interior entry's eight neighbours; infinite on the border."""
    rows, columns = power.shape
    # A real image has the same power at opposite frequencies, which continues the half plane beyond x = 0.
    padded = np.pad(power, 1, constant_values=np.inf)
    padded[1:-1, 0] = power[::-1, 1]
    shifts = [(i, j) for i in range(3) for j in range(3) if (i, j) != (1, 1)]
    return np.asarray(np.max([padded[i : i + rows, j : j + columns] for i, j in shifts], axis=0))


def _refine(
    patch: NDArray[np.float64],
    x_mm: NDArray[np.float64],
    y_mm: NDArray[np.float64],
    peak: NDArray[np.float64],
    step: float,
) -> tuple[float, float]:
    """Top of the peak: ever finer Fourier transforms, then the top of a parabola along each axis."""
    offsets = np.arange(-2, 3)
    for _ in range(3):
        power = _power(patch, x_mm, y_mm, peak[0] + offsets * step / 2, peak[1] + offsets * step / 2)
        row, column = np.unravel_index(int(power[1:4, 1:4].argmax()), (3, 3))
        row, column = row + 1, column + 1
        along = (power[row, column - 1 : column + 2], power[row - 1 : row + 2, column])
        shift = [_parabola_top(values) for values in along]
        peak = peak + (np.array([column - 2, row - 2]) + shift) * step / 2
        step /= 4
    return float(peak[0]), float(peak[1])


def _parabola_top(values: NDArray[np.float64]) -> float:
    """Position of the top of the parabola through three values at -1, 0 and 1, within that range."""
    bend = values[0] - 2 * values[1] + values[2]
    return float(np.clip((values[0] - values[2]) / (2 * bend), -1, 1)) if bend < 0 else 0.0


def _angle_between_deg(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Angle between two undirected lines, 0 to 90."""
    cosine = abs(first @ second) / (np.linalg.norm(first) * np.linalg.norm(second))
    return float(np.degrees(np.arccos(min(1.0, float(cosine)))))
