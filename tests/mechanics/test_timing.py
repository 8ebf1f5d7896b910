"""Peaks, times and rates of curves whose values are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from beating_ventricle import ES_MS, RR_MS, TIMES_MS, contraction
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from tagstrain.mechanics.smoothing import smooth_curve
from tagstrain.mechanics.timing import (
    CardiacPhases,
    CurveMeasures,
    end_systole_ms,
    measure_curve,
    seen_rr_interval_ms,
)

PHASES = CardiacPhases(ed_ms=10.0, es_ms=ES_MS, rr_interval_ms=RR_MS)
FINE_MS = np.arange(10.0, 700.0, 5.0)


def measure(
    values: NDArray[np.float64],
    times: NDArray[np.float64] = FINE_MS,
    phases: CardiacPhases = PHASES,
    is_shortening: bool = True,
) -> CurveMeasures:
    return measure_curve(smooth_curve(values, times), phases, is_shortening)


def test_every_measure_of_a_known_curve() -> None:
    found = measure(-0.2 * contraction(FINE_MS))
    assert_allclose(found.peak, -0.2, rtol=0.02)
    assert_allclose(found.peak_systolic, found.peak)
    assert_allclose(found.end_systolic, found.peak, rtol=0.005)
    assert_allclose(found.time_to_peak_ms, ES_MS, atol=5)
    assert_allclose(found.time_to_peak_of_rr, ES_MS / RR_MS, atol=0.006)
    assert_allclose(found.post_systolic_index, 0, atol=0.005)
    # sin^2 over a duration D from 0 to A is fastest at its middle: A pi / (2 D)
    assert_allclose(found.systolic_rate_per_s, -0.2 * np.pi / (2 * 0.310), rtol=0.03)
    assert_allclose(found.early_diastolic_rate_per_s, 0.16 * np.pi / (2 * 0.250), rtol=0.05)
    third_of_diastole = np.array([ES_MS + (RR_MS - ES_MS) / 3])
    assert found.diastolic_recovery.fraction is not None
    assert_allclose(found.diastolic_recovery.fraction, 1 - contraction(third_of_diastole)[0], atol=0.02)


@pytest.mark.parametrize("later_ms", [0.0, RR_MS - 15, RR_MS, 2 * RR_MS + 40])
def test_the_share_of_the_beat_counts_from_its_own_r_wave(later_ms: float) -> None:
    phases = replace(PHASES, ed_ms=PHASES.ed_ms + later_ms, es_ms=PHASES.es_ms + later_ms)
    found = measure(-0.2 * contraction(FINE_MS), FINE_MS + later_ms, phases)
    beat_ms = RR_MS * round(later_ms / RR_MS)
    assert_allclose(found.time_to_peak_of_rr, (ES_MS + later_ms - beat_ms) / RR_MS, atol=0.006)


def test_a_peak_before_the_next_r_wave_is_of_the_beat_before_it() -> None:
    phases = CardiacPhases(ed_ms=0.8 * RR_MS, es_ms=0.8 * RR_MS + 60, rr_interval_ms=RR_MS)
    times = 0.8 * RR_MS + np.arange(0.0, 200.0, 5.0)
    found = measure(-0.2 * np.sin(np.pi * (times - times[0]) / 120).clip(0), times, phases)
    assert_allclose(found.time_to_peak_of_rr, 0.8 + 60 / RR_MS, atol=0.02)
    endless = measure(-0.2 * contraction(FINE_MS), phases=replace(PHASES, rr_interval_ms=np.inf))
    assert np.isnan(endless.time_to_peak_of_rr)


def test_thickening_is_the_mirror_of_shortening() -> None:
    shortening = measure(-0.2 * contraction(FINE_MS))
    thickening = measure(0.2 * contraction(FINE_MS), is_shortening=False)
    for name in ("peak", "end_systolic", "systolic_rate_per_s", "early_diastolic_rate_per_s", "post_systolic"):
        assert_allclose(getattr(thickening, name), -getattr(shortening, name))
    for name in ("time_to_peak_ms", "time_to_peak_of_rr", "post_systolic_index", "diastolic_recovery"):
        assert getattr(thickening, name) == getattr(shortening, name)


def test_a_late_segment_shortens_after_the_valve_has_closed() -> None:
    late = measure(-0.2 * contraction(FINE_MS, es_ms=420.0))
    assert_allclose(late.time_to_peak_ms, 420, atol=6)
    at_es = 0.2 * contraction(np.array([ES_MS]), es_ms=420.0)[0]
    assert_allclose(late.end_systolic, -at_es, rtol=0.02)
    assert_allclose(late.peak_systolic, late.end_systolic, rtol=0.02)
    assert_allclose(late.post_systolic, -0.2, rtol=0.02)
    assert_allclose(late.post_systolic_index, 1 - at_es / 0.2, atol=0.02)


def test_a_segment_stretched_throughout_has_no_peak_to_time() -> None:
    stretched = measure(0.1 * contraction(FINE_MS))
    assert np.isnan(stretched.time_to_peak_ms)
    assert np.isnan(stretched.post_systolic_index)
    assert stretched.diastolic_recovery.fraction is None
    assert "no deformation" in stretched.diastolic_recovery.reason


@pytest.mark.parametrize("is_shortening", [True, False])
@pytest.mark.parametrize(("deformation", "is_timed"), [(0.009, False), (0.011, True)])
def test_noise_does_not_time_the_peak_of_what_hardly_moves(
    deformation: float, is_timed: bool, is_shortening: bool
) -> None:
    sign = -1 if is_shortening else 1
    found = measure(sign * deformation * contraction(FINE_MS), is_shortening=is_shortening)
    assert_allclose(found.peak, sign * deformation, rtol=0.03)
    for value in (found.time_to_peak_ms, found.time_to_peak_of_rr, found.post_systolic_index):
        assert np.isfinite(value) == is_timed


def test_a_segment_stretched_from_a_later_ed_on_has_no_peak_to_time_either() -> None:
    times_ms = 35.3 * np.arange(12)  # none but the first is a step of the smooth curve
    phases = CardiacPhases(ed_ms=35.3, es_ms=250.0)
    stretched = measure(np.abs(times_ms - 35.3) / 1000, times_ms, phases)
    assert np.isnan(stretched.time_to_peak_ms)


@pytest.mark.parametrize("is_even", [True, False])
def test_end_systole_is_found_between_frames(is_even: bool) -> None:
    times = TIMES_MS.copy()
    if not is_even:
        times[1:-1] += np.random.default_rng(6).uniform(-10, 10, len(times) - 2)
    assert_allclose(end_systole_ms(-0.2 * contraction(times), times), ES_MS, atol=8)


def test_end_systole_is_not_sought_before_ed() -> None:
    curve = -0.2 * contraction(FINE_MS)
    curve[:3] = -0.5
    late_ed = int(np.searchsorted(FINE_MS, 60))
    assert_allclose(end_systole_ms(curve, FINE_MS, late_ed), ES_MS, atol=8)


def test_a_beat_measures_the_same_whenever_its_clock_starts() -> None:
    curve = -0.2 * contraction(FINE_MS)
    found = measure(curve)
    late_ms = 190.0
    late = measure(curve, FINE_MS + late_ms, CardiacPhases(PHASES.ed_ms + late_ms, ES_MS + late_ms, RR_MS))
    assert_allclose(late.time_to_peak_ms, found.time_to_peak_ms + late_ms)
    assert_allclose(late.early_diastolic_rate_per_s, found.early_diastolic_rate_per_s)
    assert late.diastolic_recovery.fraction == pytest.approx(found.diastolic_recovery.fraction)


def test_a_ventricle_that_is_shortest_at_ed_has_no_systole_to_measure() -> None:
    found = measure(0.2 * contraction(FINE_MS), phases=CardiacPhases(10.0, 10.0, RR_MS))
    assert np.isnan([found.peak_systolic, found.systolic_rate_per_s]).all()


def test_end_systole_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="too few values"):
        end_systole_ms(np.full(20, np.nan), 30.0 * np.arange(20))
    values = np.full(20, np.nan)
    values[:3] = 0.0
    with pytest.raises(ValueError, match="too few values"):
        end_systole_ms(values, 30.0 * np.arange(20), ed_frame=10)


def test_a_cine_that_ends_in_early_diastole_tells_no_diastolic_rate_and_says_why() -> None:
    is_early = FINE_MS <= ES_MS + 60
    short = measure(-0.2 * contraction(FINE_MS)[is_early], FINE_MS[is_early])
    assert np.isnan(short.early_diastolic_rate_per_s)
    assert short.diastolic_recovery.fraction is None
    assert "the cine ends at 380 ms" in short.diastolic_recovery.reason
    assert_allclose(short.systolic_rate_per_s, -0.2 * np.pi / (2 * 0.310), rtol=0.03)


def test_a_segment_that_still_shortens_early_in_diastole_has_no_diastolic_rate() -> None:
    late = measure(-0.2 * np.sin(np.pi / 2 * FINE_MS / 700))
    assert np.isnan(late.early_diastolic_rate_per_s)
    assert late.systolic_rate_per_s < 0


def test_a_cine_that_ends_in_systole_tells_nothing_later() -> None:
    is_systole = FINE_MS <= ES_MS - 100
    short = measure(-0.2 * contraction(FINE_MS)[is_systole], FINE_MS[is_systole])
    for value in (short.end_systolic, short.post_systolic, short.post_systolic_index, short.early_diastolic_rate_per_s):
        assert np.isnan(value)
    assert short.peak < -0.1


@pytest.mark.parametrize("rr_interval_ms", [None, 300.0])
def test_without_an_rr_interval_the_recovery_is_not_known_and_the_rate_is(rr_interval_ms: float | None) -> None:
    found = measure(-0.2 * contraction(FINE_MS), phases=replace(PHASES, rr_interval_ms=rr_interval_ms))
    assert np.isnan(found.time_to_peak_of_rr) == (rr_interval_ms is None)
    assert found.diastolic_recovery.fraction is None
    assert "RR interval" in found.diastolic_recovery.reason
    assert_allclose(found.early_diastolic_rate_per_s, 0.16 * np.pi / (2 * 0.250), rtol=0.05)


def test_an_unknown_curve_measures_nothing() -> None:
    nothing = measure(np.full(len(FINE_MS), np.nan))
    assert np.isnan(nothing.peak)
    assert nothing.diastolic_recovery.reason == "the strain is not known"


def test_systole_before_ed_is_refused() -> None:
    with pytest.raises(ValueError, match="end-systole after end-diastole"):
        CardiacPhases(ed_ms=50.0, es_ms=40.0)


def beats(times_ms: NDArray[np.float64], rr_ms: float, peak: float = -0.2) -> NDArray[np.float64]:
    """Strain that comes to its peak at a third of each beat and is back after two thirds."""
    share = times_ms % rr_ms / rr_ms
    return np.asarray(peak * np.sin(np.pi * np.clip(1.5 * share, 0, 1)) ** 2)


@given(
    rr_ms=st.floats(500, 1200),
    n_beats=st.floats(0.6, 2.6),
    interval_ms=st.floats(20, 50),
    peak=st.floats(-0.3, -0.06),
    seed=st.integers(0, 99),
)
def test_an_rr_interval_is_seen_where_a_second_beat_has_come_to_half(
    rr_ms: float, n_beats: float, interval_ms: float, peak: float, seed: int
) -> None:
    times_ms = 10 + np.arange(0, n_beats * rr_ms, interval_ms)
    curve = beats(times_ms - 10, rr_ms, peak) + np.random.default_rng(seed).normal(0, 0.002, len(times_ms))
    found = seen_rr_interval_ms(curve, times_ms, 0)
    if n_beats < 1.1:
        assert found is None
    elif n_beats > 1.35:
        assert found is not None
        assert abs(found - rr_ms) < 0.1 * rr_ms + interval_ms


def test_post_systolic_shortening_atrial_contraction_and_stillness_are_no_second_beat() -> None:
    times_ms = 40.0 * np.arange(25)
    once = beats(times_ms, 1000.0)
    post_systolic = -0.05 * np.exp(-0.5 * ((times_ms - 560) / 40) ** 2)
    atrial = 0.04 * np.exp(-0.5 * ((times_ms - 800) / 40) ** 2)
    noise = np.random.default_rng(0).normal(0, 0.01, 25)
    for curve in (
        once,
        0.15 * once + noise,
        once + post_systolic,
        once + atrial,
        0.001 * np.cos(times_ms),
        np.full(25, np.nan),
    ):
        assert seen_rr_interval_ms(curve, times_ms, 0) is None
