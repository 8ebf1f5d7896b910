"""``tagstrain report``: which pages it writes, and what it says where it cannot."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from saved_results import short_axis_slices, write_results
from tagstrain.cli.exits import ExitCode
from tagstrain.cli.main import run


def test_every_study_of_a_run_gets_its_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one", "two"):
        write_results(tmp_path / name, short_axis_slices(3, (40, 36))[:1], key=name)
    (tmp_path / "other").mkdir()
    assert run(["report", str(tmp_path)]) is ExitCode.DONE
    pages = [tmp_path / name / "report.html" for name in ("one", "two")]
    assert capsys.readouterr().out.split() == [str(page) for page in pages]
    assert all("not for diagnostic use" in page.read_text(encoding="utf-8") for page in pages)
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == [
        "report.html",
        "results.h5",
        "results.json",
        "strain.csv",
    ]


def test_a_study_that_cannot_be_read_does_not_stop_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("one", "two"):
        write_results(tmp_path / name, short_axis_slices(3, (40, 36))[:1])
    (tmp_path / "one" / "results.h5").write_bytes(b"no HDF5")
    assert run(["report", str(tmp_path)]) is ExitCode.SOME_FAILED
    captured = capsys.readouterr()
    assert captured.out.split() == [str(tmp_path / "two" / "report.html")]
    assert "Error: one: results.h5: cannot be read" in captured.err
    assert run(["report", str(tmp_path / "one")]) is ExitCode.UNREADABLE


def test_a_page_that_the_disk_refuses_is_told_and_stops_no_other_study(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        write_results(tmp_path / name, short_axis_slices(3, (40, 36))[:1], key=name)
    write_text = Path.write_text

    def write_where_there_is_space(path: Path, *args: str, **options: str) -> int:
        if path.parent.name == "one":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write_text(path, *args, **options)

    monkeypatch.setattr(Path, "write_text", write_where_there_is_space)
    assert run(["report", str(tmp_path)]) is ExitCode.SOME_FAILED
    captured = capsys.readouterr()
    assert captured.out.split() == [str(tmp_path / "two" / "report.html")]
    assert "report.html: cannot be written (No space left on device)" in captured.err
    assert not list((tmp_path / "one").glob("*report*"))


def test_a_folder_without_results_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", str(tmp_path)]) is ExitCode.UNREADABLE
    assert "holds no results.json" in capsys.readouterr().err


def test_pdf_without_a_browser_says_so_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_results(tmp_path / "one", short_axis_slices(3, (40, 36))[:1])
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run(["report", str(folder), "--pdf"]) is ExitCode.ERROR
    assert "--pdf needs Chromium" in capsys.readouterr().err
    assert not (folder / "report.html").exists()


def test_a_browser_that_fails_is_quoted_and_stops_no_other_study(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [
        write_results(tmp_path / "out" / name, short_axis_slices(3, (40, 36))[:1], key=name) for name in ("one", "two")
    ]
    browser = tmp_path / "bin" / "chromium"
    browser.parent.mkdir()
    browser.write_text("#!/bin/sh\necho 'no display' >&2\nexit 3\n", encoding="utf-8")
    browser.chmod(0o755)
    monkeypatch.setenv("PATH", str(browser.parent))
    assert run(["report", str(tmp_path / "out"), "--pdf"]) is ExitCode.SOME_FAILED
    assert capsys.readouterr().err.count("chromium did not print it; it said: no display") == 2
    for folder in folders:
        assert (folder / "report.html").exists()
        assert not (folder / "report.pdf").exists()


def test_a_path_that_does_not_exist_is_told_as_such(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", str(tmp_path / "nowhere")]) is ExitCode.UNREADABLE
    assert "nowhere: does not exist" in capsys.readouterr().err
