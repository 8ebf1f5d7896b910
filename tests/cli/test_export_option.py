"""``tagstrain analyze --export``: which files appear, and what is said where they cannot."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from test_analyze_command import files_in, write_rows

from pipeline_fakes import scale_at
from tagstrain.cli.main import run
from tagstrain.inference.models import Models


@pytest.fixture(autouse=True)
def _fake_networks(monkeypatch: pytest.MonkeyPatch, fake_models: Models) -> None:
    """Run the command with parts whose answers are known."""
    monkeypatch.setattr("tagstrain.cli.analyze.load_models", lambda *arguments: fake_models)


def analyze(path: Path, out: Path, *formats: str) -> int:
    exports = [word for form in formats for word in ("--export", form)]
    return int(run(["analyze", str(path), "-o", str(out), "--no-figures", *exports]))


def test_every_format_is_written_beside_the_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert analyze(write_rows(tmp_path / "case.h5", (False, True)), out, "dicom", "nifti", "parquet") == 3
    maps = [f"row_00000_{quantity}" for quantity in ("circumferential_strain", "displacement", "radial_strain")]
    assert files_in(out / "case") == [
        "dicom/row_00000_movie.dcm",
        "mechanics.csv",
        "mechanics.json",
        *(f"nifti/{name}.{suffix}" for name in maps for suffix in ("json", "nii.gz")),
        "results.h5",
        "results.json",
        "strain.csv",
        "strain.parquet",
    ]
    assert "row_00000: Of DICOM only the movie was written" in " ".join(capsys.readouterr().err.split())
    record = json.loads((out / "run.json").read_text())
    assert record["settings"]["export"] == ["dicom", "nifti", "parquet"]
    assert " ".join(record["command"]).endswith("--export dicom --export nifti --export parquet --min-confidence 0.5")
    expected = (scale_at(2 / 6) ** 2 - 1) / 2
    strain = np.asarray(nib.load(out / "case" / "nifti" / "row_00000_circumferential_strain.nii.gz").dataobj)
    np.testing.assert_allclose(strain[..., 2][np.isfinite(strain[..., 2])], expected, atol=1e-6)
    table = pd.read_parquet(out / "case" / "strain.parquet")
    wall = table.query("frame == 2 and region == 'wall' and measure == 'green_lagrange'")
    assert wall["value"].tolist() == pytest.approx([expected])


def test_formats_are_the_same_settings_in_any_order(tmp_path: Path) -> None:
    path, out = write_rows(tmp_path / "case.h5"), tmp_path / "out"
    assert analyze(path, out, "parquet", "nifti") == 0
    words = ["--export", "nifti", "--export", "parquet", "--no-figures", "--resume"]
    assert run(["analyze", str(path), "-o", str(out), *words]) == 0


def test_nothing_more_is_written_unasked(tmp_path: Path) -> None:
    assert analyze(write_rows(tmp_path / "case.h5"), tmp_path / "out") == 0
    written = ["mechanics.csv", "mechanics.json", "results.h5", "results.json", "strain.csv"]
    assert files_in(tmp_path / "out" / "case") == written


def test_a_missing_package_is_told_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tagstrain.report.exports.find_spec", lambda name: None)
    path = write_rows(tmp_path / "case.h5")
    assert analyze(path, tmp_path / "out", "dicom") == 1
    assert "pip install 'tagstrain[dicom]'" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()
    assert analyze(path, tmp_path / "out", "nifti") == 0


def test_an_unknown_format_is_a_usage_error(tmp_path: Path) -> None:
    assert analyze(write_rows(tmp_path / "case.h5"), tmp_path / "out", "xml") == 1
