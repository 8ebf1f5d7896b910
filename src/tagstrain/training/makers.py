"""Which examples a task trains on: `example_maker`."""

from __future__ import annotations

from pathlib import Path

from tagstrain.training.config import TrainingConfig
from tagstrain.training.examples import ExampleMaker, LandmarkExamples, LocalizerExamples, TrackerExamples
from tagstrain.training.placer_examples import PlacerExamples


def example_maker(config: TrainingConfig) -> ExampleMaker:
    """Simulated examples for the run's task."""
    if config.task == "placer":
        weights = Path(config.tracker_weights) if config.tracker_weights else None
        return PlacerExamples(config.preset, weights)
    makers: dict[str, type[LandmarkExamples] | type[LocalizerExamples] | type[TrackerExamples]] = {
        "rnncnn": LandmarkExamples,
        "localizer": LocalizerExamples,
        "tracker": TrackerExamples,
    }
    return makers[config.task](config.preset)
