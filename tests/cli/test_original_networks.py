"""The predecessor's networks from the command line: what its own scripts did, and its whole pipeline."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from original_networks import noise, write_rows
from tagstrain.cli.main import run
from tagstrain.networks.localizer import LocalizationCNN
from tagstrain.networks.weights import load_weights


def predict(network: str, path: Path, output: Path, *options: str) -> int:
    return int(run(["predict", network, str(path), "-o", str(output), "--overwrite", "--device", "cpu", *options]))


def test_boxes_depend_on_the_batch_as_they_did(tmp_path: Path, original_weights: dict[str, Path]) -> None:
    """Three rows in batches of two: (0, 1) and (2); only frame 0 counts, in grey levels as they are."""
    images = noise((3, 2, 256, 256))
    path = write_rows(tmp_path / "in.h5", images)
    weights = original_weights["localizer"]
    network, _ = load_weights("localizer", weights)
    assert isinstance(network, LocalizationCNN)

    def boxes(*options: str) -> np.ndarray:
        assert predict("localizer", path, tmp_path / "out.h5", "--weights", str(weights), *options) == 0
        with h5py.File(tmp_path / "out.h5") as file:
            assert file["bbox_corners"].dtype == np.float32
            return np.asarray(file["bbox_corners"])

    def expected(*batches: slice) -> np.ndarray:
        first = torch.from_numpy(images[:, :1])
        with torch.inference_mode():
            return np.concatenate([network(first[batch]).numpy() for batch in batches])

    in_pairs, together = expected(slice(0, 2), slice(2, 3)), expected(slice(0, 3))
    assert np.abs(in_pairs - together).max() > 0.01
    np.testing.assert_allclose(boxes("--batch-size", "2", "--batch-statistics", "original"), in_pairs, rtol=1e-5)
    np.testing.assert_allclose(boxes(), together, rtol=1e-5)  # the weights file says original
    network.batch_statistics = "moving"
    moving = expected(slice(0, 3))
    assert np.abs(moving - together).max() > 0.1
    np.testing.assert_allclose(boxes("--batch-statistics", "moving"), moving, rtol=1e-5)


def test_a_row_with_nan_pixels_has_no_box_and_spoils_no_other(
    tmp_path: Path, original_weights: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    images = noise((3, 1, 256, 256))
    images[1, 0, 5, 5] = np.nan
    weights = ("--weights", str(original_weights["localizer"]))
    assert predict("localizer", write_rows(tmp_path / "a.h5", images), tmp_path / "a_out.h5", *weights) == 3
    said = capsys.readouterr().err
    assert "a.h5, row_00001: Frame 0 has NaN or infinite pixels" in said
    assert "a.h5: 1 of 3 rows failed" in said
    assert predict("localizer", write_rows(tmp_path / "b.h5", images[::2]), tmp_path / "b_out.h5", *weights) == 0
    with h5py.File(tmp_path / "a_out.h5") as a, h5py.File(tmp_path / "b_out.h5") as b:
        assert np.isnan(a["bbox_corners"][1]).all()
        np.testing.assert_allclose(a["bbox_corners"][::2], b["bbox_corners"], rtol=1e-6)


def test_images_of_another_size_are_refused(
    tmp_path: Path, original_weights: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_rows(tmp_path / "in.h5", noise((1, 2, 192, 256)))
    assert predict("localizer", path, tmp_path / "out.h5", "--weights", str(original_weights["localizer"])) == 2
    assert "192 x 256, this network reads 256 x 256" in capsys.readouterr().err
    assert not (tmp_path / "out.h5").exists()


def test_landmarks_come_from_raw_crops(tmp_path: Path, original_weights: dict[str, Path]) -> None:
    crops = noise((2, 3, 128, 128))
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file["cropped_image_seqs"] = crops
    weights = original_weights["rnncnn"]
    assert predict("rnncnn", tmp_path / "in.h5", tmp_path / "out.h5", "--weights", str(weights)) == 0
    network, _ = load_weights("rnncnn", weights)
    with torch.inference_mode():
        expected = network(torch.from_numpy(crops)).numpy()
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["cropped_landmark_coords"].shape == (2, 3, 2, 168)
        np.testing.assert_allclose(file["cropped_landmark_coords"], expected, atol=1e-3)


def test_a_row_without_all_its_landmarks_has_failed(
    tmp_path: Path, original_weights: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    crops = noise((2, 3, 128, 128))
    crops[1, 2, 5, 5] = np.nan
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file["cropped_image_seqs"] = crops
    assert predict("rnncnn", tmp_path / "in.h5", tmp_path / "out.h5", "--weights", str(original_weights["rnncnn"])) == 3
    assert "in.h5, row_00001: Has NaN or infinite pixels: 1 of 3 frames have no landmarks" in capsys.readouterr().err
    with h5py.File(tmp_path / "out.h5") as file:
        known = np.isfinite(file["cropped_landmark_coords"]).all(axis=(2, 3))
    assert known.tolist() == [[True, True, True], [True, True, False]]


def test_a_row_without_a_ventricle_has_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_rows(tmp_path / "in.h5", np.ones((1, 3, 256, 256), np.float32))
    assert predict("localizer", path, tmp_path / "out.h5") == 3
    assert "in.h5, row_00000: No left ventricle found" in capsys.readouterr().err


def test_a_pixel_spacing_that_the_file_lacks_can_be_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_rows(tmp_path / "in.h5", np.ones((1, 3, 256, 256), np.float32))
    with h5py.File(path, "a") as file:
        del file["px_spaces"]
    assert predict("localizer", path, tmp_path / "out.h5") == 2
    assert "Give it with --pixel-spacing-mm" in capsys.readouterr().err
    assert predict("localizer", path, tmp_path / "out.h5", "--pixel-spacing-mm", "1.3671875", "1.3671875") == 3
    assert "No left ventricle found" in capsys.readouterr().err
    assert predict("rnncnn", path, tmp_path / "out.h5", "--pixel-spacing-mm", "1.4", "1.4") == 1


@pytest.mark.parametrize("network", ["localizer", "rnncnn"])
def test_batch_statistics_are_for_the_predecessors_localizer(
    tmp_path: Path, network: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_rows(tmp_path / "in.h5", noise((1, 2, 256, 256)))
    assert predict(network, path, tmp_path / "out.h5", "--batch-statistics", "original") == 1
    assert "--batch-statistics" in capsys.readouterr().err


def test_analyze_runs_the_original_pipeline(tmp_path: Path, original_weights: dict[str, Path]) -> None:
    """Every slice is a batch of its own; the result file holds the networks' own numbers."""
    path = write_rows(tmp_path / "case.h5", noise((2, 4, 256, 256)).astype(np.uint16))
    weights = ["--localizer-weights", str(original_weights["localizer"])]
    weights += ["--tracker", "rnncnn", "--tracker-weights", str(original_weights["rnncnn"])]
    out = tmp_path / "out"
    assert run(["analyze", str(path), "-o", str(out), "--no-figures", "--quiet", *weights]) == 0
    options = ("--weights", str(original_weights["localizer"]), "--batch-size", "1")
    assert predict("localizer", path, tmp_path / "boxes.h5", *options) == 0
    with h5py.File(out / "case" / "results.h5") as file, h5py.File(tmp_path / "boxes.h5") as boxes:
        np.testing.assert_allclose(file["bbox_predictions"], boxes["bbox_corners"], rtol=1e-6)
        y1, y2 = file["bbox_predictions"][0, 1], file["bbox_predictions"][0, 3]
        assert file["resize_ratios"][0] == np.float32(128 / (np.ceil(y2) - np.floor(y1)))
        local = file["landmark_local_predictions"][0].reshape(4, 2, 24, 7)
        # The annulus of the weights, around the middle of the crop.
        np.testing.assert_allclose(local.mean(axis=(0, 2, 3)), 64, atol=3)
        assert not file["rr_strains"][:, 0].any()
        assert np.isnan(file["localization_confidence"]).all()
    record = json.loads((out / "run.json").read_text())
    assert record["provenance"]["preprocessing"] == {"localizer": "original", "rnncnn": "original"}
    assert record["settings"]["preprocessing"] is None


