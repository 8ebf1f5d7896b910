"""Training of the predecessor's landmark network: `LandmarkTraining`."""

from __future__ import annotations

import math

import torch

from tagstrain.networks.rnncnn import LandmarkRnnCnn, as_grid, from_grid, landmark_loss, loss_strains
from tagstrain.training.config import TrainingConfig
from tagstrain.training.modules import Batch, NetworkTraining


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


def _start_at_circle(network: LandmarkRnnCnn) -> None:
    """Begin with the mean annulus in the middle of the crop rather than with all points in its corner."""
    angle = 2 * math.pi * torch.arange(24) / 24
    radius = torch.linspace(18.0, 39.0, 7)
    x = 63.5 + radius[None] * torch.cos(angle)[:, None]
    y = 63.5 + radius[None] * torch.sin(angle)[:, None]
    with torch.no_grad():
        network.dense_1.bias.copy_(torch.stack([x.flatten(), y.flatten()]).flatten())
        network.dense_1.weight.mul_(0.3)
