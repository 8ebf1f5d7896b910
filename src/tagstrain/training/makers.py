"""What a task trains on, and with: `example_maker` and `training_module`."""

from __future__ import annotations

from pathlib import Path

from tagstrain.training.config import TrainingConfig
from tagstrain.training.examples import ExampleMaker, LandmarkExamples, LocalizerExamples, TrackerExamples
from tagstrain.training.files import FileExamples
from tagstrain.training.insertion_examples import InsertionExamples
from tagstrain.training.insertion_module import InsertionTraining
from tagstrain.training.landmark_module import LandmarkTraining
from tagstrain.training.localizer_modules import LocalizationUNetTraining, LocalizerTraining
from tagstrain.training.modules import NetworkTraining
from tagstrain.training.placer_examples import PlacerExamples
from tagstrain.training.placer_module import PlacerTraining
from tagstrain.training.tracker_module import TrackerTraining

MONITORED = {
    "rnncnn": "val_rmse_mm",
    "localizer": "val_iou_loss",
    "tracker": "val_rmse_mm",
    "placer": "val_rmse_mm",
    "insertion": "val_error_deg",
}
"""What the best checkpoint has least of."""


def example_maker(config: TrainingConfig) -> ExampleMaker:
    """Simulated examples for the run's task."""
    if config.task == "placer":
        return _placer_examples(config)
    if config.task == "insertion":
        return InsertionExamples(config.preset, _tracker_weights(config))
    makers: dict[str, type[LandmarkExamples] | type[LocalizerExamples] | type[TrackerExamples]] = {
        "rnncnn": LandmarkExamples,
        "localizer": LocalizerExamples,
        "tracker": TrackerExamples,
    }
    return makers[config.task](config.preset)


def file_examples(config: TrainingConfig) -> FileExamples:
    """Examples from the run's data files. Raises InputError if one cannot be used."""
    return FileExamples(config.task, [Path(path) for path in config.data], _placer_examples(config))


def _placer_examples(config: TrainingConfig) -> PlacerExamples:
    return PlacerExamples(config.preset, _tracker_weights(config))


def _tracker_weights(config: TrainingConfig) -> Path | None:
    return Path(config.tracker_weights) if config.tracker_weights else None


def training_module(config: TrainingConfig) -> NetworkTraining:
    """Network of a run, untrained, with its loss."""
    if config.task == "localizer":
        return LocalizationUNetTraining(config) if config.architecture == "unet" else LocalizerTraining(config)
    modules: dict[str, type[LandmarkTraining | TrackerTraining | PlacerTraining | InsertionTraining]] = {
        "rnncnn": LandmarkTraining,
        "tracker": TrackerTraining,
        "placer": PlacerTraining,
        "insertion": InsertionTraining,
    }
    return modules[config.task](config)
