"""The architectures and losses that are compared: `VARIANTS`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from benchmarks.controls.crops import Batch
from benchmarks.controls.direct import DirectNet
from benchmarks.controls.phase import PhaseNet
from benchmarks.controls.point import PointNet
from tagstrain.networks.flow import FlowNet
from tagstrain.training.tracker_loss import LandmarkMotion, TrackerLosses, landmark_motion, slips_px

LOOKS = 1
"""At each frame, of every network that follows, the phase control among them."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A network and what it is taught by."""

    meaning: str
    build: Callable[[], nn.Module]
    minimized: Callable[[TrackerLosses], torch.Tensor] = lambda losses: losses.total


def _sequential() -> FlowNet:
    return FlowNet(correlation=False, refinements=0, looks=LOOKS)


VARIANTS = {
    "sequential": Variant("follows frame by frame: warp, compare with ED, update", _sequential),
    "large": Variant(
        "`sequential` with as many weights as `refined`",
        lambda: FlowNet((88, 128, 168), memory=48, correlation=False, refinements=0, looks=LOOKS),
    ),
    "direct": Variant("space-time U-Net, all frames at once, nothing warped", DirectNet),
    "point": Variant("point tracker: correlation around each landmark, attention over time and points", PointNet),
    "correlation": Variant(
        "`sequential`, shown how well patterns agree around every place",
        lambda: FlowNet(correlation=True, refinements=0, looks=LOOKS),
    ),
    "refined": Variant(
        "`correlation`, then refined twice with the whole cine in view",
        lambda: FlowNet(correlation=True, refinements=2, looks=LOOKS),
    ),
    "phase": Variant("`sequential`, shown the harmonic phase of both tag directions too", PhaseNet),
    "neighbors": Variant(
        "`sequential`, no Green strain in its loss",
        _sequential,
        lambda losses: losses.endpoint_mm + 0.5 * losses.neighbors_mm + 0.1 * losses.unlikelihood,
    ),
    "endpoint": Variant(
        "`sequential`, neither Green strain nor errors relative to neighbors in its loss",
        _sequential,
        lambda losses: losses.endpoint_mm + 0.1 * losses.unlikelihood,
    ),
}


def follow(network: nn.Module, batch: Batch) -> Sequence[LandmarkMotion]:
    """Motion of the landmarks as a network finds it; several where it iterates, the last one is its answer.

    In training a network that follows the tissue is put off the track now and then, as `TrackerTraining` does.
    """
    images, times_ms = batch["images"], batch["times_ms"]
    if isinstance(network, PointNet):
        return network.passes(images, times_ms, batch["landmarks"][:, 0])
    if isinstance(network, FlowNet):
        flows = network.passes(images, times_ms, slips_px(batch) if network.training else None)
    else:
        flows = [network(images, times_ms)]
    return [landmark_motion(flow, batch) for flow in flows]
