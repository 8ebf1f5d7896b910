"""Find the left ventricle in a whole image: `CnnLocalizer`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from tagstrain.data import Box, Localization, TaggedCine
from tagstrain.geometry import CropTransform
from tagstrain.networks import preprocessing
from tagstrain.networks.localizer import INPUT_SIZE, LocalizationCNN
from tagstrain.networks.symmetry import N_SYMMETRIES, turn_images, unturn_boxes
from tagstrain.networks.weights import WeightsInfo, load_weights

SHIFT_MM = 12.0
"""Views are shifted by up to this much, so that a box that does not follow the image betrays itself."""
_FIRST_SYMMETRIES = (0, 3, 5, 6)


@dataclass(frozen=True, slots=True)
class CnnLocalizer:
    """The localisation CNN on a fixed physical field of view, asked in several views and in two passes.

    The first pass looks at the middle 350 mm of the image, the second closer, around what the first found. Each view
    is turned, mirrored and shifted; the box is the median over views. Confidence is how well the views agree: a
    network that sees a ventricle moves its box with the image, one that guesses does not.
    """

    network: LocalizationCNN
    info: WeightsInfo
    device: str = "cpu"

    @property
    def preprocessing(self) -> str:
        """How the network's input is prepared."""
        return "tagstrain"

    @classmethod
    def from_weights(cls, path: Path | None = None, device: str = "cpu") -> CnnLocalizer:
        """Load weights; None for the shipped ones. Raises InputError if they cannot be used."""
        network, info = load_weights("localizer", path, device)
        assert isinstance(network, LocalizationCNN)
        return cls(network, info, device)

    def localize(self, cine: TaggedCine) -> Localization:
        """Box around the left ventricle and the agreement between views (0 to 1)."""
        rows, columns = cine.frames.shape[1:]
        middle = np.array([(columns - 1) / 2, (rows - 1) / 2])
        side_mm = preprocessing.LOCALIZER_FIELD_OF_VIEW_MM
        first = self._boxes(cine, middle, side_mm, _FIRST_SYMMETRIES)
        coarse = _median_box(first)
        if not np.isfinite(coarse).all():
            return Localization(Box(0.0, 0.0, 0.0, 0.0), 0.0)
        second = self._boxes(
            cine, np.array(coarse.center_xy), preprocessing.LOCALIZER_ZOOM * side_mm, tuple(range(N_SYMMETRIES))
        )
        box = _median_box(second)
        agreement = np.mean([box.iou(Box(*corners)) for corners in second])
        return Localization(box, float(agreement * min(1.0, 2 * box.iou(coarse))))

    def _boxes(
        self, cine: TaggedCine, center_px: NDArray[np.float64], side_mm: float, symmetries: tuple[int, ...]
    ) -> NDArray[np.float64]:
        """One box per view in pixels of the image, ``(view, 4)``."""
        frames = cine.frames[preprocessing.localizer_frame_indices(cine.n_frames)]
        spacing = (float(cine.spacing_xy_mm[0]), float(cine.spacing_xy_mm[1]))
        crops, inputs = [], []
        for view, symmetry in enumerate(symmetries):
            angle = 2 * np.pi * view / len(symmetries)
            shift = SHIFT_MM * np.array([np.cos(angle), np.sin(angle)]) / cine.spacing_xy_mm
            center = center_px + shift
            crop = CropTransform((float(center[0]), float(center[1])), side_mm, INPUT_SIZE, spacing)
            images, valid = crop.sample(frames)
            channels = preprocessing.localizer_channels(
                torch.from_numpy(images)[None].to(self.device), torch.from_numpy(valid)[None].to(self.device)
            )
            crops.append(crop)
            inputs.append(turn_images(channels, symmetry))
        with torch.inference_mode():
            turned = self.network(torch.cat(inputs)).cpu()
        boxes = [unturn_boxes(box, symmetry, INPUT_SIZE) for box, symmetry in zip(turned, symmetries, strict=True)]
        corners = [
            crop.to_image(box.double().numpy().reshape(2, 2)).ravel() for crop, box in zip(crops, boxes, strict=True)
        ]
        return np.array(corners)


def _median_box(boxes: NDArray[np.float64]) -> Box:
    return Box(*(float(v) for v in np.median(boxes, axis=0)))
