"""What the placer needs to see: networks of one size shown parts of its channels, trained on equal crops.

    python -m benchmarks.placer_controls data --out crops.pt --hearts 1280 --own FILE.h5
    python -m benchmarks.placer_controls train --data crops.pt --out runs --steps 600 --seeds 1 2
    python -m benchmarks.placer_controls table --data crops.pt --out runs

`data` follows every heart once with the shipped tracker. `train` leaves out runs that are there already, and several
processes may share the work (``--variants``). ``--own`` adds cines of one's own, whose landmarks at ED are known, to
those that are measured on. `table` writes placer_controls.md beside this file.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import tagstrain
from benchmarks.accuracy.test_sets import write_second
from benchmarks.placement import centroid_of_motion, groups
from tagstrain.data.landmarks import N_RINGS, N_SPOKES
from tagstrain.io import read_study
from tagstrain.io.landmark_file import LandmarkFile
from tagstrain.networks import preprocessing
from tagstrain.networks.placer import CHANNEL_GROUPS, PLACER_CHANNELS, PlacerNet, contours_of
from tagstrain.networks.weights import load_weights
from tagstrain.training.config import TrainingConfig
from tagstrain.training.modules import Batch
from tagstrain.training.placer_examples import PlacerExamples
from tagstrain.training.placer_module import PlacerTraining, landmarks_between, placement_rmse_mm, size_and_place
from tagstrain.training.wall_files import placer_example

Array = NDArray[np.float64]
BATCH_SIZE = 16
LEARNING_RATE = 1.5e-3
TRAINING_SEED, TEST_SEED = 41_000, 991_000
N_TEST = 48
"""Crops of each group that is measured on."""
OWN_CROPS = 16
"""Crops of each of one's own cines."""
MOTION = ("motion", "strain")


class Variant(NamedTuple):
    """What a network is shown."""

    meaning: str
    groups: tuple[str, ...]
    group_dropout: float = PlacerExamples.group_dropout
    channels: int | None = None
    """Number of channels of the last group that are shown; None for all."""

    def mask(self) -> torch.Tensor:
        """One where a channel is shown, zero elsewhere, ``(channel, 1, 1)``."""
        mask = torch.zeros(PLACER_CHANNELS, 1, 1)
        for name in self.groups:
            mask[CHANNEL_GROUPS[name]] = 1
        if self.channels is not None:
            mask[CHANNEL_GROUPS[self.groups[-1]].start + self.channels :] = 0
        return mask


ALL = tuple(CHANNEL_GROUPS)
VARIANTS = {
    "all": Variant("as shipped: everything, a group of channels left out now and then", ALL),
    "no dropout": Variant("everything, no group ever left out", ALL, 0.0),
    "no grey": Variant("everything but grey levels", tuple(name for name in ALL if name != "grey levels")),
    "motion, tags": Variant("motion, strain, persistence of the tags", (*MOTION, "persistence")),
    "motion": Variant("displacement, rotation and strain alone", MOTION),
    "grey": Variant("grey levels alone, of all frames, carried back to ED by the motion", ("grey levels",), 0.0),
    "ED frame": Variant("the frame at ED alone", ("grey levels",), 0.0, 1),
}


