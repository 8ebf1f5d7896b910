"""From signals to the error to be expected, and intervals of peak strain: `Calibration`, `load_calibration`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np

from tagstrain.quality.flaws import Grade
from tagstrain.quality.signals import Signals

ASSET = "calibration.json"
MODELS = ("position", "circumferential", "regional_circumferential")


class Evidence(NamedTuple):
    """A signal as the error model reads it: larger is worse."""

    floor: float
    """Values below say nothing more: as good as it gets, or noise of the signal itself."""
    value: float


class Interval(NamedTuple):
    """Where a value lies with a stated probability."""

    low: float
    high: float


def evidence(signals: Signals) -> dict[str, Evidence]:
    """What the error model knows of a slice, by name; NaN where a signal could not be measured."""
    return {
        "sigma_mm": Evidence(0.1, signals.sigma_mm),
        "view_distance_mm": Evidence(0.02, signals.view_distance_mm),
        "view_strain_difference": Evidence(0.0002, signals.view_strain_difference),
        "view_regional_difference": Evidence(0.0005, signals.view_regional_difference),
        "closure_mm": Evidence(0.2, signals.closure_mm),
        "back_strain_difference": Evidence(0.001, signals.back_strain_difference),
        "back_regional_difference": Evidence(0.002, signals.back_regional_difference),
        "repeat_wall_mm": Evidence(0.2, signals.repeat_wall_mm),
        "border_spread_mm": Evidence(0.2, signals.border_spread_mm),
        "strain_roughness": Evidence(0.003, signals.strain_roughness),
        # The same error in mm is a larger one in strain where the ring is short.
        "wall_curvature_per_mm": Evidence(0.02, 1 / (signals.cavity_radius_mm + signals.wall_thickness_mm / 2)),
        "strain_gradient_per_mm": Evidence(0.001, signals.strain_gradient_per_mm),
        "cell_area_spread": Evidence(0.03, signals.cell_area_spread),
        "jump_mm": Evidence(0.2, signals.jump_mm),
        "largest_stretch": Evidence(0.03, signals.largest_stretch),
        # Tissue beside the heart does not shorten.
        "stillness": Evidence(1.0, 1 / max(signals.peak_shortening, 0.01)),
        "unlocalized": Evidence(0.1, 1 - signals.localizer_overlap),
        "missing_visibility": Evidence(0.1, 1 - signals.tag_visibility_mean),
        "missing_visibility_to_es": Evidence(0.1, 1 - signals.tag_visibility_lowest),
        "tag_unevenness": Evidence(0.1, 1 - signals.tag_evenness),
        "border_mm": Evidence(1.0, 6 - signals.border_distance_mm),
    }


@dataclass(frozen=True, slots=True)
class ErrorPart:
    """What one cause adds: a product of powers of the evidence, no power negative: worse evidence, larger error."""

    scale: float
    """Error where all evidence is 1."""
    powers: Mapping[str, float]
    """By name of the evidence; what is not named has no say."""

    def __post_init__(self) -> None:
        if not self.scale > 0 or any(power < 0 for power in self.powers.values()):
            raise ValueError(f"ErrorPart: expected a positive scale and no negative power, got {self}")

    def predict(self, signals: Signals) -> float:
        """Expected error by this cause; NaN where evidence that counts is missing."""
        known = evidence(signals)
        factors = [max(known[name].value, known[name].floor) ** power for name, power in self.powers.items()]
        # max() would pass over a NaN that stands second.
        missing = any(np.isnan(known[name].value) for name in self.powers)
        return float("nan") if missing else self.scale * float(np.prod(factors))


class IntervalRange(NamedTuple):
    """Between which errors the measured peak lies, for slices of one grade of which an error of some size is expected.

    By split conformal prediction within each range (Vovk, Asian Conference on Machine Learning 2012, PMLR 25:475), for
    both ends: walls that are placed lie a little too far in, where the heart shortens more, so that errors of one sign
    are more common.
    """

    grade: Grade
    below: float
    """Expected circumferential error up to which it holds, from that of the entry before on."""
    factors: Mapping[str, tuple[float, float]]
    """Coverage in percent to the least and the largest error of the peak, in expected circumferential errors."""


@dataclass(frozen=True, slots=True)
class ErrorModel:
    """Expected error, the root of the sum of the squares of its parts, which come about each by itself."""

    parts: Mapping[str, ErrorPart]
    """By cause: ``tracking``, ``placing``, ``timing`` (frames of another moment of the cycle, followed well)."""

    def predict(self, signals: Signals) -> float:
        """Expected error; NaN where evidence that counts is missing."""
        return float(np.sqrt(sum(part.predict(signals) ** 2 for part in self.parts.values())))


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was learned from simulated slices of known error."""

    tracker: str
    """Tracker that it holds for."""
    weights: Mapping[str, str]
    """Network to version and hash of the weights with which it was learned."""
    position: ErrorModel
    """RMS distance [mm] of tracked points from where their tissue went."""
    circumferential: ErrorModel
    """RMS over frames of the error of mid-wall circumferential strain, placing included."""
    regional_circumferential: ErrorModel
    """The same for a sixth of the ring, RMS over frames and sixths."""
    interval_ranges: tuple[IntervalRange, ...]
    """By grade, in order of the expected error; the last one of a grade holds for any larger error too."""
    usable_below: float
    """Expected circumferential error up to which a slice is usable; beyond, it is rejected."""
    good_below: float
    """The same for good."""

    def why_not(self, tracker: str, weights: Mapping[str, str] | None) -> str:
        """Why it does not hold for what a tracker with these weights followed, in words; empty where it does."""
        if tracker != self.tracker:
            return f"tracker {tracker} was never calibrated"
        other = [] if weights is None else [name for name in self.weights if weights.get(name) != self.weights[name]]
        return f"the calibration is that of other weights ({', '.join(other)})" if other else ""

    def interval(
        self, peak: float, coverage_percent: int, circumferential_error: float, grade: Grade, is_wall_given: bool
    ) -> Interval:
        """Interval of a peak mid-wall circumferential strain; NaN for a slice that is to be rejected or is not graded.

        The errors' usual sign is that of placed walls: with a wall that the user gave, the wider side serves for both.
        """
        of_grade = [each for each in self.interval_ranges if each.grade is grade]
        if not of_grade:
            return Interval(float("nan"), float("nan"))
        fitting = [each for each in of_grade if circumferential_error <= each.below]
        low, high = (*fitting, of_grade[-1])[0].factors[str(coverage_percent)]
        if is_wall_given:
            low, high = min(low, -high), max(-low, high)
        return Interval(peak - high * circumferential_error, peak - low * circumferential_error)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "interval_ranges": [each._asdict() for each in self.interval_ranges]}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Calibration:
        """Read what `to_json` gave."""
        models = {
            name: ErrorModel({cause: ErrorPart(**part) for cause, part in record[name]["parts"].items()})
            for name in MODELS
        }
        ranges = tuple(
            IntervalRange(
                Grade(each["grade"]),
                each["below"],
                {percent: (low, high) for percent, (low, high) in each["factors"].items()},
            )
            for each in record["interval_ranges"]
        )
        return cls(**{**record, **models, "interval_ranges": ranges})


@cache
def load_calibration() -> Calibration:
    """The calibration that is shipped with the package (`benchmarks.quality` makes it)."""
    text = (files("tagstrain.quality") / "assets" / ASSET).read_text(encoding="utf-8")
    return Calibration.from_json(json.loads(text))
