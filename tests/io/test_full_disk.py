"""A full disk is told in words, leaves nothing behind and does not take the interpreter down."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from tagstrain.data import PixelSpacing, TaggedCine
from tagstrain.errors import OutputError
from tagstrain.io import write_dicom_study
from tagstrain.io.lenient_file import LenientFile

WRITE = """
import resource, sys
from pathlib import Path
import numpy as np
from tagstrain.errors import OutputError
from tagstrain.io import LandmarkFileWriter
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)  # what is beyond is refused as by a full disk
points, frames = np.ones((20, 168, 2)), np.ones((20, 64, 64), np.uint16)
try:
    with LandmarkFileWriter(Path(sys.argv[1]), 20) as writer:
        for _ in range(3):
            writer.append(points, None, (1, 1), 0, frames=frames)
except OutputError as error:
    print(error)
"""


@pytest.mark.parametrize("n_bytes", [0, 1000, 300_000, 681_000])
def test_hdf5_that_does_not_fit_is_told_and_gone(tmp_path: Path, n_bytes: int) -> None:
    command = [sys.executable, "-c", WRITE, str(tmp_path / "a.h5"), str(n_bytes)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{tmp_path / 'a.h5'}: cannot be written (File too large). Free some space" in done.stdout
    assert not list(tmp_path.iterdir())


def test_a_refused_write_is_dropped_and_remembered() -> None:
    with LenientFile(Path("/dev/full")) as disk:
        disk.check()
        assert disk.write(b"abc") == 3
        with pytest.raises(OSError, match="No space left"):
            disk.check()


def test_a_file_that_fits_is_that_of_hdf5(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).random((50, 1000))
    with LenientFile(tmp_path / "a.h5") as disk, h5py.File(disk, "w") as file:
        file.create_dataset("x", data=numbers, chunks=(1, 1000))
    disk.check()
    with h5py.File(tmp_path / "a.h5") as file:
        np.testing.assert_array_equal(file["x"], numbers)


def test_dicom_that_does_not_fit_is_told_and_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(*_: object, **__: object) -> None:
        raise OSError("With tag (7FE0,0010) got exception") from OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pydicom.dataset.FileDataset.save_as", fill)
    cine = TaggedCine(np.ones((2, 4, 5), np.float32), np.array([0.0, 40]), PixelSpacing(1.5, 1.5))
    with pytest.raises(OutputError, match=r"study: cannot be written \(No space left on device\)"):
        write_dicom_study(tmp_path / "study", [cine], seed=1)
    assert not list(tmp_path.iterdir())
