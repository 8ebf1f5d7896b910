"""Training of the localizers, ours and the predecessor's."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F

from tagstrain.networks import preprocessing
from tagstrain.networks.localization_unet import MAP_STRIDE, LocalizationUNet, find_ventricle
from tagstrain.networks.localizer import LocalizationCNN
from tagstrain.training.config import TrainingConfig
from tagstrain.training.masks import contour_masks, segmentation_loss
from tagstrain.training.modules import Batch, NetworkTraining


class LocalizerTraining(NetworkTraining):
    """The predecessor's localisation CNN with a loss that weighs small and large hearts alike."""

    network: LocalizationCNN
    weights_name = "localizer"
    network_settings: ClassVar[dict[str, Any]] = {
        "in_channels": preprocessing.LOCALIZER_CHANNELS,
        "batch_statistics": "moving",
    }

    def __init__(self, config: TrainingConfig) -> None:
        network = LocalizationCNN(**self.network_settings)
        for norm in network.norms:
            assert isinstance(norm, torch.nn.BatchNorm2d)
            # The original's 0.01 needs tens of thousands of steps to settle.
            norm.momentum = 0.03
        with torch.no_grad():
            network.dense2.bias.copy_(torch.tensor([96.0, 96.0, 160.0, 160.0]))
        super().__init__(config, network)

    def loss(self, batch: Batch) -> torch.Tensor:
        boxes = self.network(batch["images"])
        # Where there is no ventricle, any box will do.
        target = torch.where(batch["boxes"].isfinite(), batch["boxes"], boxes.detach())
        size = (target[:, 2:] - target[:, :2]).mean(dim=1)
        misfit = F.smooth_l1_loss(boxes / size[:, None], target / size[:, None], beta=0.1)
        return 4 * misfit + (1 - box_iou(boxes, target)).mean()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        _log_iou(self, box_iou(self.network(batch["images"]), batch["boxes"]))


class LocalizationUNetTraining(NetworkTraining):
    """Our localisation U-Net: cross-entropy and soft Dice of both maps."""

    network: LocalizationUNet
    weights_name = "localizer_unet"

    def __init__(self, config: TrainingConfig) -> None:
        super().__init__(config, LocalizationUNet())

    def loss(self, batch: Batch) -> torch.Tensor:
        logits = self.network(batch["images"])
        contours = (batch["contours"] + 0.5) / MAP_STRIDE - 0.5
        masks = contour_masks(contours, logits.shape[-1])
        known = masks[..., 0, 0].isfinite()
        return segmentation_loss(logits[known], masks[known])

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        maps = self.network(batch["images"]).sigmoid().float().cpu().numpy()
        boxes = torch.tensor(np.nan_to_num([find_ventricle(each).box for each in maps]), dtype=torch.float32)
        _log_iou(self, box_iou(boxes.to(batch["boxes"].device), batch["boxes"]))


def _log_iou(module: NetworkTraining, iou: torch.Tensor) -> None:
    module.log("val_iou", iou.mean(), prog_bar=True, batch_size=len(iou))
    module.log("val_iou_loss", 1 - iou.mean(), batch_size=len(iou))
    module.log("val_iou_worst", iou.min(), batch_size=len(iou), reduce_fx="min")


def box_iou(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Intersection over union ``(batch,)`` of boxes ``(batch, 4)``; 0 for boxes that do not meet."""
    extent = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp_min(0)
    intersection = extent.prod(dim=1)
    area_a = (a[:, 2:] - a[:, :2]).clamp_min(0).prod(dim=1)
    area_b = (b[:, 2:] - b[:, :2]).clamp_min(0).prod(dim=1)
    return intersection / (area_a + area_b - intersection).clamp_min(1e-6)
