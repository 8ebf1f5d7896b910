"""Rotation of slices about their centers, and twist and torsion between base and apex."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tagstrain.mechanics.heart_frame import RingMotion
from tagstrain.mechanics.regions import counterclockwise_sign
from tagstrain.mechanics.smoothing import smooth_curve

LATE_TWIST_MS = 100.0
"""Twist may peak this long after end-systole; later, what tags that have faded seem to do is not the heart's turn."""


@dataclass(frozen=True, eq=False, slots=True)
class Twist:
    """Turn of the apex against the base, seen from the apex: counter-clockwise, as a healthy systole turns, positive.

    References
    ----------
    Young and Cowan, J Cardiovasc Magn Reson 2012;14:49, doi:10.1186/1532-429X-14-49 (definitions)
    """

    frame_times_ms: NDArray[np.float64]
    twist_deg: NDArray[np.float64]
    """Apical less basal rotation, shape ``(time,)``."""
    torsion_deg_per_cm: NDArray[np.float64]
    """Twist per distance between the two slices, shape ``(time,)``; NaN where that is not known."""
    shear_angle_deg: NDArray[np.float64]
    """Circumferential-longitudinal shear angle of the epicardium, shape ``(time,)``; NaN as `torsion_deg_per_cm`."""
    peak_twist_deg: float
    """The largest in the direction in which the ventricle turns in systole, with its sign."""
    peak_torsion_deg_per_cm: float
    """Torsion at the peak of the twist; NaN as `torsion_deg_per_cm`."""
    time_to_peak_ms: float
    peak_untwist_rate_deg_per_s: float
    """Fastest return of the twist after its peak, of the other sign; NaN where the cine ends while it still gets
    faster."""


def rotation_deg(rings: RingMotion, is_seen_from_apex: bool) -> NDArray[np.float64]:
    """Rotation of every ring since ED, shape ``(time, ring)``; counter-clockwise as seen from the apex is positive."""
    return np.degrees(rings.rotation_rad) * counterclockwise_sign(is_seen_from_apex)


def twist_between(
    basal_rotation_deg: NDArray[np.floating],
    apical_rotation_deg: NDArray[np.floating],
    frame_times_ms: NDArray[np.floating],
    distance_mm: float | None,
    epicardial_radius_mm: tuple[float, float],
    ed_ms: float = -np.inf,
    es_ms: float = np.inf,
    end_ms: float = np.inf,
) -> Twist:
    """Twist and torsion from the rotation of two slices.

    Parameters
    ----------
    basal_rotation_deg, apical_rotation_deg
        Rotation since ED, seen from the apex, at the same times, shape ``(time,)``.
    frame_times_ms
        Shape ``(time,)``.
    distance_mm
        Distance between the slices along the long axis; None where not known.
    epicardial_radius_mm
        Mean epicardial radius at ED of the basal and of the apical slice, for the shear angle.
    ed_ms
        End-diastole, from which on the peak is looked for, as that of strain is.
    es_ms
        End-systole: the way that the ventricle turns is the one of its largest twist until `LATE_TWIST_MS` later.
    end_ms
        Of the beat; what comes after it is not looked at.

    References
    ----------
    Rüssel et al., J Cardiovasc Magn Reson 2009;11:8, doi:10.1186/1532-429X-11-8 (shear angle in two dimensions:
    twist times the mean radius by the distance)
    """
    twist_deg = np.asarray(apical_rotation_deg, np.float64) - basal_rotation_deg
    known_distance_mm = distance_mm if distance_mm else np.nan
    per_mm = twist_deg / known_distance_mm
    curve = smooth_curve(twist_deg, frame_times_ms)
    peak_deg = time_ms = untwist = np.nan
    if curve is not None and (is_from_ed := (curve.times_ms >= ed_ms) & (curve.times_ms < end_ms)).any():
        is_early = is_from_ed & (curve.times_ms <= max(es_ms, ed_ms) + LATE_TWIST_MS)
        way = math.copysign(1, curve.values[np.argmax(np.where(is_early, np.abs(curve.values), -1.0))])
        peak = int(np.argmax(np.where(is_from_ed, way * curve.values, -np.inf)))
        peak_deg, time_ms = float(curve.values[peak]), float(curve.times_ms[peak])
        is_after = is_from_ed & (np.arange(len(is_from_ed)) >= peak)
        fastest = int(np.argmin(np.where(is_after, way * curve.rates_per_s, np.inf)))
        untwist = float(curve.rates_per_s[fastest]) if fastest < len(curve.times_ms) - 1 else np.nan
    return Twist(
        frame_times_ms=np.asarray(frame_times_ms, np.float64),
        twist_deg=twist_deg,
        torsion_deg_per_cm=per_mm * 10,
        shear_angle_deg=per_mm * sum(epicardial_radius_mm) / 2,
        peak_twist_deg=peak_deg,
        peak_torsion_deg_per_cm=peak_deg / known_distance_mm * 10,
        time_to_peak_ms=time_ms,
        peak_untwist_rate_deg_per_s=untwist,
    )
