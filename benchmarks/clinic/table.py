"""The measures of all methods as Markdown: `report`."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

import tagstrain
from benchmarks.clinic.hearts import SEED, SNR
from benchmarks.clinic.measures import (
    DYSFUNCTION_RATIO,
    HeartFunction,
    HeartMeasures,
    StrainFunction,
    auc,
    bootstrap_interval,
    relative_bias,
    relative_strain,
)
from benchmarks.clinic.tracking import AUTOMATIC
from tagstrain.inference.models import DEFAULT_TRACKER

Array = NDArray[np.float64]
LEAST_AUC = 0.9
LARGEST_TWIST_ERROR_DEG = 1.0
LARGEST_RATE_BIAS = 0.05


class Regional(NamedTuple):
    """How far the segments of a method's hearts are right."""

    circumferential_error: float
    """Mean absolute error."""
    circumferential_bias: float
    radial_error: float
    radial_bias: float
    auc: float
    """Of the strain relative to the heart's other segments."""
    auc_interval: tuple[float, float]
    absolute_auc: float
    """Of the strain itself."""


class Global(NamedTuple):
    """How far twist and rates of a method's hearts are right."""

    peak_twist_error_deg: float
    """Mean absolute error."""
    peak_twist_bias_deg: float
    twist_curve_error_deg: float
    """Mean absolute error over all frames."""
    circumferential_rate_bias: Array
    """Systolic and early-diastolic, relative."""
    radial_rate_bias: Array


def report(judged: Mapping[str, Sequence[HeartMeasures | None]], weights: Mapping[str, str], command: str) -> str:
    """All tables; a heart that a method gave up is None."""
    followed = {method: [heart for heart in hearts if heart is not None] for method, hearts in judged.items()}
    regional = {method: measure_regional(hearts) for method, hearts in followed.items() if hearts}
    overall = {method: measure_global(hearts) for method, hearts in followed.items() if hearts}
    gave_all_up = [f"{method}, {len(judged[method])}" for method, hearts in followed.items() if not hearts]
    lines = [
        "# Regional strain, twist and strain rates of simulated hearts",
        "",
        f"Command: `{command}`; seed {SEED}. tagstrain {tagstrain.__version__}, Python {platform.python_version()}, "
        f"{os.cpu_count()} CPU cores, {platform.machine()}.",
        "",
        *(f"- {name}: {version}" for name, version in weights.items()),
        "",
        *_meaning(),
        "",
        *_verdicts(regional, overall),
        *([f"- gave up all hearts: {'; '.join(gave_all_up)}"] if gave_all_up else []),
        "",
        "## Segments",
        "",
        *_rows(
            "method | hearts | given up | dysfunctional segments | E_cc MAE | E_cc bias | E_rr MAE | E_rr bias "
            "| AUC | 95 % interval | AUC, absolute",
            [_regional_row(method, judged[method], row) for method, row in regional.items()],
        ),
        "",
        "## Twist and rates",
        "",
        *_rows(
            "method | peak twist MAE deg | bias deg | twist MAE deg, all frames | E_cc systolic rate bias % "
            "| E_cc early-diastolic rate bias % | E_rr systolic rate bias % | E_rr early-diastolic rate bias %",
            [_global_row(method, row) for method, row in overall.items()],
        ),
        "",
    ]
    return "\n".join(lines)


def measure_regional(hearts: Sequence[HeartMeasures]) -> Regional:
    """Errors of segments, and how well dysfunctional ones are told from the others."""
    circumferential = _errors(hearts, lambda function: function.circumferential.end_systolic)
    radial = _errors(hearts, lambda function: function.radial.end_systolic)
    strains = [heart.measured.circumferential.end_systolic for heart in hearts]
    scores = [-relative_strain(strain) for strain in strains]
    labels = [heart.is_dysfunctional for heart in hearts]
    return Regional(
        float(np.abs(circumferential).mean()),
        float(circumferential.mean()),
        float(np.abs(radial).mean()),
        float(radial.mean()),
        auc(np.concatenate(scores), np.concatenate(labels)),
        bootstrap_interval(scores, labels, np.random.default_rng(SEED)),
        auc(np.concatenate(strains), np.concatenate(labels)),
    )


