"""The placement benchmark measures what it says."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.placement import (
    SCALES,
    SHIFT,
    Errors,
    Shown,
    box_that_is_off,
    circle_px,
    errors_of,
    section,
    true_radii_mm,
)
from tagstrain.data import Box, PixelSpacing, TaggedCine
from tagstrain.geometry import wall_grid


@pytest.fixture
def shown() -> Shown:
    """A round wall of 12 to 24 mm around (30, 40), pixels of 1.5 x 2 mm."""
    cine = TaggedCine(np.zeros((2, 80, 90), np.float32), np.array([0.0, 40.0]), PixelSpacing(2.0, 1.5))
    angle = 2 * np.pi * np.arange(24) / 24
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    wall = wall_grid(*(np.array([30.0, 40.0]) + radius / cine.spacing_xy_mm * ring for radius in (12, 24)), 7)
    return Shown(cine, wall, Box(0, 0, 1, 1))


def test_true_radii_are_in_millimeters_along_both_axes(shown: Shown) -> None:
    np.testing.assert_allclose(true_radii_mm(shown), np.repeat([[12], [24]], 48, axis=1), rtol=0.01)


def test_circles_of_the_right_size_in_the_right_place_have_no_error(shown: Shown) -> None:
    center = np.array([30.0, 40.0])
    right = errors_of(shown, circle_px(shown, center, 12), circle_px(shown, center, 24))
    np.testing.assert_allclose(right, 0, atol=0.2)  # 24 corners beside 48
    wide = errors_of(shown, circle_px(shown, center, 14), circle_px(shown, center, 23))
    np.testing.assert_allclose(wide, [2, 2, 1, -1, 0], atol=0.2)
    aside = errors_of(shown, *(circle_px(shown, center + np.array([2, 0]), radius) for radius in (12, 24)))
    assert aside.center_mm == pytest.approx(3, abs=0.01)
    assert aside.epi_mm == pytest.approx(3 * 2 / np.pi, rel=0.1)
    assert abs(aside.epi_bias_mm) < 0.2


def test_boxes_are_off_by_as_much_as_is_said(shown: Shown) -> None:
    true = Box.around(shown.wall_px.reshape(-1, 2))
    boxes = [box_that_is_off(shown.wall_px, np.random.default_rng(k)) for k in range(200)]
    scale = np.array([(box.x2 - box.x1) / (true.x2 - true.x1) for box in boxes])
    shift = np.array([box.center_xy[1] - true.center_xy[1] for box in boxes]) / (true.y2 - true.y1)
    assert SCALES[0] <= scale.min() < 0.8
    assert 1.5 < scale.max() <= SCALES[1]
    assert 0.9 * SHIFT < np.abs(shift).max() <= SHIFT


def test_a_table_holds_means_and_the_worst() -> None:
    text = section("hearts", {"placer": [Errors(1, -1, 2, 2, 3), Errors(2, 0, 4, 2, 5)]})
    assert "| placer | 1.50 (-0.50) | 3.00 (+2.00) | 4.00 | 5.00 |" in text
