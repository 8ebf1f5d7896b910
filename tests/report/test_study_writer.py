"""Result files: what other programs and people read."""

from __future__ import annotations

import csv
import errno
import json
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.testing import assert_allclose

from contracting_slice import INNER_MM, OUTER_MM, contracting_slice
from tagstrain.data import Box, LandmarkTracks, Localization, PixelSpacing, Provenance, SliceFailure, SliceResult
from tagstrain.inference.strain import slice_strain
from tagstrain.io.lenient_file import LenientFile
from tagstrain.report.results import StudyWriter

PROVENANCE = Provenance("1.2.3", "seqnet", {"placer": "v1 sha256:ab"}, "cpu", {"placer": "original"})


def with_missing_spoke(result: SliceResult) -> SliceResult:
    points = result.landmarks.points_px.copy()
    points[3] = np.nan
    points[4, 2] = np.nan
    landmarks = LandmarkTracks(points, result.landmarks.sigma_px, result.landmarks.ed_frame)
    strain = slice_strain(landmarks, result.cine.spacing_xy_mm, result.cine.frame_times_ms)
    return replace(result, landmarks=landmarks, strain=strain)


def write_study(folder: Path) -> list[SliceResult]:
    """A failed slice, a short one, a failed one and a longer one with gaps."""
    short = contracting_slice(6, (40, 36), name="basal")
    long = with_missing_spoke(contracting_slice(23, (40, 36), name="mid"))
    with StudyWriter(folder, "case", "hdf5 case.h5", PROVENANCE) as writer:
        writer.fail(SliceFailure("first", "no ventricle found"))
        writer.add(short)
        writer.fail(SliceFailure("third", 'unreadable: "x"'))
        writer.add(long)
    return [short, long]


def refuse_constant(name: str) -> Any:
    raise AssertionError(f"{name} is not JSON")


def read_json(folder: Path) -> dict[str, Any]:
    text = (folder / "results.json").read_text(encoding="utf-8")
    return json.loads(text, parse_constant=refuse_constant)


def test_json_is_strict_and_tells_units_conventions_and_origin(tmp_path: Path) -> None:
    write_study(tmp_path)
    study = read_json(tmp_path)
    assert study["study"] == "case"
    assert study["disclaimer"] == "Research software: not for diagnostic use."
    assert study["provenance"] == {
        "software_version": "1.2.3",
        "tracker": "seqnet",
        "weights": {"placer": "v1 sha256:ab"},
        "preprocessing": {"placer": "original"},
        "device": "cpu",
        "precision": "float32",
    }
    assert study["units"]["strain"] == "1"
    assert "ring 0 is the endocardium" in study["conventions"]["landmarks"]
    assert [slice_["name"] for slice_ in study["slices"]] == ["basal", "mid"]
    assert [slice_["row"] for slice_ in study["slices"]] == [1, 3]
    assert study["failures"] == [
        {"row": 0, "name": "first", "reason": "no ventricle found"},
        {"row": 2, "name": "third", "reason": 'unreadable: "x"'},
    ]
    assert (study["n_slices"], study["n_failures"]) == (2, 2)


def test_json_slice_holds_the_result(tmp_path: Path) -> None:
    short, long = write_study(tmp_path)
    first, second = read_json(tmp_path)["slices"]
    assert first["level"] == "mid"
    assert first["warnings"] == ["times assumed"]
    assert first["pixel_spacing_mm"] == {"row": 1.4, "column": 1.2}
    assert first["localization_confidence"] == 0.93
    assert_allclose(first["box_px"], short.localization.box, atol=5e-4)
    assert_allclose(first["frame_times_ms"], short.strain.frame_times_ms)
    assert first["es_frame"] == short.strain.es_frame
    assert_allclose(first["landmarks_px"], short.landmarks.points_px, atol=5e-4 + 1e-9)
    curves = first["strain"]["circumferential"]["green_lagrange"]
    assert list(curves) == [*(f"ring_{ring}" for ring in range(7)), "ring_mean"]
    assert_allclose(curves["ring_6"], short.strain.circumferential[:, 6], atol=1e-6)
    assert list(first["strain"]["radial"]["linear"]) == ["wall", *(f"layer_{layer}" for layer in range(6))]
    peak = first["peaks"]["circumferential_midwall"]["linear"]
    curve = short.strain.circumferential_linear[:, 3]
    assert peak["value"] == pytest.approx(curve.min(), abs=1e-6)
    assert (peak["frame"], peak["time_ms"]) == (curve.argmin(), short.strain.frame_times_ms[curve.argmin()])
    assert first["peaks"]["radial"]["green_lagrange"]["value"] == pytest.approx(short.strain.radial.max(), abs=1e-6)
    assert second["strain"]["radial"]["green_lagrange"]["wall"][3] is None
    assert second["landmarks_px"][4][2][0] == [None, None]
    assert second["landmarks_px"][4][1][0] == pytest.approx(long.landmarks.points_px[4, 1, 0], abs=1e-3)


