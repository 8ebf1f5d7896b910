"""When the ventricle reaches end-systole, and what a strain curve does before and after it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tagstrain.mechanics.smoothing import SmoothCurve, smooth_curve

EARLY_DIASTOLE_MS = 250.0
"""Search for the early-diastolic rate this long after end-systole where the RR interval is not known."""
SHORTEST_RR_MS = 300.0
"""RR intervals below say nothing of when the next beat begins: mistakes, or those of small animals."""
HARDLY_ANY_STRAIN = 0.01
"""Deformation, as a fraction, below which noise decides when a curve peaks."""
ENOUGH_TO_TELL_BEATS = 0.05
"""Shortening, as a fraction, below which noise may look like another beat."""


@dataclass(frozen=True, slots=True)
class CardiacPhases:
    """Times that divide the cycle, since the R wave."""

    ed_ms: float
    es_ms: float
    """End-systole, taken for the closure of the aortic valve."""
    rr_interval_ms: float | None = None
    """None where not known."""

    def __post_init__(self) -> None:
        if self.es_ms < self.ed_ms:
            raise ValueError(f"es_ms: expected end-systole after end-diastole at {self.ed_ms:g} ms, got {self.es_ms:g}")

    @property
    def end_ms(self) -> float:
        """Of the beat; infinite where the RR interval is not known."""
        return beat_end_ms(self.ed_ms, self.rr_interval_ms)

    @property
    def diastole_ms(self) -> float | None:
        """From end-systole to the next ED; None where the RR interval is not known or no longer than systole."""
        if self.rr_interval_ms is None or self.rr_interval_ms <= self.es_ms - self.ed_ms:
            return None
        return self.ed_ms + self.rr_interval_ms - self.es_ms


def beat_end_ms(ed_ms: float, rr_interval_ms: float | None) -> float:
    """When the beat that began at ED ends and the next one begins; infinite where that is not known."""
    return ed_ms + rr_interval_ms if rr_interval_ms is not None and rr_interval_ms >= SHORTEST_RR_MS else np.inf


def seen_rr_interval_ms(
    circumferential: NDArray[np.floating], frame_times_ms: NDArray[np.floating], ed_frame: int
) -> float | None:
    """Time from ED to where a ring begins to shorten once more; None where a cine shows one beat alone.

    The ring has to come to half of its shortest, to give back three quarters of that, and to come to half of it again:
    neither atrial contraction nor post-systolic shortening does.

    Parameters
    ----------
    circumferential, frame_times_ms
        Strain of the ring and times ``(time,)``; NaN where not known.
    """
    curve, times_ms = np.asarray(circumferential[ed_frame:]), np.asarray(frame_times_ms[ed_frame:], np.float64)
    curve, times_ms = curve[np.isfinite(curve)], times_ms[np.isfinite(curve)]
    shortest = float(curve.min(initial=0.0))
    if shortest > -ENOUGH_TO_TELL_BEATS:
        return None
    is_short, is_long = curve <= 0.5 * shortest, curve >= 0.25 * shortest
    contracted = int(is_short.argmax())
    relaxed = contracted + int(is_long[contracted:].argmax())
    again = relaxed + int(is_short[relaxed:].argmax())
    if not is_long[relaxed] or not is_short[again]:
        return None
    before = curve[relaxed:again]
    begins = relaxed + int(np.flatnonzero(before >= before.max() + 0.1 * shortest)[-1])
    rr_interval_ms = float(times_ms[begins] - times_ms[0])
    return rr_interval_ms if rr_interval_ms >= SHORTEST_RR_MS else None


class DiastolicRecovery(NamedTuple):
    """Share of the end-systolic strain that is given back within the first third of diastole."""

    fraction: float | None
    """1 is all of it; None where it cannot be told."""
    reason: str = ""
    """Why there is none, in words."""


_NO_RECOVERY = DiastolicRecovery(None, "the strain is not known")


@dataclass(frozen=True, slots=True)
class CurveMeasures:
    """What a strain curve does; strains as fractions with their sign, times since the R wave, NaN where not seen.

    All are read from the smooth curve (`smoothing.smooth_curve`). "Peak" is the greatest deformation in the curve's
    own direction: shortening for circumferential, lengthening for radial strain.

    References
    ----------
    Voigt et al., Eur Heart J Cardiovasc Imaging 2015;16:1-11, doi:10.1093/ehjci/jeu184 (strains, post-systolic index)
    """

    peak: float = np.nan
    """Over the whole cycle from ED on, without the next one where the cine goes on into it."""
    time_to_peak_ms: float = np.nan
    """NaN where the greatest deformation is that of ED, as in a segment that is stretched throughout, or hardly any
    (`HARDLY_ANY_STRAIN`)."""
    time_to_peak_of_rr: float = np.nan
    """Fraction of the RR interval; NaN where that is not known."""
    peak_systolic: float = np.nan
    """Between ED and end-systole; NaN where the ventricle is shortest at ED, so that there is no systole to be seen."""
    end_systolic: float = np.nan
    post_systolic: float = np.nan
    """Peak after end-systole."""
    post_systolic_index: float = np.nan
    """``(peak - end_systolic) / peak`` where the peak comes after end-systole, 0 where it does not; NaN where the peak
    has no time."""
    systolic_rate_per_s: float = np.nan
    """Fastest deformation between ED and end-systole; NaN as `peak_systolic`."""
    early_diastolic_rate_per_s: float = np.nan
    """Fastest return in the first half of diastole, NaN where the cine ends before the return slows down or where a
    late segment does not return by then."""
    diastolic_recovery: DiastolicRecovery = _NO_RECOVERY


def end_systole_ms(
    circumferential: NDArray[np.floating],
    frame_times_ms: NDArray[np.floating],
    ed_frame: int = 0,
    rr_interval_ms: float | None = None,
) -> float:
    """Time of the least global circumferential strain in the beat from ED on, a proxy of the aortic valve's closure.

    The curve is smoothed first, so that neither noise in the flat minimum nor the frame interval decides.

    Parameters
    ----------
    circumferential
        Mean of the slice, or of all slices, shape ``(time,)``; NaN where not known.
    frame_times_ms
        Shape ``(time,)``.
    ed_frame
        Index of the undeformed frame.
    rr_interval_ms
        None where not known: all frames from ED on count.

    Raises
    ------
    ValueError
        If fewer than two frames are known, or none from ED on.
    """
    curve = smooth_curve(circumferential, frame_times_ms)
    ed_ms = float(frame_times_ms[ed_frame])
    end_ms = beat_end_ms(ed_ms, rr_interval_ms)
    lowest = None
    if curve is not None:
        lowest = _highest(-curve.values, (curve.times_ms >= ed_ms) & (curve.times_ms < end_ms))
    if curve is None or lowest is None:
        raise ValueError("circumferential strain: too few values are known to find end-systole")
    return float(curve.times_ms[lowest])


def measure_curve(curve: SmoothCurve | None, phases: CardiacPhases, is_shortening: bool) -> CurveMeasures:
    """Peaks, times, rates and recovery of one strain curve.

    Parameters
    ----------
    curve
        None where too little is known; all measures then are NaN.
    phases
        End-diastole and end-systole of the whole ventricle, so that the regions share one clock.
    is_shortening
        Whether deformation is shortening (circumferential) or lengthening (radial).

    References
    ----------
    Ishii et al., J Am Coll Cardiol 2009;53:698-705 (recovery: strain imaging diastolic index)
    """
    if curve is None:
        return CurveMeasures()
    sign = -1.0 if is_shortening else 1.0
    times, deformation, rate = curve.times_ms, sign * curve.values, sign * curve.rates_per_s
    is_systole = (times >= phases.ed_ms) & (times <= phases.es_ms) & (phases.es_ms > phases.ed_ms)
    is_after = (times > phases.es_ms) & (times < phases.end_ms)
    is_from_ed = (times >= phases.ed_ms) & (times < phases.end_ms)
    peak = _highest(deformation, is_from_ed)
    # ED itself need not be one of the curve's times.
    is_deformed = peak is not None and peak > np.argmax(is_from_ed) and deformation[peak] >= HARDLY_ANY_STRAIN
    time_to_peak_ms = _at(times, peak) if is_deformed else np.nan
    end_systolic = sign * curve.value_at(phases.es_ms)
    return CurveMeasures(
        peak=sign * _at(deformation, peak),
        time_to_peak_ms=time_to_peak_ms,
        time_to_peak_of_rr=_share_of_beat(time_to_peak_ms, phases),
        peak_systolic=sign * _at(deformation, _highest(deformation, is_systole)),
        end_systolic=sign * end_systolic,
        post_systolic=sign * _at(deformation, _highest(deformation, is_after)),
        post_systolic_index=_post_systolic_index(_at(deformation, peak), time_to_peak_ms, end_systolic, phases),
        systolic_rate_per_s=sign * _at(rate, _highest(rate, is_systole)),
        early_diastolic_rate_per_s=-sign * _early_diastolic_return(times, -rate, phases),
        diastolic_recovery=_recovery(curve, sign, phases),
    )


def _share_of_beat(time_ms: float, phases: CardiacPhases) -> float:
    """Time since the R wave of ED's own beat over the RR interval; ED lies no further than a quarter before it."""
    rr_ms = phases.rr_interval_ms
    if not rr_ms or not np.isfinite([rr_ms, time_ms]).all():
        return np.nan
    n_beats_before = min(np.floor(phases.ed_ms / rr_ms + 0.25), np.floor(time_ms / rr_ms))
    return float(time_ms / rr_ms - max(0.0, n_beats_before))


