"""``tagstrain info``, ``--help``, ``--version`` and ``python -m tagstrain``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

import tagstrain
from tagstrain.cli.main import run


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Two rows of non-square pixels."""
    path = tmp_path / "case.h5"
    with h5py.File(path, "w") as file:
        file["image_seqs"] = np.ones((2, 5, 20, 30), np.uint16)
        file["px_spaces"] = [1.5, 1.5]
        file["px_spaces_column"] = [1.25, 1.25]
    return path


def test_info_shows_what_is_there(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["info", str(rows)]) == 0
    shown = capsys.readouterr().out
    for text in (
        "case (hdf5)",
        "row_00000",
        "row_00001",
        "20 x 30",
        "row_00000, row_00001: frame 0 was taken as end-diastole",
    ):
        assert text in shown


def test_info_as_json(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["info", str(rows), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert (content["study"], content["format"], content["n_slices"]) == ("case", "hdf5", 2)
    first = content["slices"][0]
    assert (first["n_frames"], first["n_rows"], first["n_columns"]) == (5, 20, 30)
    assert (first["row_spacing_mm"], first["column_spacing_mm"]) == (1.5, 1.25)
    assert any("time" in warning for warning in first["warnings"])


def test_info_reads_a_large_file_only_in_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "many.h5"
    with h5py.File(path, "w") as file:
        file["image_seqs"] = np.ones((53, 2, 4, 4), np.uint8)
        file["px_spaces"] = np.ones(53)
    run(["info", str(path)])
    assert "3 more slices" in capsys.readouterr().out
    run(["info", str(path), "--json", "--all"])
    assert len(json.loads(capsys.readouterr().out)["slices"]) == 53


def test_a_bad_row_is_shown_and_ends_with_3(rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with h5py.File(rows, "a") as file:
        file["px_spaces"][1] = np.nan
    assert run(["info", str(rows), "--json"]) == 3
    content = json.loads(capsys.readouterr().out)
    assert [entry["name"] for entry in content["slices"]] == ["row_00000"]
    assert [entry["name"] for entry in content["unreadable"]] == ["row_00001"]


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"tagstrain {tagstrain.__version__}\n"
    assert run(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(command in shown for command in ("analyze", "track", "evaluate", "info"))


@pytest.mark.parametrize(
    "arguments", [["no-such-command"], ["info"], ["evaluate", "a.h5"], ["track", "a.h5"]], ids=" ".join
)
def test_usage_errors_end_with_1(arguments: list[str]) -> None:
    assert run(arguments) == 1


def test_the_module_runs_as_the_command_does(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tagstrain", "info", str(tmp_path / "absent.h5")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("Error: absent.h5")


def write_tagged(path: Path, angles_deg: tuple[float, ...]) -> Path:
    """A cine of tags 6 mm apart whose normals point along the angles, from x towards y."""
    y_mm, x_mm = np.mgrid[:100, :90] * np.array([1.5, 1.25])[:, None, None]
    frame = np.full((100, 90), 500.0)
    for angle in np.deg2rad(angles_deg):
        frame *= 1 + 0.5 * np.cos(2 * np.pi * (x_mm * np.cos(angle) + y_mm * np.sin(angle)) / 6)
    frames = frame + np.random.default_rng(0).normal(0, 10, (3, 100, 90))
    np.savez(path, frames=frames, pixel_spacing_mm=[1.5, 1.25], rr_interval_ms=850)
    return path


@pytest.mark.parametrize("angles_deg", [(40.0, -50.0), (15.0,)])
def test_tags_are_measured_in_the_image(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], angles_deg: tuple[float, ...]
) -> None:
    path = write_tagged(tmp_path / "a.npz", angles_deg)
    assert run(["info", str(path), "--json"]) == 0
    (facts,) = json.loads(capsys.readouterr().out)["slices"]
    np.testing.assert_allclose(facts["tag_spacing_mm"], 6, atol=0.02)
    np.testing.assert_allclose(sorted(facts["tag_angle_deg"]), sorted(angles_deg), atol=0.3)
    assert facts["rr_interval_ms"] == 850
    assert run(["info", str(path)]) == 0
    shown = capsys.readouterr().out
    assert all(f"6.0 at {angle:.0f}" in shown for angle in angles_deg)
    assert "850" in shown


def test_where_no_tags_are_seen_info_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["info", str(write_tagged(tmp_path / "a.npz", ())), "--json"]) == 0
    (facts,) = json.loads(capsys.readouterr().out)["slices"]
    assert facts["tag_spacing_mm"] is facts["tag_angle_deg"] is None
    assert any("no tag lines" in warning for warning in facts["warnings"])


@pytest.mark.parametrize("command", [["info"], ["track", "-o", "out.h5"], ["analyze", "-o", "out"]])
@pytest.mark.parametrize("spacing", [("0", "1"), ("1", "nan"), ("inf", "1")])
def test_a_spacing_that_no_image_has_is_a_usage_error_of_every_command(
    command: list[str], spacing: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*command, str(tmp_path / "a.h5"), "--pixel-spacing-mm", *spacing]) == 1
    assert "two positive lengths" in capsys.readouterr().err
