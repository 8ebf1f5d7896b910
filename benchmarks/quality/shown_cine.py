"""A simulated cine with the truth about any of its points: `ShownCine`, made by `show` or `show_second`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.accuracy.second_case import N_PIXELS, SecondCase
from benchmarks.accuracy.second_generator import render_case
from tagstrain.data import Box, PixelSpacing, TaggedCine
from tagstrain.inference.analyze import AnalysisConfig
from tagstrain.io.contours import ANY_SLICE
from tagstrain.simulation.motion import FIXED_POINT_STEPS, HeartMotion
from tagstrain.simulation.render import OVERSAMPLING, View, full_view, heart_share, motion_times_ms, render
from tagstrain.simulation.scene import Scene, stack_scenes

Array = NDArray[np.float64]
EDGE_MM = 2.0
"""Nearer to the heart no image shows whether a point is of its edge."""


@dataclass(frozen=True, eq=False, slots=True)
class ShownCine:
    """What the pipeline gets to see of a cine, and what it does not: where every point of the tissue really goes."""

    frames: NDArray[np.float32]
    times_ms: Array
    """Of all frames that were rendered."""
    pixel_mm: float
    landmarks_px: Array
    """True landmarks ``(time, spoke, ring, 2)`` in the rendered image, all of its frames."""
    follow: Callable[[Array], Array]
    """True trajectories ``(time, point, 2)`` of ED points ``(point, 2)``, both in the rendered image."""
    frame_indices: NDArray[np.intp]
    """Frames that are left."""
    offset_xy_px: NDArray[np.intp]
    """Pixel of the rendered image that is now the top left one."""
    box: Box | None = None
    given_wall_px: Array | None = None

    @property
    def ed_wall_px(self) -> Array:
        """True ED landmarks ``(spoke, ring, 2)`` in the image that is left."""
        return np.asarray(self.landmarks_px[0] - self.offset_xy_px)

    @property
    def cine(self) -> TaggedCine:
        """The input of the pipeline."""
        spacing = PixelSpacing(self.pixel_mm, self.pixel_mm)
        return TaggedCine(self.frames, self.times_ms[self.frame_indices], spacing)

    @property
    def config(self) -> AnalysisConfig:
        """What the user gave along."""
        walls = None if self.given_wall_px is None else {ANY_SLICE: self.given_wall_px}
        return AnalysisConfig(box=self.box, walls=walls)

    def true_landmarks_px(self) -> Array:
        """True landmarks in the frames and pixels that are left."""
        return np.asarray(self.landmarks_px[self.frame_indices] - self.offset_xy_px)

    def true_tracks_px(self, ed_points_px: Array) -> Array:
        """True trajectories ``(time, point, 2)`` of ED points ``(point, 2)``, in what is left."""
        return np.asarray(self.follow(ed_points_px + self.offset_xy_px)[self.frame_indices] - self.offset_xy_px)


def show(scene: Scene) -> ShownCine:
    """Render a scene, in whole grey levels."""
    batch = stack_scenes([scene])
    view = full_view(batch)
    cines = render(batch, view, oversampling=OVERSAMPLING)

    return _whole(
        np.clip(np.rint(cines.frames[0].numpy()), 0, 65535),
        cines.frame_times_ms[0].double().numpy(),
        float(cines.pixel_mm[0]),
        cines.landmarks_px[0].double().numpy(),
        lambda ed_points_px: tissue_tracks_px(batch, view, ed_points_px),
    )


def tissue_tracks_px(batch: Scene, view: View, ed_points_px: Array) -> Array:
    """Trajectories ``(time, point, 2)`` of the tissue that is seen at ED points ``(point, 2)`` of one scene.

    Beside the heart it is other tissue that is seen there, with a motion of its own. What lies within `EDGE_MM` of the
    heart counts as its edge.
    """
    motion, times_ms = HeartMotion(batch), motion_times_ms(batch)
    ed_mm = view.to_mm(torch.tensor(ed_points_px, dtype=torch.float32)[None])
    heart_mm = motion.forward(ed_mm, times_ms)
    n_times, n_points = times_ms.shape[1], ed_mm.shape[1]
    there_mm = ed_mm.repeat(1, n_times, 1)
    times = times_ms.repeat_interleave(n_points, dim=1)
    beside_mm = there_mm
    for _ in range(FIXED_POINT_STEPS):
        came_from_mm = motion.background_backward(beside_mm, times, motion.backward(beside_mm, times))
        beside_mm = beside_mm + there_mm - came_from_mm
    beside_mm = beside_mm.view(1, n_times, n_points, 2)
    inwards_mm = ed_mm * (1 - EDGE_MM / ed_mm.norm(dim=-1, keepdim=True).clamp_min(EDGE_MM))
    is_beside = heart_share(batch, view, inwards_mm) < 0.5
    tracks_mm = torch.where(is_beside[:, None, :, None], beside_mm, heart_mm)
    return np.asarray(view.to_px(tracks_mm)[0].double().numpy())


def show_second(case: SecondCase) -> ShownCine:
    """Render a case of the second generator."""
    cine = render_case(case)
    middle = np.array(case.heart_at_mm)

    def follow(ed_points_px: Array) -> Array:
        tagged_mm = (ed_points_px - N_PIXELS / 2) * cine.pixel_mm - middle
        # Points are material ones of the moment of tagging, the first frame comes some milliseconds later.
        times_ms = cine.frame_times_ms
        material = tagged_mm
        for _ in range(20):
            material = material + tagged_mm - case.motion.forward(material, times_ms[0])
        tracks_mm = np.stack([case.motion.forward(material, time) for time in times_ms])
        return np.asarray((tracks_mm + middle) / cine.pixel_mm + N_PIXELS / 2)

    return _whole(cine.frames, cine.frame_times_ms, cine.pixel_mm, cine.landmarks_px, follow)


def _whole(
    frames: NDArray[np.generic],
    times_ms: Array,
    pixel_mm: float,
    landmarks_px: Array,
    follow: Callable[[Array], Array],
) -> ShownCine:
    indices = np.arange(len(frames))
    return ShownCine(frames.astype(np.float32), times_ms, pixel_mm, landmarks_px, follow, indices, np.zeros(2, int))