def _highest(values: NDArray[np.float64], is_included: NDArray[np.bool_]) -> int | None:
    """Index of the greatest of the included values."""
    indices = np.nonzero(is_included)[0]
    return int(indices[np.argmax(values[indices])]) if len(indices) else None


def _at(values: NDArray[np.float64], index: int | None) -> float:
    """Value at an index, NaN without one."""
    return float(values[index]) if index is not None else np.nan


def _post_systolic_index(peak: float, time_to_peak_ms: float, end_systolic: float, phases: CardiacPhases) -> float:
    """Share of the peak that is reached after end-systole; NaN where hardly anything deforms."""
    if np.isnan(time_to_peak_ms) or np.isnan(end_systolic):
        return np.nan
    return (peak - end_systolic) / peak if time_to_peak_ms > phases.es_ms else 0.0


def _early_diastolic_return(times: NDArray[np.float64], back: NDArray[np.float64], phases: CardiacPhases) -> float:
    """Fastest return early in diastole; NaN where the cine ends while it still gets faster, or nothing returns yet."""
    window_ms = phases.diastole_ms / 2 if phases.diastole_ms is not None else EARLY_DIASTOLE_MS
    fastest = _highest(back, (times > phases.es_ms) & (times <= phases.es_ms + window_ms))
    rate = _at(back, fastest)
    return rate if rate > 0 and fastest != len(times) - 1 else np.nan


def _recovery(curve: SmoothCurve, sign: float, phases: CardiacPhases) -> DiastolicRecovery:
    """Share of the end-systolic deformation that is gone a third of diastole later."""
    if phases.diastole_ms is None:
        return DiastolicRecovery(None, "the RR interval is not known, so the length of diastole is not")
    then_ms = phases.es_ms + phases.diastole_ms / 3
    if then_ms > curve.times_ms[-1]:
        return DiastolicRecovery(
            None, f"the cine ends at {curve.times_ms[-1]:.0f} ms, before a third of diastole at {then_ms:.0f} ms"
        )
    end_systolic = sign * curve.value_at(phases.es_ms)
    if not end_systolic > 0:
        return DiastolicRecovery(None, "there is no deformation at end-systole to recover from")
    return DiastolicRecovery(1 - sign * curve.value_at(then_ms) / end_systolic)
