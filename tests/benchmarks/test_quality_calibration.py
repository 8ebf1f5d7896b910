"""Calibration of quality: corruptions keep the truth with what they leave, and the fit finds what made the errors."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from benchmarks.quality.corruption import CORRUPTIONS, SEVERITIES, Corruption, spoiled_case
from benchmarks.quality.fit import (
    PRECISION,
    fit_error_model,
    fit_error_part,
    has_all_evidence,
    highest_threshold,
    interval_ranges,
)
from benchmarks.quality.shown_cine import ShownCine, tissue_tracks_px
from tagstrain.io.contours import ANY_SLICE
from tagstrain.quality.error_model import evidence
from tagstrain.quality.flaws import Grade
from tagstrain.quality.signals import Signals
from tagstrain.simulation.config import PRESETS
from tagstrain.simulation.motion import HeartMotion
from tagstrain.simulation.render import ed_landmarks_mm, full_view, motion_times_ms
from tagstrain.simulation.scene import sample_scenes, stack_scenes

N_FRAMES, SIZE = 20, 96
BY_NAME = {corruption.name: corruption for corruption in CORRUPTIONS}
RNGS = [np.random.default_rng(seed) for seed in range(6)]
SEVERITY_STEPS = np.linspace(0.1, 1.0, 4)


def follow(points_px: np.ndarray) -> np.ndarray:
    """Everything moves by one pixel a frame along x."""
    shift = np.zeros((N_FRAMES, 1, 2))
    shift[:, 0, 0] = np.arange(N_FRAMES)
    return np.asarray(points_px) + shift


def test_beside_the_heart_it_is_the_chest_that_is_followed() -> None:
    batch = stack_scenes(sample_scenes(PRESETS["ukb"], 1, 3))
    view = full_view(batch)
    motion, times_ms = HeartMotion(batch), motion_times_ms(batch)
    wall_mm = ed_landmarks_mm(batch).flatten(1, 2)
    far_mm = 60.0 * torch.tensor([[[1.0, 0.0], [0.0, 1.0], [-0.7, -0.7]]])
    tracks_px = tissue_tracks_px(batch, view, view.to_px(torch.cat([wall_mm, far_mm], dim=1))[0].numpy())
    tracks_mm = view.to_mm(torch.tensor(tracks_px, dtype=torch.float32)[None])
    torch.testing.assert_close(tracks_mm[:, 0], torch.cat([wall_mm, far_mm], dim=1), atol=1e-3, rtol=0)
    torch.testing.assert_close(tracks_mm[:, :, :-3], motion.forward(wall_mm, times_ms), atol=1e-3, rtol=0)
    for frame in (4, 9):
        there, time = tracks_mm[:, frame, -3:], times_ms[:, frame : frame + 1]
        came_from = motion.background_backward(there, time, motion.backward(there, time))
        torch.testing.assert_close(came_from, far_mm, atol=1e-3, rtol=0)
    assert float((tracks_mm[:, :, -3:] - motion.forward(far_mm, times_ms)).abs().max()) > 0.1


@pytest.fixture
def shown() -> ShownCine:
    """Frame t is t everywhere but for one bright pixel, which moves with the tissue."""
    frames = np.repeat(np.arange(N_FRAMES, dtype=np.float32)[:, None, None], SIZE, axis=1).repeat(SIZE, axis=2)
    for t in range(N_FRAMES):
        frames[t, 40, 40 + t] = 500
    angle = 2 * np.pi * np.arange(24) / 24
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    wall = 40 + np.linspace(8, 16, 7)[None, :, None] * ring[:, None]
    landmarks = follow(wall.reshape(-1, 2)).reshape(N_FRAMES, 24, 7, 2)
    return ShownCine(frames, 40.0 * np.arange(N_FRAMES), 1.4, landmarks, follow, np.arange(N_FRAMES), np.zeros(2, int))


def bright_pixel(shown: ShownCine, frame: int) -> np.ndarray:
    """Where the bright pixel is, ``(x, y)``."""
    return np.array(np.unravel_index(shown.frames[frame].argmax(), shown.frames[frame].shape))[::-1]


@pytest.mark.parametrize("rng", RNGS)
@pytest.mark.parametrize("severity", SEVERITY_STEPS)
@pytest.mark.parametrize("name", ["missing frames", "cut by the image border"])
def test_truth_stays_with_what_is_left(shown: ShownCine, name: str, severity: float, rng: np.random.Generator) -> None:
    spoiled = BY_NAME[name].spoil(shown, severity, rng)
    start = bright_pixel(shown, 0) - spoiled.offset_xy_px
    track = spoiled.true_tracks_px(start[None].astype(float))[:, 0]
    for frame in range(len(spoiled.frames)):
        if spoiled.frames[frame].max() == 500:  # it may move out of what is left
            np.testing.assert_allclose(track[frame], bright_pixel(spoiled, frame))
    np.testing.assert_allclose(spoiled.true_landmarks_px()[0], spoiled.ed_wall_px)
    assert len(spoiled.cine.frame_times_ms) == len(spoiled.frames)


@pytest.mark.parametrize("rng", RNGS)
def test_missing_frames_leave_one_gap_that_grows_with_severity(shown: ShownCine, rng: np.random.Generator) -> None:
    gaps = []
    for severity in SEVERITY_STEPS:
        intervals = np.diff(BY_NAME["missing frames"].spoil(shown, severity, rng).cine.frame_times_ms)
        assert (intervals == 40).sum() == len(intervals) - 1
        gaps.append(intervals.max())
    assert gaps[0] >= 2 * 40
    assert np.all(np.diff(gaps) > 0)


@pytest.mark.parametrize("rng", RNGS)
def test_a_border_cuts_more_of_the_wall_the_severer_it_is(shown: ShownCine, rng: np.random.Generator) -> None:
    outside = []
    for severity in SEVERITY_STEPS:
        spoiled = BY_NAME["cut by the image border"].spoil(shown, severity, rng)
        rows, columns = spoiled.frames.shape[1:]
        wall = spoiled.ed_wall_px
        outside.append(np.mean((wall < -0.5).any(axis=-1) | (wall > np.array([columns, rows]) - 0.5).any(axis=-1)))
    assert outside[0] > 0
    assert outside[-1] > 2 * outside[0]


@pytest.mark.parametrize("rng", RNGS)
def test_mistriggered_frames_show_another_moment_and_the_truth_does_not(
    shown: ShownCine, rng: np.random.Generator
) -> None:
    for severity, most in ((0.1, 2), (1.0, 10)):
        spoiled = BY_NAME["mistriggered frames"].spoil(shown, severity, rng)
        wrong = [t for t in range(N_FRAMES) if spoiled.frames[t, 0, 0] != t]
        assert 1 <= len(wrong) <= most
        assert wrong[0] >= 2
        np.testing.assert_array_equal(spoiled.true_landmarks_px(), shown.true_landmarks_px())


def test_wrong_box_and_wrong_wall_go_to_the_pipeline_as_the_users(shown: ShownCine) -> None:
    boxes = [BY_NAME["wrong box"].spoil(shown, severity, RNGS[0]).config.box for severity in (0.2, 0.9)]
    assert boxes[0] is not None
    assert boxes[1] is not None
    off_px = [np.hypot(*np.subtract(box.center_xy, shown.ed_wall_px.mean(axis=(0, 1)))) for box in boxes]
    assert 2 < off_px[0] < 0.5 * off_px[1]
    walls = BY_NAME["wrong wall"].spoil(shown, 0.5, RNGS[0]).config.walls
    assert walls is not None
    off_mm = 1.4 * np.linalg.norm((walls[ANY_SLICE] - shown.ed_wall_px).mean(axis=(0, 1)))
    assert off_mm == pytest.approx(6)
    assert Corruption("none").spoil(shown, 0.0, RNGS[0]).config.walls is None


def test_sound_slices_and_every_kind_at_every_severity_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.quality.corruption.show", lambda scene: scene)
    still = [replace(each, spoil=lambda shown, severity, rng: shown) for each in CORRUPTIONS]
    monkeypatch.setattr("benchmarks.quality.corruption.CORRUPTIONS", tuple(still))
    drawn = Counter(spoiled_case(1, index)[:2] for index in range(36))
    assert drawn.pop(("none", "")) == 9
    assert drawn == {(kind.name, severity): 1 for kind in CORRUPTIONS for severity in SEVERITIES}


def drawn_signals(n: int, rng: np.random.Generator) -> list[Signals]:
    """Signals that vary independently."""
    values = {field.name: np.exp(rng.normal(0, 0.7, n)) for field in fields(Signals)}
    signals = [Signals(**{name: float(each[k]) for name, each in values.items()}) for k in range(n)]  # type: ignore[arg-type]
    return [replace(each, n_tag_directions=2) for each in signals]


def test_the_fit_finds_the_powers_that_made_the_errors() -> None:
    rng = np.random.default_rng(2)
    signals = drawn_signals(400, rng)
    known = [evidence(each) for each in signals]
    errors = np.array(
        [
            0.3
            * max(each["sigma_mm"].value, each["sigma_mm"].floor) ** 0.7
            * max(each["jump_mm"].value, each["jump_mm"].floor) ** 0.4
            for each in known
        ]
    ) * np.exp(rng.normal(0, 0.1, 400))
    model = fit_error_part(signals, errors)
    assert model.powers["sigma_mm"] == pytest.approx(0.7, abs=0.03)
    assert model.powers["jump_mm"] == pytest.approx(0.4, abs=0.03)
    assert sum(model.powers.values()) == pytest.approx(1.1, abs=0.1)
    off = np.log([model.predict(each) for each in signals]) - np.log(errors)
    assert np.std(off) < 0.2


def test_parts_are_fitted_each_to_its_cause_and_expect_the_error_together() -> None:
    rng = np.random.default_rng(8)
    signals = drawn_signals(400, rng)
    noise = np.exp(rng.normal(0, 0.1, (2, 400)))
    causes = {"tracking": [each.sigma_mm for each in signals], "placing": [each.repeat_wall_mm for each in signals]}
    by_cause = {cause: np.array(sizes) * noise[k] for k, (cause, sizes) in enumerate(causes.items())}
    errors = 1.4 * np.hypot(*by_cause.values())
    model = fit_error_model(signals, errors, by_cause)
    assert model.parts["tracking"].powers["sigma_mm"] > 0.9
    assert model.parts["placing"].powers["repeat_wall_mm"] > 0.9
    off = np.log([model.predict(each) for each in signals]) - np.log(errors)
    assert np.mean(off) == pytest.approx(0, abs=1e-6)
    assert np.std(off) < 0.2


def test_frames_of_another_moment_are_told_from_what_was_followed_wrongly() -> None:
    rng = np.random.default_rng(9)
    signals = drawn_signals(400, rng)
    wrong, elsewhere = (np.array([getattr(each, name) for each in signals]) for name in ("sigma_mm", "jump_mm"))
    errors = np.hypot(wrong, 0.5 * elsewhere**1.5) * np.exp(rng.normal(0, 0.05, 400))
    model = fit_error_model(signals, errors, {"tracking": errors})
    assert model.parts["timing"].powers["jump_mm"] == pytest.approx(1.5, abs=0.25)
    assert model.parts["tracking"].powers["sigma_mm"] == pytest.approx(1.0, abs=0.15)
    assert "jump_mm" not in model.parts["tracking"].powers or model.parts["tracking"].powers["jump_mm"] < 0.1


def test_a_signal_that_falls_with_the_error_gets_no_power() -> None:
    signals = drawn_signals(100, np.random.default_rng(5))
    errors = np.array([1 / each.closure_mm for each in signals])
    assert fit_error_part(signals, errors).powers.get("closure_mm", 0) == 0


def test_threshold_keeps_its_precision_on_others_and_stays_below_what_is_allowed() -> None:
    rng = np.random.default_rng(7)

    def draw(n: int) -> tuple[np.ndarray, np.ndarray]:
        expected = rng.uniform(0.001, 0.06, n)
        return expected, expected * np.exp(rng.normal(0, 0.5, n))

    threshold = highest_threshold(*draw(400), allowed=0.02)
    expected, true = draw(20_000)
    assert np.mean(true[expected <= threshold] < 0.02) == pytest.approx(PRECISION, abs=0.015)
    exact = np.linspace(0.001, 0.03, 100)
    assert highest_threshold(exact, exact, 0.02) == pytest.approx(exact[exact < 0.02].max())
    assert highest_threshold(exact, 100 * exact, 0.02) == 0


def test_intervals_hold_what_they_promise_for_every_grade_and_small_and_large_expected_errors() -> None:
    # A part of every error that no evidence tells of, and errors of one sign: where little is expected, they are most.
    rng = np.random.default_rng(11)

    def draw(n: int) -> tuple[np.ndarray, np.ndarray, list[Grade]]:
        expected = np.exp(rng.uniform(np.log(0.002), np.log(0.05), n))
        grades = rng.choice([Grade.GOOD, Grade.USABLE, Grade.REJECT], n, p=[0.5, 0.4, 0.1])
        spread = np.where(grades == Grade.GOOD, 1.0, 2.0) * np.hypot(expected, 0.005)
        return expected, rng.normal(-0.006, spread), [Grade(grade) for grade in grades]

    ranges = interval_ranges(*draw(30_000))
    expected, errors, grades = draw(30_000)
    for grade in (Grade.GOOD, Grade.USABLE):
        of_grade = [each for each in ranges if each.grade is grade]
        members = np.flatnonzero([each is grade for each in grades])
        for share in np.array_split(members[np.argsort(expected[members])], 2):
            index = np.searchsorted([each.below for each in of_grade[:-1]], expected[share])
            for percent in (80, 95):
                low, high = np.array([each.factors[str(percent)] for each in of_grade])[index].T
                ratios = errors[share] / expected[share]
                beyond = (1 - percent / 100) / 2
                assert np.mean(ratios < low) == pytest.approx(beyond, abs=0.015)
                assert np.mean(ratios > high) == pytest.approx(beyond, abs=0.015)
    low, high = ranges[0].factors["80"]
    assert -low > 1.3 * high


def test_a_slice_that_could_not_be_measured_again_teaches_nothing() -> None:
    signals = drawn_signals(1, np.random.default_rng(3))[0]
    assert has_all_evidence(signals)
    assert not has_all_evidence(replace(signals, repeat_wall_mm=float("nan")))
