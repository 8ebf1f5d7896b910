"""Landmarks of a ventricle that beats as the cylinder of `wall_motion` does, with known course in time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from wall_motion import Cylinder, wall

from tagstrain.mechanics.slice_deformation import SliceMotion

ES_MS = 320.0
RR_MS = 900.0
TIMES_MS = 10.0 + 30.0 * np.arange(24)


def contraction(times_ms: NDArray[np.floating], es_ms: float = ES_MS) -> NDArray[np.float64]:
    """Rises from 0 at 10 ms to 1 at end-systole, then returns to 0.2 within 250 ms; smooth."""
    rise = np.sin(np.pi / 2 * np.clip((times_ms - 10) / (es_ms - 10), 0, 1)) ** 2
    fall = np.sin(np.pi / 2 * np.clip((times_ms - es_ms) / 250, 0, 1)) ** 2
    return np.asarray(rise - 0.8 * fall)


def beating_landmarks(
    times_ms: NDArray[np.floating] = TIMES_MS, turn_deg: float = 0.0, es_ms: float = ES_MS, lost_mm2: float = 228.0
) -> NDArray[np.float64]:
    """Landmarks ``(time, spoke, ring, 2)`` around the origin; they turn by ``turn_deg`` from +x to +y at ES."""
    course = contraction(times_ms, es_ms)
    return np.stack([Cylinder(lost_mm2 * c, 1 - 0.1 * c, np.radians(turn_deg) * c, 0.0).move(wall()) for c in course])


def motion(**changes: Any) -> SliceMotion:
    """A mid slice seen from the apex, with its insertion where radiologists see it."""
    given: dict[str, Any] = {
        "landmarks_mm": beating_landmarks(),
        "frame_times_ms": TIMES_MS,
        "level": "mid",
        "rr_interval_ms": RR_MS,
        "insertion_angle_rad": -2 * np.pi / 3,
    }
    return SliceMotion(**(given | changes))
