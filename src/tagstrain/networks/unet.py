"""A small U-Net: images in, maps of the same size out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

_GROUP_CHANNELS = 8


class ConvolutionBlock(nn.Module):
    """Two 3 x 3 convolutions, each followed by group normalisation and ReLU, around a shortcut."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        groups = max(1, out_channels // _GROUP_CHANNELS)
        self.convolution1 = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.norm1 = nn.GroupNorm(groups, out_channels)
        self.convolution2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(groups, out_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.norm1(self.convolution1(x)))
        return F.relu(self.norm2(self.convolution2(x)) + x)


class UNet(nn.Module):
    """Encoder and decoder with additive skips.

    Every level halves the resolution by averaging; on the way back each level's features are brought to the width of
    the finer one by a 1 x 1 convolution, enlarged bilinearly and added to the encoder's. Addition instead of
    concatenation halves the work of the decoder. Group normalisation makes an image independent of its batch.

    Parameters
    ----------
    in_channels, out_channels
        Of the images and of the maps.
    widths
        Channels of each level, finest first; multiples of 8. The number of levels less one is how often the sides of
        an image must be divisible by two.
    """

    def __init__(self, in_channels: int, out_channels: int, widths: Sequence[int] = (16, 24, 48, 72, 96)) -> None:
        super().__init__()
        if any(width < 1 or width % _GROUP_CHANNELS for width in widths):
            raise ValueError(f"widths: expected multiples of {_GROUP_CHANNELS}, got {tuple(widths)}")
        self.divisor = 2 ** (len(widths) - 1)
        self.encoders = nn.ModuleList(ConvolutionBlock(a, b) for a, b in pairwise((in_channels, *widths)))
        self.narrowings = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairwise(widths))
        self.decoders = nn.ModuleList(ConvolutionBlock(width, width) for width in widths[:-1])
        self.head = nn.Conv2d(widths[0], out_channels, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Maps ``(batch, out_channels, row, column)`` of images ``(batch, in_channels, row, column)``.

        Raises
        ------
        ValueError
            If a side of the images cannot be halved as often as the network has levels.
        """
        if images.shape[-1] % self.divisor or images.shape[-2] % self.divisor:
            raise ValueError(f"images: expected sides divisible by {self.divisor}, got {tuple(images.shape[-2:])}")
        skips: list[torch.Tensor] = []
        x = images.to(self.head.weight.dtype)  # half precision, where it is made use of (`half_precision`)
        for encoder in self.encoders:
            x = encoder(F.avg_pool2d(x, 2) if skips else x)
            skips.append(x)
        for level in reversed(range(len(self.decoders))):
            narrowed = self.narrowings[level](x)
            enlarged = F.interpolate(narrowed, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = self.decoders[level](enlarged + skips[level])
        maps: torch.Tensor = self.head(x).float()
        return maps
