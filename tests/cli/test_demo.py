"""``examples/demo.py``, which ``make demo`` runs."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import pytest

from pipeline_fakes import make_cine
from tagstrain.data import SliceLevel
from tagstrain.inference.models import Models
from tagstrain.io import write_dicom_study

DEMO = Path(__file__).parents[2] / "examples" / "demo.py"


def test_the_demo_names_files_that_exist_and_can_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fake_models: Models
) -> None:
    levels = (SliceLevel.BASAL, SliceLevel.APICAL)
    files = write_dicom_study(tmp_path / "dicom", [replace(make_cine(n_frames=3), level=level) for level in levels], 1)
    with ZipFile(tmp_path / "example_study.zip", "w") as archive:
        for file in files:
            archive.write(file, file.name)
    specification = importlib.util.spec_from_file_location("demo", DEMO)
    assert specification is not None
    assert specification.loader is not None
    demo = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(demo)
    monkeypatch.setattr("tagstrain.cli.analyze.load_models", lambda *arguments: fake_models)
    monkeypatch.setattr(demo, "example_study_path", lambda: tmp_path / "example_study.zip")
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert demo.main() == 0
    printed = capsys.readouterr().out
    assert "$ tagstrain analyze example_study.zip" in printed
    named = {word for word in printed.split() if word.startswith("demo-output/")}
    assert {Path(name).suffix for name in named} == {".gif", ".png", ".json", ".csv"}
    assert len(named) == 6
    assert all((tmp_path / name).exists() for name in named)
