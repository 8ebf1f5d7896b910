"""Fits the error model to simulated slices of known error: `fit_calibration`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares, nnls

from benchmarks.quality.true_errors import Judged
from tagstrain.quality.error_model import Calibration, ErrorModel, ErrorPart, IntervalRange, evidence
from tagstrain.quality.flaws import Grade, find_flaws
from tagstrain.quality.signals import Signals
from tagstrain.quality.slice_quality import judge

Array = NDArray[np.float64]
SHRINKAGE = 3.0
"""Weight of keeping powers small, in slices: signals that say the same then share it."""
LEAST_POWER = 0.02
CAUSES = ("tracking", "placing")
"""Of errors of strain; `TrueErrors` holds the part of each."""
TIMING = "jump_mm"
"""The evidence that tells of frames of another moment of the cycle."""
N_FOLDS = 10
GOOD_ERROR = 0.02
"""True circumferential error below which a slice is good, and with `USABLE_ERROR` usable."""
USABLE_ERROR = 0.05
PRECISION = 0.975
"""Share of the slices up to a threshold of the expected error whose true error is small enough, with some room to the
95 % that must hold on others."""
COVERAGES = (80, 95)
N_RANGES = 2
"""Ranges of the expected error, for each grade, that have intervals of their own."""


def has_all_evidence(signals: Signals) -> bool:
    """Whether a slice can teach: everything about it could be measured."""
    return all(np.isfinite(part.value) for part in evidence(signals).values())


def fit_error_model(signals: Sequence[Signals], errors: Array, by_cause: Mapping[str, Array]) -> ErrorModel:
    """Every part from its own errors, then all of them scaled alike so that together they expect the whole error.

    Errors of tracking are those of two parts: what was followed wrongly, and what was followed well in frames of
    another moment of the cycle, of which jumps alone tell.
    """
    parts = {cause: fit_error_part(signals, part) for cause, part in by_cause.items()}
    parts["tracking"], parts["timing"] = _apart(signals, by_cause["tracking"], parts["tracking"])
    expected = [ErrorModel(parts).predict(each) for each in signals]
    scale = float(np.exp(np.mean(np.log(errors / expected))))
    return ErrorModel({cause: replace(part, scale=scale * part.scale) for cause, part in parts.items()})


def _apart(signals: Sequence[Signals], errors: Array, tracking: ErrorPart) -> tuple[ErrorPart, ErrorPart]:
    """Errors told apart into a part by any evidence, fitted from ``tracking`` on, and one by `TIMING` alone."""
    names = list(evidence(signals[0]))
    logs, target = _logs(signals), np.log(errors)
    of_timing = logs[:, names.index(TIMING)]

    def misses(values: Array) -> Array:
        scale, timing_scale, timing_power, *powers = values
        first, second = scale + logs @ powers, timing_scale + timing_power * of_timing
        shrunk = np.sqrt(SHRINKAGE) * np.array(powers)
        return np.concatenate([np.logaddexp(2 * first, 2 * second) / 2 - target, shrunk])

    start = [np.log(tracking.scale), target.min(), 1.0, *(tracking.powers.get(name, 0.0) for name in names)]
    lowest = [-np.inf, -np.inf, 0.0, *[0.0] * len(names)]
    found = least_squares(misses, np.maximum(start, lowest), bounds=(lowest, np.inf)).x
    powers = {name: round(float(p), 4) for name, p in zip(names, found[3:], strict=True) if p >= LEAST_POWER}
    timing = ErrorPart(float(np.exp(found[1])), {TIMING: round(float(found[2]), 4)})
    return ErrorPart(float(np.exp(found[0])), powers), timing


def _logs(signals: Sequence[Signals]) -> Array:
    """Logarithms of the evidence, ``(slice, evidence)``."""
    return np.log([[max(part.value, part.floor) for part in evidence(each).values()] for each in signals])


def fit_error_part(signals: Sequence[Signals], errors: Array) -> ErrorPart:
    """Least squares on logarithms, no power negative."""
    names = list(evidence(signals[0]))
    logs = _logs(signals)
    mean, target = logs.mean(axis=0), np.log(errors)
    keep_small = np.sqrt(SHRINKAGE) * np.eye(len(names))
    powers, _ = nnls(
        np.vstack([logs - mean, keep_small]), np.concatenate([target - target.mean(), np.zeros(len(names))])
    )
    powers[powers < LEAST_POWER] = 0
    scale = float(np.exp(target.mean() - mean @ powers))
    return ErrorPart(scale, {name: round(float(p), 4) for name, p in zip(names, powers, strict=True) if p > 0})


def fit_strain_model(cases: Sequence[Judged], name: str) -> ErrorModel:
    """Model of the field ``name`` of `TrueErrors`, a strain, whose parts are ``name_of_tracking`` and so on."""
    errors = {cause: _errors(cases, f"{name}_of_{cause}") for cause in CAUSES}
    return fit_error_model([case.signals for case in cases], _errors(cases, name), errors)


def predicted_out_of_fold(cases: Sequence[Judged]) -> Array:
    """Circumferential error expected of each case by a model that did not see it."""
    expected = np.full(len(cases), np.nan)
    for fold in range(N_FOLDS):
        held = np.arange(len(cases)) % N_FOLDS == fold
        model = fit_strain_model([case for case, out in zip(cases, held, strict=True) if not out], "circumferential")
        expected[held] = [model.predict(case.signals) for case, out in zip(cases, held, strict=True) if out]
    return expected


def _errors(cases: Sequence[Judged], name: str) -> Array:
    """A field of `TrueErrors` of every case."""
    return np.array([getattr(case.errors, name) for case in cases])


def fit_calibration(cases: Sequence[Judged], tracker: str, weights: Mapping[str, str]) -> Calibration:
    """Models from all cases; thresholds and intervals from what they say of cases that they did not see."""
    cases = [case for case in cases if has_all_evidence(case.signals)]
    circumferential, position_mm = _errors(cases, "circumferential"), _errors(cases, "position_mm")
    expected = predicted_out_of_fold(cases)
    allowed = [{flaw.best_grade for flaw in find_flaws(case.signals, case.result)} for case in cases]
    usable = np.array([Grade.REJECT not in grades for grades in allowed])
    good = np.array([grades <= {Grade.GOOD} for grades in allowed])
    without_intervals = Calibration(
        tracker,
        weights,
        fit_error_model([case.signals for case in cases], position_mm, {"tracking": position_mm}),
        fit_strain_model(cases, "circumferential"),
        fit_strain_model(cases, "regional_circumferential"),
        tuple(
            IntervalRange(grade, np.inf, dict.fromkeys(map(str, COVERAGES), (np.nan, np.nan)))
            for grade in (Grade.GOOD, Grade.USABLE)
        ),
        usable_below=round(highest_threshold(expected[usable], circumferential[usable], USABLE_ERROR), 5),
        good_below=round(highest_threshold(expected[good], circumferential[good], GOOD_ERROR), 5),
    )
    grades = [judge(case.result, case.signals, tracker, without_intervals).grade for case in cases]
    return replace(without_intervals, interval_ranges=interval_ranges(expected, _errors(cases, "peak"), grades))


def interval_ranges(expected: Array, errors: Array, grades: Sequence[Grade]) -> tuple[IntervalRange, ...]:
    """Quantiles of signed ``errors`` of the peak over the expected error, by grade and size of the latter."""
    ranges = []
    for grade in (Grade.GOOD, Grade.USABLE):
        of_grade = np.flatnonzero([each is grade for each in grades])
        for members in np.array_split(of_grade[np.argsort(expected[of_grade])], N_RANGES):
            ratios = errors[members] / expected[members]
            factors = {str(percent): _between(ratios, percent / 100) for percent in COVERAGES}
            ranges.append(IntervalRange(grade, round(float(expected[members].max()), 5), factors))
    return tuple(ranges)


def highest_threshold(expected: Array, true: Array, allowed: float) -> float:
    """Largest expected error, itself allowed, up to which `PRECISION` of the slices have a true error that is.

    How likely a true error is allowed comes from the ratios of true to expected error of all slices: the few that fail,
    counted alone, would move the threshold by chance.
    """
    ratios, ordered = np.sort(true / expected), np.sort(expected)
    chance = np.searchsorted(ratios, allowed / ordered) / len(ratios)
    precision = np.cumsum(chance) / np.arange(1, len(ordered) + 1)
    enough = np.flatnonzero((precision >= PRECISION) & (ordered < allowed))
    return float(ordered[enough[-1]]) if enough.size else 0.0


def _between(values: Array, share: float) -> tuple[float, float]:
    """Ends between which one more value lies: split conformal prediction, as many beyond one end as the other."""
    ordered, n, beyond = np.sort(values), len(values), (1 - share) / 2
    low = ordered[max(0, int(np.floor((n + 1) * beyond)) - 1)]
    high = ordered[min(n - 1, int(np.ceil((n + 1) * (1 - beyond))) - 1)]
    return round(float(low), 3), round(float(high), 3)
