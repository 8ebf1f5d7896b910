"""Accuracy of file against file, with errors put in by hand."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from rich.console import Console

from tagstrain.errors import InputError
from tagstrain.report.evaluation import Evaluation, evaluate_files, evaluate_pooled
from tagstrain.report.evaluation_table import print_evaluation

N_ROWS, N_FRAMES, ES_FRAME = 3, 6, 3
SPACING_MM = 1.5
RADII_PX = np.linspace(12.0, 20.0, 7)


def annulus_points(scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points ``(time, 168, 2)`` of an annulus scaled by ``scale[time]`` around (60, 50)."""
    angle = 2 * np.pi * np.arange(24) / 24
    grid = RADII_PX[None, :, None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)[:, None, :]
    return scale[:, None, None] * grid.reshape(1, 168, 2) + [60, 50]


def true_points() -> NDArray[np.float64]:
    """Points ``(row, time, 168, 2)``: a stretch of 0.8 at ES."""
    scale = np.array([1.0, 0.95, 0.9, 0.8, 0.85, 0.97])
    return np.stack([annulus_points(scale) + row for row in range(N_ROWS)])


def shifted(x_px: float, y_px: float) -> NDArray[np.float64]:
    """True points, all moved."""
    return true_points() + np.array([x_px, y_px])


def write(path: Path, points: NDArray[np.float64], **datasets: Any) -> Path:
    with h5py.File(path, "w") as file:
        file["landmark_coords"] = np.moveaxis(points, -1, 2)
        for name, values in datasets.items():
            file[name] = values
    return path


def evaluate(tmp_path: Path, predicted: NDArray[np.float64], truth: Any = None, **datasets: Any) -> Evaluation:
    extra = {"px_spaces": np.full(len(predicted), SPACING_MM)} if truth is None else truth
    true = true_points()[:, :, : predicted.shape[2]]
    return evaluate_files(write(tmp_path / "truth.h5", true, **extra), write(tmp_path / "p.h5", predicted, **datasets))


@pytest.mark.parametrize("rings_first", [True, False])
def test_walls_in_another_order_are_told(tmp_path: Path, rings_first: bool) -> None:
    """Ring by ring, or from the epicardium inwards."""
    grid = true_points().reshape(N_ROWS, N_FRAMES, 24, 7, 2)
    points = (grid.swapaxes(2, 3) if rings_first else grid[:, :, :, ::-1]).reshape(N_ROWS, N_FRAMES, 168, 2)
    path = write(tmp_path / "order.h5", points, px_spaces=np.full(N_ROWS, SPACING_MM))
    result = evaluate_files(path, path)
    printed = StringIO()
    print_evaluation(result, Console(file=printed, width=200))
    assert result.n_out_of_order == N_ROWS
    assert "3 true walls do not run spoke by spoke from the inside" in printed.getvalue()
    right = evaluate(tmp_path, true_points())
    printed = StringIO()
    print_evaluation(right, Console(file=printed, width=200))
    assert right.n_out_of_order == 0
    assert "spoke by spoke" not in printed.getvalue()


def test_a_perfect_prediction_has_no_error(tmp_path: Path) -> None:
    result = evaluate(tmp_path, true_points())
    assert result.position.rmse_row_mean_mm == 0
    assert result.position.epe_p95_mm < 1e-3
    assert result.position.n_points == N_ROWS * N_FRAMES * 168
    assert result.displacement.n_points == N_ROWS * (N_FRAMES - 1) * 168
    assert result.strain is not None
    assert result.strain["radial"].peak.mae == 0
    assert result.boxes is None
    assert result.within_one_sigma is None


def test_an_offset_is_an_error_of_placement_only(tmp_path: Path) -> None:
    result = evaluate(tmp_path, shifted(3.0, 4.0))
    assert result.position.rmse_row_median_mm == pytest.approx(5 * SPACING_MM)
    assert result.placement.rmse_pooled_mm == pytest.approx(5 * SPACING_MM)
    assert result.position.epe_median_mm == pytest.approx(5 * SPACING_MM, abs=1e-3)
    assert result.displacement.rmse_pooled_mm == pytest.approx(0, abs=1e-9)
    assert result.strain is not None
    assert result.strain["circumferential_mean"].end_systolic.mae == pytest.approx(0, abs=1e-9)


def test_distances_are_in_mm_where_pixels_are_not_square(tmp_path: Path) -> None:
    spacing = np.tile([2.0, 0.5], (N_ROWS, 1))  # rows 2 mm apart, columns 0.5 mm
    result = evaluate(tmp_path, shifted(6.0, 2.0), {"px_spaces": spacing})
    assert result.position.rmse_pooled_mm == pytest.approx(5.0)


