"""Where the simulated right ventricle inserts, against a circle's closed form and against what is drawn."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from tests.simulation.scenes import quiet_scene, square_view

from tagstrain.data import PixelSpacing
from tagstrain.geometry.orientation import is_seen_from_apex
from tagstrain.inference.insertion import anterior_of
from tagstrain.io.dicom_export import short_axis_affine
from tagstrain.simulation.anatomy import tissue_maps
from tagstrain.simulation.config import PRESETS, SimulatorConfig
from tagstrain.simulation.dataset import sample_study, simulated_study
from tagstrain.simulation.insertion import insertion_angles_rad, insertions_mm
from tagstrain.simulation.motion import wall_radii
from tagstrain.simulation.render import generators_of
from tagstrain.simulation.scene import Scene, sample_scenes, stack_scenes


def with_rv(scene: Scene, **values: float) -> Scene:
    changes = {f"rv_{name}": torch.tensor(value) for name, value in values.items()}
    return replace(scene, anatomy=replace(scene.anatomy, **changes))


@pytest.mark.parametrize("direction_rad", [0.0, 2.0, -3.1])
def test_two_circles_meet_where_the_law_of_cosines_says(direction_rad: float) -> None:
    scene = with_rv(quiet_scene(), angle_rad=direction_rad, half_width=0.9, half_height=0.9, offset=0.1, wall=0.2)
    begin, end = insertion_angles_rad(stack_scenes([scene]).anatomy)[0].tolist()
    distance, radius = 1 + 0.9 * 0.1, 0.9 * (1 - 0.2 / 2)
    half_angle = math.acos((1 + distance**2 - radius**2) / (2 * distance))
    assert begin == pytest.approx(direction_rad - half_angle, abs=1e-3)
    assert end == pytest.approx(direction_rad + half_angle, abs=1e-3)


def test_blood_is_drawn_outside_the_epicardium_between_the_insertions_alone() -> None:
    config = SimulatorConfig(right_ventricle_probability=1.0)
    scenes = [with_rv(scene, wall=0.01) for scene in sample_scenes(config, 6, seed=5)]
    scene, view = stack_scenes(scenes), square_view(130.0, 260, 6)
    maps = tissue_maps(scene, view.grid_mm(), view.pixel_mm, generators_of(scene, 0, torch.device("cpu")))
    angles = torch.deg2rad(torch.arange(0.0, 360.0)).expand(6, -1)
    _, epi = wall_radii(scene.anatomy, angles)
    ring = (epi + 0.8)[..., None] * torch.stack([torch.cos(angles), torch.sin(angles)], dim=-1)
    is_blood = F.grid_sample(maps.heart[:, 3:], ring[:, None] / 65, align_corners=False)[:, 0, 0] > 0.5
    begin, end = insertion_angles_rad(scene.anatomy)[..., None].unbind(dim=1)
    is_between = torch.remainder(angles - begin, 2 * math.pi) < end - begin
    # Edges are soft and the ring lies a little outside: 2 degrees at either end.
    assert int((is_blood != is_between).sum(dim=1).max()) <= 4
    assert int(is_blood.sum(dim=1).min()) > 40


def test_insertions_lie_on_the_epicardium_with_the_middle_between() -> None:
    scene = stack_scenes(sample_scenes(SimulatorConfig(right_ventricle_probability=1.0), 8, seed=1))
    points = insertions_mm(scene.anatomy)
    begin, middle, end = torch.atan2(points[..., 1], points[..., 0]).unbind(dim=1)
    _, epi = wall_radii(scene.anatomy, torch.stack([begin, middle, end], dim=1))
    torch.testing.assert_close(points.norm(dim=-1), epi)
    torch.testing.assert_close(torch.remainder(middle - begin, 2 * math.pi), torch.remainder(end - middle, 2 * math.pi))


def test_no_right_ventricle_has_no_insertion() -> None:
    without = with_rv(quiet_scene(), half_width=0.0)
    away = with_rv(quiet_scene(), half_width=0.3, offset=2.0)
    assert insertions_mm(stack_scenes([without, away]).anatomy).isnan().all()


@given(st.floats(-math.pi, math.pi))
def test_a_plane_fits_the_side_on_which_its_image_shows_the_right_ventricle(rv_angle_rad: float) -> None:
    affine = short_axis_affine((80, 60), PixelSpacing(1.5, 1.2), 1, rv_angle_rad)
    angles = rv_angle_rad + np.array([-1.0, 0.0, 1.0])
    anterior, rv, inferior = (affine[:3, :2] @ np.diag([1 / 1.2, 1 / 1.5]) @ [np.cos(angles), np.sin(angles)]).T
    left, back, up = rv
    assert left < -0.5
    assert back < -0.3
    assert abs(up) < 0.7
    assert anterior[1] < inferior[1]
    assert anterior[2] > inferior[2]
    np.testing.assert_allclose(affine[:3, 0] @ affine[:3, 1], 0, atol=1e-12)
    middles = [plane @ [29.5, 39.5, 0, 1] for plane in (affine, short_axis_affine((80, 60), PixelSpacing(1, 1), 1))]
    np.testing.assert_allclose(*middles, atol=1e-9)


@pytest.mark.parametrize("seed", [19, 20])
def test_simulated_studies_are_no_mirror_images_of_the_patient_that_they_name(seed: int) -> None:
    slices, _ = simulated_study(seed, size=48)
    anatomy = stack_scenes(sample_study(PRESETS["ukb"], seed)).anatomy
    begin_end = insertions_mm(anatomy)[:, [0, 2]].double().numpy()
    for points, cine in zip(begin_end, slices, strict=True):
        assert is_seen_from_apex(cine.affine) is False
        assert anterior_of(points, cine.affine) == (0, True)
