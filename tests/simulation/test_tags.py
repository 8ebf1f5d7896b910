"""Tag physics against the pulse sequence played out step by step, and against Fourier analysis of the image."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.simulation.scenes import quiet_scene, square_view

from tagstrain.simulation.render import render
from tagstrain.simulation.scene import stack_scenes
from tagstrain.simulation.tags import faded, fading_rate_per_ms, steady_state, tag_magnetization


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
