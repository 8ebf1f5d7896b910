"""The clinic benchmark: its hearts, its AUC and its tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from benchmarks.clinic.hearts import Scar, draw_heart
from benchmarks.clinic.measures import (
    auc,
    bootstrap_interval,
    dysfunctional_segments,
    heart_function,
    judge_heart,
    relative_bias,
    remote_segments,
)
from benchmarks.clinic.table import measure_global, measure_regional, report
from benchmarks.clinic.tracking import TRUTH, follow_heart, load_motions
from tagstrain.mechanics.study_mechanics import study_mechanics
from tagstrain.simulation import dataset

SCARRED = 1
"""Index of a heart with a scar."""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A heart with its truth, laid out as coarsely as its pixels, followed by one tracker."""
    folder = tmp_path_factory.mktemp("clinic")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dataset, "OVERSAMPLING", 1)
        follow_heart(SCARRED, [TRUTH, "flow"], folder)
    return folder


def test_the_truth_is_judged_without_error(work: Path) -> None:
    heart = judge_heart(SCARRED, load_motions(TRUTH, SCARRED, work), work)
    assert heart is not None
    assert 7 < heart.true.peak_twist_deg < 25
    assert np.all(heart.true.circumferential.end_systolic < 0)
    assert measure_regional([heart]).circumferential_error == 0
    assert measure_global([heart]).peak_twist_error_deg == 0


def test_a_tracker_comes_near_the_truth_and_a_heart_given_up_is_counted(work: Path) -> None:
    heart = judge_heart(SCARRED, load_motions("flow", SCARRED, work), work)
    table = report({"flow": [heart, judge_heart(0, None, work)], "harp": [None]}, {"tracker": "test"}, "test")
    assert "| flow | 2 | 1 | " in table
    assert "- gave up all hearts: harp, 1" in table
    assert table.count(": holds") == 3
    assert heart is not None
    assert 0 < measure_regional([heart]).circumferential_error < 0.02


def test_a_scar_halves_the_strain_of_its_segment_alone(work: Path) -> None:
    scar = draw_heart(SCARRED).scar
    assert draw_heart(0).scar is None
    assert scar is not None
    motions = load_motions(TRUTH, SCARRED, work)
    assert motions is not None
    truth = study_mechanics(motions)
    is_remote = remote_segments(truth, scar)
    is_dysfunctional = dysfunctional_segments(heart_function(truth).circumferential.end_systolic, is_remote)
    assert is_dysfunctional.any()
    assert not (is_dysfunctional & is_remote).any()
    assert remote_segments(truth, Scar(scar.angle_rad, ())).all()


def test_hearts_do_not_depend_on_those_drawn_before() -> None:
    first, again = (draw_heart(3).scenes[2].to_record() for _ in range(2))
    assert first == again
    assert first != draw_heart(5).scenes[2].to_record()


def test_auc_is_that_of_the_rank_test() -> None:
    rng = np.random.default_rng(5)
    scores = rng.integers(0, 8, 60).astype(float)  # with ties
    is_positive = rng.random(60) < 0.3
    expected = mannwhitneyu(scores[is_positive], scores[~is_positive]).statistic / (
        is_positive.sum() * (~is_positive).sum()
    )
    assert auc(scores, is_positive) == pytest.approx(expected)
    assert np.isnan(auc(scores, np.zeros(60, np.bool_)))


def test_the_interval_holds_the_auc_and_narrows_with_more_hearts() -> None:
    rng = np.random.default_rng(6)
    labels = rng.random((160, 16)) < 0.1
    scores = rng.normal(size=labels.shape) + labels
    intervals = [bootstrap_interval(list(scores[:n]), list(labels[:n]), rng, 200) for n in (20, 160)]
    for (low, high), n in zip(intervals, (20, 160), strict=True):
        assert low < auc(scores[:n].ravel(), labels[:n].ravel()) < high
    assert np.diff(intervals[1]) < np.diff(intervals[0])


def test_bias_leaves_out_rates_that_were_not_seen() -> None:
    assert relative_bias(np.array([1.1, np.nan, 2.2]), np.array([1.0, 5.0, 2.0])) == pytest.approx(0.1)
