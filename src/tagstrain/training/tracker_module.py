"""Training of the tracker: `TrackerTraining`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from tagstrain.networks.flow import Flow, FlowNet
from tagstrain.training.config import TrainingConfig
from tagstrain.training.modules import Batch, NetworkTraining
from tagstrain.training.tracker_loss import (
    landmark_errors_mm,
    landmark_motion,
    rmse_mm,
    slice_strains,
    slips_px,
    tracker_losses,
)


class TrackerTraining(NetworkTraining):
    """The tracker: end-point error, errors of what neighbors do relative to each other, and an honest spread."""

    network: FlowNet
    weights_name = "tracker"
    betas = (0.9, 0.98)

    def __init__(self, config: TrainingConfig) -> None:
        network = FlowNet()
        assert network.refiner is not None
        # What is not trained asks for no gradient: several GPUs wait for that of every weight.
        if config.keep_following:
            network.requires_grad_(False)
        network.refiner.requires_grad_(config.refinements != 0)
        super().__init__(config, network)

    def loss(self, batch: Batch) -> torch.Tensor:
        # Every pass answers for what it adds: no gradient runs back into the one before.
        flows = self.network.passes(batch["images"], batch["times_ms"], slips_px(batch), self.config.refinements)
        return self.loss_of(flows, batch)

    def loss_of(self, flows: Sequence[Flow], batch: Batch) -> torch.Tensor:
        """Loss of a motion that was found in some passes."""
        parts = [tracker_losses(landmark_motion(flow, batch), batch) for flow in flows]
        self.log_dict({f"train_{name}": value for name, value in parts[-1]._asdict().items()})
        return torch.stack([part.total for part in parts]).sum()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        flow = self.network(batch["images"], batch["times_ms"], refinements=self.config.refinements)
        motion = landmark_motion(flow, batch)
        error_mm, spread_mm = landmark_errors_mm(motion, batch)
        n, valid = len(error_mm), batch["frame_valid"]
        self.log("val_rmse_mm", rmse_mm(motion, batch).mean(), prog_bar=True, batch_size=n)
        self.log("val_median_mm", error_mm[valid].square().sum(dim=-1).sqrt().median(), batch_size=n)
        predicted, truth = slice_strains(motion, batch)
        es = truth[1].masked_fill(~valid, 1.0).argmin(dim=1, keepdim=True)
        for name, a, b in zip(("radial", "circumferential"), predicted, truth, strict=True):
            difference = (a - b).gather(1, es)
            self.log(f"val_{name}_error", difference.abs().mean(), batch_size=n)
            self.log(f"val_{name}_bias", difference.mean(), batch_size=n)
        # For a Laplace distribution half of the errors are below ln 2 of the mean absolute error.
        inside = (error_mm.abs() < math.log(2) * spread_mm[..., None])[:, 1:][valid[:, 1:]].float().mean()
        self.log("val_half_inside", inside, batch_size=n)
