"""HARP tracking against analytic images, whose pixels are known exactly from a backward map."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from tagstrain.data import PixelSpacing, TaggedCine
from tagstrain.errors import TagsNotFoundError
from tagstrain.inference.harp import HarpConfig, HarpTracker

Array = NDArray[np.float64]
CENTER_MM = np.array([70.0, 66.0])
SQUARE = PixelSpacing(1.2, 1.2)


def spamm_cine(
    to_material: Callable[[Array, int], Array],
    n_frames: int,
    *,
    spacing: PixelSpacing = SQUARE,
    angles_deg: tuple[float, ...] = (45.0, -45.0),
    contrast: Array | None = None,
    snr: float = np.inf,
    ed_frame: int = 0,
) -> TaggedCine:
    """Sinusoidal tags 6 mm apart on a smooth texture; ``to_material`` maps [mm about `CENTER_MM`] back to tagging."""
    shape = round(132 / spacing.row_mm), round(140 / spacing.column_mm)
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(float)
    here = np.stack([columns * spacing.column_mm, rows * spacing.row_mm], axis=-1) - CENTER_MM
    normals = np.stack([np.cos(np.radians(angles_deg)), np.sin(np.radians(angles_deg))], axis=-1)
    contrast = np.ones(n_frames) if contrast is None else contrast
    rng = np.random.default_rng(5)
    frames = np.empty((n_frames, *shape), np.float32)
    for frame in range(n_frames):
        material = to_material(here, frame)
        texture = 1 + 0.15 * np.sin(material[..., 0] / 9) * np.cos(material[..., 1] / 11)
        tags = np.cos(2 * np.pi / 6 * material @ normals.T + [0.7, 2.1][: len(angles_deg)]).mean(axis=-1)
        image = 100 * texture * (1 + 0.7 * contrast[frame] * tags)
        frames[frame] = np.abs(image + rng.normal(size=shape) * 100 / snr)
    return TaggedCine(frames, 40.0 * np.arange(n_frames), spacing, ed_frame=ed_frame)


def to_px(points_mm: Array, cine: TaggedCine) -> Array:
    """Positions about `CENTER_MM` in pixels."""
    return np.asarray((points_mm + CENTER_MM) / cine.spacing_xy_mm)


def wall_mm(inner: float = 16.0, outer: float = 28.0) -> Array:
    """24 spokes x 7 rings about the center, as a list of points."""
    angle = 2 * np.pi * np.arange(24) / 24
    radius = np.linspace(inner, outer, 7)
    spokes = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    return np.asarray((spokes[:, None] * radius[None, :, None]).reshape(-1, 2))


def rmse_mm(tracks_px: Array, truth_px: Array, cine: TaggedCine) -> float:
    """Root mean square distance."""
    return float(np.sqrt((((tracks_px - truth_px) * cine.spacing_xy_mm) ** 2).sum(-1).mean()))


def stretch_and_shift(fraction: Array | float) -> tuple[Array, Array]:
    """Deformation gradient and shift [mm] of a small affine motion."""
    fraction = np.asarray(fraction)
    gradient = np.eye(2) + fraction[..., None, None] * np.array([[0.05, 0.04], [-0.02, -0.06]])
    return gradient, fraction[..., None] * np.array([0.8, -0.6])


def affine_cine(course: Array, **settings: object) -> tuple[TaggedCine, Array, Array]:
    """Cine of an affine motion, its ED points and their true positions [px]."""

    def back(here: Array, frame: int) -> Array:
        gradient, shift = stretch_and_shift(course[frame])
        return np.asarray((here - shift) @ np.linalg.inv(gradient).T)

    cine = spamm_cine(back, len(course), **settings)  # type: ignore[arg-type]
    gradients, shifts = stretch_and_shift(course)
    truth = to_px(np.einsum("tij,pj->tpi", gradients, wall_mm()) + shifts[:, None], cine)
    return cine, truth[cine.ed_frame], truth


def annulus_cine(n_frames: int = 20, snr: float = 20.0) -> tuple[TaggedCine, Array]:
    """Incompressible ring that turns by 10 degrees and shortens by 20 % at mid-wall, tags fading to 25 %."""
    course = np.sin(np.pi * np.arange(n_frames) / (n_frames - 1)) ** 2
    area = 22.0**2 * (1 - (1 - 0.2 * course) ** 2)
    turn = np.radians(10) * course

    def rotated(points: Array, angle: float) -> Array:
        cosine, sine = np.cos(angle), np.sin(angle)
        return np.asarray(points @ np.array([[cosine, sine], [-sine, cosine]]))

    def back(here: Array, frame: int) -> Array:
        squared = np.maximum((here**2).sum(-1, keepdims=True), 1e-6)
        return rotated(here * np.sqrt((squared + area[frame]) / squared), -turn[frame])

    fading = 0.25 ** (np.arange(n_frames) / (n_frames - 1))
    cine = spamm_cine(back, n_frames, contrast=fading, snr=snr)
    wall = wall_mm()
    squared = (wall**2).sum(-1, keepdims=True)
    truth = [rotated(wall * np.sqrt((squared - a) / squared), b) for a, b in zip(area, turn, strict=True)]
    return cine, to_px(np.stack(truth), cine)


@pytest.mark.parametrize("spacing", [SQUARE, PixelSpacing(1.5, 1.1)])
def test_small_noise_free_motion_is_recovered(spacing: PixelSpacing) -> None:
    cine, start, truth = affine_cine(np.linspace(0, 1, 5), spacing=spacing)
    assert rmse_mm(HarpTracker().track(cine, start).points_px, truth, cine) < 0.1
    assert rmse_mm(np.repeat(start[None], 5, axis=0), truth, cine) > 0.5


def test_contracting_annulus_is_followed_through_noise_and_fading() -> None:
    cine, truth = annulus_cine()
    tracks = HarpTracker().track(cine, truth[0])
    assert rmse_mm(tracks.points_px, truth, cine) < 0.6

    rings = (tracks.points_px * cine.spacing_xy_mm).reshape(20, 24, 7, 2)[:, :, 3]
    lengths = np.linalg.norm(np.roll(rings, -1, axis=1) - rings, axis=-1)
    measured = (((lengths / lengths[0]) ** 2 - 1) / 2).mean(axis=1)
    course = np.sin(np.pi * np.arange(20) / 19) ** 2
    np.testing.assert_allclose(measured, ((1 - 0.2 * course) ** 2 - 1) / 2, atol=0.015)


def test_standard_deviation_is_of_the_size_of_the_error() -> None:
    cine, truth = annulus_cine()
    tracks = HarpTracker().track(cine, truth[0])
    assert (tracks.sigma_px[0] == 0).all()
    error = np.linalg.norm(tracks.points_px - truth, axis=-1)[1:]
    ratio = error / np.sqrt(2) / tracks.sigma_px[1:]
    assert 0.3 < np.sqrt((ratio**2).mean()) < 3
    clean, clean_truth = annulus_cine(snr=200)
    assert HarpTracker().track(clean, clean_truth[0]).sigma_px[-1].mean() < tracks.sigma_px[-1].mean()


def test_turning_the_image_turns_the_tracks() -> None:
    cine, truth = annulus_cine(n_frames=10)
    turned = replace(cine, frames=np.ascontiguousarray(np.rot90(cine.frames, axes=(1, 2))))
    width = cine.frames.shape[2]

    def turn(points: Array) -> Array:
        return np.stack([points[..., 1], width - 1 - points[..., 0]], axis=-1)

    expected = turn(HarpTracker().track(cine, truth[0]).points_px)
    np.testing.assert_allclose(HarpTracker().track(turned, turn(truth[0])).points_px, expected, atol=0.15)


@pytest.mark.parametrize("ed_frame", [2, 4])
def test_any_frame_can_be_the_reference(ed_frame: int) -> None:
    cine, start, truth = affine_cine(np.array([0.6, 0.2, 0.0, 0.4, 0.8]), ed_frame=ed_frame)
    tracks = HarpTracker().track(cine, start)
    np.testing.assert_array_equal(tracks.points_px[ed_frame], start)
    assert rmse_mm(tracks.points_px, truth, cine) < 0.1


def test_tags_are_measured_where_they_are_seen() -> None:
    """A cine that is reversed in time, so that ED comes last and the first frames show no tags any more."""
    cine, truth = annulus_cine()
    n_seen = cine.n_frames - 4
    frames = cine.frames.copy()
    frames[n_seen:] = gaussian_filter(frames[n_seen:], (0, 6, 6))
    backwards = replace(cine, frames=np.ascontiguousarray(frames[::-1]), ed_frame=cine.n_frames - 1)
    found, usual = HarpTracker().track(backwards, truth[0]), HarpTracker().track(cine, truth[0])
    error_mm = rmse_mm(found.points_px[::-1][:n_seen], truth[:n_seen], cine)
    assert error_mm < 1.1 * rmse_mm(usual.points_px[:n_seen], truth[:n_seen], cine)


def test_line_tags_show_the_motion_across_them_and_admit_the_rest() -> None:
    cine, start, truth = affine_cine(np.linspace(0, 1, 5), angles_deg=(30.0,))
    tracks = HarpTracker().track(cine, start)
    normal = np.array([np.cos(np.radians(30)), np.sin(np.radians(30))])
    across = ((tracks.points_px - truth) * cine.spacing_xy_mm) @ normal
    moved = ((tracks.points_px - start) * cine.spacing_xy_mm) @ np.array([-normal[1], normal[0]])
    assert np.sqrt((across**2).mean()) < 0.1
    np.testing.assert_allclose(moved, 0, atol=0.1)
    assert (tracks.sigma_px[1:] * 1.2 > 3).all()


def test_one_point_alone_and_two_frames_are_enough() -> None:
    cine, start, truth = affine_cine(np.array([0.0, 1.0]))
    tracks = HarpTracker().track(cine, start[:1])
    assert rmse_mm(tracks.points_px, truth[:, :1], cine) < 0.15


def test_unknown_points_stay_unknown_and_do_not_disturb_others() -> None:
    cine, start, _ = affine_cine(np.linspace(0, 1, 3))
    holed = np.concatenate([start, [[np.nan, np.nan], [40.0, np.nan]]])
    tracks = HarpTracker().track(cine, holed)
    assert np.isnan(tracks.points_px[:, -2:]).all()
    assert np.isnan(tracks.sigma_px[:, -2:]).all()
    np.testing.assert_array_equal(tracks.points_px[:, :-2], HarpTracker().track(cine, start).points_px)
    assert np.isnan(HarpTracker().track(cine, holed[-2:]).points_px).all()


def test_image_without_tags_is_refused() -> None:
    cine, start, _ = affine_cine(np.linspace(0, 1, 3))
    plain = np.abs(100 + 5 * np.random.default_rng(0).normal(size=cine.frames.shape)).astype(np.float32)
    with pytest.raises(TagsNotFoundError, match="no tag lines"):
        HarpTracker().track(replace(cine, frames=plain), start)
    with pytest.raises(TagsNotFoundError):
        HarpTracker().track(replace(cine, frames=np.zeros_like(plain)), start)


def test_points_that_span_no_tissue_in_the_image_are_refused() -> None:
    """A wall placed just beyond the edge: there are tags nearby, and nothing to follow them in."""
    cine, start, _ = affine_cine(np.linspace(0, 1, 3))
    beyond = start + np.array([cine.frames.shape[2] + 2 - start[:, 0].min(), 0.0])
    with pytest.raises(TagsNotFoundError, match="no tissue"):
        HarpTracker().track(cine, beyond)


def test_tags_that_vanish_leave_finite_tracks() -> None:
    cine, start, _ = affine_cine(np.linspace(0, 1, 4), contrast=np.array([1.0, 1.0, 0.0, 0.0]))
    frames = cine.frames.copy()
    frames[3] = 0
    tracks = HarpTracker().track(replace(cine, frames=frames), start)
    assert np.isfinite(tracks.points_px).all()
    assert np.isfinite(tracks.sigma_px).all()


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="positive"):
        HarpConfig(pixel_mm=0)
    with pytest.raises(ValueError, match="window"):
        HarpConfig(linear_windows_mm=(), quadratic_windows_mm=())


@pytest.mark.skipif("TAGSTRAIN_REAL_CASE" not in os.environ, reason="no real case given")
def test_real_heart_contracts_as_a_heart_does() -> None:
    with h5py.File(Path(os.environ["TAGSTRAIN_REAL_CASE"])) as file:
        frames = file["image_seqs"][0].astype(np.float32)
        start = file["landmark_coords"][0, 0].T.astype(float)
        pixel_mm = float(file["px_spaces"][0])
    cine = TaggedCine(frames, 40.0 * np.arange(len(frames)), PixelSpacing(pixel_mm, pixel_mm))
    wall = HarpTracker().track(cine, start).points_px.reshape(len(frames), 24, 7, 2)
    ring = wall[:, :, 3]
    lengths = np.linalg.norm(np.roll(ring, -1, axis=1) - ring, axis=-1)
    circumferential = (((lengths / lengths[0]) ** 2 - 1) / 2).mean(axis=1)
    assert -0.26 < circumferential.min() < -0.15
    assert 5 <= circumferential.argmin() <= 10
    thickness = np.linalg.norm(wall[:, :, 6] - wall[:, :, 0], axis=-1)
    radial = (((thickness / thickness[0]) ** 2 - 1) / 2).mean(axis=1)
    assert 0.1 < radial.max() < 0.6