def test_rows_weigh_the_same_in_the_mean_and_the_median_ignores_an_outlier(tmp_path: Path) -> None:
    predicted = true_points()
    predicted[1] += [2.0, 0.0]
    predicted[2] += [100.0, 0.0]
    result = evaluate(tmp_path, predicted)
    assert result.position.rmse_row_mean_mm == pytest.approx((0 + 2 + 100) / 3 * SPACING_MM)
    assert result.position.rmse_row_median_mm == pytest.approx(2 * SPACING_MM)


@pytest.mark.parametrize("truth_says_es", [True, False])
def test_strain_errors_have_their_closed_form(tmp_path: Path, truth_says_es: bool) -> None:
    predicted = true_points()
    scales = [0.75, 0.8, 0.9]
    for row, scale in enumerate(scales):
        predicted[row, ES_FRAME] = annulus_points(np.array([scale]))[0]
    truth = {"px_spaces": np.full(N_ROWS, SPACING_MM)}
    if truth_says_es:
        truth["es_frame_idx"] = np.full(N_ROWS, ES_FRAME)
    result = evaluate(tmp_path, predicted, truth)
    assert result.strain is not None
    errors = [(scale**2 - 0.8**2) / 2 for scale in scales]
    for accuracy in result.strain.values():
        assert accuracy.end_systolic.bias == pytest.approx(np.mean(errors))
        assert accuracy.end_systolic.sd == pytest.approx(np.std(errors, ddof=1))
        assert accuracy.end_systolic.mae == pytest.approx(np.mean(np.abs(errors)))
    # Row 2 loses its extremum at ES and peaks a frame later, at a stretch of 0.85.
    peaks = [errors[0], errors[1], (0.85**2 - 0.8**2) / 2]
    assert result.strain["circumferential_midwall"].peak.bias == pytest.approx(np.mean(peaks))


def test_pooled_files_weigh_by_their_rows(tmp_path: Path) -> None:
    pairs = []
    for name, n_rows, x_px in (("one", 1, 2.0), ("two", 3, 4.0)):
        spacing = {"px_spaces": np.full(n_rows, SPACING_MM)}
        truth = write(tmp_path / f"{name}.h5", true_points()[:n_rows], **spacing)
        pairs.append((truth, write(tmp_path / f"{name}_prediction.h5", shifted(x_px, 0.0)[:n_rows])))
    pooled = evaluate_pooled(pairs)
    assert pooled.n_rows == 4
    assert pooled.truth == "one.h5, two.h5"
    assert pooled.position.rmse_row_mean_mm == pytest.approx((1 * 2.0 + 3 * 4.0) / 4 * SPACING_MM)


def test_the_stated_es_frame_wins_over_the_strain(tmp_path: Path) -> None:
    predicted = true_points()
    predicted[:, ES_FRAME] += np.random.default_rng(0).normal(0, 1, predicted[:, ES_FRAME].shape)
    truth = {"px_spaces": np.full(N_ROWS, SPACING_MM), "es_frame_idx": np.full(N_ROWS, 2)}
    result = evaluate(tmp_path, predicted, truth)
    assert result.strain is not None
    assert result.strain["radial"].end_systolic.mae == 0


def test_padding_and_missing_points_are_left_out(tmp_path: Path) -> None:
    predicted = true_points()
    predicted[1, 4:] = 1e6
    predicted[0, 2, 5] = np.nan
    truth = {"px_spaces": np.full(N_ROWS, SPACING_MM), "n_frames": np.array([6, 4, 6])}
    result = evaluate(tmp_path, predicted, truth)
    assert result.position.rmse_pooled_mm == 0
    assert result.position.n_points == (6 + 4 + 6) * 168 - 1
    assert result.n_missing == 1
    console = Console(width=140, record=True, file=StringIO())
    print_evaluation(result, console)
    assert "1 true points have no prediction" in console.export_text()


def test_a_prediction_of_some_spokes_is_compared_with_the_truth_of_the_same(tmp_path: Path) -> None:
    """A wall that shortens on one side alone; the other half of the spokes was not found."""
    grid = true_points().reshape(N_ROWS, N_FRAMES, 24, 7, 2)
    true = np.where((np.arange(24) < 12)[:, None, None], grid, grid[:, :1]).reshape(true_points().shape)
    predicted = true.copy()
    predicted.reshape(grid.shape)[:, :, 12:] = np.nan
    truth = write(tmp_path / "truth.h5", true, px_spaces=np.full(N_ROWS, SPACING_MM))
    result = evaluate_files(truth, write(tmp_path / "p.h5", predicted))
    assert result.strain is not None
    for accuracy in result.strain.values():
        assert accuracy.end_systolic.mae == 0
        assert accuracy.peak.mae == 0


