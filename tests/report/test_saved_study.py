"""What a report reads back is what the analysis found."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from saved_results import PROVENANCE, edit_json, short_axis_slices, write_results
from tagstrain.data import Insertion, SliceFailure, SliceResult
from tagstrain.errors import InputError
from tagstrain.inference.strain import slice_strain
from tagstrain.quality import Grade
from tagstrain.report.heart_images import HEART_IMAGES, HeartImages
from tagstrain.report.saved_study import MAX_SLICES, read_saved_study
from tagstrain.report.study_page import render_page


def test_results_come_back_cut_to_the_heart(tmp_path: Path) -> None:
    slices = short_axis_slices(7)
    study = read_saved_study(write_results(tmp_path / "a", slices, SliceFailure("first", "nothing there")))
    assert study.results.key == "case_7"
    assert study.results.provenance == PROVENANCE
    assert study.results.failures == (SliceFailure("first", "nothing there"),)
    for read, written in zip(study.results.slices, slices, strict=True):
        assert (read.name, read.cine.level, read.warnings) == (written.name, written.cine.level, written.warnings)
        assert read.cine.rr_interval_ms == 900.0
        assert_allclose(read.strain.circumferential, written.strain.circumferential, atol=1e-5)
        assert_allclose(read.landmarks.sigma_px, written.landmarks.sigma_px, rtol=1e-6)


def test_results_from_before_precision_was_recorded_are_read(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "a", short_axis_slices(3))
    path = folder / "results.json"
    study = json.loads(path.read_text(encoding="utf-8"))
    del study["provenance"]["precision"]
    path.write_text(json.dumps(study), encoding="utf-8")
    assert read_saved_study(folder).results.provenance == PROVENANCE


def test_a_landmark_keeps_its_place_in_the_patient_and_on_the_picture(tmp_path: Path) -> None:
    written = short_axis_slices(5)[1]
    read = read_saved_study(write_results(tmp_path / "a", [written])).results.slices[0]
    for frame in (0, 3):
        places = []
        for result in (read, written):
            x, y = result.landmarks.points_px[frame, 5, 2]
            gray = result.cine.frames[frame, round(y), round(x)]
            places.append([*(result.cine.affine @ [x, y, 0, 1])[:3], gray])
        assert_allclose(places[0], places[1], atol=np.ptp(written.cine.frames) / 200)


def test_pictures_are_right_to_half_a_step_within_the_display_range() -> None:
    result = short_axis_slices(4)[0]
    images = HeartImages.of(result)
    n_rows, n_columns = images.pixels.shape[1:]
    rows = slice(images.first_row, images.first_row + n_rows)
    shown = result.cine.frames[:, rows, images.first_column : images.first_column + n_columns]
    dark, bright = images.gray_range
    step = (bright - dark) / 255
    assert_allclose(images.to_gray_levels(), shown.clip(dark, bright), atol=0.5 * step + 1e-4)


@pytest.mark.parametrize("shift_px", [(-95.0, 0.0), (-500.0, 0.0), (0.0, 500.0)])
def test_a_heart_beyond_the_image_shows_all_of_it(shift_px: tuple[float, float]) -> None:
    result = short_axis_slices(4)[0]
    lost = replace(result.landmarks, points_px=result.landmarks.points_px + shift_px)
    images = HeartImages.of(replace(result, landmarks=lost))
    frames = result.cine.frames
    assert (images.pixels.shape, images.first_row, images.first_column) == (frames.shape, 0, 0)
    dark, bright = images.gray_range
    assert bright - dark > np.ptp(frames) / 2
    assert_allclose(images.to_gray_levels(), frames.clip(dark, bright), atol=(bright - dark) / 500)


def test_quality_is_read_where_it_was_written(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "a", short_axis_slices(4))
    quality = {"grade": "usable", "reasons": ["tags end early"]}
    edit_json(folder, {"quality": quality})
    assert read_saved_study(folder).qualities == {"basal": (Grade.USABLE, ("tags end early",), None)}
    edit_json(folder, {"quality": {**quality, "peak_circumferential_interval_95": [None, None]}})
    assert read_saved_study(folder).qualities["basal"].peak_circumferential_interval_95 is None


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("quality", "good"),
        ("quality", {"reasons": []}),
        ("quality", {"grade": "fine", "reasons": []}),
        ("quality", {"grade": "good", "reasons": [], "peak_circumferential_interval_95": [0.1]}),
        ("conventions", [1]),
        ("provenance", {"weights": [1]}),
    ],
)
def test_damaged_records_are_refused_before_a_page_is_made(tmp_path: Path, part: str, value: object) -> None:
    folder = write_results(tmp_path / "a", short_axis_slices(3))
    path = folder / "results.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    if part == "quality":
        record["slices"][0][part] = value
    else:
        record[part] = {**record[part], **value} if isinstance(value, dict) else value
    path.write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(InputError, match=r"results\.json: does not hold, with results\.h5, what a report needs"):
        read_saved_study(folder)


def test_insertion_stays_at_its_place_in_the_part_of_the_image(tmp_path: Path) -> None:
    basal, mid, _ = short_axis_slices(4)
    epicardium_px = basal.landmarks.points_px[0, :, -1]
    written = Insertion.towards(epicardium_px, basal.cine.spacing_xy_mm, -2.0, 0.75)
    folder = write_results(tmp_path / "a", [replace(basal, insertion=written), mid])
    read, without = read_saved_study(folder).results.slices
    assert without.insertion is None
    assert read.insertion is not None
    assert (read.insertion.angle_rad, read.insertion.confidence) == (-2.0, 0.75)
    assert np.isnan(read.insertion.inferior_angle_rad)
    moved_px = read.landmarks.points_px[0, :, -1] - epicardium_px
    assert_allclose(np.subtract(read.insertion.point_px, written.point_px), moved_px.mean(axis=0), atol=1e-3)


def test_results_that_cannot_be_used_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"results\.h5: cannot be read .*Analyze the study again"):
        read_saved_study(tmp_path)
    folder = write_results(tmp_path / "a", short_axis_slices(3))
    (folder / "results.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"results\.json: cannot be read"):
        read_saved_study(folder)
    (folder / "results.json").write_text("[]", encoding="utf-8")
    with pytest.raises(InputError, match="does not hold the results of a study"):
        read_saved_study(folder)


def test_a_slice_without_regional_function_is_named_and_leaves_the_others_their_page(tmp_path: Path) -> None:
    basal, mid, apical = short_axis_slices(4)
    points = mid.landmarks.points_px.copy()
    points[:, 2:] = np.nan  # two spokes give a strain, but no center
    mid = replace(measured(mid, points), warnings=("spokes were lost",))
    folder = write_results(tmp_path / "a", [basal, mid, apical], SliceFailure("fourth", "empty"))
    study = read_saved_study(folder)
    assert [result.name for result in study.results.slices] == ["basal", "apical"]
    assert study.function is not None
    assert study.function.ventricle is not None
    assert study.function.ventricle.twist is not None
    assert study.results.failures == (SliceFailure("fourth", "empty"),)
    page = render_page(study)
    assert "3 of 4 slices analyzed" in page
    said = "analyzed, but its regional function cannot be measured (landmarks: fewer than three are known"
    assert f"<strong>mid:</strong> {said}" in page
    assert "<strong>mid:</strong> spokes were lost" in page
    assert "<strong>fourth:</strong> not analyzed: empty" in page


def measured(result: SliceResult, points_px: NDArray[np.float64]) -> SliceResult:
    """The slice with other landmarks."""
    landmarks = replace(result.landmarks, points_px=points_px)
    cine = result.cine
    return replace(result, landmarks=landmarks, strain=slice_strain(landmarks, cine.spacing_xy_mm, cine.frame_times_ms))


def test_results_without_pictures_are_refused(tmp_path: Path) -> None:
    folder = write_results(tmp_path / "a", short_axis_slices(3))
    with h5py.File(folder / "results.h5", "a") as file:
        del file[HEART_IMAGES]
    with pytest.raises(InputError, match=r"does not hold, with results\.h5, what a report needs"):
        read_saved_study(folder)


def test_a_cohort_in_one_file_is_refused(tmp_path: Path) -> None:
    failures = [SliceFailure(f"row_{row}", "empty") for row in range(MAX_SLICES + 1)]
    with pytest.raises(InputError, match=r"holds 17 slices, more than one heart has.*strain\.csv"):
        read_saved_study(write_results(tmp_path / "a", [], *failures))
