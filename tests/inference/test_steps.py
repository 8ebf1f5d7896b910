"""Steps that all tissue in sight makes between two frames: found to a millimeter, and none where nothing steps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tagstrain.data import PixelSpacing, TaggedCine
from tagstrain.geometry import CropTransform
from tagstrain.inference.steps import steps_px
from tagstrain.simulation.dataset import simulated_study

CENTER_MM = np.array([80.0, 70.0])
N_FRAMES = 7


def tissue(places_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """A ring with blood in it, some blobs beside it, and tags 7 mm apart on all, at places ``(..., 2)``."""
    from_center = places_mm - CENTER_MM
    radius_mm = np.linalg.norm(from_center, axis=-1)
    ring = 1 / (1 + np.exp(-(radius_mm - 18))) - 1 / (1 + np.exp(-(radius_mm - 28)))
    blobs = sum(
        np.exp(-0.5 * ((from_center - at) ** 2).sum(axis=-1) / 8.0**2)
        for at in ((-42, 5), (30, 35), (10, -45), (45, -20))
    )
    tags = 1 + 0.4 * np.cos(2 * np.pi / 7 * places_mm).sum(axis=-1)
    return np.asarray((30 + 100 * ring + 80 * blobs) * tags)


def cine_of(places_mm: NDArray[np.float64], spacing: PixelSpacing, ed_frame: int = 0) -> TaggedCine:
    """What tissue looks like that is at ``places_mm`` ``(time, row, column, 2)`` when nothing has moved."""
    noise = np.random.default_rng(0).normal(0, 4, places_mm.shape[:-1])
    frames = (tissue(places_mm) + noise).astype(np.float32)
    return TaggedCine(frames, 40.0 * np.arange(len(frames)), spacing, ed_frame=ed_frame)


def grid_mm(spacing: PixelSpacing) -> NDArray[np.float64]:
    y, x = np.mgrid[: round(140 / spacing.row_mm), : round(160 / spacing.column_mm)]
    return np.stack([x * spacing.column_mm, y * spacing.row_mm], axis=-1)


def crop_of(cine: TaggedCine, side_mm: float = 90.0) -> CropTransform:
    x, y = CENTER_MM / cine.spacing_xy_mm
    spacing = (float(cine.spacing_xy_mm[0]), float(cine.spacing_xy_mm[1]))
    return CropTransform((float(x), float(y)), side_mm, 128, spacing)


def found_mm(cine: TaggedCine, kept: list[int] | None = None) -> NDArray[np.float64]:
    is_kept = np.isin(np.arange(cine.n_frames), range(cine.n_frames) if kept is None else kept)
    return steps_px(cine, crop_of(cine), is_kept) * cine.spacing_xy_mm


@settings(max_examples=15, deadline=None)
@given(
    spacing=st.tuples(st.floats(1.0, 1.9), st.floats(1.0, 1.9)),
    length_mm=st.floats(3.5, 9.0),
    angle_rad=st.floats(0, 6.28),
    first=st.integers(1, N_FRAMES - 1),
    ed_frame=st.integers(0, N_FRAMES - 1),
    is_local=st.booleans(),
)
def test_a_lasting_step_is_found(
    spacing: tuple[float, float], length_mm: float, angle_rad: float, first: int, ed_frame: int, is_local: bool
) -> None:
    """Of everything, or of the heart and what is around it in a chest that stays."""
    pixel = PixelSpacing(*spacing)
    places = grid_mm(pixel)
    share = (
        np.clip((60 - np.linalg.norm(places - CENTER_MM, axis=-1)) / 20, 0, 1)
        if is_local
        else np.ones(places.shape[:2])
    )
    step_mm = length_mm * np.array([np.cos(angle_rad), np.sin(angle_rad)])
    moved = places - share[..., None] * step_mm
    cine = cine_of(np.stack([moved if frame >= first else places for frame in range(N_FRAMES)]), pixel, ed_frame)
    expected = np.where(np.arange(N_FRAMES)[:, None] >= first, step_mm, 0.0)
    found = found_mm(cine)
    np.testing.assert_allclose(found, expected - expected[ed_frame], atol=1.0)
    np.testing.assert_array_equal(found[ed_frame], 0)


def test_what_is_left_out_has_no_step() -> None:
    spacing = PixelSpacing(1.4, 1.4)
    places = grid_mm(spacing)
    moved = places - [4.0, 4.0]
    assert not found_mm(cine_of(np.stack([places, places, moved, moved, places, places]), spacing), [0, 1, 4, 5]).any()


@pytest.mark.parametrize("n_away", [1, 2, 3])
def test_a_step_forth_and_back_ends_where_it_began(n_away: int) -> None:
    spacing = PixelSpacing(1.4, 1.4)
    places = grid_mm(spacing)
    moved = places - [5.0, 3.0]
    found = found_mm(cine_of(np.stack([places, places, *[moved] * n_away, places, places]), spacing))
    np.testing.assert_allclose(found[2:-2], [[5.0, 3.0]] * n_away, atol=0.5)
    np.testing.assert_allclose(found[-2:], 0, atol=0.5)


@pytest.mark.parametrize("preset", ["ukb", "cspamm"])
def test_hearts_that_beat_do_not_step(preset: str) -> None:
    cines, truth = simulated_study(5, preset, size=128)
    for cine, landmarks_px in zip(cines, truth.landmarks_px, strict=True):
        ed = landmarks_px[0].reshape(-1, 2).double().numpy()
        x, y = (ed.min(axis=0) + ed.max(axis=0)) / 2
        spacing = (float(cine.spacing_xy_mm[0]), float(cine.spacing_xy_mm[1]))
        crop = CropTransform((float(x), float(y)), 1.5 * float(np.ptp(ed, axis=0).max()) * spacing[0], 128, spacing)
        assert not steps_px(cine, crop, np.ones(cine.n_frames, bool)).any()


def test_what_moves_through_the_image_takes_no_tags_along() -> None:
    spacing = PixelSpacing(1.4, 1.4)
    cine = cine_of(np.stack([grid_mm(spacing)] * N_FRAMES), spacing)
    frames = cine.frames.copy()
    for frame in range(N_FRAMES):
        frames[frame, 44:56, 30 + 3 * frame : 46 + 3 * frame] += 3 * cine.frames.max()
    assert not found_mm(replace(cine, frames=frames)).any()


def test_a_hot_pixel_hides_no_step() -> None:
    spacing = PixelSpacing(1.4, 1.4)
    places = grid_mm(spacing)
    cine = cine_of(np.stack([places, places, places, *[places - [5.0, 3.0]] * 3]), spacing)
    frames = cine.frames.copy()
    frames[:, 50, 80] = 1e6
    np.testing.assert_allclose(found_mm(replace(cine, frames=frames))[3:], [[5.0, 3.0]] * 3, atol=1.0)


def test_noise_and_blank_images_do_not_step() -> None:
    spacing = PixelSpacing(1.4, 1.4)
    shape = (N_FRAMES, *grid_mm(spacing).shape[:2])
    for frames in (np.random.default_rng(1).random(shape), np.full(shape, 100.0)):
        cine = TaggedCine(frames.astype(np.float32), 40.0 * np.arange(N_FRAMES), spacing)
        assert not found_mm(cine).any()
