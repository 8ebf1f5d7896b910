"""Our placer: the wall of the left ventricle from how the tissue moves (`PlacerNet`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from tagstrain.networks.flow import FIELD_STRIDE, Flow, tag_pattern, warp_back
from tagstrain.networks.preprocessing import blur
from tagstrain.networks.unet import UNet

CAVITY, HEART = 0, 1
"""The maps: inside the endocardium, inside the epicardium, at ED."""
N_MOMENTS = 3
"""Moments of the cycle whose motion the placer sees: the strongest motion, half-way there, late."""
N_VECTOR_CHANNELS = 2 * N_MOMENTS
N_ROTATION_CHANNELS = N_MOMENTS
PLACER_CHANNELS = N_VECTOR_CHANNELS + N_ROTATION_CHANNELS + 3 * N_MOMENTS + 10
PERSISTENCE, GREY_LEVELS = "persistence", "grey levels"
CHANNEL_GROUPS = {
    "motion": slice(0, N_VECTOR_CHANNELS),
    "strain": slice(N_VECTOR_CHANNELS, PLACER_CHANNELS - 10),
    PERSISTENCE: slice(PLACER_CHANNELS - 10, PLACER_CHANNELS - 7),
    GREY_LEVELS: slice(PLACER_CHANNELS - 7, PLACER_CHANNELS - 2),
    "doubt": slice(PLACER_CHANNELS - 2, PLACER_CHANNELS),
}
"""Channels that tell of the same, and that training leaves out together now and then: zero in their place."""
_FOURIER_ORDER = 4


class PlacerNet(nn.Module):
    """Maps of cavity and whole ventricle from the channels of `placer_channels`, ``(batch, channel, 64, 64)``."""

    def __init__(self, in_channels: int = PLACER_CHANNELS, widths: Sequence[int] = (32, 48, 72, 96)) -> None:
        super().__init__()
        self.unet = UNet(in_channels, 2, widths)

    def forward(self, channels: torch.Tensor) -> torch.Tensor:
        """Logits ``(batch, 2, 64, 64)`` of cavity and heart at ED."""
        logits: torch.Tensor = self.unet(channels)
        return logits


def placer_channels(frames: torch.Tensor, flow: Flow) -> torch.Tensor:
    """What the placer sees, on the ED grid of the tracker's field, ``(batch, PLACER_CHANNELS, 64, 64)``.

    Grey levels at ED hardly show where the wall ends, for tags cover blood and muscle alike, and they do not carry
    over from simulation to real images. Motion does: displacement, strain and rotation; how well the tag pattern
    persists, which blood washes away; and frames carried back to ED, late ones among them, where tags have faded.

    Parameters
    ----------
    frames
        Standardised crops ``(batch, time, 128, 128)``.
    flow
        The tracker's answer for them.

    Returns
    -------
        First the ``N_VECTOR_CHANNELS`` (x and y of each moment), then the ``N_ROTATION_CHANNELS``; the others do not
        change when the image is turned or mirrored.
    """
    n, n_frames, size, _ = frames.shape
    motion = flow.displacement_px
    nodes = motion.shape[-1]
    still = motion.flatten(3).median(dim=-1).values[..., None, None]
    motion = motion - still
    extent = motion.square().sum(dim=2).mean(dim=(-1, -2))
    strongest = extent.argmax(dim=1)
    moments = torch.stack(
        [strongest, (strongest + 1) // 2, torch.full_like(strongest, round(0.85 * (n_frames - 1)))], dim=1
    )
    chosen = motion[torch.arange(n, device=frames.device)[:, None], moments]
    area, longest, shortest, rotation = _deformation(chosen)

    pattern = tag_pattern(frames).flatten(0, 1)[:, None]
    everything = torch.cat([pattern, frames.flatten(0, 1)[:, None]], dim=1)
    carried = warp_back(everything, flow.displacement_px.flatten(0, 1)).view(n, n_frames, 2, size, size)
    agreement = tag_agreement(carried[:, :, 0])
    thirds = [max(1, round(share * n_frames)) for share in (0.15, 0.4)]
    persistence = torch.stack(
        [agreement[:, a:b].mean(dim=1) for a, b in ((1, thirds[0] + 1), (thirds[0], thirds[1] + 1), (thirds[1], None))],
        dim=1,
    )
    grey = F.avg_pool2d(carried[:, :, 1], FIELD_STRIDE)
    late, early = grey[:, -max(1, n_frames // 4) :].mean(dim=1), grey[:, : max(2, n_frames // 5)].mean(dim=1)
    middle = carried[:, n_frames // 2, 1]
    roughness = F.avg_pool2d(blur((middle - blur(middle, 4.0)).square(), 4.0).sqrt(), FIELD_STRIDE)
    plain = torch.stack(
        [_standardized(x) for x in (grey[:, 0], blur(early, 2.5), late, late - blur(late, 8.0), roughness)], dim=1
    )
    doubt = flow.log_spread_px[:, 1:]
    spread = torch.stack([doubt.mean(dim=1), doubt[:, -max(1, n_frames // 4) :].mean(dim=1)], dim=1)
    channels = [0.2 * chosen.flatten(1, 2), rotation, area, longest, shortest, persistence, plain, 0.5 * spread]
    return torch.cat([c.reshape(n, -1, nodes, nodes) for c in channels], dim=1)


def _deformation(displacement_px: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Change of area, longest and shortest principal stretch, rotation of fields ``(batch, moment, 2, node, node)``."""
    smooth = blur(displacement_px, 1.2)
    padded = F.pad(smooth.flatten(0, 1), (1, 1, 1, 1), mode="replicate").view(
        *smooth.shape[:3], -1, smooth.shape[-1] + 2
    )
    along_x = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / (2 * FIELD_STRIDE)
    along_y = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / (2 * FIELD_STRIDE)
    a, b = 1 + along_x[:, :, 0], along_y[:, :, 0]
    c, d = along_x[:, :, 1], 1 + along_y[:, :, 1]
    determinant = a * d - b * c
    half_trace = (a * a + b * b + c * c + d * d) / 2
    root = (half_trace.square() - determinant.square()).clamp_min(1e-9).sqrt()
    longest = (half_trace + root).clamp_min(1e-6).sqrt()
    shortest = (half_trace - root).clamp_min(1e-6).sqrt()
    rotation = torch.atan2(c - b, a + d)
    return tuple(  # type: ignore[return-value]
        (3 * value).clamp(-4, 4) for value in (determinant - 1, longest - 1, shortest - 1, rotation)
    )


