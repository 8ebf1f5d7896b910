"""What tissue may have done where no tags are left to show it: `unseen_motion_mm`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LOST_AGREEMENT, SEEN_AGREEMENT = 0.15, 0.21
"""Agreement with the tags at ED below which there are none, and above which there are some. Followed through frames
without tags, noise comes to 0.08 to 0.2; one frame in a hundred of tagged cines lies below 0.16, all of them late."""
UNSEEN_MOTION_MM = 1.3
"""Standard deviation along one axis of where tissue is, once it has long not been seen; with `UNSEEN_TIME_MS`, 70 % of
the errors of the shipped tracker lie within on simulated cines whose tags go for good."""
UNSEEN_TIME_MS = 50.0
"""Time in which it comes to 63 % of that."""


def unseen_motion_mm(agreement: NDArray[np.floating], times_ms: NDArray[np.floating]) -> NDArray[np.float64]:
    """Standard deviation of what tissue did unseen, along one axis [mm], shape ``(time,)``; 0 where tags are seen.

    A tracker that learned from tags that fade slowly takes noise for tags that do not move, and is sure of it. A frame
    without tags between others that have them is not unseen: what came later tells where the tissue was.

    Parameters
    ----------
    agreement
        How well the tags of every frame, carried back to ED, agree with those at ED, -1 to 1, shape ``(time,)``.
    times_ms
        Time since ED, rising, shape ``(time,)``.
    """
    still_to_come = np.maximum.accumulate(agreement[::-1])[::-1]
    lost = np.clip((SEEN_AGREEMENT - still_to_come) / (SEEN_AGREEMENT - LOST_AGREEMENT), 0, 1)
    last_seen_ms = np.maximum.accumulate(np.where(lost == 0, times_ms, times_ms[0]))
    return np.asarray(lost * UNSEEN_MOTION_MM * (1 - np.exp(-(times_ms - last_seen_ms) / UNSEEN_TIME_MS)))
