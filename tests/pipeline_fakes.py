"""A cine and exchangeable parts with known answers, so that the pipeline can be tested without networks."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tagstrain.data import Box, Localization, PixelSpacing, PointTracks, SliceLevel, TaggedCine
from tagstrain.geometry import wall_grid
from tagstrain.inference.interfaces import Placement

N_SPOKES, N_RINGS = 24, 7


def scale_at(phase: float) -> float:
    """Size of the fake heart relative to ED: shrinks to 0.8 in mid-cycle and comes back."""
    return 1 - 0.2 * np.sin(np.pi * phase) ** 2


def make_cine(
    name: str = "slice_1", n_frames: int = 6, shape: tuple[int, int] = (48, 56), empty: bool = False
) -> TaggedCine:
    """A bright disc in the middle; ``empty``: grey levels that rise, which the fake localizer does not trust."""
    rows, columns = np.indices(shape)
    disc = np.hypot(rows - shape[0] / 2, columns - shape[1] / 2) < 15
    image = columns if empty else 100 * disc
    frames = np.repeat(image[None].astype(np.float32), n_frames, axis=0)
    times_ms = 10 + 40.0 * np.arange(n_frames)
    return TaggedCine(frames, times_ms, PixelSpacing(1.5, 1.25), name, SliceLevel.MID, warnings=("assumed",))


class FakeLocalizer:
    """Trusts any image with something bright in it."""

    def localize(self, cine: TaggedCine) -> Localization:
        rows, columns = cine.frames.shape[1:]
        box = Box(columns / 2 - 18, rows / 2 - 18, columns / 2 + 18, rows / 2 + 18)
        return Localization(box, 0.9 if cine.frames.max() >= 100 else 0.1)


class FakePlacer:
    """Circles around the middle of the box."""

    def place(self, cine: TaggedCine, localization: Localization) -> Placement:
        angles = np.linspace(0, 2 * np.pi, N_SPOKES, endpoint=False)
        ring = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
        return Placement(wall_grid(8 * ring, 16 * ring, N_RINGS) + np.asarray(localization.box.center_xy))


@dataclass
class FakeTracker:
    """Scales the points about their mean by `scale_at`; loses them from frame ``lost_from`` on."""

    name: str = "fake"
    lost_from: int | None = None
    seen: list[str] = field(default_factory=list)

    def track(self, cine: TaggedCine, ed_points_px: NDArray[np.floating]) -> PointTracks:
        self.seen.append(cine.name)
        center = np.nanmean(ed_points_px, axis=0)
        scales = np.array([scale_at((t - cine.ed_frame) / cine.n_frames) for t in range(cine.n_frames)])
        points = center + scales[:, None, None] * (ed_points_px - center)
        points[slice(self.lost_from, None) if self.lost_from is not None else slice(0)] = np.nan
        return PointTracks(points, np.full(points.shape[:2], 0.5), cine.ed_frame)
