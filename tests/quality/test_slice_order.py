"""Slices that were mixed up: sizes and rotations that do not fit their names."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from beating_annulus import CENTER_PX, beating_slice, measured

from tagstrain.data import SliceLevel, SliceResult
from tagstrain.quality import SliceOrder
from tagstrain.quality.slice_order import level_evidence

SIZES_MM = {SliceLevel.BASAL: 30.0, SliceLevel.MID: 28.0, SliceLevel.APICAL: 22.0}
TURNS_DEG = {SliceLevel.BASAL: -4.0, SliceLevel.MID: 2.0, SliceLevel.APICAL: 9.0}


def turned_slice(level: SliceLevel, outer_mm: float, turn_deg: float) -> SliceResult:
    """A slice that turns with its contraction."""
    result = beating_slice(level=level, cavity_mm=outer_mm - 9, outer_mm=outer_mm)
    offset = result.landmarks.points_px - CENTER_PX
    course = np.zeros(len(offset))
    course[result.strain.es_frame] = np.radians(turn_deg)
    c, s = np.cos(course)[:, None, None], np.sin(course)[:, None, None]
    turned = np.stack([c * offset[..., 0] - s * offset[..., 1], s * offset[..., 0] + c * offset[..., 1]], axis=-1)
    return measured(result.cine, CENTER_PX + turned)


def doubts(order: dict[SliceLevel, SliceLevel]) -> list[str]:
    """What is said of a study whose slices are named after other levels."""
    gathered = SliceOrder()
    for name, really in order.items():
        gathered.add(turned_slice(name, SIZES_MM[really], TURNS_DEG[really]))
    return list(gathered.doubts())


def exchanged(first: SliceLevel, second: SliceLevel) -> dict[SliceLevel, SliceLevel]:
    """Three slices, two of which have each other's name."""
    return {level: level for level in SIZES_MM} | {first: second, second: first}


def test_evidence_is_the_outer_radius_and_the_turn() -> None:
    assert level_evidence(turned_slice(SliceLevel.APICAL, 22.0, 9.0)) == pytest.approx((22, 9))


def test_a_slice_whose_epicardium_was_lost_raises_no_doubt() -> None:
    gathered = SliceOrder()
    for level, outer_mm in SIZES_MM.items():
        result = turned_slice(level, outer_mm, TURNS_DEG[level])
        if level is SliceLevel.MID:
            points = result.landmarks.points_px.copy()
            points[result.strain.es_frame, :, -1] = np.nan
            result = replace(result, landmarks=replace(result.landmarks, points_px=points))
        gathered.add(result)
    assert list(gathered.doubts()) == []


def test_slices_in_order_raise_no_doubt() -> None:
    assert doubts({level: level for level in SIZES_MM}) == []


def test_base_and_apex_exchanged_are_told_by_their_size() -> None:
    found = doubts(exchanged(SliceLevel.BASAL, SliceLevel.APICAL))
    assert any("30 mm in the apical and 22 mm in the basal" in doubt for doubt in found)


def test_middle_and_apex_exchanged_are_told_by_rotation_too() -> None:
    found = doubts(exchanged(SliceLevel.MID, SliceLevel.APICAL))
    assert any("does not lie between basal" in doubt for doubt in found)


def test_one_slice_alone_cannot_be_mixed_up() -> None:
    assert doubts({SliceLevel.APICAL: SliceLevel.BASAL}) == []
    assert doubts({SliceLevel.UNKNOWN: SliceLevel.BASAL, SliceLevel.MID: SliceLevel.MID}) == []


@pytest.mark.parametrize(("tilt_deg", "is_said"), [(0, False), (2, False), (4, True), (176, True), (180, False)])
def test_planes_that_are_not_parallel_are_said(tilt_deg: float, is_said: bool) -> None:
    gathered = SliceOrder()
    for level in SIZES_MM:
        tilt_rad = np.radians(tilt_deg if level is SliceLevel.APICAL else 0.0)
        # An image stored from the other side shows the same turn mirrored.
        result = turned_slice(level, SIZES_MM[level], np.sign(np.cos(tilt_rad)) * TURNS_DEG[level])
        affine = np.eye(4)
        affine[1:3, 1] = np.cos(tilt_rad), np.sin(tilt_rad)
        gathered.add(replace(result, cine=replace(result.cine, affine=affine)))
    found = list(gathered.doubts())
    assert found == [] or ["not parallel (up to 4 degrees" in doubt for doubt in found] == [True]
    assert bool(found) == is_said


@pytest.mark.parametrize(("rr_ms", "is_said"), [(700.0, False), (800.0, False), (860.0, True), (None, False)])
def test_slices_of_different_heart_rates_are_said(rr_ms: float | None, is_said: bool) -> None:
    gathered = SliceOrder()
    for level in SIZES_MM:
        result = turned_slice(level, SIZES_MM[level], TURNS_DEG[level])
        own_ms = rr_ms if level is SliceLevel.MID else 700.0
        gathered.add(replace(result, cine=replace(result.cine, rr_interval_ms=own_ms)))
    assert ["RR intervals 700 to 860 ms" in doubt for doubt in gathered.doubts()] == [True] * is_said


@pytest.mark.parametrize(("late_ms", "is_said"), [(0.0, False), (40.0, False), (60.0, True), (900.0, True)])
def test_slices_on_different_clocks_are_said(late_ms: float, is_said: bool) -> None:
    gathered = SliceOrder()
    for level in SIZES_MM:
        result = turned_slice(level, SIZES_MM[level], TURNS_DEG[level])
        times_ms = result.cine.frame_times_ms + (late_ms if level is SliceLevel.APICAL else 0.0)
        gathered.add(replace(result, cine=replace(result.cine, frame_times_ms=times_ms)))
    expected = f"20 to {20 + late_ms:.0f} ms after the R wave"
    assert [expected in doubt for doubt in gathered.doubts()] == [True] * is_said


def test_the_heart_rates_of_slices_of_unknown_level_are_not_compared() -> None:
    """They may be of different people, and make no ventricle."""
    gathered = SliceOrder()
    for rr_ms in (700.0, 1000.0):
        result = turned_slice(SliceLevel.UNKNOWN, 28.0, 2.0)
        gathered.add(replace(result, cine=replace(result.cine, rr_interval_ms=rr_ms)))
    assert not list(gathered.doubts())
