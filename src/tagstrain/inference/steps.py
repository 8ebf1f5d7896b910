"""Steps that all tissue in sight makes from one frame to the next, as after another breath: `steps_px`."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from tagstrain.data import TaggedCine
from tagstrain.geometry import CropTransform
from tagstrain.inference.glare import without_glare

LEAST_STEP_MM = 2.5
"""Hearts that beat have 2.3 mm at most where frames are alike and 30 to 50 ms apart, in 92 simulated cines; 0.6 in a
real one. Steps of half a tag period, from 3 mm on, were followed to the next tag line."""
LEAST_ALIKE = 0.8
"""Correlation of the frame before with the one after a step, laid on one another. It is below 0.65 where the largest is
found by chance, as in images that lose their tags and little else; above 0.84 for steps of 3 to 8 mm."""
LEAST_GAIN = 0.02
"""By which they are more alike laid on one another than as they are."""
APART_MM = 2.0
"""How far off a step may lie from what frames two and three apart, across it, say of the way between them."""
LEAST_GAIN_OF_TAGS = 0.2
"""By which tags are more alike where a step leads than where nothing moves, give or take `TAGS_MAY_MOVE_MM`."""
TAGS_ALIKE = 0.6
"""Correlation from which on it is enough that they are more alike: a tag period further on they are alike, too."""
TAGS_MAY_MOVE_MM = 1.5
_BLUR_MM = 2.6
"""Standard deviation of the blur that takes the tags out: they look the same a period further on."""
_SIGHT = 1.2
"""How much wider than the crop what is looked at is: closer around a heart, its beat alone may look like a step."""
_SAMPLES, _FINER = 64, 2
"""Along a side of what is looked at without tags, and how many times as many for the tags."""
_TAGS_MM = 5.0
"""Standard deviation of what counts as the surroundings of a tag."""
_LOOKS_AGAIN = 3
"""How often a step is measured again where it leads to: the borders, where images fade, do not go along and hold it
back."""


def steps_px(cine: TaggedCine, crop: CropTransform, kept: NDArray[np.bool_]) -> NDArray[np.float64]:
    """How far everything in a crop has stepped since ED ``(time, 2)``, in pixels of the image.

    Tags look the same a period further on, so that a tracker follows a heart which steps by half of one between two
    frames, where the scan goes on in another breath or the patient moves, to the next line, and does not know it. What
    is left of the image without its tags, borders and blood, tells where it went. Frames between two steps have that of
    the first; zero where nothing steps, as nearly always, and in frames that are not kept.

    Where frames lie far apart, the blood that loses its tags, or a mark that moves, looks like a step, too: only one
    by which the tags come to lie on one another counts. It comes out within a millimeter, which is near enough to go
    on from; the beat of the heart is part of it.
    """
    sight = CropTransform(crop.center_xy_px, _SIGHT * crop.side_mm, _SAMPLES, crop.spacing_xy_mm)
    frames = np.flatnonzero(kept)
    spectra = _spectra(_blurred(cine.frames[frames], sight))
    by_frame = [_displacement(before, after) for before, after in pairwise(spectra)]
    way = np.cumsum([np.zeros(2), *(step for step, _, _ in by_frame)], axis=0)
    found = np.zeros((cine.n_frames, 2))
    for k, (step, alike, unmoved) in enumerate(by_frame):
        if np.hypot(*step) * sight.pixel_mm < LEAST_STEP_MM or alike < max(LEAST_ALIKE, unmoved + LEAST_GAIN):
            continue
        pairs = [(a, b) for a, b in ((k - 1, k + 1), (k, k + 2), (k - 1, k + 2)) if a >= 0 and b < len(frames)]
        apart = [_displacement(spectra[a], spectra[b])[0] - (way[b] - way[a]) for a, b in pairs]
        if all(np.hypot(*each) * sight.pixel_mm < APART_MM for each in apart):
            before, after = cine.frames[frames[k : k + 2]]
            found[frames[k + 1] :] += _seen_by_tags(before, after, sight, step, spectra[k])
    found[~kept] = found[cine.ed_frame]
    since_ed: NDArray[np.float64] = found - found[cine.ed_frame]
    return since_ed


def _seen_by_tags(
    before: NDArray[np.float32],
    after: NDArray[np.float32],
    sight: CropTransform,
    step: NDArray[np.float64],
    spectrum: NDArray[np.complex128],
) -> NDArray[np.float64]:
    """The step between two images in pixels of the image, if their tags lie on one another by it; else none.

    Parameters
    ----------
    step
        As the images without tags tell it, in samples of ``sight``.
    spectrum
        Of the image before it, without tags.
    """
    for _ in range(_LOOKS_AGAIN):
        there = sight.moved(step * sight.scale_xy)
        step = step + _displacement(spectrum, _spectra(_blurred(after[None], there))[0])[0]
    tags_before, tags_after, tags_there = (
        _spectra(_tags(image, place))
        for image, place in ((before, sight), (after, sight), (after, sight.moved(step * sight.scale_xy)))
    )
    reach = TAGS_MAY_MOVE_MM / sight.pixel_mm * _FINER
    _, unmoved, _ = _displacement(tags_before, tags_after, reach)
    further, alike, _ = _displacement(tags_before, tags_there, reach)
    is_seen = alike > (unmoved if alike > TAGS_ALIKE else unmoved + LEAST_GAIN_OF_TAGS)
    return (step + further / _FINER) * sight.scale_xy if is_seen else np.zeros(2)


def _blurred(images: NDArray[np.float32], sight: CropTransform) -> NDArray[np.float64]:
    """What is left of images ``(time, row, column)`` without their tags, ``(time, size, size)``."""
    width = _BLUR_MM / sight.pixel_mm
    seen = without_glare(sight.sample(images)[0]).astype(np.float64)
    return np.asarray(gaussian_filter(seen, (0.0, width, width), mode="nearest"))


def _tags(image: NDArray[np.float32], sight: CropTransform) -> NDArray[np.float64]:
    """What is left of an image without all but its tags, with the same contrast everywhere, on finer samples."""
    fine = replace(sight, size=_FINER * sight.size)
    seen = without_glare(fine.sample(image)[0]).astype(np.float64)
    width = _TAGS_MM / fine.pixel_mm
    contrast = seen - gaussian_filter(seen, width, mode="nearest")
    deviation = np.sqrt(gaussian_filter(contrast**2, width, mode="nearest"))
    return np.asarray(np.divide(contrast, deviation, out=np.zeros_like(contrast), where=deviation > 0))


def _spectra(images: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Fourier transforms of images ``(..., size, size)`` of one mean and length that fade towards the borders; twice as
    wide, so that what leaves at one side does not come in at the other."""
    size = images.shape[-1]
    line = np.hanning(size + 2)[1:-1]
    window = line[:, None] * line
    window /= window.sum()
    centered = (images - (images * window).sum(axis=(-2, -1), keepdims=True)) * window
    length = np.sqrt((centered**2).sum(axis=(-2, -1), keepdims=True))
    return np.fft.rfft2(centered / np.where(length > 0, length, 1.0), s=(2 * size, 2 * size))


def _displacement(
    before: NDArray[np.complex128], after: NDArray[np.complex128], reach: float = np.inf
) -> tuple[NDArray[np.float64], float, float]:
    """Where two images correlate best ``(x, y)`` [px] within some reach, how well there, and where nothing moves."""
    correlation = np.fft.irfft2(before.conj() * after)
    rows, columns = correlation.shape
    off_y, off_x = (np.fft.fftfreq(n, 1 / n) for n in (rows, columns))
    within = np.hypot(off_y[:, None], off_x) <= reach
    row, column = np.unravel_index(np.where(within, correlation, -np.inf).argmax(), correlation.shape)
    step = np.array(
        [off_x[column] + _vertex(correlation[row], column), off_y[row] + _vertex(correlation[:, column], row)]
    )
    return step, float(correlation[row, column]), float(correlation[0, 0])


def _vertex(line: NDArray[np.float64], top: np.intp) -> float:
    """Where the parabola through the largest sample of a line and those beside it has its vertex, from that sample."""
    left, middle, right = line[top - 1], line[top], line[(top + 1) % len(line)]
    curvature = left - 2 * middle + right
    return float(0.5 * (left - right) / curvature) if curvature < 0 else 0.0
