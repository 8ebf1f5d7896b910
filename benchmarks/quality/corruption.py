"""Ways in which a simulated cine is spoiled before it is analyzed: `CORRUPTIONS`, `spoiled_case`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from benchmarks.quality.shown_cine import ShownCine, show
from tagstrain.data import Box
from tagstrain.simulation.config import PRESETS, SimulatorConfig
from tagstrain.simulation.scene import Scene, sample_scene

GRID_TAGS = replace(PRESETS["default"], line_tag_probability=0.0)
SHARE_OF_SOUND_SLICES = 0.35


@dataclass(frozen=True, slots=True)
class Corruption:
    """What goes wrong: in the ranges that the scene is drawn from, in the scene, or in what was rendered."""

    name: str
    config: SimulatorConfig = GRID_TAGS
    edit: Callable[[Scene, np.random.Generator], Scene] = lambda scene, _: scene
    spoil: Callable[[ShownCine, np.random.Generator], ShownCine] = lambda shown, _: shown


def _low_snr(scene: Scene, rng: np.random.Generator) -> Scene:
    return replace(scene, acquisition=replace(scene.acquisition, snr=_tensor(rng.uniform(2.0, 6.0))))


def _fast_fading(scene: Scene, rng: np.random.Generator) -> Scene:
    """Imaging pulses that wipe the tags out early."""
    flip_rad = math.radians(rng.uniform(18, 35))
    return replace(scene, tags=replace(scene.tags, flip_angle_rad=_tensor(flip_rad)))


def _tensor(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float32)


def _mistriggered(shown: ShownCine, rng: np.random.Generator) -> ShownCine:
    """Some frames in a row show another time of the cycle."""
    n_frames = len(shown.frames)
    first, n_wrong = int(rng.integers(2, n_frames - 4)), int(rng.integers(1, 5))
    late = int(rng.choice([-6, -5, -4, -3, 3, 4, 5, 6]))
    frames = shown.frames.copy()
    wrong = np.arange(first, min(first + n_wrong, n_frames))
    frames[wrong] = shown.frames[np.clip(wrong + late, 0, n_frames - 1)]
    return replace(shown, frames=frames)


def _missing_frames(shown: ShownCine, rng: np.random.Generator) -> ShownCine:
    """A gap of several frames."""
    first, n_missing = int(rng.integers(1, 11)), int(rng.integers(2, 7))
    kept = np.delete(np.arange(len(shown.frames)), np.arange(first, first + n_missing))
    return replace(shown, frames=shown.frames[kept], frame_indices=shown.frame_indices[kept])


def _cut_by_border(shown: ShownCine, rng: np.random.Generator) -> ShownCine:
    """The image ends within the left ventricle."""
    low = shown.ed_wall_px.min(axis=(0, 1))
    high = shown.ed_wall_px.max(axis=(0, 1))
    cut_px = np.round(rng.uniform(0.05, 0.4) * (high - low)).astype(int)
    axis, at_start = int(rng.integers(2)), bool(rng.integers(2))
    n_rows, n_columns = shown.frames.shape[1:]
    first, end = np.zeros(2, int), np.array([n_columns, n_rows])
    if at_start:
        first[axis] = int(low[axis]) + cut_px[axis]
    else:
        end[axis] = int(high[axis]) - cut_px[axis]
    frames = shown.frames[:, first[1] : end[1], first[0] : end[0]]
    return replace(shown, frames=np.ascontiguousarray(frames), offset_xy_px=first)


def _wrong_box(shown: ShownCine, rng: np.random.Generator) -> ShownCine:
    """A user's box beside the heart."""
    box = Box.around(shown.ed_wall_px.reshape(-1, 2))
    bearing, share = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 0.9)
    right, down = share * (box.x2 - box.x1) * np.cos(bearing), share * (box.y2 - box.y1) * np.sin(bearing)
    return replace(shown, box=Box(box.x1 + right, box.y1 + down, box.x2 + right, box.y2 + down))


def _wrong_wall(shown: ShownCine, rng: np.random.Generator) -> ShownCine:
    """A user's contours shifted and scaled."""
    center = shown.ed_wall_px.mean(axis=(0, 1))
    bearing, shift_px = rng.uniform(0, 2 * np.pi), rng.uniform(2, 14) / shown.pixel_mm
    moved = center + shift_px * np.array([np.cos(bearing), np.sin(bearing)])
    return replace(shown, given_wall_px=moved + rng.uniform(0.75, 1.3) * (shown.ed_wall_px - center))


_STRONG = replace(
    GRID_TAGS,
    midwall_shortening=(0.33, 0.42),
    wall_fraction=(0.24, 0.40),  # a thin wall can shorten so far before its cavity is empty
    bulk_motion_sd_mm=6.0,
    weak_heart_probability=0.0,
    infarct_probability=0.0,
)
SOUND = Corruption("none", PRESETS["default"])
CORRUPTIONS = (
    Corruption("low SNR", edit=_low_snr),
    Corruption("fast fading", edit=_fast_fading),
    Corruption("mistriggered frames", spoil=_mistriggered),
    Corruption("missing frames", spoil=_missing_frames),
    Corruption("cut by the image border", spoil=_cut_by_border),
    Corruption("wrong box", spoil=_wrong_box),
    Corruption("wrong wall", spoil=_wrong_wall),
    Corruption("extreme motion", _STRONG),
    Corruption("line tags", replace(PRESETS["default"], line_tag_probability=1.0)),
)


def spoiled_case(seed: int, index: int) -> tuple[str, ShownCine]:
    """Case ``index`` of a seed, sound with `SHARE_OF_SOUND_SLICES`, and the name of what is wrong with it."""
    rng = np.random.default_rng([seed, index])
    sound = rng.random() < SHARE_OF_SOUND_SLICES
    corruption = SOUND if sound else CORRUPTIONS[int(rng.integers(len(CORRUPTIONS)))]
    scene = corruption.edit(sample_scene(corruption.config, rng), rng)
    return corruption.name, corruption.spoil(show(scene), rng)
