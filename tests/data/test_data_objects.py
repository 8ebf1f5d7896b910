"""Data objects refuse what no study can hold, and say what they expected."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagstrain.data import Box, LandmarkTracks, PixelSpacing, PointTracks, TaggedCine
from tagstrain.data.results import StrainResult


def cine() -> TaggedCine:
    return TaggedCine(np.ones((3, 4, 5), np.float32), np.array([0.0, 30.0, 61.0]), PixelSpacing(1.0, 2.0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frames": np.ones((4, 5), np.float32)}, "expected shape"),
        ({"frames": np.ones((1, 4, 5), np.float32), "frame_times_ms": np.array([0.0])}, "at least 2 frames"),
        ({"frames": np.full((3, 4, 5), np.nan, np.float32)}, "60 pixels are NaN"),
        ({"frame_times_ms": np.array([0.0, 30.0])}, "expected shape"),
        ({"frame_times_ms": np.array([0.0, 30.0, 30.0])}, "strictly increasing"),
        ({"pixel_spacing": PixelSpacing(0.0, 1.0)}, "positive lengths"),
        ({"pixel_spacing": PixelSpacing(float("nan"), 1.0)}, "positive lengths"),
        ({"frames": np.ones((3, 4, 5), np.complex64)}, "expected magnitude images, got complex64"),
        ({"frame_times_ms": np.array([0, 40, 20], np.uint16)}, "strictly increasing"),
        ({"frames": np.ma.masked_less(np.arange(60.0, dtype=np.float32).reshape(3, 4, 5), 7)}, "masked"),
        ({"frame_times_ms": np.array([0, 0.04, 0.08])}, "frames are 0.04 ms apart; are these seconds?"),
        ({"ed_frame": 3}, "a whole number from 0 to 2, got 3"),
        ({"ed_frame": 1.0}, r"a whole number from 0 to 2, got 1\.0"),
        ({"breath_holds_apart_mm": 0.0}, "expected a positive length, got 0.0"),
        ({"breath_holds_apart_mm": float("nan")}, "expected a positive length, got nan"),
        ({"affine": np.eye(3)}, r"expected shape \(4, 4\)"),
    ],
)
def test_impossible_cines_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(cine(), **change)  # type: ignore[arg-type]


def test_times_of_any_type_and_a_plain_pair_of_spacings_are_taken() -> None:
    found = replace(cine(), frame_times_ms=np.array([0, 30, 61], np.uint16), pixel_spacing=(1.0, 2.0))  # type: ignore[arg-type]
    assert found.frame_times_ms[0] - found.frame_times_ms[1] == -30
    assert type(replace(cine(), ed_frame=np.uint8(1)).ed_frame) is int
    np.testing.assert_array_equal(found.spacing_xy_mm, [2.0, 1.0])


def test_spacing_of_points_is_x_first() -> None:
    np.testing.assert_array_equal(cine().spacing_xy_mm, [2.0, 1.0])


def test_an_image_shows_what_lies_in_its_pixels_or_no_further_off_than_a_margin() -> None:
    """4 rows of 1 mm and 5 columns of 2 mm."""
    points_px = np.array(
        [[-0.5, -0.5], [4.5, 3.5], [4.6, 0], [0, 3.6], [-0.6, 0], [5.5, 0], [5.6, 0], [0, 6], [np.nan, 0]]
    )
    assert cine().shows(points_px).tolist() == [True, True] + 7 * [False]
    assert cine().shows(points_px, margin_mm=2.0).tolist() == 6 * [True] + 3 * [False]
    assert cine().shows(points_px[0])


def test_landmarks_and_points_are_the_same_in_another_order() -> None:
    points_px = np.arange(2 * 168 * 2.0).reshape(2, 168, 2)
    points = PointTracks(points_px, np.zeros((2, 168)), first_view_px=points_px + 0.5)
    grid = LandmarkTracks.from_points(points)
    np.testing.assert_array_equal(grid.points_px[1, 5, 3], points.points_px[1, 5 * 7 + 3])
    np.testing.assert_array_equal(grid.to_points().points_px, points.points_px)
    assert grid.first_view_px is not None
    np.testing.assert_array_equal(grid.first_view_px, grid.points_px + 0.5)
    np.testing.assert_array_equal(grid.to_points().first_view_px, points.first_view_px)
    with pytest.raises(ValueError, match="first_view_px"):
        PointTracks(points_px, np.zeros((2, 168)), first_view_px=points_px[:1])


def test_points_that_form_no_grid_are_refused() -> None:
    with pytest.raises(ValueError, match="do not form rings"):
        LandmarkTracks.from_points(PointTracks(np.zeros((2, 10, 2)), np.zeros((2, 10))))


boxes = st.builds(
    lambda x, y, w, h: Box(x, y, x + w, y + h),
    st.floats(-50, 50),
    st.floats(-50, 50),
    st.floats(0.1, 60),
    st.floats(0.1, 60),
)


@given(boxes, boxes)
def test_overlap_is_symmetric_and_between_0_and_1(a: Box, b: Box) -> None:
    assert a.iou(b) == pytest.approx(b.iou(a))
    assert 0 <= a.iou(b) <= 1
    assert a.iou(a) == pytest.approx(1)


@pytest.mark.parametrize(("n_rings", "ring"), [(7, 3), (5, 2), (9, 4), (3, 1)])
def test_the_midwall_is_the_middle_ring(n_rings: int, ring: int) -> None:
    rings = np.tile(np.arange(n_rings, dtype=float), (2, 1))
    strain = StrainResult(np.arange(2.0), 0, 1, rings, rings, rings[:, 0], rings[:, 0], rings[:, 1:], rings[:, 1:])
    np.testing.assert_array_equal(strain.circumferential_midwall, ring)


def test_overlap_of_known_boxes() -> None:
    assert Box(0, 0, 2, 2).iou(Box(1, 1, 3, 3)) == pytest.approx(1 / 7)
    assert Box(0, 0, 1, 1).iou(Box(5, 5, 6, 6)) == 0
