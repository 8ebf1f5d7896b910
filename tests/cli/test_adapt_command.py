"""``tagstrain adapt``: from a cohort to weights that the other commands take, or a clear word why not."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from tagstrain.cli.adapt import _adapt as adapt_all
from tagstrain.cli.exits import ExitCode
from tagstrain.cli.main import run
from tagstrain.inference import teacher
from tagstrain.inference.flow import FlowTracker
from tagstrain.inference.placer import MotionPlacer
from tagstrain.training import tracker_adaptation
from tagstrain.training.adaptation import Adaptation
from tagstrain.training.config import TrainingConfig
from tagstrain.training.placer_adaptation import PlacerAdaptation, PlacerConsistency
from tagstrain.training.tracker_adaptation import TrackerConsistency

PATIENT = ("DOERFLER", "JONATHAN")
"""Long enough that no 20 MB of weights hold it by chance."""
FEW = ["--steps", "1", "--validate-every", "1", "--validation-scenes", "1", "--workers", "0", "--device", "cpu"]


@pytest.fixture(autouse=True)
def fewer_views(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of the views and half of the crops that teach in use (`tests/inference/test_teacher.py`)."""
    monkeypatch.setattr(teacher, "N_SYMMETRIES", 2)
    monkeypatch.setattr(teacher, "_OTHER_BOXES", teacher._OTHER_BOXES[:2])


@pytest.fixture
def cohort(tmp_path: Path, simulated_file: Path) -> Path:
    """Two short slices without labels, in a file whose name says whose they are."""
    path = tmp_path / f"{'_'.join(PATIENT)}.h5"
    with h5py.File(simulated_file) as whole, h5py.File(path, "w") as file:
        file["image_seqs"], file["px_spaces"] = whole["image_seqs"][:, :5], whole["px_spaces"][:]
    return path


