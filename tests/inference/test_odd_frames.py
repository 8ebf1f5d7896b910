"""Frames that do not belong are told from a heart that moves, however fast, and from images that are all noise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tagstrain.inference.odd_frames import odd_frames
from tagstrain.simulation.config import SimulatorConfig
from tagstrain.simulation.render import View, render
from tagstrain.simulation.scene import sample_scenes, stack_scenes

N_FRAMES = 12


@pytest.fixture(scope="module")
def frames() -> NDArray[np.float32]:
    """A heart that moves fast."""
    config = SimulatorConfig(
        n_frames=N_FRAMES, frame_interval_ms=(40.0, 40.0), snr=(10.0, 10.0), midwall_shortening=(0.3, 0.32)
    )
    scene = stack_scenes(sample_scenes(config, 1, 5))
    return np.asarray(render(scene, View(torch.zeros(1, 2), torch.tensor([200.0]), 128)).frames[0].numpy())


def test_a_heart_that_moves_has_no_odd_frame(frames: NDArray[np.float32]) -> None:
    assert not odd_frames(frames).any()
    assert not odd_frames(frames[::2]).any()


@given(first=st.integers(1, N_FRAMES - 4), n=st.integers(1, 3), kind=st.sampled_from(["shifted", "noise", "blank"]))
@settings(max_examples=30, deadline=None)
def test_spoiled_frames_are_found_and_no_others(frames: NDArray[np.float32], first: int, n: int, kind: str) -> None:
    spoiled = frames.copy()
    run = slice(first, first + n)
    if kind == "shifted":
        spoiled[run] = np.roll(spoiled[run], 6, axis=2)  # 9 mm
    elif kind == "noise":
        spoiled[run] = np.random.default_rng(first).random(spoiled[run].shape)
    else:
        spoiled[run] = 7
    assert np.flatnonzero(odd_frames(spoiled)).tolist() == list(range(first, first + n))


def test_a_heart_that_turns_round_has_no_odd_frame() -> None:
    """The frames before and after the turn are the same, and it is not."""
    phase = 2.5 * np.abs(np.linspace(-1, 1, 13)) ** 1.5
    x = np.arange(60) / 3
    frames = np.cos(x[None, None] + phase[:, None, None]).repeat(40, axis=1)
    assert not odd_frames(frames).any()
    frames[3] = np.random.default_rng(0).random(frames[3].shape)
    assert np.flatnonzero(odd_frames(frames)).tolist() == [3]


def test_the_ends_of_a_cine_are_never_odd(frames: NDArray[np.float32]) -> None:
    spoiled = frames.copy()
    spoiled[[0, -1]] = np.random.default_rng(0).random(spoiled[[0, -1]].shape)
    assert not odd_frames(spoiled).any()


@pytest.mark.parametrize("n_frames", [1, 2, 3, 20])
@pytest.mark.parametrize("kind", ["noise", "blank", "other in turns"])
def test_what_shows_no_motion_has_no_odd_frame(n_frames: int, kind: str) -> None:
    rng = np.random.default_rng(1)
    images = {
        "noise": rng.random((n_frames, 40, 50)),
        "blank": np.zeros((n_frames, 3, 5)),
        "other in turns": rng.random((2, 40, 50))[np.arange(n_frames) % 2],
    }[kind]
    assert not odd_frames(images).any()
