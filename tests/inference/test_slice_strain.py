"""Strain curves of a slice from its landmarks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from tagstrain.data import LandmarkTracks
from tagstrain.inference.strain import slice_strain

SPACING_XY_MM = np.array([1.1, 2.3])
RADII_MM = np.linspace(15.0, 27.0, 7)
SHRUNK = np.array([0.1, 0.0, 0.3, 0.5, 0.2])
TIMES_MS = np.array([5.0, 40.0, 90.0, 120.0, 300.0])
ED_FRAME = 1


def radii_mm() -> NDArray[np.float64]:
    """Radii ``(time, ring)`` of an incompressible annulus."""
    return np.sqrt(RADII_MM**2 - SHRUNK[:, None] * RADII_MM[0] ** 2)


def tracks(missing: tuple[slice, slice, slice] | None = None) -> LandmarkTracks:
    angle = 2 * np.pi * np.arange(24) / 24
    direction = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    points_px = (radii_mm()[:, None, :, None] * direction[None, :, None, :] + [40, 90]) / SPACING_XY_MM
    if missing:
        points_px[missing] = np.nan
    return LandmarkTracks(points_px, np.full(points_px.shape[:-1], np.nan), ED_FRAME)


def test_strain_is_measured_in_mm_where_pixels_are_not_square() -> None:
    strain = slice_strain(tracks(), SPACING_XY_MM, TIMES_MS)
    now, then = radii_mm(), radii_mm()[ED_FRAME]
    assert_allclose(strain.circumferential, ((now / then) ** 2 - 1) / 2, atol=1e-12)
    assert_allclose(strain.circumferential_linear, now / then - 1, atol=1e-12)
    wall = (now[:, -1] - now[:, 0]) / (then[-1] - then[0])
    assert_allclose(strain.radial, (wall**2 - 1) / 2, atol=1e-12)
    assert_allclose(strain.radial_linear, wall - 1, atol=1e-12)
    layers = np.diff(now, axis=1) / np.diff(then)
    assert_allclose(strain.radial_layers, (layers**2 - 1) / 2, atol=1e-12)
    assert_allclose(strain.radial_layers_linear, layers - 1, atol=1e-12)


def test_ed_is_zero_and_es_is_the_frame_of_most_shortening() -> None:
    strain = slice_strain(tracks(), SPACING_XY_MM, TIMES_MS)
    assert (strain.ed_frame, strain.es_frame) == (1, 3)
    for curve in (strain.circumferential, strain.radial_layers, strain.circumferential_linear):
        assert (curve[ED_FRAME] == 0).all()
    assert strain.radial[ED_FRAME] == 0
    peak = strain.peak(strain.circumferential_mean, shortening=True)
    assert (peak.frame, peak.time_ms) == (3, 120.0)


@pytest.mark.parametrize("rr_ms", [350.0, 300.0, 80.0, 0.0, np.nan, None])
def test_all_frames_of_a_beat_count(rr_ms: float | None) -> None:
    strain = slice_strain(tracks(), SPACING_XY_MM, TIMES_MS, rr_ms)
    assert (strain.beat, strain.es_frame) == (slice(None), 3)


def test_frames_of_the_next_beat_have_neither_es_nor_peak() -> None:
    """ED is at 120 ms here, and the third frame after it belongs to the next beat."""
    times_ms = np.array([5.0, 120.0, 300.0, 440.0, 600.0])
    strain = slice_strain(tracks(), SPACING_XY_MM, times_ms, 310.0)
    assert (strain.beat, strain.es_frame) == (slice(1, 3), 2)
    peak = strain.peak(strain.circumferential_mean, shortening=True)
    assert (peak.frame, peak.time_ms) == (2, 300.0)
    assert strain.peak(strain.radial, shortening=False).frame == 2
    earlier = slice_strain(replace(tracks(), ed_frame=4), SPACING_XY_MM, np.array([5.0, 120, 300, 440, 600]), 310.0)
    assert (earlier.beat, earlier.es_frame) == (slice(None), 3)
    assert len(strain.radial) == 5


def test_of_two_beats_the_one_from_ed_on_counts_where_ed_lies_between_them() -> None:
    twice = replace(
        tracks(),
        points_px=np.concatenate([tracks().points_px] * 2),
        sigma_px=np.concatenate([tracks().sigma_px] * 2),
        ed_frame=6,
    )
    strain = slice_strain(twice, SPACING_XY_MM, np.concatenate([TIMES_MS, TIMES_MS + 400]), 400.0)
    assert (strain.beat, strain.es_frame) == (slice(6, None), 8)
    assert slice_strain(twice, SPACING_XY_MM, np.concatenate([TIMES_MS, TIMES_MS + 400])).beat == slice(None)


def test_missing_spokes_do_not_change_the_mean_of_the_others() -> None:
    missing = slice_strain(tracks((slice(2, 4), slice(5, 9), slice(None))), SPACING_XY_MM, TIMES_MS)
    whole = slice_strain(tracks(), SPACING_XY_MM, TIMES_MS)
    assert_allclose(missing.circumferential, whole.circumferential, atol=1e-12)
    assert_allclose(missing.radial, whole.radial, atol=1e-12)


def test_a_frame_without_landmarks_is_nan_and_es_is_found_among_the_others() -> None:
    strain = slice_strain(tracks((slice(3, 4), slice(None), slice(None))), SPACING_XY_MM, TIMES_MS)
    assert np.isnan(strain.circumferential[3]).all()
    assert np.isnan(strain.radial[3])
    assert strain.es_frame == 2


def test_no_landmark_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="no value is known"):
        slice_strain(tracks((slice(None), slice(None), slice(None))), SPACING_XY_MM, TIMES_MS)
