"""From signals to a grade: what is measured, what is said, what it is worth."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest
from beating_annulus import (
    CENTER_PX,
    FixedLocalizer,
    FixedPlacer,
    ScalingTracker,
    beating_slice,
    contraction,
    measured,
    wall_px,
)
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from contracting_slice import INNER_MM, OUTER_MM, contracting_slice
from tagstrain.data import Box, LandmarkTracks, Localization, SliceResult, TaggedCine
from tagstrain.data.landmarks import MIDWALL_RING
from tagstrain.errors import LocalizationError, TrackingError
from tagstrain.inference.interfaces import Placement
from tagstrain.inference.models import DEFAULT_TRACKER, load_models
from tagstrain.quality import Grade, SliceQuality, assess
from tagstrain.quality.error_model import Calibration, ErrorModel, ErrorPart, IntervalRange, evidence, load_calibration
from tagstrain.quality.signals import Signals, measure_signals
from tagstrain.quality.slice_quality import judge, worse
from tagstrain.quality.wall_shape import border_distance_mm, wall_shape

if TYPE_CHECKING:
    from tagstrain.inference.motion_sight import MotionSight

SEEN = (FixedPlacer(), FixedLocalizer())
SIGHT = cast("MotionSight", object())
CALIBRATION = Calibration(
    tracker="flow",
    weights={},
    position=ErrorModel({"tracking": ErrorPart(1.0, {"sigma_mm": 0.5, "closure_mm": 0.5})}),
    circumferential=ErrorModel({"tracking": ErrorPart(0.01, {"sigma_mm": 1.0})}),
    regional_circumferential=ErrorModel({"tracking": ErrorPart(0.02, {"sigma_mm": 1.0})}),
    interval_ranges=(
        IntervalRange(Grade.GOOD, 0.005, {"80": (-1.5, 0.5), "95": (-3.0, 1.0)}),
        IntervalRange(Grade.GOOD, 0.009, {"80": (-1.0, 0.5), "95": (-2.0, 1.0)}),
        IntervalRange(Grade.USABLE, 0.015, {"80": (-2.0, 1.0), "95": (-4.0, 5.0)}),
    ),
    usable_below=0.02,
    good_below=0.01,
)


def judged(result: SliceResult, **changes: float) -> SliceQuality:
    """Judgment on a slice some of whose signals are replaced."""
    signals = replace(measure_signals(result, ScalingTracker(), *SEEN), **changes)
    return judge(result, signals, "flow", CALIBRATION)


def test_a_sound_slice_is_good_and_says_nothing() -> None:
    quality = assess(beating_slice(), ScalingTracker(), *SEEN, CALIBRATION)
    assert quality.grade is Grade.GOOD
    assert quality.reasons == ()
    signals = quality.signals
    assert signals.closure_mm == pytest.approx(0, abs=1e-9)
    assert signals.sigma_mm == pytest.approx(0.45)
    assert signals.repeat_wall_mm == pytest.approx(0, abs=1e-9)
    assert signals.border_spread_mm == pytest.approx(0.5)
    assert signals.back_regional_difference == pytest.approx(0, abs=1e-9)
    assert signals.strain_roughness == pytest.approx(0, abs=1e-9)
    assert signals.largest_gap == pytest.approx(1)
    assert signals.peak_shortening == pytest.approx((1 - 0.83**2) / 2)
    assert signals.strain_gradient_per_mm == pytest.approx(0, abs=1e-9)
    assert signals.localizer_overlap == pytest.approx(1)
    assert signals.wall_area_change == pytest.approx(1 - 0.83**2)


def test_closure_is_how_far_the_way_back_misses() -> None:
    signals = measure_signals(beating_slice(), ScalingTracker(error_px=2.0), *SEEN)
    assert signals.closure_mm == pytest.approx(2.0 * 1.5)


def test_views_of_the_tracker_are_compared() -> None:
    result = beating_slice()
    first = CENTER_PX + 1.01 * (result.landmarks.points_px - CENTER_PX)
    first[0] = result.landmarks.points_px[0]
    seen = replace(result, landmarks=replace(result.landmarks, first_view_px=first))
    signals = measure_signals(seen, ScalingTracker(), *SEEN)
    strain_apart = (1.01**2 - 1) / 2 * contraction() ** 2
    strain_apart[0] = 0
    assert signals.view_strain_difference == pytest.approx(np.sqrt(np.mean(strain_apart**2)))
    assert signals.view_regional_difference == pytest.approx(np.sqrt(np.mean(strain_apart**2)))
    rms_radius_mm = 1.5 * np.sqrt(np.mean(np.sum((result.landmarks.points_px[1:] - CENTER_PX) ** 2, axis=-1)))
    assert signals.view_distance_mm == pytest.approx(0.01 * rms_radius_mm * np.sqrt(11 / 12))
    assert np.isnan(measure_signals(result, ScalingTracker(), *SEEN).view_distance_mm)


def test_the_localizer_is_asked_where_it_was_not_before() -> None:
    result = beating_slice()
    box = Box.around(result.landmarks.points_px[0].reshape(-1, 2))
    width_px, shift_px = box.x2 - box.x1, 9.0
    elsewhere = measure_signals(result, ScalingTracker(), FixedPlacer(), FixedLocalizer(shift_px))
    assert elsewhere.localizer_overlap == pytest.approx((width_px - shift_px) / (width_px + shift_px))
    before = replace(result, seen_box=box)
    assert measure_signals(before, ScalingTracker(), FixedPlacer(), FixedLocalizer(shift_px)).localizer_overlap == 1
    nothing = replace(result, seen_box=Box(*[np.nan] * 4))
    assert measure_signals(nothing, ScalingTracker(), *SEEN).localizer_overlap == 0

    class Fails(FixedLocalizer):
        def localize(self, cine: TaggedCine) -> Localization:
            raise LocalizationError("no")

    assert measure_signals(result, ScalingTracker(), FixedPlacer(), Fails()).localizer_overlap == 0


def test_strain_changes_with_depth_as_in_a_wall_that_keeps_its_area() -> None:
    slice_ = contracting_slice(12)
    radius_mm = np.linspace(INNER_MM, OUTER_MM, 7)[[1, 5]]
    shrunk_mm2 = radius_mm[0] ** 2 - np.linalg.norm(_from_center_mm(slice_)[:, :, 1], axis=-1).mean(axis=1) ** 2
    strain = -shrunk_mm2[:, None] / radius_mm**2 / 2  # Green-Lagrange, of a circle from R to sqrt(R^2 - s)
    expected = np.sqrt(np.mean((np.diff(strain, axis=1)[:, 0] / np.ptp(radius_mm)) ** 2))
    signals = measure_signals(slice_, ScalingTracker(), *SEEN)
    assert signals.strain_gradient_per_mm == pytest.approx(expected, rel=0.01)


def _from_center_mm(slice_: SliceResult) -> np.ndarray:
    points_mm = slice_.landmarks.points_px * slice_.cine.spacing_xy_mm
    return np.asarray(points_mm - points_mm[0].mean(axis=(0, 1)))


def test_tags_that_come_back_are_told() -> None:
    depth = np.linspace(1.0, 0.15, 12)
    fading = measure_signals(beating_slice(tag_depth=depth, noise=30.0), ScalingTracker(), *SEEN)
    assert fading.visibility_rise < 0.05
    depth[[3, 8]] = depth[[8, 3]]
    swapped = measure_signals(beating_slice(tag_depth=depth, noise=30.0), ScalingTracker(), *SEEN)
    assert swapped.visibility_rise > 0.12
    assert swapped.visibility_rise_frame in (4, 8)


def test_a_ring_that_only_stretches_does_not_shorten() -> None:
    still = beating_slice(follows=False)
    signals = measure_signals(still, ScalingTracker(), *SEEN)
    assert str(signals.peak_shortening) == "0.0"


def test_a_mid_wall_that_is_not_known_does_not_count_as_still() -> None:
    result = beating_slice()
    points_px = result.landmarks.points_px.copy()
    points_px[:, :, MIDWALL_RING] = np.nan
    unknown = measured(result.cine, points_px)
    quality = assess(unknown, ScalingTracker(), *SEEN, CALIBRATION)
    assert np.isnan(quality.signals.peak_shortening)
    assert not any("hardly beats" in reason for reason in quality.reasons)


def test_a_tracker_that_gives_up_on_the_way_back_leaves_closure_unknown() -> None:
    class GivesUp(ScalingTracker):
        def track(self, cine: TaggedCine, ed_points_px: object) -> None:  # type: ignore[override]
            raise TrackingError("no")

    quality = assess(beating_slice(), GivesUp(), *SEEN, CALIBRATION)
    assert np.isnan(quality.signals.closure_mm)
    assert np.isnan(quality.predicted_error_mm)
    assert quality.grade is Grade.GOOD  # this model of circumferential error does without
    shipped = assess(beating_slice(), GivesUp(), *SEEN)
    assert shipped.grade is Grade.UNGRADED
    assert "too little could be measured" in shipped.reasons[0]


def test_intervals_of_a_placed_wall_allow_for_the_errors_of_placed_walls() -> None:
    result = replace(beating_slice(), border_spread_mm=np.full((2, 24), 0.5))
    quality = judged(result, sigma_mm=0.8)
    peak = result.strain.circumferential_midwall.min()
    np.testing.assert_allclose(quality.peak_circumferential_interval_80, [peak - 0.004, peak + 0.008])
    np.testing.assert_allclose(quality.peak_circumferential_interval_95, [peak - 0.008, peak + 0.016])


def test_intervals_of_a_given_wall_take_no_side() -> None:
    result = beating_slice()
    peak = result.strain.circumferential_midwall.min()
    good, usable = (judged(result, sigma_mm=sigma_mm) for sigma_mm in (0.8, 1.2))
    np.testing.assert_allclose(good.peak_circumferential_interval_80, [peak - 0.008, peak + 0.008])
    np.testing.assert_allclose(usable.peak_circumferential_interval_95, [peak - 0.06, peak + 0.06])


@pytest.mark.parametrize(
    ("sigma_mm", "closure_mm", "factor"),
    [
        (0.4, 0.0, 2.0),
        (0.5, 0.0, 2.0),
        (0.6, 0.0, 1.5),
        (0.95, 0.0, 1.5),
        (0.4, 9.0, 3.0),
        (1.1, 0.0, 3.0),
        (1.9, 0.0, 3.0),
    ],
)
def test_an_interval_is_as_wide_as_grade_and_expected_error_ask(
    sigma_mm: float, closure_mm: float, factor: float
) -> None:
    result = replace(beating_slice(), border_spread_mm=np.full((2, 24), 0.5))
    low, high = judged(result, sigma_mm=sigma_mm, closure_mm=closure_mm).peak_circumferential_interval_80
    assert high - low == pytest.approx(factor * 0.01 * sigma_mm)
    assert np.isnan(judged(result, sigma_mm=sigma_mm, n_tag_directions=0).peak_circumferential_interval_80).all()


@pytest.mark.parametrize(("sigma_mm", "grade"), [(0.99, "good"), (1.5, "usable"), (2.5, "reject")])
def test_expected_error_gives_the_grade(sigma_mm: float, grade: str) -> None:
    quality = judged(beating_slice(), sigma_mm=sigma_mm)
    assert quality.grade == grade
    assert (quality.reasons == ()) == (grade == "good")
    assert np.isnan(quality.peak_circumferential_interval_80).any() == (grade == "reject")


@pytest.mark.parametrize(
    ("signal", "value", "grade", "words"),
    [
        ("n_tag_directions", 0, "reject", "no tag lines"),
        ("n_tag_directions", 1, "usable", "one direction"),
        ("tag_visibility_ed", 0.2, "usable", "20 % of the wall's contrast"),
        ("tag_evenness", 0.1, "usable", "holds hardly any tags"),
        ("systolic_evenness", 0.3, "usable", "it may be open there, as at the outflow tract"),
        ("tags_end_ms", 100.0, "usable", "until 100 ms only"),
        ("tags_end_ms", 400.0, "good", "do not rely on later strain"),
        ("closure_mm", 9.0, "usable", "miss their start by 9.0 mm"),
        ("jump_mm", 7.0, "usable", "jumps by 7.0 mm"),
        ("step_mm", 6.2, "usable", "everything in sight steps by 6.2 mm"),
        ("largest_gap", 4.0, "usable", "4.0 times the usual"),
        ("unknown_share", 0.1, "usable", "10 % of the landmarks are not known"),
        ("unknown_share", 0.6, "reject", "60 % of the landmarks are not known"),
        ("folded_share", 0.2, "reject", "20 % of the wall is turned inside out"),
        ("largest_stretch", 0.2, "usable", "stretches by 20 %"),
        ("wall_area_change", 0.6, "usable", "area changes by 60 %"),
        ("cavity_radius_mm", 60.0, "usable", "radius of 60 mm is not that of a heart"),
        ("wall_thickness_mm", 2.0, "usable", "thickness of 2 mm is not that of a heart"),
        ("wall_thickness_mm", 0.3, "reject", "lie on each other (0.3 mm apart)"),
        ("axis_ratio", 2.0, "usable", "2.0 times as long as wide"),
        ("thickness_step", 1.6, "usable", "changes 1.6-fold from one place to the next"),
        ("repeat_wall_mm", 6.0, "usable", "the wall lies 6.0 mm elsewhere"),
        ("given_wall_frame", 5, "usable", "where it is at 220 ms: was it drawn on another frame?"),
        ("visibility_rise", 0.3, "usable", "seen better again"),
        ("peak_shortening", 0.01, "usable", "shortens by 1.0 % at most"),
        ("localizer_overlap", 0.2, "usable", "sees the left ventricle elsewhere"),
        ("border_distance_mm", -3.0, "usable", "border of the image cuts the heart"),
    ],
)
def test_every_flaw_is_said_and_limits_the_grade(signal: str, value: float, grade: str, words: str) -> None:
    quality = judged(beating_slice(), **{signal: value})
    assert any(words in reason for reason in quality.reasons), quality.reasons
    assert quality.grade == grade


@pytest.mark.parametrize(("begins_ms", "is_said"), [(20.0, False), (49.0, False), (95.0, True)])
def test_a_cine_that_begins_after_end_diastole_is_said(begins_ms: float, is_said: bool) -> None:
    result = beating_slice()
    times_ms = result.strain.frame_times_ms - result.strain.frame_times_ms[0] + begins_ms
    late = replace(result, strain=replace(result.strain, frame_times_ms=times_ms))
    quality = judged(late)
    assert quality.grade == ("usable" if is_said else "good")
    assert any("95 ms after the R wave" in reason for reason in quality.reasons) == is_said
    assert judged(replace(late, strain=replace(late.strain, ed_frame=1))).grade == "good", "the file says which is ED"


def test_two_breath_holds_with_the_heart_in_two_places_are_said() -> None:
    result = beating_slice()
    quality = judged(replace(result, cine=replace(result.cine, breath_holds_apart_mm=8.6)))
    assert any("seems to lie 9 mm apart in the two breath-holds" in reason for reason in quality.reasons)
    assert quality.grade == "usable"


def test_frames_that_repeat_are_said() -> None:
    result = beating_slice()
    frames = result.cine.frames.copy()
    frames[-2:] = frames[-3]
    quality = judged(replace(result, cine=replace(result.cine, frames=frames)))
    first, last = result.strain.frame_times_ms[-2:]
    assert f"frames at {first:.0f}, {last:.0f} ms repeat the one before: no motion was imaged there" in quality.reasons
    assert quality.grade == "usable"


def grey_levels(result: SliceResult, kind: str) -> NDArray[np.float64]:
    """The slice's images with air around the heart, as another step may have left them."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: result.cine.frames.shape[1], : result.cine.frames.shape[2]]
    is_air = np.hypot(x - CENTER_PX[0], y - CENTER_PX[1]) > 34
    noise = 2 * rng.standard_normal(result.cine.frames.shape)
    magnitude = np.where(is_air, np.abs(noise), result.cine.frames)
    inside = magnitude[:, ~is_air]
    masked = np.where(is_air, 0, (magnitude - inside.mean()) / inside.std())
    step = np.ptp(masked) / 65535
    kinds = {
        "real part": np.where(is_air, noise, np.where(np.sin(0.7 * x) < 0, -1, 1) * magnitude),
        "magnitude": magnitude,
        "standardized": (magnitude - magnitude.mean()) / magnitude.std(),
        "from -1 to 1": 2 * magnitude / magnitude.max() - 1,
        "shifted": magnitude - 2,
        "standardized in a mask": masked,
        "the same, in whole steps": masked.min() + step * np.rint((masked - masked.min()) / step),
    }
    return kinds[kind]


