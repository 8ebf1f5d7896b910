"""Outputs are whole or absent, and nothing of the user's is replaced unasked."""

from __future__ import annotations

import os
from pathlib import Path
from unittest.mock import patch

import pytest

from tagstrain.errors import OutputError
from tagstrain.io import atomic_file, atomic_folder, prepare_output, remove_leftovers


def write_half_a_folder(path: Path, error: type[BaseException]) -> None:
    """Fail within the block."""
    with atomic_folder(path, overwrite=True) as temporary:
        (temporary / "run.json").write_text("half")
        raise error


def write_half_a_file(path: Path, error: type[BaseException]) -> None:
    """Fail within the block."""
    with atomic_file(path, overwrite=True) as temporary:
        temporary.write_text("half")
        raise error


def test_a_file_appears_only_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.json"
    with atomic_file(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists()
        assert temporary.parent == path.parent
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_appears_only_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with atomic_folder(path) as temporary:
        (temporary / "run.json").write_text("whole")
        assert not path.exists()
    assert (path / "run.json").read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_failure_leaves_what_was_there(tmp_path: Path, error: type[BaseException]) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "run.json").write_text("old")
    (tmp_path / "a.json").write_text("old")
    with pytest.raises(error):
        write_half_a_folder(tmp_path / "out", error)
    with pytest.raises(error):
        write_half_a_file(tmp_path / "a.json", error)
    assert (tmp_path / "out" / "run.json").read_text() == (tmp_path / "a.json").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2


def test_overwriting_replaces_the_whole_folder(tmp_path: Path) -> None:
    path = tmp_path / "out"
    for name in ("old.csv", "new.csv"):
        with atomic_folder(path, overwrite=True, marker="run.json") as temporary:
            (temporary / "run.json").touch()
            (temporary / name).touch()
    assert sorted(file.name for file in path.iterdir()) == ["new.csv", "run.json"]
    assert list(tmp_path.iterdir()) == [path]


def test_existing_results_are_refused_without_overwrite(tmp_path: Path) -> None:
    (tmp_path / "a.json").touch()
    with pytest.raises(OutputError, match=r"a\.json: already exists.*--overwrite"):
        prepare_output(tmp_path / "a.json")
    prepare_output(tmp_path / "a.json", overwrite=True)
    with pytest.raises(OutputError, match=r"already holds files.*--overwrite"):
        prepare_output(tmp_path)


def test_what_another_run_wrote_meanwhile_stays(tmp_path: Path) -> None:
    path, folder = tmp_path / "pred.h5", tmp_path / "out"

    def write_late() -> None:
        with atomic_file(path) as temporary:
            temporary.write_text("second")
            path.write_text("first")

    def fill_late() -> None:
        with atomic_folder(folder) as temporary:
            (temporary / "a").write_text("second")
            folder.mkdir()
            (folder / "b").write_text("first")

    with pytest.raises(OutputError, match=r"pred\.h5: already exists"):
        write_late()
    with pytest.raises(OutputError, match="out: already holds files"):
        fill_late()
    assert path.read_text() == (folder / "b").read_text() == "first"
    assert sorted(tmp_path.rglob("*")) == [folder, folder / "b", path]


def test_an_empty_folder_is_free(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with atomic_folder(tmp_path / "out") as temporary:
        (temporary / "a").touch()
    assert (tmp_path / "out" / "a").exists()


def test_a_folder_that_tagstrain_did_not_write_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(OutputError, match=r"no run\.json"):
        prepare_output(tmp_path, overwrite=True, marker="run.json")


def test_an_output_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be made"):
        prepare_output(tmp_path / "file" / "out")
    with patch.object(os, "access", return_value=False), pytest.raises(OutputError, match="not writable"):
        prepare_output(tmp_path / "out")


def test_files_and_folders_do_not_replace_each_other(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="is not a folder"), atomic_folder(tmp_path / "file", overwrite=True):
        pass
    with pytest.raises(OutputError, match="is a folder"), atomic_file(tmp_path / "folder", overwrite=True):
        pass


def test_a_failed_swap_restores_the_old_folder(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.mkdir()
    (path / "run.json").write_text("old")
    rename = Path.rename

    def refuse_new(self: Path, target: Path) -> Path:
        if target == path and not (self / "run.json").exists():
            raise OSError("disk")
        return rename(self, target)

    with (
        patch.object(Path, "rename", refuse_new),
        pytest.raises(OSError, match="disk"),
        atomic_folder(path, overwrite=True),
    ):
        pass
    assert (path / "run.json").read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_swap_restores_the_old_folder(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.mkdir()
    (path / "run.json").write_text("old")
    rename = Path.rename

    def interrupt(self: Path, target: Path) -> Path:
        moved = rename(self, target)
        if self == path:
            raise KeyboardInterrupt
        return moved

    with (
        patch.object(Path, "rename", interrupt),
        pytest.raises(KeyboardInterrupt),
        atomic_folder(path, overwrite=True),
    ):
        pass
    assert (path / "run.json").read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_leftovers_of_one_name_are_told_from_others(tmp_path: Path) -> None:
    for name in (".a.0123456789ab.partial", ".b.0123456789ab.partial", ".a.partial", "a.0123456789ab.partial"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    remove_leftovers(tmp_path, "a")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".a.partial",
        ".b.0123456789ab.partial",
        "a.0123456789ab.partial",
    ]
