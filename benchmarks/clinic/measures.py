"""What mechanics says of a tracked heart beside what it says of the true one: `HeartMeasures`, `judge_heart`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from benchmarks.clinic.hearts import Scar, draw_heart
from benchmarks.clinic.tracking import TRUTH, load_motions
from tagstrain.mechanics.slice_deformation import SliceMotion
from tagstrain.mechanics.slice_mechanics import RegionalMeasures
from tagstrain.mechanics.study_mechanics import StudyMechanics, VentricleCurves, study_mechanics

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
REMOTE_RAD = np.pi / 2
"""Wall further than this from the middle of the scar is remote from it."""
DYSFUNCTION_RATIO = 0.6
"""A segment with at most this share of the median remote strain is dysfunctional."""


@dataclass(frozen=True, eq=False, slots=True)
class StrainFunction:
    """One strain component of a heart."""

    end_systolic: Array
    """Strain of AHA segments 1 to 16, shape ``(segment,)``."""
    peak_rates_per_s: Array
    """Systolic and early-diastolic peak rate of slice means, shape ``(slice, 2)``; NaN where not seen."""


@dataclass(frozen=True, eq=False, slots=True)
class HeartFunction:
    """What is compared of a heart."""

    circumferential: StrainFunction
    radial: StrainFunction
    twist_deg: Array
    """Apical less basal rotation, shape ``(time,)``."""
    peak_twist_deg: float


@dataclass(frozen=True, eq=False, slots=True)
class HeartMeasures:
    """A tracked heart and the truth."""

    measured: HeartFunction
    true: HeartFunction
    is_dysfunctional: Flags
    """Segments with about half the normal strain in truth, shape ``(segment,)``."""


def judge_heart(index: int, motions: list[SliceMotion] | None, work: Path) -> HeartMeasures | None:
    """Measure a tracked heart; None where the tracker gave up."""
    if motions is None:
        return None
    true_motions = load_motions(TRUTH, index, work)
    assert true_motions is not None
    truth = study_mechanics(true_motions)
    true = heart_function(truth)
    strain = true.circumferential.end_systolic
    is_remote = remote_segments(truth, draw_heart(index).scar)
    return HeartMeasures(heart_function(study_mechanics(motions)), true, dysfunctional_segments(strain, is_remote))


def heart_function(mechanics: StudyMechanics) -> HeartFunction:
    """Pick what is compared."""
    assert mechanics.twist is not None
    return HeartFunction(
        _strain_function(mechanics.circumferential, [slice_.circumferential for slice_ in mechanics.slices]),
        _strain_function(mechanics.radial, [slice_.radial for slice_ in mechanics.slices]),
        mechanics.twist.twist_deg,
        mechanics.twist.peak_twist_deg,
    )


def _strain_function(ventricle: VentricleCurves, slices: Sequence[RegionalMeasures]) -> StrainFunction:
    segments = sorted(ventricle.segment_measures.items())
    means = [slice_.slice_mean for slice_ in slices]
    return StrainFunction(
        np.array([measures.end_systolic for _, measures in segments]),
        np.array([(mean.systolic_rate_per_s, mean.early_diastolic_rate_per_s) for mean in means]),
    )


def remote_segments(truth: StudyMechanics, scar: Scar | None) -> Flags:
    """Segments ``(segment,)`` that lie far from the scar, or in a slice without one, with all of their spokes."""
    is_remote: list[bool] = []
    for level, slice_ in enumerate(truth.slices):
        deformation = slice_.deformation
        n_spokes = len(deformation.segment_of_spoke)
        is_near = np.zeros(n_spokes, np.bool_)
        if scar is not None and level in scar.levels:
            # True spokes, like the scar, are at angles around the center of the simulated ventricle.
            offset_rad = np.arange(n_spokes) * 2 * np.pi / n_spokes - scar.angle_rad
            is_near = np.cos(offset_rad) > np.cos(REMOTE_RAD)
        is_remote += [not is_near[deformation.segment_of_spoke == number].any() for number in deformation.segments]
    return np.array(is_remote)


def dysfunctional_segments(strain: Array, is_remote: Flags) -> Flags:
    """Segments with at most `DYSFUNCTION_RATIO` of the median strain of remote ones, both true."""
    return np.asarray(strain / np.median(strain[is_remote]) <= DYSFUNCTION_RATIO)


def relative_strain(strain: Array) -> Array:
    """Strain of the segments over the median of all of the heart, which needs no knowledge of where a scar is."""
    return np.asarray(strain / np.nanmedian(strain))


def auc(scores: Array, is_positive: Flags) -> float:
    """Area under the ROC curve: chance that a positive scores higher than a negative, ties counting half.

    NaN where there are no positives or no negatives.
    """
    n_positive = int(is_positive.sum())
    n_negative = len(is_positive) - n_positive
    if not n_positive or not n_negative:
        return float("nan")
    rank_sum = float(rankdata(scores)[is_positive].sum())
    return (rank_sum - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative)


def bootstrap_interval(
    scores: Sequence[Array], is_positive: Sequence[Flags], rng: np.random.Generator, n_resamples: int = 1000
) -> tuple[float, float]:
    """95 % interval of the AUC over hearts drawn again with replacement, each with all its segments."""
    all_scores, all_positive = np.stack(scores), np.stack(is_positive)
    drawn = rng.integers(len(all_scores), size=(n_resamples, len(all_scores)))
    areas = [auc(all_scores[hearts].ravel(), all_positive[hearts].ravel()) for hearts in drawn]
    low, high = np.nanquantile(areas, [0.025, 0.975])
    return float(low), float(high)


def relative_bias(measured: Array, true: Array) -> float:
    """Mean of measured minus true values over the mean of the true ones; pairs with an unknown value are left out."""
    is_known = np.isfinite(measured) & np.isfinite(true)
    return float((measured[is_known] - true[is_known]).mean() / true[is_known].mean())
