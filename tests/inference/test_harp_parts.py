"""The parts of HARP tracking: tag measurement, phase unwrapping, smoothing; against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tagstrain.errors import TagsNotFoundError
from tagstrain.geometry.tag_spectrum import measure_tags
from tagstrain.inference.harmonic_phase import HarmonicFilter, relative_contrast, unwrap_phase
from tagstrain.inference.motion_fit import LocalPolynomialFit, MotionModel, tissue_around


def tagged_image(
    spacing_mm: float, angles_deg: tuple[float, ...], spacing_xy_mm: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Sinusoidal tags on a brightness ramp, 150 mm square, with some noise."""
    columns, rows = (np.arange(int(150 / mm)) * mm for mm in spacing_xy_mm)
    x, y = np.meshgrid(columns, rows)
    image = 100 + 0.3 * x + np.random.default_rng(1).normal(size=x.shape) * 5
    for angle in np.radians(angles_deg):
        image = image * (1 + 0.4 * np.cos(2 * np.pi / spacing_mm * (x * np.cos(angle) + y * np.sin(angle)) + 1))
    return image


@settings(max_examples=20, deadline=None)
@given(
    spacing_mm=st.floats(4.2, 9.5),
    angle_deg=st.floats(-89, 89),
    spacing_xy_mm=st.tuples(st.floats(0.7, 1.6), st.floats(0.7, 1.6)),
)
def test_tag_spacing_and_angle_are_measured_on_any_pixels(
    spacing_mm: float, angle_deg: float, spacing_xy_mm: tuple[float, float]
) -> None:
    spacing = np.array(spacing_xy_mm)
    image = tagged_image(spacing_mm, (angle_deg, angle_deg + 90), spacing)
    pattern = measure_tags(image[None], spacing, 75 / spacing, 45.0)
    assert len(pattern.directions) == 2
    found = [direction.tag_angle_deg for direction in pattern.directions]
    for angle in (angle_deg, angle_deg + 90):
        assert min(abs((other - angle + 90) % 180 - 90) for other in found) < 1
    assert all(abs(direction.tag_spacing_mm / spacing_mm - 1) < 0.01 for direction in pattern.directions)


def test_line_tags_have_one_direction() -> None:
    spacing = np.array([1.3, 1.3])
    pattern = measure_tags(tagged_image(7, (20.0,), spacing)[None], spacing, 75 / spacing, 45.0)
    assert len(pattern.directions) == 1
    assert abs(pattern.directions[0].tag_angle_deg - 20) < 1


def test_a_hot_pixel_does_not_drown_the_tags() -> None:
    spacing = np.array([1.3, 1.3])
    image = tagged_image(7, (20.0, 110.0), spacing)
    image[62, 50] = 1000 * image.max()
    found = measure_tags(image[None], spacing, 75 / spacing, 45.0).directions
    assert sorted(round(d.tag_angle_deg) for d in found) == [-70, 20]


@pytest.mark.parametrize("seed", range(5))
def test_noise_has_no_tags(seed: int) -> None:
    noise = 100 + np.random.default_rng(seed).normal(size=(3, 128, 128)) * 20
    with pytest.raises(TagsNotFoundError):
        measure_tags(noise, np.array([1.2, 1.2]), np.array([64.0, 64.0]), 45.0)


def test_phase_of_the_filtered_image_is_the_phase_of_the_tags() -> None:
    rows, columns = np.mgrid[:96, :96].astype(float)
    frequencies = np.array([[0.12, 0.1], [0.1, -0.12]])
    phases = [2 * np.pi * (fx * columns + fy * rows) for fx, fy in frequencies]
    image = (100 + rows) * (1 + 0.3 * np.cos(phases[0]) + 0.3 * np.cos(phases[1]))
    harmonics = HarmonicFilter.at(frequencies, 96, 0.3)(relative_contrast(image, 4.0))
    inner = np.s_[20:-20, 20:-20]
    for harmonic, phase in zip(harmonics, phases, strict=True):
        assert np.abs(np.angle(harmonic * np.exp(-1j * phase)))[inner].max() < 0.1


