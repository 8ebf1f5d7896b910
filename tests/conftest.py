"""What tests of several layers share."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import settings

from pipeline_fakes import FakeLocalizer, FakePlacer, FakeTracker
from tagstrain.data import Provenance
from tagstrain.inference.models import Models

settings.register_profile("tagstrain", deadline=None)  # machines differ in speed, claims do not
settings.load_profile("tagstrain")


@pytest.fixture
def small_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training on 6 frames in place of 20, and on 64 x 64 pixels in the localizer's, where what is learned is of no
    matter."""
    from tagstrain.simulation.config import PRESETS  # torch is not for every test
    from tagstrain.training import files, tracker_adaptation
    from tagstrain.training.examples import LocalizerExamples

    monkeypatch.setitem(PRESETS, "default", replace(PRESETS["default"], n_frames=6))
    for module in (files, tracker_adaptation):
        monkeypatch.setattr(module, "FRAMES_PER_EXAMPLE", 6)
    monkeypatch.setattr(LocalizerExamples, "size", 64)


@pytest.fixture
def fake_models() -> Models:
    """Localizer, placer and tracker with known answers."""
    provenance = Provenance("0", "fake", {"localizer": "1 sha256:00"}, "cpu")
    return Models(FakeLocalizer(), FakePlacer(), FakeTracker(), provenance)


@pytest.fixture(scope="session")
def original_weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Weights files of the predecessor's networks by network name; see `original_networks`."""
    from original_networks import write_localizer, write_rnncnn  # torch is not for every test

    folder = tmp_path_factory.mktemp("original_weights")
    write_localizer(folder / "localizer.safetensors")
    write_rnncnn(folder / "rnncnn.safetensors")
    return {name: folder / f"{name}.safetensors" for name in ("localizer", "rnncnn")}


@pytest.fixture(scope="session")
def simulated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two simulated cines in the predecessor's training layout, laid out as coarsely as their pixels."""
    from tagstrain.simulation import dataset

    path = tmp_path_factory.mktemp("simulated") / "train.h5"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dataset, "OVERSAMPLING", 1)
        dataset.write_dataset(path, 2, seed=3)
    return path
