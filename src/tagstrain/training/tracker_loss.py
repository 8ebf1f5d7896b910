"""What the tracker is trained on: `tracker_losses`, of any network that says where landmarks go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F

from tagstrain.networks.flow import FIELD_STRIDE, LOG_SPREAD_LIMITS, Flow, sample_field
from tagstrain.networks.rnncnn import from_grid, loss_strains

Batch = Mapping[str, torch.Tensor]


class LandmarkMotion(NamedTuple):
    """Where the landmarks of the first frame go, in crop pixels."""

    displacement_px: torch.Tensor
    """Shape ``(batch, time, spoke, ring, 2)``."""
    log_spread_px: torch.Tensor
    """Natural logarithm of the expected absolute error along one axis, ``(batch, time, spoke, ring)``."""


class TrackerLosses(NamedTuple):
    """Parts of the loss of one batch, each a mean over landmarks and the frames that have labels, weighted."""

    endpoint_mm: torch.Tensor
    neighbors_mm: torch.Tensor
    """Error of where landmarks go relative to their neighbors."""
    strain: torch.Tensor
    """Absolute error of Green strains over short chords, and of those of the slice."""
    unlikelihood: torch.Tensor
    """Negative log-likelihood of the errors in Laplace distributions; shapes the spread, leaves the motion alone."""

    @property
    def total(self) -> torch.Tensor:
        """What the tracker minimizes."""
        return self.endpoint_mm + 0.5 * self.neighbors_mm + 2.0 * self.strain + 0.1 * self.unlikelihood


def tracker_losses(motion: LandmarkMotion, batch: Batch) -> TrackerLosses:
    """Parts of the loss of the motion found in a batch of `TrackerExamples`."""
    error_mm, spread_mm = landmark_errors_mm(motion, batch)
    # A stretch whose reference frame has no labels says nothing about motion.
    labelled = batch["frame_valid"] & batch["frame_valid"][:, :1]
    valid = labelled[:, :, None, None] * batch["landmark_weight"]
    distance = (error_mm.square().sum(dim=-1) + 1e-3).sqrt()
    # Strain is what neighbors do relative to each other.
    around = (error_mm.roll(-1, dims=2) - error_mm).abs().sum(dim=-1)
    across = (error_mm[:, :, :, 1:] - error_mm[:, :, :, :-1]).abs().sum(dim=-1)
    strain = _mean(_strain_errors(motion, batch), valid)
    for found, true in zip(*slice_strains(motion, batch), strict=True):
        strain = strain + _mean((found - true).abs()[..., None, None], valid.mean(dim=(2, 3), keepdim=True))
    unlikely = spread_mm.log() + error_mm.detach().abs().mean(dim=-1) / spread_mm
    return TrackerLosses(
        endpoint_mm=_mean(distance, valid),
        neighbors_mm=(_mean(around, valid * valid.roll(-1, dims=2)) + _mean(across, valid[..., 1:] * valid[..., :-1]))
        / 2,
        strain=strain,
        unlikelihood=_mean(unlikely, valid),
    )


def landmark_motion(flow: Flow, batch: Batch) -> LandmarkMotion:
    """A field at the landmarks of the first frame."""
    landmarks, size = batch["landmarks"], batch["images"].shape[-1]
    log_spread = sample_field(flow.log_spread_px[:, :, None], landmarks[:, 0].flatten(1, 2), size)
    return LandmarkMotion(sample_landmarks(flow, landmarks[:, 0], size), log_spread.view(landmarks.shape[:-1]))


def sample_landmarks(flow: Flow, landmarks_px: torch.Tensor, size: int) -> torch.Tensor:
    """Displacement ``(batch, time, spoke, ring, 2)`` of landmarks ``(batch, spoke, ring, 2)`` of a crop of ``size``."""
    moved = sample_field(flow.displacement_px, landmarks_px.flatten(1, 2), size)
    return moved.view(*moved.shape[:2], *landmarks_px.shape[1:])


def landmark_errors_mm(motion: LandmarkMotion, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Error vectors ``(batch, time, spoke, ring, 2)`` and their expected size ``(batch, time, spoke, ring)``."""
    landmarks, pixel_mm = batch["landmarks"], batch["pixel_mm"].view(-1, 1, 1, 1)
    error = (motion.displacement_px - (landmarks - landmarks[:, :1])) * pixel_mm[..., None]
    return error, motion.log_spread_px.clamp(*LOG_SPREAD_LIMITS).exp() * pixel_mm


def rmse_mm(motion: LandmarkMotion, batch: Batch) -> torch.Tensor:
    """Root mean square error of every cine ``(batch,)`` over landmarks and the frames that have labels."""
    error_mm, _ = landmark_errors_mm(motion, batch)
    frame_mse, valid = error_mm.square().sum(dim=-1).mean(dim=(2, 3)), batch["frame_valid"]
    return ((frame_mse * valid).sum(dim=1) / valid.sum(dim=1).clamp_min(1)).sqrt()


def slice_strains(motion: LandmarkMotion, batch: Batch) -> tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]]:
    """Radial and mid-wall circumferential strain of the slice ``(batch, time)``: found, and true."""
    truth = batch["landmarks"]
    found = motion.displacement_px + truth[:, :1]
    return loss_strains(from_grid(found)), loss_strains(from_grid(truth))


def _strain_errors(motion: LandmarkMotion, batch: Batch) -> torch.Tensor:
    """Absolute error of radial and circumferential Green strain ``(batch, time, spoke, ring)`` over short chords."""
    truth = batch["landmarks"]
    found = motion.displacement_px + truth[:, :1]

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
