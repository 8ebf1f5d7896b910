"""The predecessor's networks run the predecessor's way: `OriginalLocalizer` and `OriginalRnnCnn`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from tagstrain.data import Box, LandmarkTracks, Localization, PointTracks, TaggedCine
from tagstrain.errors import InputError
from tagstrain.geometry import CropTransform, OriginalCrop
from tagstrain.geometry.original_crop import center_offset_xy, centered
from tagstrain.inference.given_points import can_be_followed
from tagstrain.inference.interfaces import Placement
from tagstrain.inference.models import Preprocessing
from tagstrain.inference.rnncnn import carry_to_points
from tagstrain.networks import localizer as localizer_network
from tagstrain.networks import preprocessing as input_preparation
from tagstrain.networks import rnncnn as rnncnn_network
from tagstrain.networks.localizer import LocalizationCNN
from tagstrain.networks.rnncnn import LandmarkRnnCnn, as_grid
from tagstrain.networks.weights import WeightsInfo, load_weights


@dataclass(frozen=True, slots=True)
class OriginalLocalizer:
    """The localization CNN on frame 0 in raw grey levels, asked once.

    Images of other sizes than 256 x 256 are put in the middle of one: zeros around smaller ones, the margins of larger
    ones left out; the box is given in pixels of the original image. With `Preprocessing.TAGSTRAIN` the image is
    resampled instead to the middle 350 mm, the field of view of the images that the network was trained on.

    Every cine is a batch of its own, as in the pipelines that ran the predecessor on UK Biobank: with
    ``batch_statistics="original"`` the box would otherwise depend on the cines beside it.
    """

    network: LocalizationCNN
    info: WeightsInfo
    device: str = "cpu"
    preprocessing: Preprocessing = Preprocessing.ORIGINAL

    @classmethod
    def from_weights(
        cls,
        path: Path | None,
        device: str = "cpu",
        preprocessing: Preprocessing = Preprocessing.ORIGINAL,
    ) -> OriginalLocalizer:
        """Load weights. Raises InputError if they cannot be used or read more than one channel."""
        network, info = load_weights("localizer", path, device)
        if not isinstance(network, LocalizationCNN) or network.in_channels != 1:
            problem = "says 'original' preprocessing, but its network does not read one channel of grey levels"
            raise InputError(path or "localizer", problem, "Give weights of the predecessor's localizer")
        return cls(network, info, device, preprocessing)

    def localize(self, cine: TaggedCine) -> Localization:
        """Box around the left ventricle; the network states no confidence."""
        rows, columns = cine.frames.shape[1:]
        first = cine.frames[0]
        if self.preprocessing is Preprocessing.ORIGINAL:
            offset = np.array(center_offset_xy(rows, columns))
            corners = self.boxes(centered(first)[None])[0].reshape(2, 2) - offset
        else:
            middle = ((columns - 1) / 2, (rows - 1) / 2)
            side_mm = input_preparation.LOCALIZER_FIELD_OF_VIEW_MM
            view = CropTransform(middle, side_mm, localizer_network.INPUT_SIZE, _spacing_xy_mm(cine))
            image, valid = view.sample(first)
            corners = view.to_image(self.boxes((image * valid)[None])[0].reshape(2, 2))
        return Localization(Box(*corners.ravel().tolist()), None)

    def boxes(self, images: NDArray[np.float32]) -> NDArray[np.float64]:
        """Boxes ``(image, 4)`` of one batch of images ``(image, 256, 256)``."""
        with torch.inference_mode():
            found = self.network(torch.from_numpy(images)[:, None].to(self.device))
        return np.asarray(found.cpu().double().numpy())


@dataclass(frozen=True, slots=True)
class OriginalRnnCnn:
    """The landmark network on one crop, asked once: the landmarks are what it says, in all frames, from frame 0 on.

    No view is turned, no uncertainty is known. It is how the predecessor's weights run whatever the
    preprocessing, and how ours run with the predecessor's preprocessing.

    With `Preprocessing.ORIGINAL` the crop is `OriginalCrop`, from the image put in the middle of 256 x 256. With
    `Preprocessing.TAGSTRAIN` it is the square around the box, and the predecessor's landmarks are taken from where its
    labels put them to where the image shows them. Crops of raw grey levels go to weights that read them, normalized
    ones to ours.
    """

    network: LandmarkRnnCnn
    info: WeightsInfo
    device: str = "cpu"
    preprocessing: Preprocessing = Preprocessing.ORIGINAL

    @property
    def name(self) -> str:
        """Name on the command line."""
        return "rnncnn"

    @classmethod
    def from_weights(
        cls,
        path: Path | None,
        device: str = "cpu",
        preprocessing: Preprocessing = Preprocessing.ORIGINAL,
    ) -> OriginalRnnCnn:
        """Load weights; None for the shipped ones. Raises InputError if they cannot be used."""
        network, info = load_weights("rnncnn", path, device)
        assert isinstance(network, LandmarkRnnCnn)
        return cls(network, info, device, preprocessing)

    def place_and_track(self, cine: TaggedCine, localization: Localization) -> LandmarkTracks:
        """Landmarks of all frames. Raises LocalizationError for a box that cannot be cropped."""
        points = self._landmarks_px(cine, cine.n_frames, localization.box)
        return LandmarkTracks(points, np.full(points.shape[:-1], np.nan), cine.ed_frame)

    def place(self, cine: TaggedCine, localization: Localization) -> Placement:
        """ED landmarks, for another tracker. Raises LocalizationError as above."""
        landmarks_px = self._landmarks_px(cine, cine.ed_frame + 1, localization.box)
        return Placement(np.asarray(landmarks_px[cine.ed_frame]))

    def track(self, cine: TaggedCine, ed_points_px: NDArray[np.floating]) -> PointTracks:
        """Trajectories of any points, which move as the network's landmarks around them do.

        The crop is drawn around the points by the predecessor's rule. Raises LocalizationError if they span no area.
        Points that cannot be followed (`can_be_followed`) come back as NaN.
        """
        points = np.asarray(ed_points_px, np.float64)
        known = np.flatnonzero(can_be_followed(points, cine))
        tracks = np.full((cine.n_frames, *points.shape), np.nan)
        if known.size:
            rows, columns = cine.frames.shape[1:]
            box = Box.around(points[known]).within(rows, columns)
            landmarks = self._landmarks_px(cine, cine.n_frames, box).reshape(cine.n_frames, -1, 2)
            at_ed = landmarks[cine.ed_frame]
            tracks[:, known] = points[known] + carry_to_points(at_ed, landmarks - at_ed, points[known])
        return PointTracks(tracks, np.full(tracks.shape[:-1], np.nan), cine.ed_frame)

    def _landmarks_px(self, cine: TaggedCine, n_frames: int, box: Box) -> NDArray[np.float64]:
        """Landmarks ``(time, spoke, ring, 2)`` of the first frames, in pixels of the original image."""
        rows, columns = cine.frames.shape[1:]
        frames = cine.frames[:n_frames]
        if self.preprocessing is Preprocessing.ORIGINAL:
            crop = OriginalCrop.around(box, rows, columns)
            return crop.to_image(self._ask(crop.sample(frames, cine.pixel_type)))
        spacing = _spacing_xy_mm(cine)
        side_mm = max((box.x2 - box.x1) * spacing[0], (box.y2 - box.y1) * spacing[1])
        side_mm = max(side_mm * input_preparation.LANDMARK_CROP_SCALE, 1.0)
        square = CropTransform(box.center_xy, side_mm, rnncnn_network.INPUT_SIZE, spacing)
        images, valid = square.sample(frames)
        # The predecessor's labels were scaled about pixel corners, its images about pixel centers.
        shown = self._ask(images * valid) + (1 / square.scale_xy - 1) / 2
        return square.to_image(shown)

    def _ask(self, crops: NDArray[np.float32]) -> NDArray[np.float64]:
        """The network's landmarks ``(time, spoke, ring, 2)`` [crop px] for crops ``(time, 128, 128)``."""
        images = torch.from_numpy(crops)[None].to(self.device)
        if not self.info.reads_raw:
            images = input_preparation.landmark_input(images)
        with torch.inference_mode():
            return np.asarray(as_grid(self.network(images))[0].cpu().double().numpy())


def _spacing_xy_mm(cine: TaggedCine) -> tuple[float, float]:
    return float(cine.spacing_xy_mm[0]), float(cine.spacing_xy_mm[1])
