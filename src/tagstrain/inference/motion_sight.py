"""What the tracker makes of a crop, as the networks that read motion see it: `MotionSight`, `look`."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from tagstrain.data import TaggedCine
from tagstrain.geometry import CropTransform
from tagstrain.inference.flow import SYMMETRIES, FlowTracker
from tagstrain.networks.placer import placer_channels


@dataclass(frozen=True, eq=False, slots=True)
class MotionSight:
    """Motion of everything in a crop, from ED through the cycle, in several views."""

    crop: CropTransform
    channels: torch.Tensor
    """Of `placer_channels`, ``(view, channel, node, node)``, view ``k`` turned by ``SYMMETRIES[k]``."""


def look(tracker: FlowTracker, cine: TaggedCine, crop: CropTransform) -> MotionSight:
    """Track everything in a crop."""
    frames, flow = tracker.dense(cine, crop, SYMMETRIES)
    with torch.inference_mode():
        return MotionSight(crop, placer_channels(frames, flow))
