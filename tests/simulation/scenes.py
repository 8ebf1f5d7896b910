"""Scenes of the simulator with everything switched off that a test does not look at."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch

from tagstrain.simulation.config import SimulatorConfig
from tagstrain.simulation.render import View
from tagstrain.simulation.scene import Scene, sample_scene


def square_view(side_mm: float, size: int, n: int = 1) -> View:
    """View centred on the heart."""
    return View(torch.zeros(n, 2), torch.full((n,), side_mm), size)


def quiet_scene(
    seed: int = 0,
    spacing_mm: float = 6.0,
    angle_deg: float = 45.0,
    lines: bool = False,
    still: bool = False,
    plain_blood: bool = False,
    snr: float = 1e6,
) -> Scene:
    """A round heart with a thick wall, no texture, shading, ghosts or blurring; noise only as asked for."""
    scene = sample_scene(SimulatorConfig(), np.random.default_rng(seed))
    one, zero = torch.tensor(1.0), torch.tensor(0.0)
    anatomy = replace(
        scene.anatomy,
        outer_radius_mm=torch.tensor(30.0),
        wall_fraction=torch.tensor(0.5),
        outer_amplitude=torch.zeros(4),
        wall_amplitude=torch.zeros(4),
        papillary_size=torch.zeros(3),
        trabecula_depth=zero,
        fat_rim_mm=zero,
        texture=torch.zeros(3),
        organ_size_mm=scene.anatomy.organ_size_mm,
    )
    tags = replace(
        scene.tags,
        spacing_mm=torch.tensor(spacing_mm),
        angle_rad=torch.tensor(math.radians(angle_deg)),
        depth=torch.tensor([0.9, 0.0 if lines else 0.9]),
        sharpness=one,
        inflow=zero,
    )
    if plain_blood:
        same = scene.tags.t1_ms.clone()
        same[:] = scene.tags.t1_ms[6]
        tags = replace(tags, wash_out_ms=torch.tensor(1e9), t1_ms=same, proton_density=torch.ones(7))
    motion = scene.motion
    if still:
        motion = replace(
            motion,
            midwall_shortening=zero,
            area_loss=zero,
            infarct_depth=zero,
            twist_rad=zero,
            twist_gradient_rad=zero,
            bulk_mm=torch.zeros(2),
            bulk_swing_mm=torch.zeros(3, 2),
            wave_amplitude_mm=torch.zeros_like(motion.wave_amplitude_mm),
            bump_mm=torch.zeros_like(motion.bump_mm),
        )
    acquisition = replace(
        scene.acquisition,
        snr=torch.tensor(snr),
        resolution_mm=torch.tensor([0.2, 0.2]),
        shading=torch.zeros(2),
        ghost=zero,
        gamma=one,
    )
    return Scene(anatomy, motion, tags, acquisition, scene.seed)
