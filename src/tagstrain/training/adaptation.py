"""Fine-tuning on cines without labels, whatever the network: `adapt`, `Adapting`, `Adaptation`.

A teacher says what is seen in the cohort, a student learns to say the same from less (self-training with noisy
students: Xie et al., CVPR 2020, doi:10.1109/CVPR42600.2020.01070). Every batch holds simulated cines too, so that it
does not forget. The best step is that with which the cohort agrees best; as much of it is mixed into the weights that
it started from as the guard lets pass (Wortsman et al., CVPR 2022, doi:10.1109/CVPR52688.2022.00780).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch

from tagstrain import __version__
from tagstrain.networks.weights import load_weights, save_weights
from tagstrain.training.config import TrainingConfig
from tagstrain.training.modules import Batch, NetworkTraining
from tagstrain.training.run import VALIDATION_BATCH, fit, mixed, validation_set
from tagstrain.training.stream import RowExamples

MAX_SIMULATED_LOSS = 0.03
"""Share by which the error on simulated cines may rise."""
HELD_OUT_SHARE = 0.25
SHARE_STEPS = 4
"""Halvings between what the guard let pass of the adapted weights and what it did not, if it does not let pass all."""
_BROKEN = 1e6
"""Stands for what is no number where the least is looked for; not infinite, which would end the run."""

Slice = TypeVar("Slice")


class Consistency(Protocol):
    """How well a network agrees with itself and a teacher, on cines whose truth nobody knows; a NamedTuple."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Of the fields, for people."""
        ...

    @property
    def inconsistency_mm(self) -> float:
        """What the best step has least of."""
        ...

    @property
    def teacher_mm(self) -> float:
        """To where the teacher sees what is asked for; it knows most, and is not to be left."""
        ...

    def _asdict(self) -> dict[str, Any]: ...


class Adapting(NetworkTraining):
    """Training that is validated by a cohort, and guarded by simulated cines."""

    before: Consistency
    simulated_rmse_mm_before: float
    _found: Consistency | None = None

    def consistency(self) -> Consistency:
        """How well the network, as it is, agrees with itself on the slices held out."""
        raise NotImplementedError

    def cine_errors_mm(self, batch: Batch) -> torch.Tensor:
        """Error of the network, as it is, on simulated cines [mm], ``(batch,)``."""
        raise NotImplementedError

    def keeps_what_it_could(self, found: Consistency, simulated_rmse_mm: float) -> bool:
        """The guard: no worse on simulated cines, and no further from the teacher."""
        remembers = simulated_rmse_mm <= (1 + MAX_SIMULATED_LOSS) * self.simulated_rmse_mm_before
        return remembers and found.teacher_mm <= self.before.teacher_mm

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        if batch_idx == 0:  # here, since averaged weights are taken out again before the epoch's end
            self._found = self.consistency()

    def on_validation_epoch_end(self) -> None:
        """Log ``val_adaptation``: what the cohort says."""
        found = self._found
        assert found is not None
        is_number = math.isfinite(found.inconsistency_mm)
        self.log("val_adaptation", found.inconsistency_mm if is_number else _BROKEN, prog_bar=True)
        self.log_dict({f"val_{name}": value for name, value in found._asdict().items()})

    @torch.no_grad()
    def simulated_rmse_mm(self, validation: Batch) -> float:
        """Error of the network, as it is, on simulated cines [mm], mean over cines."""
        device = next(self.network.parameters()).device
        starts = range(0, len(validation["images"]), VALIDATION_BATCH)
        parts = [{k: v[s : s + VALIDATION_BATCH].to(device) for k, v in validation.items()} for s in starts]
        return float(torch.cat([self.cine_errors_mm(part) for part in parts]).mean())


@dataclass(frozen=True, slots=True)
class Adaptation:
    """What came of it."""

    network: str
    weights: Path | None
    """The adapted weights; None where nothing was better within the guard, and the network should stay as it is."""
    n_slices: int
    n_held_out: int
    before: Consistency
    after: Consistency
    """Of the best step as far as it was mixed in, exported or not."""
    simulated_rmse_mm_before: float
    simulated_rmse_mm_after: float
    share: float = 0.0
    """Share of what was learned in the weights that are exported, the rest being those before; 0 if none are."""
    teacher_left_out: tuple[str, ...] = ()
    """Groups of channels that the placer's teacher was not shown, since they mislead in this cohort."""

    def to_record(self) -> dict[str, Any]:
        """Plain values for JSON; None stands for what a network that broke down gave no number for."""
        return {
            "exported": self.weights is not None,
            "n_slices": self.n_slices,
            "n_held_out": self.n_held_out,
            "share": self.share,
            "teacher_left_out": list(self.teacher_left_out),
            "before": _measures(self.before, self.simulated_rmse_mm_before),
            "after": _measures(self.after, self.simulated_rmse_mm_after),
        }


