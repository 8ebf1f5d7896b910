"""The predecessor's crop, kept as it was so that its networks see what they were trained on: `OriginalCrop`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tagstrain.errors import LocalizationError
from tagstrain.geometry.crop import cubic_weights

IMAGE_SIZE = 256
"""Side of the only images that the predecessor takes."""
CROP_SIZE = 128
_MAX_SIDE = 16 * IMAGE_SIZE  # no ventricle; the zeros around the image would fill the memory
_OPENCV_CUBIC = -0.75  # of INTER_CUBIC; Keys recommends -0.5


@dataclass(frozen=True, slots=True)
class OriginalCrop:
    """Whole pixels ``floor(x1)`` to ``ceil(x2)``, ``floor(y1)`` to ``ceil(y2)`` of a box, resized to 128 x 128.

    Coordinates are those of the predecessor's 256 x 256 image: other sizes are put in its middle, see `centered`.

    What this gets wrong, and `CropTransform` does not:

    - The image is stretched to a square, by its own factor along x and along y, but landmarks are scaled by the factor
      of the rows along both axes. Where the crop is not square, landmarks and pixels part along x: by up to 4.6
      crop pixels for a crop of 64 columns and 67 rows.
    - The image is resized about pixel centers, landmarks about pixel corners: a shift of ``(ratio - 1) / 2`` crop
      pixels.
    - A box that starts outside the image is filled up with zeros, which the network cannot tell from data; one that
      ends outside is cut off, so that fewer rows change the ratio and fewer columns the stretch.
    - Pixels stored as integers stay integers: the overshoot of the cubic is rounded and clipped at 0.
    - Nothing is smoothed where the crop is coarser than the image.
    """

    left: int
    """First column; negative where the box starts outside the image."""
    top: int
    """First row."""
    n_columns: int
    n_rows: int
    offset_xy: tuple[int, int] = (0, 0)
    """Where pixel ``(0, 0)`` of the original image lies in the 256 x 256 image."""

    @classmethod
    def around(cls, box: Sequence[float], n_rows: int, n_columns: int) -> OriginalCrop:
        """Crop of a box ``x1, y1, x2, y2`` in pixels of an image of ``n_rows`` x ``n_columns``.

        Raises
        ------
        LocalizationError
            If the box is inverted, empty, beyond the image's right or lower edge or not finite, which ended the
            predecessor.
        """
        if not np.isfinite(box).all():
            raise LocalizationError("No left ventricle found: the localized box is not finite.")
        offset_x, offset_y = center_offset_xy(n_rows, n_columns)
        left, width = _window(box[0] + offset_x, box[2] + offset_x)
        top, height = _window(box[1] + offset_y, box[3] + offset_y)
        if width < 1 or height < 1:
            shown = ", ".join(f"{corner:.1f}" for corner in box)
            raise LocalizationError(
                f"No left ventricle found: the localized box ({shown}) has {max(width, 0)} columns and "
                f"{max(height, 0)} rows in the image."
            )
        if max(width, height) > _MAX_SIDE:
            raise LocalizationError(
                f"No left ventricle found: the localized box is {width} x {height} pixels, in an image of "
                f"{n_columns} x {n_rows}."
            )
        return cls(left, top, width, height, (offset_x, offset_y))

    @property
    def ratio(self) -> float:
        """Crop pixels per image pixel, for landmarks, along x as along y: 128 over the rows."""
        return CROP_SIZE / self.n_rows

    def sample(self, frames: NDArray[np.floating], pixel_type: str = "float32") -> NDArray[np.float32]:
        """Crop and resize images ``(..., row, column)`` to ``(..., 128, 128)``.

        Parameters
        ----------
        pixel_type
            NumPy name of the type that the file stores pixels in; crops of integers are rounded and clipped to what
            the type holds.
        """
        square = centered(frames)
        image = _cut(square, self.top, self.left, self.n_rows, self.n_columns)
        resized = resize_cubic(image, CROP_SIZE)
        if np.dtype(pixel_type).kind not in "iu":
            return resized
        limits = np.iinfo(np.dtype(pixel_type))
        return np.clip(np.rint(resized), limits.min, limits.max).astype(np.float32)

    def to_image(self, landmarks_crop: NDArray[np.floating]) -> NDArray[np.float64]:
        """Landmarks ``(..., 2)`` in crop pixels to pixels of the original image, by the predecessor's rule."""
        return np.asarray(landmarks_crop, np.float64) / self.ratio + self._corner_xy

    def to_crop(self, landmarks_px: NDArray[np.floating]) -> NDArray[np.float64]:
        """Landmarks ``(..., 2)`` in pixels of the original image to crop pixels, by the predecessor's rule."""
        return (np.asarray(landmarks_px, np.float64) - self._corner_xy) * self.ratio

    @property
    def _corner_xy(self) -> NDArray[np.float64]:
        """First pixel ``(x, y)`` of the crop in the original image."""
        return np.array([self.left - self.offset_xy[0], self.top - self.offset_xy[1]], np.float64)


def center_offset_xy(n_rows: int, n_columns: int) -> tuple[int, int]:
    """Columns and rows added before an image to put it in the middle of 256 x 256; negative where they are cut off.

    ``floor((256 - n) / 2)``, as pipelines around the predecessor pad.
    """
    return (IMAGE_SIZE - n_columns) // 2, (IMAGE_SIZE - n_rows) // 2


def centered(frames: NDArray[np.floating]) -> NDArray[np.float32]:
    """Images ``(..., row, column)`` as ``(..., 256, 256)``: smaller ones among zeros, larger ones their middle."""
    offset_x, offset_y = center_offset_xy(*frames.shape[-2:])
    return _cut(np.asarray(frames, np.float32), -offset_y, -offset_x, IMAGE_SIZE, IMAGE_SIZE)


def resize_cubic(images: NDArray[np.floating], size: int) -> NDArray[np.float32]:
    """Resize images ``(..., row, column)`` to ``(..., size, size)`` as OpenCV's INTER_CUBIC does.

    Half-pixel centers, kernel with a = -0.75, edges repeat, no smoothing where the result is coarser.
    """
    rows, columns = images.shape[-2:]
    steps = np.arange(size) + 0.5
    along_y = cubic_weights(steps * rows / size - 0.5, rows, a=_OPENCV_CUBIC)
    along_x = cubic_weights(steps * columns / size - 0.5, columns, a=_OPENCV_CUBIC)
    return np.asarray(along_y @ np.asarray(images, np.float32) @ along_x.T)


def _window(low: float, high: float) -> tuple[int, int]:
    """First pixel and number of pixels along one axis of the 256 x 256 image."""
    first = floor(low)
    overshoot = max(0, -first)  # the image is padded by this much on both sides, so it ends later as well
    return first, min(ceil(high), IMAGE_SIZE + overshoot) - first


def _cut(images: NDArray[Any], top: int, left: int, n_rows: int, n_columns: int) -> NDArray[Any]:
    """Part of images ``(..., row, column)``, zero where it lies outside them."""
    rows, columns = images.shape[-2:]
    part = np.zeros((*images.shape[:-2], n_rows, n_columns), images.dtype)
    y1, y2 = np.clip([top, top + n_rows], 0, rows)
    x1, x2 = np.clip([left, left + n_columns], 0, columns)
    part[..., y1 - top : y2 - top, x1 - left : x2 - left] = images[..., y1:y2, x1:x2]
    return part
