"""Control: every landmark by itself, found by correlation around where it should be: `PointNet`."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from tagstrain.networks.flow import tag_pattern
from tagstrain.training.tracker_loss import LandmarkMotion

STRIDE = 2
"""Crop pixels between features."""
LEVELS = 3
REACH = 3
"""How far a point is sought around where it should be, in features of each level: 6, 12 and 24 crop pixels."""
ITERATIONS = 4


class PointNet(nn.Module):
    """Iterative point tracker as PIPs (Harley et al., ECCV 2022) and CoTracker (Karaev et al., ECCV 2024) are.

    A point's feature at ED is compared with those of every frame around where the point is thought to be; a
    transformer, over the frames of a point and over the points of a frame in turn, answers with what is left.

    Parameters
    ----------
    width
        Channels of a token.
    features
        Channels of the features that are compared.
    """

    def __init__(self, width: int = 128, features: int = 64, heads: int = 4) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(STRIDE**2 + 1, 48, 3, padding=1), _Residual(48), _Residual(48), nn.Conv2d(48, features, 1)
        )
        correlations = LEVELS * (2 * REACH + 1) ** 2
        self.embed = nn.Linear(correlations + features + 2 + _N_WAVES * 4 + 2, width)
        self.carry = nn.Linear(width, width)
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(2))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 3)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def passes(
        self, frames: torch.Tensor, times_ms: torch.Tensor, ed_landmarks_px: torch.Tensor
    ) -> list[LandmarkMotion]:
        """Motion of the landmarks after every iteration.

        Parameters
        ----------
        frames, times_ms
            As for `FlowNet.forward`.
        ed_landmarks_px
            Shape ``(batch, spoke, ring, 2)``, crop pixels of the first frame.
        """
        n, n_frames, size, _ = frames.shape
        points = ed_landmarks_px.flatten(1, 2)
        pattern = tag_pattern(frames)
        patches = F.pixel_unshuffle(pattern.flatten(0, 1)[:, None], STRIDE)
        grey = F.avg_pool2d(frames.flatten(0, 1)[:, None], STRIDE)
        features = self.encoder(torch.cat([patches, grey], dim=1)).float()
        features = F.normalize(features, dim=1) * math.sqrt(features.shape[1])
        features = features.view(n, n_frames, *features.shape[1:])
        own = F.grid_sample(features[:, 0], _unit(points, size)[:, :, None], align_corners=False, padding_mode="border")
        own = own[..., 0].transpose(1, 2)
        pyramid = self._correlations(features, own)
        clock = torch.stack([times_ms / 1000, F.pad(times_ms.diff(dim=1), (1, 0)) / 50], dim=-1)
        known = torch.cat(
            [
                own[:, None].expand(-1, n_frames, -1, -1),
                _waves(points / size)[:, None].expand(-1, n_frames, -1, -1),
                clock[:, :, None].expand(-1, -1, points.shape[1], -1),
            ],
            dim=-1,
        )
        moves = torch.ones(n_frames, 1, 1, device=frames.device)
        moves[0] = 0
        displacement = frames.new_zeros(n, n_frames, points.shape[1], 2)
        state = 0.0
        shape = (n, n_frames, *ed_landmarks_px.shape[1:3])
        motions = []
        for _ in range(ITERATIONS):
            start = displacement.detach()
            seen = self._around(pyramid, points[:, None] + start, size)
            x = self.embed(torch.cat([seen, known, 0.1 * start], dim=-1)) + state
            for block in self.blocks:
                x = block(x)
            answer = self.head(self.norm(x)).float()
            displacement = start + answer[..., :2] * moves
            state = self.carry(x)
            motions.append(LandmarkMotion(displacement.view(*shape, 2), answer[..., 2].view(shape)))
        return motions

    def _correlations(self, features: torch.Tensor, own: torch.Tensor) -> list[torch.Tensor]:
        """Correlation of every point's feature with all of every frame, ``(batch * time * point, 1, row, column)``."""
        volumes = []
        for level in range(LEVELS):
            coarse = F.avg_pool2d(features.flatten(0, 1), 2**level)
            coarse = coarse.view(*features.shape[:3], *coarse.shape[2:])
            volume = torch.einsum("npc,ntcyx->ntpyx", own, coarse).float() / own.shape[-1]
            volumes.append(volume.flatten(0, 2)[:, None])
        return volumes

    def _around(self, pyramid: list[torch.Tensor], places_px: torch.Tensor, size: int) -> torch.Tensor:
        """Correlation around places ``(batch, time, point, 2)``, ``(batch, time, point, correlation)``."""
        steps = torch.arange(-REACH, REACH + 1, device=places_px.device, dtype=places_px.dtype)
        offsets_px = STRIDE * torch.stack(torch.meshgrid(steps, steps, indexing="xy"), dim=-1)
        center = places_px.reshape(-1, 1, 1, 2)
        seen = [
            F.grid_sample(volume, _unit(center + offsets_px * 2**level, size), align_corners=False).flatten(1)
            for level, volume in enumerate(pyramid)
        ]
        return torch.cat(seen, dim=-1).view(*places_px.shape[:3], -1)


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, width)
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = x + self.second(F.relu(self.first(F.relu(self.norm(x)))))
        return y


class _Block(nn.Module):
    """Attention over the frames of a point, attention over the points of a frame, and a perceptron."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.over_time = _Attention(width, heads)
        self.over_points = _Attention(width, heads)
        self.perceptron = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.GELU(), nn.Linear(3 * width, width)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.over_time(x.transpose(1, 2)).transpose(1, 2)
        x = x + self.over_points(x)
        y: torch.Tensor = x + self.perceptron(x)
        return y


class _Attention(nn.Module):
    """Self-attention along the third axis of ``(batch, group, token, channel)``."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, n_groups, n_tokens, width = x.shape
        projected = self.project(self.norm(x)).view(n * n_groups, n_tokens, 3, self.heads, width // self.heads)
        query, key, value = projected.permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(query, key, value).transpose(1, 2)
        answer: torch.Tensor = self.out(y.reshape(x.shape))
        return answer


_N_WAVES = 4


def _waves(positions: torch.Tensor) -> torch.Tensor:
    """Sines and cosines of positions ``(..., 2)`` in the crop, 0 to 1: ``(..., 4 * _N_WAVES)``."""
    turns = 2.0 ** torch.arange(_N_WAVES, device=positions.device, dtype=positions.dtype)
    angle = (math.pi * positions[..., None] * turns).flatten(-2)
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


def _unit(places_px: torch.Tensor, size: int) -> torch.Tensor:
    """Crop pixels in the coordinates of `grid_sample`."""
    return (places_px + 0.5) * (2 / size) - 1
