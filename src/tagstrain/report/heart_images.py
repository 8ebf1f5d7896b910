"""The heart of every slice as 8-bit pictures in ``results.h5``, so that a report needs nothing but the results."""

from __future__ import annotations

from typing import NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from tagstrain.data import SliceResult
from tagstrain.report.heart_view import heart_view

HEART_IMAGES = "heart_images"
"""Group with one dataset per analyzed slice, named by its row."""
_DESCRIPTION = (
    "the part of the image around the heart, for display, (time, row, column); gray level = gray_low + value / 255 * "
    "(gray_high - gray_low), cut off at both ends; its top-left pixel is [first_row, first_column] of the image"
)


class HeartImages(NamedTuple):
    """Pictures of the heart and where they lie in the original image."""

    pixels: NDArray[np.uint8]
    """Shape ``(time, row, column)``."""
    first_row: int
    first_column: int
    gray_range: tuple[float, float]
    """Gray levels of the values 0 and 255."""

    @classmethod
    def of(cls, result: SliceResult) -> HeartImages:
        """The heart of a slice; the whole image where the landmarks lie beyond it."""
        view = heart_view(result)
        dark, bright = view.gray_range
        values = (result.cine.frames[:, view.rows, view.columns] - dark) * (255 / (bright - dark))
        pixels = np.clip(values.round(), 0, 255).astype(np.uint8)
        return cls(pixels, view.rows.start, view.columns.start, view.gray_range)

    def write(self, file: h5py.File, row: int) -> None:
        """Store the pictures of a row."""
        group = file.require_group(HEART_IMAGES)
        dataset = group.create_dataset(
            str(row), data=self.pixels, chunks=(1, *self.pixels.shape[1:]), compression="gzip", shuffle=True
        )
        dataset.attrs.update(
            {
                "units": "1",
                "description": _DESCRIPTION,
                "first_row": self.first_row,
                "first_column": self.first_column,
                "gray_low": self.gray_range[0],
                "gray_high": self.gray_range[1],
            }
        )

    @classmethod
    def read(cls, file: h5py.File, row: int) -> HeartImages:
        """Read the pictures of a row.

        Raises
        ------
        KeyError
            If the file holds none.
        """
        dataset = file[HEART_IMAGES][str(row)]
        attributes = dataset.attrs
        return cls(
            dataset[:],
            int(attributes["first_row"]),
            int(attributes["first_column"]),
            (float(attributes["gray_low"]), float(attributes["gray_high"])),
        )

    def to_gray_levels(self) -> NDArray[np.float32]:
        """Gray levels as far as the display range goes, shape ``(time, row, column)``."""
        dark, bright = self.gray_range
        return (dark + self.pixels * np.float32((bright - dark) / 255)).astype(np.float32)
