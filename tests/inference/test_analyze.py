"""The pipeline loop, with parts whose answers are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline_fakes import FakeLocalizer, FakeTracker, make_cine, scale_at
from tagstrain.data import (
    Box,
    LandmarkTracks,
    LoadedSlice,
    Localization,
    PointTracks,
    SliceFailure,
    SliceResult,
    Study,
    TaggedCine,
)
from tagstrain.errors import InputError, LocalizationError, TagstrainError, TrackingError
from tagstrain.inference import analyze as pipeline
from tagstrain.inference.analyze import AnalysisConfig, analyze, analyze_slice, analyze_slices
from tagstrain.inference.models import Models, load_models, load_tracker, pick_device
from tagstrain.io.contours import ANY_SLICE


class BrokenSlice:
    """A slice whose reader raises."""

    def __init__(self, name: str, error: Exception) -> None:
        self.name = name
        self._error = error

    def load(self) -> TaggedCine:
        raise self._error


def study_of(*slices: TaggedCine | BrokenSlice) -> Study:
    sources = tuple(LoadedSlice(s) if isinstance(s, TaggedCine) else s for s in slices)
    return Study("key", Path("study.zip"), sources, "dicom")


def test_a_heart_that_shrinks_evenly_has_the_strain_of_its_scale(fake_models: Models) -> None:
    result = analyze_slice(make_cine(n_frames=6), fake_models)
    scale = np.array([scale_at(t / 6) for t in range(6)])
    expected = (scale**2 - 1) / 2
    np.testing.assert_allclose(result.strain.circumferential, np.tile(expected[:, None], (1, 7)), atol=1e-12)
    np.testing.assert_allclose(result.strain.radial, expected, atol=1e-12)
    np.testing.assert_allclose(result.strain.radial_linear, scale - 1, atol=1e-12)
    assert result.strain.es_frame == 3
    assert result.landmarks.points_px.shape == (6, 24, 7, 2)


@pytest.mark.parametrize("ed_frame", [0, 2, 5])
def test_strain_is_zero_at_ed_wherever_it_lies(fake_models: Models, ed_frame: int) -> None:
    result = analyze_slice(replace(make_cine(), ed_frame=ed_frame), fake_models)
    assert result.strain.ed_frame == ed_frame
    assert result.strain.radial[ed_frame] == 0
    assert not result.strain.circumferential[ed_frame].any()


def test_where_the_localizer_saw_the_heart_is_kept_unless_the_user_said(fake_models: Models) -> None:
    cine = make_cine()
    seen = fake_models.localizer.localize(cine).box
    result = analyze_slice(cine, fake_models)
    assert result.seen_box == seen
    assert result.localization.box != seen  # that of the placed wall
    assert analyze_slice(cine, fake_models, AnalysisConfig(box=Box(10, 6, 46, 42))).seen_box is None
    walls = {ANY_SLICE: result.landmarks.points_px[0]}
    assert analyze_slice(cine, fake_models, AnalysisConfig(walls=walls)).seen_box is None


def ring_wall(center_px: np.ndarray) -> np.ndarray:
    """Landmarks of a round wall."""
    angle = 2 * np.pi * np.arange(24) / 24
    return center_px + np.linspace(6, 12, 7)[:, None] * np.stack([np.cos(angle), np.sin(angle)], -1)[:, None]


@pytest.mark.parametrize("named", ["a", ANY_SLICE])
def test_a_wall_given_by_the_user_is_tracked_as_it_is(fake_models: Models, named: str) -> None:
    wall_px = ring_wall(np.array([30.0, 33.0]))
    config = AnalysisConfig(walls={named: wall_px})
    # The localizer trusts no empty slice, but it is not asked for a box.
    result = analyze_slice(make_cine("a", empty=True), fake_models, config)
    np.testing.assert_array_equal(result.landmarks.points_px[0], wall_px)
    np.testing.assert_allclose(result.localization.box, Box.around(wall_px.reshape(-1, 2)).within(48, 64))
    assert "The wall at ED was given by the user" in result.warnings
    assert "place" not in result.timings_s
    if named == "a":
        other = analyze_slice(make_cine("b"), fake_models, config)
        assert "place" in other.timings_s


def test_walls_of_slices_that_are_not_there_are_refused(fake_models: Models) -> None:
    wall_px = analyze_slice(make_cine("mid"), fake_models).landmarks.points_px[0]
    with pytest.raises(TagstrainError, match=r"names midd, which key does not have\. Its slices are mid"):
        list(analyze_slices(study_of(make_cine("mid")), fake_models, AnalysisConfig(walls={"midd": wall_px})))


@pytest.mark.parametrize("wall_px", [np.full((24, 7, 2), np.nan), np.ones((24, 3, 2)), np.ones((24, 7))])
def test_walls_that_are_no_full_grid_are_refused(wall_px: np.ndarray) -> None:
    with pytest.raises(ValueError, match="24 x 7 finite landmarks"):
        AnalysisConfig(walls={ANY_SLICE: wall_px})


def test_walls_in_another_order_are_refused() -> None:
    wall_px = ring_wall(np.array([30.0, 33.0]))
    AnalysisConfig(walls={ANY_SLICE: wall_px})
    turned = wall_px.copy()
    turned[:, 6] = np.roll(wall_px[:, 6], 3, axis=0)
    shuffled = np.random.default_rng(0).permutation(wall_px)
    for other_px, why in ((wall_px[:, ::-1], "ring 0 must enclose less"), (shuffled, "order"), (turned, "order")):
        with pytest.raises(ValueError, match=why):
            AnalysisConfig(walls={ANY_SLICE: other_px})


@pytest.mark.parametrize("ed_frame", [0, 3])
def test_a_blank_ed_frame_is_no_reference(fake_models: Models, ed_frame: int) -> None:
    cine = replace(make_cine(), ed_frame=ed_frame)
    cine.frames[ed_frame] = 7
    time_ms = cine.frame_times_ms[ed_frame]
    for config in (AnalysisConfig(), AnalysisConfig(walls={ANY_SLICE: ring_wall(np.array([30.0, 33.0]))})):
        with pytest.raises(TrackingError, match=rf"blank around the wall at ED \({time_ms:.0f} ms\)"):
            analyze_slice(cine, fake_models, config)


def test_a_wall_mostly_outside_the_image_is_refused(fake_models: Models) -> None:
    config = AnalysisConfig(walls={ANY_SLICE: ring_wall(np.array([30.0, 50.0]))})
    with pytest.raises(LocalizationError, match=r"5\d % of the wall .* of 56 x 48 pixels"):
        analyze_slice(make_cine(), fake_models, config)
    analyze_slice(make_cine(), fake_models, AnalysisConfig(walls={ANY_SLICE: ring_wall(np.array([30.0, 42.0]))}))


def test_a_beat_before_ed_that_does_not_count_is_told(fake_models: Models) -> None:
    cine = replace(make_cine(n_frames=12), ed_frame=6, rr_interval_ms=400.0)
    result = analyze_slice(cine, fake_models)
    assert result.strain.beat == slice(6, None)
    assert any("those of the frames from ED at 250 ms on" in warning for warning in result.warnings)
    alone = analyze_slice(replace(cine, rr_interval_ms=None), fake_models)
    assert not any("another beat" in warning for warning in alone.warnings)


class TwoBeats(FakeTracker):
    """Follows a heart that begins anew after 15 frames."""

    def track(self, cine: TaggedCine, ed_points_px: NDArray[np.floating]) -> PointTracks:
        center = np.nanmean(ed_points_px, axis=0)
        scales = np.array([scale_at(frame % 15 / 15) for frame in range(cine.n_frames)])
        scales[-1] -= 0.01  # the second beat is a little stronger
        points = center + scales[:, None, None] * (ed_points_px - center)
        return PointTracks(points, np.full(points.shape[:2], 0.5), cine.ed_frame)


def test_a_second_beat_of_an_unknown_rr_interval_is_told_from_the_first(fake_models: Models) -> None:
    cine = make_cine(n_frames=24)
    result = analyze_slice(cine, replace(fake_models, tracker=TwoBeats()))
    assert result.cine.rr_interval_ms == pytest.approx(15 * 40.0, abs=40)
    assert result.strain.es_frame in (7, 8)
    assert any("begins to shorten once more" in warning for warning in result.warnings)
    assert any("goes on into the next beat" in warning for warning in result.warnings)
    assert analyze_slice(cine, fake_models).cine.rr_interval_ms is None
    known = replace(cine, rr_interval_ms=610.0)
    assert analyze_slice(known, replace(fake_models, tracker=TwoBeats())).cine.rr_interval_ms == 610.0


class BothAtOnce:
    """Landmarks that run from the outside in, as a network may give where it sees no heart, or from the inside."""

    def __init__(self, step: int) -> None:
        self._step = step

    def place_and_track(self, cine: TaggedCine, localization: Localization) -> LandmarkTracks:
        wall_px = ring_wall(np.array([30.0, 33.0]))[:, :: self._step]
        return LandmarkTracks(np.repeat(wall_px[None], cine.n_frames, axis=0), np.zeros((cine.n_frames, 24, 7)))


def test_landmarks_given_at_once_are_looked_at_too(fake_models: Models) -> None:
    analyze_slice(make_cine(), replace(fake_models, at_once=BothAtOnce(1)))
    with pytest.raises(TrackingError, match="these are no wall's"):
        analyze_slice(make_cine(), replace(fake_models, at_once=BothAtOnce(-1)))
    cine = make_cine()
    cine.frames[0] = 7
    with pytest.raises(TrackingError, match="blank around the wall at ED"):
        analyze_slice(cine, replace(fake_models, at_once=BothAtOnce(1)))


def test_a_box_or_wall_beyond_the_image_is_refused(fake_models: Models) -> None:
    wall_px = ring_wall(np.array([550.0, 550.0]))
    for config in (AnalysisConfig(box=Box(500, 500, 600, 600)), AnalysisConfig(walls={ANY_SLICE: wall_px})):
        with pytest.raises(LocalizationError, match="given by the user"):
            analyze_slice(make_cine(), fake_models, config)


def test_every_stage_is_timed_and_warnings_of_the_reader_are_kept(fake_models: Models) -> None:
    (result,) = analyze_slices(study_of(make_cine()), fake_models)
    assert isinstance(result, SliceResult)
    assert list(result.timings_s) == ["read", "localize", "place", "track", "strain", "insertion"]
    assert all(seconds >= 0 for seconds in result.timings_s.values())
    assert "assumed" in result.warnings


@pytest.mark.parametrize("min_confidence", [0.0, 0.5])
def test_where_nothing_looks_like_a_ventricle_the_remedy_is_a_box(fake_models: Models, min_confidence: float) -> None:
    class SeesNothing:
        preprocessing = "tagstrain"

        def localize(self, cine: TaggedCine) -> Localization:
            return Localization(Box(*4 * [np.nan]), 0.0)

    config = AnalysisConfig(min_confidence=min_confidence)
    with pytest.raises(LocalizationError, match=r"nothing in the image looks like one.* --box") as error:
        analyze_slice(make_cine("a"), replace(fake_models, localizer=SeesNothing()), config)
    assert "min-confidence" not in str(error.value)


def test_a_bad_slice_does_not_stop_the_others(fake_models: Models) -> None:
    study = study_of(
        make_cine("a"),
        BrokenSlice("b", InputError("IM_3", "is torn", "Copy it again")),
        make_cine("c", empty=True),
        BrokenSlice("d", ValueError("frames: 3 pixels are NaN or infinite")),
        make_cine("e"),
    )
    outcomes = list(analyze_slices(study, fake_models))
    assert [outcome.name for outcome in outcomes] == ["a", "b", "c", "d", "e"]
    failures = {outcome.name: outcome.reason for outcome in outcomes if isinstance(outcome, SliceFailure)}
    assert set(failures) == {"b", "c", "d"}
    assert failures["b"] == "IM_3: is torn. Copy it again."
    assert "No left ventricle found" in failures["c"]
    assert "0.10" in failures["c"]
    assert "3 pixels are NaN" in failures["d"]


def test_a_mistake_in_the_program_is_not_hidden_as_a_failed_slice(fake_models: Models) -> None:
    with pytest.raises(RuntimeError, match="mistake"):
        list(analyze_slices(study_of(BrokenSlice("a", RuntimeError("mistake"))), fake_models))


@pytest.mark.parametrize(("confidence", "passes"), [(0.49, False), (0.5, True), (float("nan"), False)])
def test_confidence_at_the_threshold_passes_and_nan_does_not(
    fake_models: Models, monkeypatch: pytest.MonkeyPatch, confidence: float, passes: bool
) -> None:
    box = Box(10, 10, 40, 40)
    monkeypatch.setattr(FakeLocalizer, "localize", lambda self, cine: Localization(box, confidence))
    if passes:
        assert analyze_slice(make_cine(), fake_models).localization.confidence == confidence
    else:
        with pytest.raises(LocalizationError, match=r"below 0\.50"):
            analyze_slice(make_cine(), fake_models)


@pytest.mark.parametrize("box", [Box(200, 200, 240, 240), Box(30, 10, 30, 40), Box(40, 10, 20, 30)])
def test_a_box_outside_the_image_or_without_area_is_no_localization(
    fake_models: Models, monkeypatch: pytest.MonkeyPatch, box: Box
) -> None:
    monkeypatch.setattr(FakeLocalizer, "localize", lambda self, cine: Localization(box, 0.99))
    with pytest.raises(LocalizationError, match="not in the image"):
        analyze_slice(make_cine(), fake_models)


def test_reported_box_is_drawn_around_the_placed_landmarks(fake_models: Models) -> None:
    """Circles of 16 px: their extent of 32 px, 30 % of it more on every side, cut at the image's border."""
    box = analyze_slice(make_cine(), fake_models).localization.box
    assert box == pytest.approx((28 - 25.6, 0, 28 + 25.6, 48))


