"""The networks as Lightning modules: loss, validation figures, optimiser and schedule."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from torch.optim.swa_utils import AveragedModel

from tagstrain.errors import TagstrainError
from tagstrain.networks import preprocessing
from tagstrain.networks.localization_unet import MAP_STRIDE, LocalizationUNet, find_ventricle
from tagstrain.networks.localizer import LocalizationCNN
from tagstrain.networks.rnncnn import LandmarkRnnCnn, as_grid, from_grid, landmark_loss, loss_strains
from tagstrain.training.config import TrainingConfig
from tagstrain.training.masks import contour_masks

Batch = dict[str, torch.Tensor]


class TrainingError(TagstrainError):
    """Training cannot go on."""


class NetworkTraining(L.LightningModule):
    """What all networks share: Adam with warm-up and cosine decay, and a stop at the first non-finite loss."""

    weights_name: ClassVar[str]
    """What the exported weights call the network."""
    network_settings: ClassVar[dict[str, Any]] = {}
    """Arguments that build the exported network."""

    def __init__(self, config: TrainingConfig, network: torch.nn.Module) -> None:
        super().__init__()
        self.config = config
        # Twice as fast on a CPU, and no slower elsewhere.
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def loss(self, batch: Batch) -> torch.Tensor:
        """Training loss of one batch."""
        raise NotImplementedError

    @property
    def exported(self) -> torch.nn.Module:
        """The network whose weights are used after training."""
        network: torch.nn.Module = self.network
        return network

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """One step; raises `TrainingError` with the batch's seed where the loss is not finite."""
        loss = self.loss(batch)
        if not torch.isfinite(loss):
            seed = batch["seed"].tolist()
            raise TrainingError(
                f"The loss became {loss.item()} at step {self.global_step} on the batch with seed {seed}. "
                "Lower --learning-rate, or resume from the last checkpoint."
            )
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> Any:
        """AdamW; linear warm-up, then a cosine down to 1 % of the learning rate."""
        c = self.config
        optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=c.learning_rate, weight_decay=c.weight_decay, fused=True
        )

        def factor(step: int) -> float:
            progress = min(1.0, step / c.steps)
            return min(1.0, (step + 1) / c.warmup_steps) * (0.505 + 0.495 * math.cos(math.pi * progress))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class LandmarkTraining(NetworkTraining):
    """The RNN-CNN with the original's loss."""

    network: LandmarkRnnCnn
    weights_name = "rnncnn"

    def __init__(self, config: TrainingConfig) -> None:
        network = LandmarkRnnCnn(config.dropout)
        _start_at_circle(network)
        super().__init__(config, network)

    def loss(self, batch: Batch) -> torch.Tensor:
        total, radial, circumferential = landmark_loss(
            self.network(batch["images"]), from_grid(batch["landmarks"]), batch["frame_valid"]
        )
        self.log_dict({"train_radial_error": radial, "train_circumferential_error": circumferential})
        return total

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        predicted, valid = self.network(batch["images"]), batch["frame_valid"]
        error = (as_grid(predicted) - batch["landmarks"]).square().sum(dim=-1).mean(dim=(-1, -2))
        frames = valid.sum(dim=1).clamp_min(1)
        rmse_mm = ((error * valid).sum(dim=1) / frames).sqrt() * batch["pixel_mm"]
        truth = from_grid(batch["landmarks"])
        names = ("val_radial_error", "val_circumferential_error")
        for name, a, b in zip(names, loss_strains(predicted), loss_strains(truth), strict=True):
            self.log(name, (((a - b).abs() * valid).sum(dim=1) / frames).mean(), batch_size=len(valid))
        self.log("val_ed_rmse_mm", (error[:, 0].sqrt() * batch["pixel_mm"]).mean(), batch_size=len(valid))
        self.log("val_rmse_mm", rmse_mm.mean(), prog_bar=True, batch_size=len(valid))


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
        boxes, target = self.network(batch["images"]), batch["boxes"]
        size = (target[:, 2:] - target[:, :2]).mean(dim=1)
        misfit = F.smooth_l1_loss(boxes / size[:, None], target / size[:, None], beta=0.1)
        return 4 * misfit + (1 - box_iou(boxes, target)).mean()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        _log_iou(self, box_iou(self.network(batch["images"]), batch["boxes"]))


