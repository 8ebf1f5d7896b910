"""The predecessor's crop, which the networks of Ferdian et al. 2020 were trained on: `original_crop`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tagstrain.geometry.crop import cubic_weights

ORIGINAL_CROP_SIZE = 128
_OPENCV_CUBIC = -0.75


def original_crop(
    frames: NDArray[Any], points_px: NDArray[np.floating], corners_px: tuple[float, float, float, float]
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Crop images and points to a box by the predecessor's rule.

    The box is widened to whole pixels. Each axis of the image is resized to 128 by its own factor, cubic with
    a = -0.75 and half-pixel centres, in float. Points are scaled by 128 / rows along **both** axes and by corners
    instead of centres, so that where the crop is not square they do not lie where the image shows them: this is what
    the predecessor's networks learned, and strain, a ratio of lengths, is not changed by it.

    Parameters
    ----------
    frames
        Images ``(..., row, column)``.
    points_px
        ``(x, y)`` in pixels of the image, shape ``(..., 2)``.
    corners_px
        Box ``(x1, y1, x2, y2)`` within the image.

    Returns
    -------
        Crops ``(..., 128, 128)`` and points in crop pixels ``(..., 2)``.

    Raises
    ------
    ValueError
        If the box has no area or reaches beyond the image.
    """
    x1, y1 = math.floor(corners_px[0]), math.floor(corners_px[1])
    x2, y2 = math.ceil(corners_px[2]), math.ceil(corners_px[3])
    rows, columns = frames.shape[-2:]
    if not (0 <= x1 < x2 <= columns and 0 <= y1 < y2 <= rows):
        raise ValueError(f"box: expected one within {columns} x {rows} pixels, got {corners_px}")
    region = np.asarray(frames[..., y1:y2, x1:x2], np.float32)
    crops = np.asarray(_resizing(y2 - y1) @ region @ _resizing(x2 - x1).T, np.float32)
    points = np.asarray(points_px, np.float64)
    return crops, (points - (x1, y1)) * (ORIGINAL_CROP_SIZE / (y2 - y1))


def _resizing(n_pixels: int) -> NDArray[np.float32]:
    """Matrix ``(128, n_pixels)`` that resizes a line of pixels."""
    positions_px = (np.arange(ORIGINAL_CROP_SIZE) + 0.5) * n_pixels / ORIGINAL_CROP_SIZE - 0.5
    return cubic_weights(positions_px, n_pixels, a=_OPENCV_CUBIC)