@pytest.mark.parametrize(
    ("kind", "is_said"),
    [
        ("real part", True),
        ("magnitude", False),
        ("standardized", False),
        ("from -1 to 1", False),
        ("shifted", False),
        ("standardized in a mask", False),
        ("the same, in whole steps", False),
    ],
)
def test_the_real_part_of_complementary_tagging_is_said(kind: str, is_said: bool) -> None:
    result = replace(beating_slice(), border_spread_mm=np.full((2, 24), 0.5))
    frames = grey_levels(result, kind).astype(np.float32)
    shown = replace(result, cine=replace(result.cine, frames=frames))
    words = "grey levels lie on both sides of zero"
    assert any(words in reason for reason in judged(shown).reasons) == is_said
    given = replace(shown, border_spread_mm=None)
    assert not any(words in reason for reason in judged(given).reasons)


def test_what_the_border_leaves_has_to_beat() -> None:
    quality = judged(beating_slice(), border_distance_mm=-3.0, peak_shortening=0.01)
    assert quality.grade is Grade.REJECT
    assert "the border of the image cuts the heart, and what is left of it does not beat" in quality.reasons


@pytest.mark.parametrize(
    ("without_grey_px", "by_motion_px", "grade"), [(3.0, 3.5, "usable"), (3.0, 6.0, "good"), (1.0, 1.2, "good")]
)
def test_grey_levels_that_contradict_the_motion_are_said(
    without_grey_px: float, by_motion_px: float, grade: str
) -> None:
    """The wall moves along x when the placer is not shown them, and stays there when it is shown still less."""

    class Doubting(FixedPlacer):
        def place(self, cine: TaggedCine, localization: Localization) -> Placement:
            return super().place(cine, localization)._replace(sight=SIGHT)

        def read_less(self, sight: object) -> tuple[np.ndarray, np.ndarray]:
            assert sight is SIGHT
            without_grey, by_motion = (wall_px() + np.array([px, 0]) for px in (without_grey_px, by_motion_px))
            return without_grey, by_motion

    result = replace(beating_slice(), border_spread_mm=np.full((2, 24), 0.5))  # placed
    quality = assess(result, ScalingTracker(), Doubting(), FixedLocalizer(), CALIBRATION)
    pixel_mm = result.cine.pixel_spacing.column_mm
    assert quality.signals.without_grey_mm == pytest.approx(without_grey_px * pixel_mm)
    assert quality.signals.by_motion_mm == pytest.approx((by_motion_px - without_grey_px) * pixel_mm)
    assert quality.grade == grade
    said = f"the wall is placed {without_grey_px * pixel_mm:.1f} mm elsewhere"
    assert any("contradict the motion" in reason and said in reason for reason in quality.reasons) == (grade != "good")


