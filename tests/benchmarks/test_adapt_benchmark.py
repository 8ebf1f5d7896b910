"""The table of the adaptation benchmark says what share of the gap was closed, and which scanner it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.adapt import SCANNERS, section
from tagstrain.simulation.scene import sample_scenes
from tagstrain.training.adaptation import Adaptation
from tagstrain.training.tracker_adaptation import TrackerConsistency


@pytest.mark.parametrize(("with_labels", "said"), [(1.0, "closes 75%"), (2.1, "has nothing to close")])
def test_share_of_the_gap_is_that_of_the_means(with_labels: float, said: str) -> None:
    names = ("as shipped", "the teacher: as shipped, eight views", "adapted without labels", "trained with labels")
    means = (2.0, 1.5, 1.25, with_labels)
    errors = {name: mean + np.array([-0.5, 0.0, 0.5]) for name, mean in zip(names, means, strict=True)}
    measured = TrackerConsistency(1.0, 1.0, 1.0, 0.5)
    outcome = Adaptation("tracker", Path("tracker.safetensors"), 20, 5, measured, measured, 0.6, 0.6)
    text = section(errors, outcome, (1.0, 1.0))
    assert f"adapting without them {said}" in text
    assert "| adapted without labels | 1.250 | 1.250 | 1.650 | 0.750 +- 0.000 |" in text


@pytest.mark.parametrize("name", SCANNERS)
def test_scanner_changes_nothing_but_its_shading(name: str) -> None:
    scanner = SCANNERS[name]
    (scene,) = sample_scenes(scanner.config, 1, 5)
    before, after = scene.to_record(), scanner.scene(scene).to_record()
    assert after["acquisition"].pop("shading") != before["acquisition"].pop("shading")
    assert after == before
