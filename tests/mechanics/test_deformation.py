"""Deformation gradients and strain tensors of the landmark grid against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from scipy.linalg import polar, sqrtm
from wall_motion import Cylinder, rotated, wall

from tagstrain.mechanics.deformation import element_gradients, landmark_gradients
from tagstrain.mechanics.heart_frame import concentric_center, heart_frame, ring_motion
from tagstrain.mechanics.tensors import (
    PolarStrain,
    almansi_tensor,
    area_ratio,
    engineering_components,
    green_lagrange_tensor,
    polar_components,
    principal_strains,
)

GRADIENTS = (landmark_gradients, element_gradients)
gradient_entries = st.lists(st.floats(-0.4, 0.4), min_size=4, max_size=4)


def landmark_strain(landmarks: NDArray[np.float64]) -> PolarStrain:
    gradients = landmark_gradients(landmarks)
    return polar_components(green_lagrange_tensor(gradients), heart_frame(landmarks).ed_angle_rad)


def largest_relative_error(found: PolarStrain, truth: PolarStrain) -> float:
    """Largest error of a component, relative to that component's largest value."""
    return max(float(np.abs(now - true).max() / np.abs(true).max()) for now, true in zip(found, truth, strict=True))


@settings(max_examples=25)
@given(angle=st.floats(-np.pi, np.pi), shift_mm=st.tuples(st.floats(-50, 50), st.floats(-50, 50)))
def test_rigid_motion_strains_nothing(angle: float, shift_mm: tuple[float, float]) -> None:
    uneven = wall() + np.random.default_rng(3).normal(0, 0.5, (24, 7, 2))
    for ed in (wall(), uneven):
        landmarks = np.stack([ed, rotated(ed, angle) + shift_mm])
        for gradients in GRADIENTS:
            f = gradients(landmarks)
            assert_allclose(green_lagrange_tensor(f), 0, atol=1e-6)
            assert_allclose(almansi_tensor(f), 0, atol=1e-6)
            assert_allclose(area_ratio(f), 1, atol=1e-6)


@settings(max_examples=25)
@given(entries=gradient_entries, shift_mm=st.tuples(st.floats(-50, 50), st.floats(-50, 50)))
def test_affine_motion_such_as_stretch_and_pure_shear_is_exact(
    entries: list[float], shift_mm: tuple[float, float]
) -> None:
    deformation = np.eye(2) + np.reshape(entries, (2, 2))
    landmarks = np.stack([wall() + shift_mm, wall() @ deformation.T])
    for gradients in GRADIENTS:
        f = gradients(landmarks)[1]
        assert_allclose(f, np.broadcast_to(deformation, f.shape), atol=1e-9)


@given(
    lost_mm2=st.floats(50, 330),
    axial_stretch=st.floats(0.8, 1.0),
    turn_rad=st.floats(-0.5, 0.5),
    turn_per_mm=st.floats(-0.02, 0.02),
)
@settings(max_examples=25)
def test_contracting_and_twisting_cylinder_has_its_strain_within_one_percent(
    lost_mm2: float, axial_stretch: float, turn_rad: float, turn_per_mm: float
) -> None:
    cylinder = Cylinder(lost_mm2, axial_stretch, turn_rad, turn_per_mm)
    found = landmark_strain(np.stack([wall(), cylinder.move(wall()) + np.array([4.0, -3.0])]))
    radius = np.linspace(22.0, 32.0, 7)
    for now, true in zip(found, cylinder.strain(radius), strict=True):
        assert_allclose(now[1], np.broadcast_to(true, (24, 7)), rtol=0.01, atol=1e-6)


def test_elements_have_the_strain_of_the_cylinder_within_one_percent() -> None:
    cylinder = Cylinder()
    gradients = element_gradients(np.stack([wall(), cylinder.move(wall())]))[1]
    middle = 0.1 + np.pi * (2 * np.arange(24) + 1) / 24
    found = polar_components(green_lagrange_tensor(gradients), np.broadcast_to(middle[:, None], (24, 6)))
    radius = np.linspace(22.0, 32.0, 7)
    truth = cylinder.strain((radius[1:] + radius[:-1]) / 2)
    assert largest_relative_error(found, PolarStrain(*truth)) < 0.01