def test_grey_levels_have_no_say_in_a_wall_that_was_given() -> None:
    given = replace(beating_slice(), border_spread_mm=None)
    assert given.is_wall_given
    doubted = {"without_grey_mm": 3.0, "by_motion_mm": 0.5}
    assert judged(given, **doubted).grade is Grade.GOOD
    placed = replace(given, border_spread_mm=np.full((2, 24), 0.5))
    assert judged(placed, **doubted).grade is Grade.USABLE


def test_a_placer_that_cannot_say_is_not_doubted() -> None:
    assert np.isnan(measure_signals(beating_slice(), ScalingTracker(), *SEEN).without_grey_mm)


def test_what_a_tracker_that_was_never_calibrated_followed_is_not_graded() -> None:
    quality = assess(beating_slice(), ScalingTracker(name="harp"), *SEEN, CALIBRATION)
    assert quality.grade is Grade.UNGRADED
    assert "harp was never calibrated" in quality.reasons[0]
    assert np.isnan(quality.predicted_error_mm)
    assert np.isnan(quality.predicted_regional_circumferential_error)
    assert np.isnan(quality.peak_circumferential_interval_95).all()


@pytest.mark.parametrize(
    ("signal", "value", "grade"),
    [
        ("n_tag_directions", 0, "reject"),
        ("folded_share", 0.2, "reject"),
        ("closure_mm", 9.0, "ungraded"),
        ("peak_shortening", 0.01, "ungraded"),
    ],
)
def test_without_a_calibration_flaws_are_said_and_those_that_reject_do_so(
    signal: str, value: float, grade: str
) -> None:
    result = beating_slice()
    signals = replace(measure_signals(result, ScalingTracker(), *SEEN), **{signal: value})
    quality = judge(result, signals, "rnncnn", CALIBRATION)
    assert quality.grade == grade
    assert len(quality.reasons) == 2


