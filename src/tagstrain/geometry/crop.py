"""The square physical grid that networks see, and the map between it and the original image: `CropTransform`."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class CropTransform:
    """Square field of view of ``side_mm`` around ``center_xy_px``, sampled on ``size`` x ``size`` pixels.

    Whole numbers are pixel centres on both sides; x and y have their own scale, so that non-square pixels come out
    square. ``scale_xy`` original pixels span one crop pixel.
    """

    center_xy_px: tuple[float, float]
    side_mm: float
    size: int
    spacing_xy_mm: tuple[float, float]

    def __post_init__(self) -> None:
        if self.size < 1 or not self.side_mm > 0 or min(self.spacing_xy_mm) <= 0:
            raise ValueError(f"crop: expected positive size, side and spacing, got {self}")

    @property
    def scale_xy(self) -> NDArray[np.float64]:
        """Original pixels per crop pixel along ``(x, y)``."""
        return self.side_mm / self.size / np.asarray(self.spacing_xy_mm)

    @property
    def pixel_mm(self) -> float:
        """Side of a crop pixel [mm]."""
        return self.side_mm / self.size

    def moved(self, step_px: NDArray[np.floating]) -> CropTransform:
        """The same field of view ``step_px`` ``(x, y)`` original pixels further."""
        x, y = np.asarray(self.center_xy_px) + step_px
        return replace(self, center_xy_px=(float(x), float(y)))

    def to_image(self, points_crop: NDArray[np.floating]) -> NDArray[np.float64]:
        """Crop pixels ``(..., 2)`` to pixels of the original image."""
        points = np.asarray(points_crop, np.float64)
        return np.asarray((points - (self.size - 1) / 2) * self.scale_xy + np.asarray(self.center_xy_px))

    def to_crop(self, points_px: NDArray[np.floating]) -> NDArray[np.float64]:
        """Pixels of the original image ``(..., 2)`` to crop pixels."""
        points = np.asarray(points_px, np.float64)
        return np.asarray((points - np.asarray(self.center_xy_px)) / self.scale_xy + (self.size - 1) / 2)

    def sample(self, frames: NDArray[np.floating]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Resample images ``(..., row, column)`` to the crop, cubic, smoothed first where the crop is coarser.

        Returns
        -------
            Crops ``(..., size, size)`` and the mask ``(size, size)`` of crop pixels whose centre lies inside the
            image; pixels outside repeat the nearest edge pixel and are marked False.
        """
        rows, columns = frames.shape[-2:]
        steps = np.arange(self.size, dtype=float)
        grid = self.to_image(np.stack([steps, steps], axis=-1))
        along_x = cubic_weights(grid[:, 0], columns, self.scale_xy[0])
        along_y = cubic_weights(grid[:, 1], rows, self.scale_xy[1])
        crops = along_y @ np.asarray(frames, np.float32) @ along_x.T
        inside_x = (grid[:, 0] >= -0.5) & (grid[:, 0] <= columns - 0.5)
        inside_y = (grid[:, 1] >= -0.5) & (grid[:, 1] <= rows - 0.5)
        return crops, inside_y[:, None] & inside_x[None, :]


def cubic_weights(
    positions_px: NDArray[np.float64], n_pixels: int, scale: float = 1.0, a: float = -0.5
) -> NDArray[np.float32]:
    """Matrix ``(position, pixel)`` that interpolates a line of pixels at the given positions.

    Keys' cubic convolution kernel of parameter ``a``, widened by ``scale`` where the output is coarser than the input
    so that it also low-passes; positions beyond the line repeat its end pixels.

    References
    ----------
    Keys, IEEE Trans Acoust Speech Signal Process 1981;29(6):1153, equations 5 and 15
    """
    width = max(1.0, float(scale))
    reach = int(np.ceil(2 * width)) + 1
    taps = np.floor(positions_px)[:, None].astype(int) + np.arange(-reach, reach + 1)
    distance = np.abs(taps - positions_px[:, None]) / width
    near = (a + 2) * distance**3 - (a + 3) * distance**2 + 1
    far = a * (distance**3 - 5 * distance**2 + 8 * distance - 4)
    kernel = np.where(distance < 1, near, np.where(distance < 2, far, 0.0))
    kernel /= kernel.sum(axis=1, keepdims=True)
    weights = np.zeros((len(positions_px), n_pixels))
    rows = np.broadcast_to(np.arange(len(positions_px))[:, None], taps.shape)
    np.add.at(weights, (rows, np.clip(taps, 0, n_pixels - 1)), kernel)
    return weights.astype(np.float32)
