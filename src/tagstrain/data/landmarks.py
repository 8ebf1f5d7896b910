"""Tracked points: any set (`PointTracks`) and the spoke-and-ring grid of the left ventricle (`LandmarkTracks`)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

N_SPOKES = 24
N_RINGS = 7
MIDWALL_RING = 3


@dataclass(frozen=True, eq=False, slots=True)
class PointTracks:
    """Trajectories of material points through a cine, in pixels of the original image."""

    points_px: NDArray[np.float64]
    """``(x, y)`` per frame, shape ``(time, point, 2)``; NaN where a point is not known."""
    sigma_px: NDArray[np.float64]
    """Standard deviation of a point's position [px], shape ``(time, point)``; NaN where not known."""
    ed_frame: int = 0
    first_view_px: NDArray[np.float64] | None = None
    """Where the first of several views sees them, same shape: as far off ``points_px`` as what it found was off the
    mean of all, when each was last told; None from a tracker with one view or that does not tell views apart."""

    def __post_init__(self) -> None:
        if self.points_px.ndim != 3 or self.points_px.shape[-1] != 2:
            raise ValueError(f"points_px: expected shape (time, point, 2), got {self.points_px.shape}")
        if self.sigma_px.shape != self.points_px.shape[:-1]:
            raise ValueError(f"sigma_px: expected shape {self.points_px.shape[:-1]}, got {self.sigma_px.shape}")
        if self.first_view_px is not None and self.first_view_px.shape != self.points_px.shape:
            raise ValueError(f"first_view_px: expected shape {self.points_px.shape}, got {self.first_view_px.shape}")


@dataclass(frozen=True, eq=False, slots=True)
class LandmarkTracks:
    """Landmarks of the left ventricle through the cycle, in pixels of the original image.

    Spokes are in angular order and closed: the last one neighbours the first. Ring 0 is the endocardium, the last
    ring the epicardium.
    """

    points_px: NDArray[np.float64]
    """``(x, y)`` per frame, shape ``(time, spoke, ring, 2)``; NaN where a landmark is not known."""
    sigma_px: NDArray[np.float64]
    """Standard deviation of a landmark's position [px], shape ``(time, spoke, ring)``; NaN where not known."""
    ed_frame: int = 0
    first_view_px: NDArray[np.float64] | None = None
    """Where the first of several views sees them, same shape: as far off ``points_px`` as what it found was off the
    mean of all, when each was last told; None from a tracker with one view or that does not tell views apart."""

    def __post_init__(self) -> None:
        if self.points_px.ndim != 4 or self.points_px.shape[-1] != 2:
            raise ValueError(f"points_px: expected shape (time, spoke, ring, 2), got {self.points_px.shape}")
        if self.sigma_px.shape != self.points_px.shape[:-1]:
            raise ValueError(f"sigma_px: expected shape {self.points_px.shape[:-1]}, got {self.sigma_px.shape}")
        if self.first_view_px is not None and self.first_view_px.shape != self.points_px.shape:
            raise ValueError(f"first_view_px: expected shape {self.points_px.shape}, got {self.first_view_px.shape}")
        if not 0 <= self.ed_frame < self.points_px.shape[0]:
            raise ValueError(f"ed_frame: expected 0 to {self.points_px.shape[0] - 1}, got {self.ed_frame}")

    @classmethod
    def from_points(cls, tracks: PointTracks, n_rings: int = N_RINGS) -> LandmarkTracks:
        """Read point ``spoke * n_rings + ring`` as landmark ``[spoke, ring]``."""
        n_frames, n_points, _ = tracks.points_px.shape
        if n_points % n_rings:
            raise ValueError(f"{n_points} points do not form rings of {n_rings}")
        shape = (n_frames, n_points // n_rings, n_rings)
        first = None if tracks.first_view_px is None else tracks.first_view_px.reshape(*shape, 2)
        return cls(tracks.points_px.reshape(*shape, 2), tracks.sigma_px.reshape(shape), tracks.ed_frame, first)

    def to_points(self) -> PointTracks:
        """List landmark ``[spoke, ring]`` as point ``spoke * n_rings + ring``."""
        n_frames = self.points_px.shape[0]
        first = None if self.first_view_px is None else self.first_view_px.reshape(n_frames, -1, 2)
        sigma = self.sigma_px.reshape(n_frames, -1)
        return PointTracks(self.points_px.reshape(n_frames, -1, 2), sigma, self.ed_frame, first)
