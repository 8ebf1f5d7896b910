"""From maps to a box: discs of known place and size, rivals, and maps that show nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tagstrain.data import Box
from tagstrain.networks.localization_unet import LocalizationUNet, find_ventricle

SIZE = 128


def disc(x: float, y: float, radius_x: float, radius_y: float | None = None, blur: float = 0.6) -> np.ndarray:
    """Map that falls from 1 to 0 across the border of an ellipse, 0.5 on it."""
    rows, columns = np.indices((SIZE, SIZE)).astype(float)
    radius_y = radius_x if radius_y is None else radius_y
    relative = np.hypot((columns - x) / radius_x, (rows - y) / radius_y)
    return 1 / (1 + np.exp((relative - 1) * min(radius_x, radius_y) / blur))


def ventricle(x: float, y: float, radius: float) -> np.ndarray:
    return np.stack([disc(x, y, 0.6 * radius), disc(x, y, radius)])


@settings(deadline=None, max_examples=40)
@given(x=st.floats(45, 85), y=st.floats(45, 85), radius_x=st.floats(10, 22), aspect=st.floats(0.7, 1.4))
def test_box_is_the_discs_extent_and_thirty_percent_more(x: float, y: float, radius_x: float, aspect: float) -> None:
    radius_y = aspect * radius_x
    maps = np.stack([disc(x, y, 0.5 * radius_x, 0.5 * radius_y), disc(x, y, radius_x, radius_y)])
    found = find_ventricle(maps)
    # Pixels of the input are half as large; 1.6 is the extent with its margins.
    half = np.array([radius_x, radius_y]) * 1.6
    expected = (np.array([*(np.array([x, y]) - half), *(np.array([x, y]) + half)]) + 0.5) * 2 - 0.5
    # The soft border adds a third of a pixel of the map to the smallest.
    np.testing.assert_allclose(found.box, expected, atol=1.25)
    assert found.confidence > 0.5


def test_a_fainter_or_smaller_rival_moves_nothing_but_lowers_confidence() -> None:
    alone = find_ventricle(ventricle(50, 60, 14))
    small = find_ventricle(np.maximum(ventricle(50, 60, 14), ventricle(100, 30, 6)))
    twin = find_ventricle(np.maximum(ventricle(50, 60, 14), 0.9 * ventricle(100, 60, 14)))
    for rival in (small, twin):
        np.testing.assert_allclose(rival.box, alone.box, atol=0.5)
    assert alone.confidence > small.confidence > twin.confidence
    assert twin.confidence < 0.55 * alone.confidence


def test_a_heart_without_a_cavity_has_no_confidence() -> None:
    maps = ventricle(50, 60, 14)
    maps[0] = 0
    assert find_ventricle(maps).confidence == 0


def test_box_may_exceed_the_image_where_the_disc_is_cut() -> None:
    box = find_ventricle(ventricle(2, 60, 14)).box
    assert box.x1 < 0
    assert box.y1 == pytest.approx((60 - 1.6 * 14 + 0.5) * 2 - 0.5, abs=3)


@pytest.mark.parametrize("bulge", [disc(70, 60, 5), disc(62, 72, 7), disc(75, 60, 14, 3)])
def test_a_bulge_hardly_moves_the_box(bulge: np.ndarray) -> None:
    maps = ventricle(50, 60, 14)
    alone = find_ventricle(maps).box
    bulged = find_ventricle(np.maximum(maps, np.stack([0 * bulge, bulge]))).box
    rows, columns = np.nonzero(np.maximum(maps[1], bulge) > 0.5)
    reach = 2 * 1.6 * max(columns.max() - 64, rows.max() - 74)  # of the extent itself, in pixels of the input
    assert np.abs(np.subtract(bulged, alone)).max() < 0.5 * reach


@pytest.mark.parametrize("value", [0.0, 0.01, np.nan])
def test_maps_that_show_nothing_give_nan(value: float) -> None:
    found = find_ventricle(np.full((2, SIZE, SIZE), value))
    assert np.isnan(found.box).all()
    assert found.confidence == 0
    assert found.box.iou(Box(0, 0, 10, 10)) == 0


def test_an_evenly_lit_map_is_no_confident_heart() -> None:
    assert find_ventricle(np.full((2, SIZE, SIZE), 0.3)).confidence < 0.1


def test_network_is_small_and_gives_maps_of_half_the_resolution() -> None:
    network = LocalizationUNet()
    assert 0.3e6 < sum(p.numel() for p in network.parameters()) < 0.6e6
    with torch.no_grad():
        assert network(torch.zeros(1, 3, 256, 256)).shape == (1, 2, 128, 128)
