"""The judgment on one slice: `assess` gives a `SliceQuality`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tagstrain.data import SliceResult
from tagstrain.inference.interfaces import Localizer, Placer, Tracker
from tagstrain.quality.error_model import Calibration, Interval, load_calibration
from tagstrain.quality.flaws import Grade, ends_shortening, find_flaws
from tagstrain.quality.motion_field import largest_known
from tagstrain.quality.signals import Signals, measure_signals


@dataclass(frozen=True, slots=True)
class SliceQuality:
    """How far the numbers of a slice can be trusted; it never changes them."""

    grade: Grade
    reasons: tuple[str, ...]
    """In words: what keeps the grade from being better, and what else a reader should know."""
    signals: Signals
    predicted_error_mm: float
    """Expected RMS distance of tracked points from where their tissue went; NaN where no calibration holds."""
    predicted_circumferential_error: float
    """Expected RMS error over frames of mid-wall circumferential strain (fraction), placing included; NaN likewise."""
    predicted_regional_circumferential_error: float
    """The same for a sixth of the ring, as a segment is; NaN likewise."""
    peak_circumferential_interval_80: Interval
    """Where the true peak of mid-wall circumferential strain (Green-Lagrange) lies with 80 % probability; the measured
    one need not lie in the middle.

    NaN where no error can be predicted, where the cine ends before the peak may be reached, and for slices to be
    rejected, for which no interval would hold.
    """
    peak_circumferential_interval_95: Interval


def assess(
    result: SliceResult,
    tracker: Tracker,
    placer: Placer,
    localizer: Localizer,
    calibration: Calibration | None = None,
    weights: Mapping[str, str] | None = None,
) -> SliceQuality:
    """Judge a slice by what can be measured on it.

    Parameters
    ----------
    tracker
        What followed the landmarks; it is asked to follow them back.
    placer
        What finds walls; it is asked once more, of every other frame (`place_again`).
    localizer
        What finds hearts; it is asked where it was not before, as the user gave box or wall.
    calibration
        The shipped one by default. It holds for its own tracker and weights alone: for others no errors are expected
        and no intervals given, and slices are not graded unless they are to be rejected.
    weights
        Network to version and hash of what made the result (`Provenance.weights`); None takes them for those of the
        calibration.
    """
    signals = measure_signals(result, tracker, placer, localizer)
    return judge(result, signals, tracker.name, calibration or load_calibration(), weights)


def judge(
    result: SliceResult,
    signals: Signals,
    tracker_name: str,
    calibration: Calibration,
    weights: Mapping[str, str] | None = None,
) -> SliceQuality:
    """Grade, expected errors and intervals from signals that were measured before; ``weights`` as in `assess`."""
    why_not = calibration.why_not(tracker_name, weights)
    models = (calibration.position, calibration.circumferential, calibration.regional_circumferential)
    error_mm, circumferential_error, regional_error = (
        float("nan") if why_not else model.predict(signals) for model in models
    )
    grade, reasons = Grade.GOOD, []
    if why_not:
        grade, reasons = Grade.UNGRADED, [f"no errors are predicted: {why_not}"]
    elif np.isnan(circumferential_error):
        grade, reasons = Grade.UNGRADED, ["no errors are predicted: too little could be measured"]
    elif circumferential_error > calibration.good_below:
        grade = Grade.USABLE if circumferential_error <= calibration.usable_below else Grade.REJECT
        points = 100 * circumferential_error
        reasons = [f"the predicted error of circumferential strain is {points:.1f} percentage points"]
    for flaw in find_flaws(signals, result):
        reasons.append(flaw.reason)
        grade = worse(grade, flaw.best_grade)
    peak = float("nan") if ends_shortening(result) else -largest_known(-result.strain.midwall_of_beat)
    return SliceQuality(
        grade,
        tuple(reasons),
        signals,
        error_mm,
        circumferential_error,
        regional_error,
        calibration.interval(peak, 80, circumferential_error, grade, result.is_wall_given),
        calibration.interval(peak, 95, circumferential_error, grade, result.is_wall_given),
    )


def worse(first: Grade, second: Grade) -> Grade:
    """The worse of two grades; ungraded stays so unless there is a reason to reject."""
    order = list(Grade)
    return max(first, second, key=order.index)