class LocalizationUNetTraining(NetworkTraining):
    """Our localisation U-Net: cross-entropy and soft Dice of both maps; an average of the weights is what is used."""

    network: LocalizationUNet
    weights_name = "localizer_unet"
    average_decay = 0.99
    """Share of the averaged weights that stays in each step; 1 / (1 - decay) steps are averaged over."""

    def __init__(self, config: TrainingConfig) -> None:
        super().__init__(config, LocalizationUNet())
        # Early on, fewer steps are averaged over, so that the random start is forgotten soon.
        self.averaged = AveragedModel(self.network, avg_fn=self._average)
        self.averaged.requires_grad_(False)

    @property
    def exported(self) -> torch.nn.Module:
        averaged: torch.nn.Module = self.averaged.module
        return averaged

    def _average(self, averaged: torch.Tensor, now: torch.Tensor, n_averaged: torch.Tensor | int) -> torch.Tensor:
        decay = min(self.average_decay, (1 + int(n_averaged)) / (10 + int(n_averaged)))
        return torch.lerp(now, averaged, decay)

    def loss(self, batch: Batch) -> torch.Tensor:
        logits = self.network(batch["images"])
        contours = (batch["contours"] + 0.5) / MAP_STRIDE - 0.5
        masks = contour_masks(contours, logits.shape[-1])
        known = masks[..., 0, 0].isfinite()
        return segmentation_loss(logits[known], masks[known])

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, and take the new weights into the average: before any callback writes a checkpoint."""
        super().optimizer_step(*args, **kwargs)
        self.update_average()

    def update_average(self) -> None:
        """Take the present weights into the average."""
        self.averaged.update_parameters(self.network)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        maps = self.averaged(batch["images"]).sigmoid().float().cpu().numpy()
        boxes = torch.tensor(np.nan_to_num([find_ventricle(each).box for each in maps]), dtype=torch.float32)
        _log_iou(self, box_iou(boxes.to(batch["boxes"].device), batch["boxes"]))


def segmentation_loss(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy plus one less the soft Dice overlap, both per map and averaged over maps.

    Cross-entropy makes the maps probabilities; Dice counts a small heart as much as a large one.

    Parameters
    ----------
    logits, masks
        Shape ``(map, row, column)``; masks from 0 to 1.
    """
    probabilities = logits.sigmoid()
    overlap = 2 * (probabilities * masks).sum(dim=(-1, -2)) + 1
    dice = overlap / (probabilities.square().sum(dim=(-1, -2)) + masks.square().sum(dim=(-1, -2)) + 1)
    return F.binary_cross_entropy_with_logits(logits, masks) + (1 - dice).mean()


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


def _start_at_circle(network: LandmarkRnnCnn) -> None:
    """Begin with the mean annulus in the middle of the crop rather than with all points in its corner."""
    angle = 2 * math.pi * torch.arange(24) / 24
    radius = torch.linspace(18.0, 39.0, 7)
    x = 63.5 + radius[None] * torch.cos(angle)[:, None]
    y = 63.5 + radius[None] * torch.sin(angle)[:, None]
    with torch.no_grad():
        network.dense_1.bias.copy_(torch.stack([x.flatten(), y.flatten()]).flatten())
        network.dense_1.weight.mul_(0.3)


def training_module(config: TrainingConfig) -> NetworkTraining:
    """Task and network of a run, untrained."""
    if config.task == "rnncnn":
        return LandmarkTraining(config)
    return LocalizationUNetTraining(config) if config.architecture == "unet" else LocalizerTraining(config)


MONITORED = {"rnncnn": "val_rmse_mm", "localizer": "val_iou_loss"}
