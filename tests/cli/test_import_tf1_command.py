"""``tagstrain import-tf1`` and ``export-tf1`` from outside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tagstrain.cli.exits import ExitCode
from tagstrain.cli.main import run
from tagstrain.io.crc32c import crc32c
from tf1_files import published_spelling, random_variables, write_checkpoint


def test_there_and_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    variables = random_variables("localizer", 0)
    write_checkpoint(tmp_path / "localizer", published_spelling({**variables, "beta1_power": np.float32(1)}), crc32c)
    weights, back = tmp_path / "w.safetensors", tmp_path / "back.npz"
    assert run(["import-tf1", str(tmp_path / "localizer.index"), "-o", str(weights)]) is ExitCode.DONE
    said = capsys.readouterr().out
    assert "localizer, 34 variables, 1 that only served training ignored" in said
    assert "sha256" in said
    assert run(["export-tf1", str(weights), "-o", str(back), "--quiet"]) is ExitCode.DONE
    assert capsys.readouterr().out == ""
    with np.load(back) as file:
        assert set(file.files) == set(variables)
        assert all(file[name].tobytes() == array.tobytes() for name, array in variables.items())
    assert run(["export-tf1", str(weights), "-o", str(back)]) is ExitCode.ERROR
    assert "already exists" in capsys.readouterr().err


def test_what_cannot_be_read_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = tmp_path / "w.safetensors"
    assert run(["import-tf1", str(tmp_path / "gone"), "-o", str(weights)]) is ExitCode.UNREADABLE
    assert capsys.readouterr().err.startswith("Error: gone.index: file not found. Give the checkpoint's prefix")
    assert run(["export-tf1", str(weights), "-o", str(tmp_path / "w.npz")]) is ExitCode.UNREADABLE
    assert not list(tmp_path.iterdir())
