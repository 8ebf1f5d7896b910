"""``tagstrain train``: what cannot be trained is said before anything is written."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tagstrain.cli.exits import ExitCode
from tagstrain.cli.main import run


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--preset", "nope"], ExitCode.ERROR, "preset: expected one of default, ukb, cspamm, got 'nope'"),
        (["--device", "gpu"], ExitCode.ERROR, "device: expected one of auto, cpu, cuda, got 'gpu'"),
        (["--device", "cuda"], ExitCode.ERROR, "PyTorch sees no CUDA GPU here"),
        (
            ["--out", ".", "--init", "tracker.safetensors"],
            ExitCode.ERROR,
            "tracker.safetensors: would be replaced by this run. Give another --out",
        ),
        (["--resume", "missing.ckpt"], ExitCode.ERROR, "file 'missing.ckpt' does not exist"),
        (["--data", "nope.h5"], ExitCode.UNREADABLE, "nope.h5: does not exist"),
    ],
)
def test_what_cannot_be_trained_leaves_no_folder(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    code: ExitCode,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert run(["train", "tracker", *options]) == code
    assert message in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kept", ["tracker.safetensors", "checkpoints/last.ckpt"])
def test_an_earlier_run_is_not_replaced_unasked(kept: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_ = tmp_path / "run"
    (run_ / kept).parent.mkdir(parents=True)
    (run_ / kept).write_text("hours of training")
    assert run(["train", "tracker", "--out", str(run_), "--device", "cpu"]) == ExitCode.ERROR
    told = " ".join(capsys.readouterr().err.split())
    assert "holds a run already" in told
    assert "--resume" in told
    assert [path.relative_to(run_).as_posix() for path in run_.rglob("*") if path.is_file()] == [kept]
    other = tmp_path / "other.ckpt"
    other.touch()
    assert run(["train", "tracker", "--out", str(run_), "--resume", str(other), "--device", "cpu"]) == ExitCode.ERROR
    assert "a checkpoint of its own" in " ".join(capsys.readouterr().err.split())
    # Asked to replace it, the command goes on to the next thing that is wrong.
    missing = ["--data", str(tmp_path / "nope.h5")]
    assert run(["train", "tracker", "--out", str(run_), "--overwrite", *missing]) == ExitCode.UNREADABLE


@pytest.mark.parametrize("command", [["train", "tracker"], ["adapt", "--data", "cohort.h5"]])
def test_packages_that_training_needs_are_named_before_any_work(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tagstrain.cli.exits.find_spec", lambda name: None if name == "lightning" else object())
    assert run([*command, "--out", str(tmp_path / "run")]) is ExitCode.ERROR
    assert "lightning is not installed. Run pip install 'tagstrain[train]'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
