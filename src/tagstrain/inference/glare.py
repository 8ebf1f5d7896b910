"""Grey levels far beyond all others, as of a hot pixel or a mark burnt into the image: `without_glare`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

GLARE = 6.0
"""How far grey levels may lie beyond those of 90 % of an image, in ranges of these. Those of 72 simulated cines and of
a real one, in crops of three sizes, do by less than 5."""
_SHARES = (5, 95)


def without_glare(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Images ``(..., row, column)`` whose grey levels lie no further apart than those of an image do.

    A single pixel, ten thousand times as bright as the others, would be all the contrast that is left to a network.
    """
    low, high = np.percentile(images[..., ::2, ::2], _SHARES)
    reach = GLARE * (high - low)
    return images.clip(np.float32(low - reach), np.float32(high + reach)) if reach > 0 else images
