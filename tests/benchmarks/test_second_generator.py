"""The second generator against closed forms, and its images against its truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.interpolate import BSpline
from scipy.ndimage import gaussian_filter, map_coordinates

from benchmarks.accuracy.annulus_motion import Annulus, SliceMotion, bspline_basis
from benchmarks.accuracy.second_case import SecondCase, draw_case
from benchmarks.accuracy.second_generator import SecondCine, render_case, tagged_magnetization
from benchmarks.accuracy.spamm_bloch import TRAINS, ImagingPulses, spamm_train

SEEDS = st.integers(0, 2**32 - 1)


def motion_of(seed: int) -> SliceMotion:
    return draw_case(np.random.default_rng(seed)).motion


def test_basis_is_that_of_scipy() -> None:
    places = np.linspace(-3, 9, 57)
    value, slope = bspline_basis(places, -4.0, 1.5, 11)
    for knot in range(11):
        spline = BSpline.basis_element(-4.0 + 1.5 * (knot + np.arange(-2, 3)), extrapolate=False)
        np.testing.assert_allclose(value[:, knot], np.nan_to_num(spline(places)), atol=1e-12)
        np.testing.assert_allclose(slope[:, knot], np.nan_to_num(spline.derivative()(places)), atol=1e-12)


@settings(max_examples=8, deadline=None)
@given(seed=SEEDS)
def test_nothing_has_moved_when_the_tags_are_laid(seed: int) -> None:
    points = np.random.default_rng(seed).uniform(-60, 60, (50, 2))
    np.testing.assert_allclose(motion_of(seed).forward(points, 0.0), points, atol=1e-9)


@settings(max_examples=8, deadline=None)
@given(seed=SEEDS, time_ms=st.floats(0, 1100))
def test_forward_undoes_backward(seed: int, time_ms: float) -> None:
    motion = motion_of(seed)
    x_mm, y_mm = np.linspace(-50, 45, 9), np.linspace(-40, 55, 8)
    material = motion.backward_on_grid(x_mm, y_mm, time_ms)
    places = motion.forward(material.reshape(-1, 2), time_ms).reshape(material.shape)
    np.testing.assert_allclose(places, np.stack(np.meshgrid(x_mm, y_mm), axis=-1), atol=1e-5)


@given(
    contraction=st.floats(0, 1),
    shortening=st.floats(0, 0.6),
    through_plane=st.floats(-0.02, 0.15),
    radius=st.floats(15.2, 29.8),
    twist=st.floats(-0.3, 0.3),
)
def test_the_wall_keeps_its_volume(
    contraction: float, shortening: float, through_plane: float, radius: float, twist: float
) -> None:
    annulus = Annulus(15.0, 30.0, shortening, through_plane, twist, -twist)
    step = 1e-4
    corners = np.array([radius, 0.0]) + step * np.array([[1, 0], [-1, 0], [0, 1], [0, -1]])
    right, left, up, down = annulus.forward(corners, contraction, 1.0)
    (a, c), (b, d) = (right - left) / (2 * step), (up - down) / (2 * step)
    volume = (a * d - b * c) * (1 - through_plane * contraction)
    assert volume == pytest.approx(1, abs=1e-5)


@settings(max_examples=8, deadline=None)
@given(seed=SEEDS, time_ms=st.floats(50, 900))
def test_the_free_deformation_has_no_divergence(seed: int, time_ms: float) -> None:
    deformation = motion_of(seed).deformation
    at = np.random.default_rng(seed).uniform(-60, 60, (40, 2))
    step = 1e-4

    def slope(axis: int) -> NDArray[np.float64]:
        shift = step * np.eye(2)[axis]
        ahead, behind = (deformation.at_points(at + sign * shift, time_ms, 0.7)[:, axis] for sign in (1, -1))
        return np.asarray((ahead - behind) / (2 * step))

    assert np.abs(slope(0)).max() > 1e-3
    np.testing.assert_allclose(slope(0) + slope(1), 0, atol=1e-6)


def test_one_one_spamm_is_the_closed_form() -> None:
    phase = np.linspace(0, 4 * np.pi, 101)
    flip = np.radians(40.0)
    left = spamm_train(np.ones_like(phase), phase, np.full_like(phase, 2 * flip), TRAINS["1-1"])
    # Relaxation within the millisecond of the train is all that the closed form leaves out.
    np.testing.assert_allclose(left, np.cos(flip) ** 2 - np.sin(flip) ** 2 * np.cos(phase), atol=0.01)


@pytest.mark.parametrize("train", TRAINS)
def test_tags_repeat_after_their_spacing_and_not_before(train: str) -> None:
    tags = replace(
        draw_case(np.random.default_rng(3)).tags,
        spacing_mm=6.0,
        angle_rad=0.3,
        train=train,
        flip_tilt=(0.0, 0.0),
        field_rad=(0.0, 0.0),
    )
    normal = np.array([np.cos(0.3), np.sin(0.3)])
    line = np.linspace(0, 6, 40)[:, None] * normal
    here = tagged_magnetization(tags, line)
    np.testing.assert_allclose(tagged_magnetization(tags, line + 6.0 * normal), here, atol=1e-12)
    assert np.abs(tagged_magnetization(tags, line + 3.0 * normal) - here).max() > 0.2


def test_pulses_drive_tissue_to_the_ernst_steady_state() -> None:
    t1_ms, flip, repetition_ms = 900.0, np.radians(12.0), 5.0
    pulses = ImagingPulses(flip, repetition_ms, 8, 200, 5.0, 9000.0, n_dummy_beats=0)
    tagged, fresh = pulses.history(np.array([t1_ms]), 0.5)[-1, -1, :, 0]
    recovery = np.exp(-repetition_ms / t1_ms)
    assert fresh == pytest.approx((1 - recovery) / (1 - recovery * np.cos(flip)), rel=1e-4)
    assert tagged == pytest.approx(0, abs=1e-6)


@pytest.fixture(scope="module")
def rendered() -> tuple[SecondCase, SecondCine]:
    drawn = draw_case(np.random.default_rng([773_001, 3]))
    case = replace(drawn, snr=60.0, pulses=replace(drawn.pulses, n_frames=5))
    return case, render_case(case)


def contrast(image: NDArray[np.uint16]) -> NDArray[np.float64]:
    difference = image - gaussian_filter(image.astype(float), 3)
    return np.asarray(difference / np.sqrt(gaussian_filter(difference**2, 6) + 1))


def test_images_move_with_the_landmarks(rendered: tuple[SecondCase, SecondCine]) -> None:
    case, cine = rendered
    tracks = cine.landmarks_px[:, :, 1:-1].reshape(len(cine.frames), -1, 2)

    def seen(frame: int, points: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(map_coordinates(contrast(cine.frames[frame]), points[:, ::-1].T, order=3))

    reference = seen(0, tracks[0])
    for frame in (2, 4):
        moved_mm = np.linalg.norm(tracks[frame] - tracks[0], axis=-1).mean() * cine.pixel_mm
        assert moved_mm > 1.0
        followed = np.corrcoef(seen(frame, tracks[frame]), reference)[0, 1]
        assert followed > 0.85
        # A quarter of the spacing off is seen: the truth lies where the tags are.
        off = tracks[frame] + 0.25 * case.tags.spacing_mm / cine.pixel_mm
        assert followed > np.corrcoef(seen(frame, off), reference)[0, 1] + 0.2


def test_rendered_tags_have_their_spacing(rendered: tuple[SecondCase, SecondCine]) -> None:
    case, cine = rendered
    size = 1024
    window = np.hanning(256)
    power = np.abs(np.fft.fft2(contrast(cine.frames[0]) * np.outer(window, window), (size, size)))
    y, x = np.meshgrid(*[np.fft.fftfreq(size) / cine.pixel_mm] * 2, indexing="ij")
    power[np.hypot(x, y) < 0.08] = 0
    strongest = np.argmax(power)
    frequency = np.array([x.flat[strongest], y.flat[strongest]])
    assert 1 / np.linalg.norm(frequency) == pytest.approx(case.tags.spacing_mm, rel=0.03)
    off_axis = (np.arctan2(frequency[1], frequency[0]) - case.tags.angle_rad) % (np.pi / 2)
    assert min(off_axis, np.pi / 2 - off_axis) < np.radians(2)


def test_a_seed_always_draws_the_same_case() -> None:
    def record(case: SecondCase) -> str:
        with np.printoptions(threshold=10**6):
            return repr(case)

    one, again, other = (record(draw_case(np.random.default_rng(seed))) for seed in (5, 5, 6))
    assert one == again != other
