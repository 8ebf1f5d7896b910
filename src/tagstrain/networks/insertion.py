"""Where the right ventricle begins and ends around the left one: `InsertionNet`."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from tagstrain.networks.placer import N_ROTATION_CHANNELS, N_VECTOR_CHANNELS, PLACER_CHANNELS
from tagstrain.networks.preprocessing import TRACKER_CROP_SIZE
from tagstrain.networks.symmetry import unturn_field, unturn_images

N_ANGLES = 72
"""Rays around the left ventricle, the first along +x, turning towards +y."""
N_RADII = 16
RADII = (0.65, 1.75)
"""First and last sample of a ray over the epicardial radius in its direction."""
BEGIN, END = 0, 1
"""The two insertions: where the right ventricle begins and where it ends, going towards larger angles."""


class InsertionLogits(NamedTuple):
    """What the network says about a slice."""

    insertions: torch.Tensor
    """Logits over the rays, ``(batch, 2, N_ANGLES)``, `BEGIN` and `END`."""
    presence: torch.Tensor
    """Logit that a right ventricle is seen at all, ``(batch,)``."""


class InsertionNet(nn.Module):
    """Reads the placer's channels along rays from the middle of the placed wall.

    Seen along rays, turning the image is shifting it along the angle. Vectors are given by their parts along and
    across the ray and convolutions close around the circle, so that the answer turns with the image.

    Parameters
    ----------
    width
        Channels of the features on the rays.
    ring_width
        Channels of the features around the circle, once the rays are summed up.
    """

    def __init__(self, width: int = 32, ring_width: int = 48) -> None:
        super().__init__()
        self.stem = _RayBlock(PLACER_CHANNELS + 1, width)
        self.rays = _RayBlock(width, width)
        self.collapse = nn.Conv1d(width * N_RADII // 4, ring_width, 1)
        self.ring = nn.ModuleList(_RingBlock(ring_width, dilation) for dilation in (1, 3, 6))
        self.insertions = nn.Conv1d(ring_width, 2, 1)
        self.presence = nn.Linear(2 * ring_width, 1)

    def forward(self, channels: torch.Tensor, epicardium_px: torch.Tensor) -> InsertionLogits:
        """Look around placed walls.

        Parameters
        ----------
        channels
            Of `placer_channels`, ``(batch, channel, node, node)``.
        epicardium_px
            The walls' outer contours ``(batch, point, 2)`` in crop pixels, in angular order, either way around.
        """
        x = F.avg_pool2d(self.stem(along_rays(channels, epicardium_px)), (2, 1))
        x = F.avg_pool2d(self.rays(x), (2, 1))
        x = F.relu(self.collapse(x.flatten(1, 2)))
        for block in self.ring:
            x = block(x)
        summary = torch.cat([x.mean(dim=-1), x.amax(dim=-1)], dim=1)
        return InsertionLogits(self.insertions(x), self.presence(summary)[:, 0])


class _RayBlock(nn.Module):
    """3 x 3 convolution on ``(radius, angle)``, closed along the angle, with group normalisation and ReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(in_channels, out_channels, 3, padding=(1, 0), bias=False)
        self.norm = nn.GroupNorm(out_channels // 8, out_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.norm(self.convolution(F.pad(x, (1, 1, 0, 0), mode="circular"))))


class _RingBlock(nn.Module):
    """Residual convolution of five rays ``dilation`` apart, closed around the circle."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.reach = 2 * dilation
        self.convolution = nn.Conv1d(width, width, 5, dilation=dilation, bias=False)
        self.norm = nn.GroupNorm(width // 8, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        closed = F.pad(x, (self.reach, self.reach), mode="circular")
        return F.relu(self.norm(self.convolution(closed)) + x)


def ray_angles_rad(device: torch.device | str = "cpu") -> torch.Tensor:
    """Direction of every ray, ``(N_ANGLES,)``."""
    return 2 * math.pi * torch.arange(N_ANGLES, device=device) / N_ANGLES


def along_rays(channels: torch.Tensor, epicardium_px: torch.Tensor) -> torch.Tensor:
    """Channels sampled along rays, ``(batch, PLACER_CHANNELS + 1, N_RADII, N_ANGLES)``.

    Rays start at the mean of the contour's points and are as long, relative to one another, as the contour is wide:
    the epicardium is a straight line in the result. The first channels are the vectors' parts along the ray, then
    their parts across it (towards larger angles), then all others; the last one is 1 inside the crop and 0 outside.
    """
    angle = ray_angles_rad(channels.device)
    direction = torch.stack([torch.cos(angle), torch.sin(angle)], dim=-1)
    center = epicardium_px.mean(dim=1)
    reach = contour_radius_px(epicardium_px - center[:, None], angle)
    share = torch.linspace(*RADII, N_RADII, device=channels.device)
    radius = share[None, :, None] * reach[:, None]
    places = center[:, None, None] + radius[..., None] * direction
    unit = (places + 0.5) * (2 / TRACKER_CROP_SIZE) - 1
    sampled = F.grid_sample(channels, unit, align_corners=False, padding_mode="border")
    x, y = sampled[:, 0:N_VECTOR_CHANNELS:2], sampled[:, 1:N_VECTOR_CHANNELS:2]
    cos, sin = direction.unbind(dim=-1)
    inside = (unit.abs() <= 1).all(dim=-1)[:, None].to(sampled.dtype)
    return torch.cat([cos * x + sin * y, cos * y - sin * x, sampled[:, N_VECTOR_CHANNELS:], inside], dim=1)


def contour_radius_px(contour_px: torch.Tensor, angles_rad: torch.Tensor) -> torch.Tensor:
    """Radius of contours ``(batch, point, 2)`` around the origin at given angles, ``(batch, angle)``.

    Linear in the angle between neighbouring points, which may come in either order and start anywhere.
    """
    angle, order = torch.atan2(contour_px[..., 1], contour_px[..., 0]).sort(dim=1)
    radius = contour_px.norm(dim=-1).gather(1, order)
    angle = torch.cat([angle[:, -1:] - 2 * math.pi, angle, angle[:, :1] + 2 * math.pi], dim=1)
    radius = torch.cat([radius[:, -1:], radius, radius[:, :1]], dim=1)
    wanted = torch.atan2(torch.sin(angles_rad), torch.cos(angles_rad)).expand(len(angle), -1).contiguous()
    after = torch.searchsorted(angle.contiguous(), wanted).clamp(1, angle.shape[1] - 1)
    a, b = angle.gather(1, after - 1), angle.gather(1, after)
    share = (wanted - a) / (b - a).clamp_min(1e-6)
    return torch.lerp(radius.gather(1, after - 1), radius.gather(1, after), share)


def mean_direction_rad(probability: torch.Tensor) -> torch.Tensor:
    """Circular mean of distributions over the rays ``(..., N_ANGLES)``."""
    angle = ray_angles_rad(probability.device)
    return torch.atan2((probability * torch.sin(angle)).sum(-1), (probability * torch.cos(angle)).sum(-1))


def probability_within(probability: torch.Tensor, angle_rad: torch.Tensor, reach_rad: float) -> torch.Tensor:
    """Share of distributions over the rays ``(..., N_ANGLES)`` within ``reach_rad`` of ``angle_rad`` ``(...,)``."""
    distance = ray_angles_rad(probability.device) - angle_rad[..., None]
    near = torch.cos(distance) >= math.cos(reach_rad)
    return (probability * near).sum(dim=-1)


def upright_channels(channels: torch.Tensor, symmetry: int) -> torch.Tensor:
    """Channels ``(batch, channel, node, node)`` of a turned view (`turn_images`) as of the view that was turned."""
    n, _, nodes, _ = channels.shape
    vectors = channels[:, :N_VECTOR_CHANNELS].reshape(n, -1, 2, nodes, nodes)
    upright = unturn_field(vectors, symmetry).flatten(1, 2)
    images = unturn_images(channels[:, N_VECTOR_CHANNELS:], symmetry)
    is_mirrored = symmetry.bit_count() % 2 == 1
    rotation = images[:, :N_ROTATION_CHANNELS] * (-1 if is_mirrored else 1)
    return torch.cat([upright, rotation, images[:, N_ROTATION_CHANNELS:]], dim=1)
