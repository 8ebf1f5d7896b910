"""Frames that do not belong where they are, and those that are left: `odd_frames`, `kept_frames`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tagstrain.data import TaggedCine

ODD_MARGIN = 0.02
"""Correlation by which the frames around some others are more like each other than like these, for these to be odd.

In 38 simulated cines, fast and noisy ones among them, and a real one it is 0.005 at most; a frame shifted by 2.5 mm has
0.04 and more, one with a ghost of 60 % 0.11, noise in place of an image 0.97."""
LEAST_ALIKE = 0.5
"""Correlation below which frames have too little in common to say anything about those between them."""
MAX_ODD_RUN = 3
"""Frames in a row that can be told: of more, nobody knows which ones belong."""
MAX_ODD_SHARE = 0.25
"""Of all frames; where more look odd, they differ in turns, by the way they were acquired, and all belong."""
_COARSENING = 4


def kept_frames(cine: TaggedCine) -> NDArray[np.bool_]:
    """Which frames ``(time,)`` are followed: those that belong where they are, and ED."""
    kept = ~odd_frames(cine.frames)
    kept[cine.ed_frame] = True
    return kept


def odd_frame_warnings(cine: TaggedCine) -> Iterator[str]:
    """Name the frames that do not belong where they are, in words."""
    odd = np.flatnonzero(odd_frames(cine.frames))
    if odd.size:
        yield (
            f"Frames that do not belong between their neighbors: {', '.join(map(str, odd))} (counted from 0; at "
            f"{', '.join(f'{ms:.0f}' for ms in cine.frame_times_ms[odd])} ms); "
            "they are shifted, ghosted or no image. The flow tracker leaves them out, other trackers do not"
        )
        if cine.ed_frame in odd:
            yield f"The ED frame ({cine.ed_frame}) is one of them, and all motion is measured against it"


def odd_frames(frames: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Which frames ``(time, row, column)`` of a cine are spoiled: shifted, ghosted, or no image at all.

    A heart moves on from frame to frame, so that two frames are the less alike the further they are apart. Frames whose
    neighbors on both sides are more like each other than like them do not belong between these, unless the heart turned
    round there: then the steps to them are the smallest, and here they have to be larger than those before and after.
    A frame of another time of the cycle is hardly told by this, for most of an image stands still; the first and the
    last frame never are.
    """
    n_frames, rows, columns = frames.shape
    step = min(_COARSENING, rows, columns)
    whole = np.asarray(frames[:, : rows // step * step, : columns // step * step], np.float32)
    flat = whole.reshape(n_frames, rows // step, step, columns // step, step).mean(axis=(2, 4)).reshape(n_frames, -1)
    flat = flat.astype(np.float64)
    flat -= flat.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(flat, axis=1)
    flat /= np.where(lengths > 0, lengths, 1.0)[:, None]
    alike = flat @ flat.T
    odd = np.zeros(len(alike), bool)
    for n in range(1, MAX_ODD_RUN + 1):
        for first in range(1, len(alike) - n):
            before, last, after = first - 1, first + n - 1, first + n
            if odd[before : after + 1].any():
                continue
            around = [alike[k, k + 1] for k in (before - 1, after) if 0 <= k < len(alike) - 1]
            bar = max(alike[before, first], alike[last, after]) + ODD_MARGIN
            odd[first:after] = bool(around) and min(alike[before, after], *around) > max(bar, LEAST_ALIKE)
    return odd if odd.mean() <= MAX_ODD_SHARE else np.zeros_like(odd)
