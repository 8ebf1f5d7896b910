"""Simulated hearts of three slices, half of them with a segment that contracts half as much: `Heart`, `draw_heart`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from tagstrain.simulation.config import PRESETS
from tagstrain.simulation.dataset import sample_study
from tagstrain.simulation.scene import MotionScene, Scene

SEED = 886_001
SNR = 20.0
CONFIG = replace(
    PRESETS["ukb"],
    snr=(SNR, SNR),
    # What is wrong with a heart is drawn here, and segments are counted from the RV.
    infarct_probability=0.0,
    weak_heart_probability=0.0,
    right_ventricle_probability=1.0,
)
LEVELS = ("basal", "mid", "apical")
N_SEGMENTS = {"basal": 6, "mid": 6, "apical": 4}
BASAL_ROTATION_DEG = (-5.0, -2.0)
"""Rotation of the epicardium at its height, counter-clockwise seen from the apex; Lorenz et al., J Cardiovasc Magn
Reson 2000;2:97-108, and Young and Cowan, J Cardiovasc Magn Reson 2012;14:49, for the range of healthy hearts."""
APICAL_ROTATION_DEG = (5.0, 12.0)
MID_SHARE = (0.3, 0.5)
"""Where between base and apex the middle slice turns."""
INNER_ROTATION_RATIO = (1.0, 2.5)
"""Further rotation, towards the center of the cavity, over that of the epicardium: inner layers turn more."""
SCAR_DEPTH = 0.6
"""Loss of shortening in the scar's middle; a segment under it is left with about half its strain."""
SCAR_LEVELS = ((0,), (1,), (2,), (0, 1), (1, 2), (0, 1, 2))
"""Slices that a scar may reach."""


@dataclass(frozen=True, slots=True)
class Scar:
    """Wall that contracts less, at one angle in one, two or all slices."""

    angle_rad: float
    """Direction of its middle from the center of the ventricle, from +x towards +y of the image."""
    levels: tuple[int, ...]
    """Slices that it reaches, 0 the basal one."""


@dataclass(frozen=True, eq=False, slots=True)
class Heart:
    """A simulated study before rendering."""

    scenes: tuple[Scene, ...]
    """Of the basal, the mid and the apical slice."""
    scar: Scar | None


def draw_heart(index: int, seed: int = SEED) -> Heart:
    """Draw a heart; every second one has a scar."""
    rng = np.random.default_rng([seed, index])
    scenes = sample_study(CONFIG, seed + index)
    rotations_deg = _draw_rotations_deg(rng)
    inner_ratio = rng.uniform(*INNER_ROTATION_RATIO)
    scar = _draw_scar(rng) if index % 2 else None
    motions = [
        _scarred(_turning(scene.motion, rotation_deg, inner_ratio), level, scar)
        for level, (scene, rotation_deg) in enumerate(zip(scenes, rotations_deg, strict=True))
    ]
    return Heart(tuple(replace(scene, motion=motion) for scene, motion in zip(scenes, motions, strict=True)), scar)


def _draw_rotations_deg(rng: np.random.Generator) -> Sequence[float]:
    """Rotation of base, mid and apex."""
    basal, apical = rng.uniform(*BASAL_ROTATION_DEG), rng.uniform(*APICAL_ROTATION_DEG)
    return basal, basal + rng.uniform(*MID_SHARE) * (apical - basal), apical


def _draw_scar(rng: np.random.Generator) -> Scar:
    """A scar at a random angle, in some of the slices."""
    n_levels = rng.integers(1, 4)
    choices = [levels for levels in SCAR_LEVELS if len(levels) == n_levels]
    return Scar(float(rng.uniform(-math.pi, math.pi)), choices[rng.integers(len(choices))])


def _turning(motion: MotionScene, rotation_deg: float, inner_ratio: float) -> MotionScene:
    """The motion with another rotation. In an image seen from the apex, y down, counter-clockwise is negative."""
    twist_rad = torch.tensor(-math.radians(rotation_deg))
    return replace(motion, twist_rad=twist_rad, twist_gradient_rad=twist_rad * inner_ratio)


def _scarred(motion: MotionScene, level: int, scar: Scar | None) -> MotionScene:
    """The motion with a scar whose effect is down to half one half segment away from its middle."""
    if scar is None or level not in scar.levels:
        return motion
    half_width_rad = math.pi / N_SEGMENTS[LEVELS[level]]
    return replace(
        motion,
        infarct_depth=torch.tensor(SCAR_DEPTH),
        infarct_angle_rad=torch.tensor(scar.angle_rad),
        infarct_sharpness=torch.tensor(math.log(2) / (1 - math.cos(half_width_rad))),
    )
