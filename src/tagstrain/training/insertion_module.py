"""Training of the insertion network: `InsertionTraining`."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from tagstrain.data.landmarks import N_RINGS
from tagstrain.networks.insertion import BEGIN, END, InsertionLogits, InsertionNet, mean_direction_rad, ray_angles_rad
from tagstrain.training.config import TrainingConfig
from tagstrain.training.modules import Batch, NetworkTraining

TARGET_SPREAD_RAD = math.radians(6.0)
"""Width of the target around the true insertion: how sharply the simulator's insertions could be told by eye."""


class InsertionTraining(NetworkTraining):
    """Cross-entropy of both insertions with a von Mises target, and of whether there is a right ventricle."""

    network: InsertionNet
    weights_name = "insertion"

    def __init__(self, config: TrainingConfig) -> None:
        super().__init__(config, InsertionNet())

    def loss(self, batch: Batch) -> torch.Tensor:
        logits: InsertionLogits = self.network(batch["images"], batch["landmarks"][:, :, N_RINGS - 1])
        angles = true_angles_rad(batch)
        present = angles.isfinite().all(dim=1)
        loss: torch.Tensor = F.binary_cross_entropy_with_logits(logits.presence, present.float())
        if present.any():
            distance = ray_angles_rad(angles.device) - angles[present][..., None]
            target = (torch.cos(distance) / TARGET_SPREAD_RAD**2).softmax(dim=-1)
            return loss + F.cross_entropy(logits.insertions[present].flatten(0, 1), target.flatten(0, 1))
        # Processes that train together wait for every weight's gradient.
        return loss + 0 * logits.insertions.sum()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        logits = self.network(batch["images"], batch["landmarks"][:, :, N_RINGS - 1])
        angles = true_angles_rad(batch)
        present = angles.isfinite().all(dim=1)
        n, n_present = len(angles), int(present.sum())
        found = mean_direction_rad(logits.insertions.softmax(dim=-1))
        apart = (found - angles)[present]
        error_deg = torch.rad2deg(torch.atan2(torch.sin(apart), torch.cos(apart)).abs())
        right = (logits.presence > 0) == present
        self.log("val_presence_accuracy", right.float().mean(), batch_size=n)
        if n_present:
            self.log("val_error_deg", error_deg.mean(), prog_bar=True, batch_size=n_present)
            self.log("val_within_15_deg", (error_deg < 15).float().mean(), batch_size=n_present)


def true_angles_rad(batch: Batch) -> torch.Tensor:
    """Directions of the true insertions from the middle of the shown wall, ``(batch, 2)``; NaN without an RV.

    Mirroring an image exchanges where the RV begins and where it ends; its middle tells.
    """
    center = batch["landmarks"][:, :, N_RINGS - 1].mean(dim=1, keepdim=True)
    offset = batch["insertions"] - center
    first, middle, last = torch.atan2(offset[..., 1], offset[..., 0]).unbind(dim=1)
    turn = 2 * math.pi
    is_mirrored = torch.remainder(middle - first, turn) > torch.remainder(last - first, turn)
    angles = torch.stack([first, last], dim=1)
    return torch.where(is_mirrored[:, None], angles[:, [END, BEGIN]], angles)
