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
        # Every pass answers for what it adds: no gradient runs back into the one before.
        flows = self.network.passes(batch["images"], batch["times_ms"], _slips_px(batch))
        parts = [flow_losses(flow, batch) for flow in flows]
        self.log_dict({f"train_{name}": value for name, value in parts[-1].items()})
        total = sum(
            part["endpoint_mm"] + 0.5 * part["neighbors_mm"] + 2.0 * part["strain"] + 0.1 * part["unlikely"]
            for part in parts
        )
        assert isinstance(total, torch.Tensor)
        return total

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        flow = self.network(batch["images"], batch["times_ms"])
        error_mm, spread_mm = _landmark_errors_mm(flow, batch)
        n, valid = len(error_mm), batch["frame_valid"]
        frame_mse = error_mm.square().sum(dim=-1).mean(dim=(2, 3))
        rmse_mm = ((frame_mse * valid).sum(dim=1) / valid.sum(dim=1).clamp_min(1)).sqrt()
        self.log("val_rmse_mm", rmse_mm.mean(), prog_bar=True, batch_size=n)
        self.log("val_median_mm", error_mm[valid].square().sum(dim=-1).sqrt().median(), batch_size=n)
        landmarks = batch["landmarks"]
        found = landmarks + error_mm / batch["pixel_mm"].view(-1, 1, 1, 1, 1)
        predicted, truth = loss_strains(from_grid(found)), loss_strains(from_grid(landmarks))
        es = truth[1].masked_fill(~valid, 1.0).argmin(dim=1, keepdim=True)
        for name, a, b in zip(("radial", "circumferential"), predicted, truth, strict=True):
            difference = (a - b).gather(1, es)
            self.log(f"val_{name}_error", difference.abs().mean(), batch_size=n)
            self.log(f"val_{name}_bias", difference.mean(), batch_size=n)
        # For a Laplace distribution half of the errors are below ln 2 of the mean absolute error.
        inside = (error_mm.abs() < math.log(2) * spread_mm[..., None])[:, 1:][valid[:, 1:]].float().mean()
        self.log("val_half_inside", inside, batch_size=n)


def flow_losses(flow: Flow, batch: Batch) -> dict[str, torch.Tensor]:
    """What a tracker is taught by, each a mean over the frames that have labels.

    Returns
    -------
        ``endpoint_mm``; ``neighbors_mm``, errors of what neighboring landmarks do relative to each other; ``strain``,
        errors of Green strain over short chords and of the slice's; ``unlikely``, the negative log-likelihood of a
        Laplace distribution, which shapes the stated error and leaves the motion alone.
    """
    error_mm, spread_mm = _landmark_errors_mm(flow, batch)
    # A stretch whose reference frame has no labels says nothing about motion.
    labelled = batch["frame_valid"] & batch["frame_valid"][:, :1]
    valid = labelled[:, :, None, None].float()
    distance = (error_mm.square().sum(dim=-1) + 1e-3).sqrt()
    # Strain is what neighbors do relative to each other.
    around = (error_mm.roll(-1, dims=2) - error_mm).abs().sum(dim=-1)
    across = (error_mm[:, :, :, 1:] - error_mm[:, :, :, :-1]).abs().sum(dim=-1)
    truth = batch["landmarks"]
    found = truth + error_mm / batch["pixel_mm"].view(-1, 1, 1, 1, 1)
    strain = _mean(_strain_errors(found, truth), valid)
    for of_slice, true in zip(loss_strains(from_grid(found)), loss_strains(from_grid(truth)), strict=True):
        strain = strain + _mean((of_slice - true).abs()[..., None, None], valid)
    unlikely = spread_mm.log() + error_mm.detach().abs().mean(dim=-1) / spread_mm
    return {
        "endpoint_mm": _mean(distance, valid),
        "neighbors_mm": (_mean(around, valid) + _mean(across, valid)) / 2,
        "strain": strain,
        "unlikely": _mean(unlikely, valid),
    }


def _landmark_errors_mm(flow: Flow, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Error vectors ``(batch, time, spoke, ring, 2)`` and their expected size ``(batch, time, spoke, ring)``."""
    landmarks, pixel_mm = batch["landmarks"], batch["pixel_mm"].view(-1, 1, 1, 1)
    truth = landmarks - landmarks[:, :1]
    size = batch["images"].shape[-1]
    error = (sample_landmarks(flow, landmarks[:, 0], size) - truth) * pixel_mm[..., None]
    log_spread = sample_field(flow.log_spread_px[:, :, None], landmarks[:, 0].flatten(1, 2), size)[..., 0]
    spread = log_spread.clamp(*LOG_SPREAD_LIMITS).exp().view(landmarks.shape[:-1]) * pixel_mm
    return error, spread


def sample_landmarks(flow: Flow, ed_landmarks_px: torch.Tensor, size: int) -> torch.Tensor:
    """Displacement ``(batch, time, spoke, ring, 2)`` of ED landmarks ``(batch, spoke, ring, 2)``, in crop pixels."""
    moved = sample_field(flow.displacement_px, ed_landmarks_px.flatten(1, 2), size)
    return moved.view(*moved.shape[:2], *ed_landmarks_px.shape[1:])


def _strain_errors(found: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Absolute error of radial and circumferential Green strain ``(batch, time, spoke, ring)`` over short chords."""

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