def test_area_is_kept_by_an_incompressible_wall_that_does_not_shorten() -> None:
    landmarks = np.stack([wall(), Cylinder(axial_stretch=1.0).move(wall())])
    assert_allclose(area_ratio(landmark_gradients(landmarks)), 1, atol=1e-9)
    assert_allclose(area_ratio(element_gradients(landmarks)), 1, atol=5e-3)


def regional_motion(points_mm: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A smooth motion that no grid follows exactly, and its exact gradient."""
    x, y = points_mm[..., 0], points_mm[..., 1]
    k = 0.06
    moved = np.stack([x * 0.9 + 2 * np.sin(k * y), y + 1.5 * np.cos(k * x) * np.sin(k * y)], axis=-1)
    gradient = np.stack(
        [
            np.stack([np.full_like(x, 0.9), 2 * k * np.cos(k * y)], axis=-1),
            np.stack([-1.5 * k * np.sin(k * x) * np.sin(k * y), 1 + 1.5 * k * np.cos(k * x) * np.cos(k * y)], axis=-1),
        ],
        axis=-2,
    )
    return moved, gradient


@pytest.mark.parametrize("order", [1.0, 2.0])
def test_errors_fall_as_the_grid_is_refined(order: float) -> None:
    errors = []
    for refinement in (1, 2, 4):
        ed = wall(24 * refinement, 6 * refinement + 1)
        moved, exact = regional_motion(ed)
        landmarks = np.stack([ed, moved])
        if order == 2.0:  # elements: halving their size quarters the error
            corners = (ed[:, :-1] + ed[:, 1:]) / 2
            middle = (corners + np.roll(corners, -1, axis=0)) / 2
            exact = regional_motion(middle)[1]
            errors.append(float(np.abs(element_gradients(landmarks)[1] - exact).max()))
        else:  # one-sided lines at the borders of the wall: halving halves
            errors.append(float(np.abs(landmark_gradients(landmarks)[1] - exact).max()))
    assert errors[0] < 0.05
    falls = np.array(errors[:-1]) / errors[1:]
    assert (falls > 2**order * 0.8).all(), errors


@settings(max_examples=25)
@given(angle=st.floats(-np.pi, np.pi))
def test_strain_does_not_depend_on_how_the_image_is_turned(angle: float) -> None:
    landmarks = np.stack([wall(), regional_motion(wall())[0]])
    for turned, upright in zip(landmark_strain(rotated(landmarks, angle)), landmark_strain(landmarks), strict=True):
        assert_allclose(turned, upright, atol=1e-9)


def test_a_mirrored_image_changes_the_sign_of_the_shear_alone() -> None:
    landmarks = np.stack([wall(), regional_motion(wall())[0]])
    mirrored = landmark_strain(landmarks * [-1, 1])
    upright = landmark_strain(landmarks)
    assert_allclose(mirrored.radial, upright.radial, atol=1e-9)
    assert_allclose(mirrored.circumferential, upright.circumferential, atol=1e-9)
    assert_allclose(mirrored.shear, -upright.shear, atol=1e-9)


@given(entries=gradient_entries)
def test_tensors_agree_with_the_polar_decomposition(entries: list[float]) -> None:
    f = np.eye(2) + np.reshape(entries, (2, 2))
    if np.linalg.det(f) < 0.1:
        return
    _, right_stretch = polar(f, side="right")
    _, left_stretch = polar(f, side="left")
    assert_allclose(green_lagrange_tensor(f), (right_stretch @ right_stretch - np.eye(2)) / 2, atol=1e-12)
    inverse = np.linalg.inv(left_stretch)
    assert_allclose(almansi_tensor(f), (np.eye(2) - inverse @ inverse) / 2, atol=1e-9)
    assert_allclose(sqrtm(2 * green_lagrange_tensor(f) + np.eye(2)), right_stretch, atol=1e-9)


@given(entries=gradient_entries, angle=st.floats(-np.pi, np.pi))
def test_principal_strains_are_the_eigenvalues_in_the_direction_stated(entries: list[float], angle: float) -> None:
    tensor = green_lagrange_tensor(np.eye(2) + np.reshape(entries, (2, 2)))
    principal = principal_strains(polar_components(tensor, np.asarray(angle)))
    assert_allclose([principal.least, principal.greatest], np.linalg.eigvalsh(tensor), atol=1e-9)
    direction = angle + principal.angle_rad
    along = np.array([np.cos(direction), np.sin(direction)])
    assert_allclose(along @ tensor @ along, principal.greatest, atol=1e-9)


def test_simple_shear_has_its_textbook_values() -> None:
    k = 0.3  # x = X + k Y
    f = np.array([[1.0, k], [0.0, 1.0]])
    lagrange = polar_components(green_lagrange_tensor(f), np.asarray(0.0))
    assert_allclose([lagrange.radial, lagrange.circumferential, lagrange.shear], [0, k**2 / 2, k / 2])
    almansi = polar_components(almansi_tensor(f), np.asarray(0.0))
    assert_allclose([almansi.radial, almansi.circumferential, almansi.shear], [0, -(k**2) / 2, k / 2])
    engineering = engineering_components(f, np.asarray(0.0))
    assert_allclose([engineering.radial, engineering.circumferential], [0, np.sqrt(1 + k**2) - 1], atol=1e-12)
    assert_allclose(engineering.shear, np.arctan(k))
    assert area_ratio(f) == 1


def test_almansi_strain_of_a_vanished_area_is_not_known() -> None:
    assert np.isnan(almansi_tensor(np.array([[1.0, 0.0], [0.0, 0.0]]))).all()


@settings(max_examples=25)
@given(missing=st.sets(st.integers(0, 23), max_size=12), shift_mm=st.tuples(st.floats(-50, 50), st.floats(-50, 50)))
def test_missing_spokes_do_not_shift_the_center(missing: set[int], shift_mm: tuple[float, float]) -> None:
    landmarks = np.stack([wall() + shift_mm, Cylinder().move(wall()) + np.array([1.0, 2.0])])
    landmarks[:, list(missing)] = np.nan
    assert_allclose(concentric_center(landmarks[0]), shift_mm, atol=1e-6)
    assert_allclose(heart_frame(landmarks).center_mm, [shift_mm, [1.0, 2.0]], atol=1e-6)


@given(angle=st.floats(-3, 3), stretch=st.floats(0.3, 2.0), missing=st.sets(st.integers(0, 23), max_size=20))
@settings(max_examples=25)
def test_a_ring_has_its_rotation_and_stretch_wherever_it_moves_and_whatever_is_missing(
    angle: float, stretch: float, missing: set[int]
) -> None:
    landmarks = np.stack([wall(), stretch * rotated(wall(), angle) + np.array([7.0, -30.0])])
    landmarks[1, list(missing), 2] = np.nan
    rings = ring_motion(landmarks)
    assert_allclose(rings.rotation_rad[1], angle, atol=1e-9)
    assert_allclose(rings.stretch[1], stretch, atol=1e-9)
    landmarks[1, 2:, 4] = np.nan
    assert np.isnan(ring_motion(landmarks).rotation_rad[1]).tolist() == [ring == 4 for ring in range(7)]


def test_an_eccentric_and_almost_closed_cavity_keeps_its_strain() -> None:
    """The endocardium shrinks onto a point 6 mm off the ventricle's center; compared with elements half as large."""
    fine = wall(48, 13, 10.0, 26.0)

    def squeezed(points: NDArray[np.float64]) -> NDArray[np.float64]:
        radius = np.hypot(points[..., 0], points[..., 1])[..., None]
        return points * np.sqrt(1 - 75 / radius**2) + 6 * np.array([1.0, 0.0]) * np.exp(-((radius / 16) ** 2))

    found = landmark_gradients(np.stack([fine[::2, ::2], squeezed(fine[::2, ::2])]))[1]
    step = 1e-4
    exact = np.stack(
        [(squeezed(fine + shift) - squeezed(fine - shift)) / (2 * step) for shift in step * np.eye(2)], axis=-1
    )[::2, ::2]
    assert np.abs(found - exact).max() < 0.2
    strain = [green_lagrange_tensor(f).mean(axis=0) for f in (found, exact)]
    assert np.abs(strain[0] - strain[1]).max() < 0.05


def test_a_missing_landmark_is_missed_only_where_it_matters() -> None:
    landmarks = np.stack([wall(), Cylinder().move(wall())])
    whole = landmark_gradients(landmarks)
    landmarks[1, 4, 0] = np.nan
    gradients = landmark_gradients(landmarks)
    unknown = {tuple(index) for index in np.argwhere(np.isnan(gradients).any(axis=(-1, -2))).tolist()}
    assert unknown == {(1, 3, 0), (1, 4, 0), (1, 5, 0)}
    assert_allclose(gradients[~np.isnan(gradients)], whole[~np.isnan(gradients)], atol=1e-6)
    elements = np.isnan(element_gradients(landmarks)).any(axis=(-1, -2))
    assert {tuple(index) for index in np.argwhere(elements).tolist()} == {(1, 3, 0), (1, 4, 0)}


@settings(max_examples=25)
@given(entries=gradient_entries, missing=st.sets(st.tuples(st.integers(0, 9), st.integers(0, 6)), max_size=20))
def test_affine_motion_is_exact_wherever_landmarks_are_missing(
    entries: list[float], missing: set[tuple[int, int]]
) -> None:
    deformation = np.eye(2) + np.reshape(entries, (2, 2))
    landmarks = np.stack([wall(), wall() @ deformation.T])
    for spoke, ring in missing:
        landmarks[1, spoke, ring] = np.nan
    f = landmark_gradients(landmarks)[1]
    is_known = np.isfinite(f).all(axis=(-1, -2))
    assert is_known[11:23].all()
    assert_allclose(f[is_known], np.broadcast_to(deformation, f[is_known].shape), atol=1e-9)


@pytest.mark.parametrize("ring", [0, 3, 6])
def test_an_unknown_ring_leaves_the_others_known(ring: int) -> None:
    landmarks = np.stack([wall(), Cylinder().move(wall())])
    landmarks[:, :, ring] = np.nan
    unknown = np.isnan(landmark_gradients(landmarks)).any(axis=(-1, -2))
    assert unknown[:, :, ring].all()
    assert not np.delete(unknown, ring, axis=2).any()


@pytest.mark.parametrize("ring", [0, 3, 6])
def test_a_ring_that_is_unknown_in_one_frame_changes_no_other_frame(ring: int) -> None:
    landmarks = np.stack([wall(), *[Cylinder().move(wall())] * 3])
    whole = landmark_gradients(landmarks)
    landmarks[1, :, ring] = np.nan
    gradients = landmark_gradients(landmarks)
    unknown = np.isnan(gradients).any(axis=(-1, -2))
    assert unknown[1, :, ring].all()
    assert unknown.sum() == 24
    assert_allclose(gradients[[0, 2, 3]], whole[[0, 2, 3]], atol=1e-12)


def test_half_a_turn_of_a_noisy_wall_strains_no_more_than_no_turn() -> None:
    noisy = wall() + np.random.default_rng(5).normal(0, 0.05, wall().shape)
    still, turned = (np.stack([wall(), rotated(noisy, angle)]) for angle in (0.0, np.pi))
    strains = [green_lagrange_tensor(landmark_gradients(landmarks)) for landmarks in (still, turned)]
    assert_allclose(strains[1], strains[0], atol=1e-9)


def test_an_unknown_frame_is_nan_and_an_unknown_ed_is_refused() -> None:
    landmarks = np.stack([wall(), wall(), wall()])
    landmarks[1] = np.nan
    gradients = landmark_gradients(landmarks)
    assert np.isnan(gradients[1]).all()
    assert np.isfinite(gradients[[0, 2]]).all()
    with pytest.raises(ValueError, match="fewer than three are known"):
        landmark_gradients(landmarks, ed_frame=1)


def test_landmarks_without_area_at_ed_are_refused() -> None:
    landmarks = np.stack([wall(), wall()])
    landmarks[0, 5] = landmarks[0, 7]
    with pytest.raises(ValueError, match="no area at ED"):
        landmark_gradients(landmarks)


@pytest.mark.parametrize("ed_frame", [0, 1, 2])
def test_strain_is_zero_at_ed_whichever_frame_that_is(ed_frame: int) -> None:
    landmarks = wall() + np.random.default_rng(1).normal(0, 0.3, (3, 24, 7, 2))
    for gradients in GRADIENTS:
        strain = green_lagrange_tensor(gradients(landmarks, ed_frame))
        assert_allclose(strain[ed_frame], 0, atol=1e-12)
        assert (np.abs(np.delete(strain, ed_frame, axis=0)).max(axis=(-1, -2)) > 0).all()
