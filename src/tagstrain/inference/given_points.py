"""Which of the points that a tracker is given it can follow, and whether anything is seen there: `can_be_followed`,
`refuse_blank`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tagstrain.data import TaggedCine
from tagstrain.errors import TrackingError

MAX_OUTSIDE_MM = 10.0
"""Points further outside of the image than about a tag spacing are not followed: nothing of them is seen."""
SEEN_AROUND_MM = 10.0
"""Reach around points that must show something, so that there is anything to follow."""


def can_be_followed(points_px: NDArray[np.float64], cine: TaggedCine) -> NDArray[np.bool_]:
    """Which ED points ``(point, 2)`` are known and lie in the image, or close to it.

    What marks a missing point in some files, as -9999, lies outside, and would spoil the crop of the others.
    Raises ValueError for points of another shape.
    """
    if points_px.ndim != 2 or points_px.shape[1] != 2:
        raise ValueError(f"ed_points_px: expected shape (point, 2), got {points_px.shape}")
    return cine.shows(points_px, MAX_OUTSIDE_MM)


def refuse_blank(points_px: NDArray[np.floating], cine: TaggedCine, of_what: str) -> None:
    """Refuse images that show nothing around ED points ``(point, 2)``; where these lie elsewhere, images are not what
    is wrong.

    Parameters
    ----------
    of_what
        What the points are, in words.

    Raises
    ------
    TrackingError
        If the images around the points are of one grey level at ED, or in all frames but one.
    """
    known_px = points_px[np.isfinite(points_px).all(axis=1)]
    if not len(known_px):
        return
    reach_px = SEEN_AROUND_MM / cine.spacing_xy_mm
    size_px = np.array(cine.frames.shape[:0:-1])
    low, high = known_px.min(axis=0) - reach_px, known_px.max(axis=0) + reach_px
    if (high < 0).any() or (low > size_px - 1).any():
        return
    first = np.maximum(np.floor(low), 0).astype(int)
    last = np.minimum(np.ceil(high), size_px - 1).astype(int)
    window = cine.frames[:, first[1] : last[1] + 1, first[0] : last[0] + 1]
    shows = np.ptp(window, axis=(1, 2)) > 0
    if not shows[cine.ed_frame]:
        raise TrackingError(
            f"The images are blank around {of_what} at ED ({cine.frame_times_ms[cine.ed_frame]:.0f} ms), so there is "
            "nothing to measure motion against. Leave blank frames out of the file, or mend the ED frame that it "
            "states."
        )
    if np.count_nonzero(shows) < 2:
        raise TrackingError(
            f"The images are blank around {of_what} in all frames but ED, so there is no motion to follow. Leave the "
            "slice out."
        )
