"""``tagstrain prepare-cim``: a training file, a summary, and an exit code that says whether all of it was used."""

from __future__ import annotations

from pathlib import Path

import h5py
import pytest

from cim_export import simulated_case, strain_file, write_cim_export
from tagstrain.cli.main import run


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    return [str(folder) for folder in write_cim_export(tmp_path, simulated_case(), "case_07")]


def test_a_whole_export_is_converted(folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "train.h5"
    assert run(["prepare-cim", *folders, "-o", str(out), "--case-names"]) == 0
    printed = capsys.readouterr()
    assert "3 slices written, 1 cases read" in printed.out
    assert "slices skipped: 0" in printed.out
    assert printed.err == ""
    with h5py.File(out) as file:
        assert set(file["_cases"].asstr()) == {"case_07"}


def test_what_is_missing_is_named_and_counted(
    folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strain_file(Path(folders[0]), "case_07", 0, 0).unlink()
    strain_file(Path(folders[0]), "case_07", 1, 3).unlink()
    assert run(["prepare-cim", *folders, "-o", str(tmp_path / "train.h5")]) == 3
    printed = capsys.readouterr()
    assert "case_07, model_reader, series_1_slice_1: no landmarks in the first frame" in printed.err
    assert "case_07, model_reader, series_1_slice_2: frame 3 has no landmarks" in printed.err
    assert "2 slices written" in printed.out
    assert "slices skipped: 1\n    no landmarks in the first frame: 1" in printed.out
    assert "incomplete in slices written: 1\n    no landmarks in a later frame: 1" in printed.out


def test_missing_later_frames_alone_are_no_failure(folders: list[str], tmp_path: Path) -> None:
    strain_file(Path(folders[0]), "case_07", 1, 3).unlink()
    assert run(["prepare-cim", *folders, "-o", str(tmp_path / "train.h5"), "--quiet"]) == 0


def test_folders_that_hold_nothing_cannot_be_read(
    folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    for bad in ([str(tmp_path / "empty"), folders[1]], [folders[0], str(tmp_path / "absent")], folders[::-1]):
        assert run(["prepare-cim", *bad, "-o", str(tmp_path / "train.h5")]) == 2
        assert "Error: " in capsys.readouterr().err
    assert run(["prepare-cim", folders[0], str(tmp_path / "empty"), "-o", str(tmp_path / "train.h5")]) == 2
    assert "no image of the first frame: 3" in capsys.readouterr().err
    assert not (tmp_path / "train.h5").exists()


def test_a_file_is_not_replaced_unasked(folders: list[str], tmp_path: Path) -> None:
    out = tmp_path / "train.h5"
    out.write_bytes(b"precious")
    assert run(["prepare-cim", *folders, "-o", str(out)]) == 1
    assert out.read_bytes() == b"precious"
    assert run(["prepare-cim", *folders, "-o", str(out), "--overwrite"]) == 0
    assert h5py.is_hdf5(out)
