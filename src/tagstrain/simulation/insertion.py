"""Where the right ventricle meets the left one in a simulated slice: `insertion_angles_rad`, `insertions_mm`."""

from __future__ import annotations

import math

import torch

from tagstrain.simulation.motion import wall_radii
from tagstrain.simulation.scene import AnatomyScene

_STEPS = 361


def insertion_angles_rad(anatomy: AnatomyScene) -> torch.Tensor:
    """Directions from the LV's centre in which the RV's wall meets the epicardium.

    The RV is an ellipse behind the LV; its wall is the shell between level ``1 - rv_wall`` and 1. The insertion is
    where the middle of that shell crosses the epicardium, found to well below a degree by walking along the
    epicardium from the middle of the septum both ways.

    Returns
    -------
        Shape ``(scene, 2)``: where the RV begins and where it ends, going towards larger angles (+x towards +y); NaN
        where the slice has no RV or the RV does not touch the LV.
    """
    steps_rad = torch.linspace(0, math.pi, _STEPS, device=anatomy.rv_angle_rad.device)
    middle = anatomy.rv_angle_rad[:, None]
    begin = middle - _first_crossing_rad(anatomy, -steps_rad)[:, None]
    end = middle + _first_crossing_rad(anatomy, steps_rad)[:, None]
    angles = torch.cat([begin, end], dim=1)
    has_rv = (anatomy.rv_half_width > 0)[:, None] & angles.isfinite().all(dim=1, keepdim=True)
    return torch.where(has_rv, angles, torch.full_like(angles, torch.nan))


def insertions_mm(anatomy: AnatomyScene) -> torch.Tensor:
    """Points of the epicardium where the RV begins, half-way to its end, and where it ends.

    Shape ``(scene, 3, 2)``, ``(x, y)`` in the heart frame; NaN as in `insertion_angles_rad`. The point between tells
    which side of the two insertions the RV is on, also in a mirrored image.
    """
    begin, end = insertion_angles_rad(anatomy).unbind(dim=1)
    angles = torch.stack([begin, (begin + end) / 2, end], dim=1)
    _, epi = wall_radii(anatomy, angles)
    return epi[..., None] * torch.stack([torch.cos(angles), torch.sin(angles)], dim=-1)


def _first_crossing_rad(anatomy: AnatomyScene, offsets_rad: torch.Tensor) -> torch.Tensor:
    """How far from the RV's direction the epicardium leaves the RV, ``(scene,)``; NaN where it was never inside."""
    outer = anatomy.outer_radius_mm[:, None]
    half_width = (anatomy.rv_half_width[:, None] * outer).clamp_min(1e-3)
    _, epi = wall_radii(anatomy, anatomy.rv_angle_rad[:, None] + offsets_rad)
    across = epi * torch.cos(offsets_rad) - (outer + half_width * anatomy.rv_offset[:, None])
    along = epi * torch.sin(offsets_rad)
    level = torch.hypot(across / half_width, along / (outer * anatomy.rv_half_height[:, None]))
    outside = level - (1 - anatomy.rv_wall[:, None] / 2)
    after = (outside > 0).int().argmax(dim=1, keepdim=True)
    before = (after - 1).clamp_min(0)
    low, high = outside.gather(1, before), outside.gather(1, after)
    step = offsets_rad.abs()[1]
    crossing = ((before + low / (low - high)) * step)[:, 0]
    return torch.where(after[:, 0] > 0, crossing, torch.full_like(crossing, torch.nan))
