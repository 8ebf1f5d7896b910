"""Training of the tracker: `TrackerTraining`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from tagstrain.networks.flow import Flow, FlowNet, carried_back, sample_field, share_of_others, tag_pattern
from tagstrain.networks.preprocessing import TRACKER_CROP_SIZE
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

CHOSEN = (0.15, 0.2, 0.25, 0.4)
"""How often, where refinements are trained as used, the first learns from a batch, the second, the third against ED,
and the third against the mean of other frames, which the network sees in no other training."""


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
        if self.config.as_used:
            return self._loss_as_used(batch)
        # Every pass answers for what it adds: no gradient runs back into the one before.
        flows = self.network.passes(batch["images"], batch["times_ms"], slips_px(batch), self.config.refinements)
        return self.loss_of(flows, batch)

    def loss_of(self, flows: Sequence[Flow], batch: Batch) -> torch.Tensor:
        """Loss of a motion that was found in some passes."""
        parts = [tracker_losses(landmark_motion(flow, batch), batch) for flow in flows]
        self.log_dict({f"train_{name}": value for name, value in parts[-1]._asdict().items()})
        return torch.stack([part.total for part in parts]).sum()

    def _loss_as_used(self, batch: Batch) -> torch.Tensor:
        """Loss of one refinement as `track` makes it; those before it are as they are."""
        which = np.random.default_rng([*batch["seed"].tolist(), 13]).choice(len(CHOSEN), p=CHOSEN)
        if which == 0:
            first = self.network.passes(batch["images"], batch["times_ms"], slips_px(batch), refinements=1)[1]
            return self.loss_of([first], batch)
        with torch.no_grad():
            found = self.network(batch["images"], batch["times_ms"], slips_px(batch), refinements=1)
            if which > 1:
                found = self._again(found, batch)
        flow = self._again(found, batch, against_others=which == 3)
        if which > 1:
            landmarks_px = batch["landmarks"][:, 0].flatten(1, 2)
            others = sample_field(self._share_of_others(found, batch)[:, :, None], landmarks_px, TRACKER_CROP_SIZE)
            others = others.view(batch["landmark_weight"].shape)
            batch = {**batch, "landmark_weight": batch["landmark_weight"] * (others if which == 3 else 1 - others)}
        return self.loss_of([flow], batch)

    def _again(self, found: Flow, batch: Batch, against_others: bool = False) -> Flow:
        """Motion refined once more, as in use after the first time."""
        flow: Flow = self.network(
            batch["images"],
            batch["times_ms"],
            refinements=1,
            followed=found,
            mixed=True,
            against_others=against_others,
        )
        return flow

    def _share_of_others(self, found: Flow, batch: Batch) -> torch.Tensor:
        """How much of what is refined against others counts ``(batch, time, size, size)``."""
        pattern = tag_pattern(batch["images"])
        return share_of_others(carried_back(pattern, found), pattern[:, :1])

    def _validated(self, batch: Batch) -> Flow:
        """The motion that is validated: what was trained, and if as used, then as in use but for its many views."""
        frames, times_ms = batch["images"], batch["times_ms"]
        if not self.config.as_used:
            flow: Flow = self.network(frames, times_ms, refinements=self.config.refinements)
            return flow
        found = self._again(self.network(frames, times_ms, refinements=1), batch)
        by_ed, by_others = self._again(found, batch), self._again(found, batch, against_others=True)
        share = self._share_of_others(found, batch)
        return Flow(
            torch.lerp(by_ed.displacement_px, by_others.displacement_px, share[:, :, None]),
            torch.lerp(by_ed.log_spread_px, by_others.log_spread_px, share),
        )

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        flow = self._validated(batch)
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
