"""The crops that all architectures train on and are judged on, rendered once: `make_crops`, `load_crops`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.accuracy.settings import SEED_A, SEED_B, SETTINGS, Setting
from tagstrain.networks import preprocessing
from tagstrain.simulation.config import PRESETS
from tagstrain.simulation.render import View, render
from tagstrain.simulation.scene import sample_scenes, stack_scenes
from tagstrain.training.examples import FRAME_INTERVAL_MS, TrackerExamples, drawn_crop_mm

Batch = dict[str, torch.Tensor]
GROUP = 128
"""Cines rendered at a time."""
TRAINING, SET_A, SET_B = "training", "A", "B"


@dataclass(frozen=True, eq=False, slots=True)
class Crops:
    """Batches of `TrackerExamples` on the CPU; images in half precision."""

    training: Batch
    tests: dict[str, list[Batch]]
    """By name of the test set; the batches of a set differ in their number of frames."""


def make_crops(
    path: Path, n: int, seed: int, n_a: int = 64, n_per_setting: int = 8, device: torch.device | str = "cpu"
) -> None:
    """Render and write ``n`` crops for training, ``n_a`` of set A and ``n_per_setting`` of each setting of set B."""
    device = torch.device(device)
    maker = TrackerExamples("default")
    maker.config = replace(PRESETS["default"], frame_interval_ms=FRAME_INTERVAL_MS)  # as set A
    groups = []
    for group, start in enumerate(range(0, n, GROUP)):
        group_seed = int(np.random.SeedSequence([seed, group]).generate_state(1, np.uint64)[0] >> 2)
        groups.append(_stored(maker.simulate(min(GROUP, n - start), group_seed, device)))
        print(f"{start + len(groups[-1]['images'])} of {n}", flush=True)
    tests: dict[str, list[Batch]] = {
        SET_A: [_test_crops(Setting("", PRESETS["default"]), n_a, SEED_A, device)],
        SET_B: [_test_crops(s, n_per_setting, SEED_B + k, device) for k, s in enumerate(SETTINGS)],
    }
    training = {key: torch.cat([group[key] for group in groups]) for key in groups[0]}
    record = {TRAINING: training, **tests}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(record, path)


def load_crops(path: Path) -> Crops:
    """What `make_crops` wrote; pages of the file are read as they are used, and shared by all processes."""
    record: dict[str, Any] = torch.load(path, mmap=True, weights_only=True, map_location="cpu")
    return Crops(record.pop(TRAINING), record)


def drawn(training: Batch, size: int, rng: np.random.Generator, device: torch.device) -> Iterator[Batch]:
    """Batches on the device for ever, in whole epochs where their number allows, each in an order of its own."""
    n = len(training["images"])
    kept = np.empty(0, np.int64)
    while True:
        while len(kept) < size:
            kept = np.concatenate([kept, rng.permutation(n)])
        chosen, kept = torch.from_numpy(np.sort(kept[:size])), kept[size:]
        yield {key: values[chosen].to(device, non_blocking=True) for key, values in training.items()}


def _test_crops(setting: Setting, n: int, seed: int, device: torch.device) -> Batch:
    """Crops as the tracker cuts them around known landmarks: centred, and of one scale."""
    scene = stack_scenes([setting.edit(scene) for scene in sample_scenes(setting.config, n, seed)], device)
    scale = preprocessing.TRACKER_CROP_SCALE
    middle, _, side, _ = drawn_crop_mm(scene, (scale, scale), 0.0, np.random.default_rng(seed))
    cines = render(scene, View(middle, side, preprocessing.TRACKER_CROP_SIZE))
    return _stored(
        {
            "images": preprocessing.standardized(cines.frames).half(),
            "landmarks": cines.landmarks_px,
            "times_ms": cines.frame_times_ms - cines.frame_times_ms[:, :1],
            "frame_valid": torch.ones(cines.frames.shape[:2], dtype=torch.bool, device=device),
            "pixel_mm": cines.pixel_mm,
        }
    )


def _stored(batch: Batch) -> Batch:
    return {key: values.cpu() for key, values in batch.items()}