def test_a_calibration_holds_for_its_weights_alone() -> None:
    result, tracker = beating_slice(), ScalingTracker()
    learned = {"tracker": "1 sha256:aa", "placer": "1 sha256:bb"}
    calibration = replace(CALIBRATION, weights=learned)
    same = assess(result, tracker, *SEEN, calibration, {**learned, "insertion": "1 sha256:cc"})
    assert same.grade is Grade.GOOD
    other = assess(result, tracker, *SEEN, calibration, {**learned, "placer": "2 sha256:dd"})
    assert other.grade is Grade.UNGRADED
    assert other.reasons[0] == "no errors are predicted: the calibration is that of other weights (placer)"
    assert np.isnan(other.predicted_circumferential_error)
    assert np.isnan(other.peak_circumferential_interval_80).all()


def test_lost_landmarks_and_a_heart_cut_by_the_border_are_found_in_images() -> None:
    sound = beating_slice()
    points = sound.landmarks.points_px.copy()
    points[5, [3, 9]] = points[5, [9, 3]]
    assert assess(measured(sound.cine, points), ScalingTracker(), *SEEN, CALIBRATION).grade is Grade.REJECT
    narrow = replace(sound.cine, frames=np.ascontiguousarray(sound.cine.frames[:, :, :60]))
    cut = assess(measured(narrow, sound.landmarks.points_px), ScalingTracker(), *SEEN, CALIBRATION)
    assert "the border of the image cuts the heart" in cut.reasons


