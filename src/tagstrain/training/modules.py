"""The networks as Lightning modules: loss, validation figures, optimiser and schedule."""

from __future__ import annotations

import math
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F

from tagstrain.data.landmarks import N_RINGS, N_SPOKES
from tagstrain.errors import TagstrainError
from tagstrain.networks import preprocessing
from tagstrain.networks.flow import FIELD_STRIDE, Flow, FlowNet, sample_field
from tagstrain.networks.localizer import LocalizationCNN
from tagstrain.networks.placer import PlacerNet, contours_of
from tagstrain.networks.rnncnn import LandmarkRnnCnn, as_grid, from_grid, landmark_loss, loss_strains
from tagstrain.training.config import TrainingConfig
from tagstrain.training.masks import contour_masks

Batch = dict[str, torch.Tensor]


class TrainingError(TagstrainError):
    """Training cannot go on."""


class NetworkTraining(L.LightningModule):
    """What both networks share: Adam with warm-up and cosine decay, and a stop at the first non-finite loss."""

    betas = (0.9, 0.999)

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
        optimizer = torch.optim.AdamW(
            self.parameters(), lr=c.learning_rate, betas=self.betas, weight_decay=c.weight_decay, fused=True
        )

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


class TrackerTraining(NetworkTraining):
    """The tracker: end-point error, errors of what neighbors do relative to each other, and an honest spread."""

    network: FlowNet
    betas = (0.9, 0.98)

    def __init__(self, config: TrainingConfig) -> None:
        super().__init__(config, FlowNet())

    def loss(self, batch: Batch) -> torch.Tensor:
        flow = self.network(batch["images"], batch["times_ms"], _slips_px(batch))
        error_mm, spread_mm = _landmark_errors_mm(flow, batch)
        valid = batch["frame_valid"][:, :, None, None].float()
        distance = (error_mm.square().sum(dim=-1) + 1e-3).sqrt()
        # Strain is what neighbors do relative to each other.
        around = (error_mm.roll(-1, dims=2) - error_mm).abs().sum(dim=-1)
        across = (error_mm[:, :, :, 1:] - error_mm[:, :, :, :-1]).abs().sum(dim=-1)
        endpoint = _mean(distance, valid)
        neighbors = (_mean(around, valid) + _mean(across, valid)) / 2
        strain = _mean(_strain_errors(flow, batch), valid)
        # Negative log-likelihood of a Laplace distribution; it shapes the spread and leaves the motion alone.
        unlikely = spread_mm.log() + error_mm.detach().abs().mean(dim=-1) / spread_mm
        self.log_dict({"train_endpoint_mm": endpoint, "train_strain": strain, "train_neighbors_mm": neighbors})
        return endpoint + 0.5 * neighbors + 2.0 * strain + 0.1 * _mean(unlikely, valid)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        flow = self.network(batch["images"], batch["times_ms"])
        error_mm, spread_mm = _landmark_errors_mm(flow, batch)
        n = len(error_mm)
        rmse_mm = error_mm.square().sum(dim=-1).mean(dim=(1, 2, 3)).sqrt()
        self.log("val_rmse_mm", rmse_mm.mean(), prog_bar=True, batch_size=n)
        self.log("val_median_mm", error_mm.square().sum(dim=-1).sqrt().median(), batch_size=n)
        found = sample_landmarks(flow, batch["landmarks"][:, 0]) + batch["landmarks"][:, :1]
        predicted, truth = loss_strains(from_grid(found)), loss_strains(from_grid(batch["landmarks"]))
        es = truth[1].argmin(dim=1, keepdim=True)
        for name, a, b in zip(("radial", "circumferential"), predicted, truth, strict=True):
            difference = (a - b).gather(1, es)
            self.log(f"val_{name}_error", difference.abs().mean(), batch_size=n)
            self.log(f"val_{name}_bias", difference.mean(), batch_size=n)
        # For a Laplace distribution half of the errors are below ln 2 of the mean absolute error.
        inside = (error_mm[:, 1:].abs() < math.log(2) * spread_mm[:, 1:, ..., None]).float().mean()
        self.log("val_half_inside", inside, batch_size=n)


