"""`Insertion`: points given by the user, in pixels of any shape."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagstrain.data import Insertion, Point

ANGLE = 2 * np.pi * np.arange(24) / 24
CIRCLE_MM = np.array([50.0, 40.0]) + 25 * np.stack([np.cos(ANGLE), np.sin(ANGLE)], axis=-1)


@given(
    angle=st.floats(-3.1, 3.1),
    distance_mm=st.floats(0.1, 80),
    spacing=st.tuples(st.floats(0.6, 3.0), st.floats(0.6, 3.0)),
)
def test_a_given_point_counts_by_its_direction_in_millimeters(
    angle: float, distance_mm: float, spacing: tuple[float, float]
) -> None:
    given_mm = np.array([50.0, 40.0]) + distance_mm * np.array([math.cos(angle), math.sin(angle)])
    insertion = Insertion.given(CIRCLE_MM / spacing, np.array(spacing), Point(*(given_mm / spacing).tolist()))
    assert insertion.angle_rad == pytest.approx(angle, abs=1e-6)
    assert np.hypot(*(np.array(insertion.point_px) * spacing - [50, 40])) == pytest.approx(25, abs=0.22)
    assert insertion.is_given
    assert insertion.confidence == 1


def test_the_middle_has_no_direction() -> None:
    with pytest.raises(ValueError, match="has no direction"):
        Insertion.given(CIRCLE_MM, np.ones(2), Point(*CIRCLE_MM.mean(axis=0).tolist()))


@pytest.mark.parametrize(("angle", "confidence"), [(np.nan, 0.5), (0.0, 1.5), (0.0, np.nan)])
def test_impossible_values_are_refused(angle: float, confidence: float) -> None:
    with pytest.raises(ValueError, match="expected"):
        Insertion(Point(0, 0), angle, confidence)
