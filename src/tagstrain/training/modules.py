"""What every network's training shares: `NetworkTraining`."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import lightning as L
import numpy as np
import torch

from tagstrain.errors import InputError, TagstrainError
from tagstrain.training.config import TrainingConfig

Batch = dict[str, torch.Tensor]
FAILURE = "failure"
"""In place of a batch's parts: what `InputError` the process met that was to make it."""


class TrainingError(TagstrainError):
    """Training cannot go on."""


class NetworkTraining(L.LightningModule):
    """What all networks share: Adam with warm-up and cosine decay, and a stop at the first non-finite loss."""

    weights_name: ClassVar[str]
    """What the exported weights call the network."""
    network_settings: ClassVar[dict[str, Any]] = {}
    """Arguments that build the exported network."""

    betas: ClassVar[tuple[float, float]] = (0.9, 0.999)
    """Decay rates of AdamW's moments."""

    def __init__(self, config: TrainingConfig, network: torch.nn.Module) -> None:
        super().__init__()
        self.config = config
        # Twice as fast on a CPU, and no slower elsewhere.
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def loss(self, batch: Batch) -> torch.Tensor:
        """Training loss of one batch."""
        raise NotImplementedError

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """One step; raises `TrainingError` with the batch's seed where the loss is not finite, and `InputError` where a
        file could not be read."""
        if FAILURE in batch:
            raise InputError(*batch[FAILURE])
        # What is left to chance in a step depends on its batch alone, so that a resumed run takes the same ones.
        chance = np.random.SeedSequence([*batch["seed"].tolist(), 17])
        torch.manual_seed(int(chance.generate_state(1, np.uint64)[0] >> 1))
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
            self.parameters(),
            lr=c.learning_rate,
            betas=self.betas,
            weight_decay=c.weight_decay,
            # Lightning clips no gradients of a fused optimizer in mixed precision.
            fused=not c.precision.endswith("mixed"),
        )

        def factor(step: int) -> float:
            progress = min(1.0, step / c.steps)
            return min(1.0, (step + 1) / c.warmup_steps) * (0.505 + 0.495 * math.cos(math.pi * progress))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
