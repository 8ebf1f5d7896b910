"""What the teacher hands on: from ED on, in pixels of what it cut out, doubted by phase tracking where that sees."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from tagstrain.data import (
    Box,
    FollowedSlice,
    LandmarkTracks,
    Localization,
    PixelSpacing,
    SliceFailure,
    SliceResult,
    TaggedCine,
)
from tagstrain.inference.flow import FlowTracker
from tagstrain.inference.interfaces import Placement
from tagstrain.inference.models import load_models
from tagstrain.inference.strain import slice_strain
from tagstrain.inference.teacher import MARGIN, agreed_wall, followed_slice, teaching_models

if TYPE_CHECKING:
    from tagstrain.inference.motion_sight import MotionSight

ROW_MM, COLUMN_MM = 2.0, 1.0
SPACING_XY_MM = np.array([COLUMN_MM, ROW_MM])
CENTER_MM = np.array([90.0, 84.0])
SCALES = np.array([0.98, 0.99, 1.0, 0.97, 0.93, 0.90])
ED_FRAME = 2
SIGHT = cast("MotionSight", object())
GRID, LINES = (0.8, 0.8 + np.pi / 2), (0.0,)


def slice_result(
    tag_depth: tuple[float, ...] = (1.0,) * len(SCALES),
    tag_angles_rad: tuple[float, ...] = GRID,
    error_mm: tuple[float, float] = (0.0, 0.0),
    ed_frame: int = ED_FRAME,
) -> SliceResult:
    """A ring that shrinks about its center in pixels that are not square, followed but for an error from ED on."""
    angle = 2 * np.pi * np.arange(24) / 24
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=-1)[:, None] * np.linspace(14, 24, 7)[:, None]
    points_mm = CENTER_MM + (SCALES / SCALES[ed_frame])[:, None, None, None] * ring
    points_mm[ed_frame + 1 :] += error_mm
    y, x = np.mgrid[:84, :200]
    place_mm = np.stack([x, y], axis=-1) * SPACING_XY_MM - CENTER_MM
    frames = []
    for scale, depth in zip(SCALES / SCALES[ed_frame], tag_depth, strict=True):
        image = np.full(x.shape, 100.0)
        for direction in tag_angles_rad:
            along_mm = place_mm @ [np.cos(direction), np.sin(direction)] / scale
            image *= 1 + 0.5 * depth * np.cos(2 * np.pi * along_mm / 7)
        frames.append(image)
    cine = TaggedCine(
        np.array(frames, np.float32),
        20 + 30.0 * np.arange(len(SCALES)),
        PixelSpacing(ROW_MM, COLUMN_MM),
        "DOE",
        ed_frame=ed_frame,
        source="/of/DOE",
    )
    points_px = points_mm / SPACING_XY_MM
    landmarks = LandmarkTracks(points_px, np.full(points_px.shape[:-1], 0.2), ed_frame)
    strain = slice_strain(landmarks, cine.spacing_xy_mm, cine.frame_times_ms)
    return SliceResult(cine, Localization(Box.around(points_px[ed_frame].reshape(-1, 2)), 1.0), landmarks, strain)


class Off:
    """A placer that is off along x by what is said of every crop in turn."""

    def __init__(self, wall_px: NDArray[np.float64], off_mm: tuple[float, ...] = (0.0,) * 5) -> None:
        self.wall_px = wall_px
        self.off_px = iter(np.array(off_mm) / COLUMN_MM)
        self.boxes: list[Box] = []

    def place(self, cine: TaggedCine, localization: Localization) -> Placement:
        self.boxes.append(localization.box)
        return Placement(self.wall_px + np.array([next(self.off_px), 0.0]))


def sure(result: SliceResult) -> Off:
    return Off(result.landmarks.points_px[result.cine.ed_frame])


def followed(result: SliceResult) -> tuple[FollowedSlice, NDArray[np.float64]]:
    """What is handed on, with its tracks as displacements from ED in mm."""
    handed_on = followed_slice(result, sure(result), sure(result))
    assert isinstance(handed_on, FollowedSlice)
    points_px = handed_on.tracks.points_px
    return handed_on, (points_px - points_px[0]) * handed_on.cine.spacing_xy_mm


def moved_mm(result: SliceResult) -> NDArray[np.float64]:
    points_px = result.landmarks.points_px[ED_FRAME:]
    return (points_px - points_px[0]) * result.cine.spacing_xy_mm


def test_frames_from_ed_on_with_points_on_the_same_pixels_and_no_name() -> None:
    result = slice_result()
    handed_on, _ = followed(result)
    cine = handed_on.cine
    np.testing.assert_array_equal(cine.frame_times_ms, 30.0 * np.arange(4))
    assert "DOE" not in cine.name + cine.source
    (was, now) = (
        frames[points[0, ..., 1].round().astype(int), points[0, ..., 0].round().astype(int)]
        for frames, points in (
            (result.cine.frames[ED_FRAME], result.landmarks.points_px[ED_FRAME:]),
            (cine.frames[0], handed_on.tracks.points_px),
        )
    )
    np.testing.assert_array_equal(was, now)


def test_surroundings_reach_as_far_on_every_side_in_mm() -> None:
    cine = followed(slice_result())[0].cine
    rows, columns = cine.frames.shape[1:]
    expected_mm = (1 + 2 * MARGIN) * 48.0
    assert columns * COLUMN_MM == pytest.approx(expected_mm, abs=3 * COLUMN_MM)
    assert rows * ROW_MM == pytest.approx(expected_mm, abs=3 * ROW_MM)


@pytest.mark.parametrize(("error_mm", "least_px"), [((0.6, 0.0), 0.4), ((1.6, 0.0), 1.4), ((0.0, 1.6), 0.7)])
def test_phase_tracking_lowers_the_trust_and_moves_nothing(error_mm: tuple[float, float], least_px: float) -> None:
    result = slice_result(error_mm=error_mm)
    handed_on, found_mm = followed(result)
    np.testing.assert_allclose(found_mm, moved_mm(result), atol=1e-9)
    assert float(np.median(handed_on.tracks.sigma_px[1:])) > least_px
    assert float(np.median(followed(slice_result())[0].tracks.sigma_px[1:])) < 0.3


def test_faded_tags_say_nothing() -> None:
    """Phase tracking then holds points where it saw them last, which is not far off."""
    result = slice_result(tag_depth=(1, 1, 1, 1, 0, 0))
    handed_on, found_mm = followed(result)
    np.testing.assert_allclose(found_mm[3], moved_mm(result)[3], atol=1e-9)
    np.testing.assert_allclose(handed_on.tracks.sigma_px[3], 0.2)


def test_line_tags_do_not_hold_motion_along_them_back() -> None:
    result = slice_result(tag_angles_rad=LINES)
    np.testing.assert_allclose(followed(result)[1], moved_mm(result), atol=1e-9)


def test_a_slice_without_tags_is_handed_on_as_it_was_followed() -> None:
    result = slice_result(tag_depth=(0,) * 6)
    np.testing.assert_allclose(followed(result)[1], moved_mm(result), atol=1e-9)


def test_a_cine_that_ends_at_ed_teaches_nothing() -> None:
    result = slice_result(ed_frame=len(SCALES) - 1)
    outcome = followed_slice(result, sure(result), sure(result))
    assert isinstance(outcome, SliceFailure)
    assert "no frame after ED" in outcome.reason


def test_a_wall_that_leaves_the_image_teaches_nothing() -> None:
    result = slice_result()
    points_px = result.landmarks.points_px.copy()
    points_px[3, 2, 6] = np.nan
    cut_off = replace(result, landmarks=replace(result.landmarks, points_px=points_px))
    outcome = followed_slice(cut_off, sure(result), sure(result))
    assert isinstance(outcome, SliceFailure)
    assert "outside the image" in outcome.reason


def test_frames_that_do_not_belong_teach_nothing() -> None:
    """In images that stand still, so that noise can be told from motion."""
    result = slice_result()
    frames = result.cine.frames[[ED_FRAME] * len(SCALES)]
    frames[ED_FRAME + 1] = np.random.default_rng(0).uniform(0, 200, frames[0].shape)
    handed_on, _ = followed(replace(result, cine=replace(result.cine, frames=frames)))
    np.testing.assert_array_equal(handed_on.cine.frame_times_ms, [0, 60, 90])
    assert handed_on.cine.frames[1:].std() == pytest.approx(handed_on.cine.frames[0].std())
    # Landmarks are those of the frames that are left.
    kept_px = result.landmarks.points_px[[ED_FRAME, ED_FRAME + 2, ED_FRAME + 3]]
    moved_px = handed_on.tracks.points_px - handed_on.tracks.points_px[0]
    np.testing.assert_allclose(moved_px, kept_px - kept_px[0], atol=1e-9)


def test_the_wall_is_the_one_that_most_crops_see() -> None:
    """Two of five crops are far off; the median is not, and lies in the pixels of what is handed on."""
    result = slice_result()
    wall_px = result.landmarks.points_px[ED_FRAME]
    placer = Off(wall_px, (9.0, 0.0, -30.0, 0.5, 0.0))
    handed_on = followed_slice(result, placer, sure(result))
    assert isinstance(handed_on, FollowedSlice)
    assert handed_on.wall_px is not None
    np.testing.assert_allclose(handed_on.wall_px, handed_on.tracks.points_px[0], atol=1e-9)
    overlaps = [box.iou(Box.around(wall_px.reshape(-1, 2))) for box in placer.boxes[:4]]
    assert all(0.3 < overlap < 0.8 for overlap in overlaps)


def test_how_far_grey_levels_are_doubted_is_handed_on() -> None:
    """By a placer that reads the wall 3 px further along y without them, and 4 px when it is shown still less."""

    class Doubts(Off):
        def place(self, cine: TaggedCine, localization: Localization) -> Placement:
            return super().place(cine, localization)._replace(sight=SIGHT)

        def read_less(self, sight: object) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
            assert sight is SIGHT
            return self.wall_px + np.array([0.0, 3.0]), self.wall_px + np.array([0.0, 4.0])

    result = slice_result()
    handed_on = followed_slice(result, Doubts(result.landmarks.points_px[ED_FRAME]), None)
    assert isinstance(handed_on, FollowedSlice)
    np.testing.assert_allclose(handed_on.grey_doubt, (3 * ROW_MM, 1 * ROW_MM))
    assert handed_on.wall_without_grey_px is None


def test_the_surroundings_hold_both_walls() -> None:
    """Crops around the wall without grey levels reach as far as those around the other."""
    result = slice_result()
    wall_px = result.landmarks.points_px[ED_FRAME]
    sizes = []
    for off_mm in (0.0, 12.0):
        handed_on = followed_slice(result, sure(result), Off(wall_px, (off_mm,) * 5))
        assert isinstance(handed_on, FollowedSlice)
        assert handed_on.wall_without_grey_px is not None
        sizes.append(handed_on.cine.frames.shape[2])
        right_px = handed_on.wall_without_grey_px[..., 0].max()
        assert sizes[-1] - right_px >= 0.9 * np.ptp(wall_px[..., 0]) - 2
    assert sizes[1] > sizes[0]


def test_the_wall_without_grey_levels_is_handed_on_beside_it() -> None:
    """What a placer sees that is not shown them lies 3 mm further along x in each of its five crops."""
    result = slice_result()
    wall_px = result.landmarks.points_px[ED_FRAME]
    without_grey = Off(wall_px, (3.0,) * 5)
    handed_on = followed_slice(result, sure(result), without_grey)
    assert isinstance(handed_on, FollowedSlice)
    assert handed_on.wall_px is not None
    assert handed_on.wall_without_grey_px is not None
    off_px = np.broadcast_to([3.0 / COLUMN_MM, 0.0], wall_px.shape)
    np.testing.assert_allclose(handed_on.wall_without_grey_px - handed_on.wall_px, off_px, atol=1e-9)
    # It looks around what it placed itself, not where grey levels may have led astray.
    around = Box.around((wall_px + np.array([3.0 / COLUMN_MM, 0.0])).reshape(-1, 2))
    middles = [box.center_xy for box in without_grey.boxes[1:]]
    np.testing.assert_allclose(np.mean(middles, axis=0), around.center_xy, atol=1e-9)
    assert np.isnan(handed_on.grey_doubt).all()  # of a placer that cannot say


def test_crops_that_do_not_agree_teach_no_wall() -> None:
    result = slice_result()
    wall_px = result.landmarks.points_px[ED_FRAME]
    assert agreed_wall(result.cine, wall_px, Off(wall_px, (4.0, -4.0, 8.0, -8.0))) is None


def test_tracks_are_handed_on_the_same_without_walls() -> None:
    result = slice_result()
    handed_on, _ = followed(result)
    alone = followed_slice(result, None, None)
    assert isinstance(alone, FollowedSlice)
    assert alone.wall_px is None
    assert alone.wall_without_grey_px is None
    np.testing.assert_array_equal(alone.tracks.points_px, handed_on.tracks.points_px)
    np.testing.assert_array_equal(alone.cine.frames, handed_on.cine.frames)


def test_a_teacher_sees_every_turn_of_the_images() -> None:
    taught_by = teaching_models(load_models(device="cpu")).tracker
    assert isinstance(taught_by, FlowTracker)
    assert sorted(taught_by.symmetries) == list(range(8))
