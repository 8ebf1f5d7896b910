"""Training of the placer: `PlacerTraining`."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from tagstrain.data.landmarks import N_RINGS, N_SPOKES
from tagstrain.networks.flow import FIELD_STRIDE
from tagstrain.networks.placer import PlacerNet, area_and_centroid, contours_of
from tagstrain.training.config import TrainingConfig
from tagstrain.training.masks import contour_masks, segmentation_loss, smooth_contours
from tagstrain.training.modules import Batch, NetworkTraining

_CONTOUR_WEIGHT_PER_PX = 0.02
"""Of the contours' errors in size and place against that of the maps: so small that these stay probabilities."""


class PlacerTraining(NetworkTraining):
    """The placer: cross-entropy and soft Dice of both maps, and where the contours lie that are read from them."""

    network: PlacerNet
    weights_name = "placer"

    def __init__(self, config: TrainingConfig) -> None:
        super().__init__(config, PlacerNet())

    def loss(self, batch: Batch) -> torch.Tensor:
        logits = self.network(batch["images"])
        contours = batch["landmarks"][:, :, [0, N_RINGS - 1]].transpose(1, 2)
        masks = contour_masks((smooth_contours(contours) + 0.5) / FIELD_STRIDE - 0.5, logits.shape[-1])
        # What a crop cuts off, no contour can be read from.
        is_whole = ((contours >= 0) & (contours <= FIELD_STRIDE * logits.shape[-1] - 1)).flatten(1).all(dim=1)
        found, true = (size_and_place(each) for each in (contours_of(logits, N_SPOKES).points_px, contours))
        error_px = (F.smooth_l1_loss(found, true, reduction="none").mean(dim=(1, 2)) * is_whole).mean()
        of_maps = segmentation_loss(logits.flatten(0, 1), masks.flatten(0, 1))
        loss: torch.Tensor = of_maps + _CONTOUR_WEIGHT_PER_PX * error_px
        return loss

    def landmarks_px(self, batch: Batch) -> torch.Tensor:
        """Where the network, as it is, places the landmarks, ``(batch, spoke, ring, 2)`` in crop pixels."""
        return landmarks_between(contours_of(self.network(batch["images"]), N_SPOKES).points_px)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        grid = self.landmarks_px(batch)
        truth, pixel_mm = batch["landmarks"], batch["pixel_mm"]
        n = len(truth)
        rmse = placement_rmse_mm(grid, batch)
        self.log("val_rmse_mm", rmse.mean(), prog_bar=True, batch_size=n)
        self.log("val_worst_rmse_mm", rmse.max(), batch_size=n, reduce_fx="max")
        center = truth[:, :, -1:].mean(dim=1, keepdim=True)
        for name, ring in (("endo", 0), ("epi", N_RINGS - 1)):
            radii = [(points[:, :, ring] - center[:, :, 0]).norm(dim=-1).mean(dim=1) for points in (grid, truth)]
            bias = (radii[0] - radii[1]) * pixel_mm
            self.log(f"val_{name}_radius_bias_mm", bias.mean(), batch_size=n)
            self.log(f"val_{name}_radius_error_mm", bias.abs().mean(), batch_size=n)


def landmarks_between(contours_px: torch.Tensor) -> torch.Tensor:
    """Landmarks ``(batch, spoke, ring, 2)`` from endocardium to epicardium, of contours ``(batch, 2, spoke, 2)``."""
    contours = contours_px.transpose(1, 2)
    depth = torch.linspace(0, 1, N_RINGS, device=contours.device)[:, None]
    return contours[:, :, :1] * (1 - depth) + contours[:, :, 1:] * depth


def placement_rmse_mm(landmarks_px: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Distance from the true landmarks, root mean square over each crop's [mm], ``(batch,)``."""
    square = (landmarks_px - batch["landmarks"]).square().sum(dim=-1)
    return square.mean(dim=(1, 2)).sqrt() * batch["pixel_mm"]


def size_and_place(contours_px: torch.Tensor) -> torch.Tensor:
    """Radius of the circle of the same area and centroid [px] of closed contours ``(..., point, 2)``, ``(..., 3)``."""
    area, centroid = area_and_centroid(contours_px)
    return torch.cat([(area.abs() / math.pi).sqrt()[..., None], centroid], dim=-1)
