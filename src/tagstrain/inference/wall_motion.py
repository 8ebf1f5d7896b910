"""Motion and strain of the wall at every pixel of the image, from any tracker: `wall_motion`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, generate_binary_structure

from tagstrain.data import LandmarkTracks, TaggedCine
from tagstrain.errors import TrackingError
from tagstrain.geometry.polygon import area_centroid, wall_mask
from tagstrain.inference.interfaces import Tracker
from tagstrain.mechanics.dense import dense_strain

_RIM_PX = 2
"""Pixels around the wall that are followed too, so that derivatives reach its edge."""


@dataclass(frozen=True, eq=False, slots=True)
class WallMotion:
    """Displacement and strain against ED of what lay at each pixel at ED; NaN where that was not wall."""

    displacement_mm: NDArray[np.float64]
    """Along ``(x, y)`` of the image, shape ``(time, 2, row, column)``; NaN beside the wall, here as below."""
    radial_strain: NDArray[np.float64]
    """Green-Lagrange, away from the center of the ventricle at ED; shape ``(time, row, column)``."""
    circumferential_strain: NDArray[np.float64]
    """Green-Lagrange, around that center; shape ``(time, row, column)``."""


def wall_motion(cine: TaggedCine, landmarks: LandmarkTracks, tracker: Tracker) -> WallMotion:
    """Follow every pixel between the first and the last ring at ED, and take strain from the gradient of its motion.

    A tracker that sees landmarks alone interpolates between them. Strain is that of the deformation gradient at a
    point, where the curves of a slice are those of lines between landmarks.

    Raises
    ------
    TrackingError
        If the landmarks at ED enclose no pixel, or the tracker cannot follow those they do.
    """
    rows, columns = cine.frames.shape[1:]
    ed_points_px = landmarks.points_px[landmarks.ed_frame]
    endo, epi = ed_points_px[:, 0], ed_points_px[:, -1]
    wall = wall_mask(endo, epi, (rows, columns))
    if not wall.any():
        raise TrackingError("No pixel lies between the first and the last ring at ED.")
    followed = binary_dilation(wall, generate_binary_structure(2, 2), iterations=_RIM_PX)
    pixels_px = np.argwhere(followed)[:, ::-1].astype(np.float64)
    tracks = tracker.track(cine, pixels_px)
    displacement_mm = np.full((cine.n_frames, 2, rows, columns), np.nan)
    moved_mm = (tracks.points_px - pixels_px) * cine.spacing_xy_mm
    displacement_mm[:, :, followed] = moved_mm.swapaxes(1, 2)
    center_xy_px = area_centroid(epi[np.isfinite(epi).all(axis=-1)])
    strain = dense_strain(displacement_mm, cine.spacing_xy_mm, center_xy_px)
    # The rim around the wall served for the gradient alone.
    known = (displacement_mm, strain.radial, strain.circumferential)
    return WallMotion(*(np.where(wall, values, np.nan) for values in known))
