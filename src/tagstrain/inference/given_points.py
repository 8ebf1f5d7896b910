"""Which of the points that a tracker is given it can follow: `can_be_followed`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tagstrain.data import TaggedCine

MAX_OUTSIDE_MM = 10.0
"""Points further outside of the image than about a tag spacing are not followed: nothing of them is seen."""


def can_be_followed(points_px: NDArray[np.float64], cine: TaggedCine) -> NDArray[np.bool_]:
    """Which ED points ``(point, 2)`` are known and lie in the image, or close to it.

    What marks a missing point in some files, as -9999, lies outside, and would spoil the crop of the others.
    """
    return cine.shows(points_px, MAX_OUTSIDE_MM)
