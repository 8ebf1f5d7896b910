"""The flow tracker and the motion placer around stand-in networks: pixels, millimeters, frames and passes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tagstrain.data import Box, Localization, PixelSpacing, PointTracks, TaggedCine
from tagstrain.geometry import CropTransform
from tagstrain.inference import flow
from tagstrain.inference.flow import (
    BLENDED_MM,
    LAST_STEP,
    MAX_EXTENT_MM,
    SHIFTS_PX,
    SIGMA_SCALE,
    TURNS,
    UNTRAINED_SPREAD,
    WIDE_MARGIN_MM,
    FlowTracker,
    close_together,
    crop_around,
    nearness,
)
from tagstrain.inference.interfaces import Placement, quick_variant, track_placed
from tagstrain.inference.motion_sight import SYMMETRIES, look
from tagstrain.inference.placer import MotionPlacer
from tagstrain.networks import preprocessing
from tagstrain.networks.flow import (
    FIELD_STRIDE,
    PATCH_PX,
    SIZE_STEP_PX,
    Flow,
    FlowNet,
    carried_back,
    sample_field,
    shifted,
)
from tagstrain.networks.placer import CHANNEL_GROUPS, GREY_LEVELS, PERSISTENCE, PLACER_CHANNELS, PlacerNet
from tagstrain.networks.symmetry import turn_images, unturn_images, unturn_vectors
from tagstrain.networks.weights import WeightsInfo

INFO = WeightsInfo("tracker", "test", "0" * 64, {})


def shrunk(frames: torch.Tensor, times_ms: torch.Tensor) -> Flow:
    """Motion towards the middle of the crop by 1 % every 40 ms, and away from it before."""
    size = frames.shape[-1]
    steps = FIELD_STRIDE * torch.arange(size // FIELD_STRIDE) + (FIELD_STRIDE - 1) / 2 - (size - 1) / 2
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    share = -0.01 * times_ms / 40
    spread = torch.log(0.1 + 0.1 * times_ms.abs() / 40)[..., None, None].expand(*times_ms.shape, *x.shape)
    return Flow(share[..., None, None, None] * torch.stack([x, y]), spread)


class Shrinks(FlowNet):
    """Everything shrinks, whatever it sees; nothing is left to refine."""

    def forward(
        self, frames: torch.Tensor, times_ms: torch.Tensor, *, followed: Flow | None = None, **_: object
    ) -> Flow:
        return shrunk(frames, times_ms) if followed is None else followed


class CountsCines(Shrinks):
    """Remembers how often it was asked."""

    n_asked = 0

    def forward(
        self, frames: torch.Tensor, times_ms: torch.Tensor, *, followed: Flow | None = None, **_: object
    ) -> Flow:
        self.n_asked += 1
        return super().forward(frames, times_ms, followed=followed)


class Drifts(FlowNet):
    """The same motion to the right whatever it sees."""

    def forward(self, frames: torch.Tensor, times_ms: torch.Tensor, **_: object) -> Flow:
        nodes = frames.shape[-1] // FIELD_STRIDE
        motion = torch.zeros(*times_ms.shape, 2, nodes, nodes)
        motion[:, 1:, 0] = 3.0
        return Flow(motion, torch.zeros(*times_ms.shape, nodes, nodes))


class Stays(FlowNet):
    """No motion, and sure of it."""

    def forward(self, frames: torch.Tensor, times_ms: torch.Tensor, **_: object) -> Flow:
        nodes = frames.shape[-1] // FIELD_STRIDE
        spread = torch.full((*times_ms.shape, nodes, nodes), -2.0)
        return Flow(torch.zeros(*times_ms.shape, 2, nodes, nodes), spread)


class SeesBrightness(PlacerNet):
    """Heart where the first frame is not dark, cavity where it is bright."""

    def forward(self, channels: torch.Tensor) -> torch.Tensor:
        grey = channels[:, PLACER_CHANNELS - 7]
        low, high = grey.amin(dim=(1, 2), keepdim=True), grey.amax(dim=(1, 2), keepdim=True)
        level = (grey - low) / (high - low)
        return 40 * torch.stack([level - 0.75, level - 0.25], dim=1)


def tagged(rows: int, columns: int, size: float = 1.0, center: tuple[float, float] = (0.0, 0.0)) -> NDArray[np.float64]:
    """A grid of tags, 14 pixels apart, shrunk to a size about a place x, y."""
    y, x = np.mgrid[:rows, :columns]
    x, y = (middle + (along - middle) / size for along, middle in zip((x, y), center, strict=True))
    return np.asarray(20 + 5 * np.cos(2 * np.pi / 14 * x) + 5 * np.cos(2 * np.pi / 14 * y))


def cine_of(frames: np.ndarray, spacing: PixelSpacing, ed_frame: int = 0) -> TaggedCine:
    return TaggedCine(frames.astype(np.float32), 40.0 * np.arange(len(frames)), spacing, ed_frame=ed_frame)


@given(
    spacing=st.tuples(st.floats(0.7, 2.5), st.floats(0.7, 2.5)),
    ed_frame=st.integers(0, 5),
    radius=st.floats(5, 24),
)
@example(spacing=(2.0, 2.0), ed_frame=0, radius=10.0)
@example(spacing=(2.0, 2.0), ed_frame=1, radius=24.0)
@settings(max_examples=15, deadline=None)
def test_points_move_with_the_field_in_any_pixel_and_from_any_frame(
    spacing: tuple[float, float], ed_frame: int, radius: float
) -> None:
    angle = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    center = np.array([44.0, 33.0])
    # Tags shrink as the network says: a frame that is not like ED would be compared with the others, less surely.
    tags = [tagged(70, 90, 1 - 0.01 * (k - ed_frame), (44.0, 33.0)) for k in range(6)]
    cine = cine_of(np.stack(tags), PixelSpacing(*spacing), ed_frame)
    points = center + radius * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    tracks = FlowTracker(Shrinks(), INFO).track(cine, points)
    since_ed = np.arange(6) - ed_frame
    expected = center + (1 - 0.01 * since_ed)[:, None, None] * (points - center)
    np.testing.assert_allclose(tracks.points_px, expected, atol=1e-3)
    np.testing.assert_array_equal(tracks.points_px[ed_frame], points)
    crop = crop_around(points, cine)
    sigma_px = SIGMA_SCALE * (0.1 + 0.1 * np.abs(since_ed)) * np.sqrt(np.prod(crop.scale_xy))
    sigma_px[ed_frame] = 0
    np.testing.assert_allclose(tracks.sigma_px, np.broadcast_to(sigma_px[:, None], (6, 12)), rtol=1e-4)


@pytest.mark.parametrize(("ed_frame", "kept"), [(0, 8), (2, 6), (6, 7), (7, 8)])
def test_placing_sees_the_longer_side_of_ed(ed_frame: int, kept: int) -> None:
    cine = cine_of(np.random.default_rng(0).random((8, 60, 60)), PixelSpacing(1.4, 1.4), ed_frame)
    crop = crop_around(np.array([[20.0, 20.0], [40.0, 40.0]]), cine)
    frames, times_ms = FlowTracker(Shrinks(), INFO).views(cine, crop, (0,), np.zeros((8, 2)))
    assert frames.shape[1] == times_ms.shape[1] == kept


def test_unknown_points_stay_unknown_and_leave_the_others_alone() -> None:
    cine = cine_of(np.random.default_rng(0).random((4, 60, 60)), PixelSpacing(1.4, 1.4))
    points = np.array([[20.0, 30.0], [np.nan, 4.0], [40.0, 22.0]])
    tracks = FlowTracker(Shrinks(), INFO).track(cine, points)
    alone = FlowTracker(Shrinks(), INFO).track(cine, points[[0, 2]])
    np.testing.assert_array_equal(tracks.points_px[:, [0, 2]], alone.points_px)
    assert np.isnan(tracks.points_px[:, 1]).all()
    assert np.isnan(tracks.sigma_px[:, 1]).all()
    assert np.isnan(FlowTracker(Shrinks(), INFO).track(cine, points[[1]]).points_px).all()


def test_points_far_apart_are_each_seen_from_close_by() -> None:
    cine = cine_of(np.random.default_rng(0).random((4, 300, 300)), PixelSpacing(1.4, 1.4))
    heart = np.array([[20.0, 30.0], [24.0, 60.0], [50.0, 22.0]])
    far = np.array([[250.0, 260.0], [280.0, 240.0]])
    tracker = FlowTracker(Shrinks(), INFO)
    tracks = tracker.track(cine, np.concatenate([far[:1], heart, far[1:]]))
    for alone, found in ((heart, [1, 2, 3]), (far, [0, 4])):
        expected = tracker.track(cine, alone)
        np.testing.assert_array_equal(tracks.points_px[:, found], expected.points_px)
        np.testing.assert_array_equal(tracks.sigma_px[:, found], expected.sigma_px)


def test_points_outside_of_the_image_are_unknown_and_leave_the_others_alone() -> None:
    cine = cine_of(np.random.default_rng(0).random((4, 60, 80)), PixelSpacing(1.0, 2.0))
    points = np.array([[20.0, 30.0], [40.0, 22.0], [-40.0, 30.0], [30.0, 75.0], [84.0, 30.0]])
    tracks = FlowTracker(Shrinks(), INFO).track(cine, points)
    alone = FlowTracker(Shrinks(), INFO).track(cine, points[[0, 1, 4]])
    np.testing.assert_array_equal(tracks.points_px[:, [0, 1, 4]], alone.points_px)
    assert np.isfinite(alone.points_px).all(), "8 mm outside a tag spacing still guides"
    assert np.isnan(tracks.points_px[:, [2, 3]]).all()


@given(
    points_mm=st.lists(st.tuples(*2 * [st.floats(-400, 400)]), min_size=1, max_size=60).map(np.array),
    unknown=st.integers(0, 3),
)
@settings(max_examples=60, deadline=None)
def test_parts_hold_every_point_once_and_none_is_too_wide(points_mm: NDArray[np.float64], unknown: int) -> None:
    chosen = np.arange(len(points_mm))[unknown:]
    points_mm[:unknown] = np.nan
    parts = close_together(points_mm, chosen)
    np.testing.assert_array_equal(np.sort(np.concatenate([*parts, [-1]])), [-1, *chosen])
    assert all(np.ptp(points_mm[part], axis=0).max() <= MAX_EXTENT_MM for part in parts)


def test_a_ventricle_is_not_cut_where_it_can_be_cut_off_from_what_lies_around() -> None:
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    wall = np.concatenate([radius * ring for radius in (30, 40, 50)])
    around = 80 * ring[::6]
    parts = close_together(np.concatenate([around, wall]), np.arange(4 + len(wall)))
    assert any(set(range(4, 4 + len(wall))) <= set(part.tolist()) for part in parts)
    assert len(close_together(wall, np.arange(len(wall)))) == 1, "a dilated one, 100 mm wide"


def test_points_far_from_the_wall_do_not_widen_the_pixels_that_it_is_seen_in() -> None:
    cine = cine_of(np.zeros((2, 300, 300)), PixelSpacing(1.4, 1.0))
    wall_px = np.array([[110.0, 100.0], [170.0, 100.0], [140.0, 121.0]])
    for far_mm in (20.0, 45.0, 60.0, 90.0):
        points_px = np.concatenate([wall_px, [[170.0 + far_mm, 100.0]]])
        crop = crop_around(points_px, cine)
        assert crop.pixel_mm <= 0.94, "no wider than those that a wall of 80 mm is seen in"
        assert crop.size % SIZE_STEP_PX == 0
        margin_mm = crop.side_mm / 2 - np.abs((points_px - crop.center_xy_px) * cine.spacing_xy_mm).max()
        assert margin_mm >= min(0.25 * (60 + far_mm), WIDE_MARGIN_MM) - 1e-9


@given(
    points_mm=st.lists(st.tuples(*2 * [st.floats(-400, 400)]), min_size=1, max_size=60).map(np.array),
    unknown=st.integers(0, 3),
)
@settings(max_examples=60, deadline=None)
def test_crops_count_for_the_points_of_their_part_and_those_beside_it(
    points_mm: NDArray[np.float64], unknown: int
) -> None:
    points_mm[:unknown] = np.nan
    parts = close_together(points_mm, np.arange(len(points_mm))[unknown:])
    near = nearness(points_mm, parts)
    assert near.shape == (len(parts), len(points_mm))
    assert not near[:, :unknown].any()
    for each, part in zip(near, parts, strict=True):
        assert (each[part] == 1).all()
        low, high = points_mm[part].min(axis=0), points_mm[part].max(axis=0)
        outside_mm = np.maximum(low - points_mm[unknown:], points_mm[unknown:] - high).max(axis=1)
        np.testing.assert_array_equal(each[unknown:] > 0, outside_mm < BLENDED_MM)


def test_a_crop_that_is_not_sure_of_a_point_leaves_it_to_one_that_is() -> None:
    """As one that shows a sliver of the heart and takes a tag line for the next."""

    class Slips(FlowTracker):
        def _follow(self, cine: TaggedCine, crop: CropTransform, points_px: NDArray[np.float64], _: object) -> Any:
            is_sure = crop.center_xy_px[0] < 150
            moved_px = np.full((cine.n_frames, len(points_px), 2), 0.5 if is_sure else 7.0)
            return moved_px, moved_px, np.full(moved_px.shape[:2], 0.1 if is_sure else 2.0)

    cine = cine_of(np.zeros((2, 80, 300)), PixelSpacing(1.0, 1.0))
    points = np.stack([np.linspace(20, 280, 131), np.full(131, 40.0)], axis=-1)
    tracks = Slips(Shrinks(), INFO).track(cine, points)
    is_left = points[:, 0] < 150
    np.testing.assert_allclose((tracks.points_px[1] - points)[is_left], 0.5, atol=0.02)
    np.testing.assert_allclose(tracks.sigma_px[1, is_left], 0.1, atol=0.01)
    np.testing.assert_allclose((tracks.points_px[1] - points)[points[:, 0] > 162], 7.0)


def test_motion_does_not_jump_where_crops_meet() -> None:
    cine = cine_of(np.random.default_rng(0).random((2, 80, 300)), PixelSpacing(1.0, 1.0))
    points = np.stack([np.linspace(20, 280, 521), np.full(521, 40.0)], axis=-1)
    tracks = FlowTracker(Shrinks(), INFO).track(cine, points)
    moved_px, steps_px = tracks.points_px[1, :, 0] - points[:, 0], np.diff(tracks.points_px[1, :, 0])
    # Each crop shrinks towards its own middle by 1 %: by 0.65 pixels at its ends, which lie one on another.
    assert np.ptp(moved_px) > 1
    np.testing.assert_allclose(steps_px, 0.5, atol=0.1)


def test_sigma_grows_when_the_tags_are_gone_for_good_and_not_where_they_come_back() -> None:
    noise = np.random.default_rng(1).random((9, 64, 64))
    frames = np.repeat(tagged(64, 64)[None], 9, axis=0)
    points = np.array([[24.0, 30.0], [36.0, 28.0], [30.0, 38.0]])
    tracker = FlowTracker(Stays(), INFO)

    def sigma_mm(lost: list[int]) -> NDArray[np.float64]:
        there = frames.copy()
        there[lost] = 20 + 10 * noise[lost]
        return tracker.track(cine_of(there, PixelSpacing(1.0, 1.0)), points).sigma_px.mean(axis=1)

    tags, gap, gone = sigma_mm([]), sigma_mm([4, 5]), sigma_mm([4, 5, 6, 7, 8])
    np.testing.assert_allclose(gap, tags, rtol=1e-5)
    np.testing.assert_allclose(gone[:4], tags[:4], rtol=1e-5)
    assert (gone[4:] > tags[4:] + 0.5).all()
    assert (np.diff(gone[3:]) > 0).all()
    blank = tracker.track(cine_of(np.full((9, 64, 64), 100.0), PixelSpacing(1.0, 1.0)), points).sigma_px
    assert (blank[3:] > 1).all()


def test_views_cancel_what_does_not_follow_the_image() -> None:
    cine = cine_of(np.random.default_rng(0).random((3, 60, 60)), PixelSpacing(1.4, 1.4))
    points = np.array([[20.0, 30.0], [40.0, 22.0]])
    tracks = FlowTracker(Drifts(), INFO).track(cine, points)
    np.testing.assert_allclose(tracks.points_px, np.broadcast_to(points, (3, 2, 2)), atol=1e-4)


def test_the_first_view_alone_keeps_what_does_not_follow_the_image() -> None:
    cine = cine_of(np.random.default_rng(0).random((3, 60, 60)), PixelSpacing(1.4, 1.4))
    points = np.array([[20.0, 30.0], [np.nan, np.nan], [40.0, 22.0]])
    tracks = FlowTracker(Drifts(), INFO).track(cine, points)
    alone = FlowTracker(Drifts(), INFO, symmetries=(0 ^ TURNS[0],), refines=False).track(cine, points)
    assert tracks.first_view_px is not None
    np.testing.assert_allclose(tracks.first_view_px, alone.points_px)
    assert np.nanmax(np.abs(alone.points_px - points)) > 0.1
    assert alone.first_view_px is None


def test_a_tracker_in_a_hurry_sees_one_view_and_refines_nothing() -> None:
    asked: list[tuple[int, object]] = []

    class Notes(Shrinks):
        def forward(
            self, frames: torch.Tensor, times_ms: torch.Tensor, *, followed: Flow | None = None, **options: object
        ) -> Flow:
            asked.append((len(frames), options["refinements"]))
            return super().forward(frames, times_ms, followed=followed)

    cine = cine_of(np.random.default_rng(0).random((3, 60, 60)), PixelSpacing(1.4, 1.4))
    tracker = FlowTracker(Notes(), INFO)
    for each in (tracker, quick_variant(tracker)):
        each.track(cine, np.array([[20.0, 30.0], [40.0, 22.0]]))
    assert asked == [(2, 1)] * (1 + len(TURNS)) + [(1, 0)]


def test_views_that_would_take_much_memory_are_seen_one_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    cine = cine_of(np.stack([tagged(64, 64, size) for size in (1.0, 0.96, 0.9)]), PixelSpacing(1.4, 1.4))
    points = np.array([[20.0, 30.0], [40.0, 22.0], [25.0, 40.0]])
    tracker = FlowTracker.from_weights()
    together = tracker.track(cine, points)
    seen: list[int] = []
    monkeypatch.setattr(flow, "MAX_PIXELS_AT_ONCE", 3 * preprocessing.TRACKER_CROP_SIZE**2)
    tracker.network.register_forward_pre_hook(lambda _, shown: seen.append(len(shown[0])))
    apart = tracker.track(cine, points)
    assert seen == [1] * len(SYMMETRIES) * (1 + len(TURNS))
    assert np.abs(apart.points_px - points).max() > 0.2
    np.testing.assert_allclose(apart.points_px, together.points_px, atol=1e-3)
    np.testing.assert_allclose(apart.sigma_px, together.sigma_px, atol=1e-3)


def test_every_refinement_starts_from_the_mean_of_all_views_seen_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    """An image and what moves in it are turned alike, and the first view differs by what it alone found."""
    calls: list[tuple[torch.Tensor, Flow | None, tuple[bool, bool]]] = []

    class AddsOneDown(FlowNet):
        def forward(
            self,
            frames: torch.Tensor,
            times_ms: torch.Tensor,
            *,
            followed: Flow | None,
            mixed: bool = False,
            against_others: bool = False,
            **_: object,
        ) -> Flow:
            calls.append((frames, followed, (mixed, against_others)))
            found = Drifts().forward(frames, times_ms) if followed is None else followed
            moved = found.displacement_px.clone()
            moved[:, 1:, 1] += 1.0
            # Another for every view and time it is asked.
            spread = found.log_spread_px + torch.tensor([-3.0, -1.0])[:, None, None, None] / len(calls)
            return Flow(moved, spread)

    share, carried_by = torch.tensor([0.0, 0.25, 0.75]), []

    def carries(pattern: torch.Tensor, found: Flow) -> torch.Tensor:
        carried_by.append(found)
        return carried_back(pattern, found)

    monkeypatch.setattr(flow, "carried_back", carries)
    monkeypatch.setattr(flow, "share_of_others", lambda carried, _: share[None, :, None, None].expand_as(carried))
    image = tagged(60, 60) + np.random.default_rng(0).random((60, 60))
    cine = cine_of(np.repeat(image[None], 3, axis=0), PixelSpacing(1.4, 1.4))
    points = np.array([[20.0, 30.0], [40.0, 22.0]])
    tracks = FlowTracker(AddsOneDown(), INFO, symmetries=(0, 1)).track(cine, points)
    upright = calls[0][0][:1]
    views = [(0, 1), *((0 ^ turn, 1 ^ turn) for turn in TURNS)]
    shifts_px = [(0, 0), *((shift, (shift + 2) % PATCH_PX) for shift in SHIFTS_PX)]
    for (frames, _, _), symmetries, shifts in zip(calls, views, shifts_px, strict=True):
        turned = torch.cat([turn_images(upright, symmetry) for symmetry in symmetries])
        torch.testing.assert_close(frames, shifted(turned, shifts))
    assert [how for _, _, how in calls] == [(False, False), (True, False), (True, False), (True, True)]
    # Both views of the first refinement moved one down, and drifted to opposite sides.
    towards, stated = [torch.tensor([0.0, 1.0])], [-2.0, -3.0, -3.0]
    for symmetries in views[1:]:
        down = [unturn_vectors(torch.tensor([0.0, 1.0]), symmetry) for symmetry in symmetries]
        towards.append(towards[0 if len(towards) == 1 else 1] + torch.stack(down).mean(dim=0))
    for k, ((_, start, _), symmetries) in enumerate(zip(calls[1:], views[1:], strict=True)):
        assert start is not None
        torch.testing.assert_close(start.log_spread_px, torch.full_like(start.log_spread_px, stated[k]))
        for motion, symmetry in zip(start.displacement_px, symmetries, strict=True):
            upright_motion = unturn_vectors(motion[1:].movedim(1, -1), symmetry)
            torch.testing.assert_close(upright_motion, towards[min(k, 1)].expand_as(upright_motion), atol=1e-5, rtol=0)
    _, between, against_ed, against_others = towards
    (shown,) = carried_by
    upright_motion = shown.displacement_px[0, 1:].movedim(1, -1)
    torch.testing.assert_close(upright_motion, between.expand_as(upright_motion), atol=1e-5, rtol=0)
    share = share[1:, None]
    expected = between + LAST_STEP * (torch.lerp(against_ed, against_others, share) - between)
    scale = crop_around(points, cine).scale_xy
    moved = tracks.points_px[1:] - points
    np.testing.assert_allclose(moved, np.broadcast_to(expected[:, None].numpy() * scale, moved.shape), atol=1e-4)
    by_ed, by_others = (np.exp([-3 - 3 / k, -3 - 1 / k]).mean() for k in (3, 4))
    expected_spread = ((1 - share) * by_ed + share * UNTRAINED_SPREAD * by_others).numpy()
    expected_spread = np.broadcast_to(expected_spread, (2, 2))
    np.testing.assert_allclose(tracks.sigma_px[1:], SIGMA_SCALE * expected_spread * np.sqrt(np.prod(scale)), rtol=1e-4)
    assert tracks.first_view_px is not None
    apart = tracks.first_view_px[1:] - tracks.points_px[1:]
    down = [unturn_vectors(torch.tensor([0.0, 1.0]), symmetry) for symmetry in views[1]]
    expected_apart = (down[0] - torch.stack(down).mean(dim=0)).numpy() * scale
    assert np.abs(expected_apart).max() > 0.1
    np.testing.assert_allclose(apart, np.broadcast_to(expected_apart, apart.shape), atol=1e-4)


def test_motion_is_turned_and_shifted_with_the_views_that_see_it() -> None:
    generator = torch.Generator().manual_seed(2)
    there = Flow(torch.randn(1, 3, 2, 128, 128, generator=generator), torch.randn(1, 3, 128, 128, generator=generator))
    starts: list[Flow] = []

    class Knows(FlowNet):
        def forward(
            self, frames: torch.Tensor, times_ms: torch.Tensor, *, followed: Flow | None = None, **_: object
        ) -> Flow:
            if followed is None:
                return there.turned(SYMMETRIES)
            starts.append(followed)
            return followed

    cine = cine_of(np.random.default_rng(0).random((3, 60, 60)), PixelSpacing(1.4, 1.4))
    points = np.array([[20.0, 30.0], [40.0, 22.0]])
    tracks = FlowTracker(Knows(), INFO).track(cine, points)
    assert len(starts) == len(TURNS)
    for start, turn, shift_px in zip(starts, TURNS, SHIFTS_PX, strict=True):
        turned = there.turned([symmetry ^ turn for symmetry in SYMMETRIES])
        torch.testing.assert_close(start, turned.shifted((shift_px, (shift_px + 2) % PATCH_PX)))
    crop = crop_around(points, cine)
    places = torch.tensor(crop.to_crop(points), dtype=torch.float32)[None]
    expected = sample_field(there.displacement_px, places, crop.size)[0, 1:].numpy() * crop.scale_xy
    np.testing.assert_allclose(tracks.points_px[1:] - points, expected, atol=1e-4)


def test_no_view_is_refined_twice() -> None:
    views = [SYMMETRIES, *(tuple(symmetry ^ turn for symmetry in SYMMETRIES) for turn in TURNS)]
    assert len({symmetry for each in views for symmetry in each}) == len(SYMMETRIES) * len(views)


@pytest.mark.parametrize("sizes", [(128, 128), (128, 160), (144, 128)])
def test_motion_followed_in_one_crop_is_the_same_in_millimeters_in_another_inside_it(sizes: tuple[int, int]) -> None:
    cine = cine_of(np.random.default_rng(0).random((4, 90, 100)), PixelSpacing(1.0, 1.8))
    outer, inner = (
        CropTransform(center, side, size, (1.8, 1.0))
        for center, side, size in zip(((50, 45), (47, 49)), (84.0, 50.0), sizes, strict=True)
    )
    tracker = FlowTracker(Shrinks(), INFO)
    followed = look(tracker, cine, outer)
    seen = look(tracker, cine, inner, followed).flow
    steps = FIELD_STRIDE * np.arange(inner.size // FIELD_STRIDE) + (FIELD_STRIDE - 1) / 2
    from_middle_px = inner.to_image(np.stack(np.meshgrid(steps, steps), axis=-1)) - outer.center_xy_px
    expected = -0.01 * np.arange(4)[:, None, None, None] * from_middle_px / inner.scale_xy
    for displacement, symmetry in zip(seen.displacement_px, SYMMETRIES, strict=True):
        upright = unturn_vectors(unturn_images(displacement, symmetry).movedim(1, -1), symmetry)
        np.testing.assert_allclose(upright.numpy(), expected, atol=1e-3)
    spread_mm = inner.pixel_mm * seen.log_spread_px.exp()
    one_mm = outer.pixel_mm * followed.flow.log_spread_px[:, :, :1, :1].exp()
    torch.testing.assert_close(spread_mm, one_mm.expand_as(spread_mm))


class CountsFollowing(FlowNet):
    """Sees everything go away from the middle of the crop by a tenth, and drift by 3 crop pixels to the view's right,
    leaves it at that, and counts how often it followed."""

    n_followed = 0

    def _follow(self, pattern: torch.Tensor, frames: torch.Tensor, times_ms: torch.Tensor, _: object) -> Flow:
        self.n_followed += 1
        followed = shrunk(frames, -400.0 * (times_ms != 0))
        followed.displacement_px[:, 1:, 0] += 3.0
        return followed


@pytest.mark.parametrize(
    ("ed_frame", "shift_px", "zoom", "n_followed"),
    [(0, 0, 1.0, 0), (2, 0, 1.0, 1), (2, 4, 1.3, 1), (5, 0, 1.0, 0), (0, 4, 1.3, 0), (0, 40, 1.3, 1), (0, 0, 0.3, 1)],
)
def test_tracking_goes_on_from_the_motion_that_placing_followed(
    ed_frame: int, shift_px: float, zoom: float, n_followed: int
) -> None:
    cine = cine_of(np.random.default_rng(0).random((6, 60, 60)), PixelSpacing(1.4, 1.4), ed_frame)
    points = np.array([[20.0, 30.0], [40.0, 22.0], [31.0, 42.0]])
    network = CountsFollowing((16, 16, 16), memory=8, refining_widths=(16, 16, 16)).eval()
    tracker = FlowTracker(network, INFO)
    crop = crop_around(points, cine)
    center_px = (crop.center_xy_px[0] + shift_px, crop.center_xy_px[1])
    sight = look(tracker, cine, replace(crop, center_xy_px=center_px, side_mm=zoom * crop.side_mm))
    network.n_followed = 0
    went_on = track_placed(tracker, cine, Placement(points[None], sight))
    assert network.n_followed == n_followed
    moved = np.arange(6) != ed_frame
    # The sight holds what was followed to the end further away; the rest is followed in the crop around the points.
    sees_points = sight.crop.side_mm > 0.9 * crop.side_mm and shift_px < 40
    by_sight = moved & sees_points & ((ed_frame != 2) | (np.arange(6) > ed_frame))
    middle_px = np.where(by_sight[:, None], center_px, crop.center_xy_px)[:, None]
    expected = np.where(moved[:, None, None], 0.1 * (points - middle_px), 0.0)
    np.testing.assert_allclose(went_on.points_px - points, expected, atol=2e-3)


def test_a_network_without_refinements_tracks_by_what_it_follows() -> None:
    cine = cine_of(np.random.default_rng(0).random((3, 60, 60)), PixelSpacing(1.4, 1.4))
    points = np.array([[20.0, 30.0], [40.0, 22.0], [31.0, 42.0]])
    network = CountsFollowing((16, 16, 16), memory=8, refinements=0).eval()
    tracks = FlowTracker(network, INFO).track(cine, points)
    assert network.n_followed == 1
    moved_px = tracks.points_px[1:] - points
    expected = 0.1 * (points - np.array(crop_around(points, cine).center_xy_px))
    assert np.abs(expected).max() > 0.5
    np.testing.assert_allclose(moved_px, np.broadcast_to(expected, moved_px.shape), atol=2e-3)
    assert tracks.first_view_px is not None
    drift_px = tracks.first_view_px[1:] - tracks.points_px[1:]
    expected_drift_px = np.array([3.0 * crop_around(points, cine).scale_xy[0], 0.0])
    np.testing.assert_allclose(drift_px, np.broadcast_to(expected_drift_px, drift_px.shape), atol=1e-4)


def test_a_tracker_that_cannot_go_on_follows_anew() -> None:
    class Follows:
        name = "anew"

        def track(self, cine: TaggedCine, ed_points_px: NDArray[np.floating]) -> PointTracks:
            still = np.repeat(ed_points_px[None], cine.n_frames, axis=0)
            return PointTracks(still, np.zeros(still.shape[:2]), cine.ed_frame)

    cine = cine_of(np.random.default_rng(0).random((3, 60, 60)), PixelSpacing(1.4, 1.4))
    wall_px = np.array([[[20.0, 30.0], [40.0, 22.0]]])
    sight = look(FlowTracker(Shrinks(), INFO), cine, crop_around(wall_px[0], cine))
    np.testing.assert_array_equal(track_placed(Follows(), cine, Placement(wall_px, sight)).points_px[2], wall_px[0])


@pytest.mark.parametrize("spacing", [PixelSpacing(1.4, 1.4), PixelSpacing(1.0, 1.8)])
@pytest.mark.parametrize("ed_frame", [0, 3])
@pytest.mark.parametrize(("off_mm", "n_followed"), [((0.0, 0.0), 1), ((2.0, -3.0), 1), ((12.0, -14.0), 2)])
def test_wall_is_found_from_a_box_that_is_off(
    spacing: PixelSpacing, ed_frame: int, off_mm: tuple[float, float], n_followed: int
) -> None:
    y, x = np.indices((160, 170)).astype(float)
    center_mm = np.array([110.0, 95.0])
    distance_mm = np.hypot(x * spacing.column_mm - center_mm[0], y * spacing.row_mm - center_mm[1])
    image = np.where(distance_mm < 12, 2.0, np.where(distance_mm < 25, 1.0, 0.0))
    cine = cine_of(np.stack([image] * 4), spacing, ed_frame)
    pixel = np.array([spacing.column_mm, spacing.row_mm])
    low, high = (center_mm + off_mm - 40) / pixel, (center_mm + off_mm + 40) / pixel
    box = Box(*low.tolist(), *high.tolist())
    network = CountsCines()
    placer = MotionPlacer(SeesBrightness(), INFO, FlowTracker(network, INFO))
    placement = placer.place(cine, Localization(box, 1.0))
    landmarks_mm = placement.wall_px * pixel
    assert network.n_asked == n_followed
    assert landmarks_mm.shape == (24, 7, 2)
    radius_mm = np.linalg.norm(landmarks_mm - center_mm, axis=-1)
    np.testing.assert_allclose(radius_mm[:, 0], 12, atol=0.8)
    np.testing.assert_allclose(radius_mm[:, 6], 25, atol=0.8)
    assert placement.border_spread_mm is not None
    assert placement.border_spread_mm.shape == (2, 24)
    assert placement.border_spread_mm.max() < 1  # its borders are sharp
    first = landmarks_mm[0, 6] - center_mm
    assert first[0] > 0
    assert abs(first[1]) < 1


class Shown(PlacerNet):
    """Finds a wall in the middle of the crop, and remembers what it was shown last."""

    channels: torch.Tensor

    def forward(self, channels: torch.Tensor) -> torch.Tensor:
        self.channels = channels
        nodes = channels.shape[-1]
        steps = torch.arange(nodes) - (nodes - 1) / 2
        distance = torch.hypot(steps[:, None], steps).expand(len(channels), -1, -1)
        return torch.stack([0.2 * nodes - distance, 0.4 * nodes - distance], dim=1)


def test_a_network_is_not_shown_what_is_left_out() -> None:
    cine = cine_of(np.stack([tagged(96, 96)] * 4), PixelSpacing(1.0, 1.0))
    box = Localization(Box(20.0, 20.0, 76.0, 76.0), None)
    network = Shown()
    placer = MotionPlacer(network, INFO, FlowTracker(Shrinks(), INFO))
    placer.place(cine, box)
    everything = network.channels.clone()
    placement = replace(placer, left_out=(GREY_LEVELS, PERSISTENCE)).place(cine, box)
    assert placement.sight is not None
    torch.testing.assert_close(placement.sight.channels, everything)
    for name, group in CHANNEL_GROUPS.items():
        shown = network.channels[:, group]
        assert everything[:, group].abs().max() > 0
        expected = torch.zeros_like(shown) if name in (GREY_LEVELS, PERSISTENCE) else everything[:, group]
        torch.testing.assert_close(shown, expected)


def test_less_is_read_from_what_was_seen() -> None:
    """Without grey levels, then without how far tags persist either, in the crop in which the wall was found."""

    class ByChannels(Shown):
        """Sees the more of the crop as wall, the fewer channels it is shown."""

        def forward(self, channels: torch.Tensor) -> torch.Tensor:
            n_shown = (channels.abs().amax(dim=(0, 2, 3)) > 0).sum()
            return super().forward(channels) - 0.5 * n_shown

    cine = cine_of(np.stack([tagged(96, 96)] * 4), PixelSpacing(1.0, 1.0))
    network = ByChannels()
    placer = MotionPlacer(network, INFO, FlowTracker(Shrinks(), INFO))
    placement = placer.place(cine, Localization(Box(20.0, 20.0, 76.0, 76.0), None))
    assert placement.sight is not None
    walls = [placement.wall_px, *placer.read_less(placement.sight)]
    radii = [np.linalg.norm(wall[:, -1] - wall[:, -1].mean(axis=0), axis=-1).mean() for wall in walls]
    # Five channels of grey levels, three of persistence; half a node, or one crop pixel, for each.
    grown = np.diff(radii) / placement.sight.crop.scale_xy[0]
    np.testing.assert_allclose(grown, [5.0, 3.0], atol=0.3)
