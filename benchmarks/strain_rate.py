"""Noise against bias of peak strain rates: why strain curves are smoothed by a twice-used spline, and how much.

    python benchmarks/strain_rate.py --number 200 --seed 771301 --table benchmarks/strain_rate.md

Strain curves with exactly known rates are drawn, sampled as tagged cines sample them, and given noise; every method
then finds the systolic and early-diastolic peak rates.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline, make_smoothing_spline
from scipy.signal import savgol_filter

import tagstrain
from tagstrain.mechanics.smoothing import HALF_GAIN_PERIOD_MS, smooth_curve

Array = NDArray[np.float64]
Rates = Callable[[Array, Array], tuple[Array, Array]]
"""Strain ``(time,)`` and frame times [ms] to times [ms] and the rate there [1/s]."""

INTERVALS_MS = (20.0, 30.0, 40.0)
UNEVEN = "uneven 25-45"
NOISE = {"slice mean": (0.0, 0.002, 0.004), "segment": (0.008,)}
"""Standard deviation of the strain of one frame, for curves averaged over many and over few landmarks."""
RESAMPLED_MS = 5.0
MAX_BIAS = 0.05
CHOSEN = f"spline used twice, {HALF_GAIN_PERIOD_MS:g} ms"
"""The method of the package."""


class Truth(NamedTuple):
    """A strain curve at steps of 1 ms, with what is sought."""

    times_ms: Array
    strain: Array
    es_ms: float
    early_diastole_end_ms: float
    systolic_rate_per_s: float
    early_diastolic_rate_per_s: float


class Sampling(NamedTuple):
    """How curves are seen."""

    interval: str
    noise: float


class Case(NamedTuple):
    """A curve as a cine shows it."""

    truth: Truth
    times_ms: Array
    strain: Array


Errors = dict[tuple[str, Sampling], Array]
"""Relative errors of the systolic and early-diastolic peak rate ``(curve, 2)`` by method and sampling."""


def main() -> None:
    """Draw, measure, write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=200, help="curves per frame interval and noise level")
    parser.add_argument("--seed", type=int, default=771_301)
    parser.add_argument("--table", type=Path, default=Path("benchmarks/strain_rate.md"))
    options = parser.parse_args()
    errors: Errors = {}
    for sampling in samplings():
        cases = [draw_case(sampling, child) for child in np.random.SeedSequence(options.seed).spawn(options.number)]
        errors |= {(name, sampling): relative_errors(rates, cases) for name, rates in methods()}
    options.table.write_text(table(errors, options.number, options.seed), encoding="utf-8")


def draw_truth(rng: np.random.Generator) -> Truth:
    """Circumferential strain of one cycle: a contraction, a pause, early filling, diastasis, atrial filling."""
    times = np.arange(0.0, 1300.0)
    es_ms, pause_ms, early_ms = rng.uniform(280, 380), rng.uniform(0, 40), rng.uniform(150, 240)
    atrial_start_ms = es_ms + pause_ms + early_ms + rng.uniform(60, 250)
    early_share = rng.uniform(0.6, 0.8)
    systole = pulse(times, 0.0, es_ms, rng.uniform(0.7, 1.0))
    early = pulse(times, es_ms + pause_ms, early_ms, rng.uniform(0.8, 1.0))
    atrial = pulse(times, atrial_start_ms, rng.uniform(120, 160), 1.0)
    rate_per_ms = rng.uniform(0.12, 0.22) * (early_share * early + (0.95 - early_share) * atrial - systole)
    window_end_ms = es_ms + pause_ms + early_ms
    is_early = (times > es_ms) & (times <= window_end_ms)
    return Truth(
        times_ms=times,
        strain=np.concatenate([[0.0], np.cumsum((rate_per_ms[1:] + rate_per_ms[:-1]) / 2)]),
        es_ms=es_ms,
        early_diastole_end_ms=window_end_ms,
        systolic_rate_per_s=float(rate_per_ms[times <= es_ms].min() * 1000),
        early_diastolic_rate_per_s=float(rate_per_ms[is_early].max() * 1000),
    )


def pulse(times_ms: Array, start_ms: float, length_ms: float, skew: float) -> Array:
    """A smooth pulse of unit area; below 1, ``skew`` brings its top forward."""
    shape = np.sin(np.pi * np.clip((times_ms - start_ms) / length_ms, 0, 1) ** skew) ** 2
    return np.asarray(shape / shape.sum())


def samplings() -> Iterator[Sampling]:
    """Every frame interval with every noise level."""
    for interval in (*(f"{ms:g}" for ms in INTERVALS_MS), UNEVEN):
        for levels in NOISE.values():
            yield from (Sampling(interval, noise) for noise in levels)


def frame_times(interval: str, rng: np.random.Generator) -> Array:
    """Frame times of a cine of about 750 ms."""
    if interval == UNEVEN:
        return np.asarray(5 + np.cumsum(rng.uniform(25, 45, 21)))
    return np.arange(5.0, 760.0, float(interval))


def methods() -> Iterator[tuple[str, Rates]]:
    """The candidates by name."""
    yield "differences of neighbors", lambda strain, times: (times, np.gradient(strain, times) * 1000)
    yield "three-frame mean, then differences", three_frame_mean
    for window_ms in (105, 155, 205, 255):
        yield f"Savitzky-Golay, order 4, {window_ms} ms", savitzky_golay(window_ms)
    for period_ms in (80.0, 110.0, 150.0):
        yield f"spline used once, {period_ms:g} ms", spline_used_once(period_ms)
    for period_ms in (80.0, 100.0, HALF_GAIN_PERIOD_MS, 140.0):
        yield f"spline used twice, {period_ms:g} ms", spline_used_twice(period_ms)


