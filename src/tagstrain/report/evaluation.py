"""Accuracy of predicted landmarks, strain and boxes against the truth, file against file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tagstrain.data.landmarks import MIDWALL_RING, N_RINGS, N_SPOKES
from tagstrain.errors import InputError
from tagstrain.geometry.polygon import runs_from_inside
from tagstrain.io.assembly import SPACING_OF_HEARTS, is_spacing_of_hearts
from tagstrain.io.landmark_file import LandmarkFile, LandmarkRow
from tagstrain.mechanics.accuracy import (
    Calibration,
    DifferenceSummary,
    ErrorHistogram,
    OverlapSummary,
    best_spoke_rotation,
    displacement_errors,
    end_point_errors,
    summarize_differences,
    summarize_errors,
    summarize_overlaps,
)
from tagstrain.mechanics.strain import circumferential_strain, end_systolic_frame, mean_known, radial_strain

SAME_SPACING = 0.01
"""Share by which pixel spacings of truth and prediction may differ."""
_SHORTENS = {"circumferential_mean": True, "circumferential_midwall": True, "radial": False}


@dataclass(frozen=True, slots=True)
class PointAccuracy:
    """Distances between predicted and true points over all rows; NaN where nothing could be compared."""

    rmse_row_mean_mm: float
    """Root mean square error of a row, mean over rows."""
    rmse_row_median_mm: float
    rmse_pooled_mm: float
    epe_median_mm: float
    """Median end-point error of all points and frames of all rows together."""
    epe_p95_mm: float
    n_points: int
    """Points times frames compared."""


@dataclass(frozen=True, slots=True)
class StrainAccuracy:
    """Differences in Green-Lagrange strain, prediction minus truth, one value per row."""

    end_systolic: DifferenceSummary
    """At the true end-systolic frame."""
    peak: DifferenceSummary
    """Each curve at its own extremum, over the frames known in both."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How a prediction compares with the truth; parts that the files do not allow are None."""

    truth: str
    prediction: str
    n_rows: int
    n_points: int
    """Points per frame in the files."""
    n_missing: int
    """True points, over all rows and frames, that the prediction does not have."""
    n_out_of_order: int
    """Rows of 168 true points that are no wall spoke by spoke from the inside, so that their strain says nothing."""
    position: PointAccuracy
    """All frames, ED included, of the rows that have any other frame to compare."""
    displacement: PointAccuracy
    """Displacement since ED, all frames but ED: errors of placement cancel."""
    placement: PointAccuracy
    """ED frame alone."""
    placement_best_rotation: PointAccuracy | None
    """ED frame alone, spokes relabelled to fit best, row by row."""
    strain: Mapping[str, StrainAccuracy] | None
    boxes: OverlapSummary | None
    within_one_sigma: float | None
    """Fraction of coordinates whose error is within the stated standard deviation; 0.683 is right."""
    normalized_error_rms: float | None
    """Root mean square of error over stated standard deviation; 1 is right, more is overconfident."""

    def to_json(self) -> dict[str, Any]:
        """Plain values, units in the keys, None for what is not known."""
        return {name: _plain(getattr(self, name)) for name in self.__slots__}


def evaluate_files(truth_path: str | Path, pred_path: str | Path) -> Evaluation:
    """Compare two HDF5 files row by row, in memory that does not grow with their length.

    Points that are NaN in either file and frames beyond ``n_frames`` are left out. Pixel spacing, ED and ES frame are
    the truth's; where it has no ES frame, its strain tells. Strain is compared for the 168-point grid only.

    Raises
    ------
    InputError
        If rows, points or frames do not match, or neither file has the pixel spacing.
    """
    return evaluate_pooled([(truth_path, pred_path)])


def evaluate_pooled(pairs: Sequence[tuple[str | Path, str | Path]]) -> Evaluation:
    """Compare pairs of truth and prediction as `evaluate_files` does, all rows of all pairs together."""
    tally = _Tally()
    for truth_path, pred_path in ((Path(t), Path(p)) for t, p in pairs):
        with LandmarkFile(truth_path) as truth, LandmarkFile(pred_path) as prediction:
            if len(truth) != len(prediction):
                raise InputError(
                    pred_path,
                    f"{len(prediction)} rows, but {truth_path.name} has {len(truth)}",
                    "Compare a prediction with the file it was made from",
                )
            for index in range(len(truth)):
                tally.add(*_checked_rows(truth.row(index), prediction.row(index), index, truth_path, pred_path))
    return tally.evaluation(*(", ".join(Path(path).name for path in side) for side in zip(*pairs, strict=True)))