@pytest.mark.usefixtures("small_examples")
def test_cohort_gives_weights_and_names_nobody(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    praise = iter(range(100, 0, -1))
    monkeypatch.setattr(
        tracker_adaptation, "consistency", lambda *_: TrackerConsistency(float(next(praise)), 0.0, 0.0, 1.0)
    )
    monkeypatch.setattr(PlacerAdaptation, "consistency", lambda _: PlacerConsistency(float(next(praise)), 0.0))
    out = tmp_path / "run"
    out.mkdir()
    (out / "placer.safetensors").write_text("of an earlier run")
    assert run(["adapt", "--data", str(cohort), "--out", str(out), "--learning-rate", "1e-6", *FEW]) == ExitCode.DONE
    printed = capsys.readouterr().out
    assert "tracker: 2 slices, measured on 2 of them" in printed
    assert f"Weights: {out / 'tracker.safetensors'}" in printed
    tracker = FlowTracker.from_weights(out / "tracker.safetensors")
    MotionPlacer.from_weights(tracker, out / "placer.safetensors")
    record = json.loads((out / "adaptation.json").read_text())
    assert list(record) == ["tracker", "placer"]
    assert all(each["exported"] for each in record.values())
    # The placer learned from the motion that the adapted tracker follows.
    learned = json.loads((out / "training" / "placer" / "config.json").read_text())
    assert learned["tracker_weights"] == str(out / "tracker.safetensors")
    written = [path for path in out.rglob("*") if path.is_file()]
    assert len(written) > 3
    for path in written:
        content = path.read_bytes()
        assert not any(name.encode() in content for name in PATIENT), path


@pytest.mark.usefixtures("small_examples")
def test_what_an_earlier_run_left_is_not_taken_for_this_one(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing gets better: no weights and a record of it. Walls, which the placer alone learns, are not asked for."""
    monkeypatch.setattr(tracker_adaptation, "consistency", lambda *_: TrackerConsistency(1.0, 1.0, 1.0, 1.0))
    monkeypatch.setattr("tagstrain.inference.teacher.agreed_wall", None)
    out = tmp_path / "run"
    out.mkdir()
    (out / "placer.safetensors").write_text("of an earlier run")
    (out / "tracker.safetensors").write_text("of an earlier run")
    assert run(["adapt", "--data", str(cohort), "--out", str(out), "--only", "tracker", *FEW]) == ExitCode.DONE
    assert not (out / "tracker.safetensors").exists()
    assert (out / "placer.safetensors").exists()
    record = json.loads((out / "adaptation.json").read_text())
    assert list(record) == ["tracker"]
    assert not record["tracker"]["exported"]


def test_an_interruption_loses_nothing_of_an_earlier_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    earlier = [tmp_path / name for name in ("adaptation.json", "tracker.safetensors")]
    for path in earlier:
        path.write_text("of an earlier run")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tracker_adaptation, "adapt_tracker", interrupt)
    with pytest.raises(KeyboardInterrupt):
        adapt_all([TrainingConfig(task="tracker", out=str(tmp_path / "training"))], [], tmp_path, quiet=True)
    assert all(path.read_text() == "of an earlier run" for path in earlier)


def test_where_nothing_teaches_the_placer_no_earlier_one_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("adaptation.json", "placer.safetensors"):
        (tmp_path / name).write_text("of an earlier run")
    adapt_all([TrainingConfig(task="placer", out=str(tmp_path / "training"))], [], tmp_path, quiet=True)
    assert "placer kept" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_earlier_placer_goes_with_its_tracker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second network is interrupted when the first has an outcome."""
    for name in ("tracker", "placer"):
        (tmp_path / f"{name}.safetensors").write_text("of an earlier run")
    same = TrackerConsistency(1.0, 1.0, 1.0, 1.0)
    outcome = Adaptation("tracker", None, 2, 2, same, same, 0.4, 0.4)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tracker_adaptation, "adapt_tracker", lambda *_: outcome)
    monkeypatch.setattr("tagstrain.training.placer_adaptation.taught", interrupt)
    configs = [TrainingConfig(task=task, out=str(tmp_path / "training")) for task in ("tracker", "placer")]
    with pytest.raises(KeyboardInterrupt):
        adapt_all(configs, [], tmp_path, quiet=True)
    assert [path.name for path in tmp_path.iterdir()] == ["adaptation.json"]


def test_weights_to_start_from_are_not_replaced(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = tmp_path / "tracker.safetensors"
    start.write_bytes(b"weights")
    arguments = ["adapt", "--data", str(cohort), "--init", str(start), "--out", str(tmp_path), *FEW]
    assert run(arguments) == ExitCode.ERROR
    assert "would be replaced by this run" in " ".join(capsys.readouterr().err.split())
    assert start.read_bytes() == b"weights"


def test_batches_too_small_for_a_simulated_cine_are_refused(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["adapt", "--data", str(cohort), "--batch-size", "4", *FEW]) == ExitCode.ERROR
    assert "hold no simulated cine for the placer" in " ".join(capsys.readouterr().err.split())


def test_unreadable_cohort_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("no images")
    assert run(["adapt", "--data", str(notes), "--out", str(tmp_path / "run"), *FEW]) == ExitCode.UNREADABLE
    assert "notes.txt: is not an image file" in capsys.readouterr().err


def test_cohort_without_hearts_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "noise.h5"
    with h5py.File(path, "w") as file:
        file["image_seqs"] = np.random.default_rng(0).integers(0, 500, (2, 5, 96, 96)).astype("u2")
        file["px_spaces"] = [1.4, 1.4]
    assert run(["adapt", "--data", str(path), "--out", str(tmp_path / "run"), *FEW]) == ExitCode.UNREADABLE
    said = capsys.readouterr().err
    assert "row_00001: left out:" in said
    assert "noise.h5: 0 of its slices can be learned from" in said
    assert not (tmp_path / "run").exists()


def test_an_unknown_preset_is_refused_before_the_cohort_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["adapt", "--data", str(tmp_path / "nope.h5"), "--preset", "nope", *FEW]
    assert run(arguments) == ExitCode.ERROR
    assert "preset: expected one of default, ukb, cspamm, got 'nope'" in capsys.readouterr().err


def test_weights_that_are_none_are_a_usage_error(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["adapt", "--data", str(cohort), "--init", str(cohort), *FEW]) == ExitCode.ERROR
    assert "not a readable safetensors file" in capsys.readouterr().err