@settings(max_examples=30, deadline=None)
@given(slope=st.tuples(st.floats(-2, 2), st.floats(-2, 2)), start=st.floats(-3, 3))
def test_unwrapped_ramp_is_a_ramp_up_to_whole_turns(slope: tuple[float, float], start: float) -> None:
    rows, columns = np.mgrid[:17, :23].astype(float)
    ramp = start + slope[0] * columns + slope[1] * rows
    unwrapped = unwrap_phase(np.exp(1j * ramp)[None], np.ones(ramp.shape))[0]
    turns = (unwrapped - ramp) / (2 * np.pi)
    np.testing.assert_allclose(turns, np.round(turns[0, 0]), atol=1e-9)
    assert abs(np.median(unwrapped)) <= np.pi + 2 * max(abs(slope[0]), abs(slope[1])) + 1e-9


def test_unwrapping_goes_around_what_cannot_be_trusted() -> None:
    ramp = np.broadcast_to(0.5 * np.arange(40.0), (40, 40))
    products = np.exp(1j * ramp)
    quality = np.ones_like(ramp)
    noisy = np.s_[5:35, 15:25]
    products[noisy] = np.exp(1j * np.random.default_rng(0).uniform(-np.pi, np.pi, (30, 10)))
    quality[noisy] = 1e-3
    error = (unwrap_phase(products[None], quality)[0] - ramp)[quality == 1]
    assert np.ptp(error) < 1e-9


@pytest.mark.parametrize("degree", [1, 2])
def test_local_fit_keeps_a_polynomial_up_to_the_rim_of_the_data(degree: int) -> None:
    rows, columns = np.mgrid[:30, :30].astype(float)
    values = 0.3 + 0.2 * columns - 0.1 * rows + (degree == 2) * (0.01 * columns * rows - 0.02 * rows**2)
    ring = np.abs(np.hypot(rows - 15, columns - 15) - 9) < 3
    fit, variance = LocalPolynomialFit(ring, 3.0, degree, ridge=0)(values[None], ring[None].astype(float))
    np.testing.assert_allclose(fit[0], values[ring], atol=1e-6)
    assert (variance > 0).all()


def test_local_fit_knows_less_where_less_is_measured() -> None:
    wanted = np.ones((25, 25), bool)
    weights = np.ones((1, 25, 25))
    weights[:, :, 15:] = 0.05
    _, variance = LocalPolynomialFit(wanted, 2.0, 1)(np.zeros((1, 25, 25)), weights)
    variance = variance.reshape(25, 25)
    assert variance[12, 20] > 5 * variance[12, 6]


def test_motion_model_holds_an_incompressible_ring_to_first_order() -> None:
    rows, columns = np.mgrid[:41, :41].astype(float) - 20
    radius = np.maximum(np.hypot(rows, columns), 1)
    tissue = ((radius > 8) & (radius < 16)).astype(float)
    inward = np.stack([columns, rows]) / radius**2
    fitted = MotionModel.of(tissue, stiffness=0.0)(inward, np.stack([tissue, tissue]))
    np.testing.assert_allclose(fitted[:, tissue > 0], inward[:, tissue > 0], atol=1e-4)


def test_tissue_lies_between_rings_and_around_lone_points() -> None:
    angle = 2 * np.pi * np.arange(24) / 24
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    wall = np.concatenate([60 + radius * ring for radius in (16, 20, 24, 28)])
    tissue = tissue_around(wall, 121, 14.0, 5.0, 0.5)
    rows, columns = np.mgrid[:121, :121] - 60
    radius = np.hypot(rows, columns)
    assert (tissue[(radius > 16) & (radius < 27.5)] > 0.99).all()
    assert (tissue[(radius < 13) | (radius > 32)] < 0.01).all()

    lone = tissue_around(np.array([[30.0, 40.0]]), 121, 14.0, 5.0, 0.5)
    assert lone[40, 34] == 1
    assert lone[40, 50] < 0.01
