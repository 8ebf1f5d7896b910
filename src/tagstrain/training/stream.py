"""Endless batches, each set by the seed and its number alone, so that a resumed run sees the same ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from tagstrain.errors import InputError
from tagstrain.training.config import TrainingConfig
from tagstrain.training.makers import example_maker, file_examples
from tagstrain.training.modules import FAILURE

REPLAY_DISTANCE = 29
"""Batches between two uses of one simulated cine."""


class RowExamples(Protocol):
    """Labelled cines that are no simulation."""

    def draw(self, n: int, rng: np.random.Generator, device: torch.device) -> dict[str, torch.Tensor]:
        """``n`` random examples, prepared like the simulated ones."""
        ...


class TrainingBatches(IterableDataset[dict[str, torch.Tensor]]):
    """Simulated batches, batches from files, or both mixed.

    A group of ``batch_size / replay`` simulated cines enters at every step and is used again ``replay - 1`` times,
    `REPLAY_DISTANCE` steps apart. With several workers or ranks each follows its own series of seeds.

    Parameters
    ----------
    first_step
        Number of the first batch to give: that at which a resumed run goes on.
    rows
        Examples in place of those of the run's data files.
    """

    def __init__(
        self,
        config: TrainingConfig,
        first_step: int = 0,
        rank: int = 0,
        device: torch.device | str = "cpu",
        rows: RowExamples | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.first_step = first_step
        self.rank = rank
        self.device = torch.device(device)
        self.maker = example_maker(config)
        self.rows = rows or (file_examples(config) if config.data else None)
        # Every step brings one group; a group is a whole number of cines.
        self.group_size = config.batch_size // config.replay if self.rows is None else config.simulated_groups
        self.n_from_rows = config.batch_size - self.group_size * config.replay

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        worker = get_worker_info()
        n_workers, worker_id = (worker.num_workers, worker.id) if worker else (1, 0)
        if worker:
            torch.set_num_threads(1)
        groups: dict[int, dict[str, torch.Tensor]] = {}
        # Batches go out in turn, one per worker, the first worker first wherever a run goes on.
        step = self.first_step + worker_id
        while True:
            try:
                batch = self._batch(step, n_workers, groups)
            except InputError as error:
                if worker is None:
                    raise
                # Raised here, it would reach the process that trains as another error.
                yield {FAILURE: (error.path, error.problem, error.remedy)}  # type: ignore[dict-item]
                return
            # What was made on the GPU goes through main memory from one process to another.
            yield {key: value.cpu() for key, value in batch.items()} if worker else batch
            step += n_workers

    def _batch(self, step: int, n_workers: int, groups: dict[int, dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        turn, series = divmod(step, n_workers)
        wanted = [_replayed(turn, use) for use in range(self.config.replay)]
        seeds = np.random.SeedSequence([self.config.seed, self.rank, series, turn])
        rng = np.random.default_rng(seeds)
        for stale in [g for g in groups if g < turn - REPLAY_DISTANCE * self.config.replay]:
            del groups[stale]
        parts = []
        if self.group_size:
            for group in wanted:
                if group not in groups:
                    groups[group] = self._group(group, series)
                parts.append(self.maker.vary(groups[group], rng))
        if self.rows is not None and self.n_from_rows:
            parts.append(self.rows.draw(self.n_from_rows, rng, self.device))
        batch = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
        # Alike on all ranks, which wait for each other: batches of few frames take less time.
        batch = self.maker.shorten(batch, np.random.default_rng([self.config.seed, 0, series, turn, 11]))
        batch["seed"] = torch.tensor([self.config.seed, self.rank, series, turn])
        return batch

    def _group(self, group: int, series: int) -> dict[str, torch.Tensor]:
        seeds = np.random.SeedSequence([self.config.seed, self.rank, series, group, 7])
        return self.maker.simulate(self.group_size, int(seeds.generate_state(1, np.uint64)[0] >> 2), self.device)


def _replayed(turn: int, use: int) -> int:
    """Group that is used for the ``use``-th time at a turn; early on, some group that is there already."""
    group = turn - use * REPLAY_DISTANCE
    return group if group >= 0 else (turn * 7919 + use) % (turn + 1)
