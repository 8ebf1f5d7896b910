"""Rendered images against noise statistics, against their own truth, and for reproducibility."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from tests.simulation.scenes import quiet_scene, square_view

from tagstrain.data import PixelSpacing, TaggedCine
from tagstrain.inference.harp import HarpTracker
from tagstrain.simulation.acquisition import acquire
from tagstrain.simulation.config import PRESETS, SimulatorConfig
from tagstrain.simulation.render import OVERSAMPLING, full_view, render
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


@pytest.mark.parametrize("oversampling", [2, 3])
def test_oversampled_signal_gives_the_pixels_of_the_image(oversampling: int) -> None:
    """A smooth blob has a value at every pixel's centre, however finely the signal was laid out."""
    size, side_mm = 64, 96.0
    acquisition = stack_scenes([quiet_scene()]).acquisition

    def blob(n: int) -> torch.Tensor:
        steps = (torch.arange(n) + 0.5) / n * side_mm - side_mm / 2
        distance = (steps - 3.3) ** 2 + (steps[:, None] + 7.7) ** 2
        return (1 + 0.5 * torch.exp(-distance / (2 * 6.0**2)))[None, None]

    pixel_mm = torch.tensor([side_mm / size])
    nothing, noise = torch.zeros(1), [torch.Generator()]
    image = acquire(blob(size * oversampling), pixel_mm, acquisition, nothing, noise, oversampling)
    torch.testing.assert_close(image, blob(size), atol=1e-4, rtol=0)


def test_noise_is_that_of_the_cine_whatever_frames_are_asked_for() -> None:
    scene = stack_scenes(sample_scenes(SimulatorConfig(snr=(20.0, 20.0)), 1, seed=3))
    whole, last = render(scene, full_view(scene, 96)), render(scene, full_view(scene, 96), [0, 19])
    alone = render(scene, full_view(scene, 96), [19])
    air = whole.frames[0, 19] < whole.frames[0, 19].quantile(0.2)
    levels = [float(frame[air].std() / frame.mean()) for frame in (last.frames[0, 1], alone.frames[0, 0])]
    assert levels[0] == pytest.approx(levels[1], rel=0.15)


def test_oversampling_leaves_out_what_pixels_cannot_show() -> None:
    """Stripes finer than two pixels are gone, not folded back to coarser ones."""
    size = 64
    acquisition = stack_scenes([quiet_scene()]).acquisition
    stripes = 1 + torch.cos(2 * math.pi * 40 * torch.arange(2 * size) / (2 * size)).expand(1, 1, 2 * size, -1)
    image = acquire(stripes, torch.tensor([1.5]), acquisition, torch.zeros(1), [torch.Generator()], 2)
    torch.testing.assert_close(image, torch.ones_like(image), atol=1e-3, rtol=0)


def test_edge_of_the_cavity_moves_as_the_truth_says() -> None:
    """Where motion has a kink: bright blood ends at the first ring, at ED as at ES."""
    scene = quiet_scene(seed=6)
    untagged = replace(scene.tags, depth=torch.zeros(2), wash_out_ms=torch.tensor(1.0), inflow=torch.tensor(1.0))
    scenes = stack_scenes([replace(scene, tags=untagged)])
    cines = render(scenes, full_view(scenes), [0, 8], oversampling=OVERSAMPLING)
    pixel_mm = float(cines.pixel_mm[0])
    places_mm = np.arange(-5, 5, 0.05)
    for image, time in ((0, 0), (1, 8)):
        rings = cines.landmarks_px[0, time].double().numpy()
        outward = rings[:, -1] - rings[:, 0]
        outward /= np.linalg.norm(outward, axis=1, keepdims=True)
        lines = rings[:, :1] + outward[:, None] * places_mm[:, None] / pixel_mm
        across = map_coordinates(cines.frames[0, image].double().numpy(), lines.transpose(2, 0, 1)[::-1], order=3)
        blood, muscle = across[:, :20].mean(axis=1), across[:, -20:].mean(axis=1)
        edge_mm = places_mm[(across < (blood + muscle)[:, None] / 2).argmax(axis=1)]
        assert abs(edge_mm.mean()) < 0.35
        assert edge_mm.std() < 0.2


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
