"""Find the anterior insertion of the right ventricle by how the tissue moves: `MotionInsertionFinder`."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from tagstrain.data import Insertion, TaggedCine
from tagstrain.inference.flow import FlowTracker, crop_around
from tagstrain.inference.insertion import GUESSED_ANTERIOR, anterior_of, is_mirrored
from tagstrain.inference.interfaces import Placement
from tagstrain.inference.motion_sight import SYMMETRIES, look
from tagstrain.networks.insertion import InsertionNet, mean_direction_rad, probability_within, upright_channels
from tagstrain.networks.preprocessing import TRACKER_CROP_SIZE
from tagstrain.networks.weights import WeightsInfo, load_weights

WITHIN_RAD = math.radians(15)
"""Error up to which an insertion counts as right: a quarter of a basal segment."""


@dataclass(frozen=True, slots=True)
class MotionInsertionFinder:
    """Reads the insertions from what the tracker saw when the wall was placed, or tracks once more where it was not.

    The confidence is the network's chance that there is a right ventricle and that the insertion lies within 15
    degrees, which held on simulated slices (see the model card).
    """

    network: InsertionNet
    info: WeightsInfo
    tracker: FlowTracker

    @classmethod
    def from_weights(cls, tracker: FlowTracker, path: Path | None = None, device: str = "cpu") -> MotionInsertionFinder:
        """Load weights; None for the shipped ones. Raises InputError if they cannot be used."""
        network, info = load_weights("insertion", path, device)
        assert isinstance(network, InsertionNet)
        return cls(network, info, tracker)

    def find(self, cine: TaggedCine, placement: Placement) -> Insertion:
        """The insertion on the epicardium of a placed wall; always one, its confidence says what it is worth."""
        wall_px = placement.wall_px
        epicardium_px = wall_px[:, -1]
        sight = placement.sight
        if sight is None:
            crop = replace(crop_around(wall_px.reshape(-1, 2), cine), size=TRACKER_CROP_SIZE)  # as in its training
            sight = look(self.tracker, cine, crop)
        views = [
            upright_channels(view[None], symmetry) for view, symmetry in zip(sight.channels, SYMMETRIES, strict=True)
        ]
        contour = torch.tensor(sight.crop.to_crop(epicardium_px), dtype=torch.float32, device=sight.channels.device)
        with torch.inference_mode():
            logits = self.network(torch.cat(views), contour.expand(len(views), -1, -1))
            probability = logits.insertions.softmax(dim=-1).mean(dim=0)
            angles_rad = mean_direction_rad(probability)
            within = probability_within(probability, angles_rad, WITHIN_RAD)
            is_there = float(logits.presence.sigmoid().mean())
        ends = [Insertion.towards(epicardium_px, cine.spacing_xy_mm, angle, 0) for angle in angles_rad.tolist()]
        anterior, is_certain = anterior_of(np.array([end.point_px for end in ends]), cine.affine)
        insertion = replace(ends[anterior], inferior_angle_rad=ends[1 - anterior].angle_rad)
        doubt = 1.0 if is_certain and not is_mirrored(insertion, cine.affine) else GUESSED_ANTERIOR
        return replace(insertion, confidence=min(is_there * float(within[anterior]), 1.0) * doubt)
