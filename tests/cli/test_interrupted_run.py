"""``tagstrain analyze`` that is stopped half-way: what stays, what is said, and how ``--resume`` goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import pytest
from test_analyze_command import files_in, write_rows

import tagstrain
from pipeline_fakes import make_cine
from tagstrain.cli.exits import Terminated
from tagstrain.cli.main import run
from tagstrain.cli.run_record import RunRecord
from tagstrain.data import SliceResult, Study
from tagstrain.errors import TagstrainError
from tagstrain.inference.models import Models
from tagstrain.io import read_study, write_dicom_study
from tagstrain.quality import SliceQuality
from tagstrain.report.results import StudyWriter

ADD = StudyWriter.add


@dataclass
class Writing:
    """Counts the slices that are written, and raises an error in place of one more than may be."""

    n_written: int = 0
    n_may_be: int = 1
    error: BaseException | None = None
    at_each: Callable[[], None] | None = None

    def add(self, writer: StudyWriter, result: SliceResult, quality: SliceQuality) -> None:
        if self.error is not None and self.n_written >= self.n_may_be:
            raise self.error
        self.n_written += 1
        if self.at_each is not None:
            self.at_each()
        ADD(writer, result, quality)


@pytest.fixture(autouse=True)
def _fake_networks(monkeypatch: pytest.MonkeyPatch, fake_models: Models) -> None:
    """Run the command with parts whose answers are known."""
    monkeypatch.setattr("tagstrain.cli.analyze.load_models", lambda *arguments: fake_models)


@pytest.fixture
def writing(monkeypatch: pytest.MonkeyPatch) -> Writing:
    """Have slices counted."""
    writing = Writing()
    monkeypatch.setattr(StudyWriter, "add", lambda *arguments: writing.add(*arguments))
    return writing


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def analyze(out: Path) -> Callable[..., int]:
    """Run ``tagstrain analyze ... -o OUT --no-figures``."""

    def call(*arguments: str | Path) -> int:
        return int(run(["analyze", *map(str, arguments), "-o", str(out), "--no-figures"]))

    return call


@pytest.fixture
def cohort(tmp_path: Path) -> list[Path]:
    """Three studies of one slice."""
    return [write_rows(tmp_path / f"{name}.h5") for name in ("first", "second", "third")]


def write_subject(path: Path, number: int) -> Path:
    """A study of one slice whose bytes tell it from others."""
    write_rows(path)
    with h5py.File(path, "a") as file:
        file.attrs["subject"] = number
    return path


def record_in(out: Path) -> dict[str, Any]:
    return dict(json.loads((out / "run.json").read_text()))


def inputs_by_folder(out: Path) -> dict[str, int]:
    return {study["folder"]: study["input_index"] for study in record_in(out)["studies"]}


def test_an_interruption_keeps_what_is_done(
    analyze: Callable[..., int],
    out: Path,
    cohort: list[Path],
    writing: Writing,
    capsys: pytest.CaptureFixture[str],
) -> None:
    writing.error = KeyboardInterrupt()
    assert analyze(*cohort) == 130
    told = "Interrupted: 1 of 3 studies are done; run again with --resume to go on"
    assert told in capsys.readouterr().err
    assert told in (out / "run.log").read_text()
    assert {path.split("/")[0] for path in files_in(out)} == {"first", "run.json", "run.log"}
    record = record_in(out)
    assert (record["exit_code"], record["n_studies"]) == (130, 3)
    assert [(study["input"], study["status"]) for study in record["studies"]] == [("first.h5", "done")]


@pytest.mark.parametrize(("failing", "code", "left"), [({2}, 3, ["first", "third"]), ({1, 2, 3}, 1, [])])
def test_a_study_that_the_program_fails_does_not_stop_the_others(
    failing: set[int],
    code: int,
    left: list[str],
    analyze: Callable[..., int],
    out: Path,
    cohort: list[Path],
    writing: Writing,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def give_out() -> None:
        if writing.n_written in failing:
            raise RuntimeError("out of memory")

    writing.at_each = give_out
    assert analyze(*cohort) == code
    told = "second.h5: internal error (RuntimeError); run.log says where"
    assert told in " ".join(capsys.readouterr().err.split())
    assert "RuntimeError: out of memory" in (out / "run.log").read_text()
    assert sorted(path.name for path in out.iterdir() if path.is_dir()) == left
    record = record_in(out)
    assert record["n_slices_analyzed"] == len(left)
    studies = {study["input"]: study for study in record["studies"]}
    assert studies["second.h5"]["status"] == "internal error"
    assert studies["second.h5"]["folder"] is None
    writing.at_each = None
    assert analyze(*cohort, "--resume") == 0
    assert writing.n_written == 3 + len(failing)
    assert sorted(inputs_by_folder(out)) == ["first", "second", "third"]


def test_models_that_cannot_be_loaded_end_the_run_at_once(
    analyze: Callable[..., int], out: Path, cohort: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    n_tried = 0

    def break_down(*_: object) -> Models:
        nonlocal n_tried
        n_tried += 1
        raise RuntimeError("no driver")

    monkeypatch.setattr("tagstrain.cli.analyze.load_models", break_down)
    with pytest.raises(RuntimeError, match="no driver"):
        analyze(*cohort)
    assert n_tried == 1
    assert not out.exists()


def test_a_mistake_in_reading_the_first_study_does_not_stop_the_others(
    analyze: Callable[..., int], out: Path, cohort: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(path: Path, *more: object) -> Study:
        if path == cohort[0]:
            raise IndexError("mistake")
        return read_study(path)

    monkeypatch.setattr("tagstrain.cli.analysis_run.read_study", read)
    assert analyze(*cohort) == 3
    assert [study["status"] for study in record_in(out)["studies"]] == ["internal error", "done", "done"]


def test_results_written_into_their_input_are_not_taken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = tmp_path / "study"
    files = write_dicom_study(study, [make_cine(n_frames=3)], seed=1)
    monkeypatch.chdir(study)
    for more in ([], ["--resume"], ["--overwrite"]):
        assert run(["analyze", ".", "-o", "results", "--no-figures", "--export", "dicom", *more]) == 0
        assert [path.name for path in (study / "results").iterdir() if path.is_dir()] == ["study"]
        assert "skipped" not in capsys.readouterr().err
    (told,) = record_in(study / "results")["studies"]
    assert told["skipped"] == []
    assert len(files) > 1


def test_resuming_analyzes_the_rest_alone(
    analyze: Callable[..., int],
    out: Path,
    cohort: list[Path],
    writing: Writing,
    capsys: pytest.CaptureFixture[str],
) -> None:
    writing.error = KeyboardInterrupt()
    analyze(*cohort)
    before = (out / "first" / "results.json").stat().st_mtime_ns
    writing.error = None
    assert analyze(*cohort) == 1, "refused without --resume"
    assert analyze(*cohort, "--resume") == 0
    assert writing.n_written == 3
    assert (out / "first" / "results.json").stat().st_mtime_ns == before
    record = record_in(out)
    assert record["exit_code"] == 0
    assert inputs_by_folder(out) == {"first": 0, "second": 1, "third": 2}
    assert record["earlier_studies"] == []
    assert "Peak Green-Lagrange strain" in capsys.readouterr().out
    assert analyze(*cohort, "--resume") == 0, "nothing is left to do"
    assert writing.n_written == 3
    assert "Peak Green-Lagrange strain" not in capsys.readouterr().out, "no table of nothing"


def test_failed_studies_are_tried_again(
    analyze: Callable[..., int], out: Path, tmp_path: Path, writing: Writing
) -> None:
    torn, whole = tmp_path / "torn.h5", write_rows(tmp_path / "whole.h5")
    torn.write_bytes(b"torn")
    failing = write_rows(tmp_path / "failing.h5", (True,))
    assert analyze(torn, whole, failing) == 3
    assert analyze(torn, whole, write_rows(failing), "--resume") == 3
    assert analyze(write_rows(torn), whole, failing, "--resume") == 0
    assert writing.n_written == 3, "each of them once"
    assert inputs_by_folder(out) == {"torn": 0, "whole": 1, "failing": 2}


@pytest.mark.parametrize("content", [b"", b"{", b"[]"])
def test_a_damaged_record_is_no_start_from_nothing(
    analyze: Callable[..., int], out: Path, cohort: list[Path], content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    analyze(cohort[0])
    (out / "run.json").write_bytes(content)
    before = (out / "first" / "results.json").read_bytes()
    for option in ("--resume", "--overwrite"):
        assert analyze(*cohort, option) == 1
        assert "run.json: is damaged" in capsys.readouterr().err
    assert (out / "first" / "results.json").read_bytes() == before


@pytest.mark.parametrize("name", ["results.json", "results.h5"])
def test_empty_results_are_none(
    analyze: Callable[..., int], out: Path, cohort: list[Path], writing: Writing, name: str
) -> None:
    analyze(*cohort)
    (out / "second" / name).write_bytes(b"")
    assert analyze(*cohort, "--resume") == 0
    assert writing.n_written == 4
    assert (out / "second" / name).stat().st_size > 0
    assert inputs_by_folder(out) == {"first": 0, "second": 1, "third": 2}


def test_names_that_are_no_utf8_stop_nothing(
    analyze: Callable[..., int], out: Path, tmp_path: Path, cohort: list[Path], writing: Writing
) -> None:
    odd = write_rows(tmp_path / os.fsdecode(b"m\xfcller.h5"))
    assert analyze(cohort[0], odd, cohort[1]) == 0
    assert [study["input"] for study in record_in(out)["studies"]] == ["first.h5", r"m\udcfcller.h5", "second.h5"]
    assert analyze(cohort[0], odd, cohort[1], "--resume") == 0
    assert writing.n_written == 3


def test_a_record_that_takes_long_to_write_is_written_less_often(
    analyze: Callable[..., int], out: Path, cohort: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    write = RunRecord.write

    def counted(record: RunRecord, *arguments: Any) -> None:
        written.append(len(record.studies))
        write(record, *arguments)

    monkeypatch.setattr(RunRecord, "write", counted)
    monkeypatch.setattr("tagstrain.cli.analysis_run.QUICK_TO_SAVE_S", 0.0)
    monkeypatch.setattr("tagstrain.cli.analysis_run.SAVING_PAUSE", 1e6)
    assert analyze(*cohort) == 0
    assert written == [0, 1, 3]
    assert len(record_in(out)["studies"]) == 3


def test_resuming_nothing_begins(analyze: Callable[..., int], cohort: list[Path], writing: Writing) -> None:
    assert analyze(*cohort, "--resume") == 0
    assert writing.n_written == 3


def test_other_settings_or_software_are_refused(
    analyze: Callable[..., int],
    out: Path,
    cohort: list[Path],
    writing: Writing,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    fake_models: Models,
) -> None:
    writing.error = KeyboardInterrupt()
    analyze(*cohort)
    before = (out / "run.json").read_bytes()
    assert analyze(*cohort, "--resume", "--min-confidence", "0.4") == 1
    assert "min_confidence was 0.5, is 0.4" in capsys.readouterr().err
    with monkeypatch.context() as other:
        other.setattr(tagstrain, "__version__", "999")
        assert analyze(*cohort, "--resume") == 1
        assert "is 999" in capsys.readouterr().err
    provenance = replace(fake_models.provenance, weights={"localizer": "1 sha256:11"})
    trained_anew = replace(fake_models, provenance=provenance)
    monkeypatch.setattr("tagstrain.cli.analyze.load_models", lambda *arguments: trained_anew)
    assert analyze(*cohort, "--resume") == 1
    assert "weights was" in capsys.readouterr().err
    assert (out / "run.json").read_bytes() == before


@pytest.mark.parametrize("option", [("--overwrite",), ("--contours", "wall.json")])
def test_options_that_contradict_resuming_are_refused(
    analyze: Callable[..., int],
    cohort: list[Path],
    option: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert analyze(cohort[0], "--resume", *option) == 1
    assert "goes neither with --overwrite nor with" in " ".join(capsys.readouterr().err.split())


def test_results_made_with_other_settings_do_not_count_as_done(
    analyze: Callable[..., int], out: Path, cohort: list[Path], writing: Writing
) -> None:
    analyze(*cohort)
    assert analyze(cohort[1], "--overwrite", "--min-confidence", "0.4") == 0
    assert sorted(study["folder"] for study in record_in(out)["earlier_studies"]) == ["first", "third"]
    assert analyze(*cohort, "--resume", "--min-confidence", "0.4") == 0
    assert writing.n_written == 3 + 1 + 2


def test_resuming_a_part_of_the_inputs_forgets_no_other(
    analyze: Callable[..., int], cohort: list[Path], writing: Writing
) -> None:
    writing.error = KeyboardInterrupt()
    analyze(*cohort)
    writing.error = None
    assert analyze(cohort[1], "--resume") == 0
    assert analyze(*cohort, "--resume") == 0
    assert writing.n_written == 3


def test_a_changed_input_does_not_replace_what_is_done_unless_overwritten(
    analyze: Callable[..., int], out: Path, tmp_path: Path
) -> None:
    case = write_rows(tmp_path / "case.h5")
    analyze(case)
    before = (out / "case" / "results.json").read_bytes()
    assert analyze(write_subject(case, 2), "--resume") == 0
    assert inputs_by_folder(out) == {"case_2": 0}
    assert (out / "case" / "results.json").read_bytes() == before
    assert analyze(write_subject(case, 3), "--resume") == 0
    assert inputs_by_folder(out) == {"case_3": 0}


def test_of_inputs_with_one_name_that_with_the_same_content_is_replaced(
    analyze: Callable[..., int], out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = [write_subject(tmp_path / f"s{n}" / "tag.h5", n) for n in (1, 2)]
    assert analyze(*inputs) == 0
    assert inputs_by_folder(out) == {"tag": 0, "tag_2": 1}
    (out / "tag_2" / "stale.png").touch()
    assert analyze(inputs[1], "--overwrite") == 0
    assert inputs_by_folder(out) == {"tag_2": 0}
    assert not (out / "tag_2" / "stale.png").exists()
    (kept,) = record_in(out)["earlier_studies"]
    assert kept["folder"] == "tag"
    third = write_subject(tmp_path / "s3" / "tag.h5", 3)
    assert analyze(third, "--overwrite") == 0
    assert inputs_by_folder(out) == {"tag_3": 0}, "which of the two it should replace is not known"
    capsys.readouterr()
    assert analyze(*inputs, write_subject(third, 4), "--overwrite") == 0
    assert inputs_by_folder(out) == {"tag": 0, "tag_2": 1, "tag_3": 2}
    assert "tag.h5: is not the same as when tag_3 was made from it" in capsys.readouterr().err


def test_an_id_that_is_to_be_left_out_does_not_come_back_from_an_earlier_run(
    analyze: Callable[..., int], out: Path, tmp_path: Path
) -> None:
    analyze(write_rows(tmp_path / "case.h5"))
    (out / "case").rename(out / "PID_7391")
    record = record_in(out)
    record["studies"][0]["folder"] = "PID_7391"
    (out / "run.json").write_text(json.dumps(record))
    assert analyze(tmp_path / "case.h5", "--overwrite") == 0
    assert inputs_by_folder(out) == {"case": 0}


def test_the_run_can_be_followed_while_it_goes_on(
    analyze: Callable[..., int], out: Path, cohort: list[Path], writing: Writing
) -> None:
    seen: list[tuple[Any, int, bool]] = []

    def look() -> None:
        record = record_in(out)
        seen.append((record["exit_code"], len(record["studies"]), "second, row_00000" in (out / "run.log").read_text()))

    writing.at_each = look
    assert analyze(*cohort) == 0
    assert seen == [(None, 0, False), (None, 1, True), (None, 2, True)]


def test_a_disk_that_fills_up_late_keeps_what_is_done(
    analyze: Callable[..., int],
    out: Path,
    cohort: list[Path],
    writing: Writing,
    capsys: pytest.CaptureFixture[str],
) -> None:
    writing.error = OSError(28, "No space left on device")
    assert analyze(*cohort) == 1
    told = capsys.readouterr().err
    assert "No space left" in told
    assert "1 of 3 studies are done; run again with --resume" in told
    assert record_in(out)["exit_code"] == 1
    writing.error = None
    assert analyze(*cohort, "--resume") == 0
    assert writing.n_written == 3


def test_an_interruption_between_two_studies_of_an_overwrite_keeps_the_old_results(
    analyze: Callable[..., int], out: Path, cohort: list[Path], writing: Writing
) -> None:
    analyze(*cohort)
    writing.error, writing.n_may_be = KeyboardInterrupt(), 4
    assert analyze(*cohort, "--overwrite") == 130
    record = record_in(out)
    assert [study["folder"] for study in record["studies"]] == ["first"]
    assert sorted(study["folder"] for study in record["earlier_studies"]) == ["second", "third"]


def test_leftovers_of_a_killed_run_are_removed_by_the_next(
    analyze: Callable[..., int], out: Path, cohort: list[Path], writing: Writing
) -> None:
    writing.error = KeyboardInterrupt()
    analyze(*cohort)
    (out / ".second.0123456789ab.partial" / "dicom").mkdir(parents=True)
    (out / ".run.json.0123456789ab.partial").touch()
    (out / ".mine.partial").touch()
    writing.error = None
    assert analyze(*cohort, "--resume") == 0
    assert [path.name for path in out.iterdir() if path.name.startswith(".")] == [".mine.partial"]


def test_two_runs_cannot_write_to_one_folder_at_once(
    analyze: Callable[..., int],
    cohort: list[Path],
    writing: Writing,
    capsys: pytest.CaptureFixture[str],
) -> None:
    codes: list[int] = []
    writing.at_each = lambda: codes.append(analyze(cohort[1], "--resume"))
    assert analyze(cohort[0]) == 0
    assert codes == [1]
    assert "another run is writing to it" in capsys.readouterr().err


def test_an_empty_folder_keeps_its_mode_and_is_never_renamed(
    analyze: Callable[..., int], out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out.mkdir()
    out.chmod(0o2751)
    before = out.stat()
    rename, access = Path.rename, os.access

    def refuse_mount(self: Path, target: Path) -> Path:
        if out in (self, target):
            raise OSError(16, "Device or resource busy")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse_mount)
    # The folder that holds a mount point is often another user's.
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path and access(path, mode))
    assert analyze(tmp_path / "absent") == 2
    assert list(out.iterdir()) == []
    assert analyze(write_rows(tmp_path / "case.h5")) == 0
    after = out.stat()
    assert (after.st_ino, after.st_mode, after.st_uid) == (before.st_ino, before.st_mode, before.st_uid)
    assert "case/results.json" in files_in(out)


TERMINATED = """
import sys, time
sys.path[:0] = {paths!r}
from pipeline_fakes import FakeLocalizer, FakePlacer, FakeTracker
from tagstrain.cli.main import main
from tagstrain.data import Provenance
from tagstrain.inference.models import Models
from tagstrain.report.results import StudyWriter

