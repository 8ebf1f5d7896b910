"""``tagstrain track`` and ``tagstrain evaluate``: trajectories per row, and their distance from the truth."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline_fakes import FakePlacer, FakeTracker, make_cine, scale_at
from tagstrain.cli.main import run
from tagstrain.data import Box, LandmarkTracks, Localization, PointTracks, TaggedCine
from tagstrain.inference.models import Models

N_FRAMES = 6
POINTS = np.array([[10.0, 12.0], [30.0, 12.0], [20.0, 30.0], [np.nan, np.nan], [20.0, 20.0]])


def moved(points: np.ndarray) -> np.ndarray:
    """Where the fake tracker takes points, shape ``(time, point, 2)``."""
    center = np.nanmean(points, axis=0)
    return np.stack([center + scale_at(t / N_FRAMES) * (points - center) for t in range(N_FRAMES)])


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    """Three rows with five points each, one of them missing; the last row has no points at ED."""
    path = tmp_path / "truth.h5"
    landmarks = np.stack([moved(POINTS)] * 3)
    landmarks[2, 0] = np.nan
    with h5py.File(path, "w") as file:
        file["image_seqs"] = np.stack([make_cine(n_frames=N_FRAMES).frames] * 3)
        file["landmark_coords"] = np.moveaxis(landmarks, -1, 2)
        file["px_spaces"] = np.full(3, 1.5)
        file["ed_frame_idx"] = np.zeros(3, int)
        file["es_frame_idx"] = np.full(3, 3)
    return path


@pytest.fixture(autouse=True)
def _fake_networks(monkeypatch: pytest.MonkeyPatch, fake_models: Models) -> None:
    monkeypatch.setattr("tagstrain.cli.track.load_models", lambda *arguments: fake_models)
    monkeypatch.setattr("tagstrain.cli.track.load_tracker", lambda *arguments: FakeTracker())


def test_given_points_come_back_as_trajectories(
    truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pred = tmp_path / "pred.h5"
    assert run(["track", str(truth), "-o", str(pred), "--given-ed"]) == 3
    assert "row_00002" in capsys.readouterr().err
    with h5py.File(pred) as file:
        assert file["landmark_coords"].shape == (3, N_FRAMES, 2, 5)
        for row in range(2):
            np.testing.assert_allclose(np.moveaxis(file["landmark_coords"][row], 1, 2), moved(POINTS), atol=1e-9)
        assert np.isnan(file["landmark_coords"][2]).all()
        assert file["landmark_sigma"].shape == (3, N_FRAMES, 5)
        np.testing.assert_array_equal(file["quality_failed"][:], [0, 0, 1])
        assert np.isnan(file["quality_confidence"][:]).all()
        assert "quality_grade" not in file
        np.testing.assert_allclose(file["bbox_corners"][0], (4, 6.6, 36, 35.4), atol=1e-9)
        np.testing.assert_allclose(file["px_spaces"][:2], 1.5)
        np.testing.assert_array_equal(file["es_frame_idx"][:2], 3)


def test_points_that_seem_to_count_from_their_box_are_told_and_followed_where_they_are(
    truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with h5py.File(truth, "a") as file:
        file["bbox_corners"] = np.tile([32.0, 32.0, 80.0, 80.0], (3, 1))
    assert run(["track", str(truth), "-o", str(tmp_path / "pred.h5"), "--given-ed"]) == 3  # of the row without points
    said = " ".join(capsys.readouterr().err.split())
    assert "fit into it if they count from its corner" in said
    assert "Add the corner (x1, y1)" in said
    with h5py.File(tmp_path / "pred.h5") as file:
        np.testing.assert_allclose(np.moveaxis(file["landmark_coords"][0], 1, 2), moved(POINTS), atol=1e-9)


def test_a_box_in_the_file_is_kept(truth: Path, tmp_path: Path) -> None:
    with h5py.File(truth, "a") as file:
        file["bbox_corners"] = np.tile([1.0, 2.0, 40.0, 41.0], (3, 1))
    run(["track", str(truth), "-o", str(tmp_path / "pred.h5"), "--given-ed"])
    with h5py.File(tmp_path / "pred.h5") as file:
        np.testing.assert_array_equal(file["bbox_corners"][0], [1, 2, 40, 41])


def test_without_given_points_the_landmarks_are_placed(truth: Path, tmp_path: Path) -> None:
    with h5py.File(truth, "a") as file:
        file["image_seqs"][1] = 0
    assert run(["track", str(truth), "-o", str(tmp_path / "pred.h5"), "--quiet"]) == 3
    with h5py.File(tmp_path / "pred.h5") as file:
        assert file["landmark_coords"].shape == (3, N_FRAMES, 2, 168)
        np.testing.assert_array_equal(file["quality_failed"][:], [0, 1, 0])
        np.testing.assert_allclose(file["quality_confidence"][:], [0.9, np.nan, 0.9])
        np.testing.assert_array_equal(file["quality_grade"][:], [0, np.nan, 0])  # a disc without tags: rejected
        assert np.isnan(file["quality_predicted_error_mm"][:]).all()  # the fake tracker was never calibrated
        np.testing.assert_array_equal(file["es_frame_idx"][:], [3, -1, 3])


class AtOnce:
    """Places and follows in one go, from the frame that it is given as ED."""

    def place_and_track(self, cine: TaggedCine, localization: Localization) -> LandmarkTracks:
        wall_px = FakePlacer().place(cine, localization).wall_px
        return LandmarkTracks.from_points(FakeTracker().track(cine, wall_px.reshape(-1, 2)), n_rings=wall_px.shape[1])


def test_what_the_analysis_says_and_the_frame_that_it_took_for_ed_reach_the_user(
    truth: Path,
    tmp_path: Path,
    fake_models: Models,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with h5py.File(truth, "a") as file:
        file["ed_frame_idx"][:] = 2
    models = replace(fake_models, at_once=AtOnce())
    monkeypatch.setattr("tagstrain.cli.track.load_models", lambda *arguments: models)
    assert run(["track", str(truth), "-o", str(tmp_path / "pred.h5")]) == 0
    assert "Frame 0 was taken as end-diastole" in " ".join(capsys.readouterr().err.split())
    with h5py.File(tmp_path / "pred.h5") as file:
        np.testing.assert_array_equal(file["ed_frame_idx"][:], 0)


def test_a_file_of_many_rows_says_some_of_its_warnings(
    truth: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tagstrain.cli.track.MAX_WARNINGS", 0)
    run(["track", str(truth), "-o", str(tmp_path / "pred.h5")])
    printed = " ".join(capsys.readouterr().err.split())
    assert "further warnings are not shown" in printed
    assert "frame times" not in printed


def test_rows_with_fewer_frames_are_padded(truth: Path, tmp_path: Path) -> None:
    with h5py.File(truth, "a") as file:
        file["n_frames"] = [6, 4, 6]
    run(["track", str(truth), "-o", str(tmp_path / "pred.h5")])
    with h5py.File(tmp_path / "pred.h5") as file:
        assert file["n_frames"][1] == 4
        assert np.isfinite(file["landmark_coords"][1, :4]).all()
        assert np.isnan(file["landmark_coords"][1, 4:]).all()


def test_a_prediction_is_not_replaced_unasked_and_never_its_own_input(truth: Path, tmp_path: Path) -> None:
    pred = tmp_path / "pred.h5"
    pred.write_bytes(b"precious")
    assert run(["track", str(truth), "-o", str(pred), "--given-ed"]) == 1
    assert pred.read_bytes() == b"precious"
    assert run(["track", str(truth), "-o", str(pred), "--given-ed", "--overwrite"]) == 3
    assert pred.read_bytes() != b"precious"
    before = truth.read_bytes()
    assert run(["track", str(truth), "-o", str(truth), "--given-ed", "--overwrite"]) == 1
    assert truth.read_bytes() == before


def test_landmarks_are_needed_to_track_given_ones(
    truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with h5py.File(truth, "a") as file:
        del file["landmark_coords"]
    assert run(["track", str(truth), "-o", str(tmp_path / "pred.h5"), "--given-ed"]) == 2
    assert "landmark_coords" in capsys.readouterr().err


def test_rows_that_fail_say_what_the_file_has_instead_and_name_it_once(
    truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["track", str(truth), "-o", str(tmp_path / "pred.h5"), "--given-ed", "--quiet"]
    assert run(arguments) == 3
    told = (
        "Error: truth.h5, row_00002: No point is given for the ED frame (0); frames that have points: 1, 2, 3, 4, 5\n"
    )
    assert capsys.readouterr().err == told
    with h5py.File(truth, "a") as file:
        points = file["landmark_coords"][:, :1]
        del file["landmark_coords"]
        file["landmark_coords"] = points
        file["n_frames"] = np.full(3, N_FRAMES)
    assert run([*arguments, "--overwrite"]) == 3
    first = capsys.readouterr().err.splitlines()[0]
    told = "row 0: n_frames is 6, but landmark_coords holds 1 per row. Mend it, or store every frame (NaN where no "
    assert first == f"Error: truth.h5, row_00000: {told}points are known)."


def test_a_folder_is_for_analyze(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["track", str(tmp_path), "-o", str(tmp_path / "pred.h5")]) == 2
    assert "is a folder, expected an HDF5 file" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_perfect_prediction_has_no_error(truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pred, report = tmp_path / "pred.h5", tmp_path / "report.json"
    run(["track", str(truth), "-o", str(pred), "--given-ed", "--quiet"])
    assert run(["evaluate", str(truth), str(pred), "--json", str(report)]) == 0
    assert capsys.readouterr().out
    assert json.loads(report.read_text())["position"]["rmse_pooled_mm"] == pytest.approx(0, abs=1e-6)


def test_a_shifted_prediction_has_the_error_of_its_shift(truth: Path, tmp_path: Path) -> None:
    pred, report = tmp_path / "pred.h5", tmp_path / "report.json"
    run(["track", str(truth), "-o", str(pred), "--given-ed", "--quiet"])
    with h5py.File(pred, "a") as file:
        file["landmark_coords"][:, :, 0] += 2
    assert run(["evaluate", str(truth), str(pred), "--json", str(report)]) == 0
    assert json.loads(report.read_text())["position"]["rmse_pooled_mm"] == pytest.approx(3.0, rel=1e-3)


def test_files_that_do_not_match_are_refused(truth: Path, tmp_path: Path) -> None:
    pred = tmp_path / "pred.h5"
    run(["track", str(truth), "-o", str(pred), "--quiet"])  # 168 placed points, the truth has 5
    assert run(["evaluate", str(truth), str(pred)]) == 2


def test_the_box_of_landmarks_has_the_predecessors_margin_and_stays_in_the_image() -> None:
    points = np.array([[10.0, 20.0], [30.0, 60.0], [np.nan, np.nan]])
    assert Box.around(points).within(100, 100) == pytest.approx((4, 8, 36, 72))
    assert Box.around(points).within(64, 32) == pytest.approx((4, 8, 32, 64))


@pytest.mark.parametrize("option", ["--placer-weights", "--localizer-weights"])
def test_weights_are_refused_where_nothing_is_placed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    weights = tmp_path / "weights.safetensors"
    weights.touch()
    given = ["track", str(tmp_path / "a.h5"), "-o", str(tmp_path / "p.h5"), "--given-ed"]
    assert run([*given, option, str(weights)]) == 1
    assert "has no use with --given-ed" in capsys.readouterr().err


def test_no_command_replaces_what_it_reads(truth: Path, tmp_path: Path) -> None:
    pred = tmp_path / "pred.h5"
    run(["track", str(truth), "-o", str(pred), "--given-ed", "--quiet"])
    link = tmp_path / "link.h5"
    link.symlink_to(truth)
    before = [truth.read_bytes(), pred.read_bytes()]
    for output in (truth, pred, link):
        assert run(["evaluate", str(truth), str(pred), "--json", str(output)]) == 1
    for output in (truth, link):
        assert run(["predict", "localizer", str(truth), "-o", str(output), "--overwrite", "--device", "cpu"]) == 1
    weights = ["--weights", str(pred), "--overwrite", "--device", "cpu"]
    assert run(["predict", "localizer", str(truth), "-o", str(pred), *weights]) == 1
    assert run(["track", str(truth), "-o", str(pred), "--tracker-weights", str(pred), "--overwrite"]) == 1
    assert [truth.read_bytes(), pred.read_bytes()] == before


def test_what_is_stored_once_holds_for_all_rows(truth: Path, tmp_path: Path) -> None:
    each, once = tmp_path / "each.h5", tmp_path / "once.h5"
    times_ms = 33.0 * np.arange(N_FRAMES)
    with h5py.File(truth, "a") as file:
        file["frame_times_ms"], file["bbox_corners"] = (
            np.tile(times_ms, (3, 1)),
            np.tile([1.0, 2.0, 40.0, 41.0], (3, 1)),
        )
    run(["track", str(truth), "-o", str(each), "--given-ed"])
    with h5py.File(truth, "a") as file:
        for name in ("px_spaces", "ed_frame_idx", "es_frame_idx", "frame_times_ms", "bbox_corners"):
            value = file[name][0]
            del file[name]
            file[name] = [value] if name == "es_frame_idx" else value
    assert run(["track", str(truth), "-o", str(once), "--given-ed"]) == 3  # the row without points, as before
    assert run(["evaluate", str(truth), str(once)]) == 0
    with h5py.File(each) as expected, h5py.File(once) as found:
        assert set(expected) == set(found)
        for name in expected:
            np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def test_a_row_that_fails_keeps_what_the_file_says_of_it(truth: Path, tmp_path: Path) -> None:
    pred = tmp_path / "pred.h5"
    with h5py.File(truth, "a") as file:
        file["n_frames"], file["bbox_corners"] = [6, 4, 5], np.tile([1.0, 2.0, 40.0, 41.0], (3, 1))
        file["ed_frame_idx"][:] = 1
        file["landmark_coords"][2] = np.nan
    assert run(["track", str(truth), "-o", str(pred), "--given-ed", "--quiet"]) == 3
    with h5py.File(pred) as file:
        np.testing.assert_array_equal(file["quality_failed"], [0, 0, 1])
        np.testing.assert_array_equal(file["n_frames"], [6, 4, 5])
        np.testing.assert_array_equal(file["ed_frame_idx"], 1)
        np.testing.assert_array_equal(file["es_frame_idx"], 3)
        np.testing.assert_array_equal(file["px_spaces"], 1.5)
        np.testing.assert_array_equal(file["bbox_corners"], np.tile([1, 2, 40, 41], (3, 1)))
        assert np.isnan(file["landmark_coords"][2]).all()


@pytest.mark.parametrize("seen", ["nothing", "one frame", "all but ED"])
def test_blank_images_are_not_tracked(
    truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], seen: str
) -> None:
    blank = {"nothing": slice(None), "one frame": slice(1, None), "all but ED": slice(0, 1)}[seen]
    with h5py.File(truth, "a") as file:
        file["image_seqs"][1, blank] = 37
    assert run(["track", str(truth), "-o", str(tmp_path / "pred.h5"), "--given-ed", "--quiet"]) == 3
    assert "row_00001: The images are blank around the points" in capsys.readouterr().err
    with h5py.File(tmp_path / "pred.h5") as file:
        np.testing.assert_array_equal(file["quality_failed"], [0, 1, 1])


def test_an_end_systole_in_frames_that_are_padding_is_not_known(
    truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with h5py.File(truth, "a") as file:
        file.pop("n_frames", None)
        file["image_seqs"][0, 3:] = 0
        file["es_frame_idx"][0] = 4
    assert run(["track", str(truth), "-o", str(tmp_path / "pred.h5"), "--given-ed"]) == 3
    assert "row_00000: es_frame_idx is 4 of 3 frames: taken as not known" in " ".join(capsys.readouterr().err.split())
    with h5py.File(tmp_path / "pred.h5") as file:
        assert (file["n_frames"][0], file["es_frame_idx"][0]) == (3, -1)


def test_an_end_systole_that_no_row_has_does_not_stop_the_file(
    truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with h5py.File(truth, "a") as file:
        del file["es_frame_idx"]
        file["es_frame_idx"] = np.array([3, 2**64 - 1, 3], np.uint64)
    assert run(["track", str(truth), "-o", str(tmp_path / "pred.h5"), "--given-ed"]) == 3
    assert "row_00001: es_frame_idx is 18446744073709551616 of 6 frames" in capsys.readouterr().err
    with h5py.File(tmp_path / "pred.h5") as file:
        np.testing.assert_array_equal(file["es_frame_idx"], [3, -1, 3])
        np.testing.assert_array_equal(file["quality_failed"], [0, 0, 1])


def test_a_row_that_fails_may_have_more_frames_of_labels_than_of_images(truth: Path, tmp_path: Path) -> None:
    with h5py.File(truth, "a") as file:
        images = file["image_seqs"][:, : N_FRAMES - 2]
        del file["image_seqs"]
        file["image_seqs"] = images
        file["px_spaces"][1] = -1
    assert run(["track", str(truth), "-o", str(tmp_path / "pred.h5"), "--given-ed"]) == 3
    with h5py.File(tmp_path / "pred.h5") as file:
        np.testing.assert_array_equal(file["quality_failed"], [0, 1, 1])


def test_points_that_lie_elsewhere_are_what_is_wrong_not_the_images(
    truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Nowhere(FakeTracker):
        def track(self, cine: TaggedCine, ed_points_px: NDArray[np.floating]) -> PointTracks:
            unknown = np.full((cine.n_frames, *ed_points_px.shape), np.nan)
            return PointTracks(unknown, unknown[..., 0], cine.ed_frame)

    monkeypatch.setattr("tagstrain.cli.track.load_tracker", lambda *arguments: Nowhere())
    with h5py.File(truth, "a") as file:
        file["landmark_coords"][1] += 5000
    assert run(["track", str(truth), "-o", str(tmp_path / "pred.h5"), "--given-ed"]) == 3
    assert "row_00001: No point of the ED frame (0) lies in the image" in capsys.readouterr().err


def test_assumptions_are_told_once(truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(["track", str(truth), "-o", str(tmp_path / "pred.h5"), "--given-ed"])
    (told,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Warning")]
    assert told.startswith("Warning: truth.h5, row_00000 and 2 more: ")
    assert "40 ms" in told


def test_points_that_are_not_followed_are_told_and_out_of_the_box(
    truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Near(FakeTracker):
        def track(self, cine: TaggedCine, ed_points_px: NDArray[np.floating]) -> PointTracks:
            is_far = np.abs(ed_points_px).max(axis=1) > 1000
            return super().track(cine, np.where(is_far[:, None], np.nan, ed_points_px))

    monkeypatch.setattr("tagstrain.cli.track.load_tracker", lambda *arguments: Near())
    with h5py.File(truth, "a") as file:
        file["landmark_coords"][0, 0, :, 3] = 5000, 20
        file["landmark_coords"][1, 0, :, 3] = 40, np.nan
    assert run(["track", str(truth), "-o", str(tmp_path / "pred.h5"), "--given-ed"]) == 3
    told = "row_00000: 1 of 5 points lie outside of the image: 1, more than 10 mm outside, are not followed"
    assert told in capsys.readouterr().err
    with h5py.File(tmp_path / "pred.h5") as file:
        np.testing.assert_allclose(file["bbox_corners"][:2], [(4, 6.6, 36, 35.4)] * 2, atol=1e-9)


def test_frames_that_do_not_belong_are_named(
    truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tagstrain.inference.odd_frames.odd_frames", lambda frames: np.arange(len(frames)) == 2)
    run(["track", str(truth), "-o", str(tmp_path / "pred.h5"), "--given-ed"])
    assert "Frames that do not belong between their neighbors: 2" in " ".join(capsys.readouterr().err.split())


def test_points_outside_that_are_followed_are_told_too(
    truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with h5py.File(truth, "a") as file:
        columns, spacing_mm = file["image_seqs"].shape[3], file["px_spaces"][0]
        file["landmark_coords"][0, 0, :, 1] = columns - 0.5 + 4 / spacing_mm, 20
        file["landmark_coords"][0, 0, :, 3] = 5000, 20
        file["landmark_coords"][1, 0, :, 3] = columns - 0.5 + 4 / spacing_mm, 20
    run(["track", str(truth), "-o", str(tmp_path / "pred.h5"), "--given-ed"])
    said = " ".join(capsys.readouterr().err.split())
    beside = "lie outside of the image: 1 are followed by what is seen beside them"
    assert f"row_00000: 2 of 5 points {beside}; 1, more than 10 mm outside, are not followed" in said
    assert f"row_00001: 1 of 5 points {beside}" in said


def test_a_box_beside_the_image_has_no_negative_size() -> None:
    assert Box(-9.0, 5.0, -2.0, 9.0).within(20, 20) == (0, 5, 0, 9)