def test_a_wall_that_is_not_found_again_is_doubted() -> None:
    result = beating_slice()
    quality = assess(result, ScalingTracker(), FixedPlacer(shift_px=5.0), FixedLocalizer(), CALIBRATION)
    assert quality.signals.repeat_wall_mm == pytest.approx(7.5)
    assert quality.grade is Grade.USABLE
    assert "the wall lies 7.5 mm elsewhere" in quality.reasons[0]


@pytest.mark.parametrize(("stretch", "is_said"), [(0.5, True), (1.0, True), (1.5, False)])
def test_frames_further_apart_may_jump_further(stretch: float, is_said: bool) -> None:
    result = beating_slice()
    strain = replace(result.strain, frame_times_ms=stretch * result.strain.frame_times_ms)
    quality = judged(replace(result, strain=strain), jump_mm=1.0)
    assert any("jumps by 1.0 mm" in reason for reason in quality.reasons) == is_said


def test_a_step_of_everything_is_no_jump_of_the_heart() -> None:
    result = beating_slice()
    y, x = np.mgrid[: result.cine.frames.shape[1], : result.cine.frames.shape[2]]
    blood = 200 * np.exp(-0.5 * ((x - CENTER_PX[0]) ** 2 + (y - CENTER_PX[1]) ** 2) / 8.0**2)
    result = replace(result, cine=replace(result.cine, frames=(result.cine.frames + blood).astype(np.float32)))
    before = measure_signals(result, ScalingTracker(), *SEEN)
    frames, points_px = result.cine.frames.copy(), result.landmarks.points_px.copy()
    frames[5:] = np.roll(frames[5:], (3, 3), axis=(1, 2))
    points_px[5:] += 3
    stepped = replace(
        result,
        cine=replace(result.cine, frames=frames),
        landmarks=replace(result.landmarks, points_px=points_px),
    )
    after = measure_signals(stepped, ScalingTracker(), *SEEN)
    assert before.step_mm == 0
    assert after.step_mm == pytest.approx(3 * np.sqrt(2) * 1.5, abs=0.5)
    assert after.step_frame == 5
    assert after.jump_mm == pytest.approx(before.jump_mm, abs=0.3)
    # A frame without image elsewhere, whose landmarks are interpolated, changes nothing of that.
    frames[8] = np.random.default_rng(0).uniform(frames.min(), frames.max(), frames[8].shape)
    points_px[8] = (points_px[7] + points_px[9]) / 2
    spoiled = measure_signals(stepped, ScalingTracker(), *SEEN)
    assert (spoiled.step_mm, spoiled.step_frame) == (after.step_mm, after.step_frame)
    assert spoiled.jump_mm == pytest.approx(before.jump_mm, abs=0.3)


