"""The localizer that ships: sure of simulated hearts, unsure where there is none."""

from __future__ import annotations

import numpy as np
import pytest

from tagstrain.data import Box, PixelSpacing, TaggedCine
from tagstrain.inference.analyze import LOW_CONFIDENCE
from tagstrain.inference.localize import ViewLocalizer
from tagstrain.simulation.config import PRESETS
from tagstrain.simulation.render import full_view, render
from tagstrain.simulation.scene import sample_scenes, stack_scenes

N_FRAMES = 12


@pytest.fixture(scope="module")
def localizer() -> ViewLocalizer:
    return ViewLocalizer.from_weights()


def cine(frames: np.ndarray) -> TaggedCine:
    return TaggedCine(frames.astype(np.float32), 40.0 * np.arange(len(frames)), PixelSpacing(1.8, 1.8))


def still_phantom(size: int = 192) -> np.ndarray:
    """A bottle with tags that fade but do not move, in noise."""
    rng = np.random.default_rng(0)
    y, x = np.indices((size, size)).astype(float)
    bottle = np.hypot(x - 90, y - 100) < 50
    tags = np.cos(2 * np.pi * (x + y) / 5) * np.cos(2 * np.pi * (x - y) / 5)
    clean = [100 * bottle * (1 + np.exp(-0.12 * t) * tags) for t in range(N_FRAMES)]
    return np.abs(np.stack(clean) + rng.normal(0, 6, (N_FRAMES, size, size)))


@pytest.mark.parametrize("seed", [880_001, 880_002])
def test_simulated_hearts_are_found_with_confidence(localizer: ViewLocalizer, seed: int) -> None:
    scene = stack_scenes(sample_scenes(PRESETS["default"], 1, seed))
    view = full_view(scene, 192)
    cines = render(scene, view)
    spacing = float(view.pixel_mm)
    found = localizer.localize(
        TaggedCine(cines.frames[0].numpy(), cines.frame_times_ms[0].double().numpy(), PixelSpacing(spacing, spacing))
    )
    assert found.confidence > LOW_CONFIDENCE
    assert found.box.iou(Box(*cines.boxes_px[0].tolist())) > 0.7


@pytest.mark.parametrize(
    "frames",
    [
        still_phantom(),
        np.abs(np.random.default_rng(1).normal(0, 5, (N_FRAMES, 160, 160))),
        np.zeros((N_FRAMES, 160, 160)),
        np.broadcast_to(np.linspace(0, 1, 160), (N_FRAMES, 160, 160)),
    ],
    ids=["still phantom", "noise", "blank", "ramp"],
)
def test_images_without_a_heart_are_refused(localizer: ViewLocalizer, frames: np.ndarray) -> None:
    assert localizer.localize(cine(frames)).confidence < LOW_CONFIDENCE
