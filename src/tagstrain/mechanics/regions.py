"""Which region of the ventricle a landmark belongs to, AHA segment and wall layer, and means over regions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tagstrain.mechanics.strain import mean_known

N_AHA_SEGMENTS = 17
LAYERS = ("endo", "mid", "epi")
"""Thirds of the wall, innermost first."""
AHA_SEGMENTS = {"basal": (1, 2, 3, 4, 5, 6), "mid": (7, 8, 9, 10, 11, 12), "apical": (13, 14, 15, 16)}
"""Segments of a short-axis slice by its level. Segment 17, the apical cap, lies in no short-axis slice."""
ASSUMED_INSERTION_RAD = -2 * np.pi / 3
"""Where the anterior RV insertion lies in a picture as radiologists show it: upper left, seen from the apex."""


class RegionalCurves(NamedTuple):
    """One quantity over time, per landmark and averaged over regions; NaN where nothing of a region is known."""

    landmarks: NDArray[np.float64]
    """Shape ``(time, spoke, ring)``."""
    rings: NDArray[np.float64]
    """Mean over spokes, shape ``(time, ring)``, endocardium first."""
    layers: NDArray[np.float64]
    """Mean over the thirds of the wall, shape ``(time, 3)``, in the order of `LAYERS`."""
    segments: NDArray[np.float64]
    """Mean over AHA segments, all layers, shape ``(time, segment)``, ascending; no column at an unknown level."""
    slice_mean: NDArray[np.float64]
    """Mean over all landmarks, shape ``(time,)``."""


def aha_segments_of(
    angle_rad: NDArray[np.floating], level: str, insertion_angle_rad: float, is_seen_from_apex: bool
) -> NDArray[np.int64]:
    """AHA segment (1-16) at each angle around the ventricle's center; 0 where the slice's level is not known.

    Seen from the apex and counted counter-clockwise, the septum begins at the anterior insertion of the right
    ventricle: anteroseptal, inferoseptal, inferior, inferolateral, anterolateral, anterior, 60 degrees each. The four
    apical segments of 90 degrees share the middles of the septum and of the anterior wall with the levels above, so
    the apical septum begins 15 degrees after the insertion.

    Parameters
    ----------
    angle_rad
        Angles in the image, from +x towards +y; any shape.
    level
        ``"basal"``, ``"mid"``, ``"apical"`` (as `tagstrain.data.SliceLevel`), or any other word for unknown.
    insertion_angle_rad
        Angle of the anterior RV insertion, in the same way.
    is_seen_from_apex
        Whether the image shows the heart from its apex; y pointing down, counter-clockwise then is towards smaller
        angles.

    References
    ----------
    Cerqueira et al., Circulation 2002;105:539-542, doi:10.1161/hc0402.102975
    """
    angle = np.asarray(angle_rad, np.float64)
    segments = AHA_SEGMENTS.get(level)
    if segments is None:
        return np.zeros(angle.shape, np.int64)
    width_rad = 2 * np.pi / len(segments)
    counterclockwise = (angle - insertion_angle_rad) * counterclockwise_sign(is_seen_from_apex)
    past_start = np.mod(counterclockwise + (np.pi / 3 - width_rad) / 2, 2 * np.pi)
    # The first segment of each level is the anterior one, which comes last on this way round.
    place = np.minimum(past_start // width_rad, len(segments) - 1).astype(np.int64)
    return np.asarray(np.roll(segments, -1))[place]


def counterclockwise_sign(is_seen_from_apex: bool) -> int:
    """Sign that turns image angles (+x towards +y, y down) into counter-clockwise ones as seen from the apex."""
    return -1 if is_seen_from_apex else 1


def assumed_insertion_rad(is_seen_from_apex: bool) -> float:
    """Angle assumed for the anterior RV insertion where it is not known: an upright picture, mirrored from the base."""
    return ASSUMED_INSERTION_RAD if is_seen_from_apex else -np.pi - ASSUMED_INSERTION_RAD


def layers_of(n_rings: int) -> NDArray[np.int64]:
    """Third of the wall (0 endo, 1 mid, 2 epi) of each of the equally spaced rings; a ring on a border is mid."""
    third = np.arange(n_rings) * 3 - (n_rings - 1)  # times the distance between rings
    return np.asarray(np.where(third < 0, 0, np.where(third > n_rings - 1, 2, 1)))


def regional_curves(
    values: NDArray[np.float64], segment_of_spoke: NDArray[np.int64], segments: Sequence[int]
) -> RegionalCurves:
    """Averages of a quantity ``(time, spoke, ring)``; landmarks that are NaN are left out of their regions."""
    layer = layers_of(values.shape[2])
    return RegionalCurves(
        landmarks=values,
        rings=mean_known(values, axis=1),
        layers=_column_means([values[:, :, layer == index] for index in range(len(LAYERS))], len(values)),
        segments=_column_means([values[:, segment_of_spoke == number] for number in segments], len(values)),
        slice_mean=_column_means([values], len(values))[:, 0],
    )


def _column_means(regions: list[NDArray[np.float64]], n_frames: int) -> NDArray[np.float64]:
    """Mean over all landmarks of each region, one column per region."""
    means = [mean_known(region.reshape(n_frames, -1), axis=1) for region in regions]
    return np.stack(means, axis=1) if means else np.empty((n_frames, 0))
