"""The two NumPy layouts, and what is refused in either."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from io_examples import LEVELS, assert_same_cine, by_name, example_cine, example_cines

from tagstrain.data import PixelSpacing, SliceLevel, TaggedCine
from tagstrain.errors import InputError
from tagstrain.io import read_study

AFFINE = np.array([[1.25, 0, 0, 3], [0, 0, -1, 7], [0, 1.5, 0, 11], [0, 0, 0, 1.0]])
"""Steps of the example's pixel spacing."""


def arrays_of(cine: TaggedCine) -> dict[str, object]:
    """Everything that our layout holds."""
    return {
        "frames": cine.frames.astype(np.uint16),
        "frame_times_ms": cine.frame_times_ms,
        "pixel_spacing_mm": cine.pixel_spacing,
        "ed_frame": 1,
        "rr_interval_ms": 870.5,
        "affine": AFFINE,
    }


def save(path: Path, **arrays: object) -> Path:
    np.savez(path, **arrays)
    return path


def load(path: Path) -> TaggedCine:
    (source,) = read_study(path).slices
    return source.load()


def test_our_layout_is_read_whole(tmp_path: Path) -> None:
    cine = example_cine()
    found = load(save(tmp_path / "case 7_mid.npz", **arrays_of(cine)))
    assert_same_cine(found, cine)
    assert (found.ed_frame, found.rr_interval_ms, found.level) == (1, 870.5, SliceLevel.MID)
    np.testing.assert_array_equal(found.affine, AFFINE)
    assert found.warnings == ()
    assert found.source == "NumPy case 7_mid.npz"
    assert found.frames.flags.writeable, "torch warns of memory that it must not write to"


def test_the_successors_layout_is_read_with_what_it_lacks_told(tmp_path: Path) -> None:
    cine = example_cine()
    path = save(
        tmp_path / "a.npz",
        images=cine.frames,
        points=np.zeros((4, 168, 2)),
        px_spacing=1.3,
        bounding_box=np.arange(4),
        slice_name="series 1 slice/2",
        es_frame_number=7,
    )
    found = load(path)
    np.testing.assert_array_equal(found.frames, cine.frames)
    assert found.pixel_spacing == PixelSpacing(1.3, 1.3)
    assert found.name == "series_1_slice_2"
    told = " ".join(found.warnings)
    assert all(words in told for words in ("times are not stored", "end-diastole", "level"))


@pytest.mark.parametrize(
    ("stored", "interval_ms", "words"),
    [
        ([0.0, 0.03, 0.06, 0.09], 30, "0.03 ms apart, expected 5 to 500: they were taken as seconds"),
        ([0.0, 1.0, 2.0, 3.0], 40, "1 ms apart, expected 5 to 500: 40 ms between frames was assumed; mend the times"),
        ([0.0, 3e4, 6e4, 9e4], 40, "30000 ms apart"),
        ([0.0, 5.0, 10.0, 15.0], 5, None),
        ([0.0, 200.0, 400.0, 600.0], 200, None),
        ([0.0, 500.0, 1000.0, 1500.0], 500, None),
    ],
)
def test_times_that_no_cine_can_have_are_mended_aloud(
    tmp_path: Path, stored: list[float], interval_ms: float, words: str | None
) -> None:
    found = load(save(tmp_path / "a_mid.npz", **{**arrays_of(example_cine()), "frame_times_ms": stored}))
    np.testing.assert_allclose(np.diff(found.frame_times_ms), interval_ms)
    assert len(found.warnings) == (words is not None)
    assert words is None or words in found.warnings[0]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["u1", "<i2", ">u2", "i8", "f2", ">f4", "f8"])
def test_every_type_and_order_is_read(tmp_path: Path, dtype: str, order: str) -> None:
    frames = np.asarray(np.arange(60).reshape(3, 4, 5), dtype, order=order)
    found = load(save(tmp_path / "a.npz", frames=frames, pixel_spacing_mm=[1.5, 1.25]))
    np.testing.assert_array_equal(found.frames, np.arange(60).reshape(3, 4, 5))


def test_a_folder_holds_one_slice_per_file_from_base_to_apex(tmp_path: Path) -> None:
    cines = example_cines()
    for name, cine in zip(("x_basal", "x_mid", "an apical one"), cines, strict=True):
        save(tmp_path / f"{name}.npz", **arrays_of(cine))
    (tmp_path / "readme.txt").write_text("x")
    study = read_study(tmp_path)
    assert study.skipped == ("readme.txt: is not a NumPy file",)
    assert list(by_name(study)) == [level.value for level in LEVELS]
    for found, cine in zip(by_name(study).values(), cines, strict=True):
        assert_same_cine(found, cine)


def test_files_that_name_no_level_get_it_from_where_they_lie(tmp_path: Path) -> None:
    """Named out of order; two of them, or one without a position, get none."""
    towards_apex = np.array([1.0, -1.0, -0.8]) / np.linalg.norm([1.0, -1.0, -0.8])
    along_x = np.cross([0.0, 0.0, 1.0], towards_apex)
    affine = np.eye(4)
    affine[:3, 0] = 1.25 * along_x / np.linalg.norm(along_x)
    affine[:3, 1] = 1.5 * np.cross(towards_apex, affine[:3, 0]) / 1.25
    cines = example_cines()
    for name, depth_mm, cine in zip("cab", (0.0, 12.0, 24.0), cines, strict=True):
        placed = affine.copy()
        placed[:3, 3] = depth_mm * towards_apex
        save(tmp_path / f"{name}.npz", **{**arrays_of(cine), "affine": placed})
    slices = read_study(tmp_path).slices
    assert [source.name for source in slices] == [level.value for level in LEVELS]
    for source, cine in zip(slices, cines, strict=True):
        found = source.load()
        assert found.level == cine.level
        np.testing.assert_array_equal(found.frames, cine.frames)
        assert any("by the slices' positions" in warning for warning in found.warnings)
    (tmp_path / "b.npz").unlink()
    assert [source.name for source in read_study(tmp_path).slices] == ["c", "a"]
    save(tmp_path / "b.npz", **{key: value for key, value in arrays_of(cines[2]).items() if key != "affine"})
    assert [source.name for source in read_study(tmp_path).slices] == ["c", "a", "b"]


