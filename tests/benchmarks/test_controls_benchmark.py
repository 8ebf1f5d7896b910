"""The benchmark of architectures: its crops, its networks, its judgment and its commands."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.controls import train
from benchmarks.controls.__main__ import main
from benchmarks.controls.crops import Batch, Crops, drawn, load_crops
from benchmarks.controls.phase import PhaseNet, harmonic_phases
from benchmarks.controls.table import write_table
from benchmarks.controls.train import Settings, judge, train_variant
from benchmarks.controls.variants import VARIANTS, follow
from tagstrain.networks.flow import FlowNet
from tagstrain.training.tracker_loss import LandmarkMotion

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("controls") / "crops.pt"
    assert main(["data", "--out", str(path), "--sequences", "2", "--number-a", "1", "--number-b", "1"]) == 0
    return path


@pytest.fixture(scope="module")
def short(data: Path) -> Crops:
    """Four frames of the crops, and one setting of set B."""
    crops = load_crops(data)
    assert {len(batch["images"][0]) for batch in crops.tests["B"]} == {12, 13, 20, 40, 50}
    return Crops(_cut(crops.training), {name: [_cut(sets[0])] for name, sets in crops.tests.items()})


def _cut(batch: Batch) -> Batch:
    return {key: values if key == "pixel_mm" else values[:, :4] for key, values in batch.items()}


def _batch(crops: Crops) -> Batch:
    return {**crops.training, "images": crops.training["images"].float()}


@pytest.mark.parametrize("variant", ["sequential", "direct", "point", "correlation", "refined", "phase"])
def test_every_network_begins_at_rest_and_learns_with_all_its_weights(variant: str, short: Crops) -> None:
    torch.manual_seed(0)
    batch, network = _batch(short), VARIANTS[variant].build()
    with torch.no_grad():
        assert float(follow(network.eval(), batch)[-1].displacement_px.abs().max()) == 0
    motions = follow(network.train(), batch)
    assert motions[-1].displacement_px.shape == batch["landmarks"].shape
    torch.stack([motion.displacement_px.sum() + motion.log_spread_px.sum() for motion in motions]).sum().backward()
    assert not [name for name, weights in network.named_parameters() if weights.grad is None]


def test_phase_network_deaf_to_phases_is_the_sequential_one(short: Crops) -> None:
    torch.manual_seed(0)
    plain, phase = VARIANTS["sequential"].build(), PhaseNet()
    assert isinstance(plain, FlowNet)
    nn.init.normal_(plain.head.weight, std=0.02)
    weights = plain.state_dict()
    n_inputs = plain.features.stem.in_channels
    stem = torch.zeros_like(phase.features.stem.weight)
    stem[:, :n_inputs] = weights["features.stem.weight"]
    phase.load_state_dict({**weights, "features.stem.weight": stem})
    batch = _batch(short)
    with torch.no_grad():
        expected = plain(batch["images"], batch["times_ms"]).displacement_px
        found = phase(batch["images"], batch["times_ms"]).displacement_px
    assert float(expected.abs().max()) > 0
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_harmonic_phase_is_that_of_the_waves() -> None:
    y, x = torch.meshgrid(torch.arange(128.0), torch.arange(128.0), indexing="ij")
    strong, weak = 2 * math.pi * (12 * x + 9 * y) / 128 + 0.4, 2 * math.pi * (9 * x - 12 * y) / 128
    phases = harmonic_phases((2 * torch.cos(strong) + torch.cos(weak))[None, None])[0, 0]
    inner = (slice(None), slice(16, -16), slice(16, -16))
    expected = torch.stack([strong.cos(), strong.sin(), weak.cos(), weak.sin()])
    assert float((phases - expected)[inner].abs().max()) < 0.15


def test_errors_are_those_put_in(short: Crops, monkeypatch: pytest.MonkeyPatch) -> None:
    def off_by_a_millimeter(_: nn.Module, batch: Batch) -> list[LandmarkMotion]:
        pixel_mm = batch["pixel_mm"].view(-1, 1, 1, 1)
        motion = batch["landmarks"] - batch["landmarks"][:, :1]
        motion[..., 0] += 1 / pixel_mm
        return [LandmarkMotion(motion, (1.0 / pixel_mm).log().expand(motion.shape[:-1]))]

    monkeypatch.setattr(train, "follow", off_by_a_millimeter)
    found = asdict(judge(nn.Identity(), short.tests["A"], CPU, batch_size=1))
    expected = {"rmse_mm": 1, "median_mm": 1, "percentile_95_mm": 1, "within_sigma": 1}
    still = {"circumferential_mae": 0, "radial_mae": 0, "radial_bias": 0}
    assert found == pytest.approx({**expected, **still}, abs=2e-3)


def test_a_seed_draws_the_same_batches_and_an_epoch_holds_every_crop(short: Crops) -> None:
    crops = {"images": torch.arange(10), "pixel_mm": torch.arange(10)}
    batches = drawn(crops, 5, np.random.default_rng(1), CPU)
    first = [next(batches)["images"].tolist() for _ in range(4)]
    assert sorted(first[0] + first[1]) == sorted(first[2] + first[3]) == list(range(10))
    again = drawn(crops, 5, np.random.default_rng(1), CPU)
    assert first == [next(again)["images"].tolist() for _ in range(4)]


def test_training_repeats_itself_and_stops_when_time_is_over(short: Crops) -> None:
    settings = Settings(steps=2, batch_size=2, seed=1, device="cpu")
    one, two = (train_variant("sequential", short, settings) for _ in range(2))
    assert one["errors"] == two["errors"]
    assert one["steps"] == 2
    assert train_variant("sequential", short, Settings(2, 2, 1, "cpu", seconds=0.001))["steps"] == 1


def test_all_writes_a_table_and_runs_out_of_time_where_it_does(data: Path, tmp_path: Path) -> None:
    given = ["--data", str(data), "--variants", "direct", "--seeds", "1", "--batch-size", "2", "--device", "cpu"]
    assert main(["all", *given, "--steps", "2", "--out", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "results.json").read_text())["runs"][0]
    other = {**record, "settings": {**record["settings"], "seed": 2}, "steps": 1}
    text = write_table(tmp_path, [record, other], {}, "command")
    assert "| direct | 1, 2 | 2, 1 of 2: out of time |" in text
    assert "## Set B" in text


def test_a_run_that_fails_is_said_so_in_the_table(tmp_path: Path) -> None:
    given = ["--data", str(tmp_path / "none.pt"), "--variants", "direct", "--seeds", "1", "--steps", "2"]
    assert main(["all", *given, "--out", str(tmp_path)]) == 3
    text = (tmp_path / "results.md").read_text()
    assert "**failed**: direct_1: exit code 1; FileNotFoundError" in text
