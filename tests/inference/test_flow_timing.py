"""Strain curves of the shipped tracker: sudden onset and post-systolic shortening are seen, and noise is not added."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tagstrain.data import PixelSpacing, TaggedCine
from tagstrain.inference.flow import FlowTracker
from tagstrain.simulation.config import SimulatorConfig
from tagstrain.simulation.render import View, render
from tagstrain.simulation.scene import MotionScene, Scene, sample_scene, stack_scenes


def followed(scene: Scene) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Landmarks found and true, ``(time, spoke, ring, 2)`` in mm."""
    batch = stack_scenes([scene])
    cines = render(batch, View(torch.zeros(1, 2), torch.tensor([110.0]), 96))
    pixel_mm = float(cines.pixel_mm)
    times_ms = cines.frame_times_ms[0].double().numpy()
    cine = TaggedCine(cines.frames[0].numpy(), times_ms, PixelSpacing(pixel_mm, pixel_mm))
    truth = cines.landmarks_px[0].double().numpy()
    tracks = FlowTracker.from_weights().track(cine, truth[0].reshape(-1, 2))
    return tracks.points_px.reshape(truth.shape) * pixel_mm, truth * pixel_mm


def strain(landmarks_mm: NDArray[np.float64], spokes: NDArray[np.int64] | slice = slice(None)) -> NDArray[np.float64]:
    """Mid-wall circumferential Green-Lagrange strain, mean over some spokes."""
    ring = landmarks_mm[:, :, 3]
    squared = ((np.roll(ring, -1, axis=1) - ring) ** 2).sum(axis=-1)
    curve: NDArray[np.float64] = ((squared / squared[:1] - 1) / 2)[:, spokes].mean(axis=1)
    return curve


def heart(seed: int, **motion: float) -> Scene:
    """A sound heart of the simulator with some of its motion set."""
    config = SimulatorConfig(
        line_tag_probability=0.0,
        infarct_probability=0.0,
        weak_heart_probability=0.0,
        dyssynchrony_probability=0.0,
        right_ventricle_probability=0.0,
        midwall_shortening=(0.20, 0.24),
        outer_radius_mm=(28.0, 32.0),
        wall_fraction=(0.4, 0.45),
        frame_interval_ms=(40.0, 40.0),
        snr=(15.0, 25.0),
    )
    scene = sample_scene(config, np.random.default_rng(seed))
    changed: MotionScene = replace(scene.motion, **{name: torch.tensor(value) for name, value in motion.items()})
    return replace(scene, motion=changed)


@pytest.mark.parametrize("seed", [11, 12])
def test_sudden_onset_is_neither_smoothed_nor_late(seed: int) -> None:
    """Half of the shortening within one frame."""
    found, truth = followed(heart(seed, onset_exponent=0.35, es_time_ms=280.0))
    found_curve, true_curve = strain(found), strain(truth)
    steps = np.diff(true_curve)
    assert int(steps.argmin()) == 0
    assert steps[0] < 0.4 * true_curve.min()
    assert abs(np.diff(found_curve)[0] / steps[0] - 1) < 0.10
    assert np.abs(found_curve - true_curve).max() < 0.012


def test_post_systolic_shortening_is_seen_where_it_is() -> None:
    """The wall towards +x sets in almost three frames late, and is shortest when the other side relaxes already."""
    found, truth = followed(heart(21, delay_ms=110.0, delay_angle_rad=0.0, es_time_ms=300.0, relaxation_start=0.0))
    late, early = np.r_[21:24, 0:3], np.r_[9:15]
    assert strain(truth, late).argmin() > strain(truth, early).argmin()
    for spokes in (late, early):
        assert abs(int(strain(found, spokes).argmin()) - int(strain(truth, spokes).argmin())) <= 1
        np.testing.assert_allclose(strain(found, spokes), strain(truth, spokes), atol=0.02)


def test_a_curve_has_no_more_turns_than_the_heart() -> None:
    found, truth = followed(heart(31))
    bend = np.abs(np.diff(strain(found), 2) - np.diff(strain(truth), 2))
    assert bend.max() < 0.01
