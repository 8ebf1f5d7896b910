"""Tag physics against the pulse sequence played out step by step, and against Fourier analysis of the image."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.simulation.scenes import quiet_scene, square_view

from tagstrain.simulation.config import SimulatorConfig
from tagstrain.simulation.render import render
from tagstrain.simulation.scene import Scene, sample_scenes, stack_scenes
from tagstrain.simulation.tags import (
    complementary_magnetization,
    faded,
    fading_rate_per_ms,
    mean_tag_magnetization,
    steady_state,
    tag_magnetization,
)


@given(
    t1_ms=st.floats(200, 2000),
    flip_deg=st.floats(1, 30),
    repetition_ms=st.floats(3, 20),
    start=st.floats(-1, 1),
    n_pulses=st.integers(1, 80),
)
@settings(max_examples=40, deadline=None)
def test_fading_is_that_of_the_pulse_train(
    t1_ms: float, flip_deg: float, repetition_ms: float, start: float, n_pulses: int
) -> None:
    magnetization = start
    for _ in range(n_pulses):
        recovery = math.exp(-repetition_ms / t1_ms)
        magnetization = magnetization * math.cos(math.radians(flip_deg)) * recovery + 1 - recovery
    args = [torch.tensor(v, dtype=torch.float64) for v in (t1_ms, math.radians(flip_deg), repetition_ms)]
    time = torch.tensor(n_pulses * repetition_ms, dtype=torch.float64)
    start_there = torch.tensor(start, dtype=torch.float64)
    closed_form = faded(start_there, steady_state(*args), fading_rate_per_ms(*args), time)
    assert float(closed_form) == pytest.approx(magnetization, abs=1e-9)


def test_sinusoidal_tags_are_spamm() -> None:
    """1-1 SPAMM of two pulses of flip b leaves cos(b)^2 - sin(b)^2 cos(2 pi x / spacing) (Axel and Dougherty 1989)."""
    flip, spacing = math.radians(40), 7.0
    x = torch.linspace(-20, 20, 101)
    tags = tag_magnetization(
        torch.stack([x, torch.zeros_like(x)], dim=-1)[None],
        spacing_mm=torch.full((1, 1), spacing),
        angle_rad=torch.zeros(1, 1),
        phase_rad=torch.zeros(1, 1, 2),
        depth=torch.tensor([[[2 * math.sin(flip) ** 2, 0.0]]]),
        sharpness=torch.ones(1, 1),
    )
    spamm = math.cos(flip) ** 2 - math.sin(flip) ** 2 * torch.cos(2 * math.pi * x / spacing)
    torch.testing.assert_close(tags[0], spamm, atol=2e-5, rtol=0)


@pytest.mark.parametrize(("spacing_mm", "angle_deg"), [(4.5, 45.0), (6.0, 20.0), (8.0, 0.0), (10.0, 70.0)])
def test_tag_spacing_and_angle_by_fourier_peak(spacing_mm: float, angle_deg: float) -> None:
    scene = stack_scenes([quiet_scene(spacing_mm=spacing_mm, angle_deg=angle_deg, lines=True)])
    image = render(scene, square_view(100.0, 200), [0]).frames[0, 0].numpy().astype(float)
    window = np.outer(np.hanning(200), np.hanning(200))
    n = 2048
    spectrum = np.abs(np.fft.fftshift(np.fft.fft2((image - image.mean()) * window, (n, n))))
    frequency = np.fft.fftshift(np.fft.fftfreq(n, 0.5))
    fy, fx = np.meshgrid(frequency, frequency, indexing="ij")
    radius = np.hypot(fx, fy)
    spectrum[(radius < 0.07) | (fx < -1e-9)] = 0
    peak = np.unravel_index(spectrum.argmax(), spectrum.shape)
    assert 1 / radius[peak] == pytest.approx(spacing_mm, rel=0.01)
    assert math.degrees(math.atan2(fy[peak], fx[peak])) == pytest.approx(angle_deg, abs=1.0)


def test_rendered_wall_fades_as_the_signal_equation_says() -> None:
    scene = stack_scenes([quiet_scene(still=True, plain_blood=True)])
    cines = render(scene, square_view(80.0, 160))
    signal = cines.frames[0].double()
    # The wall, well away from blood and surroundings, so that the point spread stays inside it.
    y, x = torch.meshgrid(torch.arange(160), torch.arange(160), indexing="ij")
    radius_mm = torch.hypot(x - 79.5, y - 79.5) * 0.5
    wall = (radius_mm > 19) & (radius_mm < 25)
    tags = scene.tags
    rate = float(fading_rate_per_ms(tags.t1_ms[0, 6], tags.flip_angle_rad[0], tags.repetition_ms[0]))
    times = scene.acquisition.frame_times_ms[0].double()
    times = times - times[0]
    decay = torch.exp(-rate * times)
    # A + B exp(-rate t) for every pixel: any three frames fix the ratio of the differences.
    bright = (signal[0] - signal[10]).abs() > 0.2 * signal[0].mean()
    ratio = ((signal[0] - signal[5]) / (signal[0] - signal[10]))[wall & bright]
    expected = float((1 - decay[5]) / (1 - decay[10]))
    assert ratio.numel() > 500
    assert float(ratio.median()) == pytest.approx(expected, rel=0.01)
    assert float((ratio - expected).abs().quantile(0.9)) < 0.03


@pytest.mark.parametrize("sharpness", [0.7, 1.0, 1.9])
def test_mean_of_the_tags_is_that_of_their_pixels(sharpness: float) -> None:
    steps = (torch.arange(240) + 0.5) * 6.0 / 240
    places = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), dim=-1).reshape(1, -1, 2)
    depth, sharp = torch.tensor([[0.9, 0.6]]), torch.tensor([sharpness])
    zero = torch.zeros(1, 1)
    tags = tag_magnetization(places, zero + 6.0, zero, torch.zeros(1, 1, 2), depth[:, None], sharp[:, None])
    assert float(mean_tag_magnetization(depth[:, None], sharp[:, None])) == pytest.approx(float(tags.mean()), rel=1e-3)


@given(
    spacing_mm=st.floats(8, 20),
    angle_rad=st.floats(0, math.pi),
    phases_rad=st.tuples(st.floats(0, 6), st.floats(0, 6)),
    depths=st.tuples(st.floats(0.5, 1.25), st.sampled_from([0.0, 0.8])),
    sharpness=st.floats(0.7, 1.9),
)
@settings(max_examples=40, deadline=None)
def test_complementary_tags_are_images_subtracted_from_each_other(
    spacing_mm: float,
    angle_rad: float,
    phases_rad: tuple[float, float],
    depths: tuple[float, float],
    sharpness: float,
) -> None:
    """Two images with lines, four with a grid, their tags half a period apart along either direction."""
    places = torch.rand(1, 200, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 60
    depth = torch.tensor(depths, dtype=torch.float64).view(1, 1, 2)
    one = torch.ones(1, 1, dtype=torch.float64)

    def tagged(*shifted: int) -> torch.Tensor:
        phase = torch.tensor(phases_rad, dtype=torch.float64) + math.pi * torch.tensor(shifted, dtype=torch.float64)
        return tag_magnetization(places, spacing_mm * one, angle_rad * one, phase.view(1, 1, 2), depth, sharpness * one)

    expected = tagged(0, 0) - tagged(1, 0)
    if depths[1]:
        expected = expected - tagged(0, 1) + tagged(1, 1)
    phase = torch.tensor(phases_rad, dtype=torch.float64).view(1, 1, 2)
    found = complementary_magnetization(places, spacing_mm * one, angle_rad * one, phase, depth, sharpness * one)
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)


def test_complementary_tags_keep_their_contrast_and_lie_half_a_spacing_apart() -> None:
    scene = quiet_scene(spacing_mm=12.0, angle_deg=0.0, lines=True, still=True, plain_blood=True)
    scene = replace(scene, tags=replace(scene.tags, complementary=torch.tensor(1.0)))
    cines = render(stack_scenes([scene]), square_view(80.0, 160), [0, 10])
    y, x = torch.meshgrid(torch.arange(160), torch.arange(160), indexing="ij")
    heart = torch.hypot(x - 79.5, y - 79.5) * 0.5 < 27
    early, late = cines.frames[0].double()[:, heart]
    elapsed_ms = float(scene.acquisition.frame_times_ms[10] - scene.acquisition.frame_times_ms[0])
    tags = scene.tags
    rate = float(fading_rate_per_ms(tags.t1_ms[6], tags.flip_angle_rad, tags.repetition_ms))
    # In magnitude as all noise-free signal: darker by the same factor everywhere.
    torch.testing.assert_close(late, early * math.exp(-rate * elapsed_ms), atol=0.01 * float(early.max()), rtol=0)
    row = cines.frames[0, 0, 80, 30:130].double()
    spectrum = torch.fft.rfft(row - row.mean(), n=4096).abs()
    assert 0.5 * 4096 / int(spectrum.argmax()) == pytest.approx(6.0, rel=0.03)


def test_what_leaves_the_slice_turns_dark_between_complementary_tags() -> None:
    scene = _of_one_tissue()
    scene = replace(scene, tags=replace(scene.tags, spacing_mm=torch.tensor(8.0), complementary=torch.tensor(1.0)))
    cavity, wall = _levels(scene, (0.0, 11.0), (18.0, 27.0))
    assert cavity.mean() < 0.01 * wall.mean()


def test_complementary_tags_change_nothing_else_of_a_scene() -> None:
    plain, complementary = (sample_scenes(SimulatorConfig(complementary_probability=p), 3, seed=5) for p in (0.0, 1.0))
    for a, b in zip(plain, complementary, strict=True):
        assert float(a.tags.complementary) == 0
        assert float(b.tags.complementary) == 1
        # Between dark lines it is as far; the modulation that is tagged has twice the period.
        assert float(b.tags.spacing_mm) == 2 * float(a.tags.spacing_mm)
        as_plain = replace(b, tags=replace(b.tags, complementary=torch.zeros(()), spacing_mm=a.tags.spacing_mm))
        assert as_plain.to_record() == a.to_record()


def _levels(scene: Scene, *rings_mm: tuple[float, float]) -> list[torch.Tensor]:
    """Pixels between radii of a still heart of 15 to 30 mm, long after all that can leave the slice has left it."""
    scene = replace(scene, tags=replace(scene.tags, wash_out_ms=torch.tensor(1.0)))
    image = render(stack_scenes([scene]), square_view(80.0, 160), [2]).frames[0, 0].double()
    y, x = torch.meshgrid(torch.arange(160), torch.arange(160), indexing="ij")
    radius_mm = torch.hypot(x - 79.5, y - 79.5) * 0.5
    return [image[(radius_mm > inner) & (radius_mm < outer)] for inner, outer in rings_mm]


def _of_one_tissue() -> Scene:
    return quiet_scene(seed=4, spacing_mm=4.0, still=True, plain_blood=True)


@pytest.mark.parametrize("mixing", [0.0, 1.0])
def test_blood_tagged_elsewhere_is_as_bright_as_tags_are_in_the_mean(mixing: float) -> None:
    scene = _of_one_tissue()
    cavity, wall = _levels(
        replace(scene, tags=replace(scene.tags, blood_mixing=torch.tensor(mixing))), (0.0, 11.0), (18.0, 27.0)
    )
    assert cavity.std() < 0.02 * cavity.mean()
    expected = wall.mean() if mixing else wall.max()
    assert float(cavity.mean()) == pytest.approx(float(expected), rel=0.03)


def test_inside_of_the_wall_can_lose_its_tags() -> None:
    scene = _of_one_tissue()
    anatomy = replace(scene.anatomy, exchange_depth=torch.tensor(0.5), exchange_share=torch.tensor(2.0))
    lost, kept = _levels(replace(scene, anatomy=anatomy), (16.0, 18.0), (24.0, 28.0))
    assert lost.std() < 0.1 * kept.std()
    assert float(lost.mean()) == pytest.approx(float(kept.mean()), rel=0.05)
    (inside,) = _levels(scene, (16.0, 18.0))
    assert inside.std() > 0.7 * kept.std()


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_tissue_is_as_bright_in_the_mean_however_many_tags_it_lost(share: float) -> None:
    scene = _of_one_tissue()
    anatomy = replace(scene.anatomy, exchange_depth=torch.tensor(1e6), exchange_share=torch.tensor(share))
    (before,), (after,) = _levels(scene, (18.0, 27.0)), _levels(replace(scene, anatomy=anatomy), (18.0, 27.0))
    assert float(after.mean()) == pytest.approx(float(before.mean()), rel=0.02)
    assert after.std() < (1 - 0.5 * share) * before.std()


def test_blood_may_come_in_the_place_of_muscle() -> None:
    """As bright as fresh blood where all of the layer's place is taken by it."""
    scene = _of_one_tissue()
    tags = replace(scene.tags, inflow=torch.tensor(0.7))
    layer = {"exchange_depth": torch.tensor(0.5), "exchange_share": torch.tensor(2.0)}
    levels = []
    for blood in (0.0, 0.5, 1.0):
        anatomy = replace(scene.anatomy, **layer, exchange_blood=torch.tensor(blood))
        inside, cavity = _levels(replace(scene, tags=tags, anatomy=anatomy), (16.0, 18.0), (0.0, 11.0))
        levels.append(float(inside.mean() / cavity.mean()))
    assert levels[0] < 0.9 * levels[1] < 0.9 * levels[2]
    assert levels[2] == pytest.approx(1.0, abs=0.03)
