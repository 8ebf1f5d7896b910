"""Rows of HDF5 files: read one at a time, faults named, assumptions told."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest
from io_examples import example_cine, write_hdf5, write_plain_hdf5

from tagstrain.data import PixelSpacing
from tagstrain.errors import InputError
from tagstrain.io import iterate_cropped_sequences, iterate_first_frames, read_hdf5_study, read_study

IMAGES = np.arange(2 * 3 * 4 * 5, dtype=np.uint16).reshape(2, 3, 4, 5)
SPACES = np.array([1.5, 1.25])


def test_the_predecessors_layout_is_read(tmp_path: Path) -> None:
    path = write_plain_hdf5(
        tmp_path / "train example.h5", IMAGES, px_spaces=SPACES, ed_frame_idx=np.array([0, 2]), _cases=[b"x", b"y"]
    )
    study = read_study(path)
    assert (study.key, study.format) == ("train_example", "hdf5")
    assert [source.name for source in study.slices] == ["row_00000", "row_00001"]
    cine = study.slices[1].load()
    np.testing.assert_array_equal(cine.frames, IMAGES[1])
    assert cine.pixel_spacing == PixelSpacing(1.25, 1.25)
    assert cine.ed_frame == 2
    assert cine.source == "HDF5 train example.h5, row 1"
    np.testing.assert_array_equal(cine.frame_times_ms, [0, 40, 80])
    (warning,) = cine.warnings
    assert "40 ms" in warning


@pytest.mark.parametrize("blank", [0, 7, np.nan])
def test_blank_frames_at_the_end_are_padding_unless_they_are_counted(tmp_path: Path, blank: float) -> None:
    images = np.concatenate([IMAGES, np.full((2, 2, 4, 5), blank)], axis=1)
    path = write_plain_hdf5(
        tmp_path / "a.h5", images, px_spaces=SPACES, frame_times_ms=np.tile(40.0 * np.arange(5), (2, 1))
    )
    cine = read_study(path).slices[0].load()
    np.testing.assert_array_equal(cine.frames, IMAGES[0])
    np.testing.assert_array_equal(cine.frame_times_ms, [0, 40, 80])
    assert "frames 4 to 5 are blank and were taken for padding" in cine.warnings[0]
    counted = write_plain_hdf5(tmp_path / "b.h5", images, px_spaces=SPACES, n_frames=np.array([4, 3]))
    if np.isnan(blank):
        assert read_study(counted).slices[1].load().n_frames == 3
        return
    assert [source.load().n_frames for source in read_study(counted).slices] == [4, 3]
    inside = write_plain_hdf5(tmp_path / "c.h5", images[:, [0, 3, 1, 2]], px_spaces=SPACES)
    assert read_study(inside).slices[0].load().n_frames == 4


@pytest.mark.parametrize("pixel_type", ["uint16", "float32", "float64"])
def test_the_type_of_stored_pixels_is_remembered(tmp_path: Path, pixel_type: str) -> None:
    path = write_plain_hdf5(tmp_path / "a.h5", IMAGES.astype(pixel_type), px_spaces=SPACES)
    cine = read_study(path).slices[0].load()
    assert cine.pixel_type == pixel_type
    assert cine.frames.dtype == np.float32


def test_a_missing_ed_frame_is_assumed_aloud(tmp_path: Path) -> None:
    path = write_plain_hdf5(tmp_path / "a.h5", IMAGES, px_spaces=SPACES)
    cine = read_study(path).slices[0].load()
    assert cine.ed_frame == 0
    assert any("end-diastole" in warning for warning in cine.warnings)


def test_times_in_seconds_are_taken_as_such_aloud(tmp_path: Path) -> None:
    times = np.array([[0.012, 0.04, 0.07], [12, 40, 70]])
    seconds, ms = read_study(write_plain_hdf5(tmp_path / "a.h5", IMAGES, px_spaces=SPACES, frame_times_ms=times)).slices
    np.testing.assert_allclose(seconds.load().frame_times_ms, ms.load().frame_times_ms)
    assert "taken as seconds" in seconds.load().warnings[-1]
    assert not any("seconds" in warning for warning in ms.load().warnings)


def test_padding_frames_are_left_out(tmp_path: Path) -> None:
    path = write_plain_hdf5(tmp_path / "a.h5", IMAGES, px_spaces=SPACES, n_frames=np.array([3, 2]))
    assert [source.load().n_frames for source in read_study(path).slices] == [3, 2]


def test_missing_spacing_is_asked_for_or_given(tmp_path: Path) -> None:
    path = write_plain_hdf5(tmp_path / "a.h5", IMAGES)
    with pytest.raises(InputError, match=r"px_spaces.*missing.*--pixel-spacing-mm ROW COLUMN"):
        read_study(path)
    assert read_study(path, (1.1, 2.2)).slices[0].load().pixel_spacing == PixelSpacing(1.1, 2.2)


@pytest.mark.parametrize("stored_mm", [0.0014, 0.14, 1400.0, np.inf])
def test_a_spacing_that_no_heart_is_imaged_with_is_asked_for(tmp_path: Path, stored_mm: float) -> None:
    """In m, cm or µm; the other rows can be used."""
    path = write_plain_hdf5(tmp_path / "a.h5", IMAGES, px_spaces=np.array([1.25, stored_mm]))
    first, second = read_study(path).slices
    assert first.load().pixel_spacing == PixelSpacing(1.25, 1.25)
    with pytest.raises(InputError, match=r"row 1: px_spaces.*--pixel-spacing-mm ROW COLUMN"):
        second.load()
    assert read_study(path, (1.4, 1.4)).slices[1].load().pixel_spacing == PixelSpacing(1.4, 1.4)


@pytest.mark.parametrize("bad", [(0, 1), (1, np.nan), (-1, 1)])
def test_given_spacing_must_be_two_lengths(tmp_path: Path, bad: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="pixel_spacing_mm"):
        read_study(tmp_path / "a.h5", bad)


@pytest.mark.parametrize(
    ("datasets", "message"),
    [
        ({"px_spaces": np.array([1.5, -1])}, "-1 x -1 mm"),
        ({"px_spaces": np.array([1.5, np.nan])}, "missing"),
        ({"px_spaces": SPACES, "ed_frame_idx": np.array([0, 3])}, "ed_frame"),
        ({"px_spaces": SPACES, "ed_frame_idx": np.array([0, 1.7])}, "ed_frame_idx is 1.7. Write a whole number"),
        ({"px_spaces": SPACES, "n_frames": np.array([3, 2.5])}, "n_frames is 2.5. Write a whole number"),
        ({"px_spaces": SPACES, "n_frames": np.array([3, 4])}, "n_frames is 4, but image_seqs holds 3 per row"),
        ({"px_spaces": SPACES, "n_frames": np.array([3, 1])}, "at least 2 frames"),
        ({"px_spaces": SPACES, "frame_times_ms": np.array([[0, 1, 2], [0, 2, 2]])}, "strictly increasing"),
    ],
)
def test_a_bad_row_fails_alone(tmp_path: Path, datasets: dict[str, np.ndarray], message: str) -> None:
    good, bad = read_study(write_plain_hdf5(tmp_path / "a.h5", IMAGES, **datasets)).slices
    good.load()
    with pytest.raises(InputError, match=rf"^a\.h5.* row 1: .*{message}"):
        bad.load()


def test_a_row_of_nan_pixels_fails_alone(tmp_path: Path) -> None:
    images = IMAGES.astype(float)
    images[0] = np.nan
    bad, good = read_study(write_plain_hdf5(tmp_path / "a.h5", images, px_spaces=SPACES)).slices
    with pytest.raises(InputError, match=r"a\.h5, row 0: .*60 pixels are NaN"):
        bad.load()
    good.load()


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((3, 4, 5)), "expected numbers of shape"),
        (np.zeros((0, 3, 4, 5)), "is empty"),
        (np.zeros((2, 1, 4, 5)), "1 frame per row"),
        (np.zeros((2, 3, 4, 5), complex), "expected numbers"),
        (np.full((2, 3, 4, 5), b"x"), "expected numbers"),
    ],
)
def test_images_of_another_kind_are_refused(tmp_path: Path, images: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_study(write_plain_hdf5(tmp_path / "a.h5", images, px_spaces=SPACES))


def test_a_missing_dataset_is_named_with_what_was_found(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["pictures"] = IMAGES
        file.create_group("image_seqs")
    with pytest.raises(InputError, match=r"a\.h5: dataset image_seqs is missing \(found: image_seqs, pictures\)"):
        read_study(tmp_path / "a.h5")


@pytest.mark.parametrize("kept", [0.999, 0.5, 0.01])
def test_truncated_files_are_refused_without_naming_folders(tmp_path: Path, kept: float) -> None:
    path = write_hdf5(tmp_path / "a.h5", [example_cine(rows=50, columns=50)])
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    with pytest.raises(InputError, match=r"a\.h5: is truncated or damaged") as error:
        read_study(path)
    assert str(tmp_path) not in str(error.value)


def test_what_is_no_hdf5_file_is_named_without_the_librarys_words(tmp_path: Path) -> None:
    (tmp_path / "notes.h5").write_text("no images")
    with pytest.raises(InputError, match=r"^notes\.h5: is not an HDF5 file\. Give one .* analyze takes other formats"):
        read_hdf5_study(tmp_path / "notes.h5")
    with pytest.raises(InputError, match=r": is a folder, expected an HDF5 file .* analyze takes folders"):
        read_hdf5_study(tmp_path)
    with pytest.raises(InputError, match=r"^mem: is truncated or damaged \(Input/output error\)"):
        read_hdf5_study(Path("/proc/self/mem"))


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """Rows of 200 KB, 200 of them: one may be held at a time, with its float copy."""
    row_bytes = 10 * 100 * 100 * 2
    with h5py.File(tmp_path / "big.h5", "w") as file:
        images = file.create_dataset("image_seqs", (200, 10, 100, 100), np.uint16, chunks=(1, 10, 100, 100))
        file["px_spaces"] = np.ones(200)
        for row in range(200):
            images[row] = row
    tracemalloc.start()
    study = read_hdf5_study(tmp_path / "big.h5")
    for row, source in enumerate(study.slices):
        assert source.load().frames[0, 0, 0] == row
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(study.slices) == 200
    assert peak < 10 * row_bytes


def test_predict_reads_first_frames_and_crops_row_by_row(tmp_path: Path) -> None:
    crops = np.random.default_rng(0).random((2, 3, 128, 128)).astype(np.float32)
    path = write_plain_hdf5(tmp_path / "a.h5", IMAGES, cropped_image_seqs=crops, n_frames=np.array([3, 2]))
    np.testing.assert_array_equal(list(iterate_first_frames(path)), IMAGES[:, 0])
    (first, n_first), (second, n_second) = iterate_cropped_sequences(path)
    assert n_first == n_second == 3
    np.testing.assert_array_equal(first, crops[0])
    np.testing.assert_array_equal(second, crops[1, :2])
    with pytest.raises(InputError, match="cropped_image_seqs is missing"):
        next(iterate_cropped_sequences(write_plain_hdf5(tmp_path / "b.h5", IMAGES)))


def test_a_folder_of_files_is_told_how_to_be_given(tmp_path: Path) -> None:
    write_plain_hdf5(tmp_path / "a.h5", IMAGES, px_spaces=SPACES)
    with pytest.raises(InputError, match=rf"is a folder of HDF5 files\. Give the files: {tmp_path.name}/\*\.h5"):
        read_study(tmp_path)


@pytest.mark.skipif("TAGSTRAIN_REAL_CASE" not in os.environ, reason="needs the real case (TAGSTRAIN_REAL_CASE)")
def test_the_real_case_is_read() -> None:
    (source,) = read_study(Path(os.environ["TAGSTRAIN_REAL_CASE"])).slices
    cine = source.load()
    assert cine.frames.shape == (20, 256, 256)
    assert cine.frames.max() > 100
    np.testing.assert_allclose(cine.pixel_spacing, 350 / 256)
