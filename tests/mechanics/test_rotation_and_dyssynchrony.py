"""Rotation, twist and indices of dyssynchrony against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from beating_ventricle import ES_MS, TIMES_MS, contraction
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from wall_motion import Cylinder, rotated, wall

from tagstrain.mechanics.dyssynchrony import internal_stretch_fraction, time_to_peak_sd_ms, uniformity_ratio
from tagstrain.mechanics.heart_frame import ring_motion
from tagstrain.mechanics.rotation import rotation_deg, twist_between
from tagstrain.mechanics.smoothing import smooth_curve
from tagstrain.mechanics.timing import CardiacPhases, CurveMeasures

SECTOR_RAD = 2 * np.pi * np.arange(24) / 24


@given(turn_deg=st.floats(-90, 90), shift_mm=st.tuples(st.floats(-20, 20), st.floats(-20, 20)))
@settings(max_examples=25)
def test_rotation_is_counterclockwise_from_the_apex_and_blind_to_shifts_and_contraction(
    turn_deg: float, shift_mm: tuple[float, float]
) -> None:
    cylinder = Cylinder(turn_rad=np.radians(turn_deg), turn_per_mm=0.0)
    rings = ring_motion(np.stack([wall(), cylinder.move(wall()) + shift_mm]))
    # From +x to +y is clockwise on the screen, where y points down.
    assert_allclose(rotation_deg(rings, is_seen_from_apex=True), [[0] * 7, [-turn_deg] * 7], atol=1e-6)
    assert_allclose(rotation_deg(rings, is_seen_from_apex=False), [[0] * 7, [turn_deg] * 7], atol=1e-6)


def test_every_ring_turns_by_its_own_angle() -> None:
    rings = ring_motion(np.stack([wall(), Cylinder(turn_rad=0.1, turn_per_mm=-0.01).move(wall())]))
    expected = np.degrees(0.1 - 0.01 * (np.linspace(22, 32, 7) - 27))
    assert_allclose(rotation_deg(rings, is_seen_from_apex=False)[1], expected, atol=1e-6)


def test_a_missing_spoke_does_not_change_the_rotation() -> None:
    landmarks = np.stack([wall(), rotated(wall(), 0.2)])
    landmarks[1, 3:8] = np.nan
    assert_allclose(rotation_deg(ring_motion(landmarks), False)[1], np.degrees(0.2), atol=1e-6)


def test_twist_of_a_twisted_cylinder() -> None:
    course = contraction(TIMES_MS)
    twist = twist_between(-4 * course, 10 * course, TIMES_MS, 35.0, (33.0, 27.0))
    assert_allclose(twist.twist_deg, 14 * course)
    assert_allclose(twist.torsion_deg_per_cm, 4 * course)
    assert_allclose(twist.shear_angle_deg, 14 * 30 / 35 * course)
    assert_allclose(twist.peak_twist_deg, 14, rtol=0.03)
    assert_allclose(twist.peak_torsion_deg_per_cm, twist.peak_twist_deg / 3.5)
    assert_allclose(twist.time_to_peak_ms, ES_MS, atol=8)
    assert_allclose(twist.peak_untwist_rate_deg_per_s, -14 * 0.8 * np.pi / (2 * 0.250), rtol=0.05)


def test_torsion_needs_the_distance_and_untwisting_the_time() -> None:
    is_systole = TIMES_MS < ES_MS
    course = contraction(TIMES_MS[is_systole])
    twist = twist_between(-4 * course, 10 * course, TIMES_MS[is_systole], None, (33.0, 27.0))
    assert np.isnan(twist.torsion_deg_per_cm).all()
    assert np.isnan(twist.peak_torsion_deg_per_cm)
    assert np.isnan(twist.shear_angle_deg).all()
    assert np.isnan(twist.peak_untwist_rate_deg_per_s)
    assert twist.peak_twist_deg > 12


def test_a_heart_that_turns_the_other_way_has_its_twist_with_the_other_sign() -> None:
    course = contraction(TIMES_MS)
    usual, other = (twist_between(-4 * c, 10 * c, TIMES_MS, 35.0, (33.0, 27.0)) for c in (course, -course))
    assert_allclose(other.peak_twist_deg, -usual.peak_twist_deg)
    assert_allclose(other.time_to_peak_ms, usual.time_to_peak_ms)
    assert_allclose(other.peak_untwist_rate_deg_per_s, -usual.peak_untwist_rate_deg_per_s)


def test_late_drift_is_no_twist() -> None:
    """As where tags have faded."""
    course = 3 * contraction(TIMES_MS)
    drifting = course - 7 * np.clip((TIMES_MS - ES_MS - 150) / (TIMES_MS[-1] - ES_MS - 150), 0, 1)
    twist = twist_between(np.zeros(len(course)), drifting, TIMES_MS, 35.0, (33.0, 27.0), ed_ms=10.0, es_ms=ES_MS)
    assert drifting.min() < -3.5
    assert_allclose(twist.peak_twist_deg, 3, rtol=0.05)
    assert_allclose(twist.time_to_peak_ms, ES_MS, atol=15)


def test_twist_peaks_after_ed_as_strain_does() -> None:
    course = contraction(TIMES_MS)
    late_ms = ES_MS + 100
    twist = twist_between(-4 * course, 10 * course, TIMES_MS, 35.0, (33.0, 27.0), ed_ms=late_ms)
    assert twist.time_to_peak_ms >= late_ms
    assert twist.peak_twist_deg < 12


def test_unknown_rotation_gives_unknown_twist() -> None:
    twist = twist_between(np.full(20, np.nan), np.zeros(20), 30.0 * np.arange(20), 35.0, (33.0, 27.0))
    assert np.isnan(twist.peak_twist_deg)
    assert np.isnan(twist.twist_deg).all()


def test_spread_of_the_times_to_peak() -> None:
    measures = [CurveMeasures(time_to_peak_ms=time) for time in (300.0, 340.0, 320.0, np.nan)]
    assert_allclose(time_to_peak_sd_ms(measures), 20)
    assert np.isnan(time_to_peak_sd_ms(measures[:1]))


@given(mean=st.floats(0.02, 0.3), wave=st.floats(0, 0.3), order=st.integers(2, 5), phase=st.floats(-3, 3))
def test_uniformity_weighs_the_mean_against_the_first_order_alone(
    mean: float, wave: float, order: int, phase: float
) -> None:
    course = contraction(TIMES_MS)[:, None]
    clustered = -course * (mean + wave * np.cos(SECTOR_RAD + phase))
    expected = np.sqrt(mean**2 / (mean**2 + wave**2 / 2))
    assert_allclose(uniformity_ratio([clustered]), expected)
    assert_allclose(uniformity_ratio([clustered, 2 * clustered]), expected)
    assert_allclose(uniformity_ratio([-course * (mean + wave * np.cos(order * SECTOR_RAD + phase))]), 1)


def test_opposite_walls_in_opposition_have_no_uniformity_and_no_motion_has_none_to_tell() -> None:
    opposed = np.outer(contraction(TIMES_MS), np.cos(SECTOR_RAD))
    assert_allclose(uniformity_ratio([opposed]), 0, atol=1e-7)
    assert np.isnan(uniformity_ratio([np.zeros((20, 24))]))
    opposed[:, 3] = np.nan
    assert np.isnan(uniformity_ratio([opposed]))


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_internal_stretch_is_what_some_segments_lengthen_while_others_shorten(share: float) -> None:
    phases = CardiacPhases(ed_ms=10.0, es_ms=ES_MS)
    fine_ms = np.arange(10.0, 700.0, 5.0)
    curves = [smooth_curve(size * contraction(fine_ms), fine_ms) for size in (-0.2, -0.2 * (2 - share), 0.2 * share)]
    shortening = 0.2 + 0.2 * (2 - share)
    assert_allclose(internal_stretch_fraction([*curves, None], phases), 0.2 * share / shortening, atol=0.005)


def test_internal_stretch_of_a_wall_that_never_shortens_is_not_known() -> None:
    phases = CardiacPhases(ed_ms=10.0, es_ms=ES_MS)
    assert np.isnan(internal_stretch_fraction([None], phases))
