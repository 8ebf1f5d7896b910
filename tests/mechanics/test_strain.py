"""Strain of lines between landmarks, against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from tagstrain.mechanics.strain import (
    circumferential_strain,
    end_systolic_frame,
    engineering,
    green_lagrange,
    mean_known,
    radial_layer_strain,
    radial_strain,
)

STRAINS = (circumferential_strain, radial_strain, radial_layer_strain)
RADII_MM = np.linspace(18.0, 30.0, 7)


def annulus(radii_mm: NDArray[np.float64] = RADII_MM, turn_rad: float = 0.0) -> NDArray[np.float64]:
    """Landmarks ``(spoke, ring, 2)`` on circles around the origin."""
    angle = turn_rad + 2 * np.pi * np.arange(24) / 24
    return radii_mm[None, :, None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)[:, None, :]


def rotation(angle: float) -> NDArray[np.float64]:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


@given(angle=st.floats(-np.pi, np.pi), shift_mm=st.tuples(st.floats(-50, 50), st.floats(-50, 50)))
def test_rigid_motion_strains_nothing(angle: float, shift_mm: tuple[float, float]) -> None:
    moved = annulus() @ rotation(angle).T + shift_mm
    for strain in STRAINS:
        assert_allclose(strain(np.stack([annulus(), moved])), 0, atol=1e-9)


@given(stretch=st.floats(0.3, 3.0))
def test_uniform_stretch_strains_every_line_by_the_same(stretch: float) -> None:
    landmarks = np.stack([annulus(), stretch * annulus()])
    for strain in STRAINS:
        assert_allclose(strain(landmarks)[1], (stretch**2 - 1) / 2, atol=1e-12)
        assert_allclose(strain(landmarks, measure=engineering)[1], stretch - 1, atol=1e-12)


@given(shrunk=st.floats(0.0, 0.9), turn_rad=st.floats(-1, 1))
def test_incompressible_annulus_shortens_and_thickens_as_its_area_demands(shrunk: float, turn_rad: float) -> None:
    now = np.sqrt(RADII_MM**2 - shrunk * RADII_MM[0] ** 2)
    landmarks = np.stack([annulus(), annulus(now, turn_rad)])
    assert_allclose(
        circumferential_strain(landmarks)[1], np.broadcast_to(((now / RADII_MM) ** 2 - 1) / 2, (24, 7)), atol=1e-12
    )
    thickening = (now[-1] - now[0]) / (RADII_MM[-1] - RADII_MM[0])
    assert_allclose(radial_strain(landmarks)[1], (thickening**2 - 1) / 2, atol=1e-12)
    layers = np.diff(now) / np.diff(RADII_MM)
    assert_allclose(radial_layer_strain(landmarks, measure=engineering)[1], np.tile(layers - 1, (24, 1)), atol=1e-12)


@given(f=st.lists(st.floats(-0.4, 0.4), min_size=4, max_size=4))
def test_affine_motion_gives_the_green_lagrange_tensor_along_each_line(f: list[float]) -> None:
    deformation = np.eye(2) + np.reshape(f, (2, 2))
    tensor = (deformation.T @ deformation - np.eye(2)) / 2
    landmarks = np.stack([annulus(), annulus() @ deformation.T])
    spokes = annulus()[:, -1] / RADII_MM[-1]
    assert_allclose(radial_strain(landmarks)[1], np.einsum("si,ij,sj->s", spokes, tensor, spokes), atol=1e-12)
    chords = np.roll(annulus(), -1, axis=0) - annulus()
    chords /= np.linalg.norm(chords, axis=-1, keepdims=True)
    assert_allclose(
        circumferential_strain(landmarks)[1], np.einsum("sri,ij,srj->sr", chords, tensor, chords), atol=1e-12
    )


@given(shift=st.integers(0, 23), seed=st.integers(0, 1000))
def test_relabelled_spokes_relabel_the_strain(shift: int, seed: int) -> None:
    landmarks = np.stack([annulus(), annulus() + np.random.default_rng(seed).normal(0, 1, (24, 7, 2))])
    for strain in STRAINS:
        assert_allclose(strain(np.roll(landmarks, shift, axis=1)), np.roll(strain(landmarks), shift, axis=1))


@pytest.mark.parametrize("ed_frame", [0, 1, 4])
def test_strain_is_exactly_zero_at_ed_whichever_frame_that_is(ed_frame: int) -> None:
    landmarks = annulus() + np.random.default_rng(1).normal(0, 1, (5, 24, 7, 2))
    for strain in STRAINS:
        for measure in (green_lagrange, engineering):
            values = strain(landmarks, ed_frame, measure)
            assert (values[ed_frame] == 0).all()
            assert np.count_nonzero(values) == values.size - values[0].size


def test_leading_axes_are_batches() -> None:
    batch = annulus() + np.random.default_rng(2).normal(0, 1, (3, 2, 5, 24, 7, 2))
    for strain in STRAINS:
        assert_allclose(strain(batch, 2)[1, 1], strain(batch[1, 1], 2))


def test_last_spoke_neighbors_the_first() -> None:
    moved = annulus()
    moved[0, 2] *= 1.1
    strained = np.nonzero(circumferential_strain(np.stack([annulus(), moved]))[1])
    assert set(zip(*map(np.ndarray.tolist, strained), strict=True)) == {(0, 2), (23, 2)}


def test_coincident_landmarks_at_ed_are_refused() -> None:
    landmarks = np.stack([annulus(), annulus()])
    landmarks[0, 5, 3] = landmarks[0, 6, 3]
    with pytest.raises(ValueError, match="1 pairs of neighbours coincide at ED"):
        circumferential_strain(landmarks)
    assert radial_strain(landmarks).shape == (2, 24)


def test_landmarks_that_meet_later_are_strained_to_the_limit() -> None:
    landmarks = np.stack([annulus(), annulus()])
    landmarks[1, 5, 3] = landmarks[1, 6, 3]
    assert circumferential_strain(landmarks)[1, 5, 3] == -0.5


def test_a_missing_landmark_takes_only_its_own_lines_away() -> None:
    landmarks = np.stack([annulus(), annulus() * 0.9])
    landmarks[1, 4, 0] = np.nan
    circumferential = circumferential_strain(landmarks)
    assert {tuple(index) for index in np.argwhere(np.isnan(circumferential)).tolist()} == {(1, 3, 0), (1, 4, 0)}
    assert np.argwhere(np.isnan(radial_strain(landmarks))).tolist() == [[1, 4]]
    assert_allclose(mean_known(circumferential, axis=1)[1], (0.81 - 1) / 2)


def test_mean_of_nothing_is_nan() -> None:
    values = np.array([[1.0, np.nan, np.nan], [3.0, 5.0, np.nan]])
    np.testing.assert_array_equal(mean_known(values, axis=0), [2, 5, np.nan])


def test_end_systole_is_the_most_negative_mean_over_known_rings() -> None:
    curves = np.array([[0.0, 0.0], [-0.1, -0.2], [-0.3, -0.1], [np.nan, -0.19]])
    assert end_systolic_frame(curves) == 2
    assert end_systolic_frame(np.array([[0.0, 0.0], [-0.1, np.nan], [-0.3, np.nan]])) == 2
    with pytest.raises(ValueError, match="no value is known"):
        end_systolic_frame(np.full((3, 7), np.nan))
