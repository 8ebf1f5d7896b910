"""Training of the tracker: `TrackerTraining`."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from tagstrain.networks.flow import FIELD_STRIDE, LOG_SPREAD_LIMITS, Flow, FlowNet, sample_field
from tagstrain.networks.rnncnn import from_grid, loss_strains
from tagstrain.training.config import TrainingConfig
from tagstrain.training.modules import Batch, NetworkTraining


class TrackerTraining(NetworkTraining):
    """The tracker: end-point error, errors of what neighbors do relative to each other, and an honest spread."""

    network: FlowNet
    weights_name = "tracker"
    betas = (0.9, 0.98)

    def __init__(self, config: TrainingConfig) -> None:
        super().__init__(config, FlowNet())

    def loss(self, batch: Batch) -> torch.Tensor:
        return self.loss_of(self.network(batch["images"], batch["times_ms"], slips_px(batch)), batch)

    def loss_of(self, flow: Flow, batch: Batch) -> torch.Tensor:
        """Loss of a motion that was found."""
        error_mm, spread_mm = _landmark_errors_mm(flow, batch)
        # A stretch whose reference frame has no labels says nothing about motion.
        labelled = batch["frame_valid"] & batch["frame_valid"][:, :1]
        valid = labelled[:, :, None, None] * batch["landmark_weight"]
        distance = (error_mm.square().sum(dim=-1) + 1e-3).sqrt()
        # Strain is what neighbors do relative to each other.
        around = (error_mm.roll(-1, dims=2) - error_mm).abs().sum(dim=-1)
        across = (error_mm[:, :, :, 1:] - error_mm[:, :, :, :-1]).abs().sum(dim=-1)
        endpoint = _mean(distance, valid)
        neighbors = _mean(around, valid * valid.roll(-1, dims=2)) + _mean(across, valid[..., 1:] * valid[..., :-1])
        strain = _mean(_strain_errors(flow, batch), valid)
        slice_strain = sum(
            _mean((found - true).abs()[..., None, None], valid.mean(dim=(2, 3), keepdim=True))
            for found, true in zip(*_slice_strains(flow, batch), strict=True)
        )
        # Negative log-likelihood of a Laplace distribution; it shapes the spread and leaves the motion alone.
        unlikely = spread_mm.log() + error_mm.detach().abs().mean(dim=-1) / spread_mm
        self.log_dict({"train_endpoint_mm": endpoint, "train_strain": strain, "train_neighbors_mm": neighbors / 2})
        return endpoint + 0.25 * neighbors + 2.0 * (strain + slice_strain) + 0.1 * _mean(unlikely, valid)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        flow = self.network(batch["images"], batch["times_ms"])
        error_mm, spread_mm = _landmark_errors_mm(flow, batch)
        n, valid = len(error_mm), batch["frame_valid"]
        self.log("val_rmse_mm", rmse_mm(flow, batch).mean(), prog_bar=True, batch_size=n)
        self.log("val_median_mm", error_mm[valid].square().sum(dim=-1).sqrt().median(), batch_size=n)
        predicted, truth = _slice_strains(flow, batch)
        es = truth[1].masked_fill(~valid, 1.0).argmin(dim=1, keepdim=True)
        for name, a, b in zip(("radial", "circumferential"), predicted, truth, strict=True):
            difference = (a - b).gather(1, es)
            self.log(f"val_{name}_error", difference.abs().mean(), batch_size=n)
            self.log(f"val_{name}_bias", difference.mean(), batch_size=n)
        # For a Laplace distribution half of the errors are below ln 2 of the mean absolute error.
        inside = (error_mm.abs() < math.log(2) * spread_mm[..., None])[:, 1:][valid[:, 1:]].float().mean()
        self.log("val_half_inside", inside, batch_size=n)


def sample_landmarks(flow: Flow, ed_landmarks_px: torch.Tensor) -> torch.Tensor:
    """Displacement ``(batch, time, spoke, ring, 2)`` of ED landmarks ``(batch, spoke, ring, 2)``, in crop pixels."""
    moved = sample_field(flow.displacement_px, ed_landmarks_px.flatten(1, 2))
    return moved.view(*moved.shape[:2], *ed_landmarks_px.shape[1:])


def rmse_mm(flow: Flow, batch: Batch) -> torch.Tensor:
    """Root mean square error of every cine ``(batch,)`` over landmarks and the frames that have labels."""
    error_mm, _ = _landmark_errors_mm(flow, batch)
    frame_mse, valid = error_mm.square().sum(dim=-1).mean(dim=(2, 3)), batch["frame_valid"]
    return ((frame_mse * valid).sum(dim=1) / valid.sum(dim=1).clamp_min(1)).sqrt()


def _landmark_errors_mm(flow: Flow, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Error vectors ``(batch, time, spoke, ring, 2)`` and their expected size ``(batch, time, spoke, ring)``."""
    landmarks, pixel_mm = batch["landmarks"], batch["pixel_mm"].view(-1, 1, 1, 1)
    truth = landmarks - landmarks[:, :1]
    error = (sample_landmarks(flow, landmarks[:, 0]) - truth) * pixel_mm[..., None]
    log_spread = sample_field(flow.log_spread_px[:, :, None], landmarks[:, 0].flatten(1, 2))[..., 0]
    spread = log_spread.clamp(*LOG_SPREAD_LIMITS).exp().view(landmarks.shape[:-1]) * pixel_mm
    return error, spread


def _slice_strains(flow: Flow, batch: Batch) -> tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]]:
    """Radial and mid-wall circumferential strain of the slice ``(batch, time)``: found, and true."""
    truth = batch["landmarks"]
    found = sample_landmarks(flow, truth[:, 0]) + truth[:, :1]
    return loss_strains(from_grid(found)), loss_strains(from_grid(truth))


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


def slips_px(batch: Batch, probability: float = 0.05) -> torch.Tensor:
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
    """Mean of ``(batch, time, spoke, ring)``, weighted."""
    share = valid.mean().clamp_min(1e-6)
    return (values * valid).mean() / share
