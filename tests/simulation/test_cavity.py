"""Where the simulated cavity ends, in the image and in the truth."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from tests.simulation.scenes import square_view

from tagstrain.simulation.anatomy import tissue_maps
from tagstrain.simulation.config import SimulatorConfig
from tagstrain.simulation.motion import wall_radii
from tagstrain.simulation.render import generators_of
from tagstrain.simulation.scene import sample_scenes, stack_scenes


def test_blood_ends_where_the_truth_has_the_endocardium() -> None:
    """Readers draw inside of the trabeculae: a contour that nothing shows could not be placed, nor judged."""
    scenes = [
        replace(scene, anatomy=replace(scene.anatomy, papillary_size=torch.zeros(3)))
        for scene in sample_scenes(SimulatorConfig(), 12, seed=7)
    ]
    scene, side_mm = stack_scenes(scenes), 80.0
    view = square_view(side_mm, 240, len(scenes))
    maps = tissue_maps(scene, view.grid_mm(), view.pixel_mm, generators_of(scene, 0, torch.device("cpu")))
    angles = torch.deg2rad(torch.arange(0.0, 360.0, 5)).expand(len(scenes), -1)
    reach_mm = torch.arange(0.125, side_mm / 2, 0.25)
    rays = torch.stack([torch.cos(angles), torch.sin(angles)], dim=-1)[:, :, None] * reach_mm[:, None]
    blood = F.grid_sample(maps.heart[:, 3:4], rays / (side_mm / 2), align_corners=False)[:, 0]
    endo, _ = wall_radii(scene.anatomy, angles)
    in_cavity = blood * (reach_mm < endo[..., None] + 1)  # not the right ventricle
    edge_mm = in_cavity.sum(dim=-1) * 0.25
    short_by = 1 - edge_mm.mean(dim=1) / endo.mean(dim=1)
    assert float(short_by.min()) > -0.02
    assert float(short_by.max()) < 0.05
    # Depths are drawn from 0 to 0.1; ridges reach half of that, and 0.7 of it in the mean.
    assert float(short_by.mean()) == pytest.approx(0.5 * 0.7 * 0.05, abs=0.01)