class _PointTally:
    """Collects end-point errors: pooled in a histogram, and one root mean square per row."""

    def __init__(self) -> None:
        self._pooled = ErrorHistogram()
        self._row_rmse_mm: list[float] = []

    def add(self, errors_mm: NDArray[np.float64]) -> None:
        """Add one row's errors."""
        self._pooled.add(errors_mm)
        self._row_rmse_mm.append(summarize_errors(errors_mm).rmse_mm)

    def accuracy(self) -> PointAccuracy:
        """Summary over rows."""
        pooled = self._pooled.summary()
        rows = np.array(self._row_rmse_mm)
        rows = rows[~np.isnan(rows)]
        mean, median = (float(rows.mean()), float(np.median(rows))) if rows.size else (float("nan"), float("nan"))
        return PointAccuracy(mean, median, pooled.rmse_mm, pooled.median_mm, pooled.p95_mm, pooled.n_points)


class _Tally:
    """Everything collected over rows; a few numbers per row."""

    def __init__(self) -> None:
        self._n_points: int | None = None
        self._n_rows = 0
        self._n_missing = 0
        self._n_out_of_order = 0
        self._position = _PointTally()
        self._displacement = _PointTally()
        self._placement = _PointTally()
        self._rotated = _PointTally()
        self._end_systolic: dict[str, list[float]] = defaultdict(list)
        self._peak: dict[str, list[float]] = defaultdict(list)
        self._ious: list[float] = []
        self._calibration = Calibration()

    def add(self, truth: LandmarkRow, prediction: LandmarkRow, spacing_xy_mm: NDArray[np.float64]) -> None:
        """Compare one row."""
        n_frames = truth.n_frames
        true_px, predicted_px = truth.points_px[:n_frames], prediction.points_px[:n_frames]
        true_mm, predicted_mm = true_px * spacing_xy_mm, predicted_px * spacing_xy_mm
        ed_frame = truth.ed_frame
        self._n_rows += 1
        self._n_points = true_px.shape[1]
        errors_mm = end_point_errors(predicted_mm, true_mm)
        self._n_missing += int(np.count_nonzero(np.isnan(errors_mm) & np.isfinite(true_mm).all(axis=-1)))
        if np.isfinite(np.delete(errors_mm, ed_frame, axis=0)).any():
            self._position.add(errors_mm)
        self._placement.add(errors_mm[ed_frame])
        self._displacement.add(np.delete(displacement_errors(predicted_mm, true_mm, ed_frame), ed_frame, axis=0))
        if truth.box is not None and prediction.box is not None:
            self._ious.append(truth.box.iou(prediction.box))
        if prediction.sigma_px is not None:
            pixel_mm = np.sqrt(np.prod(spacing_xy_mm))
            self._calibration.add(predicted_mm - true_mm, prediction.sigma_px[:n_frames] * pixel_mm)
        if self._n_points == N_SPOKES * N_RINGS:
            grid = (n_frames, N_SPOKES, N_RINGS, 2)
            self._n_out_of_order += not _may_be_wall(true_mm[ed_frame].reshape(grid[1:]))
            self._add_grid(predicted_mm.reshape(grid), true_mm.reshape(grid), ed_frame, truth.es_frame)

    def _add_grid(
        self, predicted_mm: NDArray[np.float64], true_mm: NDArray[np.float64], ed_frame: int, es_frame: int | None
    ) -> None:
        """Compare what needs spokes and rings."""
        predicted_ed, true_ed = predicted_mm[ed_frame], true_mm[ed_frame]
        shift = best_spoke_rotation(predicted_ed, true_ed).n_spokes
        self._rotated.add(end_point_errors(np.roll(predicted_ed, -shift, axis=0), true_ed))
        if es_frame is None or es_frame == ed_frame:  # as files that do not know it are filled with 0
            es_frame = None
            shortening = _grid_curves(true_mm, ed_frame)["circumferential_mean"]
            if np.count_nonzero(~np.isnan(shortening)) > 1:
                es_frame = end_systolic_frame(shortening[:, None])
        # Means over the same landmarks, or a perfect prediction of a part of them would be wrong.
        is_known = (np.isfinite(true_mm) & np.isfinite(predicted_mm)).all(axis=-1, keepdims=True)
        true = _grid_curves(np.where(is_known, true_mm, np.nan), ed_frame)
        predicted = _grid_curves(np.where(is_known, predicted_mm, np.nan), ed_frame)
        for name, shortens in _SHORTENS.items():
            if es_frame is not None:
                self._end_systolic[name].append(float(predicted[name][es_frame] - true[name][es_frame]))
            unknown = np.isnan(true[name]) | np.isnan(predicted[name])
            true_peak = _extremum(np.where(unknown, np.nan, true[name]), shortens)
            self._peak[name].append(_extremum(np.where(unknown, np.nan, predicted[name]), shortens) - true_peak)

    def evaluation(self, truth: str, prediction: str) -> Evaluation:
        """Summary of all rows."""
        grid = self._n_points == N_SPOKES * N_RINGS
        strain = {
            name: StrainAccuracy(
                summarize_differences(np.array(self._end_systolic[name])),
                summarize_differences(np.array(self._peak[name])),
            )
            for name in _SHORTENS
        }
        return Evaluation(
            truth=truth,
            prediction=prediction,
            n_rows=self._n_rows,
            n_points=self._n_points or 0,
            n_missing=self._n_missing,
            n_out_of_order=self._n_out_of_order,
            position=self._position.accuracy(),
            displacement=self._displacement.accuracy(),
            placement=self._placement.accuracy(),
            placement_best_rotation=self._rotated.accuracy() if grid else None,
            strain=strain if grid else None,
            boxes=summarize_overlaps(np.array(self._ious)) if self._ious else None,
            within_one_sigma=self._calibration.within_one_sigma if self._calibration.n else None,
            normalized_error_rms=self._calibration.normalized_rms if self._calibration.n else None,
        )