class PlacerTraining(NetworkTraining):
    """The placer: cross-entropy and soft Dice of both maps, and the radii that are read from them."""

    network: PlacerNet

    def __init__(self, config: TrainingConfig) -> None:
        super().__init__(config, PlacerNet())

    def loss(self, batch: Batch) -> torch.Tensor:
        logits = self.network(batch["images"])
        contours = batch["landmarks"][:, :, [0, N_RINGS - 1]].transpose(1, 2)
        masks = contour_masks((contours + 0.5) / FIELD_STRIDE - 0.5, logits.shape[-1])
        return segmentation_loss(logits.flatten(0, 1), masks.flatten(0, 1))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        found = contours_of(self.network(batch["images"]), N_SPOKES).points_px.transpose(1, 2)
        truth = batch["landmarks"]
        depth = torch.linspace(0, 1, N_RINGS, device=found.device)[:, None]
        grid = found[:, :, :1] * (1 - depth) + found[:, :, 1:] * depth
        pixel_mm, n = batch["pixel_mm"], len(truth)
        rmse = (grid - truth).square().sum(dim=-1).mean(dim=(1, 2)).sqrt() * pixel_mm
        self.log("val_rmse_mm", rmse.mean(), prog_bar=True, batch_size=n)
        self.log("val_worst_rmse_mm", rmse.max(), batch_size=n, reduce_fx="max")
        center = truth[:, :, -1:].mean(dim=1, keepdim=True)
        for name, ring in (("endo", 0), ("epi", N_RINGS - 1)):
            radii = [(points[:, :, ring] - center[:, :, 0]).norm(dim=-1).mean(dim=1) for points in (grid, truth)]
            bias = (radii[0] - radii[1]) * pixel_mm
            self.log(f"val_{name}_radius_bias_mm", bias.mean(), batch_size=n)
            self.log(f"val_{name}_radius_error_mm", bias.abs().mean(), batch_size=n)


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


def sample_landmarks(flow: Flow, ed_landmarks_px: torch.Tensor) -> torch.Tensor:
    """Displacement ``(batch, time, spoke, ring, 2)`` of ED landmarks ``(batch, spoke, ring, 2)``, in crop pixels."""
    moved = sample_field(flow.displacement_px, ed_landmarks_px.flatten(1, 2))
    return moved.view(*moved.shape[:2], *ed_landmarks_px.shape[1:])


def _landmark_errors_mm(flow: Flow, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Error vectors ``(batch, time, spoke, ring, 2)`` and their expected size ``(batch, time, spoke, ring)``."""
    landmarks, pixel_mm = batch["landmarks"], batch["pixel_mm"].view(-1, 1, 1, 1)
    truth = landmarks - landmarks[:, :1]
    error = (sample_landmarks(flow, landmarks[:, 0]) - truth) * pixel_mm[..., None]
    log_spread = sample_field(flow.log_spread_px[:, :, None], landmarks[:, 0].flatten(1, 2))[..., 0]
    spread = log_spread.clamp(-4, 4).exp().view(landmarks.shape[:-1]) * pixel_mm
    return error, spread


def _strain_errors(flow: Flow, batch: Batch) -> torch.Tensor:
    """Absolute error of radial and circumferential Green strain ``(batch, time, spoke, ring)`` over short chords."""
    truth = batch["landmarks"]
    found = sample_landmarks(flow, truth[:, 0]) + truth[:, :1]

    def green(points: torch.Tensor) -> torch.Tensor:
        around = (points.roll(-1, dims=2) - points).square().sum(dim=-1)
        # Across two rings: one is thinner than what the images can tell.
        across = (points[:, :, :, 2:] - points[:, :, :, :-2]).square().sum(dim=-1)
        across = torch.cat([across[..., :1], across, across[..., -1:]], dim=-1)
        chords = torch.stack([around, across])
        return (chords / chords[:, :, :1].clamp_min(1e-3) - 1) / 2

    return (green(found) - green(truth)).abs().clamp_max(1.0).sum(dim=0)


def _slips_px(batch: Batch, probability: float = 0.05) -> torch.Tensor:
    """Smooth errors of up to about a tag period for some frames ``(batch, time, 2, size / 2, size / 2)``, else zero."""
    n, n_frames, size, _ = batch["images"].shape
    device = batch["images"].device
    coarse = torch.randn(n * n_frames, 2, 5, 5, device=device)
    struck = (torch.rand(n * n_frames, device=device) < probability) * torch.rand(n * n_frames, device=device)
    nodes = size // FIELD_STRIDE
    smooth = F.interpolate(coarse * (3 * struck)[:, None, None, None], size=(nodes, nodes), mode="bicubic")
    smooth = smooth.view(n, n_frames, 2, nodes, nodes) / batch["pixel_mm"].view(-1, 1, 1, 1, 1)
    smooth[:, 0] = 0
    return smooth


def _mean(values: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Mean of ``(batch, time, spoke, ring)`` over the frames that have labels."""
    share = valid.mean().clamp_min(1e-6)
    return (values * valid).mean() / share


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


MODULES: dict[str, type[LandmarkTraining] | type[LocalizerTraining] | type[TrackerTraining] | type[PlacerTraining]] = {
    "rnncnn": LandmarkTraining,
    "localizer": LocalizerTraining,
    "tracker": TrackerTraining,
    "placer": PlacerTraining,
}
MONITORED = {"rnncnn": "val_rmse_mm", "localizer": "val_iou_loss", "tracker": "val_rmse_mm", "placer": "val_rmse_mm"}
