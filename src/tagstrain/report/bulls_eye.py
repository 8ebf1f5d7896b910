"""The bull's-eye of the left ventricle: which wedge belongs to which AHA segment, and its name."""

from __future__ import annotations

from typing import NamedTuple

SEGMENT_NAMES = {
    1: "basal anterior",
    2: "basal anteroseptal",
    3: "basal inferoseptal",
    4: "basal inferior",
    5: "basal inferolateral",
    6: "basal anterolateral",
    7: "mid anterior",
    8: "mid anteroseptal",
    9: "mid inferoseptal",
    10: "mid inferior",
    11: "mid inferolateral",
    12: "mid anterolateral",
    13: "apical anterior",
    14: "apical septal",
    15: "apical inferior",
    16: "apical lateral",
}
"""By AHA segment, without the apical cap (17), which no short-axis slice shows (Cerqueira 2002)."""
_CAP_RADIUS = 0.16
_RING_WIDTH = 0.28


class Wedge(NamedTuple):
    """One segment's place in a circle of radius 1: anterior at the top, septum on the left."""

    segment: int
    inner_radius: float
    outer_radius: float
    start_deg: float
    """Counter-clockwise from the right, as in mathematics."""
    end_deg: float


def bulls_eye_wedges() -> list[Wedge]:
    """All wedges, base (outermost) to apex."""
    wedges = []
    for first_segment, n_segments, inner_radius in (
        (1, 6, _CAP_RADIUS + 2 * _RING_WIDTH),
        (7, 6, _CAP_RADIUS + _RING_WIDTH),
        (13, 4, _CAP_RADIUS),
    ):
        width_deg = 360 / n_segments
        for place in range(n_segments):
            start_deg = 90 - width_deg / 2 + place * width_deg
            wedges.append(
                Wedge(first_segment + place, inner_radius, inner_radius + _RING_WIDTH, start_deg, start_deg + width_deg)
            )
    return wedges