def _checked_rows(
    truth: LandmarkRow, prediction: LandmarkRow, index: int, truth_path: Path, pred_path: Path
) -> tuple[LandmarkRow, LandmarkRow, NDArray[np.float64]]:
    """Both rows and the pixel spacing ``(x, y)``, once they are known to be comparable."""
    if truth.points_px.shape[1] != prediction.points_px.shape[1]:
        raise InputError(
            pred_path,
            f"row {index} has {prediction.points_px.shape[1]} points, "
            f"but {truth_path.name} has {truth.points_px.shape[1]}",
            "Track the points of that file with --given-ed, or compare files with the same landmarks",
        )
    if prediction.points_px.shape[0] < truth.n_frames:
        raise InputError(
            pred_path,
            f"row {index} has {prediction.points_px.shape[0]} frames, but {truth_path.name} has {truth.n_frames}",
            "Track every frame of that file",
        )
    if truth.es_frame is not None and truth.es_frame >= truth.n_frames:
        raise InputError(
            truth_path, f"row {index}: es_frame_idx is {truth.es_frame} of {truth.n_frames} frames", "Mend the dataset"
        )
    stored = (truth.pixel_spacing_mm, prediction.pixel_spacing_mm)
    known = [each for each in stored if each is not None and is_spacing_of_hearts(each)]
    if not known:
        raise InputError(
            truth_path,
            f"px_spaces is missing in row {index}, or not {SPACING_OF_HEARTS}, so distances in mm are not known",
            "Add px_spaces [mm] to the file",
        )
    row_mm, column_mm = known[0]
    if not np.allclose(known[0], known[-1], rtol=SAME_SPACING):
        raise InputError(
            pred_path,
            f"row {index} has pixels of {known[-1].row_mm:g} x {known[-1].column_mm:g} mm, but {truth_path.name} of "
            f"{row_mm:g} x {column_mm:g}",
            "Mend px_spaces of one of them",
        )
    return truth, prediction, np.array([column_mm, row_mm])


def _grid_curves(landmarks_mm: NDArray[np.float64], ed_frame: int) -> dict[str, NDArray[np.float64]]:
    """Strain curves ``(time,)`` by name; a line without length at ED counts as not known, so that the rest is kept."""
    distinct_mm = _distinct(landmarks_mm, ed_frame)
    circumferential = mean_known(circumferential_strain(distinct_mm, ed_frame), axis=1)
    radial = mean_known(radial_strain(distinct_mm, ed_frame), axis=1)
    return {
        "circumferential_mean": mean_known(circumferential, axis=1),
        "circumferential_midwall": circumferential[:, MIDWALL_RING],
        "radial": radial,
    }


def _distinct(landmarks_mm: NDArray[np.float64], ed_frame: int) -> NDArray[np.float64]:
    """Landmarks with NaN in place of those that coincide at ED with the next spoke's or with the wall's other side."""
    ed = landmarks_mm[ed_frame]
    same = (ed == np.roll(ed, -1, axis=0)).all(axis=-1)
    same[:, 0] |= (ed[:, 0] == ed[:, -1]).all(axis=-1)
    return np.where(same[..., None], np.nan, landmarks_mm) if same.any() else landmarks_mm


def _extremum(curve: NDArray[np.float64], shortens: bool) -> float:
    """Minimum or maximum of the known values, NaN where nothing but ED is known."""
    if np.count_nonzero(~np.isnan(curve)) < 2:
        return float("nan")
    return float(np.nanmin(curve) if shortens else np.nanmax(curve))


def _plain(value: Any) -> Any:
    """Dataclasses and named tuples as dicts, NaN as None."""
    if hasattr(value, "_asdict"):
        return {name: _plain(item) for name, item in value._asdict().items()}
    if isinstance(value, (PointAccuracy, StrainAccuracy)):
        return {name: _plain(getattr(value, name)) for name in value.__slots__}
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _may_be_wall(ed_mm: NDArray[np.float64]) -> bool:
    """Whether landmarks ``(spoke, ring, 2)`` at ED, as far as they are known, are those of a wall in our order."""
    return not np.isfinite(ed_mm).all() or runs_from_inside(ed_mm)
