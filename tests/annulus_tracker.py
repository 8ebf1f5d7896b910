"""A tracker that sees an incompressible, twisting annulus, whose strain has a closed form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tagstrain.data import PointTracks, TaggedCine


@dataclass(frozen=True, eq=False)
class AnnulusTracker:
    """Moves material from radius ``R`` to ``sqrt(R**2 - shrunk_mm2[t])`` and turns it by ``twist_rad[t]``."""

    center_px: NDArray[np.float64]
    shrunk_mm2: NDArray[np.float64]
    twist_rad: NDArray[np.float64]
    name: str = "annulus"

    def track(self, cine: TaggedCine, ed_points_px: NDArray[np.floating]) -> PointTracks:
        offset_mm = (ed_points_px - self.center_px) * cine.spacing_xy_mm
        radius_mm = np.hypot(offset_mm[:, 0], offset_mm[:, 1])
        angle_rad = np.arctan2(offset_mm[:, 1], offset_mm[:, 0]) + self.twist_rad[:, None]
        now_mm = np.sqrt(radius_mm**2 - self.shrunk_mm2[:, None])
        moved_mm = now_mm[..., None] * np.stack([np.cos(angle_rad), np.sin(angle_rad)], axis=-1)
        points_px = self.center_px + moved_mm / cine.spacing_xy_mm
        return PointTracks(points_px, np.full(points_px.shape[:2], 0.1), cine.ed_frame)
