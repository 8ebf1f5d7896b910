"""Doubt about where tissue is that no longer shows tags."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tagstrain.inference.lost_tags import SEEN_AGREEMENT, UNSEEN_MOTION_MM, UNSEEN_TIME_MS, unseen_motion_mm

TIMES_MS = 40.0 * np.arange(10)


def test_tags_that_are_seen_to_the_end_leave_no_doubt() -> None:
    agreement = np.linspace(1, SEEN_AGREEMENT, 10)
    np.testing.assert_array_equal(unseen_motion_mm(agreement, TIMES_MS), np.zeros(10))


def test_doubt_starts_after_the_last_tags_and_comes_to_its_limit() -> None:
    agreement = np.array([1, 0.9, 0.0, 0.8, 0.7, 0.1, 0.05, 0.12, 0.0, 0.1])
    found = unseen_motion_mm(agreement, TIMES_MS)
    since_ms = TIMES_MS[5:] - TIMES_MS[4]
    np.testing.assert_array_equal(found[:5], 0)
    np.testing.assert_allclose(found[5:], UNSEEN_MOTION_MM * (1 - np.exp(-since_ms / UNSEEN_TIME_MS)))


def test_an_image_without_any_tags_is_doubted_from_the_start() -> None:
    found = unseen_motion_mm(np.zeros(10), TIMES_MS)
    assert found[0] == 0
    assert found[-1] > 0.99 * UNSEEN_MOTION_MM


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=20).map(np.array))
def test_doubt_has_bounds_and_more_tags_never_add_to_it(agreement: np.ndarray) -> None:
    times_ms = 30.0 * np.arange(len(agreement))
    found = unseen_motion_mm(agreement, times_ms)
    assert (found >= 0).all()
    assert (found <= UNSEEN_MOTION_MM).all()
    better = unseen_motion_mm(np.minimum(agreement + 0.1, 1), times_ms)
    assert (better <= found + 1e-12).all()