def add_or_wait(writer, result, quality, add=StudyWriter.add, written=[]):
    if written:
        print("second", flush=True)
        time.sleep(60)
    written.append(result.name)
    add(writer, result, quality)

StudyWriter.add = add_or_wait
models = Models(FakeLocalizer(), FakePlacer(), FakeTracker(), Provenance("0", "fake", {{}}, "cpu"))
sys.modules["tagstrain.cli.analyze"].load_models = lambda *arguments: models
main()
"""


def test_sigterm_ends_the_command_with_143(out: Path, cohort: list[Path]) -> None:
    paths = [str(Path(tagstrain.__file__).parents[1]), str(Path(__file__).parents[1])]
    arguments = ["analyze", *map(str, cohort), "-o", str(out), "--no-figures", "--quiet"]
    command = [sys.executable, "-c", TERMINATED.format(paths=paths), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "second\n"
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "Interrupted: 1 of 3 studies are done" in told
    assert {path.name for path in out.iterdir()} == {"first", "run.json", "run.log"}


@pytest.mark.parametrize(("interruption", "code"), [(KeyboardInterrupt, 130), (Terminated, 143)])
@pytest.mark.parametrize(
    ("command", "interrupted"),
    [
        ("analyze STUDY -o OUT", "tagstrain.cli.analyze.find_studies"),
        ("track STUDY -o OUT.h5", "tagstrain.cli.track.load_models"),
        (
            "train tracker --out OUT --workers 0 --device cpu --batch-size 4 --validation-scenes 2",
            "tagstrain.training.tracker_module.slips_px",
        ),
    ],
)
def test_interruptions_end_every_command_alike(
    command: str,
    interrupted: str,
    interruption: type[KeyboardInterrupt],
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise interruption

    study = write_rows(tmp_path / "case.h5")
    monkeypatch.setattr(interrupted, interrupt)
    words = {"STUDY": str(study), "OUT": str(tmp_path / "out"), "OUT.h5": str(tmp_path / "out.h5")}
    assert run([words.get(word, word) for word in command.split()]) == code


def test_an_error_on_the_way_out_does_not_hide_an_interruption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batch systems stop all processes of a job at once, and that a worker is gone is an error too."""

    def interrupt(*_: object) -> None:
        try:
            raise Terminated
        except Terminated:
            raise RuntimeError("a worker is gone")  # noqa: B904 - as torch does

    monkeypatch.setattr("tagstrain.cli.analyze.find_studies", interrupt)
    assert run(["analyze", str(write_rows(tmp_path / "case.h5")), "-o", str(tmp_path / "out")]) == 143


class EndedByItself(SystemExit):
    """What a library that trains raises on SIGTERM."""


@pytest.mark.parametrize("ending", [EndedByItself(), TagstrainError("no weights"), FileNotFoundError("best.ckpt")])
def test_a_signal_that_a_library_swallowed_is_no_success(
    ending: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As while a checkpoint is written: training then ends as if asked to, or misses what was not written."""

    def swallow(*_: object) -> None:
        with suppress(Terminated):
            Terminated.handle(signal.SIGTERM, None)
        raise ending

    study = write_rows(tmp_path / "case.h5")
    monkeypatch.setattr("tagstrain.cli.analyze.find_studies", swallow)
    assert run(["analyze", str(study), "-o", str(tmp_path / "out")]) == 143
    assert run(["--version"]) == 0
