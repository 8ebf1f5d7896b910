"""AHA segments and wall layers against the drawings they are defined by."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from tagstrain.mechanics.regions import AHA_SEGMENTS, aha_segments_of, assumed_insertion_rad, layers_of, regional_curves

UP, LEFT, DOWN, RIGHT = -np.pi / 2, np.pi, np.pi / 2, 0.0  # image angles; y points down
UPPER_LEFT, LOWER_LEFT = np.radians(-150), np.radians(150)
LOWER_RIGHT, UPPER_RIGHT = np.radians(30), np.radians(-30)


@pytest.mark.parametrize(("level", "first"), [("basal", 1), ("mid", 7)])
def test_six_segments_lie_as_in_the_bulls_eye(level: str, first: int) -> None:
    places = np.array([UP, UPPER_LEFT, LOWER_LEFT, DOWN, LOWER_RIGHT, UPPER_RIGHT])
    found = aha_segments_of(places, level, assumed_insertion_rad(True), is_seen_from_apex=True)
    assert_array_equal(found, first + np.arange(6))


def test_four_apical_segments_lie_as_in_the_bulls_eye() -> None:
    found = aha_segments_of(
        np.array([UP, LEFT, DOWN, RIGHT]), "apical", assumed_insertion_rad(True), is_seen_from_apex=True
    )
    assert_array_equal(found, [13, 14, 15, 16])


@pytest.mark.parametrize("level", ["basal", "mid", "apical"])
@given(turn_rad=st.floats(-7, 7), offset_rad=st.floats(0.01, 0.25))
def test_segments_turn_with_the_insertion_and_mirror_with_the_image(
    level: str, turn_rad: float, offset_rad: float
) -> None:
    angle = offset_rad + 2 * np.pi * np.arange(24) / 24
    insertion = assumed_insertion_rad(True)
    upright = aha_segments_of(angle, level, insertion, is_seen_from_apex=True)
    assert_array_equal(aha_segments_of(angle + turn_rad, level, insertion + turn_rad, True), upright)
    assert_array_equal(aha_segments_of(np.pi - angle, level, assumed_insertion_rad(False), False), upright)
    assert_array_equal(np.unique(upright), AHA_SEGMENTS[level])
    counts = np.bincount(upright)[list(AHA_SEGMENTS[level])]
    assert (np.abs(counts - 24 / len(counts)) <= 1).all()


def test_the_septum_begins_at_the_insertion() -> None:
    insertion = 0.7
    just_before, just_after = insertion + 0.01, insertion - 0.01  # counter-clockwise with y down: smaller angles
    assert aha_segments_of(np.array([just_before, just_after]), "basal", insertion, True).tolist() == [1, 2]
    assert aha_segments_of(np.array([just_before, just_after]), "basal", insertion, False).tolist() == [2, 1]


def test_an_unknown_level_has_no_segments() -> None:
    assert_array_equal(aha_segments_of(np.zeros((2, 3)), "unknown", 0.0, True), np.zeros((2, 3)))


def test_seven_rings_make_three_layers() -> None:
    assert layers_of(7).tolist() == [0, 0, 1, 1, 1, 2, 2]
    assert layers_of(3).tolist() == [0, 1, 2]
    assert layers_of(2).tolist() == [0, 2]


def test_means_are_those_of_the_regions_and_leave_out_what_is_not_known() -> None:
    values = np.random.default_rng(4).normal(size=(3, 12, 7))
    values[1, 2, 3] = np.nan
    values[2, 4:6] = np.nan
    segments = np.repeat([7, 8, 9, 10, 11, 12], 2)
    curves = regional_curves(values, segments, range(7, 13))
    assert_allclose(curves.rings, np.nanmean(values, axis=1))
    assert_allclose(curves.layers[:, 1], np.nanmean(values[:, :, 2:5], axis=(1, 2)))
    assert_allclose(curves.segments[:2, 2], np.nanmean(values[:2, 4:6], axis=(1, 2)))
    assert np.isnan(curves.segments[2, 2])
    assert np.isfinite(np.delete(curves.segments, 2, axis=1)).all()
    assert_allclose(curves.slice_mean, np.nanmean(values, axis=(1, 2)))
    assert regional_curves(values, np.zeros(12, int), ()).segments.shape == (3, 0)