def test_judging_changes_no_number() -> None:
    result = beating_slice()
    before = (result.cine.frames.copy(), result.landmarks.points_px.copy(), result.strain.circumferential.copy())
    assess(result, ScalingTracker(error_px=1.0), *SEEN, CALIBRATION)
    for now, then in zip(
        (result.cine.frames, result.landmarks.points_px, result.strain.circumferential), before, strict=True
    ):
        np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize("n_frames", [2, 3])
def test_the_shortest_cines_can_be_judged(n_frames: int) -> None:
    full = beating_slice()
    cine = replace(full.cine, frames=full.cine.frames[:n_frames], frame_times_ms=full.cine.frame_times_ms[:n_frames])
    quality = assess(
        measured(cine, full.landmarks.points_px[:n_frames]),
        ScalingTracker(),
        FixedPlacer(),
        FixedLocalizer(),
        CALIBRATION,
    )
    assert np.isnan(quality.signals.jump_mm) == (n_frames == 2)
    assert quality.grade in Grade


@pytest.mark.parametrize(("shortening", "grade"), [(0.2, "usable"), (0.01, "reject"), (np.nan, "usable")])
def test_what_does_not_beat_where_the_localizer_sees_no_heart_is_rejected(shortening: float, grade: str) -> None:
    """As tissue beside the heart in a box that the user gave."""
    quality = judged(beating_slice(), localizer_overlap=0.2, peak_shortening=shortening)
    assert quality.grade == grade
    assert any("does not beat" in reason for reason in quality.reasons) == (grade == "reject")


