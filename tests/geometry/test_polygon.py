"""Rays and centroids of polygons against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagstrain.geometry.polygon import (
    area_centroid,
    crosses_itself,
    pixels_inside,
    radii_along,
    runs_from_inside,
    wall_mask,
)

SQUARE = np.array([[1.0, 1.0], [5.0, 1.0], [5.0, 5.0], [1.0, 5.0]])


@given(
    center=st.tuples(st.floats(-50, 50), st.floats(-50, 50)),
    axes=st.tuples(st.floats(2, 40), st.floats(2, 40)),
    clockwise=st.booleans(),
)
def test_ellipse(center: tuple[float, float], axes: tuple[float, float], clockwise: bool) -> None:
    t = np.linspace(0, 2 * np.pi, 2000, endpoint=False)[:: -1 if clockwise else 1]
    polygon = np.array(center) + np.array(axes) * np.stack([np.cos(t), np.sin(t)], axis=-1)
    np.testing.assert_allclose(area_centroid(polygon), center, atol=1e-6)
    angles = np.linspace(0, 2 * np.pi, 17)
    expected = 1 / np.hypot(np.cos(angles) / axes[0], np.sin(angles) / axes[1])
    np.testing.assert_allclose(radii_along(polygon, np.array(center), angles), expected, rtol=1e-4)


def test_rays_through_corners_and_sides() -> None:
    radii = radii_along(SQUARE, np.array([3.0, 3.0]), np.array([0, np.pi / 4, np.pi / 2, 3 * np.pi / 4, np.pi]))
    np.testing.assert_allclose(radii, [2, 2 * np.sqrt(2), 2, 2 * np.sqrt(2), 2])


def test_last_crossing_counts() -> None:
    slit = np.array([[0.0, 0], [10, 0], [10, 10], [8, 10], [8, 2], [7, 2], [7, 10], [0, 10]])
    np.testing.assert_allclose(radii_along(slit, np.array([3.0, 5.0]), np.array([0.0, np.pi])), [7.0, 3.0])


def test_center_outside_is_refused() -> None:
    with pytest.raises(ValueError, match="inside"):
        radii_along(SQUARE, np.array([9.0, 3.0]), np.linspace(0, 2 * np.pi, 8))


@pytest.mark.parametrize("bad", [SQUARE[:2], np.array([[0.0, 0], [1, 1], [2, 2]]), SQUARE * np.nan, np.zeros((4, 3))])
def test_no_polygon_has_no_centroid(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"corners|area"):
        area_centroid(bad)


@given(
    corners=st.integers(8, 24),
    seed=st.integers(0, 10_000),
    clockwise=st.booleans(),
    is_closed=st.booleans(),
    size=st.floats(1e-3, 1e3),
)
def test_contours_around_a_middle_do_not_cross_and_two_corners_exchanged_do(
    corners: int, seed: int, clockwise: bool, is_closed: bool, size: float
) -> None:
    """Rays at growing angles never cross; exchanging corners makes a knot, which counts where it is not tiny."""
    rng = np.random.default_rng(seed)
    t = (np.arange(corners) + 0.3 * rng.random(corners)) * 2 * np.pi / corners
    radius = size * (1 + 0.3 * rng.random(corners))
    polygon = (radius[:, None] * np.stack([np.cos(t), np.sin(t)], axis=-1))[:: -1 if clockwise else 1]
    plain = np.concatenate([polygon, polygon[:1]]) if is_closed else polygon
    assert not crosses_itself(plain + rng.normal(0, 100, 2))
    place, step = rng.integers(corners), rng.integers(corners // 4, corners // 2 + 1)
    knotted = polygon.copy()
    knotted[[place, (place + step) % corners]] = polygon[[(place + step) % corners, place]]
    assert crosses_itself(knotted)


def test_a_figure_of_eight_through_a_corner_crosses_and_ends_that_overlap_a_little_do_not() -> None:
    assert crosses_itself(np.array([[0.0, 0], [1, 1], [2, 2], [2, 0], [1, 1], [0, 2]]))
    t = np.linspace(0, 2 * np.pi + 0.1, 300)
    drawn = 20 * np.stack([np.cos(t), np.sin(t)], axis=-1) * (1 + 0.02 * np.sin(3.3 * t))[:, None]
    assert not crosses_itself(drawn)


def test_what_is_traced_to_and_fro_does_not_cross() -> None:
    """Spurs as of the border of a mask, slits at a papillary muscle, points repeated at the end, concave walls."""
    t = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    ring = 20 * np.stack([np.cos(t), np.sin(t)], axis=-1)
    for inserted in ([[25.0, 0], [20, 0]], [[8.0, 0], [20, 0]]):
        assert not crosses_itself(np.concatenate([ring[:1], inserted, ring[1:]]))
    assert not crosses_itself(np.concatenate([ring, ring[:2]]))
    assert not crosses_itself(np.repeat(ring, 2, axis=0))
    concave = ring * np.where(np.arange(24) % 6 == 0, 0.4, 1.0)[:, None]
    assert not crosses_itself(concave)


@settings(max_examples=30)
@given(center=st.tuples(st.floats(18, 22), st.floats(13, 17)), radius=st.floats(3, 11), turned=st.booleans())
def test_pixels_inside_a_circle_are_those_nearer_than_its_radius(
    center: tuple[float, float], radius: float, turned: bool
) -> None:
    t = np.linspace(0, 2 * np.pi, 2000, endpoint=False)[:: -1 if turned else 1]
    circle = np.array(center) + radius * np.stack([np.cos(t), np.sin(t)], axis=-1)
    y, x = np.indices((30, 41))
    distance = np.hypot(x - center[0], y - center[1])
    clear = np.abs(distance - radius) > 1e-4
    np.testing.assert_array_equal(pixels_inside(circle, (30, 41))[clear], (distance < radius)[clear])


def test_half_a_pixel_decides() -> None:
    assert pixels_inside(SQUARE + 0.49, (8, 8)).sum() == pixels_inside(SQUARE - 0.49, (8, 8)).sum() == 16
    assert pixels_inside(SQUARE + np.array([0.49, 0]), (8, 8))[2:5, 2:6].all()


def test_wall_is_between_its_contours_and_corners_not_known_are_left_out() -> None:
    outer = np.array([[0.5, 0.5], [np.nan, 3], [7.5, 0.5], [7.5, 7.5], [0.5, 7.5]])
    mask = wall_mask(SQUARE - 0.5, outer, (9, 9))
    assert mask.sum() == 7 * 7 - 4 * 4
    assert not mask[1:5, 1:5].any()
    assert not wall_mask(SQUARE, outer * np.nan, (9, 9)).any()


def test_rings_run_from_inside_however_thin_and_coarse_the_wall_is() -> None:
    rng = np.random.default_rng(0)
    angle = 2 * np.pi * np.arange(24) / 24
    direction = np.stack([np.cos(angle), np.sin(angle)], axis=-1)[:, None]
    for thickness in (3.0, 5.0, 12.0):
        wall = direction * np.linspace(20, 20 + thickness, 7)[:, None] * (1 + 0.15 * np.cos(2 * angle))[:, None, None]
        collapsed = wall.copy()
        collapsed[4:6] = collapsed[4:6, :1]
        twice = wall[np.r_[0:9, 8, 10:24]]
        for right in (wall, np.rint(wall), wall[::-1], collapsed, twice, wall * [-1, 1]):
            assert runs_from_inside(right)
        wrong = [wall[:, ::-1], wall.swapaxes(0, 1).reshape(24, 7, 2), wall[:, [0, 4, 2, 3, 1, 5, 6]]]
        wrong += [wall[rng.permutation(24)] for _ in range(20)]
        assert not any(runs_from_inside(each) for each in wrong)
