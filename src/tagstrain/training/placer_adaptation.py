"""Fine-tuning of the placer on cines without labels: `adapt_placer`.

The teacher is the placer as it comes, asked from several crops: the wall on which they agree
(`tagstrain.inference.teacher`). Where another scanner's grey levels mislead it, it is not shown them: motion crosses
from simulation to other images where grey levels do not (`taught`). The student sees one crop that is off, turned,
mirrored and disturbed, groups of its channels left out, and has to answer the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from tagstrain.data import FollowedSlice, GreyDoubt
from tagstrain.data.landmarks import N_RINGS, N_SPOKES
from tagstrain.io.landmark_file import LandmarkRow
from tagstrain.networks.placer import GREY_LEVELS
from tagstrain.training.adaptation import Adaptation, Adapting, adapt, divided
from tagstrain.training.config import TrainingConfig
from tagstrain.training.modules import Batch
from tagstrain.training.placer_examples import PlacerExamples
from tagstrain.training.placer_module import PlacerTraining, placement_rmse_mm
from tagstrain.training.wall_files import placer_example

CROPS_PER_SLICE = 4
MIN_COMPARED = 4
"""Slices that have to be known with and without grey levels before these are doubted."""


class PlacerConsistency(NamedTuple):
    """How well a placer agrees with itself and a teacher on cines whose true wall nobody knows; means over slices."""

    crops_mm: float
    """Between the landmarks placed in one of several crops and their mean."""
    teacher_mm: float
    """To where the teacher sees the landmarks."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Of the fields, for people."""
        return ("crops differ, mm", "from the teacher, mm")

    @property
    def inconsistency_mm(self) -> float:
        """What the adapted placer is chosen by: mean of the two distances."""
        return (self.crops_mm + self.teacher_mm) / 2


class CohortWalls:
    """Slices on whose wall the teacher's crops agree, as examples of the placer, turned and disturbed at every draw.

    The tracker follows each slice once in every one of `CROPS_PER_SLICE` crops.
    """

    def __init__(self, slices: Sequence[FollowedSlice], config: TrainingConfig) -> None:
        self.slices = tuple(each for each in slices if each.wall_px is not None)
        tracker = Path(config.tracker_weights) if config.tracker_weights else None
        self.maker = PlacerExamples(config.preset, tracker)
        # Milder than in simulation: what is kept around the heart reaches no further.
        self.maker.scale, self.maker.shift = (1.15, 2.0), 0.15
        self._crops: dict[tuple[int, int], Batch] = {}

    def draw(self, n: int, rng: np.random.Generator, device: torch.device) -> Batch:
        """``n`` random examples."""
        chosen = zip(rng.integers(len(self.slices), size=n), rng.integers(CROPS_PER_SLICE, size=n), strict=True)
        crops = [self._crop(int(k), int(c)) for k, c in chosen]
        batch = {key: torch.stack([crop[key] for crop in crops]).to(device) for key in crops[0]}
        return self.maker.vary(batch, rng)

    def crops(self) -> list[Batch]:
        """All crops of every slice, as they are, a batch for each."""
        found = []
        for k in range(len(self.slices)):
            parts = [self._crop(k, c) for c in range(CROPS_PER_SLICE)]
            found.append({key: torch.stack([part[key] for part in parts]).float() for key in parts[0]})
        return found

    def _crop(self, k: int, c: int) -> Batch:
        if (k, c) not in self._crops:
            each = self.slices[k]
            assert each.wall_px is not None
            points = each.wall_px.reshape(1, N_SPOKES * N_RINGS, 2)
            row = LandmarkRow(points, None, None, ed_frame=0, es_frame=None, n_frames=1, sigma_px=None)
            rng = np.random.default_rng([k, c])
            example = placer_example(each.cine, row, Path(f"slice {k}"), k, self.maker, rng)
            self._crops[k, c] = {**example, "images": example["images"].half()}
        return self._crops[k, c]


class PlacerAdaptation(Adapting, PlacerTraining):
    """The placer's loss, on the teacher's walls as on true ones."""

    def __init__(self, config: TrainingConfig, held_out: CohortWalls) -> None:
        super().__init__(config)
        self.held_out = held_out.crops()

    @torch.no_grad()
    def consistency(self) -> PlacerConsistency:
        device = next(self.network.parameters()).device
        found = []
        for cpu_batch in self.held_out:
            batch = {key: value.to(device) for key, value in cpu_batch.items()}
            off_mm = (self.landmarks_px(batch) - batch["landmarks"]) * batch["pixel_mm"][:, None, None, None]
            apart_mm = off_mm - off_mm.mean(dim=0)
            found.append(torch.stack([each.norm(dim=-1).mean() for each in (apart_mm, off_mm)]))
        return PlacerConsistency(*torch.stack(found).mean(dim=0).tolist())

    def cine_errors_mm(self, batch: Batch) -> torch.Tensor:
        return placement_rmse_mm(self.landmarks_px(batch), batch)


def adapt_placer(config: TrainingConfig, slices: Sequence[FollowedSlice], weights: Path) -> Adaptation:
    """Fine-tune the placer on the slices that have a wall; for ``weights`` and what is raised see `adapt`.

    Parameters
    ----------
    config
        Of the task ``"placer"``; its ``tracker_weights`` are those of the tracker that the placer will work with.
    """
    agreed, left_out = taught(slices)
    learned, held_out = divided(agreed, config.seed)
    module = PlacerAdaptation(config, CohortWalls(held_out, config))
    outcome = adapt(module, config, CohortWalls(learned, config), (len(agreed), len(held_out)), weights)
    return replace(outcome, teacher_left_out=left_out)


def taught(slices: Sequence[FollowedSlice]) -> tuple[list[FollowedSlice], tuple[str, ...]]:
    """The slices that teach a wall, each with the wall that it teaches, and what its teacher was not shown.

    Grey levels are left out where they contradict all else in the median of the cohort (`GreyDoubt`).
    """
    known = [each.grey_doubt for each in slices if np.isfinite(each.grey_doubt).all()]
    is_misled = len(known) >= MIN_COMPARED and GreyDoubt(*np.median(known, axis=0)).is_misled
    if is_misled:
        slices = [replace(each, wall_px=each.wall_without_grey_px) for each in slices]
    return [each for each in slices if each.wall_px is not None], (GREY_LEVELS,) if is_misled else ()