def test_landmarks_that_are_not_known_leave_a_judgment() -> None:
    full = beating_slice()
    points = full.landmarks.points_px.copy()
    points[:, 4] = np.nan
    quality = assess(measured(full.cine, points), ScalingTracker(), *SEEN, CALIBRATION)
    assert np.isfinite(quality.predicted_circumferential_error)
    assert quality.signals.folded_share == 0


def test_landmarks_that_are_lost_on_the_way_do_not_make_a_slice_look_better() -> None:
    full = beating_slice()
    points = full.landmarks.points_px.copy()
    points[5, :8] = np.nan
    quality = assess(measured(full.cine, points), ScalingTracker(), *SEEN, CALIBRATION)
    assert quality.signals.unknown_share == pytest.approx(8 / 24)
    assert quality.grade is Grade.USABLE
    said = f"33 % of the landmarks are not known at {full.cine.frame_times_ms[5]:.0f} ms"
    assert any(said in reason for reason in quality.reasons)


def test_a_cine_that_ends_while_the_ring_shortens_states_no_interval_of_its_peak() -> None:
    full = beating_slice()
    n_frames = full.strain.es_frame
    cine = replace(full.cine, frames=full.cine.frames[:n_frames], frame_times_ms=full.cine.frame_times_ms[:n_frames])
    quality = judged(measured(cine, full.landmarks.points_px[:n_frames]))
    assert any("shortest in the last frame" in reason for reason in quality.reasons)
    assert quality.grade is Grade.USABLE
    assert np.isnan(quality.peak_circumferential_interval_95).all()
    assert np.isfinite(judged(full).peak_circumferential_interval_95).all()


def test_worse_of_two_grades() -> None:
    assert worse(Grade.GOOD, Grade.REJECT) is Grade.REJECT
    assert worse(Grade.USABLE, Grade.GOOD) is Grade.USABLE
    assert worse(Grade.UNGRADED, Grade.USABLE) is Grade.UNGRADED
    assert worse(Grade.UNGRADED, Grade.REJECT) is Grade.REJECT


# The stand-in tracker has no views to compare.
SOUND = replace(
    measure_signals(beating_slice(), ScalingTracker(), *SEEN),
    view_distance_mm=0.1,
    view_strain_difference=0.001,
    view_regional_difference=0.002,
)


@given(
    name=st.sampled_from(
        ["sigma_mm", "closure_mm", "jump_mm", "border_spread_mm", "back_strain_difference", "repeat_wall_mm"]
    ),
    values=st.tuples(st.floats(0, 50), st.floats(0, 50)),
)
def test_worse_evidence_never_means_a_smaller_error(name: str, values: tuple[float, float]) -> None:
    model = load_calibration().circumferential
    low, high = (model.predict(replace(SOUND, **{name: value})) for value in sorted(values))
    assert 0 < low <= high


