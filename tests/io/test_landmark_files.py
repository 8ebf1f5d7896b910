"""Landmark files: what is appended is read back, padding is NaN, and a failed writer leaves nothing."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagstrain.data import Box, PixelSpacing
from tagstrain.errors import InputError, OutputError
from tagstrain.io import LandmarkFile, LandmarkFileWriter
from tagstrain.io.landmark_file import COUNT_FROM_BOX, X_AND_Y_EXCHANGED, Misfit

BOX = Box(1.5, 2.5, 30.0, 40.0)
SPACING = PixelSpacing(1.5, 1.25)


def points(n_frames: int, n_points: int, seed: int = 0) -> np.ndarray:
    """Points anywhere in an image."""
    return np.random.default_rng(seed).uniform(1, 200, (n_frames, n_points, 2))


def write_one_row_and_stop(path: Path) -> None:
    """Break off within the block, as a user does."""
    with LandmarkFileWriter(path, 3, overwrite=True) as writer:
        writer.append(points(3, 5), BOX, SPACING, 0)
        raise KeyboardInterrupt


@settings(max_examples=20, deadline=None)
@given(counts=st.lists(st.integers(1, 35), min_size=1, max_size=4), n_points=st.integers(1, 200))
def test_rows_of_any_length_and_count_of_points_come_back(counts: list[int], n_points: int) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "pred.h5"
        with LandmarkFileWriter(path, max(counts)) as writer:
            for k, n in enumerate(counts):
                sigma = np.full((n, n_points), 0.5 + k)
                writer.append(points(n, n_points, k), BOX, SPACING, n - 1, sigma_px=sigma, quality={"loss": k})
        with LandmarkFile(path) as file:
            assert len(file) == len(counts)
            for k, n in enumerate(counts):
                row = file.row(k)
                assert (row.n_frames, row.ed_frame, row.es_frame) == (n, n - 1, None)
                assert (row.box, row.pixel_spacing_mm, row.quality) == (BOX, SPACING, {"loss": k})
                np.testing.assert_array_equal(row.points_px[:n], points(n, n_points, k))
                assert row.sigma_px is not None
                assert (row.sigma_px[:n] == 0.5 + k).all()
                assert np.isnan(row.points_px[n:]).all()
                assert np.isnan(row.sigma_px[n:]).all()


def test_the_file_has_the_predecessors_layout(tmp_path: Path) -> None:
    frames = np.arange(3 * 4 * 5, dtype=np.uint16).reshape(3, 4, 5)
    crop = np.ones((3, 128, 128), np.float32)
    with LandmarkFileWriter(tmp_path / "a.h5", 4) as writer:
        for k in range(2):
            writer.append(
                points(3, 168, k), BOX, (1.5, 1.5), 0, 2, frames, cropped_frames=crop, cropped_points_px=points(3, 168)
            )
    with h5py.File(tmp_path / "a.h5") as file:
        shapes = {name: dataset.shape for name, dataset in file.items()}
        assert shapes == {
            "image_seqs": (2, 4, 4, 5),
            "landmark_coords": (2, 4, 2, 168),
            "bbox_corners": (2, 4),
            "px_spaces": (2,),
            "ed_frame_idx": (2,),
            "es_frame_idx": (2,),
            "n_frames": (2,),
            "cropped_image_seqs": (2, 4, 128, 128),
            "cropped_landmark_coords": (2, 4, 2, 168),
        }
        assert all(dataset.maxshape[0] is None for dataset in file.values())
        assert file["image_seqs"].dtype == np.uint16
        assert file["cropped_image_seqs"].dtype == np.float32
        np.testing.assert_array_equal(file["image_seqs"][1, :3], frames)
        assert not file["image_seqs"][1, 3].any()
        np.testing.assert_array_equal(file["landmark_coords"][1, 2, 0], points(3, 168, 1)[2, :, 0])
        np.testing.assert_array_equal(file["es_frame_idx"][:], [2, 2])


def test_values_that_some_rows_lack_are_missing_there_only(tmp_path: Path) -> None:
    sigma = np.ones((3, 5))
    with LandmarkFileWriter(tmp_path / "a.h5", 3) as writer:
        writer.append(points(3, 5), None, None, 0)
        writer.append(points(3, 5), BOX, SPACING, 1, 2, sigma_px=sigma, quality={"a": 0.25})
        writer.append(np.full((3, 5, 2), np.nan), BOX, (2.0, 2.0), 0, quality={"b": 1.0})
    file = LandmarkFile(tmp_path / "a.h5")
    first, second, third = (file.row(k) for k in range(3))
    assert (first.box, first.pixel_spacing_mm, first.quality) == (None, None, {})
    assert np.isnan(first.sigma_px).all()
    assert (second.box, second.pixel_spacing_mm, second.quality) == (BOX, SPACING, {"a": 0.25})
    np.testing.assert_array_equal(second.sigma_px, sigma)
    assert third.pixel_spacing_mm == (2.0, 2.0)
    assert third.quality == {"b": 1.0}
    assert np.isnan(third.points_px).all()


@pytest.mark.parametrize(("n_points", "is_place"), [(168, False), (9, True)])
def test_zeros_count_as_missing(n_points: int, is_place: bool, tmp_path: Path) -> None:
    """The predecessor stores frames without labels so, others some points; one alone may be a place, but no heart's."""
    stored = points(4, n_points)
    stored[2] = 0
    stored[1, 5:7] = 0
    stored[3, 8] = 0
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["landmark_coords"] = np.moveaxis(stored, -1, -2)[None].astype(np.float32)
    row = LandmarkFile(tmp_path / "a.h5").row(0)
    assert np.isnan(row.points_px[2]).all()
    assert np.isnan(row.points_px[1, 5:7]).all()
    stored[1, 5:7] = np.nan
    stored[3, 8] = 0 if is_place else np.nan
    np.testing.assert_allclose(row.points_px[[0, 1, 3]], stored[[0, 1, 3]], rtol=1e-6)
    assert (row.box, row.pixel_spacing_mm, row.ed_frame, row.es_frame, row.n_frames) == (None, None, 0, None, 4)
    assert row.sigma_px is None


