"""Signals of the motion: closed forms, and motions that must leave them at zero."""

from __future__ import annotations

import numpy as np
import pytest
from beating_annulus import wall_px
from hypothesis import given
from hypothesis import strategies as st

from tagstrain.quality.motion_field import (
    cell_area_spread,
    folded_share,
    jump_mm,
    roughness_mm,
    wall_area_ratio,
)

ED = wall_px()


@given(
    angle=st.floats(-np.pi, np.pi),
    shift=st.tuples(st.floats(-50, 50), st.floats(-50, 50)),
    scale=st.floats(0.5, 2),
)
def test_similarity_scales_the_area_and_disturbs_nothing(
    angle: float, shift: tuple[float, float], scale: float
) -> None:
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    motion = np.stack([ED, scale * ED @ turn + shift])
    np.testing.assert_allclose(wall_area_ratio(motion, 0), [1, scale**2], rtol=1e-9)
    np.testing.assert_allclose(cell_area_spread(motion, 0), 0, atol=1e-9)
    np.testing.assert_array_equal(folded_share(motion, 0), 0)


def test_wall_area_is_that_of_the_annulus() -> None:
    grown = ED.mean(axis=(0, 1)) + np.linspace(1, 1.5, 7)[None, :, None] * (ED - ED.mean(axis=(0, 1)))
    ratio = (1.5**2 * 28**2 - 18**2) / (28**2 - 18**2)
    assert wall_area_ratio(np.stack([ED, grown]), 0)[1] == pytest.approx(ratio, rel=1e-9)


def test_exchanged_rings_and_spokes_are_folded() -> None:
    rings, spokes = ED.copy(), ED.copy()
    rings[5, [2, 3]] = ED[5, [3, 2]]
    spokes[[5, 6]] = ED[[6, 5]]
    folded = folded_share(np.stack([ED, rings, spokes]), 0)
    assert folded[0] == 0
    assert folded[1] > 0
    assert folded[2] >= 6 / (24 * 6)


def test_a_mirrored_grid_is_not_folded() -> None:
    mirrored = ED * [-1, 1]
    assert folded_share(np.stack([mirrored, 0.9 * mirrored]), 0).max() == 0


@given(velocity=st.tuples(st.floats(-9, 9), st.floats(-9, 9)))
def test_steady_motion_does_not_jump_whatever_the_times(velocity: tuple[float, float]) -> None:
    times = np.array([0, 30, 100, 110, 190.0])
    moving = ED + times[:, None, None, None] / 30 * np.array(velocity)
    np.testing.assert_allclose(jump_mm(moving, times), 0, atol=1e-9)


def test_a_frame_of_another_moment_jumps_by_its_distance() -> None:
    still = np.repeat(ED[None], 5, axis=0)
    still[2, ..., 0] += 4.0
    np.testing.assert_allclose(jump_mm(still, 40.0 * np.arange(5)), [2, 4, 2], atol=1e-9)


def test_a_gap_between_frames_makes_no_jump_of_a_smooth_motion() -> None:
    times = 40.0 * np.array([0, 1, 2, 6, 7, 8])
    bending = ED + 1e-4 * times[:, None, None, None] ** 2
    np.testing.assert_allclose(jump_mm(bending, times), np.sqrt(2) * 1e-4 * 40.0**2, rtol=1e-9)


def test_roughness_is_the_distance_from_the_spokes_beside() -> None:
    rough = np.stack([ED, ED + 3.0, ED])
    rough[2, ::2, :, 1] += 1.0
    np.testing.assert_allclose(roughness_mm(rough, 0), [0, 0, 1], atol=1e-9)


def test_landmarks_that_are_not_known_are_left_out() -> None:
    gaps = np.stack([ED, 1.1 * ED])
    gaps[:, 3] = np.nan
    assert wall_area_ratio(gaps, 0)[1] == pytest.approx(1.21)
    assert np.isfinite(roughness_mm(gaps, 0)).all()


def test_landmarks_lost_in_some_frames_change_no_area() -> None:
    motion = np.stack([ED, ED, ED])
    motion[1, :12] = np.nan
    motion[2] = np.nan
    np.testing.assert_allclose(wall_area_ratio(motion, 0), [1, 1, np.nan])
    np.testing.assert_allclose(cell_area_spread(motion, 0), [0, 0, np.nan], atol=1e-9)


def test_unknown_cells_are_no_sound_ones() -> None:
    folded = np.stack([ED, ED[:, ::-1], ED])
    folded[1:, ::2] = np.nan
    folded[2] = np.nan
    assert np.isnan(folded_share(folded, 0)[2])
    half = np.stack([ED, ED[:, ::-1]])
    half[1, :12] = np.nan
    assert folded_share(half, 0)[1] == 1
