"""Fine-tuning of the tracker on cines without labels: `adapt`.

The teacher is the tracker as it comes, averaged over the eight symmetries of the square and corrected by phase
tracking (`tagstrain.inference.teacher`); the student sees one turned, mirrored, disturbed view and has to answer the
same (self-training with noisy students: Xie et al., CVPR 2020, doi:10.1109/CVPR42600.2020.01070), while the tags that
it carries back to ED have to fit those at ED. Every batch holds simulated cines too, so that it does not forget.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from tagstrain import __version__
from tagstrain.data import FollowedSlice
from tagstrain.io.landmark_file import LandmarkRow
from tagstrain.networks.flow import Flow, FlowNet, sample_field, tag_pattern, warp_back
from tagstrain.networks.placer import tag_agreement
from tagstrain.networks.symmetry import N_SYMMETRIES, turn_images, turn_points, turn_spokes, unturn_vectors
from tagstrain.networks.weights import load_weights, save_weights
from tagstrain.training.config import TrainingConfig
from tagstrain.training.examples import disturbed
from tagstrain.training.files import FRAMES_PER_EXAMPLE
from tagstrain.training.modules import Batch
from tagstrain.training.run import VALIDATION_BATCH, fit, validation_set
from tagstrain.training.tracker_loss import landmark_motion, rmse_mm, sample_landmarks, slips_px
from tagstrain.training.tracker_module import TrackerTraining
from tagstrain.training.wall_files import tracker_example

MAX_SIMULATED_LOSS = 0.03
"""Share by which the error on simulated cines may rise."""
MAX_AGREEMENT_LOSS = 0.01
"""Correlation of the tags by which a tracker that agrees better with itself may follow them worse."""
HELD_OUT_SHARE = 0.25
TRUSTED_MM = 0.5
"""Standard deviation at which what a teacher says counts half."""
_REFUSED = 1e6
"""Stands for a broken guard where the least is looked for; not infinite, which would end the run."""


CONSISTENCY_LABELS = (
    "turned views differ, mm",
    "miss after there and back, mm",
    "from the teacher, mm",
    "tag agreement",
)
"""Of the fields of `Consistency`, for people."""


class Consistency(NamedTuple):
    """How well a tracker agrees with itself, a teacher and the tags, on cines whose true motion nobody knows.

    Distances are means over wall, frames and slices: with few slices, squares would be those of the worst one.
    """

    views_mm: float
    """Between what an upright and a turned view say."""
    closing_mm: float
    """By which points miss their ED places when they are followed to the last frame and back."""
    teacher_mm: float
    """To where the teacher sees the points, weighted by how sure it is."""
    tag_agreement: float
    """Correlation of the tags carried back to ED with those at ED; 1 is best."""

    @property
    def inconsistency_mm(self) -> float:
        """What the adapted tracker is chosen by: mean of the three distances."""
        return (self.views_mm + self.closing_mm + self.teacher_mm) / 3


@dataclass(frozen=True, slots=True)
class Adaptation:
    """What came of it."""

    weights: Path | None
    """The adapted weights; None where nothing was better within the guard, and the tracker should stay as it is."""
    n_slices: int
    n_held_out: int
    before: Consistency
    after: Consistency
    """Of the best step, exported or not."""
    simulated_rmse_mm_before: float
    simulated_rmse_mm_after: float

    def save(self, path: Path) -> None:
        """Write as JSON; null stands for what a tracker that broke down gave no number for."""
        record = {
            "exported": self.weights is not None,
            "n_slices": self.n_slices,
            "n_held_out": self.n_held_out,
            "before": _measures(self.before, self.simulated_rmse_mm_before),
            "after": _measures(self.after, self.simulated_rmse_mm_after),
        }
        path.write_text(json.dumps(record, indent=2, allow_nan=False) + "\n")


def _measures(found: Consistency, simulated_rmse_mm: float) -> dict[str, float | None]:
    """All measures of a tracker by name, for JSON."""
    named = {**found._asdict(), "simulated_rmse_mm": simulated_rmse_mm}
    return {name: value if math.isfinite(value) else None for name, value in named.items()}


class CohortExamples:
    """Followed slices as examples of the tracker, cropped, turned and disturbed anew at every draw."""

    def __init__(self, slices: Sequence[FollowedSlice]) -> None:
        self.slices = tuple(slices)

    def draw(self, n: int, rng: np.random.Generator, device: torch.device) -> dict[str, torch.Tensor]:
        """``n`` random examples."""
        examples = [self._example(int(k), rng) for k in rng.integers(len(self.slices), size=n)]
        symmetry = int(rng.integers(N_SYMMETRIES))
        batch = {key: torch.stack([example[key] for example in examples]).to(device) for key in examples[0]}
        points = turn_points(batch["landmarks"], symmetry, batch["images"].shape[-1])
        images = turn_images(batch["images"], symmetry).contiguous()
        weight = turn_spokes(batch["landmark_weight"][..., None], symmetry)[..., 0]
        turned = {"landmarks": turn_spokes(points, symmetry), "landmark_weight": weight}
        return {**batch, **turned, "images": disturbed(images, rng)}

    def upright(self) -> list[dict[str, torch.Tensor]]:
        """Every slice, as inference crops it, in batches of one."""
        examples = [self._example(k, None) for k in range(len(self.slices))]
        return [{key: value[None] for key, value in example.items()} for example in examples]

    def _example(self, k: int, rng: np.random.Generator | None) -> dict[str, torch.Tensor]:
        cine, points = self.slices[k].cine, self.slices[k].tracks.to_points().points_px
        row = LandmarkRow(points, None, None, ed_frame=0, es_frame=None, n_frames=cine.n_frames, sigma_px=None)
        example = tracker_example(cine, row, Path(f"slice {k}"), k, FRAMES_PER_EXAMPLE, rng)
        sigma_mm = self.slices[k].tracks.sigma_px * np.sqrt(np.prod(cine.spacing_xy_mm))
        weight = torch.tensor(1 / (1 + (sigma_mm[:FRAMES_PER_EXAMPLE] / TRUSTED_MM) ** 2), dtype=torch.float32)
        example["landmark_weight"][: len(weight)] = weight
        return example


class TrackerAdaptation(TrackerTraining):
    """The tracker's loss, on the teacher's tracks as on true ones, and what the tags themselves say."""

    def __init__(
        self, config: TrainingConfig, network: FlowNet, held_out: CohortExamples, photometric_weight: float
    ) -> None:
        super().__init__(config)
        self.network = network.train()
        self.held_out = held_out.upright()
        self.photometric_weight = photometric_weight
        self._found: Consistency | None = None

    def guard(self, before: Consistency, simulated_rmse_mm: float) -> None:
        """Say what must not get worse."""
        self.before, self.simulated_rmse_mm_before = before, simulated_rmse_mm

    def loss(self, batch: Batch) -> torch.Tensor:
        flows = self.network.passes(batch["images"], batch["times_ms"], slips_px(batch))
        unlike = torch.stack([photometric_loss(flow, batch) for flow in flows]).sum()
        self.log("train_photometric", unlike)
        return self.loss_of(flows, batch) + self.photometric_weight * unlike

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        if batch_idx == 0:  # here, since averaged weights are taken out again before the epoch's end
            self._found = consistency(self.network, self.held_out)

    def on_validation_epoch_end(self) -> None:
        """Log ``val_adaptation``: what the cohort says, if the guard holds."""
        found = self._found
        assert found is not None
        simulated_mm = float(self.trainer.callback_metrics["val_rmse_mm"])
        refused = not self.keeps_what_it_could(found, simulated_mm)
        self.log("val_adaptation", _REFUSED if refused else found.inconsistency_mm, prog_bar=True)
        self.log_dict({f"val_{name}": value for name, value in found._asdict().items()})

    def keeps_what_it_could(self, found: Consistency, simulated_rmse_mm: float) -> bool:
        """The guard: no worse on simulated cines, and no worse at following the tags."""
        return (
            simulated_rmse_mm <= (1 + MAX_SIMULATED_LOSS) * self.simulated_rmse_mm_before
            and found.tag_agreement >= self.before.tag_agreement - MAX_AGREEMENT_LOSS
        )


def photometric_loss(flow: Flow, batch: Batch) -> torch.Tensor:
    """One minus the correlation of the tags at the landmarks, carried back to ED, with those at ED.

    Places weigh by the correlation itself, so that tags that have faded or washed out do not pull.
    """
    agreement = _agreement_at_landmarks(flow, batch)[:, 1:]
    # Where the reference frame has no labels, nobody knows where the landmarks are.
    labelled = batch["frame_valid"][:, 1:] & batch["frame_valid"][:, :1]
    weight = agreement.detach().clamp_min(0) * labelled[:, :, None]
    return (weight * (1 - agreement)).sum() / weight.sum().clamp_min(1e-6)


def _agreement_at_landmarks(flow: Flow, batch: Batch) -> torch.Tensor:
    """Local correlation of the carried tags with those at ED, ``(batch, time, landmark)``."""
    images = batch["images"]
    pattern = tag_pattern(images)
    carried = warp_back(pattern.flatten(0, 1)[:, None], flow.displacement_px.flatten(0, 1)).view(images.shape)
    places = batch["landmarks"][:, 0].flatten(1, 2)
    return sample_field(tag_agreement(carried)[:, :, None], places, images.shape[-1])[..., 0]


@torch.no_grad()
def consistency(network: FlowNet, cines: Sequence[Batch]) -> Consistency:
    """How well a tracker agrees with itself and with the tags, on batches of one followed slice."""
    found = []
    device = next(network.parameters()).device
    for cpu_batch in cines:
        batch = {key: value.to(device) for key, value in cpu_batch.items()}
        images, times_ms, landmarks = batch["images"], batch["times_ms"], batch["landmarks"]
        start, weight = landmarks[:, 0], batch["landmark_weight"] * batch["frame_valid"][:, :, None, None]
        flow = network(images, times_ms)
        size, quarter_turn = images.shape[-1], 5
        there = sample_landmarks(flow, start, size)
        turned_start = turn_points(start, quarter_turn, size)
        turned = sample_landmarks(network(turn_images(images, quarter_turn).contiguous(), times_ms), turned_start, size)
        last = start + there[:, -1]
        back = last + sample_landmarks(network(images.flip(1), times_ms.flip(1) - times_ms[:, -1:]), last, size)[:, -1]
        from_teacher = (start[:, None] + there - landmarks).norm(dim=-1)
        distances_px = [
            (unturn_vectors(turned, quarter_turn) - there).norm(dim=-1).mean(),
            (back - start).norm(dim=-1).mean(),
            (from_teacher * weight).sum() / weight.sum(),
        ]
        agreement = _agreement_at_landmarks(flow, batch)[:, 1:].mean()
        found.append(torch.stack([*(batch["pixel_mm"][0] * distance for distance in distances_px), agreement]))
    return Consistency(*torch.stack(found).mean(dim=0).tolist())


@torch.no_grad()
def simulated_rmse_mm(network: FlowNet, validation: Batch) -> float:
    """Error on simulated cines [mm], mean over cines."""
    device = next(network.parameters()).device
    errors = []
    for start in range(0, len(validation["images"]), VALIDATION_BATCH):
        part = {key: value[start : start + VALIDATION_BATCH].to(device) for key, value in validation.items()}
        errors.append(rmse_mm(landmark_motion(network(part["images"], part["times_ms"]), part), part))
    return float(torch.cat(errors).mean())


def adapt(config: TrainingConfig, slices: Sequence[FollowedSlice], photometric_weight: float = 1.0) -> Adaptation:
    """Fine-tune the tracker on slices that a teacher followed, and export it if it is better and has forgotten nothing.

    A quarter of the slices is held out to measure on; fewer than four are all trained and measured on. Writes
    ``tracker.safetensors``, where it may, and ``adaptation.json`` to ``config.out``, beside what training writes; none
    of it names the cohort.

    Parameters
    ----------
    config
        Of the task ``"tracker"``; ``init`` None or ``"shipped"`` for the shipped tracker.

    Raises
    ------
    InputError
        If the weights to start from cannot be used.
    TrainingError
        If the loss is no longer finite.
    """
    torch.manual_seed(config.seed)
    start, info = load_weights("tracker", None if config.init in (None, "shipped") else config.init)
    assert isinstance(start, FlowNet)
    n_held_out = int(HELD_OUT_SHARE * len(slices))
    order = np.random.default_rng(config.seed).permutation(len(slices))
    shuffled = [slices[k] for k in order]
    held_out = CohortExamples(shuffled[:n_held_out] or shuffled)
    module = TrackerAdaptation(config, copy.deepcopy(start), held_out, photometric_weight)
    validation = validation_set(config)
    before = consistency(start, module.held_out)
    simulated_before = simulated_rmse_mm(start, validation)
    module.guard(before, simulated_before)
    path = Path(config.out) / "tracker.safetensors"
    path.unlink(missing_ok=True)  # those of an earlier run would look like the outcome of this one
    checkpoint = fit(module, config, "val_adaptation", rows=CohortExamples(shuffled[n_held_out:]))
    module.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=False)["state_dict"])
    network = module.network.eval()
    after, simulated_after = consistency(network, module.held_out), simulated_rmse_mm(network, validation)
    better = module.keeps_what_it_could(after, simulated_after) and after.inconsistency_mm < before.inconsistency_mm
    if better:
        save_weights(path, info.name, network, __version__, {**info.settings, "adapted_from": info.sha256})
    weights = path if better else None
    result = Adaptation(weights, len(slices), len(held_out.slices), before, after, simulated_before, simulated_after)
    result.save(Path(config.out) / "adaptation.json")
    return result