def test_rows_that_do_not_fit_are_refused_whole(tmp_path: Path) -> None:
    with LandmarkFileWriter(tmp_path / "a.h5", 3) as writer:
        writer.append(points(3, 5), BOX, SPACING, 0, frames=np.zeros((3, 4, 4), np.uint16))
        for bad in [points(4, 5), points(3, 6), points(3, 5)[..., :1], points(3, 5)[0]]:
            with pytest.raises(ValueError, match=r"expected|frames|rows before"):
                writer.append(bad, BOX, SPACING, 0)
        with pytest.raises(ValueError, match="cannot hold float64"):
            writer.append(points(3, 5), BOX, SPACING, 0, frames=np.zeros((3, 4, 4)))
        assert len(writer) == 1
    assert len(LandmarkFile(tmp_path / "a.h5")) == 1


def test_an_error_leaves_no_file_and_spares_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    path.write_bytes(b"old")
    with pytest.raises(OutputError, match=r"already exists.*--overwrite"), LandmarkFileWriter(path, 3):
        pass
    with pytest.raises(KeyboardInterrupt):
        write_one_row_and_stop(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    with LandmarkFileWriter(path, 3, overwrite=True) as writer:
        writer.append(points(3, 5), BOX, SPACING, 0)
    assert len(LandmarkFile(path)) == 1


@pytest.mark.parametrize(
    ("datasets", "message"),
    [
        ({}, "landmark_coords is missing"),
        ({"landmark_coords": np.zeros((1, 3, 5, 2))}, "axis 2"),
        ({"landmark_coords": np.zeros((3, 2, 5))}, "expected numbers of shape"),
        ({"landmark_coords": np.ones((1, 3, 2, 5)), "ed_frame_idx": np.array([3])}, "ed_frame_idx is 3 of 3"),
        ({"landmark_coords": np.ones((1, 3, 2, 5)), "landmark_sigma": np.ones((1, 3, 4))}, "does not match"),
        ({"landmark_coords": np.ones((1, 3, 2, 5)), "bbox_corners": np.ones((2, 4))}, "one row for each"),
    ],
)
def test_faults_are_named(tmp_path: Path, datasets: dict[str, np.ndarray], message: str) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, values in datasets.items():
            file[name] = values
    with pytest.raises(InputError, match=message):
        LandmarkFile(tmp_path / "a.h5").row(0)


def test_rows_beyond_the_file_are_an_index_error(tmp_path: Path) -> None:
    with LandmarkFileWriter(tmp_path / "a.h5", 3) as writer:
        writer.append(points(3, 5), BOX, SPACING, 0)
    with pytest.raises(IndexError):
        LandmarkFile(tmp_path / "a.h5").row(1)


@pytest.mark.parametrize(
    ("center_px", "box", "misfit"),
    [
        ((60, 60), (21.5, 21.5, 98.5, 98.5), None),
        ((39, 39), (21.5, 21.5, 98.5, 98.5), COUNT_FROM_BOX),
        ((30, 30), (4.0, 4.0, 62.0, 62.0), None),  # drawn closely, one landmark half a pixel outside
        ((300, 300), (21.5, 21.5, 98.5, 98.5), None),  # somewhere else altogether
        ((60, 90), (51.5, 21.5, 128.5, 98.5), X_AND_Y_EXCHANGED),
    ],
)
def test_landmarks_that_are_meant_otherwise_by_their_box_are_known(
    center_px: tuple[float, float], box: tuple[float, float, float, float], misfit: Misfit | None, tmp_path: Path
) -> None:
    angle = 2 * np.pi * np.arange(24) / 24
    wall = np.array(center_px)[:, None] + 26.5 * np.stack([np.cos(angle), np.sin(angle)])
    path = tmp_path / "rows.h5"
    with h5py.File(path, "w") as file:
        file["landmark_coords"] = np.repeat(wall[None], 3, axis=0)[None]
        file["bbox_corners"] = [box]
    assert LandmarkFile(path).row(0).misfit == misfit
    (tmp_path / "no_box.h5").write_bytes(path.read_bytes())
    with h5py.File(tmp_path / "no_box.h5", "a") as file:
        del file["bbox_corners"]
    assert LandmarkFile(tmp_path / "no_box.h5").row(0).misfit is None


def test_notes_of_readers_are_no_quality(tmp_path: Path) -> None:
    path = tmp_path / "labelled.h5"
    with LandmarkFileWriter(path, 3) as writer:
        writer.append(points(3, 5), BOX, SPACING, 0, quality={"loss": 0.5})
    with h5py.File(path, "a") as file:
        file["quality_reader"] = np.array([b"AB"])
        file.create_group("quality_notes")
        file["quality_seen"] = np.array([True])
        file["quality_gone"] = h5py.SoftLink("/nowhere")
    assert LandmarkFile(path).row(0).quality == {"loss": 0.5}