def three_frame_mean(strain: Array, times: Array) -> tuple[Array, Array]:
    """Moving mean of three frames in strain and time, then differences."""
    window = np.ones(3) / 3
    mean_times = np.convolve(times, window, "valid")
    return mean_times, np.gradient(np.convolve(strain, window, "valid"), mean_times) * 1000


def savitzky_golay(window_ms: float) -> Rates:
    """Derivative of local polynomials, on even times between which the frames are interpolated."""

    def rates(strain: Array, times: Array) -> tuple[Array, Array]:
        even = np.arange(times[0], times[-1], RESAMPLED_MS)
        width = int(window_ms / RESAMPLED_MS) | 1
        return even, savgol_filter(CubicSpline(times, strain)(even), width, 4, deriv=1, delta=RESAMPLED_MS / 1000)

    return rates


def spline_used_once(half_gain_period_ms: float) -> Rates:
    """A smoothing spline without what it leaves."""

    def rates(strain: Array, times: Array) -> tuple[Array, Array]:
        strength = (half_gain_period_ms / (2 * np.pi)) ** 4
        curve = make_smoothing_spline(times, strain, w=np.gradient(times), lam=strength)
        fine = np.arange(times[0], times[-1])
        return fine, curve.derivative()(fine) * 1000

    return rates


def spline_used_twice(half_gain_period_ms: float) -> Rates:
    """The package's own smoothing."""

    def rates(strain: Array, times: Array) -> tuple[Array, Array]:
        curve = smooth_curve(strain, times, half_gain_period_ms)
        assert curve is not None
        return curve.times_ms, curve.rates_per_s

    return rates


def draw_case(sampling: Sampling, seed: np.random.SeedSequence) -> Case:
    """A curve with its frames and noise; one seed is the same curve in every sampling."""
    rng = np.random.default_rng(seed)
    truth = draw_truth(rng)
    times = frame_times(sampling.interval, rng)
    strain = np.interp(times, truth.times_ms, truth.strain) + sampling.noise * rng.normal(size=times.size)
    return Case(truth, times, strain)


def relative_errors(rates: Rates, cases: list[Case]) -> Array:
    """Relative errors of the systolic and the early-diastolic peak rate, shape ``(curve, 2)``."""
    errors = []
    for truth, times, strain in cases:
        at, rate = rates(strain, times)
        fine = np.arange(at[0], at[-1])
        rate = np.interp(fine, at, rate)
        is_early = (fine > truth.es_ms) & (fine <= truth.early_diastole_end_ms)
        errors.append(
            (
                rate[fine <= truth.es_ms].min() / truth.systolic_rate_per_s - 1,
                rate[is_early].max() / truth.early_diastolic_rate_per_s - 1,
            )
        )
    return np.array(errors)


def table(errors: Errors, number: int, seed: int) -> str:
    """The report as Markdown."""
    names = list(dict.fromkeys(method for method, _ in errors))
    intervals = list(dict.fromkeys(sampling.interval for sampling in samplings()))
    lines = [
        "# Noise against bias of peak strain rates",
        "",
        f"Command: `python benchmarks/strain_rate.py --number {number} --seed {seed}`; tagstrain "
        f"{tagstrain.__version__}, SciPy {scipy.__version__}, Python {platform.python_version()}, "
        f"{platform.machine()}, one core.",
        "",
        f"{number} curves per frame interval ({', '.join(intervals)} ms) and noise level, which is the standard "
        "deviation of the strain in one frame. Cells: systolic / early-diastolic peak rate, error in percent of the "
        f"true rate. A period is that which passes at half its size. {decision(errors)}",
        "",
        "## All frame intervals together",
        "",
        *_block({name: [(name, sampling) for sampling in samplings()] for name in names}, errors, "method"),
        "",
        f"## {CHOSEN}, by frame interval",
        "",
        *_block(
            {f"{interval} ms": [(CHOSEN, s) for s in samplings() if s.interval == interval] for interval in intervals},
            errors,
            "frames",
        ),
        "",
    ]
    return "\n".join(lines)


def decision(errors: Errors) -> str:
    """What the figures say about the method in use."""
    worst = max(
        float(np.abs(errors[CHOSEN, sampling].mean(axis=0)).max())
        for sampling in samplings()
        if sampling.noise in NOISE["slice mean"]
    )
    verdict = "within" if worst <= MAX_BIAS else "beyond"
    return (
        f"The package uses the {CHOSEN}: its largest bias on slice means is {worst:.1%}, "
        f"{verdict} the {MAX_BIAS:.0%} allowed."
    )


def _block(rows: dict[str, list[tuple[str, Sampling]]], errors: Errors, head: str) -> list[str]:
    """Table of bias and scatter, one column pair per noise level."""
    levels = [(kind, noise) for kind, values in NOISE.items() for noise in values]
    titles = [f"{kind}, noise {noise:g}: {what}" for kind, noise in levels for what in ("bias", "SD")]
    lines = ["| " + " | ".join([head, *titles]) + " |", "|---" * (len(titles) + 1) + "|"]
    for name, keys in rows.items():
        cells = [name]
        for _, noise in levels:
            pooled = np.concatenate([errors[key] for key in keys if key[1].noise == noise]) * 100
            bias, scatter = pooled.mean(axis=0), pooled.std(axis=0, ddof=1)
            cells += [f"{bias[0]:+.1f} / {bias[1]:+.1f}", f"{scatter[0]:.1f} / {scatter[1]:.1f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


if __name__ == "__main__":
    main()
