"""Dense motion and strain of the wall against the closed form of an incompressible, twisting annulus."""

from __future__ import annotations

import numpy as np
import pytest

from annulus_tracker import AnnulusTracker
from tagstrain.data import LandmarkTracks, PixelSpacing, TaggedCine
from tagstrain.errors import TrackingError
from tagstrain.geometry import wall_grid
from tagstrain.inference.wall_motion import wall_motion

SHRUNK_MM2 = np.array([60.0, 0.0, 90.0, 150.0])
CENTER_PX = np.array([41.3, 30.2])
INNER_MM, OUTER_MM = 18.0, 30.0
TRACKER = AnnulusTracker(CENTER_PX, SHRUNK_MM2, np.array([0.1, 0.0, 0.2, 0.3]))


def annulus_cine() -> TaggedCine:
    """An image that nobody looks at, with pixels that are not square and ED in frame 1."""
    return TaggedCine(np.zeros((4, 64, 85), np.float32), 40.0 * np.arange(4), PixelSpacing(1.2, 1.0), ed_frame=1)


def annulus_landmarks(cine: TaggedCine) -> LandmarkTracks:
    angle = 2 * np.pi * np.arange(24) / 24
    ring_px = np.stack([np.cos(angle), np.sin(angle)], axis=-1) / cine.spacing_xy_mm
    ed_points_px = CENTER_PX + wall_grid(INNER_MM * ring_px, OUTER_MM * ring_px, 7)
    return LandmarkTracks.from_points(TRACKER.track(cine, ed_points_px.reshape(-1, 2)))


def radius_mm(cine: TaggedCine) -> np.ndarray:
    y, x = np.indices(cine.frames.shape[1:])
    return np.hypot(*((np.stack([x, y], axis=-1) - CENTER_PX) * cine.spacing_xy_mm).T).T


def test_strain_is_that_of_the_annulus() -> None:
    cine = annulus_cine()
    motion = wall_motion(cine, annulus_landmarks(cine), TRACKER)
    at_ed_mm = radius_mm(cine)
    known = np.isfinite(motion.radial_strain)
    np.testing.assert_array_equal(known, np.broadcast_to(known[0], known.shape))
    np.testing.assert_array_equal(known, np.isfinite(motion.circumferential_strain))
    # Ellipses are polygons of 24 corners, so the edge is known to 1 % of the radius.
    assert known[0][(at_ed_mm > INNER_MM + 0.3) & (at_ed_mm < 0.985 * OUTER_MM)].all()
    assert not known[0][(at_ed_mm < 0.985 * INNER_MM) | (at_ed_mm > OUTER_MM + 0.3)].any()
    squared_mm2 = np.broadcast_to(at_ed_mm**2, known.shape)[known]
    stretch_squared = 1 - np.broadcast_to(SHRUNK_MM2[:, None, None], known.shape)[known] / squared_mm2
    np.testing.assert_allclose(motion.circumferential_strain[known], (stretch_squared - 1) / 2, atol=0.004)
    np.testing.assert_allclose(motion.radial_strain[known], (1 / stretch_squared - 1) / 2, atol=0.012)
    assert motion.radial_strain[3][known[3]].max() > 0.35


def test_displacement_is_that_of_the_tracker_and_zero_at_ed() -> None:
    cine = annulus_cine()
    displacement_mm = wall_motion(cine, annulus_landmarks(cine), TRACKER).displacement_mm
    row, column = 30, 65
    moved_px = TRACKER.track(cine, np.array([[column, row]], float)).points_px[:, 0] - [column, row]
    np.testing.assert_allclose(displacement_mm[:, :, row, column], moved_px * [1.0, 1.2], atol=1e-9)
    assert np.nanmax(np.abs(displacement_mm[cine.ed_frame])) == pytest.approx(0, abs=1e-9)
    assert np.isnan(displacement_mm[:, :, 30, 41]).all()  # the middle of the cavity
    wall = np.isfinite(wall_motion(cine, annulus_landmarks(cine), TRACKER).radial_strain)
    np.testing.assert_array_equal(np.isfinite(displacement_mm), np.repeat(wall[:, None], 2, axis=1))


def test_landmarks_that_enclose_nothing_are_refused() -> None:
    cine = annulus_cine()
    points_px = annulus_landmarks(cine).points_px
    points_px[1] = np.nan
    with pytest.raises(TrackingError, match="No pixel lies"):
        wall_motion(cine, LandmarkTracks(points_px, np.ones(points_px.shape[:-1]), 1), TRACKER)