def save_adaptations(adaptations: Sequence[Adaptation], path: Path) -> None:
    """Write what came of each network as JSON, by its name."""
    record = {each.network: each.to_record() for each in adaptations}
    path.write_text(json.dumps(record, indent=2, allow_nan=False) + "\n")


def _measures(found: Consistency, simulated_rmse_mm: float) -> dict[str, float | None]:
    """All measures of a network by name."""
    named = {**found._asdict(), "simulated_rmse_mm": simulated_rmse_mm}
    return {name: value if math.isfinite(value) else None for name, value in named.items()}


def divided(slices: Sequence[Slice], seed: int) -> tuple[list[Slice], list[Slice]]:
    """Slices to learn from, and a quarter to measure on; fewer than four are all for both."""
    shuffled = [slices[k] for k in np.random.default_rng(seed).permutation(len(slices))]
    n_held_out = int(HELD_OUT_SHARE * len(slices))
    return shuffled[n_held_out:], shuffled[:n_held_out] or shuffled


def adapt(
    module: Adapting, config: TrainingConfig, rows: RowExamples, n_slices: tuple[int, int], weights: Path
) -> Adaptation:
    """Fine-tune a network on what a teacher saw, and export it if it is better and has forgotten nothing.

    Parameters
    ----------
    config
        ``init`` None or ``"shipped"`` for the shipped weights; ``config.out`` gets what training writes. None of it
        names the cohort.
    rows
        What the teacher saw, to learn from.
    n_slices
        How many slices there are in all, and how many of them are measured on.
    weights
        File for the adapted weights.

    Raises
    ------
    InputError
        If the weights to start from cannot be used.
    TrainingError
        If the loss is no longer finite.
    """
    torch.manual_seed(config.seed)
    start, info = load_weights(config.task, config.init_path)
    module.network.load_state_dict(start.state_dict())
    module.eval()
    validation = validation_set(config)
    module.before, module.simulated_rmse_mm_before = module.consistency(), module.simulated_rmse_mm(validation)
    module.train()
    checkpoint = fit(module, config, "val_adaptation", rows=rows, validation=validation)
    module.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=False)["state_dict"])
    module.eval()
    share, after, simulated_after = _mix(module, start.state_dict(), validation)
    better = share > 0 and after.inconsistency_mm < module.before.inconsistency_mm
    if better:
        settings = {**info.settings, "adapted_from": info.sha256}
        save_weights(weights, info.name, module.network, __version__, settings)
    return Adaptation(
        network=config.task,
        weights=weights if better else None,
        n_slices=n_slices[0],
        n_held_out=n_slices[1],
        before=module.before,
        after=after,
        simulated_rmse_mm_before=module.simulated_rmse_mm_before,
        simulated_rmse_mm_after=simulated_after,
        share=share if better else 0.0,
    )


def _mix(module: Adapting, start: Mapping[str, torch.Tensor], validation: Batch) -> tuple[float, Consistency, float]:
    """Leave the network with as much of what it learned as the guard lets pass, to a sixteenth, the rest as before.

    Returns
    -------
        The share, and what the cohort and simulated cines say of it; of the smallest one tried where the share is 0.
    """
    learned = {name: weight.clone() for name, weight in module.network.state_dict().items()}

    def measured(share: float) -> tuple[Consistency, float]:
        module.network.load_state_dict(mixed(learned, start, 1 - share))
        return module.consistency(), module.simulated_rmse_mm(validation)

    found = measured(1.0)
    if module.keeps_what_it_could(*found):
        return 1.0, *found
    kept, refused, best = 0.0, 1.0, found
    for _ in range(SHARE_STEPS):
        share = (kept + refused) / 2
        found = measured(share)
        if module.keeps_what_it_could(*found):
            kept, best = share, found
        else:
            refused = share
    module.network.load_state_dict(mixed(learned, start, 1 - kept))
    return kept, *(best if kept else found)
