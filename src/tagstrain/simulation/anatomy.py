"""What lies where at ED: tissue maps of the heart and of the chest around it (`TissueMaps`)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import torch

from tagstrain.simulation.motion import wall_radii
from tagstrain.simulation.scene import N_PAPILLARIES, AnatomyScene, Scene
from tagstrain.simulation.tags import fading_rate_per_ms, steady_state

SoftStep = Callable[[torch.Tensor], torch.Tensor]
"""From signed distance [mm], positive inside, to the share of a pixel that is inside."""
FINE_MM, MIDDLE_MM, COARSE_MM = 1.2, 4.0, 10.0


class Tissue(IntEnum):
    """Index of a tissue in `TagScene.proton_density` and `TagScene.t1_ms`."""

    LUNG = 0
    FAT = 1
    MUSCLE = 2
    LIVER = 3
    OTHER = 4
    BLOOD = 5
    MYOCARDIUM = 6


@dataclass(frozen=True, slots=True)
class TissueMaps:
    """Magnetisation properties on an ED grid, one channel each, shape ``(scene, channel, row, column)``.

    Channels: proton density, steady state, fading rate [1/ms], share of blood, share whose tags do not last.
    """

    heart: torch.Tensor
    heart_mask: torch.Tensor
    """Share of the pixel that belongs to the heart, shape ``(scene, 1, row, column)``."""
    background: torch.Tensor


def smooth_fields(
    generators: list[torch.Generator], size: int, pixel_mm: torch.Tensor, width_mm: torch.Tensor
) -> torch.Tensor:
    """Gaussian random fields of unit deviation, smooth over ``width_mm`` ``(scene, field)``.

    Shape ``(scene, field, size, size)``.
    """
    device = width_mm.device
    white = torch.stack(
        [torch.randn(width_mm.shape[1], size, size, generator=g, device=g.device) for g in generators]
    ).to(device)
    frequency_y = torch.fft.fftfreq(size, device=device)[:, None]
    frequency_x = torch.fft.rfftfreq(size, device=device)[None]
    # A field much wider than the image would have nothing left but its mean.
    width_px = (width_mm / pixel_mm[:, None]).clamp_max(0.6 * size)[..., None, None]
    low_pass = torch.exp(-2 * math.pi**2 * (frequency_x**2 + frequency_y**2) * width_px**2)
    low_pass[..., 0, 0] = 0
    field: torch.Tensor = torch.fft.irfft2(torch.fft.rfft2(white) * low_pass, s=(size, size))
    return field / field.std(dim=(-1, -2), keepdim=True).clamp_min(1e-12)


def tissue_maps(
    scene: Scene, points_mm: torch.Tensor, pixel_mm: torch.Tensor, generators: list[torch.Generator]
) -> TissueMaps:
    """Lay out all tissues on an ED grid ``(scene, row, column, 2)`` of square pixels ``pixel_mm`` ``(scene,)``."""
    anatomy = scene.anatomy
    n_scenes, size = points_mm.shape[0], points_mm.shape[1]
    tissues = _properties(scene)
    edge_mm = (0.8 * pixel_mm)[:, None, None]

    def widths(*values: float) -> torch.Tensor:
        return torch.tensor(values, device=points_mm.device).expand(n_scenes, -1)

    def inside(distance_mm: torch.Tensor) -> torch.Tensor:
        """Soft step: 1 where the signed distance is positive."""
        return torch.sigmoid(2 * distance_mm / edge_mm)

    fields = smooth_fields(
        generators, size, pixel_mm, widths(FINE_MM, MIDDLE_MM, COARSE_MM, FINE_MM, MIDDLE_MM, 20, 20)
    )
    background = _chest(scene, points_mm, pixel_mm, tissues, generators, fields[:, 5:], inside)
    heart, mask = _heart(anatomy, points_mm, tissues, fields[:, 4], inside)
    texture = anatomy.texture[:, :, None, None]
    grain = 1 + texture[:, 0] * fields[:, 0] + texture[:, 1] * fields[:, 1]
    chest_grain = (1 + texture[:, 0] * fields[:, 3] + texture[:, 1] * fields[:, 4]) * torch.exp(
        1.5 * texture[:, 2] * fields[:, 2]
    )
    heart = torch.cat([heart[:, :1] * grain[:, None].clamp_min(0), heart[:, 1:]], dim=1)
    background = torch.cat([background[:, :1] * chest_grain[:, None].clamp_min(0), background[:, 1:]], dim=1)
    return TissueMaps(heart, mask[:, None], background)


def _properties(scene: Scene) -> torch.Tensor:
    """Channels of every tissue, ``(scene, tissue, channel)``."""
    tags = scene.tags
    flip, repetition = tags.flip_angle_rad[:, None], tags.repetition_ms[:, None]
    steady = steady_state(tags.t1_ms, flip, repetition)
    rate = fading_rate_per_ms(tags.t1_ms, flip, repetition)
    blood = torch.zeros_like(steady)
    blood[:, Tissue.BLOOD] = 1
    return torch.stack([tags.proton_density, steady, rate, blood, blood], dim=-1)


def _cover(base: torch.Tensor, share: torch.Tensor, tissue: torch.Tensor) -> torch.Tensor:
    """Lay a tissue ``(scene, channel)`` over ``base`` where ``share`` ``(scene, row, column)`` is 1."""
    return torch.lerp(base, tissue[:, :, None, None].expand_as(base), share[:, None])


def _chest(
    scene: Scene,
    points_mm: torch.Tensor,
    pixel_mm: torch.Tensor,
    tissues: torch.Tensor,
    generators: list[torch.Generator],
    wobble: torch.Tensor,
    inside: SoftStep,
) -> torch.Tensor:
    """Organs as patches of smooth random fields, lung beside the heart, muscle, fat and the air outside the body."""
    a = scene.anatomy
    n_organs = a.organ_size_mm.shape[1]
    fields = smooth_fields(generators, points_mm.shape[1], pixel_mm, a.organ_size_mm)
    direction = torch.stack([torch.cos(a.organ_ramp_angle_rad), torch.sin(a.organ_ramp_angle_rad)], dim=-1)
    ramp = torch.einsum("bhwd,bkd->bkhw", points_mm, direction) / a.outer_radius_mm[:, None, None, None]
    score = fields + ramp * a.organ_ramp[:, :, None, None]
    score[:, -1] -= 0.6  # lung inside the chest is the exception away from the heart
    share = torch.softmax(score * a.organ_sharpness[:, None, None, None], dim=1)
    order = [Tissue.LIVER, Tissue.MUSCLE, Tissue.OTHER, Tissue.FAT, Tissue.OTHER, Tissue.LUNG]
    chest = torch.einsum("bkhw,bkc->bchw", share, tissues[:, order[:n_organs]])

    radius = points_mm.norm(dim=-1)
    angle = torch.atan2(points_mm[..., 1], points_mm[..., 0])
    _, epi = wall_radii(a, angle)
    lung_mm = a.lung_width_mm[:, None, None] * (1 + 0.3 * wobble[:, 0])
    away = torch.cos(angle - a.rv_angle_rad[:, None, None] - math.pi) - torch.cos(a.lung_half_angle_rad)[:, None, None]
    crescent = inside(epi + 2 + lung_mm - radius) * torch.sigmoid(away * 12)
    chest = _cover(chest, crescent, tissues[:, Tissue.LUNG])

    c, s = torch.cos(a.body_angle_rad)[:, None, None], torch.sin(a.body_angle_rad)[:, None, None]
    offset = points_mm - a.body_center_mm[:, None, None]
    along = torch.stack([c * offset[..., 0] + s * offset[..., 1], -s * offset[..., 0] + c * offset[..., 1]], dim=-1)
    level = (along / a.body_half_axes_mm[:, None, None]).norm(dim=-1).clamp_min(1e-3)
    skin_mm = along.norm(dim=-1) * (1 / level - 1) + 6 * wobble[:, 1]
    fat_mm = a.body_fat_mm[:, None, None] * (1 + 0.35 * wobble[:, 0]).clamp_min(0.2)
    muscle_mm = a.body_muscle_mm[:, None, None] * (1 + 0.35 * wobble[:, 1]).clamp_min(0.2)
    chest = _cover(chest, inside(fat_mm + muscle_mm - skin_mm), tissues[:, Tissue.MUSCLE])
    chest = _cover(chest, inside(fat_mm - skin_mm), tissues[:, Tissue.FAT])
    air = torch.zeros_like(tissues[:, 0])
    air[:, 2] = tissues[:, Tissue.LUNG, 2]
    chest = _cover(chest, inside(-skin_mm), air)
    arm_mm = a.arm_radius_mm[:, None, None] - (points_mm - a.arm_center_mm[:, None, None]).norm(dim=-1)
    chest = _cover(chest, inside(arm_mm), tissues[:, Tissue.FAT])
    return _cover(chest, inside(arm_mm - 0.35 * a.arm_radius_mm[:, None, None]), tissues[:, Tissue.MUSCLE])


def _heart(
    a: AnatomyScene, points_mm: torch.Tensor, tissues: torch.Tensor, roughness: torch.Tensor, inside: SoftStep
) -> tuple[torch.Tensor, torch.Tensor]:
    """Epicardial fat, RV, LV wall, cavity with trabeculae and papillary muscles; and the heart's mask."""
    radius = points_mm.norm(dim=-1)
    angle = torch.atan2(points_mm[..., 1], points_mm[..., 0])
    endo, epi = wall_radii(a, angle)
    outer = a.outer_radius_mm[:, None, None]

    toward_rv = torch.stack([torch.cos(a.rv_angle_rad), torch.sin(a.rv_angle_rad)], dim=-1)
    half_width = (a.rv_half_width[:, None, None] * outer).clamp_min(1e-3)
    center = toward_rv[:, None, None] * (outer + half_width * a.rv_offset[:, None, None])[..., None]
    offset = points_mm - center
    c, s = toward_rv[:, 0, None, None], toward_rv[:, 1, None, None]
    across = offset[..., 0] * c + offset[..., 1] * s
    along = -offset[..., 0] * s + offset[..., 1] * c
    level = ((across / half_width) ** 2 + (along / (outer * a.rv_half_height[:, None, None])) ** 2).sqrt()
    has_rv = (a.rv_half_width > 0).float()[:, None, None]
    rv_outer = torch.sigmoid((1 - level) * 25) * has_rv
    rv_inner = torch.sigmoid((1 - a.rv_wall[:, None, None] - level) * 25) * has_rv

    rim_mm = a.fat_rim_mm[:, None, None] * (0.5 + 0.5 * roughness)
    rim = inside(epi + rim_mm.clamp_min(0) - radius)
    mask = torch.maximum(rv_outer, rim)
    heart = torch.zeros_like(tissues[:, 0])[:, :, None, None] * radius[:, None]
    heart = _cover(heart, torch.ones_like(radius), tissues[:, Tissue.FAT])
    heart = _cover(heart, rv_outer, tissues[:, Tissue.MYOCARDIUM])
    heart = _cover(heart, rv_inner, tissues[:, Tissue.BLOOD])
    heart = _cover(heart, inside(epi - radius), tissues[:, Tissue.MYOCARDIUM])
    trabeculae = a.trabecula_depth[:, None, None] * endo * (0.4 + 0.6 * torch.sigmoid(3 * roughness))
    cavity = inside(endo - trabeculae * 0.5 - radius)
    heart = _cover(heart, cavity, tissues[:, Tissue.BLOOD])
    for k in range(N_PAPILLARIES):
        bearing = a.papillary_angle_rad[:, k, None]
        endo_there, _ = wall_radii(a, bearing)
        distance = endo_there * a.papillary_depth[:, k, None]
        place = torch.cat([distance * torch.cos(bearing), distance * torch.sin(bearing)], dim=-1)
        size_mm = (endo_there * a.papillary_size[:, k, None])[..., None]
        near = inside(size_mm - (points_mm - place[:, None, None]).norm(dim=-1))
        present = (a.papillary_size[:, k] > 0).float()[:, None, None]
        heart = _cover(heart, near * cavity * present, tissues[:, Tissue.MYOCARDIUM])
    depth = ((radius - endo) / (epi - endo)).clamp_min(0)
    leaving = a.exchange_share[:, None, None] * (1 - depth / a.exchange_depth[:, None, None].clamp_min(1e-6))
    exchanged = leaving.clamp(0, 1)
    lost = heart[:, 4] + exchanged * (1 - heart[:, 4])
    heart = _cover(heart, a.exchange_blood[:, None, None] * exchanged, tissues[:, Tissue.BLOOD])
    return torch.cat([heart[:, :4], lost[:, None]], dim=1), mask
