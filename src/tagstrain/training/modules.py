"""The two networks as Lightning modules: loss, validation figures, optimiser and schedule."""

from __future__ import annotations

import math
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F

from tagstrain.errors import TagstrainError
from tagstrain.networks import preprocessing
from tagstrain.networks.localizer import LocalizationCNN
from tagstrain.networks.rnncnn import LandmarkRnnCnn, as_grid, from_grid, landmark_loss, loss_strains
from tagstrain.training.config import TrainingConfig

Batch = dict[str, torch.Tensor]


class TrainingError(TagstrainError):
    """Training cannot go on."""


class NetworkTraining(L.LightningModule):
    """What both networks share: Adam with warm-up and cosine decay, and a stop at the first non-finite loss."""

    def __init__(self, config: TrainingConfig, network: torch.nn.Module) -> None:
        super().__init__()
        self.config = config
        # Twice as fast on a CPU, and no slower elsewhere.
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def loss(self, batch: Batch) -> torch.Tensor:
        """Training loss of one batch."""
        raise NotImplementedError

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
        optimizer = torch.optim.AdamW(self.parameters(), lr=c.learning_rate, weight_decay=c.weight_decay, fused=True)

        def factor(step: int) -> float:
            progress = min(1.0, step / c.steps)
            return min(1.0, (step + 1) / c.warmup_steps) * (0.505 + 0.495 * math.cos(math.pi * progress))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class LandmarkTraining(NetworkTraining):
    """The RNN-CNN with the original's loss."""

    network: LandmarkRnnCnn

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
    """The localisation CNN with a loss that weighs small and large hearts alike."""

    network: LocalizationCNN

    def __init__(self, config: TrainingConfig) -> None:
        network = LocalizationCNN(preprocessing.LOCALIZER_CHANNELS, batch_statistics="moving")
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
        iou = box_iou(self.network(batch["images"]), batch["boxes"])
        self.log("val_iou", iou.mean(), prog_bar=True, batch_size=len(iou))
        self.log("val_iou_loss", 1 - iou.mean(), batch_size=len(iou))
        self.log("val_iou_worst", iou.min(), batch_size=len(iou), reduce_fx="min")


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


MODULES: dict[str, type[LandmarkTraining] | type[LocalizerTraining]] = {
    "rnncnn": LandmarkTraining,
    "localizer": LocalizerTraining,
}
MONITORED = {"rnncnn": "val_rmse_mm", "localizer": "val_iou_loss"}
