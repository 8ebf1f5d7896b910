"""Fits the error model to simulated slices of known error: `fit_calibration`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from benchmarks.quality.true_errors import Judged
from tagstrain.quality.error_model import Calibration, ErrorModel, evidence
from tagstrain.quality.flaws import Grade, find_flaws
from tagstrain.quality.signals import Signals
from tagstrain.quality.slice_quality import judge

Array = NDArray[np.float64]
SHRINKAGE = 3.0
"""Weight of keeping powers small, in slices: signals that say the same then share it."""
LEAST_POWER = 0.02
N_FOLDS = 10
GOOD_ERROR = 0.02
"""True circumferential error below which a slice is good, and with `USABLE_ERROR` usable."""
USABLE_ERROR = 0.05
PRECISION = 0.96
"""Share of the slices up to a threshold of the expected error whose true error is small enough, with some room to the
95 % that must hold on others."""
COVERAGES = (80, 95)


def has_all_evidence(signals: Signals) -> bool:
    """Whether a slice can teach: everything about it could be measured."""
    return all(np.isfinite(part.value) for part in evidence(signals).values())


def fit_error_model(signals: Sequence[Signals], errors: Array) -> ErrorModel:
    """Least squares on logarithms, no power negative."""
    names = list(evidence(signals[0]))
    logs = np.log([[max(part.value, part.floor) for part in evidence(each).values()] for each in signals])
    mean, target = logs.mean(axis=0), np.log(errors)
    keep_small = np.sqrt(SHRINKAGE) * np.eye(len(names))
    powers, _ = nnls(
        np.vstack([logs - mean, keep_small]), np.concatenate([target - target.mean(), np.zeros(len(names))])
    )
    powers[powers < LEAST_POWER] = 0
    scale = float(np.exp(target.mean() - mean @ powers))
    return ErrorModel(scale, {name: round(float(p), 4) for name, p in zip(names, powers, strict=True) if p > 0})


def predicted_out_of_fold(cases: Sequence[Judged], errors: Array) -> Array:
    """Error expected of each case by a model that did not see it."""
    expected = np.full(len(cases), np.nan)
    for fold in range(N_FOLDS):
        held = np.arange(len(cases)) % N_FOLDS == fold
        model = fit_error_model([case.signals for case, out in zip(cases, held, strict=True) if not out], errors[~held])
        expected[held] = [model.predict(case.signals) for case, out in zip(cases, held, strict=True) if out]
    return expected


def fit_calibration(cases: Sequence[Judged], tracker: str, weights: Mapping[str, str]) -> Calibration:
    """Models from all cases; thresholds and intervals from what they say of cases that they did not see."""
    cases = [case for case in cases if has_all_evidence(case.signals)]
    circumferential = np.array([case.errors.circumferential for case in cases])
    signals = [case.signals for case in cases]
    expected = predicted_out_of_fold(cases, circumferential)
    allowed = [{flaw.best_grade for flaw in find_flaws(case.signals, case.result)} for case in cases]
    usable = np.array([Grade.REJECT not in grades for grades in allowed])
    good = np.array([grades <= {Grade.GOOD} for grades in allowed])
    without_intervals = Calibration(
        tracker,
        weights,
        fit_error_model(signals, np.array([case.errors.position_mm for case in cases])),
        fit_error_model(signals, circumferential),
        fit_error_model(signals, np.array([case.errors.regional_circumferential for case in cases])),
        {},
        usable_below=round(highest_threshold(expected[usable], circumferential[usable], USABLE_ERROR), 5),
        good_below=round(highest_threshold(expected[good], circumferential[good], GOOD_ERROR), 5),
    )
    return replace(without_intervals, interval_factors=_interval_factors(cases, expected, without_intervals))


def _interval_factors(
    cases: Sequence[Judged], expected: Array, calibration: Calibration
) -> dict[str, dict[str, float]]:
    """Quantiles of the error of the peak over the expected error, for each grade its own."""
    off = np.abs([case.errors.peak for case in cases]) / expected
    grades = [judge(case.result, case.signals, calibration.tracker, calibration).grade for case in cases]
    return {
        grade.value: {
            str(percent): round(_quantile(off[[each is grade for each in grades]], percent / 100), 3)
            for percent in COVERAGES
        }
        for grade in (Grade.GOOD, Grade.USABLE)
    }


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


def _quantile(values: Array, share: float) -> float:
    """Quantile that holds for one more value: split conformal prediction."""
    return float(np.quantile(values, min(1.0, np.ceil(share * (len(values) + 1)) / len(values))))