def test_another_choice_of_spoke_0_is_undone(tmp_path: Path) -> None:
    grid = true_points().reshape(N_ROWS, N_FRAMES, 24, 7, 2)
    result = evaluate(tmp_path, np.roll(grid, 5, axis=2).reshape(true_points().shape))
    assert result.placement.rmse_pooled_mm > 10
    assert result.placement_best_rotation is not None
    assert result.placement_best_rotation.rmse_pooled_mm == pytest.approx(0, abs=1e-9)


def test_points_off_the_grid_have_no_strain(tmp_path: Path) -> None:
    result = evaluate(tmp_path, true_points()[:, :, :11] + [1.0, 0.0])
    assert result.n_points == 11
    assert result.strain is None
    assert result.placement_best_rotation is None
    assert result.position.rmse_pooled_mm == pytest.approx(SPACING_MM)


def test_truth_at_ed_alone_judges_placement_alone(tmp_path: Path) -> None:
    true = true_points()
    true[:, 1:] = np.nan
    truth = write(tmp_path / "truth.h5", true, px_spaces=np.full(N_ROWS, 1.0))
    result = evaluate_files(truth, write(tmp_path / "p.h5", shifted(0.0, 2.0)))
    assert result.placement.rmse_pooled_mm == pytest.approx(2.0)
    assert result.displacement.n_points == 0
    assert result.strain is not None
    assert result.strain["radial"].peak.n == 0
    assert result.strain["radial"].end_systolic.n == 0
    assert result.position.n_points == 0
    console = Console(width=120, record=True, file=StringIO())
    print_evaluation(result, console)
    assert "No frame but ED is known in both files" in console.export_text()


def test_rows_known_at_ed_alone_do_not_dilute_the_others(tmp_path: Path) -> None:
    true = true_points()
    true[1, 1:] = np.nan
    truth = write(tmp_path / "truth.h5", true, px_spaces=np.full(N_ROWS, 1.0))
    predicted = true_points()
    predicted[:, 1:] += [0.0, 2.0]
    result = evaluate_files(truth, write(tmp_path / "p.h5", predicted))
    assert result.position.n_points == 2 * N_FRAMES * 168
    assert result.placement.n_points == 3 * 168


def test_coincident_predicted_points_cost_their_own_lines_only(tmp_path: Path) -> None:
    predicted = true_points()
    predicted[0, :, 0] = predicted[0, :, 7]  # spokes 0 and 1, ring 0
    result = evaluate(tmp_path, predicted)
    assert result.strain is not None
    assert result.strain["circumferential_mean"].peak.n == N_ROWS
    assert np.isfinite(result.strain["circumferential_mean"].peak.mae)


def test_boxes_and_calibration_are_compared_where_both_files_have_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    sigma = rng.uniform(0.3, 1.0, (N_ROWS, N_FRAMES, 168))
    predicted = true_points() + rng.normal(0, 1, (N_ROWS, N_FRAMES, 168, 2)) * sigma[..., None]
    boxes = np.tile([0.0, 0.0, 10.0, 10.0], (N_ROWS, 1))
    truth = {"px_spaces": np.full(N_ROWS, SPACING_MM), "bbox_corners": boxes}
    moved = boxes + np.array([[0.0], [5.0], [10.0]]) * [1, 0, 1, 0]
    result = evaluate(tmp_path, predicted, truth, landmark_sigma=sigma, bbox_corners=moved)
    assert result.boxes == pytest.approx((4 / 9, 1 / 3, 0.0, 2 / 3, 3))
    assert result.within_one_sigma == pytest.approx(0.683, abs=0.02)
    assert result.normalized_error_rms == pytest.approx(1.0, abs=0.03)
    console = Console(width=140, record=True, file=StringIO())
    print_evaluation(result, console)
    text = console.export_text()
    assert "Box IoU: mean 0.444, median 0.333, worst 0.000, below 0.5 in 66.7 % of 3" in text
    assert f"{100 * (result.within_one_sigma or 0):.1f} % of coordinates within one sigma" in text
    assert "these began elsewhere" in text


def test_points_that_were_given_at_ed_began_where_the_true_ones_did(tmp_path: Path) -> None:
    predicted = true_points()
    predicted[:, 1:] += np.random.default_rng(3).normal(0, 1, predicted[:, 1:].shape)
    result = evaluate(tmp_path, predicted, landmark_sigma=np.ones(predicted.shape[:-1]))
    console = Console(width=140, record=True, file=StringIO())
    print_evaluation(result, console)
    text = console.export_text()
    assert "within one sigma" in text
    assert "began elsewhere" not in text


