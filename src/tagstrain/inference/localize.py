"""Find the left ventricle in a whole image: `ViewLocalizer`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from tagstrain.data import Box, Localization, TaggedCine
from tagstrain.geometry import CropTransform
from tagstrain.inference.glare import without_glare
from tagstrain.networks import preprocessing
from tagstrain.networks.localization_unet import MAP_STRIDE, NOTHING, LocalizationUNet, find_ventricle
from tagstrain.networks.localizer import INPUT_SIZE, LocalizationCNN
from tagstrain.networks.symmetry import N_SYMMETRIES, turn_images, unturn_boxes, unturn_images
from tagstrain.networks.weights import WeightsInfo, load_weights

SHIFT_MM = 12.0
"""Views are shifted by up to this much, so that an answer that does not follow the image betrays itself."""
MAX_CLOSER_LOOKS = 3
AGREEMENT = 0.5
"""Overlap of the boxes of two looks from which on they mean the same; below it one more look is taken."""
_FIRST_SYMMETRIES = (0, 3, 5, 6)
_LEAST_CONTRAST = 0.05
"""Largest value of a look's standard channels up to which there is nothing to see; 1 is usual."""


@dataclass(frozen=True, slots=True)
class _View:
    """One window of a look, turned."""

    x: int
    y: int
    """Top left pixel of the window in the look; even, so that maps of half the resolution fall on a common grid."""
    symmetry: int


@dataclass(frozen=True, slots=True)
class ViewLocalizer:
    """A localiser network on a fixed physical field of view, asked in several views and in two looks or more.

    The first look takes the middle 350 mm of the image, or all of a smaller one; the second comes closer, around what
    the first found; where it finds the ventricle elsewhere, another look goes there. Each view of a look is shifted,
    turned and mirrored. Maps of the U-Net are averaged over the views, boxes of the predecessor's CNN go by their
    median. Confidence says how well the views agree, within a look and from look to look: a network that sees a
    ventricle follows the image, one that guesses does not.
    """

    network: LocalizationUNet | LocalizationCNN
    info: WeightsInfo
    device: str = "cpu"

    @property
    def preprocessing(self) -> str:
        """How the network's input is prepared."""
        return "tagstrain"

    @classmethod
    def from_weights(cls, path: Path | None = None, device: str = "cpu") -> ViewLocalizer:
        """Load weights of either network; None for the shipped ones. Raises InputError if they cannot be used."""
        network, info = load_weights("localizer", path, device, half_precision=True)
        assert isinstance(network, LocalizationUNet | LocalizationCNN)
        return cls(network, info, device)

    def localize(self, cine: TaggedCine) -> Localization:
        """Box around the left ventricle and how far it can be trusted; NaN and 0 where none was found."""
        size_px = np.array(cine.frames.shape[:0:-1])
        widest_mm = preprocessing.LOCALIZER_FIELD_OF_VIEW_MM
        closer_mm = preprocessing.LOCALIZER_ZOOM * widest_mm
        first_mm = float(np.clip((size_px * cine.spacing_xy_mm).max(), closer_mm, widest_mm))
        x, y = (size_px - 1) / 2
        found = self._look(cine, (float(x), float(y)), first_mm, _FIRST_SYMMETRIES)
        for _ in range(MAX_CLOSER_LOOKS):
            if not np.isfinite(found.box).all():
                return Localization(found.box, 0.0)
            before = found.box
            found = self._look(cine, before.center_xy, closer_mm, range(N_SYMMETRIES))
            overlap = found.box.iou(before)
            if overlap >= AGREEMENT:
                break
        assert found.confidence is not None  # both networks state one
        return Localization(found.box, found.confidence * min(1.0, overlap / AGREEMENT))

    def _look(
        self, cine: TaggedCine, center_px: tuple[float, float], side_mm: float, symmetries: Sequence[int]
    ) -> Localization:
        """What the views around one place say together, in pixels of the image."""
        frames = cine.frames[preprocessing.localizer_frame_indices(cine.n_frames)]
        spacing = (float(cine.spacing_xy_mm[0]), float(cine.spacing_xy_mm[1]))
        margin = MAP_STRIDE * round(SHIFT_MM * INPUT_SIZE / side_mm / MAP_STRIDE)
        # Channels are made once, with room to shift the views in.
        size = INPUT_SIZE + 2 * margin
        crop = CropTransform(center_px, side_mm * size / INPUT_SIZE, size, spacing)
        images, valid = crop.sample(frames)
        channels = preprocessing.localizer_channels(
            torch.from_numpy(without_glare(images))[None].to(self.device),
            torch.from_numpy(valid)[None].to(self.device),
        )[0]
        if float(channels.abs().amax()) < _LEAST_CONTRAST:
            return NOTHING
        views = _views(margin, symmetries)
        inputs = [turn_images(channels[:, v.y : v.y + INPUT_SIZE, v.x : v.x + INPUT_SIZE], v.symmetry) for v in views]
        with torch.inference_mode():
            answers = self.network(torch.stack(inputs)).float().cpu()
        if isinstance(self.network, LocalizationUNet):
            found = find_ventricle(_mean_maps(answers.sigmoid(), views, size))
        else:
            found = _median_box(answers, views)
        corners = crop.to_image(np.array(found.box).reshape(2, 2))
        return Localization(Box(*corners.ravel().tolist()), found.confidence)


def _views(margin: int, symmetries: Sequence[int]) -> list[_View]:
    """Views whose windows lie around a circle."""
    angles = 2 * np.pi * np.arange(len(symmetries)) / len(symmetries)
    steps = MAP_STRIDE * np.round(margin / MAP_STRIDE * np.stack([np.cos(angles), np.sin(angles)], axis=-1))
    return [
        _View(margin + int(x), margin + int(y), symmetry) for (x, y), symmetry in zip(steps, symmetries, strict=True)
    ]


def _mean_maps(maps: torch.Tensor, views: list[_View], size: int) -> NDArray[np.float32]:
    """Maps ``(view, map, row, column)`` averaged where they lie in the look; 0 where no view reached."""
    total = torch.zeros(maps.shape[1], size // MAP_STRIDE, size // MAP_STRIDE)
    count = torch.zeros_like(total)
    for view_maps, view in zip(maps, views, strict=True):
        x, y, n = view.x // MAP_STRIDE, view.y // MAP_STRIDE, view_maps.shape[-1]
        total[:, y : y + n, x : x + n] += unturn_images(view_maps, view.symmetry)
        count[:, y : y + n, x : x + n] += 1
    mean: NDArray[np.float32] = (total / count.clamp_min(1)).numpy()
    return mean


def _median_box(boxes: torch.Tensor, views: list[_View]) -> Localization:
    """Median of boxes ``(view, 4)``; confidence is their mean overlap with it."""
    corners = [
        (unturn_boxes(box, view.symmetry, INPUT_SIZE).reshape(2, 2) + torch.tensor([view.x, view.y])).flatten()
        for box, view in zip(boxes.double(), views, strict=True)
    ]
    median = Box(*torch.stack(corners).quantile(0.5, dim=0).tolist())
    return Localization(median, float(np.mean([median.iou(Box(*each.tolist())) for each in corners])))
