"""Control: all frames at once, each compared with ED where it lies: `DirectNet`."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from tagstrain.networks.flow import FIELD_STRIDE, Flow, doubled, silence, tag_pattern

STRIDE = 4


class DirectNet(nn.Module):
    """Space-time U-Net that answers with the displacement of all frames in one go.

    It sees the same images as `FlowNet`, but neither follows the tissue nor warps it. Convolutions are factorised into
    space and time (Tran et al., CVPR 2018).

    Parameters
    ----------
    widths
        Channels at 1/4, 1/8 and 1/16 of the crop's resolution.
    """

    def __init__(self, widths: tuple[int, int, int] = (48, 72, 96)) -> None:
        super().__init__()
        fine, middle, _ = widths
        self.stem = nn.Conv2d(2 * STRIDE**2 + 3 + 2, fine, 3, padding=1)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairwise(widths))
        self.up = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairwise(widths))
        self.encoder = nn.ModuleList(_SpaceTimeBlock(width) for width in widths)
        self.decoder = nn.ModuleList(_SpaceTimeBlock(width) for width in (fine, middle))
        self.head = nn.Conv2d(fine, 3 * (STRIDE // FIELD_STRIDE) ** 2, 3, padding=1)
        silence(self.head)

    def forward(self, frames: torch.Tensor, times_ms: torch.Tensor) -> Flow:
        """Motion from the first frame to all others; arguments as for `FlowNet.forward`."""
        n, n_frames = frames.shape[:2]
        pattern = tag_pattern(frames)
        patches = F.pixel_unshuffle(pattern[:, :, None], STRIDE)
        grey = F.avg_pool2d(frames, STRIDE)[:, :, None]
        interval_ms = F.pad(times_ms.diff(dim=1), (1, 0))
        clock = torch.stack([times_ms / 1000, interval_ms / 50], dim=2)[..., None, None]
        seen = [
            patches[:, :1].expand_as(patches),
            patches,
            grey[:, :1].expand_as(grey),
            grey,
            grey - grey[:, :1],
            clock.expand(n, n_frames, 2, *grey.shape[-2:]),
        ]
        x = torch.cat(seen, dim=2).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        fine = self.encoder[0](self.stem(x), n_frames)
        middle = self.encoder[1](self.down[0](fine), n_frames)
        coarse = self.encoder[2](self.down[1](middle), n_frames)
        y = self.decoder[1](middle + doubled(self.up[1](coarse)), n_frames)
        y = F.relu(self.decoder[0](fine + doubled(self.up[0](y)), n_frames))
        answer = F.pixel_shuffle(self.head(y), STRIDE // FIELD_STRIDE).float()
        answer = answer.view(n, n_frames, *answer.shape[1:])
        still = torch.zeros_like(answer[:, :1, :2])
        return Flow(torch.cat([still, answer[:, 1:, :2]], dim=1), answer[:, :, 2])


class _SpaceTimeBlock(nn.Module):
    """Two convolutions in space, one over five frames, around a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, width)
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.time = nn.Conv2d(width, width, (5, 1), padding=(2, 0))
        self.second = nn.Conv2d(width, width, 3, padding=1)
        silence(self.second)

    def forward(self, x: torch.Tensor, n_frames: int) -> torch.Tensor:
        y = F.relu(self.first(F.relu(self.norm(x))))
        # Rows are frames and columns are places.
        over_time = y.view(-1, n_frames, *y.shape[1:]).transpose(1, 2).flatten(3)
        moved = self.time(over_time).view(over_time.shape[0], -1, n_frames, *y.shape[2:])
        y = F.relu(y + moved.transpose(1, 2).flatten(0, 1))
        changed: torch.Tensor = x + self.second(y)
        return changed
