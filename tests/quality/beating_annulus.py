"""A tagged ring that beats by a known map, followed exactly or not, for the tests of quality."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tagstrain.data import (
    Box,
    LandmarkTracks,
    Localization,
    PixelSpacing,
    PointTracks,
    SliceLevel,
    SliceResult,
    TaggedCine,
)
from tagstrain.geometry import wall_grid
from tagstrain.inference.interfaces import Placement
from tagstrain.inference.strain import slice_strain

CENTER_PX = np.array([48.0, 44.0])
SPACING = PixelSpacing(1.5, 1.5)
TAG_MM = 6.0
FIRST_MS, INTERVAL_MS = 20.0, 40.0


def wall_px(cavity_mm: float = 18.0, outer_mm: float = 28.0) -> NDArray[np.float64]:
    """ED landmarks ``(spoke, ring, 2)`` on circles."""
    angle = 2 * np.pi * np.arange(24) / 24
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=-1) / SPACING.row_mm
    return CENTER_PX + wall_grid(cavity_mm * circle, outer_mm * circle, 7)


def contraction(n_frames: int = 12) -> NDArray[np.float64]:
    """Size relative to ED: down to 0.85 and back to 0.97."""
    return np.concatenate([np.linspace(1, 0.85, n_frames // 2), np.linspace(0.83, 0.97, n_frames - n_frames // 2)])


def beating_slice(
    tag_depth: NDArray[np.float64] | None = None,
    noise: float = 2.0,
    directions_deg: tuple[float, ...] = (45.0, 135.0),
    follows: bool = True,
    level: SliceLevel = SliceLevel.MID,
    cavity_mm: float = 18.0,
    outer_mm: float = 28.0,
    name: str = "mid",
) -> SliceResult:
    """A slice whose tissue shrinks about `CENTER_PX`; with ``follows=False`` the landmarks stay behind.

    ``tag_depth`` ``(time,)`` is the modulation of the tags, 1 throughout by default.
    """
    scales = contraction()
    depth = np.ones(len(scales)) if tag_depth is None else tag_depth
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:88, :96]
    frames = []
    for scale, strength in zip(scales, depth, strict=True):
        material = (np.stack([x, y], axis=-1) - CENTER_PX) / scale * SPACING.row_mm
        image = np.full(x.shape, 100.0)
        for direction in np.radians(directions_deg):
            along = material @ np.array([np.cos(direction), np.sin(direction)])
            image *= 1 + 0.5 * strength * np.cos(2 * np.pi * along / TAG_MM)
        frames.append(image + rng.normal(0, noise, x.shape))
    times_ms = FIRST_MS + INTERVAL_MS * np.arange(len(scales))
    cine = TaggedCine(np.array(frames, np.float32), times_ms, SPACING, name, level)
    ed = wall_px(cavity_mm, outer_mm)
    followed = scales if follows else np.ones(len(scales))
    return measured(cine, CENTER_PX + followed[:, None, None, None] * (ed - CENTER_PX))


def measured(cine: TaggedCine, points_px: NDArray[np.float64], sigma_px: float = 0.3) -> SliceResult:
    """The result that landmarks ``(time, spoke, ring, 2)`` give."""
    landmarks = LandmarkTracks(points_px, np.full(points_px.shape[:-1], sigma_px))
    strain = slice_strain(landmarks, cine.spacing_xy_mm, cine.frame_times_ms)
    return SliceResult(cine, Localization(Box.around(points_px[0].reshape(-1, 2)), 0.9), landmarks, strain)


@dataclass(frozen=True)
class ScalingTracker:
    """Knows the motion of `beating_slice`, and errs by ``error_px`` along x in every frame but its reference."""

    error_px: float = 0.0
    name: str = "flow"

    def track(self, cine: TaggedCine, ed_points_px: NDArray[np.floating]) -> PointTracks:
        frames = np.round((cine.frame_times_ms - FIRST_MS) / INTERVAL_MS).astype(int)
        scales = contraction()[frames] / contraction()[frames[cine.ed_frame]]
        tracks = CENTER_PX + scales[:, None, None] * (np.asarray(ed_points_px) - CENTER_PX)
        tracks[np.arange(cine.n_frames) != cine.ed_frame, :, 0] += self.error_px
        return PointTracks(tracks, np.full(tracks.shape[:2], 0.3), cine.ed_frame)


@dataclass(frozen=True)
class FixedPlacer:
    """Knows the wall of `beating_slice`, or draws one ``shift_px`` beside it or ``scale`` as large."""

    shift_px: float = 0.0
    scale: float = 1.0

    def place(self, cine: TaggedCine, localization: Localization) -> Placement:
        wall = CENTER_PX + [self.shift_px, 0] + self.scale * (wall_px() - CENTER_PX)
        return Placement(wall, border_spread_mm=np.full((2, 24), 0.5))


@dataclass(frozen=True)
class FixedLocalizer:
    """Sees the heart of `beating_slice`, or ``shift_px`` beside it."""

    shift_px: float = 0.0

    def localize(self, cine: TaggedCine) -> Localization:
        return Localization(Box.around(wall_px().reshape(-1, 2) + np.array([self.shift_px, 0])), 0.9)