def test_missing_spacing_can_be_given(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", frames=np.ones((3, 4, 5)))
    with pytest.raises(InputError, match=r"pixel_spacing_mm is missing.*--pixel-spacing-mm"):
        load(path)
    (source,) = read_study(path, (1.5, 1.25)).slices
    assert source.load().pixel_spacing == PixelSpacing(1.5, 1.25)


def test_a_damaged_file_of_a_folder_fails_alone(tmp_path: Path) -> None:
    save(tmp_path / "a.npz", **arrays_of(example_cine()))
    (tmp_path / "b.npz").write_bytes(b"PK\x03\x04")
    good, bad = read_study(tmp_path).slices
    assert_same_cine(good.load(), example_cine())
    with pytest.raises(InputError, match=r"b\.npz"):
        bad.load()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pictures": np.ones((3, 4, 5))}, "neither an array frames nor images"),
        ({"frames": np.ones((3, 4))}, "expected shape"),
        ({"frames": np.ones((1, 4, 5)), "pixel_spacing_mm": [1, 1]}, "at least 2 frames"),
        ({"frames": np.ones((3, 4, 5), complex), "pixel_spacing_mm": [1, 1]}, "holds complex128"),
        ({"frames": np.ones((3, 4, 5)), "pixel_spacing_mm": [1, 1, 1]}, r"expected \(row, column\)"),
        ({"frames": np.ones((3, 4, 5)), "pixel_spacing_mm": ["a", "b"]}, "expected integers or floats"),
        ({"frames": np.ones((3, 4, 5)), "pixel_spacing_mm": [1, 1], "frame_times_ms": [0, 1]}, "frame_times_ms"),
        ({"frames": np.ones((3, 4, 5)), "pixel_spacing_mm": [1, 1], "frame_times_ms": np.ones(20000)}, "far more"),
        ({"frames": np.ones((3, 4, 5)), "pixel_spacing_mm": [1, 1], "ed_frame": 9}, "ed_frame"),
        ({"frames": np.ones((3, 4, 5)), "pixel_spacing_mm": [1, 1], "ed_frame": 1.7}, "whole number"),
        ({"frames": np.ones((3, 4, 5)), "pixel_spacing_mm": [1, 1], "affine": np.diag([1, 0, 1, 1])}, "no plane"),
        ({"frames": np.ones((3, 4, 5)), "pixel_spacing_mm": [1, 1], "affine": np.full((4, 4), np.nan)}, "affine"),
        ({"frames": np.full((3, 4, 5), np.nan), "pixel_spacing_mm": [1, 1]}, "NaN"),
    ],
)
def test_faults_are_named(tmp_path: Path, arrays: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(save(tmp_path / "a.npz", **arrays))


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "ran",))

    np.savez(tmp_path / "a.npz", frames=np.array([Bomb()], object), allow_pickle=True)
    with pytest.raises(InputError, match="pickled objects"):
        read_study(tmp_path / "a.npz")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("shape", [(2**40, 2**40, 2), (-3, -4, 5), (3, 4, 6), (2**31, 2**31, 4)])
def test_an_array_that_announces_another_size_than_it_has_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("frames.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(480))
    (tmp_path / "a.npz").write_bytes(stream.getvalue())
    with pytest.raises(InputError, match="announces shape"):
        read_study(tmp_path / "a.npz")


@pytest.mark.parametrize("header", [b"{", b"(1,\n  2", b"\t", b"{'descr': 5}", b"[" * 5000])
def test_a_header_that_is_no_header_is_refused(tmp_path: Path, header: bytes) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("frames.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
    with pytest.raises(InputError):
        read_study(tmp_path / "a.npz")


def test_a_position_with_other_steps_than_the_pixel_spacing_is_brought_to_it_aloud(tmp_path: Path) -> None:
    found = load(
        save(tmp_path / "a.npz", **{**arrays_of(example_cine()), "affine": AFFINE @ np.diag([2.0, 2.0, 1, 1])})
    )
    np.testing.assert_allclose(found.affine, AFFINE)
    assert "the position in the file has pixels of 3 x 2.5 mm" in found.warnings[0]


@pytest.mark.parametrize(
    ("stored", "expected_ms", "words"),
    [(0.85, 850, "taken as seconds"), (0, None, ""), (12, None, "not used"), (9000, None, "not used"), (870, 870, "")],
)
def test_an_rr_interval_that_no_heart_has_is_mended_or_left_out(
    tmp_path: Path, stored: float, expected_ms: float | None, words: str
) -> None:
    found = load(save(tmp_path / "a_mid.npz", **{**arrays_of(example_cine()), "rr_interval_ms": stored}))
    assert found.rr_interval_ms == (None if expected_ms is None else pytest.approx(expected_ms))
    assert any(words in warning for warning in found.warnings) if words else found.warnings == ()
