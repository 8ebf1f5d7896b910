"""Masks of contours against Matplotlib's point-in-polygon test and the shoelace formula; the loss on them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.path import Path as Polygon

from tagstrain.training.masks import contour_masks, segmentation_loss, smooth_contours


def ring(seed: int, size: int) -> np.ndarray:
    """An uneven ring of 24 points."""
    rng = np.random.default_rng(seed)
    angle = 2 * np.pi * np.arange(24) / 24
    radius = rng.uniform(0.15, 0.3) * size * (1 + 0.2 * np.sin(2 * angle + rng.uniform(0, 6)))
    center = rng.uniform(0.4, 0.6, 2) * size
    return center + radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000), roll=st.integers(0, 23), backwards=st.booleans())
def test_masks_hold_the_pixels_inside_the_polygon(seed: int, roll: int, backwards: bool) -> None:
    size = 48
    contour = ring(seed, size)
    given_as = np.roll(contour, roll, axis=0)[:: -1 if backwards else 1].copy()
    mask = contour_masks(torch.from_numpy(given_as)[None], size)[0].numpy()
    pixels = np.stack(np.meshgrid(np.arange(size), np.arange(size)), axis=-1).reshape(-1, 2)
    inside = Polygon(contour).contains_points(pixels).reshape(size, size)
    clear = np.abs(mask - 0.5) > 1e-6
    np.testing.assert_array_equal((mask > 0.5)[clear], inside[clear])
    x, y = contour.T
    area = abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))) / 2
    assert mask.sum() == pytest.approx(area, rel=0.01)


def test_curve_through_the_corners_cuts_nothing_off() -> None:
    """Corners on an ellipse: the curve is the ellipse, known between the corners too, and holds its area."""
    middle, half_axes, size = torch.tensor([31.0, 33.0]), torch.tensor([22.0, 17.0]), 64

    def ellipse(n: int) -> torch.Tensor:
        angle = 2 * math.pi * torch.arange(n) / n
        return middle + half_axes * torch.stack([angle.cos(), angle.sin()], dim=-1)

    curve = smooth_contours(ellipse(24)[None])
    torch.testing.assert_close(curve[0], ellipse(96), atol=1e-4, rtol=0)
    area = math.pi * float(half_axes.prod())
    assert float(contour_masks(curve, size).sum()) == pytest.approx(area, rel=0.002)
    assert float(contour_masks(ellipse(24)[None], size).sum()) < 0.992 * area


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000), n_corners=st.integers(3, 30))
def test_curve_passes_through_its_corners(seed: int, n_corners: int) -> None:
    corners = torch.from_numpy(np.random.default_rng(seed).normal(size=(2, n_corners, 2)))
    torch.testing.assert_close(smooth_contours(corners)[:, ::4], corners)


def test_unknown_contours_give_unknown_masks() -> None:
    contours = torch.from_numpy(np.stack([ring(1, 32), ring(2, 32)]))
    contours[0, 3, 0] = math.nan
    masks = contour_masks(contours, 32)
    assert bool(masks[0].isnan().all())
    assert bool(masks[1].isfinite().all())


def test_loss_is_cross_entropy_plus_one_less_dice() -> None:
    masks = torch.zeros(1, 8, 8)
    masks[0, :4] = 1
    even = segmentation_loss(torch.zeros(1, 8, 8), masks)
    # Half of 32 pixels' worth of overlap: 2 * 16 over 64 / 4 + 32; the 1s keep empty maps defined.
    assert float(even) == pytest.approx(math.log(2) + 1 - 33 / 49, rel=1e-5)
    assert float(segmentation_loss(40 * (masks - 0.5), masks)) == pytest.approx(0, abs=1e-4)
    assert float(segmentation_loss(torch.full((1, 8, 8), -40.0), torch.zeros(1, 8, 8))) == pytest.approx(0, abs=1e-4)
