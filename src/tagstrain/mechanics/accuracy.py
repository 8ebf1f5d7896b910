"""How far a prediction lies from the truth: end-point errors, strain errors, overlap and calibration."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class ErrorSummary(NamedTuple):
    """Distances between predicted and true points [mm]."""

    rmse_mm: float
    median_mm: float
    p95_mm: float
    n_points: int


class DifferenceSummary(NamedTuple):
    """Signed differences, prediction minus truth, in the unit of the quantity."""

    bias: float
    sd: float
    """Sample standard deviation of the differences, NaN for fewer than two."""
    mae: float
    """Mean absolute error."""
    n: int


class OverlapSummary(NamedTuple):
    """Intersection over union of predicted and true boxes."""

    iou_mean: float
    iou_median: float
    iou_min: float
    fraction_below_half: float
    n_boxes: int


class SpokeRotation(NamedTuple):
    """Relabelling of spokes that brings a prediction nearest to the truth."""

    n_spokes: int
    """Predicted spoke ``(k + n_spokes) % spokes`` belongs to true spoke ``k``."""
    rmse_mm: float


def end_point_errors(predicted_mm: NDArray[np.floating], true_mm: NDArray[np.floating]) -> NDArray[np.float64]:
    """Distances [mm] between points ``(..., 2)``; NaN where either is NaN."""
    difference = np.asarray(predicted_mm, np.float64) - np.asarray(true_mm, np.float64)
    return np.asarray(np.hypot(difference[..., 0], difference[..., 1]))


def displacement_errors(
    predicted_mm: NDArray[np.floating], true_mm: NDArray[np.floating], ed_frame: int = 0
) -> NDArray[np.float64]:
    """End-point errors [mm] of the displacement since ED, in which an error of placement cancels.

    Parameters
    ----------
    predicted_mm, true_mm
        Trajectories [mm], shape ``(time, ..., 2)``; point ``k`` of one is point ``k`` of the other.
    ed_frame
        Frame from which displacements are counted.

    Returns
    -------
        Shape ``(time, ...)``; zero at ED by construction, so leave that frame out of summaries.
    """
    predicted = np.asarray(predicted_mm, np.float64)
    true = np.asarray(true_mm, np.float64)
    return end_point_errors(predicted - predicted[ed_frame], true - true[ed_frame])


def summarize_errors(errors_mm: NDArray[np.floating]) -> ErrorSummary:
    """Root mean square, median and 95th percentile of the errors that are not NaN; NaN where there are none."""
    known = np.asarray(errors_mm, np.float64)[~np.isnan(errors_mm)]
    if known.size == 0:
        return ErrorSummary(np.nan, np.nan, np.nan, 0)
    median, p95 = np.percentile(known, [50, 95])
    return ErrorSummary(float(np.sqrt(np.mean(known**2))), float(median), float(p95), int(known.size))


def summarize_differences(differences: NDArray[np.floating]) -> DifferenceSummary:
    """Bias, standard deviation and mean absolute value of the differences that are not NaN."""
    known = np.asarray(differences, np.float64)[~np.isnan(differences)]
    if known.size == 0:
        return DifferenceSummary(np.nan, np.nan, np.nan, 0)
    sd = float(known.std(ddof=1)) if known.size > 1 else float("nan")
    return DifferenceSummary(float(known.mean()), sd, float(np.abs(known).mean()), int(known.size))


def summarize_overlaps(ious: NDArray[np.floating]) -> OverlapSummary:
    """Mean, median and worst intersection over union; NaN where there are no boxes."""
    known = np.asarray(ious, np.float64)[~np.isnan(ious)]
    if known.size == 0:
        return OverlapSummary(np.nan, np.nan, np.nan, np.nan, 0)
    return OverlapSummary(
        float(known.mean()), float(np.median(known)), float(known.min()), float(np.mean(known < 0.5)), int(known.size)
    )


def best_spoke_rotation(predicted_mm: NDArray[np.floating], true_mm: NDArray[np.floating]) -> SpokeRotation:
    """Circular shift of the predicted spokes with the least root mean square distance to the true ones.

    For truth whose spoke 0 was chosen by another rule. Spokes of both run the same way round.

    Parameters
    ----------
    predicted_mm, true_mm
        Landmarks of one frame [mm], shape ``(spoke, ring, 2)``; NaN points are left out.
    """
    predicted = np.asarray(predicted_mm, np.float64)
    rotations = [
        SpokeRotation(shift, summarize_errors(end_point_errors(np.roll(predicted, -shift, axis=0), true_mm)).rmse_mm)
        for shift in range(predicted.shape[0])
    ]
    known = [rotation for rotation in rotations if not np.isnan(rotation.rmse_mm)]
    return min(known, key=lambda rotation: rotation.rmse_mm) if known else SpokeRotation(0, float("nan"))


class ErrorHistogram:
    """Pools any number of errors in constant memory; percentiles are right to ``BIN_MM``."""

    BIN_MM = 0.001
    """Width of a bin [mm], far below what any landmark is known to."""
    LAST_MM = 1000.0
    """Larger errors are counted in the last bin, which matters only where more than 5 % of points are so far off."""

    def __init__(self) -> None:
        self._counts = np.zeros(round(self.LAST_MM / self.BIN_MM), np.int64)
        self._sum_squares = 0.0

    def add(self, errors_mm: NDArray[np.floating]) -> None:
        """Count the errors [mm] that are not NaN; any shape."""
        known = np.asarray(errors_mm, np.float64)[~np.isnan(errors_mm)]
        bins = np.minimum(known / self.BIN_MM, len(self._counts) - 1).astype(np.int64)
        indices, counts = np.unique(bins, return_counts=True)
        self._counts[indices] += counts
        self._sum_squares += float(np.sum(known**2))

    def summary(self) -> ErrorSummary:
        """Summary of everything added so far."""
        n_points = int(self._counts.sum())
        if n_points == 0:
            return ErrorSummary(np.nan, np.nan, np.nan, 0)
        rmse = float(np.sqrt(self._sum_squares / n_points))
        return ErrorSummary(rmse, self._percentile(0.5, n_points), self._percentile(0.95, n_points), n_points)

    def _percentile(self, fraction: float, n_points: int) -> float:
        """Middle of the bin in which the cumulative count reaches ``fraction``."""
        index = int(np.searchsorted(np.cumsum(self._counts), fraction * n_points))
        return round((index + 0.5) * self.BIN_MM, 4)


class Calibration:
    """Compares stated standard deviations with the errors made, along x and y separately, in constant memory."""

    def __init__(self) -> None:
        self._n = 0
        self._n_within = 0
        self._sum_squares = 0.0

    def add(self, errors_xy: NDArray[np.floating], sigma: NDArray[np.floating]) -> None:
        """Add signed errors ``(..., 2)`` and their standard deviation ``(...)``, in one unit.

        Points whose ``sigma`` is NaN or 0 (given, not measured) are left out.
        """
        stated = np.asarray(sigma, np.float64)
        errors = np.asarray(errors_xy, np.float64)
        known = np.isfinite(errors).all(axis=-1) & np.isfinite(stated) & (stated > 0)
        normalized = errors[known] / stated[known][:, None]
        self._n += normalized.size
        self._n_within += int(np.count_nonzero(np.abs(normalized) <= 1))
        self._sum_squares += float(np.sum(normalized**2))

    @property
    def n(self) -> int:
        """Number of coordinates compared."""
        return self._n

    @property
    def within_one_sigma(self) -> float:
        """Fraction of coordinates within one standard deviation: 0.683 where errors are normal and sigma is right."""
        return self._n_within / self._n if self._n else float("nan")

    @property
    def normalized_rms(self) -> float:
        """Root mean square of error over sigma: 1 where sigma is right, more where it is too small."""
        return float(np.sqrt(self._sum_squares / self._n)) if self._n else float("nan")
