"""What networks see does not depend on scanner scaling, and keeps tags visible as they fade."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from tagstrain.networks.preprocessing import (
    LOCALIZER_FRAMES,
    blur,
    landmark_input,
    localizer_channels,
    localizer_frame_indices,
    locally_normalized,
    standardized,
)
from tagstrain.networks.symmetry import (
    N_SYMMETRIES,
    turn_boxes,
    turn_images,
    turn_points,
    turn_spokes,
    unturn_boxes,
    unturn_images,
    unturn_points,
)


@pytest.mark.parametrize("grey", [0.0, 0.1, 100.0, 4095.0])
def test_an_image_without_contrast_has_none(grey: float) -> None:
    frames = torch.full((1, 3, 32, 32), grey)
    frames[0, :, 10:20] *= 1 + 2e-7  # as resampling rounds
    assert standardized(frames).abs().max() < 0.1


@pytest.mark.parametrize(("gain", "offset"), [(1.0, 0.0), (37.0, 0.0), (0.02, 5.0)])
def test_gain_and_offset_do_not_matter(gain: float, offset: float) -> None:
    frames = torch.rand(1, 4, 128, 128, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(landmark_input(frames), landmark_input(frames * gain + offset), atol=2e-3, rtol=0)


def test_faded_tags_keep_their_contrast() -> None:
    x = torch.arange(128.0)
    tags = torch.sin(2 * torch.pi * x / 8).expand(128, 128)
    frames = torch.stack([2 + tags, 2 + 0.4 * tags])[None]
    out = locally_normalized(standardized(frames), width_px=8.0, floor=0.05)[0, :, 32:-32, 32:-32]
    assert float(out[1].std() / out[0].std()) > 0.95


def test_pixels_outside_the_image_do_not_count() -> None:
    frames = torch.rand(1, 3, 64, 64)
    valid = torch.ones(1, 64, 64, dtype=torch.bool)
    valid[:, :, 40:] = False
    spoiled = frames.clone()
    spoiled[..., 40:] = 1e4
    torch.testing.assert_close(standardized(frames, valid), standardized(spoiled, valid))
    assert float(standardized(spoiled, valid)[..., 40:].abs().max()) == 0


def test_movement_channel_lights_up_where_the_pattern_moves() -> None:
    y, x = torch.meshgrid(torch.arange(256.0), torch.arange(256.0), indexing="ij")
    heart = (torch.hypot(x - 90, y - 150) < 25).float()
    frames = []
    for t in range(LOCALIZER_FRAMES):
        tags = 1.5 + torch.sin(2 * torch.pi * (x + 2.2 * t * heart) / 9) * torch.exp(torch.tensor(-0.1 * t))
        frames.append(tags)
    movement = localizer_channels(torch.stack(frames)[None])[0, 1]
    peak = int(movement.argmax())
    assert abs(peak % 256 - 90) < 25
    assert abs(peak // 256 - 150) < 25
    assert float(movement[heart > 0].mean()) > 2


@given(st.integers(2, 60))
def test_localizer_looks_at_first_and_last_frame(n_frames: int) -> None:
    indices = localizer_frame_indices(n_frames)
    assert len(indices) == LOCALIZER_FRAMES
    assert (indices[0], indices[-1]) == (0, n_frames - 1)
    assert indices == sorted(indices)


@settings(deadline=None)
@given(symmetry=st.integers(0, N_SYMMETRIES - 1), x=st.integers(0, 15), y=st.integers(0, 15))
def test_points_move_with_the_image(symmetry: int, x: int, y: int) -> None:
    image = torch.zeros(16, 16)
    image[y, x] = 1
    point = turn_points(torch.tensor([float(x), float(y)]), symmetry, 16)
    assert turn_images(image, symmetry)[int(point[1]), int(point[0])] == 1
    assert unturn_points(point, symmetry, 16).tolist() == [x, y]
    assert torch.equal(unturn_images(turn_images(image, symmetry), symmetry), image)


@pytest.mark.parametrize("symmetry", range(N_SYMMETRIES))
def test_turned_landmarks_still_start_at_plus_x_and_turn_towards_plus_y(symmetry: int) -> None:
    angle = 2 * torch.pi * torch.arange(24) / 24
    grid = 63.5 + torch.arange(10.0, 17.0)[None, :, None] * torch.stack([angle.cos(), angle.sin()], dim=-1)[:, None]
    turned = turn_spokes(turn_points(grid, symmetry, 128), symmetry)
    torch.testing.assert_close(turned, grid, atol=1e-4, rtol=0)


@pytest.mark.parametrize("symmetry", range(N_SYMMETRIES))
def test_boxes_turn_and_return_in_order(symmetry: int) -> None:
    box = torch.tensor([[10.0, 20.0, 40.0, 90.0]])
    turned = turn_boxes(box, symmetry, 128)
    assert bool((turned[:, 2:] > turned[:, :2]).all())
    torch.testing.assert_close(unturn_boxes(turned, symmetry, 128), box)


@pytest.mark.parametrize("width_px", [0.4, 1.5, 4.0])
def test_blur_is_a_gaussian_whose_edges_repeat(width_px: float) -> None:
    images = np.random.default_rng(0).standard_normal((2, 3, 20, 33)).astype(np.float32)
    radius = max(1, int(2.5 * width_px))
    expected = gaussian_filter(images, width_px, axes=(2, 3), radius=radius, mode="nearest")
    np.testing.assert_allclose(blur(torch.from_numpy(images), width_px).numpy(), expected, atol=1e-5)
