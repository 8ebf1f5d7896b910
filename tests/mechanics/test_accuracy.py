"""Error summaries against values worked out by hand and against NumPy on the pooled data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from tagstrain.mechanics.accuracy import (
    Calibration,
    ErrorHistogram,
    best_spoke_rotation,
    displacement_errors,
    end_point_errors,
    summarize_differences,
    summarize_errors,
    summarize_overlaps,
)


def test_end_point_error_is_the_distance_and_nan_where_a_point_is_missing() -> None:
    np.testing.assert_array_equal(
        end_point_errors(np.array([[3.0, 4.0], [np.nan, 0.0]]), np.zeros((2, 2))), [5.0, np.nan]
    )


@given(offset_mm=st.tuples(st.floats(-20, 20), st.floats(-20, 20)), ed_frame=st.integers(0, 3))
def test_displacement_error_ignores_where_points_were_placed(offset_mm: tuple[float, float], ed_frame: int) -> None:
    true = np.random.default_rng(0).normal(0, 10, (4, 9, 2))
    slip = np.zeros((4, 9, 2))
    slip[(ed_frame + 1) % 4] = [0.6, 0.8]
    errors = displacement_errors(true + np.array(offset_mm) + slip, true, ed_frame)
    expected = np.zeros((4, 9))
    expected[(ed_frame + 1) % 4] = 1
    assert_allclose(errors, expected, atol=1e-9)


def test_error_summary_leaves_nan_out() -> None:
    summary = summarize_errors(np.array([1.0, 7.0, np.nan, 5.0, 5.0]))
    assert summary.rmse_mm == pytest.approx(5.0)
    assert summary.median_mm == 5.0
    assert summary.n_points == 4
    assert np.isnan(summarize_errors(np.full(3, np.nan)).rmse_mm)


def test_difference_summary_gives_bias_spread_and_mean_absolute_error() -> None:
    summary = summarize_differences(np.array([-1.0, 3.0, np.nan]))
    assert summary == pytest.approx((1.0, np.sqrt(8), 2.0, 2))
    assert np.isnan(summarize_differences(np.array([0.5])).sd)


def test_overlap_summary_counts_failures() -> None:
    assert summarize_overlaps(np.array([0.9, 0.4, 0.8])) == pytest.approx((0.7, 0.8, 0.4, 1 / 3, 3))


@given(shift=st.integers(0, 23))
def test_spoke_rotation_is_undone(shift: int) -> None:
    true = np.random.default_rng(3).normal(0, 10, (24, 7, 2))
    predicted = np.roll(true, shift, axis=0)
    predicted[2, 1] = np.nan
    best = best_spoke_rotation(predicted, true)
    assert best.n_spokes == shift
    assert best.rmse_mm == pytest.approx(0, abs=1e-12)


def test_spoke_rotation_without_points_stays_put() -> None:
    best = best_spoke_rotation(np.full((24, 7, 2), np.nan), np.zeros((24, 7, 2)))
    assert best.n_spokes == 0
    assert np.isnan(best.rmse_mm)


def test_pooled_errors_equal_those_of_all_points_together() -> None:
    rng = np.random.default_rng(4)
    chunks = [rng.gamma(2.0, 0.7, size) for size in (1, 168, 3360, 999)]
    pooled = ErrorHistogram()
    for chunk in chunks:
        pooled.add(np.append(chunk, np.nan))
    exact, summary = summarize_errors(np.concatenate(chunks)), pooled.summary()
    assert summary.n_points == exact.n_points
    assert summary.rmse_mm == pytest.approx(exact.rmse_mm)
    assert summary.median_mm == pytest.approx(exact.median_mm, abs=2e-3)
    assert summary.p95_mm == pytest.approx(exact.p95_mm, abs=5e-3)


def test_pooled_errors_survive_absurd_distances_and_emptiness() -> None:
    pooled = ErrorHistogram()
    assert np.isnan(pooled.summary().median_mm)
    pooled.add(np.array([0.0, 0.0, 1e9]))
    assert pooled.summary().median_mm == pytest.approx(0, abs=1e-3)


@given(understatement=st.sampled_from([0.5, 1.0, 2.0]))
def test_calibration_recognizes_the_normal_distribution(understatement: float) -> None:
    rng = np.random.default_rng(5)
    sigma = rng.uniform(0.2, 2.0, 20_000)
    calibration = Calibration()
    calibration.add(rng.normal(0, 1, (20_000, 2)) * sigma[:, None] * understatement, sigma)
    expected = {0.5: 0.9545, 1.0: 0.6827, 2.0: 0.3829}[understatement]
    assert calibration.within_one_sigma == pytest.approx(expected, abs=0.01)
    assert calibration.normalized_rms == pytest.approx(understatement, rel=0.02)


def test_calibration_leaves_given_and_unknown_points_out() -> None:
    calibration = Calibration()
    calibration.add(np.array([[0.0, 0.0], [9.0, 9.0], [1.0, 3.0]]), np.array([0.0, np.nan, 2.0]))
    assert calibration.n == 2
    assert calibration.within_one_sigma == 0.5