def test_json_tells_how_blurred_the_borders_are_where_the_placer_says(tmp_path: Path) -> None:
    spread_mm = np.stack([np.linspace(1, 2, 24), np.full(24, 3.0)])
    with StudyWriter(tmp_path, "case", "", PROVENANCE) as writer:
        writer.add(replace(contracting_slice(), border_spread_mm=spread_mm))
        writer.add(contracting_slice())
    first, second = read_json(tmp_path)["slices"]
    assert_allclose(first["border_spread_mm"]["endocardium"], spread_mm[0], atol=0.01)
    assert first["border_spread_mm"]["epicardium"] == [3.0] * 24
    assert second["border_spread_mm"] is None


def test_json_of_a_study_without_slices_is_valid(tmp_path: Path) -> None:
    with StudyWriter(tmp_path, "empty", "dicom", PROVENANCE):
        pass
    study = read_json(tmp_path)
    assert study["slices"] == study["failures"] == []
    with h5py.File(tmp_path / "results.h5") as file:
        assert file["landmark_predictions"].shape == (0, 0, 2, 168)


def test_slice_whose_radial_strain_is_unknown_has_null_peaks(tmp_path: Path) -> None:
    result = contracting_slice(4, (40, 36))
    nothing = np.full(4, np.nan)
    with StudyWriter(tmp_path, "case", "", PROVENANCE) as writer:
        writer.add(replace(result, strain=replace(result.strain, radial=nothing)))
    peaks = read_json(tmp_path)["slices"][0]["peaks"]
    assert peaks["radial"]["green_lagrange"] is None
    assert peaks["radial"]["linear"]["value"] > 0