class Sighted(nn.Module):
    """A placer that sees some of its channels, the others as zeros: all variants have the same parameters."""

    def __init__(self, network: PlacerNet, mask: torch.Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mask", mask)

    def forward(self, channels: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network(channels * self.mask)
        return logits


class Errors(NamedTuple):
    """One predictor on one crop [mm]; radii are those of circles of the contours' areas."""

    rmse_mm: float
    endo_mm: float
    epi_mm: float
    center_mm: float


def main() -> None:
    """Make crops, train on them, or write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tasks = parser.add_subparsers(dest="task", required=True)
    data = tasks.add_parser("data")
    data.add_argument("--out", type=Path, required=True)
    data.add_argument("--hearts", type=int, default=1280)
    data.add_argument("--own", type=Path, help="HDF5 file in the predecessor's layout, landmarks of ED known")
    for name in ("train", "table"):
        task = tasks.add_parser(name)
        task.add_argument("--data", type=Path, required=True)
        task.add_argument("--out", type=Path, required=True, help="folder of the runs")
        if name == "train":
            task.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
            task.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
            task.add_argument("--steps", type=int, default=600)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.task == "data":
        torch.save(crops(options.hearts, options.own), options.out)
    elif options.task == "train":
        options.out.mkdir(parents=True, exist_ok=True)
        stored = torch.load(options.data)
        for seed in options.seeds:
            for variant in options.variants:
                path = options.out / f"{variant.replace(', ', '_').replace(' ', '_')}_{seed}_{options.steps}.json"
                if not path.exists():
                    path.write_text(json.dumps(trained(variant, seed, options.steps, stored), indent=1) + "\n")
                    print(path.name, flush=True)
    else:
        records = [json.loads(path.read_text()) for path in sorted(options.out.glob("*.json"))]
        text = table(records, torch.load(options.data))
        (Path(__file__).parent / "placer_controls.md").write_text(text)
        print(text)


def crops(n_hearts: int, own: Path | None) -> dict[str, Any]:
    """Channels and true walls of crops: ``training``, and by group what is measured on."""
    maker, device = PlacerExamples("default"), torch.device("cpu")
    training = [maker.simulate(8, TRAINING_SEED + k, device) for k in range(math.ceil(n_hearts / 8))]
    tests: dict[str, Batch] = {}
    for index, (name, config) in enumerate(groups().items()):
        maker.config = config
        parts = [maker.simulate(8, TEST_SEED + 100 * index + k, device) for k in range(N_TEST // 8)]
        tests[name] = joined(parts)
    with tempfile.TemporaryDirectory() as folder:
        second = Path(folder) / "second.h5"
        write_second(second, N_TEST)
        tests["another generator"] = joined(list(from_file(second, maker, 1)))
    if own is not None:
        tests["own cines"] = joined(list(from_file(own, maker, OWN_CROPS)))
    return {"training": joined(training), "tests": tests, "tracker": str(load_weights("tracker")[1]), "n": n_hearts}


def from_file(path: Path, maker: PlacerExamples, n_crops: int) -> Iterator[Batch]:
    """Every row of a file in so many crops, scaled and shifted as in training."""
    rng = np.random.default_rng(TEST_SEED)
    with LandmarkFile(path) as file:
        for index, source in enumerate(read_study(path).slices):
            cine, row = source.load(), file.row(index)
            for _ in range(n_crops):
                example = placer_example(cine, row, path, index, maker, rng)
                yield {key: value[None] for key, value in example.items()}


def joined(parts: Sequence[Batch]) -> Batch:
    """Batches as one, channels in half precision."""
    batch = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
    return {**batch, "images": batch["images"].half()}


def trained(name: str, seed: int, steps: int, stored: Mapping[str, Any]) -> dict[str, Any]:
    """Train one variant and measure it."""
    torch.manual_seed(seed)
    variant, data = VARIANTS[name], stored["training"]
    maker = PlacerExamples("default")
    maker.group_dropout = variant.group_dropout
    module = PlacerTraining(TrainingConfig(task="placer", out=""))
    module.network = Sighted(module.network, variant.mask())  # type: ignore[assignment]
    optimizer = torch.optim.AdamW(module.parameters(), lr=LEARNING_RATE, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, steps, pct_start=0.08)
    rng = np.random.default_rng(seed)  # the same crops, turned and disturbed alike, whatever is shown of them
    module.train()
    for _ in range(steps):
        chosen = torch.from_numpy(rng.integers(len(data["images"]), size=BATCH_SIZE))
        varied = maker.vary({key: value[chosen] for key, value in data.items()}, rng)
        loss = module.loss(varied)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    module.eval()
    with torch.inference_mode():
        errors = {group: errors_of(placed(module.network, test), test) for group, test in stored["tests"].items()}
    return {"variant": name, "seed": seed, "steps": steps, "errors": errors}


def placed(network: nn.Module, test: Batch) -> torch.Tensor:
    """Contours ``(crop, 2, spoke, 2)`` that a network sees, in crop pixels."""
    return torch.cat([contours_of(network(part.float()), N_SPOKES).points_px for part in test["images"].split(16)])


def errors_of(contours_px: torch.Tensor, test: Batch) -> list[Errors]:
    """Errors of contours in every crop of a group."""
    rmse_mm = placement_rmse_mm(landmarks_between(contours_px), test)
    off_mm = test["pixel_mm"][:, None, None] * (size_and_place(contours_px) - true_size_and_place(test))
    columns = (rmse_mm, off_mm[:, 0, 0], off_mm[:, 1, 0], off_mm[:, 1, 1:].norm(dim=-1))
    return [Errors(*values) for values in torch.stack(columns, dim=1).tolist()]


def true_size_and_place(test: Batch) -> torch.Tensor:
    """`size_and_place` of the true endocardium and epicardium, ``(crop, 2, 3)``."""
    return size_and_place(test["landmarks"][:, :, [0, N_RINGS - 1]].transpose(1, 2))


def trivial(test: Batch) -> dict[str, list[Errors]]:
    """Circles with the mean radii of the crops shown: mid-crop, and at the centroid of the strongest motion."""
    pixel_mm = test["pixel_mm"][:, None]
    radii_px = (true_size_and_place(test)[..., 0] * pixel_mm).mean(dim=0) / pixel_mm
    moving = centroid_of_motion(test["images"].float())
    middle = torch.full_like(moving, (preprocessing.TRACKER_CROP_SIZE - 1) / 2)
    angle = 2 * math.pi * torch.arange(N_SPOKES) / N_SPOKES
    circle = torch.stack([torch.cos(angle), torch.sin(angle)], dim=-1)
    return {
        name: errors_of(center[:, None, None] + radii_px[:, :, None, None] * circle, test)
        for name, center in {"circle mid-crop": middle, "circle at the centroid of motion": moving}.items()
    }


def table(records: Sequence[Mapping[str, Any]], stored: Mapping[str, Any]) -> str:
    """All groups as Markdown: mean over seeds and crops."""
    shown = [name for name in VARIANTS if any(record["variant"] == name for record in records)]
    (steps,) = {record["steps"] for record in records}  # runs of other lengths cannot be compared
    seeds = sorted({record["seed"] for record in records})
    shipped, info = load_weights("placer")
    lines = [
        "# What the placer needs to see",
        "",
        f"Commands: those of `benchmarks/placer_controls.py`, {stored['n']} hearts, {steps} steps of {BATCH_SIZE} "
        f"crops, seeds {', '.join(map(str, seeds))}; tagstrain {tagstrain.__version__}, tracker {stored['tracker']}.",
        "",
        *(f"- `{name}`: {VARIANTS[name].meaning}" for name in shown),
        f"- `shipped`: what analysis uses ({info}), trained far longer and on more hearts",
        "",
        "One pass in crops jittered as in training, where analysis draws the crop anew around what was found. Radii "
        "are those of circles of the contours' areas. Mean over crops and seeds, with half the range between seeds. "
        "Circles have the mean radii of the crops shown, which they are told.",
        "",
    ]
    for group, test in stored["tests"].items():
        lines += [
            f"## {group} ({len(test['pixel_mm'])} crops)",
            "",
            "| shown | RMSE mm | endocardium mm (bias) | epicardium mm (bias) | centre mm |",
            "|---|---|---|---|---|",
        ]
        for name in shown:
            runs = [np.array(record["errors"][group]) for record in records if record["variant"] == name]
            lines.append(row(name, runs))
        with torch.inference_mode():
            lines.append(row("shipped", [np.array(errors_of(placed(shipped, test), test))]))
        lines += [row(name, [np.array(errors)]) for name, errors in trivial(test).items()]
        lines.append("")
    return "\n".join(lines)


def row(name: str, runs: Sequence[Array]) -> str:
    """One predictor: mean over crops and seeds, of the RMSE and the centre with half the range between seeds."""
    means = np.array([[run[:, 0].mean(), run[:, 3].mean()] for run in runs])
    spread = np.ptp(means, axis=0) / 2
    both = np.concatenate(runs)
    rmse, center = (
        f"{mean:.2f}" + (f" ± {half:.2f}" if len(runs) > 1 else "")
        for mean, half in zip(means.mean(axis=0), spread, strict=True)
    )
    endo, epi = (f"{np.abs(both[:, k]).mean():.2f} ({both[:, k].mean():+.2f})" for k in (1, 2))
    return f"| {name} | {rmse} | {endo} | {epi} | {center} |"


if __name__ == "__main__":
    main()
