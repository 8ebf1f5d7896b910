"""Our tracker: a small recurrent network that follows tissue frame by frame on the ED grid (`FlowNet`)."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from tagstrain.networks.preprocessing import locally_normalized

FIELD_STRIDE = 2
"""Crop pixels between the nodes of the displacement field, along each axis."""
LOG_SPREAD_LIMITS = (-4.0, 4.0)
"""Natural logarithms of the expected error that training tells apart [crop pixels]."""
_STRIDE = 4
_NORMALIZATION_WIDTH_PX = 5.0
_CONTRAST_FLOOR = 0.08


class Flow(NamedTuple):
    """Motion of the tissue, on the ED grid, from ED to every frame."""

    displacement_px: torch.Tensor
    """Shape ``(batch, time, 2, size / 2, size / 2)``: x, y in crop pixels; zero in the first frame."""
    log_spread_px: torch.Tensor
    """Natural logarithm of the expected absolute error along one axis, ``(batch, time, size / 2, size / 2)``."""


class FlowNet(nn.Module):
    """Sequential Lagrangian warp-and-update network.

    Everything lives on the material grid of the first frame. For each further frame the network sees the first frame,
    the new frame warped back by the displacement found so far, the last frame warped back, and what it remembers; it
    answers with the small displacement that is left. One set of weights serves every frame, so that a cine may have
    any number of them.

    Parameters
    ----------
    widths
        Channels at 1/4, 1/8 and 1/16 of the crop's resolution.
    memory
        Channels of the recurrent state (a convolutional GRU, Cho et al. 2014, with 1 x 1 kernels).
    """

    def __init__(self, widths: tuple[int, int, int] = (48, 72, 96), memory: int = 32) -> None:
        super().__init__()
        fine, middle, _ = widths
        self.memory = memory
        patch = _STRIDE**2
        self.stem = nn.Conv2d(3 * patch + 3 + 4 + 2 + memory, fine, 3, padding=1)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairwise(widths))
        self.up = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairwise(widths))
        self.encoder = nn.ModuleList(_ResidualBlock(width) for width in widths)
        self.decoder = nn.ModuleList(_ResidualBlock(width) for width in (fine, middle))
        self.gates = nn.Conv2d(fine + memory, 3 * memory, 1)
        # Per node of the finer field: two components and the logarithm of their spread.
        self.head = nn.Conv2d(fine + memory, 3 * (_STRIDE // FIELD_STRIDE) ** 2, 3, padding=1)
        _silence(self.head)

    def forward(self, frames: torch.Tensor, times_ms: torch.Tensor, slips_px: torch.Tensor | None = None) -> Flow:
        """Follow the tissue from the first frame.

        Parameters
        ----------
        frames
            Standardised crops ``(batch, time, size, size)``, size a multiple of 16, the reference frame first.
        times_ms
            Time since the reference frame ``(batch, time)``; negative where frames run backwards.
        slips_px
            Errors ``(batch, time, 2, size / 2, size / 2)`` put on what was found in the frame before: in training, so
            that the network learns to find back.
        """
        n, n_frames, size, _ = frames.shape
        pattern = locally_normalized(frames, _NORMALIZATION_WIDTH_PX, _CONTRAST_FLOOR)
        half, quarter = size // FIELD_STRIDE, size // _STRIDE
        reference = F.pixel_unshuffle(pattern[:, :1], _STRIDE)
        reference_grey = F.avg_pool2d(frames[:, :1], _STRIDE)
        displacement = frames.new_zeros(n, 2, half, half)
        velocity = torch.zeros_like(displacement)
        state = frames.new_zeros(n, self.memory, quarter, quarter)
        before = reference
        displacements = [displacement]
        spreads = [frames.new_full((n, half, half), -3.0)]
        for t in range(1, n_frames):
            start = displacement if slips_px is None else displacement + slips_px[:, t]
            warped = warp_back(torch.stack([pattern[:, t], frames[:, t]], dim=1), start)
            now = F.pixel_unshuffle(warped[:, :1], _STRIDE)
            grey = F.avg_pool2d(warped[:, 1:], _STRIDE)
            interval_ms = times_ms[:, t] - times_ms[:, t - 1]
            clock = torch.stack([times_ms[:, t] / 1000, interval_ms / 50], dim=1)[:, :, None, None]
            x = torch.cat(
                [
                    reference,
                    now,
                    before,
                    reference_grey,
                    grey,
                    grey - reference_grey,
                    0.1 * F.avg_pool2d(start, FIELD_STRIDE),
                    0.5 * F.avg_pool2d(velocity, FIELD_STRIDE),
                    clock.expand(n, 2, quarter, quarter),
                    state,
                ],
                dim=1,
            ).contiguous(memory_format=torch.channels_last)
            features = self._features(x)
            state = self._remember(features, state)
            answer = F.pixel_shuffle(self.head(torch.cat([features, state], dim=1)), _STRIDE // FIELD_STRIDE).float()
            found = start + answer[:, :2]
            velocity = (found - displacement).detach()
            # Each frame answers for its own step: no gradient runs back through the displacement.
            displacement = found.detach()
            before = F.pixel_unshuffle(warp_back(pattern[:, t : t + 1], displacement), _STRIDE)
            displacements.append(found)
            spreads.append(answer[:, 2])
        return Flow(torch.stack(displacements, dim=1), torch.stack(spreads, dim=1))

    def _features(self, x: torch.Tensor) -> torch.Tensor:
        fine = self.encoder[0](self.stem(x))
        middle = self.encoder[1](self.down[0](fine))
        coarse = self.encoder[2](self.down[1](middle))
        y = self.decoder[1](middle + _doubled(self.up[1](coarse)))
        y = self.decoder[0](fine + _doubled(self.up[0](y)))
        return F.relu(y)

    def _remember(self, features: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        update, reset, candidate = self.gates(torch.cat([features, state], dim=1)).float().chunk(3, dim=1)
        update = torch.sigmoid(update)
        return (1 - update) * state + update * torch.tanh(candidate * torch.sigmoid(reset))


class _ResidualBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, width)
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        _silence(self.second)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = x + self.second(F.relu(self.first(F.relu(self.norm(x)))))
        return y


def _silence(layer: nn.Conv2d) -> None:
    """Start from an answer of zero."""
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)


def _doubled(x: torch.Tensor) -> torch.Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def warp_back(images: torch.Tensor, displacement_px: torch.Tensor) -> torch.Tensor:
    """Images ``(batch, channel, size, size)`` sampled where a field ``(batch, 2, size / 2, size / 2)`` leads."""
    size = images.shape[-1]
    field = F.interpolate(displacement_px, size=(size, size), mode="bilinear", align_corners=False)
    steps = torch.arange(size, device=images.device, dtype=images.dtype)
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    places = torch.stack([x, y], dim=-1) + field.permute(0, 2, 3, 1)
    return F.grid_sample(images, (places + 0.5) * (2 / size) - 1, align_corners=False, padding_mode="border")


def sample_field(field: torch.Tensor, points_px: torch.Tensor) -> torch.Tensor:
    """A field ``(batch, time, channel, size / 2, size / 2)`` at ED points ``(batch, point, 2)`` in crop pixels.

    Returns
    -------
        Shape ``(batch, time, point, channel)``, linear between nodes.
    """
    n, n_frames, n_channels, nodes, _ = field.shape
    unit = (points_px + 0.5) * (2 / (nodes * FIELD_STRIDE)) - 1
    values = F.grid_sample(
        field.flatten(1, 2), unit[:, :, None], mode="bilinear", align_corners=False, padding_mode="border"
    )
    return values.view(n, n_frames, n_channels, -1).transpose(2, 3)
