"""Two estimates of one motion: their distance in mm and in strain."""

from __future__ import annotations

import numpy as np
import pytest
from beating_annulus import beating_slice

from tagstrain.data import LandmarkTracks
from tagstrain.inference.harp import HarpTracker
from tagstrain.quality.second_opinion import agreement


def test_the_same_motion_agrees() -> None:
    result = beating_slice()
    assert agreement(result, result.landmarks) == (0, 0)


def test_a_shift_is_a_distance_and_no_strain() -> None:
    result = beating_slice()
    other = LandmarkTracks(result.landmarks.points_px + np.array([3.0, 4.0]), result.landmarks.sigma_px)
    distance_mm, difference = agreement(result, other)
    assert distance_mm == pytest.approx(7.5)
    assert difference == pytest.approx(0, abs=1e-12)


def test_harp_agrees_with_landmarks_that_follow_the_tags_and_not_with_those_that_stay() -> None:
    followed, left = beating_slice(), beating_slice(follows=False)
    points = followed.landmarks.to_points().points_px[0]
    harp = LandmarkTracks.from_points(HarpTracker().track(followed.cine, points))
    assert agreement(followed, harp).distance_mm < 0.3
    assert agreement(left, harp).circumferential_difference > 0.05
    assert np.isfinite(agreement(left, harp)).all()