def test_a_given_box_replaces_the_localizer_and_is_said(fake_models: Models) -> None:
    box = Box(5, 5, 35, 35)
    result = analyze_slice(make_cine(empty=True), fake_models, AnalysisConfig(box=box))
    assert result.localization == (box, 1.0)
    np.testing.assert_allclose(result.landmarks.points_px[0].mean(axis=(0, 1)), (20, 20), atol=1e-9)
    assert any("given by the user" in warning for warning in result.warnings)


@pytest.mark.parametrize(
    "settings",
    [
        {"min_confidence": 1.5},
        {"min_confidence": float("nan")},
        {"box": Box(9, 0, 3, 4)},
        {"box": Box(0, 0, np.inf, 4)},
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="expected"):
        AnalysisConfig(**settings)


@pytest.mark.parametrize("lost_from", [0, 4])
def test_lost_landmarks_fail_the_slice_with_a_reason(fake_models: Models, lost_from: int) -> None:
    models = replace(fake_models, tracker=FakeTracker(lost_from=lost_from))
    with pytest.raises(TrackingError, match=r"[Ss]train"):
        analyze_slice(make_cine(), models)


def test_a_wall_of_which_the_greater_part_is_not_known_fails_the_slice(fake_models: Models) -> None:
    class LosesSpokes(FakeTracker):
        n_lost = 0

        def track(self, cine: TaggedCine, ed_points_px: NDArray[np.floating]) -> PointTracks:
            tracks = super().track(cine, ed_points_px)
            tracks.points_px[:, : 7 * self.n_lost] = np.nan
            return tracks

    tracker = LosesSpokes()
    tracker.n_lost = 11
    warnings = analyze_slice(make_cine(), replace(fake_models, tracker=tracker)).warnings
    assert any("landmark positions are not known and left out of the means" in warning for warning in warnings)
    tracker.n_lost = 13
    with pytest.raises(TrackingError, match="lesser part of the wall"):
        analyze_slice(make_cine(), replace(fake_models, tracker=tracker))


def test_landmarks_outside_the_image_are_warned_of_and_half_of_them_fail_the_slice(fake_models: Models) -> None:
    result = analyze_slice(make_cine(), fake_models, AnalysisConfig(box=Box(-4, 10, 24, 38)))
    assert any("outside the image" in warning for warning in result.warnings)
    with pytest.raises(TrackingError, match="714 of 1008 landmark positions lie outside the image"):
        analyze_slice(make_cine(), fake_models, AnalysisConfig(box=Box(-10, -10, 10, 10)))


def test_a_study_result_keeps_slices_and_failures_apart(fake_models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    study = study_of(make_cine("a"), make_cine("b", empty=True))
    monkeypatch.setattr(pipeline, "read_study", lambda path, spacing: study)
    result = analyze("anything.zip", models=fake_models)
    assert [s.name for s in result.slices] == ["a"]
    assert [f.name for f in result.failures] == ["b"]
    assert (result.key, result.source) == ("key", "study.zip")


def test_unknown_trackers_and_devices_are_refused_by_name() -> None:
    with pytest.raises(TagstrainError, match="'optical' is not known"):
        load_tracker("optical")
    with pytest.raises(TagstrainError, match="'tpu' is not known"):
        pick_device("tpu")
    with pytest.raises(TagstrainError, match="'optical' is not known"):
        load_models("optical")
