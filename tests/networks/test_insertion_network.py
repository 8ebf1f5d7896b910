"""The insertion network turns with the image; its polar view and angles against closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from tagstrain.networks.insertion import (
    N_ANGLES,
    N_RADII,
    RADII,
    InsertionNet,
    along_rays,
    contour_radius_px,
    mean_direction_rad,
    probability_within,
    ray_angles_rad,
    upright_channels,
)
from tagstrain.networks.placer import N_ROTATION_CHANNELS, N_VECTOR_CHANNELS, PLACER_CHANNELS
from tagstrain.networks.symmetry import N_SYMMETRIES, turn_images, turn_points

NODES, SIZE = 64, 128


def circle_px(center: tuple[float, float] = (60.0, 66.0), radius: float = 26.0, n: int = 24) -> torch.Tensor:
    angle = 2 * math.pi * torch.arange(n) / n
    return torch.tensor(center) + radius * torch.stack([torch.cos(angle), torch.sin(angle)], dim=-1)


def nodes_px() -> tuple[torch.Tensor, torch.Tensor]:
    steps = 2 * torch.arange(NODES) + 0.5
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    return x, y


def smooth_channels(seed: int = 0) -> torch.Tensor:
    coarse = torch.randn(1, PLACER_CHANNELS, 6, 6, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, size=(NODES, NODES), mode="bicubic", align_corners=False)


def turned(channels: torch.Tensor, symmetry: int) -> torch.Tensor:
    """The channels that a turned image would have."""
    images = turn_images(channels, symmetry).clone()
    x = images[:, 0:N_VECTOR_CHANNELS:2] * (-1 if symmetry & 1 else 1)
    y = images[:, 1:N_VECTOR_CHANNELS:2] * (-1 if symmetry & 2 else 1)
    images[:, 0:N_VECTOR_CHANNELS:2], images[:, 1:N_VECTOR_CHANNELS:2] = (y, x) if symmetry & 4 else (x, y)
    if symmetry.bit_count() % 2:
        images[:, N_VECTOR_CHANNELS : N_VECTOR_CHANNELS + N_ROTATION_CHANNELS] *= -1
    return images


@pytest.mark.parametrize("symmetry", range(N_SYMMETRIES))
def test_turned_views_are_set_upright(symmetry: int) -> None:
    channels = smooth_channels()
    torch.testing.assert_close(upright_channels(turned(channels, symmetry), symmetry), channels)


def test_rays_run_through_the_wall_and_part_vectors() -> None:
    x, y = nodes_px()
    channels = torch.zeros(1, PLACER_CHANNELS, NODES, NODES)
    channels[0, 0], channels[0, 1] = x - 60, y - 66  # outwards
    channels[0, 2], channels[0, 3] = -(y - 66), x - 60  # around, towards larger angles
    channels[0, -1] = torch.hypot(x - 60, y - 66)
    rays = along_rays(channels, circle_px()[None])
    assert rays.shape == (1, PLACER_CHANNELS + 1, N_RADII, N_ANGLES)
    radius = 26 * torch.linspace(*RADII, N_RADII)[:, None].expand(-1, N_ANGLES)
    outward, none, around = rays[0, 0], rays[0, 1], rays[0, 4]
    torch.testing.assert_close(outward, radius, atol=0.02, rtol=0)
    torch.testing.assert_close(around, radius, atol=0.02, rtol=0)
    torch.testing.assert_close(none, torch.zeros_like(none), atol=0.02, rtol=0)
    torch.testing.assert_close(rays[0, -2], radius, atol=0.1, rtol=0)


def test_rays_know_where_the_crop_ends() -> None:
    rays = along_rays(smooth_channels(), circle_px((127.0, 63.5))[None])
    inside = rays[0, -1]
    assert inside[:, 0].max() == 0
    assert inside[:, N_ANGLES // 2].min() == 1


def test_answer_turns_with_the_image() -> None:
    torch.manual_seed(0)
    network = InsertionNet().eval()
    channels, wall = smooth_channels(), circle_px()
    with torch.inference_mode():
        upright = network(channels, wall[None])
        # Symmetry 6 swaps the axes after mirroring y: a quarter of a turn.
        quarter = network(turned(channels, 6), turn_points(wall, 6, SIZE)[None])
    where = turn_points(torch.tensor([[60.0, 66.0], [70.0, 66.0]]), 6, SIZE)
    direction = where[1] - where[0]
    shift = round(float(torch.atan2(direction[1], direction[0])) / (2 * math.pi) * N_ANGLES)
    assert abs(shift) == N_ANGLES // 4
    torch.testing.assert_close(quarter.insertions, upright.insertions.roll(shift, dims=-1), atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(quarter.presence, upright.presence, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("order", ["forward", "backward", "started elsewhere"])
def test_radius_of_an_ellipse_whatever_the_order_of_its_points(order: str) -> None:
    angle = 2 * math.pi * torch.arange(240) / 240
    contour = torch.stack([30 * torch.cos(angle), 20 * torch.sin(angle)], dim=-1)
    contour = {"forward": contour, "backward": contour.flip(0), "started elsewhere": contour.roll(77, 0)}[order]
    rays = ray_angles_rad()
    expected = 600 / torch.hypot(20 * torch.cos(rays), 30 * torch.sin(rays))
    torch.testing.assert_close(contour_radius_px(contour[None], rays)[0], expected, atol=0.01, rtol=0)


def test_distributions_have_the_direction_and_spread_of_a_von_mises() -> None:
    angles = torch.tensor([-3.0, 0.2, 3.1])
    spread = math.radians(10)
    logits = torch.cos(ray_angles_rad() - angles[:, None]) / spread**2
    probability = logits.softmax(dim=-1)
    torch.testing.assert_close(mean_direction_rad(probability), angles, atol=1e-4, rtol=0)
    within = probability_within(probability, angles, math.radians(15))
    assert within.tolist() == pytest.approx([math.erf(1.5 / math.sqrt(2))] * 3, abs=0.12)  # rays are 5 degrees apart
