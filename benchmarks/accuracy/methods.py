"""The trackers side by side, all given the true ED points: `load_methods`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from tagstrain.data import PointTracks, TaggedCine
from tagstrain.geometry import CropTransform
from tagstrain.inference.flow import FlowTracker
from tagstrain.inference.harp import HarpTracker
from tagstrain.inference.interfaces import Tracker
from tagstrain.inference.rnncnn import RnnCnn
from tagstrain.networks.preprocessing import TRACKER_CROP_SCALE

METHODS = ("no motion", "harp", "dis", "rnncnn", "flow")


@dataclass(frozen=True, slots=True)
class NoMotion:
    """The trivial tracker: every point stays where it was at ED."""

    @property
    def name(self) -> str:
        """Name in the table."""
        return "no motion"

    def track(self, cine: TaggedCine, ed_points_px: NDArray[np.floating]) -> PointTracks:
        """The same points in every frame."""
        still = np.repeat(np.asarray(ed_points_px, np.float64)[None], cine.n_frames, axis=0)
        return PointTracks(still, np.full(still.shape[:2], np.nan), cine.ed_frame)


@dataclass(frozen=True, slots=True)
class DisTracker:
    """Dense inverse search optical flow from frame to frame, added up along each point's path.

    The images are treated as kindly as those of the other trackers: cut to the surroundings of the points, resampled
    to square pixels, and freed from shading and from the fading of the tags.

    References
    ----------
    Kroeger, Timofte, Dai and Van Gool, ECCV 2016, doi:10.1007/978-3-319-46493-0_29 (OpenCV's ``DISOpticalFlow``)
    """

    pixel_mm: float = 1.0
    """The best of 0.5, 0.7 and 1 mm on cines of sets A and C."""
    contrast_mm: float = 6.0
    """Neighborhood of the contrast normalization."""

    @property
    def name(self) -> str:
        """Name in the table."""
        return "dis"

    def track(self, cine: TaggedCine, ed_points_px: NDArray[np.floating]) -> PointTracks:
        """Trajectories by flow between neighboring frames, forwards and backwards from ED."""
        import cv2

        flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        flow.setFinestScale(0)
        points = np.asarray(ed_points_px, np.float64)
        low, high = np.nanmin(points, axis=0), np.nanmax(points, axis=0)
        side_mm = TRACKER_CROP_SCALE * float(((high - low) * cine.spacing_xy_mm).max())
        center = (low + high) / 2
        size = round(side_mm / self.pixel_mm)
        spacing = (float(cine.spacing_xy_mm[0]), float(cine.spacing_xy_mm[1]))
        crop = CropTransform((float(center[0]), float(center[1])), side_mm, size, spacing)
        images = self._eight_bits(crop.sample(cine.frames)[0])
        tracks = np.repeat(crop.to_crop(points)[None], cine.n_frames, axis=0)
        ed = cine.ed_frame
        for frames in (range(ed, cine.n_frames), range(ed, -1, -1)):
            for before, now in pairwise(frames):
                motion = flow.calc(images[before], images[now], None)
                at = [tracks[before, :, 1], tracks[before, :, 0]]
                steps = [map_coordinates(motion[..., axis], at, order=1, mode="nearest") for axis in (0, 1)]
                tracks[now] = tracks[before] + np.stack(steps, axis=-1)
        return PointTracks(crop.to_image(tracks), np.full(tracks.shape[:2], np.nan), ed)

    def _eight_bits(self, images: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Local contrast between three deviations as 0 to 255."""
        import cv2

        width = self.contrast_mm / self.pixel_mm
        result = []
        for image in images:
            difference = image - cv2.GaussianBlur(image, (0, 0), width)
            deviation = np.sqrt(cv2.GaussianBlur(difference**2, (0, 0), width))
            relative = difference / (deviation + 0.1 * np.median(deviation) + 1e-9)
            result.append(np.clip(127.5 + relative * 127.5 / 3, 0, 255).astype(np.uint8))
        return np.stack(result)


@dataclass(frozen=True, slots=True)
class Timed:
    """A tracker that keeps the process time of each slice, without reading the file."""

    tracker: Tracker
    seconds: list[float] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Name of the tracker."""
        return self.tracker.name

    def track(self, cine: TaggedCine, ed_points_px: NDArray[np.floating]) -> PointTracks:
        """Track and note the time."""
        start = time.process_time()
        try:
            return self.tracker.track(cine, ed_points_px)
        finally:
            self.seconds.append(time.process_time() - start)


@dataclass(frozen=True, slots=True)
class Method:
    """A row of the table: a tracker, or why there is none."""

    name: str
    tracker: Tracker | None
    weights: str = ""
    """Version and hash of the weights, where there are any."""
    skipped: str = ""


def load_methods(names: tuple[str, ...], rnncnn_weights: Path | None, flow_weights: Path | None) -> list[Method]:
    """Load the trackers asked for, in the order of `METHODS`.

    Raises
    ------
    InputError
        If weights cannot be used.
    """

    def network(kind: Any, path: Path | None) -> Callable[[str], Method]:
        def load(name: str) -> Method:
            tracker = kind.from_weights(path)
            return Method(name, tracker, str(tracker.info))

        return load

    def optical_flow(name: str) -> Method:
        if find_spec("cv2") is None:
            return Method(name, None, skipped="OpenCV is not installed: pip install 'tagstrain[benchmark]'")
        import cv2

        cv2.setNumThreads(1)
        return Method(name, DisTracker(), f"OpenCV {cv2.__version__}")

    loaders: dict[str, Callable[[str], Method]] = {
        "no motion": lambda name: Method(name, NoMotion()),
        "harp": lambda name: Method(name, HarpTracker()),
        "dis": optical_flow,
        "rnncnn": network(RnnCnn, rnncnn_weights),
        "flow": network(FlowTracker, flow_weights),
    }
    return [loaders[name](name) for name in METHODS if name in names]
