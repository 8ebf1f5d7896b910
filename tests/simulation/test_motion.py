"""The motion maps against closed forms and against each other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from tests.simulation.scenes import quiet_scene, square_view

from tagstrain.simulation.config import PRESETS, SimulatorConfig
from tagstrain.simulation.dataset import sample_study
from tagstrain.simulation.motion import HeartMotion
from tagstrain.simulation.render import ed_landmarks_mm, motion_times_ms
from tagstrain.simulation.scene import Scene, sample_scenes, stack_scenes
from tagstrain.training.examples import FRAME_INTERVAL_MS, real_hearts

SQUEEZED = SimulatorConfig(inner_loss=(0.0, 0.85), inner_loss_extent=(0.1, 1.0))


@pytest.fixture(scope="module")
def scenes() -> Scene:
    return stack_scenes(sample_scenes(SQUEEZED, 24, seed=5))


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


def test_dense_field_agrees_with_the_tracks() -> None:
    """The field on a 0.5 mm grid, interpolated at the landmarks, against the landmarks' own trajectories."""
    n_scenes = 8
    scenes = stack_scenes(sample_scenes(SQUEEZED, n_scenes, seed=5))
    motion, times = HeartMotion(scenes), motion_times_ms(scenes)[:, 8:9]
    landmarks = ed_landmarks_mm(scenes)[:, :, 1:-1].flatten(1, 2)  # the field has a kink on the two contours
    tracks = motion.forward(landmarks, times)[:, 0]
    n, side = 200, 100.0
    grid_mm = square_view(side, n, n_scenes).grid_mm()
    field = motion.forward(grid_mm.flatten(1, 2), times)[:, 0].view_as(grid_mm)
    for k in range(n_scenes):
        inside = landmarks[k].abs().amax(dim=-1) < 48
        nodes = (landmarks[k][inside].double().numpy() + side / 2) * n / side - 0.5
        at = [map_coordinates(field[k, ..., axis].double().numpy(), nodes.T[::-1]) for axis in (0, 1)]
        error = np.linalg.norm(np.stack(at, axis=-1) - tracks[k][inside].double().numpy(), axis=-1)
        assert np.median(error) < 0.003
        assert np.quantile(error, 0.95) < 0.01


@pytest.mark.parametrize(("inner_loss", "extent"), [(0.0, 1.0), (0.3, 1.0), (0.6, 0.5), (0.6, 0.2)])
def test_wall_loses_the_area_it_should(inner_loss: float, extent: float) -> None:
    """det F = 1 in the wall when contraction and twist alone move it, unless the inside is to lose more of its area."""
    scene = quiet_scene(seed=3)
    zero = torch.tensor(0.0)
    motion = replace(
        scene.motion,
        area_loss=zero,
        inner_loss=torch.tensor(inner_loss),
        inner_loss_extent=torch.tensor(extent),
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
    steepness = inner_loss * float(heart.contraction(torch.tensor([[300.0]]))) / (1 - extent / 2)
    lost = steepness * (max(0.0, 1 - share / extent) - extent / 2)
    torch.testing.assert_close(area, torch.full((40,), 1 - lost), atol=2e-3, rtol=0)


@pytest.mark.parametrize(("inner_loss", "extent"), [(0.0, 1.0), (0.3, 1.0), (0.6, 0.2)])
def test_midwall_shortens_by_what_was_asked(inner_loss: float, extent: float) -> None:
    scene = quiet_scene(seed=1)
    zero = torch.tensor(0.0)
    motion = replace(
        scene.motion,
        delay_ms=zero,
        inner_loss=torch.tensor(inner_loss),
        inner_loss_extent=torch.tensor(extent),
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


@pytest.mark.parametrize("extent", [(0.0, 0.5), (0.5, 1.1)])
def test_what_is_squeezed_is_a_share_of_the_wall(extent: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="inner_loss_extent"):
        SimulatorConfig(inner_loss_extent=extent)


def test_share_of_hearts_is_solid() -> None:
    config = SimulatorConfig(
        inner_loss=(0.2, 0.6), exchange_depth=(0.1, 0.5), exchange_share=(0.3, 1.5), solid_wall_probability=0.4
    )
    scenes = stack_scenes(sample_scenes(config, 200, seed=3))
    solid = scenes.motion.inner_loss == 0
    assert torch.equal(solid, scenes.anatomy.exchange_share == 0)
    assert 0.28 < float(solid.float().mean()) < 0.52


def test_inside_of_the_wall_leaves_all_else_as_it_is() -> None:
    """Hearts, and whatever is drawn after them, are those of the simulator before it knew of such walls."""
    scene = sample_scenes(SimulatorConfig(), 2, seed=3)[1]
    assert int(scene.seed) == 4610638100631597039
    assert float(scene.acquisition.snr) == pytest.approx(10.630396842956543)
    study = sample_study(PRESETS["ukb"], 3)
    assert [int(each.seed) for each in study] == [2887794924632463578, 3598785176091067342, 1450493478909716550]
    spongy = real_hearts(SimulatorConfig(frame_interval_ms=FRAME_INTERVAL_MS))
    plain = SimulatorConfig(frame_interval_ms=FRAME_INTERVAL_MS, inner_loss=spongy.inner_loss)
    a, b = (sample_study(config, 5)[2].to_record() for config in (plain, spongy))
    inside = {"inner_loss", "inner_loss_extent", "blood_mixing", "exchange_depth", "exchange_share", "exchange_blood"}
    for part in ("motion", "tags", "acquisition", "anatomy"):
        assert {key for key in a[part] if a[part][key] != b[part][key]} <= inside
    assert b["tags"]["blood_mixing"] > a["tags"]["blood_mixing"] == 0
    assert a["seed"] == b["seed"]


@pytest.mark.parametrize(
    ("ranges", "named"),
    [
        ({"exchange_depth": (0.1, 1.2)}, "exchange_depth"),
        ({"exchange_blood": (-0.1, 0.2)}, "exchange_blood"),
        ({"blood_mixing": (0.0, 1.1)}, "blood_mixing"),
        ({"exchange_share": (0.0, 1.0)}, "exchange_share"),
    ],
)
def test_ranges_of_the_inside_of_the_wall_are_checked(ranges: dict[str, tuple[float, float]], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        SimulatorConfig(**ranges)  # type: ignore[arg-type]


@pytest.mark.parametrize("shortening", [0.0, 0.02])
def test_wall_that_does_not_contract_is_not_squeezed(shortening: float) -> None:
    scene = quiet_scene(seed=3, still=True)
    motion = replace(
        scene.motion,
        inner_loss=torch.tensor(0.7),
        inner_loss_extent=torch.tensor(0.5),
        midwall_shortening=torch.tensor(shortening),
        regional_amplitude=torch.zeros(3),
        delay_ms=torch.tensor(0.0),
    )
    endo = torch.tensor([[[15.0, 0.0]]])
    heart = HeartMotion(stack_scenes([replace(scene, motion=motion)]))
    moved = heart.forward(endo, scene.motion.es_time_ms.view(1, 1))
    assert float(moved.norm()) < 15.0 * (1 + 0.5 * shortening) + 1e-3
