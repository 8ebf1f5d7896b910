"""Points followed by the RNN-CNN: `RnnCnn`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator

from tagstrain.data import Box, PointTracks, TaggedCine
from tagstrain.errors import TrackingError
from tagstrain.geometry import CropTransform
from tagstrain.inference.given_points import can_be_followed
from tagstrain.networks import preprocessing
from tagstrain.networks.rnncnn import INPUT_SIZE, N_LANDMARKS, LandmarkRnnCnn, as_grid
from tagstrain.networks.symmetry import turn_spokes, turned_views, unturn_points
from tagstrain.networks.weights import WeightsInfo, load_weights

TRACKING_SYMMETRIES = (0, 3, 5, 6)
LEAST_EXTENT_MM = 30.0
"""Of points around the smallest wall."""
SIGMA_FLOOR_MM = 0.5
SIGMA_SCALE = 2.95
"""Turns the spread between views into a standard deviation that holds 68 % of the errors on simulated cines."""


@dataclass(frozen=True, slots=True)
class RnnCnn:
    """The predecessor's landmark network as a tracker.

    The network gives positions in absolute terms, for its own 24 x 7 landmarks alone. It lends their
    displacement from ED to any points, interpolated by thin-plate splines, so that given points stay where they were
    given at ED. Answers are averaged over symmetries of the square; their spread is the uncertainty.
    """

    network: LandmarkRnnCnn
    info: WeightsInfo
    device: str = "cpu"

    @property
    def name(self) -> str:
        """Name on the command line."""
        return "rnncnn"

    @property
    def preprocessing(self) -> str:
        """How the network's input is prepared."""
        return "tagstrain"

    @classmethod
    def from_weights(cls, path: Path | None = None, device: str = "cpu") -> RnnCnn:
        """Load weights; None for the shipped ones. Raises InputError if they cannot be used."""
        network, info = load_weights("rnncnn", path, device)
        assert isinstance(network, LandmarkRnnCnn)
        return cls(network, info, device)

    def track(self, cine: TaggedCine, ed_points_px: NDArray[np.floating]) -> PointTracks:
        """Trajectories of any points around a wall; see the class for how others than the network's own are handled.

        Points that cannot be followed (`can_be_followed`) come back as NaN.

        Raises
        ------
        TrackingError
            If the points do not span a heart, which the network expects to see whole.
        """
        points = np.asarray(ed_points_px, np.float64)
        known = np.flatnonzero(can_be_followed(points, cine))
        tracks = np.full((cine.n_frames, *points.shape), np.nan)
        sigma = np.full(tracks.shape[:-1], np.nan)
        if known.size:
            extent_mm = float((np.ptp(points[known], axis=0) * cine.spacing_xy_mm).max())
            if extent_mm < LEAST_EXTENT_MM:
                raise TrackingError(
                    f"The RNN-CNN sees hearts as a whole: the points span {extent_mm:.0f} mm, at least "
                    f"{LEAST_EXTENT_MM:g} mm are expected of points all around a wall. Use --tracker flow or harp"
                )
            # The network is causal and starts at ED: frames before ED are run backwards in time.
            ed = cine.ed_frame
            for frames in (np.arange(ed, cine.n_frames), np.arange(ed, -1, -1)):
                if len(frames) > 1:
                    moved, spread = self._follow(cine, frames, points[known])
                    tracks[frames[:, None], known] = moved
                    sigma[frames[:, None], known] = spread
        return PointTracks(tracks, sigma, cine.ed_frame)

    def _follow(
        self, cine: TaggedCine, frames: NDArray[np.intp], points_px: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Positions ``(time, point, 2)`` and their spread ``(time, point)`` over frames that begin with ED."""
        views = self._views(cine, cine.frames[frames], Box.around(points_px), TRACKING_SYMMETRIES)
        displacement = views - views[:, :1]
        anchors = np.median(views[:, 0], axis=0).reshape(N_LANDMARKS, 2)
        mean = displacement.mean(axis=0).reshape(len(frames), N_LANDMARKS, 2)
        spread = displacement.std(axis=0).mean(axis=-1).reshape(len(frames), N_LANDMARKS)
        at_points = carry_to_points(anchors, np.concatenate([mean, spread[..., None]], axis=-1), points_px)
        floor_px = SIGMA_FLOOR_MM / cine.pixel_mm
        sigma = SIGMA_SCALE * np.hypot(np.maximum(at_points[..., 2], 0), floor_px)
        sigma[0] = 0.0
        return points_px + at_points[..., :2], sigma

    def _views(
        self, cine: TaggedCine, frames: NDArray[np.float32], box: Box, symmetries: tuple[int, ...]
    ) -> NDArray[np.float64]:
        """Landmarks ``(view, time, spoke, ring, 2)`` in pixels of the image, one view per symmetry of the crop."""
        spacing = (float(cine.spacing_xy_mm[0]), float(cine.spacing_xy_mm[1]))
        side_mm = max((box.x2 - box.x1) * spacing[0], (box.y2 - box.y1) * spacing[1])
        side_mm = max(side_mm * preprocessing.LANDMARK_CROP_SCALE, 1.0)
        crop = CropTransform(box.center_xy, side_mm, INPUT_SIZE, spacing)
        images, valid = crop.sample(frames)
        prepared = preprocessing.landmark_input(
            torch.from_numpy(images)[None].to(self.device), torch.from_numpy(valid)[None].to(self.device)
        )
        turned = turned_views(prepared, symmetries)
        with torch.inference_mode():
            grids = as_grid(self.network(turned)).cpu()
        views = []
        for grid, symmetry in zip(grids, symmetries, strict=True):
            upright = unturn_points(_unturn_spokes(grid, symmetry), symmetry, INPUT_SIZE)
            views.append(crop.to_image(upright.double().numpy()))
        return np.stack(views)


def carry_to_points(
    landmarks_px: NDArray[np.float64], values: NDArray[np.float64], points_px: NDArray[np.float64]
) -> NDArray[np.float64]:
    """What is known at landmarks ``(landmark, 2)``, at other points, by thin-plate splines.

    ``values`` have shape ``(time, landmark, quantity)``, the result ``(time, point, quantity)``.
    """
    n_frames, n_landmarks, n_quantities = values.shape
    flat = values.swapaxes(0, 1).reshape(n_landmarks, -1)
    spline = RBFInterpolator(landmarks_px, flat, kernel="thin_plate_spline", smoothing=1.0)
    at_points: NDArray[np.float64] = spline(points_px).reshape(len(points_px), n_frames, n_quantities)
    return at_points.swapaxes(0, 1)


def _unturn_spokes(grid: torch.Tensor, symmetry: int) -> torch.Tensor:
    """Undo the renumbering of `turn_spokes`."""
    n = grid.shape[-3]
    numbers = torch.arange(n, dtype=torch.float32).view(n, 1, 1).expand(n, 1, 2)
    before = turn_spokes(numbers, symmetry)[:, 0, 0].long()
    return grid.index_select(-3, torch.argsort(before))
