"""SPAMM tag physics: the grid of saturation, plain or complementary, and its fading under the imaging pulses."""

from __future__ import annotations

import math

import torch


def steady_state(t1_ms: torch.Tensor, flip_angle_rad: torch.Tensor, repetition_ms: torch.Tensor) -> torch.Tensor:
    """Longitudinal magnetisation that spoiled imaging pulses drive towards, over its equilibrium.

    ``M_ss = (1 - E1) / (1 - E1 cos(flip))`` with ``E1 = exp(-TR / T1)``.

    References
    ----------
    Ernst and Anderson, Rev Sci Instrum 1966;37(1):93; Fischer et al., Magn Reson Med 1993;30(2):191 (tag fading)
    """
    recovery = torch.exp(-repetition_ms / t1_ms)
    return (1 - recovery) / (1 - recovery * torch.cos(flip_angle_rad))


def fading_rate_per_ms(t1_ms: torch.Tensor, flip_angle_rad: torch.Tensor, repetition_ms: torch.Tensor) -> torch.Tensor:
    """Rate at which magnetisation approaches its steady state: ``1 / T1 - ln(cos(flip)) / TR``.

    Every pulse multiplies the distance from the steady state by ``E1 cos(flip)`` (Fischer et al. 1993).
    """
    return 1 / t1_ms - torch.log(torch.cos(flip_angle_rad)) / repetition_ms


def tag_magnetization(
    position_mm: torch.Tensor,
    spacing_mm: torch.Tensor,
    angle_rad: torch.Tensor,
    phase_rad: torch.Tensor,
    depth: torch.Tensor,
    sharpness: torch.Tensor,
) -> torch.Tensor:
    """Longitudinal magnetisation right after the tagging pulses, over its value before them.

    Along each tag normal ``M = 1 - depth ((1 + cos(2 pi x / spacing + phase)) / 2)**sharpness``; sharpness 1 with
    ``depth = 2 sin(flip)**2`` is 1-1 SPAMM exactly (Axel and Dougherty, Radiology 1989;171(3):841). The two
    directions multiply, since the transverse magnetisation of the first is spoiled.

    Parameters
    ----------
    position_mm
        Material positions at tagging, shape ``(scene, point, 2)``.
    spacing_mm, angle_rad, sharpness
        Shape ``(scene, point)`` or ``(scene, 1)``; the angle is that of the first tag normal from +x towards +y.
    phase_rad, depth
        One per direction, shape ``(scene, point, 2)`` or ``(scene, 1, 2)``.

    Returns
    -------
        Shape ``(scene, point)``.
    """
    result = torch.ones_like(position_mm[..., 0])
    for direction, phase in enumerate(_tag_phases_rad(position_mm, spacing_mm, angle_rad, phase_rad)):
        result = result * (1 - depth[..., direction] * _darkness(phase, sharpness))
    return result


def complementary_magnetization(
    position_mm: torch.Tensor,
    spacing_mm: torch.Tensor,
    angle_rad: torch.Tensor,
    phase_rad: torch.Tensor,
    depth: torch.Tensor,
    sharpness: torch.Tensor,
) -> torch.Tensor:
    """What two images whose tags lie half a period apart are left with when one is subtracted from the other.

    Relaxation adds the same to both and cancels out, so that the background stays at zero and tags fade in brightness,
    not in contrast. Along each tag normal ``-depth cos(2 pi x / spacing + phase)`` for a sharpness of 1; in magnitude
    the dark lines lie half a spacing apart. A grid takes four images, and the two directions multiply. Parameters and
    what is returned are those of `tag_magnetization`; a direction of depth 0 is not tagged.

    References
    ----------
    Fischer, McKinnon, Maier and Boesiger, Magn Reson Med 1993;30(2):191
    """
    result = torch.ones_like(position_mm[..., 0])
    for direction, phase in enumerate(_tag_phases_rad(position_mm, spacing_mm, angle_rad, phase_rad)):
        difference = depth[..., direction] * (_darkness(phase + math.pi, sharpness) - _darkness(phase, sharpness))
        result = result * torch.where(depth[..., direction] > 0, difference, 1.0)
    return result


def _tag_phases_rad(
    position_mm: torch.Tensor, spacing_mm: torch.Tensor, angle_rad: torch.Tensor, phase_rad: torch.Tensor
) -> list[torch.Tensor]:
    """Phase of each direction's modulation at the positions; 0 in the middle of a dark line."""
    normal = torch.stack([torch.cos(angle_rad), torch.sin(angle_rad)], dim=-1)
    across = torch.stack([-torch.sin(angle_rad), torch.cos(angle_rad)], dim=-1)
    return [
        2 * torch.pi * (position_mm * axis).sum(dim=-1) / spacing_mm + phase_rad[..., direction]
        for direction, axis in enumerate((normal, across))
    ]


def _darkness(phase_rad: torch.Tensor, sharpness: torch.Tensor) -> torch.Tensor:
    """1 in the middle of a dark line, 0 half-way to the next."""
    return ((1 + torch.cos(phase_rad)) / 2).clamp_min(1e-6) ** sharpness


def mean_tag_magnetization(depth: torch.Tensor, sharpness: torch.Tensor) -> torch.Tensor:
    """Mean of `tag_magnetization` over all positions, for the same ``depth`` and ``sharpness``.

    ``((1 + cos(phase)) / 2)**s`` has the mean ``Gamma(s + 1/2) / (sqrt(pi) Gamma(s + 1))``.
    """
    dark = torch.exp(torch.lgamma(sharpness + 0.5) - torch.lgamma(sharpness + 1)) / math.sqrt(math.pi)
    return (1 - depth * dark[..., None]).prod(dim=-1)


def faded(tagged: torch.Tensor, steady: torch.Tensor, rate_per_ms: torch.Tensor, time_ms: torch.Tensor) -> torch.Tensor:
    """Magnetisation ``time_ms`` after tagging: ``M_ss + (M_0 - M_ss) exp(-rate t)``."""
    return steady + (tagged - steady) * torch.exp(-rate_per_ms * time_ms)
