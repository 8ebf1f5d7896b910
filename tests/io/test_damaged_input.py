"""Whatever is done to a file, reading it gives a cine or an `InputError`, never another exception."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from io_examples import example_cine, write_hdf5, write_nifti, write_study, zip_folder

from tagstrain.errors import InputError
from tagstrain.io import read_study

N_MUTATIONS = 60


def read_all(path: Path) -> str:
    """Read a study and all its slices; the message of the first refusal, if any."""
    message = ""
    try:
        study = read_study(path)
    except InputError as error:
        return str(error)
    for source in study.slices:
        try:
            source.load()
        except InputError as error:
            message = message or str(error)
    return message


def mutate(data: bytes, rng: np.random.Generator, header_bytes: int) -> bytes:
    """Cut the file, flip bits or overwrite a run of bytes, mostly in the header where most can go wrong."""
    kind = rng.integers(4)
    if kind == 0:
        return data[: rng.integers(len(data))]
    damaged = bytearray(data)
    end = min(header_bytes, len(data)) if rng.random() < 0.8 else len(data)
    if kind == 1:
        start = rng.integers(end)
        damaged[start : start + 4] = rng.bytes(4)
    else:
        for at in rng.integers(end, size=rng.integers(1, 6)):
            damaged[at] ^= 1 << int(rng.integers(8))
    return bytes(damaged)


@pytest.mark.parametrize("kind", ["dicom", "zip", "nii", "nii.gz", "h5"])
def test_damage_is_never_more_than_an_input_error(tmp_path: Path, kind: str) -> None:
    cine = example_cine(n_frames=3)
    files = write_study(tmp_path / "dicom", [cine])
    if kind == "dicom":
        target, header_bytes = files[1], 1500
    elif kind == "zip":
        target, header_bytes = zip_folder(tmp_path / "dicom", tmp_path / "a.zip"), 10**6
    elif kind == "h5":
        target, header_bytes = write_hdf5(tmp_path / "a.h5", [cine]), 3000
    else:
        target, header_bytes = write_nifti(tmp_path / f"a.{kind}", cine), 352
    data = target.read_bytes()
    rng = np.random.default_rng(20211)
    messages = set()
    for _ in range(N_MUTATIONS):
        target.write_bytes(mutate(data, rng, header_bytes))
        messages.add(read_all(target.parent if kind == "dicom" else target))
    assert len(messages) > 1  # some damage was noticed
    assert not any(str(tmp_path) in message for message in messages)


@pytest.mark.parametrize(
    "content", [b"", b"x", b"hello world\n" * 50, b"\0" * 200, b"PK\x03\x04", b"\x89HDF\r\n\x1a\n"]
)
@pytest.mark.parametrize("name", ["a", "a.h5", "a.dcm", "a.nii", "a.nii.gz", "a.zip", "a.png"])
def test_files_that_are_no_images_are_refused_by_name(tmp_path: Path, content: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"^{name}: "):
        read_study(tmp_path / name)


def test_a_path_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_study(tmp_path / "nothing")
