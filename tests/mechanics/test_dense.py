"""Strain of dense displacement fields against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from wall_motion import Cylinder, rotated

from tagstrain.mechanics.dense import dense_gradients, dense_strain

SPACING_XY_MM = np.array([1.4, 1.2])
CENTER_XY_PX = np.array([29.3, 33.6])


def pixel_places(spacing_xy_mm: NDArray[np.float64] = SPACING_XY_MM, rows: int = 68, columns: int = 60) -> NDArray:
    """Places ``(row, column, 2)`` [mm] of the pixels from the center."""
    y, x = np.mgrid[:rows, :columns]
    return np.stack([x - CENTER_XY_PX[0], y - CENTER_XY_PX[1]], axis=-1) * spacing_xy_mm


def field(places: NDArray[np.float64], now: NDArray[np.float64]) -> NDArray[np.float64]:
    """Displacement ``(1, 2, row, column)`` as a tracker gives it."""
    return np.moveaxis(now - places, -1, 0)[None]


@given(angle=st.floats(-np.pi, np.pi), shift_mm=st.tuples(st.floats(-50, 50), st.floats(-50, 50)))
@settings(max_examples=20)
def test_rigid_motion_strains_nothing(angle: float, shift_mm: tuple[float, float]) -> None:
    places = pixel_places()
    strain = dense_strain(field(places, rotated(places, angle) + shift_mm), SPACING_XY_MM, CENTER_XY_PX)
    for component in strain:
        assert_allclose(component, 0, atol=1e-6)


@given(entries=st.lists(st.floats(-0.4, 0.4), min_size=4, max_size=4))
@settings(max_examples=20)
def test_affine_motion_is_exact_up_to_the_borders(entries: list[float]) -> None:
    deformation = np.eye(2) + np.reshape(entries, (2, 2))
    places = pixel_places()
    gradients = dense_gradients(field(places, places @ deformation.T), SPACING_XY_MM)
    assert_allclose(gradients[0], np.broadcast_to(deformation, gradients.shape[1:]), atol=1e-9)


@pytest.mark.parametrize(
    "cylinder", [Cylinder(), Cylinder(turn_per_mm=0.015), Cylinder(lost_mm2=120.0, axial_stretch=0.8)]
)
def test_cylinder_has_its_strain_within_half_a_percent(cylinder: Cylinder) -> None:
    places = pixel_places()
    radius = np.hypot(places[..., 0], places[..., 1])
    is_wall = (radius >= 22) & (radius <= 32)
    displacement = field(places, cylinder.move(np.where((radius > 18)[..., None], places, np.nan)))
    found = dense_strain(displacement, SPACING_XY_MM, CENTER_XY_PX)
    for now, true in zip(found, cylinder.strain(radius[is_wall]), strict=True):
        assert np.abs(now[0][is_wall] - true).max() < 0.005 * np.abs(true).max()


def test_errors_fall_with_the_fourth_power_of_the_pixel_size() -> None:
    errors = []
    for refinement in (1, 2):
        spacing = SPACING_XY_MM / refinement
        places = pixel_places(spacing, 68 * refinement, 60 * refinement) + 30.0
        x = places[..., 0]
        moved = places + np.stack([2 * np.sin(0.2 * x), np.zeros_like(x)], axis=-1)
        found = dense_gradients(field(places, moved), spacing)[0, :, 2:-2, 0, 0]
        errors.append(np.abs(found - 1 - 0.4 * np.cos(0.2 * x[:, 2:-2])).max())
    assert 14 < errors[0] / errors[1] < 18


def test_an_unknown_pixel_is_missed_only_by_itself_and_its_neighbors() -> None:
    places = pixel_places()
    displacement = field(places, 0.9 * places)
    displacement[0, :, 30, 20] = np.nan
    radial = dense_strain(displacement, SPACING_XY_MM, CENTER_XY_PX).radial[0]
    unknown = {tuple(index) for index in np.argwhere(np.isnan(radial)).tolist()}
    assert unknown == {(30, 20), (29, 20), (31, 20), (30, 19), (30, 21)}
    assert_allclose(radial[~np.isnan(radial)], (0.81 - 1) / 2)


def test_the_shear_turns_from_x_to_y() -> None:
    places = pixel_places()
    radius = np.hypot(places[..., 0], places[..., 1])
    twisted = rotated_by(places, 0.002 * radius)
    shear = dense_strain(field(places, twisted), SPACING_XY_MM, CENTER_XY_PX).shear[0]
    assert_allclose(shear[radius > 15], 0.001 * radius[radius > 15], rtol=0.01)


def rotated_by(points_mm: NDArray[np.float64], angle_rad: NDArray[np.float64]) -> NDArray[np.float64]:
    cosine, sine = np.cos(angle_rad), np.sin(angle_rad)
    x, y = points_mm[..., 0], points_mm[..., 1]
    return np.stack([cosine * x - sine * y, sine * x + cosine * y], axis=-1)
