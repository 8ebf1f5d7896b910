"""Every bad input of the command line ends with its exit code and one clear line."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pydicom
import pytest

from pipeline_fakes import make_cine
from tagstrain.cli.main import run
from tagstrain.data import SliceLevel
from tagstrain.inference.models import Models
from tagstrain.io.dicom_export import write_dicom_study


def dicom_files(folder: Path) -> list[Path]:
    """A study of one slice as DICOM files."""
    write_dicom_study(folder, [make_cine(n_frames=3)], 1)
    return sorted(path for path in folder.rglob("*") if path.is_file())


def text_file(folder: Path) -> Path:
    path = folder / "scan.dcm"
    path.write_text("not an image")
    return path


def empty_folder(folder: Path) -> Path:
    path = folder / "empty"
    path.mkdir()
    return path


def no_pixels(folder: Path) -> Path:
    for file in dicom_files(folder / "study"):
        dataset = pydicom.dcmread(file)
        del dataset.PixelData
        dataset.save_as(file)
    return folder / "study"


def one_frame(folder: Path) -> Path:
    for file in dicom_files(folder / "study")[1:]:
        file.unlink()
    return folder / "study"


def shrink(file: Path) -> None:
    """Cut four rows off an image."""
    dataset = pydicom.dcmread(file)
    dataset.PixelData = dataset.pixel_array[:-4].tobytes()
    dataset.Rows -= 4
    dataset.save_as(file)


def mixed_sizes(folder: Path) -> Path:
    shrink(dicom_files(folder / "study")[0])
    return folder / "study"


def no_spacing(folder: Path) -> Path:
    for file in dicom_files(folder / "study"):
        dataset = pydicom.dcmread(file)
        del dataset.PixelSpacing
        dataset.save_as(file)
    return folder / "study"


def truncated_hdf5(folder: Path) -> Path:
    path = folder / "rows.h5"
    with h5py.File(path, "w") as file:
        file["image_seqs"] = np.ones((2, 5, 32, 32), np.uint16)
        file["px_spaces"] = [1.4, 1.4]
    path.write_bytes(path.read_bytes()[:3000])
    return path


def missing_dataset(folder: Path) -> Path:
    path = folder / "rows.h5"
    with h5py.File(path, "w") as file:
        file["px_spaces"] = [1.4]
    return path


def escaping_zip(folder: Path) -> Path:
    path = folder / "study.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../evil.dcm", b"x")
    return path


def absent(folder: Path) -> Path:
    return folder / "absent.h5"


UNREADABLE = {
    text_file: "scan.dcm",
    empty_folder: "empty",
    no_pixels: "pixel",
    one_frame: "frame",
    mixed_sizes: "different sizes",
    no_spacing: "--pixel-spacing-mm",
    truncated_hdf5: "rows.h5",
    missing_dataset: "image_seqs",
    escaping_zip: "outside the zip",
    absent: "absent.h5",
}


@pytest.mark.parametrize(("make", "said"), UNREADABLE.items(), ids=[make.__name__ for make in UNREADABLE])
def test_unreadable_input_is_refused(
    make: Callable[[Path], Path],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    fake_models: Models,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tagstrain.cli.analyze.load_models", lambda *arguments: fake_models)
    path = make(tmp_path)
    code = run(["analyze", str(path), "-o", str(tmp_path / "out"), "--no-figures"])
    errors = capsys.readouterr().err
    assert code == 2, errors
    assert not (tmp_path / "out").exists()
    assert errors.startswith("Error: ")
    assert said in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize("make", UNREADABLE, ids=[make.__name__ for make in UNREADABLE])
def test_info_tells_the_same(make: Callable[[Path], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["info", str(make(tmp_path))]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_broken_slice_of_a_study_fails_alone(
    tmp_path: Path, fake_models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tagstrain.cli.analyze.load_models", lambda *arguments: fake_models)
    levels = (SliceLevel.BASAL, SliceLevel.MID, SliceLevel.APICAL)
    cines = [replace(make_cine(n_frames=3), level=level) for level in levels]
    files = write_dicom_study(tmp_path / "study", cines, 1)
    shrink(files[4])
    assert run(["analyze", str(tmp_path / "study"), "-o", str(tmp_path / "out"), "--no-figures"]) == 3
    results = json.loads((tmp_path / "out" / "study" / "results.json").read_text())
    assert (len(results["slices"]), len(results["failures"])) == (2, 1)
    assert "different sizes" in results["failures"][0]["reason"]


def test_spacing_that_is_missing_can_be_given(tmp_path: Path) -> None:
    assert run(["info", str(no_spacing(tmp_path)), "--pixel-spacing-mm", "1.5", "1.25"]) == 0


@pytest.mark.parametrize("command", ["track", "evaluate"])
def test_commands_on_hdf5_refuse_other_files(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = text_file(tmp_path)
    rest = ["-o", str(tmp_path / "p.h5")] if command == "track" else [str(path)]
    assert run([command, str(path), *rest]) == 2
    assert "scan.dcm" in capsys.readouterr().err
    assert not (tmp_path / "p.h5").exists()
