"""Training examples of the placer: what the tracker made of a crop, and the wall that is really there."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from tagstrain.networks import preprocessing
from tagstrain.networks.flow import FlowNet
from tagstrain.networks.placer import (
    CHANNEL_GROUPS,
    N_ROTATION_CHANNELS,
    N_VECTOR_CHANNELS,
    PLACER_CHANNELS,
    placer_channels,
)
from tagstrain.networks.weights import load_weights
from tagstrain.simulation.config import PRESETS
from tagstrain.simulation.render import View, render
from tagstrain.simulation.scene import Scene, sample_scenes, stack_scenes
from tagstrain.training.examples import COMPLEMENTARY_SHARE, VIEWS, Batch, drawn_crop_mm, real_hearts

_SPREAD_GAIN = 0.5


class PlacerExamples:
    """Channels ``images`` (batch, channel, 64, 64) with ED ``landmarks`` (batch, spoke, ring, 2) in crop pixels.

    Crops are scaled and shifted so hard that where the crop lies tells nothing about the wall: taught on crops cut
    from the true box, a network learns the box and not the heart.

    Parameters
    ----------
    tracker_weights
        Of the tracker whose motion the placer reads; None for the shipped ones.
    """

    scale = (1.15, 2.6)
    """Side of the crop over the diameter of the epicardium."""
    shift = 0.25
    zoom = 0.25
    group_dropout = 0.08
    thickest_wall = 0.78
    """Largest share of the wall in the outer radius, beyond that of the hearts that are meant: what lies at the end of
    a range may be taken for less extreme than it is."""
    complementary_share = COMPLEMENTARY_SHARE
    point_names: tuple[str, ...] = ("landmarks",)
    """Entries of a batch that are points and move with the image."""

    def __init__(self, preset: str, tracker_weights: Path | None = None) -> None:
        hearts = real_hearts(PRESETS[preset], self.complementary_share)
        self.config = replace(hearts, wall_fraction=(hearts.wall_fraction[0], self.thickest_wall))
        self.tracker_weights = tracker_weights
        self._tracker: FlowNet | None = None

    def simulate(self, n: int, seed: int, device: torch.device) -> dict[str, torch.Tensor]:
        scene, view = self.drawn(n, seed, device)
        cines = render(scene, view)
        times_ms = cines.frame_times_ms - cines.frame_times_ms[:, :1]
        return {
            "images": self.channels(preprocessing.standardized(cines.frames), times_ms).half(),
            "landmarks": cines.landmarks_px[:, 0],
            "pixel_mm": cines.pixel_mm,
        }

    def drawn(self, n: int, seed: int, device: torch.device) -> tuple[Scene, View]:
        """Scenes of the seed and the crops in which they are seen."""
        scene = stack_scenes(sample_scenes(self.config, n, seed), device)
        rng = np.random.default_rng([seed, 1, VIEWS])
        middle, diameter, side, offset = drawn_crop_mm(scene, self.scale, self.shift, rng)
        # A quarter of the wall may be cut off by the crop, never more.
        reach = (side[:, None] / 2 - 0.35 * diameter[:, None]).clamp_min(0)
        offset = torch.minimum(torch.maximum(offset, -reach), reach)
        return scene, View(middle + offset, side, preprocessing.TRACKER_CROP_SIZE)

    @torch.no_grad()
    def channels(self, frames: torch.Tensor, times_ms: torch.Tensor) -> torch.Tensor:
        """What the placer sees of standardised crops ``(batch, time, 128, 128)``."""
        if self._tracker is None:
            network, _ = load_weights("tracker", self.tracker_weights, frames.device)
            assert isinstance(network, FlowNet)
            self._tracker = network
        return placer_channels(frames, self._tracker(frames, times_ms, refinements=0))

    def vary(self, batch: Batch, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        images, moved = _transformed(batch["images"].float(), rng, self.zoom)
        n, device = len(images), images.device

        def draw(shape: tuple[int, ...], sd: float) -> torch.Tensor:
            return torch.tensor(rng.standard_normal(shape) * sd, dtype=torch.float32, device=device)

        images = images * (1 + draw((n, PLACER_CHANNELS, 1, 1), 0.08)) + draw((n, PLACER_CHANNELS, 1, 1), 0.04)
        strength = torch.tensor(rng.uniform(0, 0.08, (n, 1, 1, 1)), dtype=torch.float32, device=device)
        noise = torch.Generator(device).manual_seed(int(rng.integers(2**62)))
        images = images + strength * torch.randn(images.shape, generator=noise, device=device)
        for group in CHANNEL_GROUPS.values():
            dropped = torch.tensor(rng.random(n) < self.group_dropout, device=device)
            images[dropped, group] = 0
        return {**batch, "images": images, **{name: moved(batch[name]) for name in self.point_names}}

    def shorten(self, batch: Batch, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        """Nothing to do: the channels are made from the whole cine already."""
        return dict(batch)


def _transformed(
    channels: torch.Tensor, rng: np.random.Generator, zoom: float
) -> tuple[torch.Tensor, Callable[[torch.Tensor], torch.Tensor]]:
    """Channels turned by any angle, mirrored, scaled and shifted, each example anew, and how their points move."""
    n, device = len(channels), channels.device
    angle = rng.uniform(0, 2 * math.pi, n)
    mirror = np.where(rng.random(n) < 0.5, -1.0, 1.0)
    scale = np.exp(rng.uniform(-zoom, zoom, n))
    cos, sin = np.cos(angle), np.sin(angle)
    # Where a pixel of the new image is taken from: matrix times its place plus shift, in half sides from the centre.
    turn = np.stack([np.stack([cos * mirror, -sin], -1), np.stack([sin * mirror, cos], -1)], 1)
    matrix = torch.tensor(turn * scale[:, None, None], dtype=torch.float32, device=device)
    shift = torch.tensor(rng.uniform(-0.15, 0.15, (n, 2)), dtype=torch.float32, device=device)
    grid = F.affine_grid(torch.cat([matrix, shift[..., None]], dim=-1), list(channels.shape), align_corners=False)
    moved = F.grid_sample(channels, grid, align_corners=False, padding_mode="border")
    inverse = torch.linalg.inv(matrix)
    vectors = moved[:, :N_VECTOR_CHANNELS].view(n, -1, 2, *moved.shape[-2:])
    vectors = torch.einsum("bij,bkjhw->bkihw", inverse, vectors).flatten(1, 2)
    sense = torch.tensor(mirror, dtype=torch.float32, device=device)[:, None, None, None]
    rotation = moved[:, N_VECTOR_CHANNELS : N_VECTOR_CHANNELS + N_ROTATION_CHANNELS] * sense
    rest = moved[:, N_VECTOR_CHANNELS + N_ROTATION_CHANNELS :].clone()
    rest[:, -2:] -= _SPREAD_GAIN * torch.tensor(np.log(scale), dtype=torch.float32, device=device)[:, None, None, None]
    half = preprocessing.TRACKER_CROP_SIZE / 2

    def points(points_px: torch.Tensor) -> torch.Tensor:
        unit = (points_px + 0.5) / half - 1
        placed = torch.einsum("bij,b...j->b...i", inverse, unit - shift.view(-1, *([1] * (unit.dim() - 2)), 2))
        return (placed + 1) * half - 0.5

    return torch.cat([vectors, rotation, rest], dim=1), points
