"""Fine-tuning of the tracker on cines without labels: `adapt_tracker`.

The teacher is the tracker as it comes, averaged over the eight symmetries of the square, less sure where phase tracking
disagrees (`tagstrain.inference.teacher`); the student sees one turned, mirrored, disturbed view and has to answer the
same, while the tags that it carries back to ED have to fit those at ED.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from tagstrain.data import FollowedSlice
from tagstrain.io.landmark_file import LandmarkRow
from tagstrain.networks.flow import Flow, FlowNet, carried_back, sample_field, tag_pattern
from tagstrain.networks.placer import tag_agreement
from tagstrain.networks.symmetry import N_SYMMETRIES, turn_images, turn_points, turn_spokes, unturn_vectors
from tagstrain.training.adaptation import Adaptation, Adapting, Consistency, adapt, divided
from tagstrain.training.config import TrainingConfig
from tagstrain.training.examples import disturbed
from tagstrain.training.files import FRAMES_PER_EXAMPLE
from tagstrain.training.modules import Batch
from tagstrain.training.tracker_loss import landmark_motion, rmse_mm, sample_landmarks, slips_px
from tagstrain.training.tracker_module import TrackerTraining
from tagstrain.training.wall_files import tracker_example

MAX_AGREEMENT_LOSS = 0.01
"""Correlation of the tags by which a tracker that agrees better with itself may follow them worse."""
TRUSTED_MM = 0.5
"""Standard deviation at which what a teacher says counts half."""


class TrackerConsistency(NamedTuple):
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
    def labels(self) -> tuple[str, ...]:
        """Of the fields, for people."""
        return ("turned views differ, mm", "miss after there and back, mm", "from the teacher, mm", "tag agreement")

    @property
    def inconsistency_mm(self) -> float:
        """What the adapted tracker is chosen by: mean of the three distances."""
        return (self.views_mm + self.closing_mm + self.teacher_mm) / 3


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
        """Every slice, as inference crops it and in all of its frames, in batches of one."""
        examples = [self._example(k, None) for k in range(len(self.slices))]
        return [{key: value[None] for key, value in example.items()} for example in examples]

    def _example(self, k: int, rng: np.random.Generator | None) -> dict[str, torch.Tensor]:
        cine, points = self.slices[k].cine, self.slices[k].tracks.to_points().points_px
        row = LandmarkRow(points, None, None, ed_frame=0, es_frame=None, n_frames=cine.n_frames, sigma_px=None)
        n_frames = cine.n_frames if rng is None else FRAMES_PER_EXAMPLE
        weight = 1 / (1 + (self.slices[k].tracks.sigma_px * cine.pixel_mm / TRUSTED_MM) ** 2)
        return tracker_example(cine, row, Path(f"slice {k}"), k, n_frames, rng, weight)


class TrackerAdaptation(Adapting, TrackerTraining):
    """The tracker's loss, on the teacher's tracks as on true ones, and what the tags themselves say."""

    def __init__(self, config: TrainingConfig, held_out: CohortExamples, photometric_weight: float) -> None:
        super().__init__(config)
        self.held_out = held_out.upright()
        self.photometric_weight = photometric_weight

    def loss(self, batch: Batch) -> torch.Tensor:
        flows = self.network.passes(batch["images"], batch["times_ms"], slips_px(batch))
        unlike = torch.stack([photometric_loss(flow, batch) for flow in flows]).sum()
        self.log("train_photometric", unlike)
        return self.loss_of(flows, batch) + self.photometric_weight * unlike

    def consistency(self) -> TrackerConsistency:
        return consistency(self.network, self.held_out)

    def cine_errors_mm(self, batch: Batch) -> torch.Tensor:
        return rmse_mm(landmark_motion(self.network(batch["images"], batch["times_ms"]), batch), batch)

    def keeps_what_it_could(self, found: Consistency, simulated_rmse_mm: float) -> bool:
        """The guard, no worse at following the tags, and no less of one mind with itself.

        A tracker whose views differ more was seen to follow worse, however much better its way back fitted.
        """
        assert isinstance(found, TrackerConsistency)
        assert isinstance(self.before, TrackerConsistency)
        follows = found.tag_agreement >= self.before.tag_agreement - MAX_AGREEMENT_LOSS
        is_steady = found.views_mm <= self.before.views_mm
        return follows and is_steady and super().keeps_what_it_could(found, simulated_rmse_mm)


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
    carried = carried_back(tag_pattern(images), flow)
    places = batch["landmarks"][:, 0].flatten(1, 2)
    return sample_field(tag_agreement(carried)[:, :, None], places, images.shape[-1])[..., 0]


@torch.no_grad()
def consistency(network: FlowNet, cines: Sequence[Batch]) -> TrackerConsistency:
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
    return TrackerConsistency(*torch.stack(found).mean(dim=0).tolist())


def adapt_tracker(
    config: TrainingConfig, slices: Sequence[FollowedSlice], weights: Path, photometric_weight: float = 1.0
) -> Adaptation:
    """Fine-tune the tracker on slices that a teacher followed; for ``weights`` and what is raised see `adapt`.

    Parameters
    ----------
    config
        Of the task ``"tracker"``.
    """
    learned, held_out = divided(slices, config.seed)
    module = TrackerAdaptation(config, CohortExamples(held_out), photometric_weight)
    return adapt(module, config, CohortExamples(learned), (len(slices), len(held_out)), weights)
