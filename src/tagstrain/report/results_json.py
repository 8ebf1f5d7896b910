"""``results.json``: everything about a study, with its units and conventions, written slice by slice."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tagstrain.data import ArchiveIdentity, Insertion, Provenance, SliceFailure, SliceResult
from tagstrain.quality import SliceQuality
from tagstrain.report.curves import peak_strains, strain_curves

CONVENTIONS = {
    "points": "(x, y) = (column, row) in pixels of the original image; whole numbers are pixel centers",
    "landmarks": "[time][spoke][ring][x, y]; ring 0 is the endocardium, the last the epicardium; spokes are closed",
    "box": "x1, y1, x2, y2 around the left ventricle",
    "strain": "fraction relative to the ED frame; shortening is negative; plain mean over the known spokes",
    "green_lagrange": "((l / L)**2 - 1) / 2 for a line of length L at ED and l now",
    "linear": "l / L - 1 (engineering strain)",
    "ring_mean": "plain mean over the rings; more negative than the mid-wall ring alone",
    "wall": "radial strain from the first ring to the last",
    "layer": "radial strain from one ring to the next, innermost first",
    "insertion": "anterior insertion of the right ventricle on the ED epicardium; angles in the slice's plane in mm, "
    "from +x towards +y around the mean of the epicardial ED landmarks; inferior_angle_rad is the septum's other end; "
    "confidence 0 to 1, below 0.5 values by segment are not reliable",
    "es_frame": "frame with the most negative mean circumferential strain",
    "affine": "(column, row, 0, 1) of the original image to patient coordinates (DICOM's LPS); null where not known",
    "frames": "counted from 0",
    "quality": "grade good, usable, ungraded (no error can be predicted) or reject; predicted errors and intervals are "
    "calibrated on simulated cines alone",
    "predicted_error_mm": "expected RMS distance of tracked points from where their tissue went",
    "predicted_circumferential_error": "expected RMS error over frames of circumferential strain at mid-wall",
    "predicted_regional_circumferential_error": "the same for a sixth of the ring",
    "peak_circumferential_interval": "low, high: where the true peak at mid-wall (green_lagrange) lies in 80 or 95 of "
    "100 slices; null where the ring is shortest in the last frame",
    "missing": "null",
}
UNITS = {"points": "px", "spacing": "mm", "affine": "mm", "time": "ms", "strain": "1"}
_LANDMARK_DECIMALS = 3
_STRAIN_DECIMALS = 6


class ResultsJson:
    """Writes one study's JSON; ends up in order whatever the order of results and failures."""

    def __init__(
        self, path: Path, key: str, source: str, provenance: Provenance, identity: ArchiveIdentity | None = None
    ) -> None:
        head: dict[str, Any] = {
            "study": key,
            **({} if identity is None else {"patient": patient_record(identity)}),
            "source": source,
            "disclaimer": provenance.disclaimer,
            "provenance": _provenance_record(provenance),
            "units": UNITS,
            "conventions": CONVENTIONS,
        }
        self._file = path.open("w", encoding="utf-8")
        self._file.write(_strict(head, indent=1).removesuffix("\n}") + ',\n "slices": [')
        # Failures come after the slices in the file but in between them in time.
        self._failures = tempfile.SpooledTemporaryFile(max_size=1 << 20, mode="w+", encoding="utf-8")  # noqa: SIM115
        self._n_slices = 0
        self._n_failures = 0
        self._warnings: list[str] = []

    def add(self, result: SliceResult, quality: SliceQuality | None = None) -> None:
        """Write a slice."""
        record = {"row": self._n_slices + self._n_failures, **slice_record(result)}
        record["quality"] = None if quality is None else quality_record(quality)
        self._file.write((",\n  " if self._n_slices else "\n  ") + _strict(record))
        self._n_slices += 1

    def warn(self, warning: str) -> None:
        """Write a warning about the study as a whole."""
        self._warnings.append(warning)

    def fail(self, failure: SliceFailure) -> None:
        """Write a slice that could not be analyzed."""
        record = {"row": self._n_slices + self._n_failures, "name": failure.name, "reason": failure.reason}
        self._failures.write((",\n  " if self._n_failures else "\n  ") + _strict(record))
        self._n_failures += 1

    def close(self) -> None:
        """Finish the file."""
        if self._file.closed:
            return
        self._file.write('\n ],\n "failures": [')
        self._failures.seek(0)
        while text := self._failures.read(1 << 16):
            self._file.write(text)
        self._file.write(f'\n ],\n "warnings": {_strict(self._warnings)}')
        self._file.write(f',\n "n_slices": {self._n_slices},\n "n_failures": {self._n_failures}\n}}\n')
        self._failures.close()
        self._file.close()


