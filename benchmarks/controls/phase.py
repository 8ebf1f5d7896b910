"""Control: the sequential network, shown the harmonic phase of the tags beside their pattern: `PhaseNet`."""

from __future__ import annotations

import math

import torch
from torch import nn

from tagstrain.networks.flow import FlowNet

STRIDE = 4
"""Crop pixels between features, as in `FlowNet`."""
N_PHASES = 4

SPACING_PX = (3.0, 26.0)
"""Tags 4 to 10 mm apart in crops of any scale."""
LEAST_ANGLE_DEG = 35.0
"""Between the two directions of a grid."""
BANDWIDTH = 0.3
"""Standard deviation of the band-pass over the tag frequency."""


class PhaseNet(FlowNet):
    """`FlowNet` that only follows, shown the cosine and the sine of the harmonic phase of two tag directions too."""

    def __init__(self) -> None:
        super().__init__(correlation=False, refinements=0, looks=1)
        stem = self.features.stem
        more = 2 * N_PHASES * STRIDE**2
        self.features.stem = nn.Conv2d(stem.in_channels + more, stem.out_channels, 3, padding=1)

    def images(self, pattern: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        """With the four images of `harmonic_phases`."""
        return torch.cat([super().images(pattern, frames), harmonic_phases(pattern.float())], dim=2)


def harmonic_phases(pattern: torch.Tensor) -> torch.Tensor:
    """Cosine and sine of the harmonic phase of tags (Osman et al., Magn Reson Med 1999;42:1048).

    Parameters
    ----------
    pattern
        Locally normalised frames ``(batch, time, size, size)``, ED first.

    Returns
    -------
        Shape ``(batch, time, 4, size, size)``: cosine and sine for the stronger direction, then for the other. Both are
        near 0 where a direction leaves no signal.
    """
    size = pattern.shape[-1]
    device = pattern.device
    frequency = torch.fft.fftfreq(size, device=device)
    fy, fx = torch.meshgrid(frequency, frequency, indexing="ij")
    steps = (torch.arange(size, device=device) + 0.5) / size
    window = torch.sin(math.pi * steps)[:, None] * torch.sin(math.pi * steps)
    power = torch.fft.fft2(pattern[:, 0] * window).abs()
    radius = torch.hypot(fx, fy)
    # One of each pair of opposite frequencies.
    half = (fx > 0) | ((fx == 0) & (fy > 0))
    band = half & (radius > 1 / SPACING_PX[1]) & (radius < 1 / SPACING_PX[0])
    power = power * band
    spectrum = torch.fft.fft2(pattern)
    found = []
    for _ in range(2):
        peak = power.flatten(1).argmax(dim=1)
        px, py = fx.flatten()[peak].view(-1, 1, 1), fy.flatten()[peak].view(-1, 1, 1)
        distance = torch.hypot(fx - px, fy - py) / torch.hypot(px, py).clamp_min(1 / size)
        filtered = torch.fft.ifft2(spectrum * torch.exp(-0.5 * (distance / BANDWIDTH) ** 2)[:, None])
        wave = filtered / (filtered.abs() + 0.05)
        found += [wave.real, wave.imag]
        cosine = (fx * px + fy * py).abs() / (radius * torch.hypot(px, py)).clamp_min(1e-9)
        power = power * (cosine < math.cos(math.radians(LEAST_ANGLE_DEG)))
    return torch.stack(found, dim=2)