@given(visibility=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_tags_that_are_seen_better_never_mean_a_larger_error(visibility: tuple[float, float]) -> None:
    model = load_calibration().position
    errors = [model.predict(replace(SOUND, tag_visibility_mean=v, tag_visibility_lowest=v)) for v in sorted(visibility)]
    assert errors[0] >= errors[1]


def test_part_is_a_product_of_powers_above_the_floors() -> None:
    model = ErrorPart(2.0, {"sigma_mm": 0.5, "closure_mm": 2.0})
    assert model.predict(replace(SOUND, sigma_mm=0.25, closure_mm=3.0)) == pytest.approx(2 * 0.5 * 9)
    floor = evidence(SOUND)["sigma_mm"].floor
    assert model.predict(replace(SOUND, sigma_mm=0.0, closure_mm=1.0)) == pytest.approx(2 * floor**0.5)
    assert np.isnan(model.predict(replace(SOUND, sigma_mm=np.nan)))
    with pytest.raises(ValueError, match="no negative power"):
        ErrorPart(1.0, {"sigma_mm": -0.1})


def test_parts_of_an_error_add_up_as_squares() -> None:
    parts = {"tracking": ErrorPart(3.0, {"sigma_mm": 1.0}), "placing": ErrorPart(4.0, {"repeat_wall_mm": 1.0})}
    model = ErrorModel(parts)
    assert model.predict(replace(SOUND, sigma_mm=2.0, repeat_wall_mm=2.0)) == pytest.approx(10)
    assert np.isnan(model.predict(replace(SOUND, sigma_mm=2.0, repeat_wall_mm=np.nan)))


def test_shipped_calibration_is_for_the_default_tracker_and_survives_json() -> None:
    shipped = load_calibration()
    assert shipped.tracker == DEFAULT_TRACKER
    assert Calibration.from_json(shipped.to_json()) == shipped
    assert shipped.good_below < shipped.usable_below
    for grade in (Grade.GOOD, Grade.USABLE):
        ranges = [each for each in shipped.interval_ranges if each.grade is grade]
        limits = [each.below for each in ranges]
        assert limits
        assert limits == sorted(limits)
        for each in ranges:
            (low, high), (lowest, highest) = each.factors["80"], each.factors["95"]
            assert lowest <= low
            assert low < high
            assert high <= highest
    models = (shipped.position, shipped.circumferential, shipped.regional_circumferential)
    named = {name for model in models for part in model.parts.values() for name in part.powers}
    assert named <= set(evidence(SOUND))


def test_shipped_calibration_is_for_the_shipped_weights() -> None:
    shipped = load_models(device="cpu").provenance.weights
    assert load_calibration().why_not(DEFAULT_TRACKER, shipped) == ""
    assert set(load_calibration().weights) == {"localizer", "tracker", "placer"}


def test_wall_shape_of_an_ellipse() -> None:
    angle = 2 * np.pi * np.arange(24) / 24
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    ring = np.stack([20 * circle, 26 * circle, 32 * circle], axis=1)
    shape = wall_shape(ring + np.array([5, 9]))
    assert shape == pytest.approx((20, 12, 1, 1))
    assert wall_shape(ring * [1.3, 1]).axis_ratio == pytest.approx(1.3)


@pytest.mark.parametrize("stray", [1.8, 1 / 1.8])
def test_a_stray_point_of_a_contour_is_a_step_of_thickness(stray: float) -> None:
    """A wall four times as thick on one side as on the other has none."""
    angle = 2 * np.pi * np.arange(24) / 24
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    thickness = 10 * 2 ** np.cos(angle)
    sound = circle[:, None] * np.stack([np.full(24, 20.0), 20 + thickness], axis=1)[..., None]
    assert wall_shape(sound).thickness_step < 1.2
    thickness[5:7] *= stray
    outlying = circle[:, None] * np.stack([np.full(24, 20.0), 20 + thickness], axis=1)[..., None]
    outlying[20] = np.nan
    assert wall_shape(outlying).thickness_step == pytest.approx(1.8, rel=0.15)


def test_border_distance_is_to_the_edge_of_the_outermost_pixels() -> None:
    result = beating_slice()
    below_mm = (88 - 0.5 - CENTER_PX[1]) * 1.5  # nearest of the four sides
    assert border_distance_mm(result.cine, result.landmarks) == pytest.approx(below_mm - 28)


def test_signals_are_plain_numbers_with_units_in_their_names() -> None:
    assert all(isinstance(getattr(SOUND, name), int | float) for name in Signals.__dataclass_fields__)


def test_contraction_is_the_motion_of_the_tracker() -> None:
    """The fakes agree: the tracker finds the landmarks that the slice has."""
    result = beating_slice()
    tracks = ScalingTracker().track(result.cine, result.landmarks.to_points().points_px[0])
    again = LandmarkTracks.from_points(tracks)
    np.testing.assert_allclose(again.points_px, result.landmarks.points_px)
    assert len(contraction()) == result.cine.n_frames