def test_csv_is_tidy(tmp_path: Path) -> None:
    short, long = write_study(tmp_path)
    with (tmp_path / "strain.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:8] == ["study", "slice", "frame", "time_ms", "component", "region", "measure", "value"]
    assert list(rows[0])[8:] == ["quality", "low_80", "high_80", "low_95", "high_95"]
    assert not any(row["quality"] or row["low_80"] for row in rows)  # not assessed
    assert len(rows) == (6 + 23) * (8 + 7) * 2
    table = {(r["slice"], int(r["frame"]), r["region"], r["measure"]): r for r in rows}
    assert len(table) == len(rows)
    wall = table["basal", 2, "wall", "linear"]
    assert wall["component"] == "radial"
    assert float(wall["value"]) == pytest.approx(short.strain.radial_linear[2], abs=1e-6)
    assert float(wall["time_ms"]) == short.strain.frame_times_ms[2]
    mean = table["mid", 22, "ring_mean", "green_lagrange"]
    assert float(mean["value"]) == pytest.approx(long.strain.circumferential_mean[22], abs=1e-6)
    assert table["mid", 3, "ring_0", "linear"]["value"] == ""
    assert not any("nan" in row["value"] for row in rows)


def test_hdf5_has_the_predecessors_names_shapes_and_types(tmp_path: Path) -> None:
    write_study(tmp_path)
    shapes = {
        "bbox_predictions": (4, 4),
        "landmark_local_predictions": (4, 23, 2, 168),
        "landmark_predictions": (4, 23, 2, 168),
        "resize_ratios": (4,),
        "rr_strains": (4, 23, 1),
        "cc_strains": (4, 23, 8),
        "rr_linear_strains": (4, 23, 1),
        "cc_linear_strains": (4, 23, 8),
    }
    with h5py.File(tmp_path / "results.h5") as file:
        for name, shape in shapes.items():
            assert file[name].shape == shape, name
            assert file[name].dtype == np.float32
            assert file[name].maxshape[0] is None
            assert file[name].attrs["units"]
        assert file.attrs["disclaimer"] == PROVENANCE.disclaimer
        assert file.attrs["software_version"] == "1.2.3"


def test_hdf5_rows_stay_in_input_order_and_missing_is_nan(tmp_path: Path) -> None:
    short, long = write_study(tmp_path)
    with h5py.File(tmp_path / "results.h5") as file:
        for failed in (0, 2):
            for name in ("bbox_predictions", "landmark_predictions", "cc_strains", "resize_ratios", "px_spaces"):
                assert np.isnan(file[name][failed]).all()
        assert file["slice_names"].asstr()[:].tolist() == ["first", "basal", "third", "mid"]
        assert file["failures"].asstr()[:].tolist() == ["no ventricle found", "", 'unreadable: "x"', ""]
        assert file["n_frames"][:].tolist() == [0, 6, 0, 23]
        assert file["es_frame_idx"][:].tolist() == [-1, short.strain.es_frame, -1, long.strain.es_frame]
        assert np.isnan(file["landmark_predictions"][1, 6:]).all()
        assert np.isnan(file["frame_times_ms"][1, 6:]).all()
        points = np.moveaxis(file["landmark_predictions"][1, :6], 1, 2).reshape(6, 24, 7, 2)
        assert_allclose(points, short.landmarks.points_px, rtol=1e-6)
        assert_allclose(file["cc_strains"][3, :, :7], long.strain.circumferential, rtol=1e-5, atol=1e-7)
        assert_allclose(file["cc_linear_strains"][3, :, 7], long.strain.circumferential_linear_mean, atol=1e-7)
        assert_allclose(file["rr_strains"][1, :6, 0], short.strain.radial, atol=1e-7)
        assert_allclose(file["landmark_sigma"][1, :6], 0.3, rtol=1e-6)
        assert file["pixel_spacing_mm"][1].tolist() == [1.4, 1.2]


def test_hdf5_crop_coordinates_follow_the_predecessors_rule(tmp_path: Path) -> None:
    box = Box(5.7, 3.2, 30.1, 35.4)  # rows 3 to 35: 33 of them
    result = contracting_slice(4, (40, 36), box=box)
    with StudyWriter(tmp_path, "case", "", PROVENANCE) as writer:
        writer.add(result)
    with h5py.File(tmp_path / "results.h5") as file:
        assert file["resize_ratios"][0] == np.float32(128 / 33)
        local = np.moveaxis(file["landmark_local_predictions"][0], 1, 2).reshape(4, 24, 7, 2)
        assert_allclose(local, (result.landmarks.points_px - [5, 3]) * 128 / 33, rtol=1e-5)


@pytest.mark.parametrize("box", [Box(0, 20, 9, 10), Box(0, 300, 9, 310), Box(*[float("nan")] * 4)])
def test_a_box_that_the_predecessor_could_not_crop_has_no_ratio_and_no_crop_coordinates(
    tmp_path: Path, box: Box
) -> None:
    with StudyWriter(tmp_path, "case", "", PROVENANCE) as writer:
        writer.add(contracting_slice(4, (40, 36), box=box))
    with h5py.File(tmp_path / "results.h5") as file:
        assert np.isnan(file["resize_ratios"][0])
        assert np.isnan(file["landmark_local_predictions"][0]).all()
        assert np.isfinite(file["landmark_predictions"][0]).all()


def test_a_localizer_without_confidence_is_written_as_missing(tmp_path: Path) -> None:
    result = contracting_slice(4, (40, 36))
    with StudyWriter(tmp_path, "case", "", PROVENANCE) as writer:
        writer.add(replace(result, localization=Localization(result.localization.box, None)))
    assert read_json(tmp_path)["slices"][0]["localization_confidence"] is None
    with h5py.File(tmp_path / "results.h5") as file:
        assert np.isnan(file["localization_confidence"][0])


def test_a_script_for_the_predecessor_reads_closed_form_strain_from_its_indices(tmp_path: Path) -> None:
    """Rings of radius r that shrink to sqrt(r^2 - s): every chord of a ring has the stretch of its radius.

    The indices are those that scripts use: [row, frame, 0] for radial, [row, frame, ring or 7 for the mean].
    """
    square = PixelSpacing(1.4, 1.4)
    result = contracting_slice(20, (128, 120), square)
    with StudyWriter(tmp_path, "case", "", PROVENANCE) as writer:
        writer.add(result)
    center = result.landmarks.points_px[0, :, 3].mean(axis=0)
    radius = np.linspace(INNER_MM, OUTER_MM, 7)
    inner_now = 1.4 * np.linalg.norm(result.landmarks.points_px[:, 5, 0] - center, axis=-1)
    stretch = np.sqrt(radius**2 + (inner_now**2 - INNER_MM**2)[:, None]) / radius
    thickening = (stretch[:, 6] * OUTER_MM - stretch[:, 0] * INNER_MM) / (OUTER_MM - INNER_MM)
    with h5py.File(tmp_path / "results.h5") as file:
        linear, green = file["cc_linear_strains"][0], file["cc_strains"][0]
        assert_allclose(linear[:, :7], stretch - 1, atol=1e-6)
        assert_allclose(linear[:, 7], (stretch - 1).mean(axis=1), atol=1e-6)
        assert_allclose(green[:, :7], (stretch**2 - 1) / 2, atol=1e-6)
        assert_allclose(green[:, 7], ((stretch**2 - 1) / 2).mean(axis=1), atol=1e-6)
        assert_allclose(file["rr_linear_strains"][0, :, 0], thickening - 1, atol=1e-6)
        assert_allclose(file["rr_strains"][0, :, 0], (thickening**2 - 1) / 2, atol=1e-6)
        local = file["landmark_local_predictions"][0] / file["resize_ratios"][0]
        corner = np.floor(file["bbox_predictions"][0, :2])
        assert_allclose(local + corner[:, None], file["landmark_predictions"][0], atol=1e-4)


def test_a_script_for_the_predecessor_appends_rows(tmp_path: Path) -> None:
    """It grows every dataset along its first axis, as the predecessor's own writer does."""
    write_study(tmp_path)
    names = ["bbox_predictions", "landmark_local_predictions", "landmark_predictions", "resize_ratios"]
    names += ["rr_strains", "cc_strains", "rr_linear_strains", "cc_linear_strains"]
    with h5py.File(tmp_path / "results.h5", "a") as file:
        for name in names:
            dataset = file[name]
            n_rows = dataset.shape[0]
            dataset.resize(n_rows + 1, axis=0)
            dataset[n_rows:] = dataset[1:2]
            np.testing.assert_array_equal(dataset[n_rows], dataset[1])


def test_landmarks_off_the_grid_are_refused(tmp_path: Path) -> None:
    result = contracting_slice(4, (40, 36))
    landmarks = LandmarkTracks(result.landmarks.points_px[:, ::2], result.landmarks.sigma_px[:, ::2])
    with (
        StudyWriter(tmp_path, "case", "", PROVENANCE) as writer,
        pytest.raises(ValueError, match=r"expected shape \(4, 24, 7, 2\)"),
    ):
        writer.add(replace(result, landmarks=landmarks))


def test_memory_does_not_grow_with_the_number_of_slices(tmp_path: Path) -> None:
    result = contracting_slice(20, (24, 24))
    with StudyWriter(tmp_path, "case", "", PROVENANCE) as writer:
        for _ in range(5):
            writer.add(result)
        tracemalloc.start()
        try:
            for index in range(20):
                writer.add(result)
                writer.fail(SliceFailure(f"row_{index}", "no ventricle found"))
            kept_bytes, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert kept_bytes < result.landmarks.points_px.nbytes * 8  # 20 results kept would be 20 times that array and more
    assert read_json(tmp_path)["n_slices"] == 25


def test_synthetic_slice_is_what_it_claims(tmp_path: Path) -> None:
    strain = contracting_slice(20).strain
    assert strain.circumferential[:, 0].min() == pytest.approx(-0.26 * INNER_MM**2 / INNER_MM**2, abs=0.01)
    assert strain.radial.max() > 0.2


class FullDisk(LenientFile):
    """Takes nothing."""

    def write(self, data: Any, /) -> int:
        self._refusal = OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tagstrain.report.results_hdf5.LenientFile", FullDisk)
    with pytest.raises(OSError, match="No space left"):
        write_study(tmp_path)
