"""The insertion benchmark: the orientation it tells a slice, and its tables."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.insertion import Outcome, affine_with_in_front, report
from tagstrain.inference.insertion import anterior_of


@pytest.mark.parametrize("angle", [-2.5, 0.0, 1.3])
def test_the_told_orientation_makes_the_wanted_insertion_the_anterior_one(angle: float) -> None:
    points = np.array([[10.0, 20.0], [10.0 + 30 * np.cos(angle), 20.0 + 30 * np.sin(angle)]])
    affine = affine_with_in_front(points[1] - points[0])
    assert anterior_of(points, affine) == (1, True)
    np.testing.assert_allclose(affine[:3, :2].T @ affine[:3, :2], np.eye(2), atol=1e-12)


def test_tables_count_slices_without_a_right_ventricle_as_wrong() -> None:
    table = report([Outcome(2.0, 1.0, 0.96), Outcome(20.0, 9.0, 0.2), Outcome(np.nan, np.nan, 0.25)])
    assert "| with a right ventricle | 2 | 11.0 deg |" in table
    assert "| of these, confidence 0.5 or more | 1 | 2.0 deg | 2.0 deg | 1.000 |" in table
    assert "| 0.10 to 0.30 | 2 | 0.23 | 0.00 |" in table
