"""The placer's channels against closed-form motion, and its contours against shapes that are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tagstrain.geometry.polygon import area_centroid
from tagstrain.networks.flow import FIELD_STRIDE, Flow
from tagstrain.networks.placer import (
    CAVITY,
    HEART,
    N_MOMENTS,
    N_ROTATION_CHANNELS,
    N_VECTOR_CHANNELS,
    PLACER_CHANNELS,
    PlacerNet,
    area_and_centroid,
    contours_of,
    placer_channels,
)
from tagstrain.networks.symmetry import turn_images

SIZE, N_FRAMES = 128, 8
NODES = SIZE // FIELD_STRIDE


def nodes_px() -> tuple[torch.Tensor, torch.Tensor]:
    steps = FIELD_STRIDE * torch.arange(NODES) + (FIELD_STRIDE - 1) / 2
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    return x - (SIZE - 1) / 2, y - (SIZE - 1) / 2


def affine_flow(gradient: torch.Tensor) -> Flow:
    """Motion that grows to ``(1 + gradient) x`` in the sixth frame and half goes back."""
    x, y = nodes_px()
    course = torch.tensor([0, 0.2, 0.4, 0.6, 0.8, 1.0, 0.7, 0.5]).view(-1, 1, 1, 1)
    motion = torch.stack([gradient[0, 0] * x + gradient[0, 1] * y, gradient[1, 0] * x + gradient[1, 1] * y])
    return Flow((course * motion)[None], torch.full((1, N_FRAMES, NODES, NODES), -1.0))


def noise() -> torch.Tensor:
    return torch.randn(1, N_FRAMES, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


def test_strain_channels_equal_closed_form() -> None:
    # Rotation by `angle` after stretching x by 1.1 and y by 0.8.
    angle = 0.15
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    gradient = turn @ torch.diag(torch.tensor([1.1, 0.8])) - torch.eye(2)
    channels = placer_channels(noise(), affine_flow(gradient))
    assert channels.shape == (1, PLACER_CHANNELS, NODES, NODES)
    middle = channels[0, :, NODES // 2, NODES // 2]
    first = N_VECTOR_CHANNELS + N_ROTATION_CHANNELS
    rotation = middle[N_VECTOR_CHANNELS]
    area, longest, shortest = middle[first], middle[first + N_MOMENTS], middle[first + 2 * N_MOMENTS]
    for value, expected in ((rotation, angle), (area, 1.1 * 0.8 - 1), (longest, 0.1), (shortest, -0.2)):
        assert float(value) / 3 == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("symmetry", [1, 2, 3, 4, 7])
def test_channels_turn_with_the_image(symmetry: int) -> None:
    generator = torch.Generator().manual_seed(4)
    coarse = torch.randn(N_FRAMES * 2, 1, 4, 4, generator=generator) * 3
    smooth = torch.nn.functional.interpolate(coarse, size=(NODES, NODES), mode="bicubic", align_corners=False)
    motion = smooth.view(1, N_FRAMES, 2, NODES, NODES)
    motion[:, 0] = 0
    spread = torch.randn(1, N_FRAMES, NODES, NODES, generator=generator)
    upright = placer_channels(noise(), Flow(motion, spread))
    x, y = turn_images(motion, symmetry).unbind(dim=2)
    x, y = (-x if symmetry & 1 else x), (-y if symmetry & 2 else y)
    turned_motion = torch.stack([y, x] if symmetry & 4 else [x, y], dim=2)
    turned = placer_channels(turn_images(noise(), symmetry), Flow(turned_motion, turn_images(spread, symmetry)))
    expected = turn_images(upright, symmetry).clone()
    mirrored = bool(symmetry & 1) ^ bool(symmetry & 2) ^ bool(symmetry & 4)
    rotations = slice(N_VECTOR_CHANNELS, N_VECTOR_CHANNELS + N_ROTATION_CHANNELS)
    if mirrored:
        expected[:, rotations] *= -1
    # Away from the rim, where images end at different sides of the pixels that are carried back.
    inner = (..., slice(8, -8), slice(8, -8))
    scalars = slice(N_VECTOR_CHANNELS, None)
    torch.testing.assert_close(turned[:, scalars][inner], expected[:, scalars][inner], atol=2e-2, rtol=0)


@pytest.mark.parametrize(("center", "radii"), [((63.5, 63.5), (15.0, 30.0)), ((52.0, 71.0), (8.0, 24.5))])
def test_contours_of_circles(center: tuple[float, float], radii: tuple[float, float]) -> None:
    x, y = nodes_px()
    distance = torch.hypot(x + 63.5 - center[0], y + 63.5 - center[1])
    logits = torch.stack([2 * (radius - distance) for radius in radii])[None]
    contours = contours_of(logits, 24).points_px
    offset = contours[0] - torch.tensor(center)
    for index, radius in ((CAVITY, radii[0]), (HEART, radii[1])):
        torch.testing.assert_close(offset[index].norm(dim=-1), torch.full((24,), radius), atol=0.25, rtol=0)
    assert float(offset[HEART, 0, 0]) > 0
    assert abs(float(offset[HEART, 0, 1])) < 0.2
    assert float(offset[HEART, 6, 1]) > 0


@pytest.mark.parametrize("blur_px", [2.0, 4.0])
def test_spread_of_a_border_is_that_of_the_map_it_is_read_from(blur_px: float) -> None:
    x, y = nodes_px()
    distance = torch.hypot(x, y)
    # The logistic function of a border at 20 or 36 px: its standard deviation is pi / sqrt(3) times its scale.
    logits = torch.stack([math.pi / math.sqrt(3) / blur_px * (radius - distance) for radius in (20.0, 36.0)])[None]
    spread = contours_of(logits, 24).spread_px
    torch.testing.assert_close(spread, torch.full((1, 2, 24), blur_px), atol=0.1 * blur_px, rtol=0)


def test_contours_of_an_ellipse_follow_it() -> None:
    x, y = nodes_px()
    logits = torch.stack([40 * (1 - torch.hypot(x / a, y / b)) for a, b in ((14, 10), (34, 26))])[None]
    points = contours_of(logits, 24).points_px[0, HEART] - 63.5
    torch.testing.assert_close(torch.hypot(points[:, 0] / 34, points[:, 1] / 26), torch.ones(24), atol=0.02, rtol=0)


def test_cavity_stays_inside_the_heart_whatever_the_maps_say() -> None:
    logits = torch.randn(3, 2, NODES, NODES, generator=torch.Generator().manual_seed(9))
    points = contours_of(logits, 24).points_px
    center = points[:, HEART].mean(dim=1, keepdim=True)
    radius = (points - center[:, None]).norm(dim=-1)
    assert bool(torch.isfinite(points).all())
    assert bool((radius[:, HEART].mean(dim=-1) > radius[:, CAVITY].mean(dim=-1)).all())


def test_network_answers_on_the_field_of_the_tracker() -> None:
    assert PlacerNet()(torch.zeros(2, PLACER_CHANNELS, NODES, NODES)).shape == (2, 2, NODES, NODES)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000), backwards=st.booleans())
def test_area_and_centroid_are_those_of_the_geometry_in_numpy(seed: int, backwards: bool) -> None:
    rng = np.random.default_rng(seed)
    angle = 2 * np.pi * np.arange(24) / 24
    radius = rng.uniform(0.5, 40) * (1 + 0.2 * rng.uniform(-1, 1, 24))
    ring = rng.uniform(-200, 200, 2) + radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    polygon = torch.from_numpy(ring[::-1].copy() if backwards else ring).float()
    area, centroid = area_and_centroid(polygon[None])
    np.testing.assert_allclose(centroid[0], area_centroid(ring), atol=1e-3)
    triangles = radius * np.roll(radius, -1) * np.sin(2 * np.pi / 24) / 2
    assert float(area[0]) == pytest.approx((-1 if backwards else 1) * triangles.sum(), rel=1e-3)