def test_stated_uncertainty_is_compared_in_mm_where_pixels_are_not_square(tmp_path: Path) -> None:
    """Pixels of 1 x 2.5 mm: the same error in mm along both axes, stated in pixels of the same area."""
    rng = np.random.default_rng(2)
    errors_mm = rng.normal(0, 0.5, true_points().shape)
    sigma_px = np.full(true_points().shape[:-1], 0.5 / np.sqrt(2.5))
    truth = {"px_spaces": np.full(N_ROWS, 2.5), "px_spaces_column": np.full(N_ROWS, 1.0)}
    result = evaluate(tmp_path, true_points() + errors_mm / [1.0, 2.5], truth, landmark_sigma=sigma_px)
    assert result.normalized_error_rms == pytest.approx(1.0, abs=0.03)


def test_json_is_strict_and_carries_units(tmp_path: Path) -> None:
    result = evaluate(tmp_path, true_points()[:, :, :11] * np.nan)
    record = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert record["position"]["rmse_row_mean_mm"] is None
    assert record["position"]["n_points"] == 0
    whole = json.loads(json.dumps(evaluate(tmp_path, true_points()).to_json(), allow_nan=False))
    assert set(whole["strain"]) == {"circumferential_mean", "circumferential_midwall", "radial"}
    assert set(whole["strain"]["radial"]["peak"]) == {"bias", "sd", "mae", "n"}
    assert (whole["truth"], whole["prediction"]) == ("truth.h5", "p.h5")


def test_table_shows_the_numbers(tmp_path: Path) -> None:
    console = Console(width=140, record=True, file=StringIO())
    print_evaluation(evaluate(tmp_path, shifted(3.0, 4.0)), console)
    text = console.export_text()
    assert "p.h5 against truth.h5: 3 rows, 168 points per frame" in text
    assert text.count("7.500") >= 4
    assert "percentage points" in text
    assert "(mm)" in text


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"p.h5: 2 rows, but truth.h5 has 3"):
        evaluate(tmp_path, true_points()[:2], {"px_spaces": np.full(N_ROWS, 1.0)})
    truth = write(tmp_path / "t.h5", true_points(), px_spaces=np.full(N_ROWS, 1.0))
    with pytest.raises(InputError, match=r"row 0 has 12 points, but t.h5 has 168"):
        evaluate_files(truth, write(tmp_path / "p.h5", true_points()[:, :, :12]))
    with pytest.raises(InputError, match=r"row 0 has 5 frames, but t.h5 has 6"):
        evaluate_files(truth, write(tmp_path / "p.h5", true_points()[:, :5]))


def test_distances_need_a_pixel_spacing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="px_spaces is missing"):
        evaluate(tmp_path, true_points(), {})
    assert_allclose(evaluate(tmp_path, shifted(2.0, 0), {}, px_spaces=np.ones(3)).position.rmse_pooled_mm, 2.0)


@pytest.mark.parametrize("wrong", [0.0, -1.3, np.inf, 0.13, 1300.0])
def test_a_spacing_that_no_heart_is_imaged_with_counts_as_missing(wrong: float, tmp_path: Path) -> None:
    truth = {"px_spaces": np.full(N_ROWS, wrong)}
    found = evaluate(tmp_path, shifted(2.0, 0), truth, px_spaces=np.full(N_ROWS, 1.3))
    assert_allclose(found.position.rmse_pooled_mm, 2.6)
    with pytest.raises(InputError, match=r"missing in row 0, or not 0\.2 to 10 mm"):
        evaluate(tmp_path, shifted(2.0, 0), truth)


def test_spacings_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"row 0 has pixels of 1\.3 x 1\.3 mm, but truth\.h5 of 1\.5 x 1\.5"):
        evaluate(tmp_path, true_points(), px_spaces=np.full(N_ROWS, 1.3))


def test_an_end_systole_at_ed_counts_as_not_known(tmp_path: Path) -> None:
    """As in files whose column is filled with 0."""
    spacing = {"px_spaces": np.full(N_ROWS, SPACING_MM)}
    scaled = annulus_points(np.array([1.0, 0.95, 0.9, 0.85, 0.85, 0.97]))[None].repeat(N_ROWS, axis=0)
    derived = evaluate(tmp_path, scaled, spacing)
    filled = evaluate(tmp_path, scaled, {**spacing, "es_frame_idx": np.zeros(N_ROWS, int)})
    assert filled.strain is not None
    assert filled.strain == derived.strain
    assert filled.strain["circumferential_mean"].end_systolic.mae > 0.03