def measure_global(hearts: Sequence[HeartMeasures]) -> Global:
    """Errors of twist and rates."""
    peak_deg = _errors(hearts, lambda function: np.array([function.peak_twist_deg]))
    return Global(
        float(np.abs(peak_deg).mean()),
        float(peak_deg.mean()),
        float(np.abs(_errors(hearts, lambda function: function.twist_deg)).mean()),
        _rate_bias(hearts, lambda function: function.circumferential),
        _rate_bias(hearts, lambda function: function.radial),
    )


def _errors(hearts: Sequence[HeartMeasures], of: Callable[[HeartFunction], Array]) -> Array:
    """Measured minus true values, one row per heart."""
    return np.stack([of(heart.measured) - of(heart.true) for heart in hearts])


def _rate_bias(hearts: Sequence[HeartMeasures], of: Callable[[HeartFunction], StrainFunction]) -> Array:
    """Relative bias of the systolic and the early-diastolic peak rate of slice means."""
    measured = np.concatenate([of(heart.measured).peak_rates_per_s for heart in hearts])
    true = np.concatenate([of(heart.true).peak_rates_per_s for heart in hearts])
    return np.array([relative_bias(*pair) for pair in zip(measured.T, true.T, strict=True)])


def _meaning() -> list[str]:
    return [
        f"Hearts of a basal, a mid and an apical slice, grid tags 6 mm apart, SNR {SNR:g}; every second heart has a "
        "scar about one segment wide, at a random angle, in one, two or all slices. Trackers are given the true wall "
        f"at ED and the true anterior RV insertion; {AUTOMATIC} is the default pipeline, which finds both itself. "
        "Truth is what the same mechanics say of the true landmarks, each with its own end-systole: what smoothing "
        "does to rates is in strain_rate.md.",
        "",
        "Segments: end-systolic strain of 16 AHA segments, as fractions. A segment is dysfunctional where its true "
        f"circumferential strain is at most {DYSFUNCTION_RATIO:g} of the median of the heart's segments remote from "
        "the scar; all others, the scar's borders too, are not. AUC: of the measured strain over the median of the "
        "measured heart; absolute, of the strain itself. The interval is a bootstrap over hearts. Twist: apical less "
        "basal rotation. Rates: peak rates of slice means; bias over the mean true rate.",
    ]


def _verdicts(regional: Mapping[str, Regional], overall: Mapping[str, Global]) -> list[str]:
    """What the default tracker must hold, and whether it does."""
    method = DEFAULT_TRACKER.value
    if method not in regional:
        return []
    area, twist_deg = regional[method].auc, overall[method].peak_twist_error_deg
    bias = float(np.abs(overall[method].circumferential_rate_bias).max())
    claims = [
        (f"AUC {area:.3f}, at least {LEAST_AUC:g} asked", area >= LEAST_AUC),
        (
            f"twist error {twist_deg:.2f} deg, at most {LARGEST_TWIST_ERROR_DEG:g} asked",
            twist_deg <= LARGEST_TWIST_ERROR_DEG,
        ),
        (f"circumferential rate bias {bias:.1%}, at most {LARGEST_RATE_BIAS:.0%} asked", bias <= LARGEST_RATE_BIAS),
    ]
    return [f"- {method}: {claim}: {'holds' if holds else 'does not hold'}" for claim, holds in claims]


def _regional_row(method: str, hearts: Sequence[HeartMeasures | None], row: Regional) -> list[str]:
    known = [heart for heart in hearts if heart is not None]
    return [
        method,
        str(len(hearts)),
        str(len(hearts) - len(known)),
        str(sum(int(heart.is_dysfunctional.sum()) for heart in known)),
        f"{row.circumferential_error:.4f}",
        f"{row.circumferential_bias:+.4f}",
        f"{row.radial_error:.4f}",
        f"{row.radial_bias:+.4f}",
        f"{row.auc:.3f}",
        f"{row.auc_interval[0]:.3f} to {row.auc_interval[1]:.3f}",
        f"{row.absolute_auc:.3f}",
    ]


def _global_row(method: str, row: Global) -> list[str]:
    biases = [*row.circumferential_rate_bias, *row.radial_rate_bias]
    twists = [f"{row.peak_twist_error_deg:.2f}", f"{row.peak_twist_bias_deg:+.2f}", f"{row.twist_curve_error_deg:.2f}"]
    return [method, *twists, *(f"{100 * bias:+.1f}" for bias in biases)]


def _rows(header: str, rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [header, " | ".join("---" for _ in header.split("|")), *(" | ".join(row) for row in rows)]
    return [f"| {line} |" for line in lines]
