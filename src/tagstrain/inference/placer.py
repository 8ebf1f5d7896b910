"""Find the wall of the left ventricle by how it moves: `MotionPlacer`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from tagstrain.data import Box, Localization, TaggedCine
from tagstrain.data.landmarks import N_RINGS, N_SPOKES
from tagstrain.geometry import CropTransform, wall_grid
from tagstrain.inference.flow import FlowTracker
from tagstrain.inference.interfaces import Placement
from tagstrain.inference.motion_sight import SYMMETRIES, MotionSight, look
from tagstrain.networks import preprocessing
from tagstrain.networks.placer import (
    CAVITY,
    CHANNEL_GROUPS,
    GREY_LEVELS,
    HEART,
    PERSISTENCE,
    PlacerNet,
    contours_of,
)
from tagstrain.networks.symmetry import unturn_images
from tagstrain.networks.weights import WeightsInfo, load_weights

MAX_PASSES = 4
WITHOUT_GREY, BY_MOTION = (GREY_LEVELS,), (GREY_LEVELS, PERSISTENCE)
"""Channels that are left out where grey levels are doubted."""
SETTLED_IOU = 0.93
"""Overlap of the boxes of two passes above which another one would change nothing."""
FOLLOWED_IOU = 0.8
"""Overlap of a box with the one whose surroundings were followed from which on that motion serves for both."""


@dataclass(frozen=True, slots=True)
class MotionPlacer:
    """Tracks first, then places: the wall is where tissue moves like a heart and its tags persist.

    The tracker follows everything in a crop around the box, in two views; the network reads the wall from that motion.
    The crop is then drawn anew around what was found, until the box no longer moves; what was followed in one crop
    serves for the next, unless that lies elsewhere.
    """

    network: PlacerNet
    info: WeightsInfo
    tracker: FlowTracker
    device: str = "cpu"
    left_out: tuple[str, ...] = ()
    """Groups of channels (`CHANNEL_GROUPS`) that the network is not shown."""

    @classmethod
    def from_weights(cls, tracker: FlowTracker, path: Path | None = None, device: str = "cpu") -> MotionPlacer:
        """Load weights; None for the shipped ones. Raises InputError if they cannot be used."""
        network, info = load_weights("placer", path, device, half_precision=True)
        assert isinstance(network, PlacerNet)
        return cls(network, info, tracker, device)

    def place(self, cine: TaggedCine, localization: Localization) -> Placement:
        """The wall, its spoke 0 along +x and its spokes turning towards +y, with what was seen in the last crop."""
        box = localization.box
        rows, columns = cine.frames.shape[1:]
        around, followed = box, None
        for _ in range(MAX_PASSES):
            if box.iou(around) < FOLLOWED_IOU:
                around, followed = box, None
            placement = self._placed(cine, box, followed)
            followed = followed or placement.sight
            found = Box.around(placement.wall_px.reshape(-1, 2)).within(rows, columns)
            if found.iou(box) > SETTLED_IOU:
                break
            box = found
        return placement

    def _placed(self, cine: TaggedCine, box: Box, followed: MotionSight | None) -> Placement:
        """The wall seen in one crop around a box, by its own motion or by what was followed in another crop."""
        spacing = (float(cine.spacing_xy_mm[0]), float(cine.spacing_xy_mm[1]))
        side_mm = max((box.x2 - box.x1) * spacing[0], (box.y2 - box.y1) * spacing[1], 40.0)
        crop = CropTransform(box.center_xy, side_mm, preprocessing.TRACKER_CROP_SIZE, spacing)
        return self._read(look(self.tracker, cine, crop, followed))

    def read_less(self, sight: MotionSight) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Landmarks ``(spoke, ring, 2)`` [px] without grey levels, and without how far tags persist either."""
        without_grey, by_motion = (
            replace(self, left_out=groups)._read(sight).wall_px for groups in (WITHOUT_GREY, BY_MOTION)
        )
        return without_grey, by_motion

    def _read(self, sight: MotionSight) -> Placement:
        """The wall that the network reads from what was seen in a crop."""
        crop = sight.crop
        with torch.inference_mode():
            channels = sight.channels.clone() if self.left_out else sight.channels
            for group in self.left_out:
                channels[:, CHANNEL_GROUPS[group]] = 0
            views = self.network(channels)
            upright = [unturn_images(view, symmetry) for view, symmetry in zip(views, SYMMETRIES, strict=True)]
            logits = torch.stack(upright).mean(dim=0, keepdim=True)
            points_px, spread_px = (each[0].cpu().double().numpy() for each in contours_of(logits, N_SPOKES))
        wall_px = wall_grid(crop.to_image(points_px[CAVITY]), crop.to_image(points_px[HEART]), N_RINGS)
        return Placement(wall_px, sight, spread_px * crop.pixel_mm)
