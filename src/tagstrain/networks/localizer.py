"""The localisation CNN of Ferdian et al.: 256 x 256 image to LV box."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

BatchStatistics = Literal["original", "moving"]
INPUT_SIZE = 256
_CHANNELS = (32, 128, 128, 128, 128)


class LocalizationCNN(nn.Module):
    """Five blocks of convolution, batch normalisation, ReLU and overlapping max-pooling, then two dense layers.

    Ferdian et al., Radiol Cardiothorac Imaging 2020;2(1):e190032. The original reads one channel, frame 0 in raw grey
    levels; ours reads the channels of `tagstrain.networks.preprocessing.localizer_channels`.

    Parameters
    ----------
    in_channels
        1 for the original.
    batch_statistics
        Outside training, ``"moving"`` normalises by the statistics gathered in training; ``"original"`` by those of
        the batch at hand (biased variance), as the predecessor always did, so that a box depends on the images beside
        it: the same image has another box alone than in a batch of 20.
    """

    def __init__(self, in_channels: int = 1, batch_statistics: BatchStatistics = "original") -> None:
        super().__init__()
        self.in_channels = in_channels
        self.batch_statistics = batch_statistics
        widths = (in_channels, *_CHANNELS)
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3) for a, b in pairwise(widths))
        # Keras' momentum 0.99 keeps 99 % of the old value; PyTorch's counts the other way round.
        self.norms = nn.ModuleList(nn.BatchNorm2d(width, eps=1e-3, momentum=0.01) for width in _CHANNELS)
        self.dense1 = nn.Linear(3200, 1024)
        self.dense2 = nn.Linear(1024, 4)
        for layer in [*self.convolutions, self.dense1, self.dense2]:
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Boxes ``(batch, 4)`` x1, y1, x2, y2 [px] of images ``(batch, channel, 256, 256)``."""
        x = images
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = F.max_pool2d(F.relu(self._normalize(norm, convolution(x))), 3, stride=2)
        flat = x.permute(0, 2, 3, 1).flatten(1)  # channel fastest, as TensorFlow stores images
        boxes: torch.Tensor = self.dense2(F.relu(self.dense1(flat)))
        return boxes

    def _normalize(self, norm: nn.Module, x: torch.Tensor) -> torch.Tensor:
        assert isinstance(norm, nn.BatchNorm2d)
        if self.training or self.batch_statistics == "moving":
            normalized: torch.Tensor = norm(x)
            return normalized
        return F.batch_norm(x, None, None, norm.weight, norm.bias, training=True, eps=norm.eps)
