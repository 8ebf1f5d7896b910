"""Two estimates of one motion: how far they lie apart in strain, and what measuring again finds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from beating_annulus import CENTER_PX, FixedPlacer, ScalingTracker, beating_slice, contraction, measured, wall_px

from tagstrain.data import Localization, TaggedCine
from tagstrain.errors import TrackingError
from tagstrain.inference.interfaces import Placement
from tagstrain.quality.second_opinion import (
    agreement,
    closure_mm,
    frame_of_given_wall,
    place_again,
    regional_strain,
    track_back,
    wall_distance_mm,
)

SOUND = beating_slice()


def test_the_same_motion_agrees_and_a_shift_strains_nothing() -> None:
    other = replace(SOUND.landmarks, points_px=SOUND.landmarks.points_px + np.array([3.0, 4.0]))
    assert agreement(SOUND, SOUND.landmarks) == (0, 0)
    assert agreement(SOUND, other) == pytest.approx((0, 0), abs=1e-12)
    assert np.isnan(agreement(SOUND, None)).all()


def test_a_ring_that_stays_differs_by_all_of_the_strain() -> None:
    other = replace(SOUND.landmarks, points_px=np.repeat(SOUND.landmarks.points_px[:1], 12, axis=0))
    expected = np.sqrt(np.mean(((contraction() ** 2 - 1) / 2) ** 2))
    assert agreement(SOUND, other) == pytest.approx((expected, expected))


def test_regional_differences_do_not_cancel() -> None:
    points = SOUND.landmarks.points_px.copy()
    points[1:, :, :, 0] += 0.1 * np.abs(points[:1, :, :, 0] - CENTER_PX[0])  # stretches one half, shortens the other
    mean, regional = agreement(SOUND, replace(SOUND.landmarks, points_px=points))
    assert regional > 3 * mean


@pytest.mark.parametrize("first_spoke", [0, 5, 12])
def test_regions_go_by_angle_whatever_spoke_comes_first(first_spoke: int) -> None:
    points_mm = SOUND.landmarks.points_px * 1.5
    points_mm[3, :4] *= 1.02
    expected = regional_strain(points_mm, 0)
    np.testing.assert_allclose(regional_strain(np.roll(points_mm, first_spoke, axis=1), 0), expected)
    assert np.isfinite(expected).all()
    assert np.ptp(expected[3]) > 10 * np.ptp(expected[2])


@pytest.mark.parametrize(("ed_frame", "frames"), [(0, [0, 2, 4, 6, 8, 10]), (3, [1, 3, 5, 7, 9, 11])])
def test_placing_again_sees_every_other_frame_ed_among_them(ed_frame: int, frames: list[int]) -> None:
    class Records(FixedPlacer):
        def place(self, cine: TaggedCine, localization: Localization) -> Placement:
            seen.append(cine)
            return super().place(cine, localization)

    seen: list[TaggedCine] = []
    result = measured(replace(SOUND.cine, ed_frame=ed_frame), SOUND.landmarks.points_px)
    result = replace(result, landmarks=replace(result.landmarks, ed_frame=ed_frame))
    again = place_again(result, Records(scale=contraction()[ed_frame]))
    np.testing.assert_array_equal(seen[0].frames, SOUND.cine.frames[frames])
    assert seen[0].ed_frame == frames.index(ed_frame)
    assert wall_distance_mm(result, again) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("drawn_on", [0, 3, 5, 9])
def test_a_wall_drawn_on_another_frame_is_told_by_the_frame(drawn_on: int) -> None:
    given_px = SOUND.landmarks.points_px + SOUND.landmarks.points_px[drawn_on] - SOUND.landmarks.points_px[0]
    given = replace(measured(SOUND.cine, given_px), border_spread_mm=None)
    placed = FixedPlacer().place(SOUND.cine, given.localization)
    assert frame_of_given_wall(given, placed, ScalingTracker()) == drawn_on
    assert frame_of_given_wall(replace(given, border_spread_mm=np.ones((2, 24))), placed, ScalingTracker()) == 0
    assert frame_of_given_wall(replace(given, seen_box=given.localization.box), placed, ScalingTracker()) == 0
    assert frame_of_given_wall(given, None, ScalingTracker()) == 0


@pytest.mark.parametrize("placer", [FixedPlacer(shift_px=2.0), FixedPlacer(scale=0.9)])
def test_a_wall_placed_elsewhere_or_smaller_is_of_no_other_frame(placer: FixedPlacer) -> None:
    placed = placer.place(SOUND.cine, SOUND.localization)
    assert frame_of_given_wall(replace(SOUND, border_spread_mm=None), placed, ScalingTracker()) == 0
    # Nor is one that a reader draws a little further in, or of which a single contour lies elsewhere (trabeculae).
    for other in (wall_px(cavity_mm=14.0), wall_px(19.4, 29.4), wall_px(21.0, 28.5)):
        assert frame_of_given_wall(replace(SOUND, border_spread_mm=None), Placement(other), ScalingTracker()) == 0


@pytest.mark.parametrize(("placer", "expected_mm"), [(FixedPlacer(shift_px=2.0), 3.0), (FixedPlacer(scale=1.1), 2.354)])
def test_another_wall_is_told_by_its_center_and_its_radii(placer: FixedPlacer, expected_mm: float) -> None:
    # Radii 18 and 28 mm, a tenth larger: RMS of 1.8 and 2.8 mm.
    again = place_again(SOUND, placer)
    assert wall_distance_mm(SOUND, again) == pytest.approx(expected_mm, abs=1e-3)
    assert np.isnan(wall_distance_mm(SOUND, None))


def test_what_cannot_be_placed_again_says_nothing() -> None:
    class FindsNothing(FixedPlacer):
        def place(self, cine: TaggedCine, localization: Localization) -> Placement:
            raise TrackingError("no")

    assert place_again(SOUND, FindsNothing()) is None
    two = replace(SOUND.cine, frames=SOUND.cine.frames[:2], frame_times_ms=SOUND.cine.frame_times_ms[:2])
    assert place_again(measured(two, SOUND.landmarks.points_px[:2]), FixedPlacer()) is None


def test_the_way_back_keeps_the_reference() -> None:
    back = track_back(SOUND, ScalingTracker())
    assert back is not None
    assert back.ed_frame == 0
    np.testing.assert_allclose(back.points_px, SOUND.landmarks.points_px)


@pytest.mark.parametrize("ed_frame", [0, 1, 11])
def test_a_tracker_that_errs_misses_ed_on_its_way_back_whichever_frame_that_is(ed_frame: int) -> None:
    error_px = 0.4
    result = measured(replace(SOUND.cine, ed_frame=ed_frame), SOUND.landmarks.points_px)
    missed_mm = closure_mm(result, track_back(result, ScalingTracker(error_px=error_px)))
    assert missed_mm == pytest.approx(error_px * SOUND.cine.pixel_mm)
