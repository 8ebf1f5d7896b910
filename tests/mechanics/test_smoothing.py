"""The smooth curve against its frequency response and against exact curves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.interpolate import make_smoothing_spline

from tagstrain.mechanics.smoothing import HALF_GAIN_PERIOD_MS, SmoothCurve, smooth_curve


def known(curve: SmoothCurve | None) -> SmoothCurve:
    assert curve is not None
    return curve


@pytest.mark.parametrize("interval_ms", [7.0, 15.0, 30.0])
@pytest.mark.parametrize("period_ms", [80.0, HALF_GAIN_PERIOD_MS, 250.0])
def test_an_oscillation_passes_with_the_stated_gain_whatever_the_frame_interval(
    interval_ms: float, period_ms: float
) -> None:
    times = np.arange(0, 4000, interval_ms)
    curve = known(smooth_curve(np.sin(2 * np.pi * times / period_ms), times))
    is_inside = (curve.times_ms > 1000) & (curve.times_ms < 3000)
    lost_once = 1 / (1 + (period_ms / HALF_GAIN_PERIOD_MS) ** 4 / (1 + np.sqrt(2)))
    gain = 1 - lost_once**2
    assert_allclose(np.abs(curve.values[is_inside]).max(), gain, atol=0.05 if interval_ms == 30 else 0.01)


@pytest.mark.parametrize("n_frames", [5, 20])
def test_what_a_first_spline_leaves_is_smoothed_again_and_added_back(n_frames: int) -> None:
    """Curve by curve, of other values and strengths at the same uneven times."""
    rng = np.random.default_rng(3)
    times = np.cumsum(rng.uniform(10, 60, n_frames))
    for period_ms in (60.0, 120.0, 60.0):
        noise = rng.normal(size=n_frames)
        strength, weights = (1 + np.sqrt(2)) * (period_ms / (2 * np.pi)) ** 4, np.gradient(times)
        first = make_smoothing_spline(times, noise, weights, strength)
        second = make_smoothing_spline(times, noise - first(times), weights, strength)
        curve = known(smooth_curve(noise, times, period_ms))
        fine = curve.times_ms
        assert_allclose(curve.values, first(fine) + second(fine), atol=1e-12)
        assert_allclose(curve.rates_per_s, 1000 * (first.derivative()(fine) + second.derivative()(fine)), atol=1e-9)


@given(slope=st.floats(-5, 5), start=st.floats(-1, 1), seed=st.integers(0, 100))
def test_a_straight_line_stays_one_at_uneven_times(slope: float, start: float, seed: int) -> None:
    times = np.cumsum(np.random.default_rng(seed).uniform(10, 60, 20))
    curve = known(smooth_curve(start + slope * times / 1000, times))
    assert_allclose(curve.values, start + slope * curve.times_ms / 1000, atol=1e-6)
    assert_allclose(curve.rates_per_s, slope, atol=1e-5)


def test_uneven_frames_give_the_curve_of_even_ones() -> None:
    rng = np.random.default_rng(5)
    even = np.arange(0, 800, 25.0)
    uneven = np.sort(even + rng.uniform(-8, 8, even.size))
    curves = [known(smooth_curve(-0.2 * np.sin(np.pi * times / 800) ** 2, times)) for times in (even, uneven)]
    at = np.linspace(50, 700, 50)
    values = [[curve.value_at(time) for time in at] for curve in curves]
    assert_allclose(values[0], values[1], atol=1e-3)


def test_unknown_frames_are_bridged_and_nothing_is_made_up_beyond_the_known() -> None:
    times = np.arange(0, 600, 30.0)
    values = times / 1000
    values[[0, 1, 7, 19]] = np.nan
    curve = known(smooth_curve(values, times))
    assert curve.times_ms[[0, -1]].tolist() == [60, 540]
    assert_allclose(curve.value_at(210), 0.21)
    assert np.isnan(curve.value_at(30))


@pytest.mark.parametrize("n_frames", [2, 3, 4])
def test_few_frames_are_joined_by_lines(n_frames: int) -> None:
    times = 30.0 * np.arange(n_frames)
    values = np.arange(n_frames) ** 2 * -0.1
    curve = known(smooth_curve(values, times))
    assert_allclose([curve.value_at(time) for time in times], values, atol=1e-12)
    assert_allclose(curve.rates_per_s[5], -0.1 / 0.03)


@pytest.mark.parametrize("n_known", [0, 1])
def test_less_than_two_frames_give_no_curve(n_known: int) -> None:
    values = np.full(20, np.nan)
    values[:n_known] = 0.0
    assert smooth_curve(values, 30.0 * np.arange(20)) is None
