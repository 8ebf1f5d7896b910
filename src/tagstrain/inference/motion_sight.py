"""What the tracker makes of a crop, as the networks that read motion see it: `MotionSight`, `look`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from tagstrain.data import TaggedCine
from tagstrain.geometry import CropTransform
from tagstrain.inference.odd_frames import kept_frames
from tagstrain.inference.steps import steps_px
from tagstrain.networks.flow import FIELD_STRIDE, Flow, sample_field
from tagstrain.networks.placer import placer_channels
from tagstrain.networks.symmetry import turn_points, unturn_points

if TYPE_CHECKING:
    from tagstrain.inference.flow import FlowTracker

SYMMETRIES = (0, 3)
"""Views in which motion is seen: as it is and turned by half a turn, so that a slip of one view counts half."""


@dataclass(frozen=True, eq=False, slots=True)
class MotionSight:
    """Motion of everything in a crop, from ED through the cycle, in several views."""

    crop: CropTransform
    channels: torch.Tensor
    """Of `placer_channels`, ``(view, channel, node, node)``, view ``k`` turned by ``SYMMETRIES[k]``."""
    flow: Flow
    """The motion they are made of, of the same views, from ED to the end of the cine further away, without steps."""
    steps_px: NDArray[np.float64]
    """Steps that everything makes, in pixels of the image ``(time, 2)`` (`inference.steps`)."""


def look(
    tracker: FlowTracker, cine: TaggedCine, crop: CropTransform, followed: MotionSight | None = None
) -> MotionSight:
    """Follow everything in a crop, or take the motion from what was followed in another crop of the same cine."""
    steps = steps_px(cine, crop, kept_frames(cine)) if followed is None else followed.steps_px
    frames, times_ms = tracker.views(cine, crop, SYMMETRIES, steps)
    with torch.inference_mode():
        flow = tracker.network(frames, times_ms, refinements=0) if followed is None else motion_in(crop, followed)
        return MotionSight(crop, placer_channels(frames, flow), flow, steps)


def motion_in(crop: CropTransform, followed: MotionSight) -> Flow:
    """The motion seen in one crop, on the nodes of another; beyond the crop its edge repeats."""
    motion, nodes = followed.flow, crop.size // FIELD_STRIDE
    n, n_frames = motion.displacement_px.shape[:2]
    steps = FIELD_STRIDE * torch.arange(nodes, device=followed.channels.device) + (FIELD_STRIDE - 1) / 2
    turned = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), dim=-1).reshape(-1, 2)
    places = []
    for symmetry in SYMMETRIES:
        image_px = crop.to_image(unturn_points(turned, symmetry, crop.size).cpu().numpy())
        there = torch.from_numpy(followed.crop.to_crop(image_px)).to(steps)
        places.append(turn_points(there, symmetry, followed.crop.size))
    zoom = followed.crop.pixel_mm / crop.pixel_mm
    displacement, log_spread = (
        sample_field(field, torch.stack(places), followed.crop.size)
        for field in (motion.displacement_px, motion.log_spread_px[:, :, None])
    )
    displacement, log_spread = zoom * displacement, math.log(zoom) + log_spread
    return Flow(
        displacement.transpose(2, 3).reshape(n, n_frames, 2, nodes, nodes), log_spread.view(n, n_frames, nodes, nodes)
    )
