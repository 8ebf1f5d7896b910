"""The motion maps against closed forms and against each other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.interpolate import RegularGridInterpolator
from tests.simulation.scenes import quiet_scene, square_view

from tagstrain.simulation.config import SimulatorConfig
from tagstrain.simulation.motion import HeartMotion
from tagstrain.simulation.render import ed_landmarks_mm, motion_times_ms
from tagstrain.simulation.scene import Scene, sample_scenes, stack_scenes


@pytest.fixture(scope="module")
def scenes() -> Scene:
    return stack_scenes(sample_scenes(SimulatorConfig(inner_loss=(0.0, 0.35)), 24, seed=5))


def test_landmarks_return_to_ed_through_the_backward_map(scenes: Scene) -> None:
    motion, times = HeartMotion(scenes), motion_times_ms(scenes)
    landmarks = ed_landmarks_mm(scenes).flatten(1, 2)
    tracks = motion.forward(landmarks, times)
    for frame in range(times.shape[1]):
        back = motion.backward(tracks[:, frame], times[:, frame : frame + 1])
        assert float((back - landmarks).norm(dim=-1).max()) < 1e-3


def test_nothing_has_moved_at_ed(scenes: Scene) -> None:
    points = square_view(90.0, 24, 24).grid_mm().reshape(24, -1, 2)
    still = HeartMotion(scenes).forward(points, torch.zeros(24, 1))[:, 0]
    torch.testing.assert_close(still, points, atol=1e-4, rtol=0)


def test_dense_field_agrees_with_the_tracks(scenes: Scene) -> None:
    """The field on a 0.5 mm grid, interpolated at the landmarks, against the landmarks' own trajectories."""
    motion, times = HeartMotion(scenes), motion_times_ms(scenes)[:, 8:9]
    landmarks = ed_landmarks_mm(scenes)[:, :, 1:-1].flatten(1, 2)  # the field has a kink on the two contours
    tracks = motion.forward(landmarks, times)[:, 0]
    n, side = 200, 100.0
    field = motion.forward(square_view(side, n, 24).grid_mm().reshape(24, -1, 2), times)[:, 0].reshape(24, n, n, 2)
    axis = (np.arange(n) + 0.5) * side / n - side / 2
    for k in range(24):
        grid = RegularGridInterpolator((axis, axis), field[k].double().numpy(), method="cubic")
        inside = landmarks[k].abs().amax(dim=-1) < 48
        at = grid(landmarks[k][inside].flip(-1).double().numpy())
        error = np.linalg.norm(at - tracks[k][inside].double().numpy(), axis=-1)
        assert np.median(error) < 0.003
        assert np.quantile(error, 0.95) < 0.01


@pytest.mark.parametrize("inner_loss", [0.0, 0.3])
def test_wall_loses_the_area_it_should(inner_loss: float) -> None:
    """det F = 1 in the wall when contraction and twist alone move it, unless the inside is to lose more of its area."""
    scene = quiet_scene(seed=3)
    zero = torch.tensor(0.0)
    motion = replace(
        scene.motion,
        area_loss=zero,
        inner_loss=torch.tensor(inner_loss),
        delay_ms=zero,
        infarct_depth=zero,
        regional_amplitude=torch.zeros(3),
        midwall_shortening=torch.tensor(0.2),
        bulk_mm=torch.zeros(2),
        bulk_swing_mm=torch.zeros(3, 2),
        wave_amplitude_mm=torch.zeros_like(scene.motion.wave_amplitude_mm),
    )
    heart = HeartMotion(stack_scenes([replace(scene, motion=motion)]))
    angle = torch.linspace(0, 6, 40)
    center = 22.0 * torch.stack([torch.cos(angle), torch.sin(angle)], dim=-1)
    step = 0.05
    offsets = torch.tensor([[step, 0.0], [-step, 0.0], [0.0, step], [0.0, -step]])
    moved = heart.forward((center[:, None] + offsets).reshape(1, -1, 2), torch.tensor([[300.0]]))
    moved = moved.reshape(40, 4, 2)
    dx, dy = (moved[:, 0] - moved[:, 1]) / (2 * step), (moved[:, 2] - moved[:, 3]) / (2 * step)
    area = dx[:, 0] * dy[:, 1] - dx[:, 1] * dy[:, 0]
    endo_mm, epi_mm = 15.0, 30.0
    share = (22.0**2 - endo_mm**2) / (epi_mm**2 - endo_mm**2)
    lost = inner_loss * float(heart.contraction(torch.tensor([[300.0]]))) * (1 - 2 * share)
    torch.testing.assert_close(area, torch.full((40,), 1 - lost), atol=2e-3, rtol=0)


@pytest.mark.parametrize("inner_loss", [0.0, 0.3])
def test_midwall_shortens_by_what_was_asked(inner_loss: float) -> None:
    scene = quiet_scene(seed=1)
    zero = torch.tensor(0.0)
    motion = replace(
        scene.motion,
        delay_ms=zero,
        inner_loss=torch.tensor(inner_loss),
        infarct_depth=zero,
        regional_amplitude=torch.zeros(3),
        midwall_shortening=torch.tensor(0.18),
        twist_rad=zero,
        twist_gradient_rad=zero,
        bulk_mm=torch.zeros(2),
        bulk_swing_mm=torch.zeros(3, 2),
        wave_amplitude_mm=torch.zeros_like(scene.motion.wave_amplitude_mm),
    )
    heart = HeartMotion(stack_scenes([replace(scene, motion=motion)]))
    midwall = torch.tensor([[[22.5, 0.0]]])
    at_es = heart.forward(midwall, scene.motion.es_time_ms.view(1, 1))
    assert float(at_es.norm()) == pytest.approx(22.5 * (1 - 0.18), rel=1e-4)


@pytest.mark.parametrize("inner_loss", [(-0.1, 0.2), (0.0, 1.0)])
def test_layer_cannot_lose_all_of_its_area(inner_loss: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="inner_loss"):
        SimulatorConfig(inner_loss=inner_loss)