def tag_agreement(patterns: torch.Tensor) -> torch.Tensor:
    """Local correlation of every pattern ``(batch, time, size, size)`` with the first, on the field's nodes."""
    x = F.avg_pool2d(torch.stack([patterns * patterns[:, :1], patterns.square()], dim=2).flatten(1, 2), FIELD_STRIDE)
    smooth = blur(x, 1.5)
    smooth = smooth.view(len(x), -1, 2, *x.shape[-2:])
    product, power = smooth[:, :, 0], smooth[:, :, 1]
    agreement: torch.Tensor = product / (power * power[:, :1]).clamp_min(1e-4).sqrt()
    return agreement


def _standardized(images: torch.Tensor) -> torch.Tensor:
    mean = images.mean(dim=(-1, -2), keepdim=True)
    deviation = images.std(dim=(-1, -2), keepdim=True).clamp_min(1e-3)
    return ((images - mean) / deviation).clamp(-4, 4)


class Contours(NamedTuple):
    """Endocardium and epicardium at ED, in crop pixels; spoke 0 points along +x, spokes turn towards +y."""

    points_px: torch.Tensor
    """Shape ``(batch, 2, spoke, 2)``."""
    spread_px: torch.Tensor
    """Standard deviation of the border along every spoke, if the map is taken for the chance that the spoke has not
    met it yet, ``(batch, 2, spoke)``. It tells blurred borders from sharp ones; what moves a whole contour it hardly
    knows."""


def contours_of(logits: torch.Tensor, n_spokes: int) -> Contours:
    """Endocardium and epicardium in maps ``(batch, 2, node, node)``.

    Along each ray from the centre the map may only fall; its integral is the expected radius. Radii keep their first
    Fourier terms, and the centre is that of the epicardial contour.
    """
    probability = logits.sigmoid()
    nodes = probability.shape[-1]
    size = nodes * FIELD_STRIDE
    steps = (torch.arange(nodes, device=logits.device, dtype=logits.dtype) + 0.5) * FIELD_STRIDE - 0.5
    weight = probability[:, HEART].pow(3) + 1e-9
    total = weight.sum(dim=(1, 2))
    center = torch.stack([(weight.sum(1) * steps).sum(-1), (weight.sum(2) * steps).sum(-1)], dim=-1) / total[:, None]
    angle = 2 * math.pi * torch.arange(n_spokes, device=logits.device) / n_spokes
    direction = torch.stack([torch.cos(angle), torch.sin(angle)], dim=-1)
    step_px = 0.5
    reach = torch.arange(0, size, step_px, device=logits.device, dtype=logits.dtype) + step_px / 2
    for _ in range(3):
        places = center[:, None, None] + direction[None, :, None] * reach[None, None, :, None]
        along = F.grid_sample(probability, (places + 0.5) * (2 / size) - 1, align_corners=False, padding_mode="border")
        inside = ((places > -0.5) & (places < size - 0.5)).all(dim=-1)
        falling = (along * inside[:, None]).cummin(dim=-1).values
        expected = falling.sum(dim=-1) * step_px
        radius = _low_passed(expected).clamp_min(1.0)
        _, center = area_and_centroid(center[:, None] + direction * radius[:, HEART, :, None])
    radius = torch.stack([torch.minimum(radius[:, CAVITY], radius[:, HEART] - 1.5), radius[:, HEART]], dim=1)
    radius = radius.clamp_min(0.5)
    variance = 2 * (falling * reach).sum(dim=-1) * step_px - expected.square()
    return Contours(center[:, None, None] + direction * radius[..., None], variance.clamp_min(0).sqrt())


def _low_passed(radius: torch.Tensor) -> torch.Tensor:
    spectrum = torch.fft.rfft(radius, dim=-1)
    spectrum[..., _FOURIER_ORDER + 1 :] = 0
    smooth: torch.Tensor = torch.fft.irfft(spectrum, n=radius.shape[-1], dim=-1)
    return smooth


def area_and_centroid(polygons: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Signed area ``(...)`` and centroid ``(..., 2)`` of polygons ``(..., point, 2)``."""
    middle = polygons.mean(dim=-2, keepdim=True)
    here = polygons - middle
    after = here.roll(-1, dims=-2)
    cross = here[..., 0] * after[..., 1] - after[..., 0] * here[..., 1]
    area = cross.sum(dim=-1) / 2
    return area, middle[..., 0, :] + ((here + after) * cross[..., None]).sum(dim=-2) / (6 * area[..., None])
