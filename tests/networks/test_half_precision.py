"""Half precision: what is converted, and how far the answers move."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from tagstrain.data import PixelSpacing, TaggedCine
from tagstrain.inference.flow import FlowTracker
from tagstrain.inference.models import load_models
from tagstrain.networks.flow import FlowNet, Pyramid
from tagstrain.networks.half_precision import halve, has_native_bfloat16
from tagstrain.networks.unet import UNet
from tagstrain.networks.weights import load_weights
from tagstrain.simulation.config import PRESETS
from tagstrain.simulation.render import View, render
from tagstrain.simulation.scene import sample_scenes, stack_scenes


def test_landmarks_move_by_less_than_a_fiftieth_of_a_millimeter() -> None:
    n, step = (2, 1) if has_native_bfloat16("cpu") else (1, 2)  # it takes five times as long elsewhere
    batch = stack_scenes(sample_scenes(PRESETS["ukb"], n, 5))
    cines = render(batch, View(torch.zeros(n, 2), torch.full((n,), 110.0), 80))
    spacing = PixelSpacing(110 / 80, 110 / 80)
    network, info = load_weights("tracker")
    assert isinstance(network, FlowNet)
    hasty = copy.deepcopy(network)
    halve(hasty)
    for frames, times_ms, landmarks_px in zip(
        cines.frames.numpy(), cines.frame_times_ms.double().numpy(), cines.landmarks_px.numpy(), strict=True
    ):
        cine = TaggedCine(frames[::step], times_ms[::step], spacing)
        exact, fast = (
            FlowTracker(each, info).track(cine, landmarks_px[0].reshape(-1, 2)).points_px for each in (network, hasty)
        )
        assert 0 < spacing.row_mm * np.abs(fast - exact).max() < 0.02


@pytest.mark.parametrize("name", ["localizer", "tracker", "placer"])
def test_bodies_alone_are_halved(name: str) -> None:
    network, _ = load_weights(name)
    halve(network)
    bodies = [module for module in network.modules() if isinstance(module, Pyramid | UNet)]
    halved = {id(parameter) for body in bodies for parameter in body.parameters()}
    assert bodies
    for parameter in network.parameters():
        assert parameter.dtype == (torch.bfloat16 if id(parameter) in halved else torch.float32)


@pytest.mark.parametrize(("asked", "is_native"), [(True, True), (True, False), (False, True)])
def test_weights_are_halved_where_asked_for_and_faster(
    monkeypatch: pytest.MonkeyPatch, asked: bool, is_native: bool
) -> None:
    monkeypatch.setattr("tagstrain.networks.weights.has_native_bfloat16", lambda _: is_native)
    network, info = load_weights("placer", half_precision=asked)
    halved = any(parameter.dtype == torch.bfloat16 for parameter in network.parameters())
    assert halved == (asked and is_native)
    assert info.precision == ("bfloat16" if halved else "float32")
    rnncnn, info = load_weights("rnncnn", half_precision=asked)
    assert info.precision == "float32"
    assert all(parameter.dtype == torch.float32 for parameter in rnncnn.parameters())


@pytest.mark.parametrize("is_native", [True, False])
def test_results_say_in_which_precision_they_were_made(monkeypatch: pytest.MonkeyPatch, is_native: bool) -> None:
    monkeypatch.setattr("tagstrain.networks.weights.has_native_bfloat16", lambda _: is_native)
    expected = "bfloat16" if is_native else "float32"
    assert load_models(device="cpu").provenance.precision == expected
    assert load_models("rnncnn", "cpu", preprocessing="original").provenance.precision == expected


def test_gpus_stay_as_they_are() -> None:
    assert not has_native_bfloat16("cuda")
