"""Our localiser: a U-Net that marks the left ventricle, and the box around what it marked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage
from torch import nn

from tagstrain.data import Box, Localization
from tagstrain.data.results import BOX_MARGIN
from tagstrain.networks.preprocessing import LOCALIZER_CHANNELS
from tagstrain.networks.unet import UNet

MAP_STRIDE = 2
"""Pixels of the input per pixel of the maps."""
CAVITY, HEART = 0, 1
"""The maps: inside the endocardium, inside the epicardium, at ED."""
_FAINTEST_PEAK = 0.05
_BORDER_PX = 2
_OPENING = 0.6
NOTHING = Localization(Box(np.nan, np.nan, np.nan, np.nan), 0.0)
"""What is said where no ventricle was found."""


class LocalizationUNet(nn.Module):
    """Where the cavity and the whole left ventricle lie at ED, pixel by pixel.

    Unlike a dense layer that gives corners, every pixel of a simulated image teaches it something, and what it
    learned in one place holds in all.
    """

    def __init__(self, in_channels: int = LOCALIZER_CHANNELS, widths: Sequence[int] = (16, 24, 48, 72, 96)) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.unet = UNet(in_channels, 2, widths)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits ``(batch, 2, 128, 128)`` of cavity and heart for images ``(batch, channel, 256, 256)``."""
        logits: torch.Tensor = self.unet(F.avg_pool2d(images, MAP_STRIDE))
        return logits


def find_ventricle(probabilities: NDArray[np.floating]) -> Localization:
    """Box of the left ventricle in maps ``(2, row, column)``, in pixels of the network's input.

    Of the regions where the heart map exceeds half of its peak, the one with the largest sum of both maps is taken,
    without its narrow parts: a ventricle is round, what hangs on it is right ventricle marked by mistake. The extent
    of the epicardium is that of the ellipse with the second moments of what is left, which a bulge moves less than
    it moves the extent itself; the box has 30 % more on every side (the predecessor's rule). Confidence is the mean
    heart probability in the region, times its share of the whole map, times the peak cavity probability in it. Where
    no heart is marked, the box is NaN.
    """
    heart = np.asarray(probabilities[HEART], np.float64)
    level = heart.max() / 2
    # Written so that NaN finds nothing too.
    if not level >= _FAINTEST_PEAK / 2:
        return NOTHING
    region = _heaviest_region(heart > level, heart + probabilities[CAVITY])
    core = _heaviest_region(_without_narrow_parts(region), heart)
    # The soft border belongs to the disc: what of it lies outside makes up for what is missing inside.
    weight = np.where(ndimage.binary_dilation(core, iterations=_BORDER_PX), heart, 0.0)
    (x, half_width), (y, half_height) = _extent(weight.sum(axis=0)), _extent(weight.sum(axis=1))
    reach_x, reach_y = ((1 + 2 * BOX_MARGIN) * half for half in (half_width, half_height))
    corners = np.array([x - reach_x, y - reach_y, x + reach_x, y + reach_y])
    share = heart[region].sum() / heart.sum()
    confidence = heart[region].mean() * share * probabilities[CAVITY][region].max()
    return Localization(Box(*((corners + 0.5) * MAP_STRIDE - 0.5).tolist()), float(confidence))


def _heaviest_region(mask: NDArray[np.bool_], weight: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The connected part of a mask with the largest sum of weights."""
    labels, n_regions = ndimage.label(mask)
    sums = ndimage.sum_labels(weight, labels, np.arange(1, n_regions + 1))
    return np.asarray(labels == 1 + int(np.argmax(sums)))


def _without_narrow_parts(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """What of a region a disc of 0.6 of its radius can cover without leaving it; all of it where that is nothing."""
    radius = _OPENING * np.sqrt(region.sum() / np.pi)
    # Opening by distances, there and back: the same pixels as by a mask of the disc, at a hundredth of the cost.
    middles = ndimage.distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1] > radius
    return ndimage.distance_transform_edt(~middles) <= radius if middles.any() else region


def _extent(profile: NDArray[np.float64]) -> tuple[float, float]:
    """Middle and half extent of the ellipse whose projection has the moments of a profile."""
    steps = np.arange(len(profile))
    middle = np.average(steps, weights=profile)
    return float(middle), float(2 * np.sqrt(np.average((steps - middle) ** 2, weights=profile)))
