"""Rendered images against noise statistics, against their own truth, and for reproducibility."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from tests.simulation.scenes import quiet_scene, square_view

from tagstrain.data import PixelSpacing, TaggedCine
from tagstrain.inference.harp import HarpTracker
from tagstrain.simulation.config import PRESETS, SimulatorConfig
from tagstrain.simulation.render import full_view, render
from tagstrain.simulation.scene import Scene, sample_scenes, stack_scenes


@pytest.mark.parametrize("snr", [8.0, 25.0])
def test_noise_has_the_asked_level(snr: float) -> None:
    """In air the magnitude is Rayleigh with mean sd sqrt(pi / 2), whatever the scaling of the image."""
    view = square_view(500.0, 256)
    noisy = render(stack_scenes([quiet_scene(snr=snr)]), view, [0]).frames[0, 0]
    clean = render(stack_scenes([quiet_scene()]), view, [0]).frames[0, 0]
    air = clean < 1e-3 * clean.max()
    y, x = torch.meshgrid(torch.arange(256), torch.arange(256), indexing="ij")
    radius_mm = torch.hypot(x - 127.5, y - 127.5) * 500 / 256
    wall = (radius_mm > 15) & (radius_mm < 30)
    assert int(air.sum()) > 5000
    noise_sd = float(noisy[air].mean()) / math.sqrt(math.pi / 2)
    scale = float(noisy[wall].mean() / clean[wall].mean())
    assert float(clean[wall].mean()) * scale / noise_sd == pytest.approx(snr, rel=0.05)


def test_same_scene_same_bytes_in_any_batch() -> None:
    scenes = sample_scenes(SimulatorConfig(n_frames=3), 3, seed=11)
    together = render(stack_scenes(scenes), square_view(90.0, 64, 3)).frames
    again = render(stack_scenes(scenes), square_view(90.0, 64, 3)).frames
    alone = render(stack_scenes(scenes[1:2]), square_view(90.0, 64)).frames
    assert torch.equal(together, again)
    torch.testing.assert_close(together[1], alone[0], atol=1e-3 * float(alone.max()), rtol=0)


def test_scene_survives_its_json_record() -> None:
    scene = sample_scenes(SimulatorConfig(n_frames=3), 1, seed=2)[0]
    replayed = Scene.from_record(json.loads(json.dumps(scene.to_record())))
    a, b = (render(stack_scenes([s]), square_view(90.0, 64)).frames for s in (scene, replayed))
    assert torch.equal(a, b)


def test_first_scenes_do_not_depend_on_how_many_are_drawn() -> None:
    few, many = (sample_scenes(SimulatorConfig(), n, seed=4) for n in (2, 5))
    assert few[1].to_record() == many[1].to_record()


@pytest.mark.parametrize("preset", list(PRESETS))
def test_every_preset_renders_finite_images(preset: str) -> None:
    scene = stack_scenes(sample_scenes(PRESETS[preset], 16, seed=8))
    for view in (full_view(scene, 96), square_view(80.0, 64, 16)):
        cines = render(scene, view, [0, 10])
        assert torch.isfinite(cines.frames).all()
        assert float(cines.frames.amin()) >= 0
        assert torch.isfinite(cines.landmarks_px).all()


def test_image_and_truth_agree() -> None:
    """Tag contrast carried along the true trajectories stays what it was at ED."""
    scene = stack_scenes([quiet_scene(seed=6, plain_blood=True)])
    cines = render(scene, square_view(90.0, 180), [0, 9])
    tracks = cines.landmarks_px[0, [0, 9], :, 1:-1].reshape(2, -1, 2).double().numpy()
    at = [map_coordinates(cines.frames[0, k].double().numpy(), tracks[k].T[::-1], order=3) for k in (0, 1)]
    assert np.corrcoef(at[0], at[1])[0, 1] > 0.98
    unmoved = map_coordinates(cines.frames[0, 1].double().numpy(), tracks[0].T[::-1], order=3)
    assert np.corrcoef(at[0], unmoved)[0, 1] < 0.8


def test_harmonic_phase_finds_small_motion_without_noise() -> None:
    """A second method that knows nothing of the simulator: HARP follows the first frames to 0.1 mm."""
    scene = stack_scenes([quiet_scene(seed=6, plain_blood=True)])
    size, side_mm = 180, 120.0
    cines = render(scene, square_view(side_mm, size), range(4))
    spacing = side_mm / size
    cine = TaggedCine(
        frames=cines.frames[0].numpy(),
        frame_times_ms=cines.frame_times_ms[0, :4].double().numpy(),
        pixel_spacing=PixelSpacing(spacing, spacing),
    )
    # Not the two contours: there a band-pass filter mixes the wall's phase with its surroundings'.
    truth = cines.landmarks_px[0, :4, :, 1:-1].reshape(4, -1, 2).double().numpy()
    found = HarpTracker().track(cine, truth[0]).points_px
    moved_mm = np.linalg.norm(truth[3] - truth[0], axis=-1) * spacing
    error_mm = np.linalg.norm(found - truth, axis=-1) * spacing
    assert moved_mm.mean() > 0.5
    assert math.sqrt((error_mm**2).mean()) < 0.1