def slice_record(result: SliceResult) -> dict[str, Any]:
    """Everything about one slice as plain JSON values; missing values are None."""
    strain = result.strain
    curves: dict[str, dict[str, dict[str, Any]]] = {}
    for curve in strain_curves(strain):
        by_region = curves.setdefault(curve.component, {}).setdefault(curve.measure, {})
        by_region[curve.region] = plain(curve.values, _STRAIN_DECIMALS)
    peaks = {
        name: {
            measure: None if peak is None else {**peak._asdict(), "value": round(peak.value, _STRAIN_DECIMALS)}
            for measure, peak in pair._asdict().items()
        }
        for name, pair in peak_strains(strain).items()
    }
    spacing = result.cine.pixel_spacing
    stated = result.localization.confidence
    confidence = None if stated is None else plain(np.float64(stated), _STRAIN_DECIMALS)
    return {
        "name": result.name,
        "level": str(result.cine.level),
        "source": result.cine.source,
        "box_px": plain(np.array(result.localization.box, np.float64), _LANDMARK_DECIMALS),
        "localization_confidence": confidence,
        "pixel_spacing_mm": {"row": spacing.row_mm, "column": spacing.column_mm},
        "n_frames": result.cine.n_frames,
        "frame_times_ms": plain(strain.frame_times_ms, 3),
        "rr_interval_ms": result.cine.rr_interval_ms,
        "affine": None if result.cine.affine is None else result.cine.affine.tolist(),
        "ed_frame": strain.ed_frame,
        "es_frame": strain.es_frame,
        "peaks": peaks,
        "strain": curves,
        "insertion": None if result.insertion is None else _insertion_record(result.insertion),
        "border_spread_mm": None
        if (spread_mm := result.border_spread_mm) is None
        else {
            "endocardium": plain(spread_mm[0], _LANDMARK_DECIMALS),
            "epicardium": plain(spread_mm[1], _LANDMARK_DECIMALS),
        },
        "landmarks_px": plain(result.landmarks.points_px, _LANDMARK_DECIMALS),
        "warnings": list(result.warnings),
    }


def patient_record(identity: ArchiveIdentity) -> dict[str, str]:
    """What is known of patient and study, by name."""
    return {name: value for name, value in asdict(identity).items() if value}


def quality_record(quality: SliceQuality) -> dict[str, Any]:
    """The judgment on a slice as plain JSON values; missing values are None."""
    signals = {
        name: value if isinstance(value, int) else plain(np.float64(value), _STRAIN_DECIMALS)
        for name, value in asdict(quality.signals).items()
    }
    strains = {
        name: plain(np.array(getattr(quality, name)), _STRAIN_DECIMALS)
        for name in (
            "predicted_circumferential_error",
            "predicted_regional_circumferential_error",
            "peak_circumferential_interval_80",
            "peak_circumferential_interval_95",
        )
    }
    return {
        "grade": str(quality.grade),
        "reasons": list(quality.reasons),
        "predicted_error_mm": plain(np.float64(quality.predicted_error_mm), _LANDMARK_DECIMALS),
        **strains,
        "signals": signals,
    }


def plain(values: NDArray[np.floating] | np.floating, decimals: int) -> Any:
    """Rounded nested lists (or one number) in which None stands for what is not finite."""
    rounded = np.round(np.asarray(values, np.float64), decimals) + 0.0  # + 0.0 turns -0.0 into 0.0
    return np.where(np.isfinite(rounded), rounded, np.array(None)).tolist()


def _insertion_record(insertion: Insertion) -> dict[str, Any]:
    """The RV insertion under the names of its fields."""
    return {
        "point_px": plain(np.array(insertion.point_px), _LANDMARK_DECIMALS),
        "angle_rad": plain(np.float64(insertion.angle_rad), _LANDMARK_DECIMALS),
        "inferior_angle_rad": plain(np.float64(insertion.inferior_angle_rad), _LANDMARK_DECIMALS),
        "confidence": plain(np.float64(insertion.confidence), _LANDMARK_DECIMALS),
        "is_given": insertion.is_given,
        "is_reliable": insertion.is_reliable,
    }


def _provenance_record(provenance: Provenance) -> dict[str, Any]:
    """Provenance as plain values; the disclaimer stands at the top of the file."""
    record = asdict(provenance)
    del record["disclaimer"]
    return {**record, "weights": dict(provenance.weights), "preprocessing": dict(provenance.preprocessing)}


def _strict(value: Any, indent: int | None = None) -> str:
    """JSON text that every parser reads: no NaN or Infinity."""
    return json.dumps(value, allow_nan=False, ensure_ascii=False, indent=indent)
