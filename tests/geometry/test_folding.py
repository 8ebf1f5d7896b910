"""Tissue that was folded is laid flat, and sound tissue left alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tagstrain.geometry.folding import unfolded


def wall(inner: float, outer: float, n_rings: int = 7) -> NDArray[np.float64]:
    """A ring of 24 spokes, ``(spoke * ring, 2)``."""
    angle = 2 * np.pi * np.arange(24) / 24
    radius = np.linspace(inner, outer, n_rings)
    spokes = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    return (radius[None, :, None] * spokes[:, None]).reshape(-1, 2)


def cell_areas(points: NDArray[np.float64]) -> NDArray[np.float64]:
    grid = points.reshape(-1, 24, 7, 2)
    around, across = np.roll(grid, -1, axis=1) - grid, np.diff(grid, axis=2)
    return around[:, :, :-1, 0] * across[..., 1] - around[:, :, :-1, 1] * across[..., 0]


def test_a_cavity_that_was_drawn_through_its_center_opens_again() -> None:
    ed = wall(10, 26)
    crossed = wall(8, 24)
    inside = np.linalg.norm(ed, axis=-1) < 13
    crossed[inside] *= -0.2
    tracks = np.stack([ed, crossed])
    assert (cell_areas(tracks)[1] * cell_areas(tracks)[0] < 0).any()
    flat = unfolded(tracks, ed)
    assert (cell_areas(flat)[1] * cell_areas(flat)[0] > 0).all()
    outside = np.linalg.norm(ed, axis=-1) > 20
    np.testing.assert_array_equal(flat[1, outside], crossed[outside])


@given(
    shrink=st.floats(0.2, 1.4),
    turn=st.floats(-3, 3),
    shift=st.tuples(st.floats(-50, 50), st.floats(-50, 50)),
)
@settings(max_examples=25, deadline=None)
def test_tissue_that_is_not_folded_stays(shrink: float, turn: float, shift: tuple[float, float]) -> None:
    ed = wall(10, 26) + 64
    c, s = shrink * np.cos(turn), shrink * np.sin(turn)
    moved = (ed @ np.array([[c, -s], [s, c]]) + shift)[None]
    np.testing.assert_array_equal(unfolded(moved, ed), moved)


@pytest.mark.parametrize("points", [np.zeros((1, 2)), np.eye(2), np.outer(np.arange(5.0), [1, 2]), np.ones((4, 2))])
def test_points_without_tissue_between_them_stay(points: NDArray[np.float64]) -> None:
    tracks = np.stack([points, points[::-1]])
    np.testing.assert_array_equal(unfolded(tracks, points), tracks)


def test_points_almost_on_a_line_may_bend() -> None:
    """As a reader gives them, to a tenth of a pixel."""
    along = 5.0 * np.arange(12)
    ed = np.round(np.stack([along, 30 + 0.37 * along], axis=-1), 1)
    bent = ed + np.stack([np.zeros(12), 0.004 * (along - 30) ** 2], axis=-1)
    np.testing.assert_array_equal(unfolded(bent[None], ed), bent[None])


def test_the_cavity_itself_may_do_as_it_likes() -> None:
    """Triangles across a cavity are no tissue: an inner ring that bends inwards is no fold."""
    ed = wall(10, 26)
    moved = ed.copy().reshape(24, 7, 2)
    moved[0, :3] *= np.array([0.55, 0.7, 0.85])[:, None]
    np.testing.assert_array_equal(unfolded(moved.reshape(1, -1, 2), ed), moved.reshape(1, -1, 2))


def test_righting_moves_the_wall_no_further_than_it_must() -> None:
    """A cavity that all but closes: its edge crosses by a little, and the layer around it is not to be flattened."""
    ed, rng = wall(10, 26), np.random.default_rng(4)
    radius = np.linalg.norm(ed, axis=-1, keepdims=True)
    closed = ed / radius * np.sqrt(radius**2 - 98)
    tracked = closed.copy().reshape(24, 7, 2)
    tracked[:, 0] += rng.normal(0, 0.35, (24, 2))
    tracked = tracked.reshape(-1, 2)
    assert (cell_areas(tracked[None]) * cell_areas(ed[None]) < 0).any()
    flat = unfolded(tracked[None], ed)[0]
    assert (cell_areas(flat[None]) * cell_areas(ed[None]) > 0).all()
    off, off_before = (np.linalg.norm(points - closed, axis=-1) for points in (flat, tracked))
    assert np.sqrt((off**2).mean()) < np.sqrt((off_before**2).mean())
    np.testing.assert_array_equal(flat.reshape(24, 7, 2)[:, 2:], tracked.reshape(24, 7, 2)[:, 2:])


@given(seed=st.integers(0, 2**32 - 1), size=st.floats(0.2, 4))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_whatever_is_folded_is_laid_flat(seed: int, size: float) -> None:
    ed = wall(10, 26)
    tracks = ed + np.random.default_rng(seed).normal(0, size, ed.shape)
    flat = unfolded(tracks[None], ed)
    assert (cell_areas(flat) * cell_areas(ed[None]) > 0).all()
