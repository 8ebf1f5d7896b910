"""Find the wall of the left ventricle by how it moves: `MotionPlacer`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from tagstrain.data import Box, Localization, TaggedCine
from tagstrain.data.landmarks import N_RINGS, N_SPOKES
from tagstrain.geometry import CropTransform, wall_grid
from tagstrain.inference.flow import FlowTracker
from tagstrain.inference.interfaces import Placement
from tagstrain.inference.motion_sight import SYMMETRIES, MotionSight, look
from tagstrain.networks import preprocessing
from tagstrain.networks.placer import CAVITY, HEART, PlacerNet, contours_of
from tagstrain.networks.symmetry import unturn_images
from tagstrain.networks.weights import WeightsInfo, load_weights

MAX_PASSES = 4
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
        sight = look(self.tracker, cine, crop, followed)
        with torch.inference_mode():
            views = self.network(sight.channels)
            upright = [unturn_images(view, symmetry) for view, symmetry in zip(views, SYMMETRIES, strict=True)]
            logits = torch.stack(upright).mean(dim=0, keepdim=True)
            points_px, spread_px = (each[0].cpu().double().numpy() for each in contours_of(logits, N_SPOKES))
        wall_px = wall_grid(crop.to_image(points_px[CAVITY]), crop.to_image(points_px[HEART]), N_RINGS)
        return Placement(wall_px, sight, spread_px * crop.pixel_mm)