def test_track_takes_the_predecessors_networks_too(tmp_path: Path, original_weights: dict[str, Path]) -> None:
    points = np.full((1, 3, 2, 4), np.nan)
    points[0, 0] = [[100, 140, 120, 110], [100, 110, 150, 130]]
    path = write_rows(tmp_path / "case.h5", noise((1, 3, 256, 256)), landmark_coords=points)
    weights = ["--tracker", "rnncnn", "--tracker-weights", str(original_weights["rnncnn"]), "--device", "cpu"]
    assert run(["track", str(path), "-o", str(tmp_path / "given.h5"), "--given-ed", *weights]) == 0
    with h5py.File(tmp_path / "given.h5") as file:
        np.testing.assert_allclose(file["landmark_coords"][0, 0], points[0, 0], atol=1e-9)
        assert np.isfinite(file["landmark_coords"][0]).all()
    weights += ["--localizer-weights", str(original_weights["localizer"]), "--preprocessing", "original"]
    assert run(["track", str(path), "-o", str(tmp_path / "placed.h5"), *weights]) == 0
    with h5py.File(tmp_path / "placed.h5") as file:
        assert file["landmark_coords"].shape == (1, 3, 2, 168)
        assert np.isnan(file["quality_confidence"][0])
        assert file["quality_failed"][0] == 0
