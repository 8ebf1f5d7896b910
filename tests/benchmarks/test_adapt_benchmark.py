"""The table of the adaptation benchmark says what share of the gap was closed, and which scanner it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.adapt import SCANNERS, section
from tagstrain.simulation.scene import sample_scenes
from tagstrain.training.adaptation import Adaptation
from tagstrain.training.placer_adaptation import PlacerConsistency
from tagstrain.training.tracker_adaptation import TrackerConsistency

NOTHING = "nothing, for there is none"


@pytest.mark.parametrize(
    ("with_labels", "said"), [(1.0, "75%; in the median: 0%"), (2.1, f"{NOTHING}; in the median: {NOTHING}")]
)
def test_share_of_the_gap_is_that_of_the_errors(with_labels: float, said: str) -> None:
    names = ("as shipped", "the teacher: as shipped, eight views", "adapted without labels", "trained with labels")
    means = (2.0, 1.5, 1.25, with_labels)
    errors = {name: mean + np.array([-0.5, 0.0, 0.5]) for name, mean in zip(names, means, strict=True)}
    errors["as shipped"] = np.array([1.25, 1.25, 3.5])
    measured = TrackerConsistency(1.0, 1.0, 1.0, 0.5)
    outcome = Adaptation("tracker", Path("tracker.safetensors"), 20, 5, measured, measured, 0.6, 0.6)
    text = section(errors, outcome, (1.0, 1.0))
    assert f"in the mean of the cines: {said}. 20 cines" in text
    assert "| adapted without labels | 1.250 | 1.250 | 1.650 | 0.750 +- 0.520 |" in text


def test_the_table_says_what_the_teacher_was_not_shown() -> None:
    names = ("as shipped", "adapted without labels", "trained with labels")
    errors = {name: np.array([3.0, 2.0]) - k for k, name in enumerate(names)}
    measured = PlacerConsistency(1.0, 1.0)
    outcome = Adaptation("placer", None, 20, 5, measured, measured, 0.6, 0.6, teacher_left_out=("grey levels",))
    assert "Its teacher was not shown grey levels" in section(errors, outcome, (1.0, 1.0))
    assert "not shown" not in section(errors, replace(outcome, teacher_left_out=()), (1.0, 1.0))


@pytest.mark.parametrize("name", SCANNERS)
def test_scanner_changes_nothing_but_its_shading(name: str) -> None:
    scanner = SCANNERS[name]
    (scene,) = sample_scenes(scanner.config, 1, 5)
    before, after = scene.to_record(), scanner.scene(scene).to_record()
    is_shaded = after["acquisition"].pop("shading") != before["acquisition"].pop("shading")
    assert is_shaded == (scanner.shading is not None)
    assert after == before
