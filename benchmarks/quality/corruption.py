"""Ways in which a simulated cine is spoiled before it is analyzed, mild to heavy: `CORRUPTIONS`, `spoiled_case`."""

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
SEVERITIES = ("mild", "moderate", "heavy")
"""Thirds of the way from a sound slice to the worst of a kind."""


@dataclass(frozen=True, slots=True)
class Corruption:
    """What goes wrong, by severity (0 to 1): in the ranges that the scene is drawn from, in the scene, or in what was
    rendered."""

    name: str
    config: Callable[[float], SimulatorConfig] = lambda severity: GRID_TAGS
    edit: Callable[[Scene, float], Scene] = lambda scene, severity: scene
    spoil: Callable[[ShownCine, float, np.random.Generator], ShownCine] = lambda shown, severity, rng: shown


def _low_snr(scene: Scene, severity: float) -> Scene:
    """From 8, which sound slices have too, to 0.8."""
    snr = _tensor(8.0 * 0.1**severity)
    return replace(scene, acquisition=replace(scene.acquisition, snr=snr))


def _fast_fading(scene: Scene, severity: float) -> Scene:
    """Imaging pulses that wipe the tags out early: of 14 (sound ones have 5 to 15) to 60 degrees."""
    flip_rad = _tensor(math.radians(14 + 46 * severity))
    return replace(scene, tags=replace(scene.tags, flip_angle_rad=flip_rad))


def _weak_direction(scene: Scene, severity: float) -> Scene:
    """One set of tag lines is fainter than the other, in the end not there: line tags."""
    depth = scene.tags.depth.clone()
    depth[..., 1] *= max(0.0, 1 - 1.25 * severity)
    return replace(scene, tags=replace(scene.tags, depth=depth))


def _tensor(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float32)


def _extreme_motion(severity: float) -> SimulatorConfig:
    """Mid-wall shortening of 0.30 (the strongest of sound hearts is 0.32) to 0.45, and the heart swings more."""
    shortening = 0.30 + 0.15 * severity
    return replace(
        GRID_TAGS,
        midwall_shortening=(shortening, shortening),
        wall_fraction=(0.24, 0.40),  # a thin wall can shorten so far before its cavity is empty
        bulk_motion_sd_mm=2.5 + 5.5 * severity,
        weak_heart_probability=0.0,
        infarct_probability=0.0,
    )


def _mistriggered(shown: ShownCine, severity: float, rng: np.random.Generator) -> ShownCine:
    """One to ten frames in a row show a time of the cycle that is one to eight frames off."""
    n_frames = len(shown.frames)
    n_wrong, n_off = 1 + round(9 * severity), 1 + round(7 * severity)
    first = int(rng.integers(2, n_frames - n_wrong))
    wrong = np.arange(first, first + n_wrong)
    frames = shown.frames.copy()
    frames[wrong] = shown.frames[np.clip(wrong + n_off * int(rng.choice([-1, 1])), 0, n_frames - 1)]
    return replace(shown, frames=frames)


def _missing_frames(shown: ShownCine, severity: float, rng: np.random.Generator) -> ShownCine:
    """A gap of one to eleven frames."""
    n_missing = 1 + round(10 * severity)
    first = int(rng.integers(1, len(shown.frames) - n_missing))
    kept = np.delete(np.arange(len(shown.frames)), np.arange(first, first + n_missing))
    return replace(shown, frames=shown.frames[kept], frame_indices=shown.frame_indices[kept])


def _cut_by_border(shown: ShownCine, severity: float, rng: np.random.Generator) -> ShownCine:
    """The image ends within the left ventricle, up to its middle."""
    low = shown.ed_wall_px.min(axis=(0, 1))
    high = shown.ed_wall_px.max(axis=(0, 1))
    cut_px = np.ceil(0.5 * severity * (high - low)).astype(int)
    axis, at_start = int(rng.integers(2)), bool(rng.integers(2))
    n_rows, n_columns = shown.frames.shape[1:]
    first, end = np.zeros(2, int), np.array([n_columns, n_rows])
    if at_start:
        first[axis] = int(low[axis]) + cut_px[axis]
    else:
        end[axis] = int(high[axis]) - cut_px[axis]
    frames = shown.frames[:, first[1] : end[1], first[0] : end[0]]
    return replace(shown, frames=np.ascontiguousarray(frames), offset_xy_px=first)


def _wrong_box(shown: ShownCine, severity: float, rng: np.random.Generator) -> ShownCine:
    """A user's box beside the heart, by up to its own width."""
    box = Box.around(shown.ed_wall_px.reshape(-1, 2))
    bearing = rng.uniform(0, 2 * np.pi)
    right, down = severity * (box.x2 - box.x1) * np.cos(bearing), severity * (box.y2 - box.y1) * np.sin(bearing)
    return replace(shown, box=Box(box.x1 + right, box.y1 + down, box.x2 + right, box.y2 + down))


def _wrong_wall(shown: ShownCine, severity: float, rng: np.random.Generator) -> ShownCine:
    """A user's contours, shifted by up to 12 mm and scaled by up to a third."""
    center = shown.ed_wall_px.mean(axis=(0, 1))
    bearing, scale = rng.uniform(0, 2 * np.pi), np.exp(severity * rng.uniform(-0.3, 0.3))
    shift_px = 12 * severity / shown.pixel_mm * np.array([np.cos(bearing), np.sin(bearing)])
    return replace(shown, given_wall_px=center + shift_px + scale * (shown.ed_wall_px - center))


SOUND = Corruption("none", lambda severity: PRESETS["default"])
CORRUPTIONS = (
    Corruption("low SNR", edit=_low_snr),
    Corruption("fast fading", edit=_fast_fading),
    Corruption("one weak tag direction", edit=_weak_direction),
    Corruption("extreme motion", _extreme_motion),
    Corruption("mistriggered frames", spoil=_mistriggered),
    Corruption("missing frames", spoil=_missing_frames),
    Corruption("cut by the image border", spoil=_cut_by_border),
    Corruption("wrong box", spoil=_wrong_box),
    Corruption("wrong wall", spoil=_wrong_wall),
)


def spoiled_case(seed: int, index: int) -> tuple[str, str, ShownCine]:
    """Case ``index`` of a seed: what is wrong with it, how severely, and what is left to see.

    Kinds take turns, and so do a sound slice and the severities: every 36 cases hold 9 sound ones and every kind at
    every severity once.
    """
    rng = np.random.default_rng([seed, index])
    turn = index // len(CORRUPTIONS) % (1 + len(SEVERITIES))
    corruption = CORRUPTIONS[index % len(CORRUPTIONS)] if turn else SOUND
    severity = (turn - rng.random()) / len(SEVERITIES) if turn else 0.0
    scene = corruption.edit(sample_scene(corruption.config(severity), rng), severity)
    name = SEVERITIES[turn - 1] if turn else ""
    return corruption.name, name, corruption.spoil(show(scene), severity, rng)
