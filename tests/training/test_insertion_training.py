"""Training of the insertion network: labels that stay on the wall, a loss that the truth makes least, a whole run."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.training.test_tracker_and_placer import settings_of

from tagstrain.data.landmarks import N_RINGS
from tagstrain.networks.flow import FlowNet
from tagstrain.networks.insertion import InsertionLogits, InsertionNet, contour_radius_px, ray_angles_rad
from tagstrain.networks.placer import PLACER_CHANNELS
from tagstrain.networks.weights import load_weights, save_weights
from tagstrain.simulation.render import ed_landmarks_mm
from tagstrain.training.insertion_examples import InsertionExamples
from tagstrain.training.insertion_module import TARGET_SPREAD_RAD, InsertionTraining, true_angles_rad
from tagstrain.training.run import train

CPU = torch.device("cpu")


def labels_of(n: int, seed: int) -> dict[str, torch.Tensor]:
    """Examples without pixels."""
    maker = InsertionExamples("default")
    scene, view = maker.drawn(n, seed, CPU)
    return {
        "images": torch.zeros(n, PLACER_CHANNELS, 64, 64),
        "landmarks": view.to_px(ed_landmarks_mm(scene)),
        "insertions": maker.insertions_px(n, seed, CPU),
        "pixel_mm": view.pixel_mm,
    }


def test_labels_stay_on_the_wall_in_order_however_the_image_is_varied() -> None:
    batch = labels_of(24, seed=1)
    maker = InsertionExamples("default")
    maker.wall_shift_px = maker.wall_zoom = 0.0
    assert 0 < int(batch["insertions"][:, 0, 0].isnan().sum()) < 12
    widths = []
    for varied in (batch, *(maker.vary(batch, np.random.default_rng(seed)) for seed in range(4))):
        epicardium = varied["landmarks"][:, :, N_RINGS - 1]
        center = epicardium.mean(dim=1)
        begin, end = true_angles_rad(varied).unbind(dim=1)
        walls = zip(epicardium - center[:, None], begin, strict=True)
        radius = torch.cat([contour_radius_px(wall[None], angle[None]) for wall, angle in walls])
        distance = (varied["insertions"] - center[:, None]).norm(dim=-1)
        near = (distance[:, [0, 2]] - radius).abs().amin(dim=1)
        assert float(near.nan_to_num().max()) < 0.6  # the wall is known at 24 spokes
        widths.append(torch.rad2deg(torch.remainder(end - begin, 2 * math.pi)))
    for width in widths[1:]:
        torch.testing.assert_close(width, widths[0], atol=0.1, rtol=0, equal_nan=True)
    assert float(widths[0].nan_to_num().max()) < 180


def test_the_shown_wall_is_off_as_a_placed_one() -> None:
    batch = labels_of(64, seed=2)
    maker = InsertionExamples("default")
    shown = maker.vary(batch, np.random.default_rng(0))["landmarks"]
    maker.wall_shift_px = maker.wall_zoom = 0.0
    true = maker.vary(batch, np.random.default_rng(0))["landmarks"]
    shift = (shown - true).mean(dim=(1, 2))
    assert float(shift.std()) == pytest.approx(InsertionExamples.wall_shift_px, rel=0.25)


class Answers(InsertionNet):
    """The true insertions off by ``error_rad``."""

    def __init__(self, angles_rad: torch.Tensor, error_rad: float, presence: torch.Tensor) -> None:
        super().__init__()
        self.answer = angles_rad.nan_to_num() + error_rad
        self.presence_logit = presence

    def forward(self, channels: torch.Tensor, epicardium_px: torch.Tensor) -> InsertionLogits:
        logits = torch.cos(ray_angles_rad() - self.answer[..., None]) / TARGET_SPREAD_RAD**2
        return InsertionLogits(logits, self.presence_logit)


def test_loss_is_least_at_the_truth(tmp_path: Path) -> None:
    module = InsertionTraining(settings_of(tmp_path, task="insertion"))
    batch = labels_of(16, seed=1)
    angles = true_angles_rad(batch)
    present = angles.isfinite().all(dim=1)
    sure = torch.where(present, 30.0, -30.0)

    def loss_of(error_rad: float, presence: torch.Tensor = sure) -> float:
        module.network = Answers(angles, error_rad, presence)
        return float(module.loss(batch))

    # What is left at the truth is the entropy of a bell of that width on rays 5 degrees apart.
    entropy = 0.5 * math.log(2 * math.pi * math.e) + math.log(math.degrees(TARGET_SPREAD_RAD) / 5)
    assert loss_of(0.0) == pytest.approx(entropy, abs=0.05)
    assert loss_of(0.0) < loss_of(0.1) < loss_of(0.5)
    assert loss_of(0.0, -sure) > loss_of(0.0) + 20


def test_slices_without_a_right_ventricle_teach_its_absence_alone(tmp_path: Path) -> None:
    module = InsertionTraining(settings_of(tmp_path, task="insertion"))
    batch = labels_of(4, seed=1)
    batch["insertions"] = torch.full_like(batch["insertions"], torch.nan)
    module.network = Answers(true_angles_rad(batch), 0.3, torch.zeros(4))
    assert float(module.loss(batch)) == pytest.approx(math.log(2))


@pytest.mark.usefixtures("small_examples")
def test_run_exports_weights_that_load(tmp_path: Path) -> None:
    tracker = tmp_path / "tracker.safetensors"
    save_weights(tracker, "tracker", FlowNet(), "test", {"network": {}, "preprocessing": "tagstrain"})
    weights = train(settings_of(tmp_path, task="insertion", tracker_weights=str(tracker)))
    network, info = load_weights("insertion", weights)
    assert isinstance(network, InsertionNet)
    assert info.settings["preprocessing"] == "tagstrain"
    assert sum(p.numel() for p in network.parameters()) < 150_000


def test_files_that_hold_no_right_ventricle_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="trains on the simulator alone"):
        settings_of(tmp_path, task="insertion", data=("labels.h5",))


def test_a_batch_without_a_right_ventricle_reaches_every_weight(tmp_path: Path) -> None:
    """Several GPUs wait for one another until each weight has a gradient."""
    batch = labels_of(2, seed=1)
    batch["insertions"] = torch.full_like(batch["insertions"], float("nan"))
    module = InsertionTraining(settings_of(tmp_path, task="insertion"))
    module.loss(batch).backward()
    assert all(weights.grad is not None for weights in module.parameters())
