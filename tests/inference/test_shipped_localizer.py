"""The localizer that ships: sure of simulated hearts, unsure where there is none."""

from __future__ import annotations

from dataclasses import replace

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


def noise(seed: int) -> np.ndarray:
    return np.abs(np.random.default_rng(seed).normal(0, 5, (N_FRAMES, 160, 160)))


def simulated_heart(seed: int) -> tuple[TaggedCine, Box]:
    """A cine of 192 x 192 and the true box."""
    scene = stack_scenes(sample_scenes(PRESETS["default"], 1, seed))
    view = full_view(scene, 192)
    cines = render(scene, view)
    spacing = float(view.pixel_mm)
    times_ms = cines.frame_times_ms[0].double().numpy()
    return (
        TaggedCine(cines.frames[0].numpy(), times_ms, PixelSpacing(spacing, spacing)),
        Box(*cines.boxes_px[0].tolist()),
    )


@pytest.mark.parametrize("seed", [880_001, 880_002])
def test_simulated_hearts_are_found_with_confidence(localizer: ViewLocalizer, seed: int) -> None:
    heart, box = simulated_heart(seed)
    found = localizer.localize(heart)
    assert found.confidence > LOW_CONFIDENCE
    assert found.box.iou(box) > 0.7


def test_a_heart_that_the_image_cuts_is_found_as_far_as_it_would_go(localizer: ViewLocalizer) -> None:
    """The image lacks 30 % of the ventricle, whose width is 1 / 1.6 of the box's."""
    heart, box = simulated_heart(880_001)
    first = round((box.x1 + box.x2) / 2 + (0.3 - 0.5) * (box.x2 - box.x1) / 1.6)
    found = localizer.localize(replace(heart, frames=np.ascontiguousarray(heart.frames[..., first:])))
    assert found.confidence > LOW_CONFIDENCE
    assert found.box.iou(Box(box.x1 - first, box.y1, box.x2 - first, box.y2)) > 0.7


@pytest.mark.parametrize("margin_mm", [15, 60])
def test_a_heart_is_found_in_an_image_cropped_around_it(localizer: ViewLocalizer, margin_mm: float) -> None:
    """In a look of 350 mm, most of it empty, nothing was seen of this one with the smaller margin."""
    heart, box = simulated_heart(880_016)
    margin = margin_mm / heart.spacing_xy_mm
    x1, y1 = np.maximum(np.array(box)[:2] - margin, 0).astype(int)
    x2, y2 = (np.array(box)[2:] + margin).astype(int)
    found = localizer.localize(replace(heart, frames=heart.frames[:, y1:y2, x1:x2].copy()))
    assert found.confidence > LOW_CONFIDENCE
    assert found.box.iou(Box(box.x1 - x1, box.y1 - y1, box.x2 - x1, box.y2 - y1)) > 0.7


@pytest.mark.parametrize("level", [0.0, 0.1, 1.0, 30000.7])
def test_an_image_of_one_grey_level_shows_nothing_on_any_processor(localizer: ViewLocalizer, level: float) -> None:
    found = localizer.localize(cine(np.full((3, 160, 256), level)))
    assert np.isnan(found.box).all()
    assert found.confidence == 0


@pytest.mark.parametrize(
    "frames",
    [
        still_phantom(),
        noise(1),
        noise(2),
        np.zeros((N_FRAMES, 160, 160)),
        np.broadcast_to(np.linspace(0, 1, 160), (N_FRAMES, 160, 160)),
    ],
    ids=["still phantom", "noise", "other noise", "blank", "ramp"],
)
def test_images_without_a_heart_are_refused(localizer: ViewLocalizer, frames: np.ndarray) -> None:
    assert localizer.localize(cine(frames)).confidence < LOW_CONFIDENCE
