"""Steps that all tissue in sight makes from one frame to the next, as after another breath: `steps_px`."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from tagstrain.data import TaggedCine
from tagstrain.geometry import CropTransform

LEAST_STEP_MM = 2.5
"""Hearts that beat have 2.3 mm at most where frames are alike, in 92 simulated cines; 0.6 in a real one. Steps of half
a tag period, from 3 mm on, were followed to the next tag line."""
LEAST_ALIKE = 0.8
"""Correlation of the frame before with the one after a step, laid on one another. It is below 0.65 where the largest is
found by chance, as in images that lose their tags and little else; above 0.84 for steps of 3 to 8 mm."""
LEAST_GAIN = 0.02
"""By which they are more alike laid on one another than as they are."""
APART_MM = 2.0
"""How far off a step may lie from what frames two and three apart, across it, say of the way between them."""
_BLUR_MM = 2.6
"""Standard deviation of the blur that takes the tags out: they look the same a period further on."""
_SIGHT = 1.2
"""How much wider than the crop what is looked at is: closer around a heart, its beat alone may look like a step."""
_SAMPLES = 64
_LOOKS_AGAIN = 3
"""How often a step is measured again where it leads to: the borders, where images fade, do not go along and hold it
back."""


def steps_px(cine: TaggedCine, crop: CropTransform, kept: NDArray[np.bool_]) -> NDArray[np.float64]:
    """How far everything in a crop has stepped since ED ``(time, 2)``, in pixels of the image.

    Tags look the same a period further on, so that a tracker follows a heart which steps by half of one between two
    frames, where the scan goes on in another breath or the patient moves, to the next line, and does not know it. What
    is left of the image without its tags, borders and blood, tells where it went. Frames between two steps have that of
    the first; zero where nothing steps, as nearly always, and in frames that are not kept.

    A step comes out within a millimeter, which is near enough to go on from; the beat of the heart is part of it.
    """
    coarse = CropTransform(crop.center_xy_px, _SIGHT * crop.side_mm, _SAMPLES, crop.spacing_xy_mm)
    frames = np.flatnonzero(kept)
    spectra = _spectra(coarse.sample(cine.frames[frames])[0], coarse.pixel_mm)
    by_frame = [_displacement(before, after) for before, after in pairwise(spectra)]
    way = np.cumsum([np.zeros(2), *(step for step, _, _ in by_frame)], axis=0)
    found = np.zeros((cine.n_frames, 2))
    for k, (step, alike, unmoved) in enumerate(by_frame):
        if np.hypot(*step) * coarse.pixel_mm < LEAST_STEP_MM or alike < max(LEAST_ALIKE, unmoved + LEAST_GAIN):
            continue
        pairs = [(a, b) for a, b in ((k - 1, k + 1), (k, k + 2), (k - 1, k + 2)) if a >= 0 and b < len(frames)]
        apart = [_displacement(spectra[a], spectra[b])[0] - (way[b] - way[a]) for a, b in pairs]
        if all(np.hypot(*each) * coarse.pixel_mm < APART_MM for each in apart):
            for _ in range(_LOOKS_AGAIN):
                x, y = coarse.center_xy_px + step * coarse.scale_xy
                there = replace(coarse, center_xy_px=(x, y)).sample(cine.frames[frames[k + 1]])[0]
                step = step + _displacement(spectra[k], _spectra(there[None], coarse.pixel_mm)[0])[0]
            found[frames[k + 1] :] += step * coarse.scale_xy
    found[~kept] = found[cine.ed_frame]
    since_ed: NDArray[np.float64] = found - found[cine.ed_frame]
    return since_ed


def _spectra(images: NDArray[np.float32], pixel_mm: float) -> NDArray[np.complex128]:
    """Fourier transforms of images ``(time, size, size)`` without their tags, of one mean and length, that fade towards
    the borders; twice as wide, so that what leaves at one side does not come in at the other."""
    blur_px, size = _BLUR_MM / pixel_mm, images.shape[-1]
    blurred = gaussian_filter(images.astype(np.float64), (0.0, blur_px, blur_px), mode="nearest")
    line = np.hanning(size + 2)[1:-1]
    window = line[:, None] * line
    window /= window.sum()
    centered = (blurred - (blurred * window).sum(axis=(1, 2), keepdims=True)) * window
    length = np.sqrt((centered**2).sum(axis=(1, 2), keepdims=True))
    return np.fft.rfft2(centered / np.where(length > 0, length, 1.0), s=(2 * size, 2 * size))


def _displacement(
    before: NDArray[np.complex128], after: NDArray[np.complex128]
) -> tuple[NDArray[np.float64], float, float]:
    """Where two images correlate best ``(x, y)`` [px], how well they do there, and where nothing moves."""
    correlation = np.fft.irfft2(before.conj() * after)
    row, column = np.unravel_index(correlation.argmax(), correlation.shape)
    size = np.array(correlation.shape[::-1])
    step = np.array([column + _vertex(correlation[row], column), row + _vertex(correlation[:, column], row)])
    return np.where(step < size / 2, step, step - size), float(correlation[row, column]), float(correlation[0, 0])


def _vertex(line: NDArray[np.float64], top: np.intp) -> float:
    """Where the parabola through the largest sample of a line and those beside it has its vertex, from that sample."""
    left, middle, right = line[top - 1], line[top], line[(top + 1) % len(line)]
    curvature = left - 2 * middle + right
    return float(0.5 * (left - right) / curvature) if curvature < 0 else 0.0
