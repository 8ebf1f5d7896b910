"""``tagstrain analyze``: what it writes, what it prints, and how it ends."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from matplotlib.figure import Figure
from rich.progress import Progress

from pipeline_fakes import FakeTracker, make_cine, scale_at
from tagstrain.cli import analysis_run
from tagstrain.cli.main import run
from tagstrain.errors import InputError
from tagstrain.inference.models import Models
from tagstrain.quality import Grade
from tagstrain.report.results import StudyWriter


def write_rows(path: Path, empty: tuple[bool, ...] = (False,)) -> Path:
    """A file in the predecessor's layout; empty rows are those that the fake localizer does not trust."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["image_seqs"] = np.stack([make_cine(empty=is_empty).frames for is_empty in empty])
        file["px_spaces"] = np.full(len(empty), 1.4)
        file["ed_frame_idx"] = np.zeros(len(empty), int)
    return path


@pytest.fixture(autouse=True)
def _fake_networks(monkeypatch: pytest.MonkeyPatch, fake_models: Models) -> None:
    """Run the command with parts whose answers are known."""
    monkeypatch.setattr("tagstrain.cli.analyze.load_models", lambda *arguments: fake_models)


@pytest.fixture
def analyze(tmp_path: Path) -> Callable[..., int]:
    """Run ``tagstrain analyze ... -o OUT --no-figures``."""

    def call(*arguments: str | Path, out: str = "out") -> int:
        return int(run(["analyze", *map(str, arguments), "-o", str(tmp_path / out), "--no-figures"]))

    return call


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_warnings_reach_the_screen_and_the_log(
    analyze: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_rows(tmp_path / "case.h5")
    assert analyze(path) == 0
    line = "case, row_00000: frame times are not stored"
    assert f"Warning: {line}" in capsys.readouterr().err
    assert line in (tmp_path / "out" / "run.log").read_text()
    assert analyze(path, "--quiet", out="quiet") == 0
    assert not capsys.readouterr().err


def test_contours_of_a_reader_replace_placing(
    analyze: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_rows(tmp_path / "case.h5", (True,))
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    contours = tmp_path / "wall.json"
    contours.write_text(json.dumps({"endo": (32 + 6 * circle).tolist(), "epi": (32 + 12 * circle).tolist()}))
    assert analyze(path, "--contours", contours) == 0
    (result,) = json.loads((tmp_path / "out" / "case" / "results.json").read_text())["slices"]
    assert "The wall at ED was given by the user" in result["warnings"]
    settings = json.loads((tmp_path / "out" / "run.json").read_text())["settings"]
    assert settings["contours"] == "wall.json"
    assert settings["contours_sha256"] == hashlib.sha256(contours.read_bytes()).hexdigest()
    contours.write_text(json.dumps({"slices": {"midd": json.loads(contours.read_text())}}))
    assert analyze(path, "--contours", contours, out="other") == 1
    assert "names midd, which case does not have" in " ".join(capsys.readouterr().err.split())
    contours.write_text("{}")
    assert analyze(path, "--contours", contours, out="other") == 1
    assert "'endo' is missing" in capsys.readouterr().err.replace("\n", " ")
    assert not (tmp_path / "other").exists()


def test_a_study_gives_its_folder_and_the_record_of_the_run(
    analyze: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_rows(tmp_path / "patients name" / "case.h5", (False, False))
    assert analyze(path) == 0
    out = tmp_path / "out"
    written = ("mechanics.csv", "mechanics.json", "results.h5", "results.json", "strain.csv")
    expected = [*(f"case/{name}" for name in written), "run.json", "run.log"]
    assert files_in(out) == expected
    record = json.loads((out / "run.json").read_text())
    assert record["command"][:3] == ["tagstrain", "analyze", "case.h5"]
    assert record["exit_code"] == 0
    assert record["settings"]["min_confidence"] == 0.5
    assert record["provenance"]["weights"] == {"localizer": "1 sha256:00"}
    stages = {"read", "localize", "place", "track", "insertion", "strain", "quality", "write"}
    assert set(record["mean_time_per_slice_s"]) == stages
    (study,) = record["studies"]
    assert (study["status"], study["folder"], study["n_slices"]) == ("done", "case", 2)
    # Folders above the input can carry a patient's name.
    assert "patients name" not in (out / "run.json").read_text() + (out / "run.log").read_text()
    printed = capsys.readouterr().out
    for name in expected:
        assert name in printed
    assert "-18.0" in printed  # (0.8**2 - 1) / 2, at the smallest size
    assert "not for diagnostic use" in printed


def test_a_slice_that_is_not_good_is_said_everywhere(
    analyze: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert analyze(write_rows(tmp_path / "case.h5")) == 0
    shown = capsys.readouterr()
    assert "reject" in shown.out  # in the table
    assert "row_00000: quality reject:" in shown.err
    assert "no tag lines were found around the wall" in " ".join(shown.err.split())
    assert "quality reject" in (tmp_path / "out" / "run.log").read_text()
    study = json.loads((tmp_path / "out" / "case" / "results.json").read_text())
    assert study["slices"][0]["quality"]["grade"] == "reject"
    assert study["warnings"] == []
    assert study["slices"][0]["peaks"]["circumferential_mean"]["green_lagrange"]["value"] == pytest.approx(-0.18)


def test_levels_that_do_not_fit_are_said_once_for_the_study(
    analyze: Callable[..., int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("tagstrain.cli.analysis_run.SliceOrder.doubts", lambda self: iter(["levels may be mixed up"]))
    assert analyze(write_rows(tmp_path / "case.h5", (False, False))) == 0
    assert capsys.readouterr().err.count("Warning: case: levels may be mixed up") == 1
    study = json.loads((tmp_path / "out" / "case" / "results.json").read_text())
    assert study["warnings"] == ["levels may be mixed up"]


def test_a_rejected_slice_has_no_say_in_the_order_of_levels(
    analyze: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    added = []
    monkeypatch.setattr("tagstrain.cli.analysis_run.SliceOrder.add", lambda self, result: added.append(result.name))
    assess = analysis_run.assess
    grades = iter([Grade.REJECT, Grade.USABLE])
    monkeypatch.setattr(
        "tagstrain.cli.analysis_run.assess",
        lambda *args, **kwargs: replace(assess(*args, **kwargs), grade=next(grades)),
    )
    assert analyze(write_rows(tmp_path / "case.h5", (False, False))) == 0
    assert added == ["row_00001"]


def test_strain_in_the_files_is_that_of_the_motion(analyze: Callable[..., int], tmp_path: Path) -> None:
    analyze(write_rows(tmp_path / "case.h5"))
    with (tmp_path / "out" / "case" / "strain.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["component"] == "radial" and row["region"] == "wall"]
    values = [float(row["value"]) for row in rows if row["measure"] == "green_lagrange"]
    np.testing.assert_allclose(values, [(scale_at(t / 6) ** 2 - 1) / 2 for t in range(6)], atol=1e-6)


def test_the_still_picture_states_the_grade(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts: list[str] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: texts.extend(t.get_text() for t in figure.texts))
    assert run(["analyze", str(write_rows(tmp_path / "case.h5")), "-o", str(tmp_path / "out")]) == 0
    assert any(text.startswith("quality reject · ") for text in texts)
    assert any(text.startswith("Note: quality reject: ") for text in texts)


def test_figures_are_written_per_slice_and_a_report_per_study(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "case.h5")
    assert run(["analyze", str(path), "-o", str(tmp_path / "out"), "--quiet"]) == 0
    folder = tmp_path / "out" / "case"
    assert (folder / "row_00000.gif").read_bytes().startswith(b"GIF89a")
    assert (folder / "row_00000.png").read_bytes().startswith(b"\x89PNG")
    assert "not for diagnostic use" in (folder / "report.html").read_text(encoding="utf-8")


def test_no_ventricle_fails_the_slice_and_the_others_finish(
    analyze: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert analyze(write_rows(tmp_path / "case.h5", (False, True, False))) == 3
    assert "row_00001: No left ventricle found" in capsys.readouterr().err
    results = json.loads((tmp_path / "out" / "case" / "results.json").read_text())
    assert [entry["name"] for entry in results["slices"]] == ["row_00000", "row_00002"]
    assert [entry["name"] for entry in results["failures"]] == ["row_00001"]
    (study,) = json.loads((tmp_path / "out" / "run.json").read_text())["studies"]
    assert (study["status"], study["n_failed"]) == ("some slices failed", 1)


def test_a_lower_confidence_or_a_given_box_lets_the_slice_through(analyze: Callable[..., int], tmp_path: Path) -> None:
    path = write_rows(tmp_path / "case.h5", (True,))
    assert analyze(path, "--min-confidence", "0.05", out="a") == 0
    assert analyze(path, "--box", "10,10,40,40", out="b") == 0
    record = json.loads((tmp_path / "b" / "run.json").read_text())
    assert "--box" in record["command"]
    assert record["settings"]["box"] == [10, 10, 40, 40]


def test_a_given_insertion_is_the_direction_of_the_point(analyze: Callable[..., int], tmp_path: Path) -> None:
    path = write_rows(tmp_path / "case.h5", (False,))
    assert analyze(path, "--rv-insertion", "0,28") == 0
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["command"][record["command"].index("--rv-insertion") + 1] == "0,28"
    (measured,) = json.loads((tmp_path / "out" / "case" / "results.json").read_text())["slices"]
    wall = np.array(measured["landmarks_px"])[0, :, 6]
    offset = (np.array([0, 28]) - wall.mean(axis=0)) * list(reversed(measured["pixel_spacing_mm"].values()))
    insertion = measured["insertion"]
    assert insertion["angle_rad"] == pytest.approx(np.arctan2(offset[1], offset[0]), abs=1e-3)
    assert (insertion["confidence"], insertion["is_given"], insertion["is_reliable"]) == (1, True, True)
    assert insertion["inferior_angle_rad"] is None
    assert "The anterior RV insertion was given by the user" in measured["warnings"]


def test_a_given_insertion_beyond_the_image_fails_the_slice(
    analyze: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert analyze(write_rows(tmp_path / "case.h5", (False,)), "--rv-insertion", "900,28") == 3
    assert "(900, 28), cannot be used: it is not in the image" in capsys.readouterr().err


def test_nan_pixels_fail_their_row_only(analyze: Callable[..., int], tmp_path: Path) -> None:
    path = write_rows(tmp_path / "case.h5", (False, False))
    with h5py.File(path, "a") as file:
        file["image_seqs"][0, 2, 3, 4] = np.nan
    assert analyze(path) == 3
    results = json.loads((tmp_path / "out" / "case" / "results.json").read_text())
    assert [entry["name"] for entry in results["slices"]] == ["row_00001"]
    assert "NaN" in results["failures"][0]["reason"]


def test_lost_landmarks_fail_the_slice(analyze: Callable[..., int], tmp_path: Path, fake_models: Models) -> None:
    assert isinstance(fake_models.tracker, FakeTracker)
    fake_models.tracker.lost_from = 3
    assert analyze(write_rows(tmp_path / "case.h5")) == 3


def test_an_unreadable_input_does_not_stop_the_others(
    analyze: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not an image")
    assert analyze(text, write_rows(tmp_path / "case.h5"), tmp_path / "absent") == 3
    errors = capsys.readouterr().err
    assert "notes.txt" in errors
    assert "absent" in errors
    statuses = [study["status"] for study in json.loads((tmp_path / "out" / "run.json").read_text())["studies"]]
    assert statuses == ["unreadable", "done", "unreadable"]


def test_nothing_readable_leaves_no_folder(analyze: Callable[..., int], tmp_path: Path) -> None:
    assert analyze(tmp_path / "absent", tmp_path / "absent too") == 2
    assert list(tmp_path.iterdir()) == []


def test_studies_of_one_name_get_a_number(analyze: Callable[..., int], tmp_path: Path) -> None:
    paths = [write_rows(tmp_path / folder / "case.h5") for folder in "abc"]
    assert analyze(*paths) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if path.is_dir()) == ["case", "case_2", "case_3"]


def test_results_are_never_replaced_unasked(
    analyze: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str], fake_models: Models
) -> None:
    path = write_rows(tmp_path / "case.h5")
    assert analyze(path) == 0
    before = (tmp_path / "out" / "run.json").read_bytes()
    assert isinstance(fake_models.tracker, FakeTracker)
    n_tracked = len(fake_models.tracker.seen)
    assert analyze(path) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert len(fake_models.tracker.seen) == n_tracked, "refused before any work"
    assert (tmp_path / "out" / "run.json").read_bytes() == before


def test_overwrite_replaces_a_study_and_keeps_the_others(analyze: Callable[..., int], tmp_path: Path) -> None:
    first, second = write_rows(tmp_path / "first.h5"), write_rows(tmp_path / "second.h5")
    analyze(first, second)
    (tmp_path / "out" / "first" / "stale.png").touch()
    assert analyze(write_rows(first, (False, False)), "--overwrite") == 0
    assert "first/stale.png" not in files_in(tmp_path / "out")
    with h5py.File(tmp_path / "out" / "first" / "results.h5") as file:
        assert len(file["bbox_predictions"]) == 2
    assert (tmp_path / "out" / "second" / "results.json").exists()


def test_overwrite_leaves_folders_of_others_alone(
    analyze: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    (out / "case").mkdir(parents=True)
    (out / "case" / "thesis.tex").write_text("years of work")
    assert analyze(write_rows(tmp_path / "case.h5"), "--overwrite") == 1
    assert "run.json" in capsys.readouterr().err
    assert files_in(out) == ["case/thesis.tex"]


def test_an_output_that_cannot_be_made_is_an_error_before_any_work(
    analyze: Callable[..., int], tmp_path: Path, fake_models: Models
) -> None:
    path = write_rows(tmp_path / "case.h5")
    (tmp_path / "file").touch()
    assert analyze(path, out="file/out") == 1
    assert analyze(path, out="file") == 1
    assert isinstance(fake_models.tracker, FakeTracker)
    assert fake_models.tracker.seen == []


def test_an_output_that_is_not_writable_is_an_error(
    analyze: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_rows(tmp_path / "case.h5")
    # Root may write anywhere, so permissions are played, not set.
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    assert analyze(path) == 1
    assert "writable" in capsys.readouterr().err


def test_an_interrupted_run_leaves_nothing(
    analyze: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(self: StudyWriter, *arguments: object) -> None:
        raise KeyboardInterrupt

    path = write_rows(tmp_path / "case.h5")
    monkeypatch.setattr(StudyWriter, "add", interrupt)
    assert analyze(path) == 130
    assert [entry.name for entry in tmp_path.iterdir()] == ["case.h5"]


def test_unreadable_weights_are_a_usage_error_and_not_the_inputs_fault(
    analyze: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> Models:
        raise InputError("net.safetensors", "is torn", "Copy it again")

    monkeypatch.setattr("tagstrain.cli.analyze.load_models", refuse)
    assert analyze(write_rows(tmp_path / "case.h5")) == 1
    assert not (tmp_path / "out").exists()


def test_a_mistake_in_the_program_leaves_nothing_and_is_not_hidden(
    analyze: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(self: FakeTracker, *arguments: object) -> None:
        raise RuntimeError("mistake")

    path = write_rows(tmp_path / "case.h5")
    monkeypatch.setattr(FakeTracker, "track", break_down)
    with pytest.raises(RuntimeError, match="mistake"):
        analyze(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["case.h5"]


def test_memory_does_not_grow_with_the_number_of_slices(analyze: Callable[..., int], tmp_path: Path) -> None:
    def peak_bytes(n_rows: int) -> int:
        path = write_rows(tmp_path / f"rows_{n_rows}.h5", (False,) * n_rows)
        tracemalloc.start()
        assert analyze(path, "--quiet", out=f"out_{n_rows}") == 0
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    peak_bytes(2)  # loads what is loaded once
    # A slice holds 90 KB of pixels and landmarks here; 26 more of them would be over 2 MB.
    assert peak_bytes(30) - peak_bytes(4) < 1_000_000


def test_a_full_disk_is_told_in_words(
    analyze: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fill(self: StudyWriter, *arguments: object) -> None:
        raise OSError(28, "No space left on device")

    path = write_rows(tmp_path / "case.h5")
    monkeypatch.setattr(StudyWriter, "add", fill)
    assert analyze(path) == 1
    assert "No space left" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_quiet_prints_nothing_and_timings_print_every_stage(
    analyze: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_rows(tmp_path / "case.h5")
    assert analyze(path, "--quiet", out="a") == 0
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
    assert analyze(path, "--timings", out="b") == 0
    printed = capsys.readouterr().out
    assert all(
        stage in printed for stage in ("read", "localize", "place", "track", "strain", "insertion", "write", "total")
    )


@pytest.mark.parametrize("n_studies", [1, 3])
def test_progress_counts_the_studies_and_shows_none_that_is_done(
    analyze: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_studies: int
) -> None:
    """A cohort has more studies than a screen has lines."""
    progress = Progress(disable=True)
    monkeypatch.setattr("tagstrain.cli.analyze.progress_bar", lambda _quiet: progress)
    assert analyze(*(write_rows(tmp_path / f"{k}.h5", (False, False)) for k in range(n_studies))) == 0
    (whole,) = progress.tasks
    assert (whole.completed, whole.total, whole.visible) == (n_studies, n_studies, n_studies > 1)


def test_spacing_given_on_the_command_line_reaches_the_reader(analyze: Callable[..., int], tmp_path: Path) -> None:
    path = write_rows(tmp_path / "case.h5")
    with h5py.File(path, "a") as file:
        del file["px_spaces"]
    assert analyze(path) == 2
    assert analyze(path, "--pixel-spacing-mm", "1.5", "1.25") == 0
    (entry,) = json.loads((tmp_path / "out" / "case" / "results.json").read_text())["slices"]
    assert "1.25" in json.dumps(entry)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--tracker", "optical"],
        ["--device", "tpu"],
        ["--min-confidence", "2"],
        ["--box", "1,2,3"],
        ["--box", "9,9,1,1"],
        ["--box", "a,b,c,d"],
        ["--rv-insertion", "1"],
        ["--rv-insertion", "nan,1"],
        ["--pixel-spacing-mm", "0", "1"],
        ["--localizer-weights", "absent.safetensors"],
        ["--no-such-option"],
    ],
    ids=" ".join,
)
def test_usage_errors_end_with_1(analyze: Callable[..., int], tmp_path: Path, arguments: list[str]) -> None:
    assert analyze(write_rows(tmp_path / "case.h5"), *arguments) == 1
    assert not (tmp_path / "out").exists()


def test_rows_are_not_taken_for_one_ventricle(
    analyze: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert analyze(write_rows(tmp_path / "rows.h5", (False, False))) == 0
    said = "rows: no values of the whole ventricle: slices of unknown level are not taken together"
    assert said in " ".join(capsys.readouterr().err.split())
    record = json.loads((tmp_path / "out" / "rows" / "mechanics.json").read_text())
    assert record["ventricle"] is None
    assert len(record["slices"]) == 2
