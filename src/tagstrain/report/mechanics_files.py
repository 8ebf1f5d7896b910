"""Regional function of a study as files: ``mechanics.json`` and ``mechanics.csv``, by `write_mechanics`."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tagstrain.data import SliceResult
from tagstrain.geometry.orientation import is_side_known
from tagstrain.io import atomic_file
from tagstrain.mechanics.rotation import Twist
from tagstrain.mechanics.slice_mechanics import RegionalMeasures, SliceMechanics
from tagstrain.mechanics.study_mechanics import StudyMechanics, VentricleCurves
from tagstrain.mechanics.timing import HARDLY_ANY_STRAIN, CurveMeasures
from tagstrain.report.results_json import plain
from tagstrain.report.saved_study import SavedStudy
from tagstrain.report.study_function import StudyFunction

MECHANICS_JSON = "mechanics.json"
MECHANICS_CSV = "mechanics.csv"
CONVENTIONS = {
    "strain": "Green-Lagrange against ED, as a fraction, from the deformation gradient at the landmarks, mean through "
    "the wall; shortening is negative",
    "layers": "thirds of the wall, innermost first: endo, mid (mid-wall), epi",
    "components": "in the polar frame of the ventricle at ED",
    "measures": "read from the smoothed curve; times since the R wave; a curve that deforms by less than "
    f"{100 * HARDLY_ANY_STRAIN:g} % has no time to peak and no post-systolic index, which would be noise",
    "ventricle": "from the slices that left_out does not name; null without any",
    "end_systole": "of the ventricle's mean circumferential strain, for every slice alike; of the slice's own where "
    "there is no ventricle",
    "segment": "AHA segment, Cerqueira et al., Circulation 2002;105:539-542; in mechanics.csv 'reliable' says whether "
    "the insertion of the right ventricle, where they start, and the side from which the image is seen are known well "
    "enough in every slice that it needs",
    "rotation": "mean of all rings, counter-clockwise as seen from the apex is positive; twist is apical less basal",
    "missing": "null; empty in the table",
}
_DECIMALS = 6
_UNITS = {"_deg_per_cm": "deg/cm", "_deg_per_s": "deg/s", "_per_s": "1/s", "_ms": "ms", "_deg": "deg"}


class MeasureRow(NamedTuple):
    """One number; the fields are the columns of ``mechanics.csv``."""

    study: str
    slice: str
    """Empty for the whole ventricle."""
    region: str
    """``ventricle``, ``slice``, ``layer_endo`` to ``layer_epi`` or ``segment_1`` to ``segment_17``."""
    component: str
    measure: str
    value: float
    unit: str
    reliable: str
    """``yes`` or ``no`` for segments, by the insertion of the right ventricle; empty elsewhere."""
    quality: str
    """Grade of the slice; empty where it was not assessed, and for the whole ventricle."""


def write_mechanics(folder: Path, study: SavedStudy) -> None:
    """Write both files into a study's folder, if it has regional function; replaces earlier ones.

    Raises
    ------
    OutputError
        If the folder cannot be written to.
    """
    function = study.function
    if function is None:
        return
    provenance = study.results.provenance
    record = {
        "study": study.results.key,
        "software": "tagstrain",
        "software_version": provenance.software_version,
        "tracker": provenance.tracker,
        "weights": dict(provenance.weights),
        "disclaimer": provenance.disclaimer,
        "conventions": CONVENTIONS,
        "warnings": list(study.warnings),
        "ventricle": None if function.ventricle is None else _ventricle_record(function.ventricle),
        "left_out": [{"name": name, "reason": reason} for name, reason in function.left_out.items()],
        "slices": [
            {**_slice_record(result, part), "quality": _grade(study, result) or None}
            for result, part in zip(study.results.slices, function.slices, strict=True)
        ],
    }
    with atomic_file(folder / MECHANICS_JSON, overwrite=True) as temporary:
        text = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")
    with (
        atomic_file(folder / MECHANICS_CSV, overwrite=True) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as stream,
    ):
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(MeasureRow._fields)
        for row in measure_rows(study, function):
            value = f"{row.value:.6g}" if isfinite(row.value) else ""
            writer.writerow({**row._asdict(), "value": value}.values())


def measure_rows(study: SavedStudy, function: StudyFunction) -> Iterator[MeasureRow]:
    """Every measure of the whole ventricle, if there is one, then of every slice."""
    key, results = study.results.key, study.results.slices
    if function.ventricle is not None:
        yield from _ventricle_rows(key, function.ventricle, segments_reliable(results, function))
    for result, part in zip(results, function.slices, strict=True):
        grade = _grade(study, result)
        for component, regional in (("circumferential", part.circumferential), ("radial", part.radial)):
            yield from _rows(key, result.name, "slice", component, regional.slice_mean, quality=grade)
            for layer, measures in regional.layers.items():
                yield from _rows(key, result.name, f"layer_{layer}", component, measures, quality=grade)


def _ventricle_rows(key: str, mechanics: StudyMechanics, reliable: Mapping[int, bool]) -> Iterator[MeasureRow]:
    """Every measure of the whole ventricle."""
    components = {"circumferential": mechanics.circumferential, "radial": mechanics.radial}
    for component, curves in components.items():
        yield from _rows(key, "", "ventricle", component, curves.global_measures)
        for layer, measures in curves.layer_measures.items():
            yield from _rows(key, "", f"layer_{layer}", component, measures)
        for number, measures in curves.segment_measures.items():
            trust = "yes" if reliable[number] else "no"
            yield from _rows(key, "", f"segment_{number}", component, measures, trust)
    indices = {"dyssynchrony": mechanics.dyssynchrony._asdict(), "twist": _twist_numbers(mechanics.twist)}
    for component, numbers in indices.items():
        for name, value in numbers.items():
            yield MeasureRow(key, "", "ventricle", component, name, value, _unit(name), "", "")


def segments_reliable(results: Sequence[SliceResult], function: StudyFunction) -> dict[int, bool]:
    """By AHA segment of the ventricle: whether every slice that shows it tells well enough where the RV inserts, and
    from which side it is seen."""
    reliable: dict[int, bool] = {}
    for result, part in zip(results, function.slices, strict=True):
        if result.name in function.left_out:
            continue
        is_known = result.insertion is not None and result.insertion.is_reliable and is_side_known(result.cine.affine)
        for number in part.deformation.segments:
            reliable[number] = reliable.get(number, True) and is_known
    return reliable


def _rows(
    study: str,
    slice_name: str,
    region: str,
    component: str,
    measures: CurveMeasures,
    reliable: str = "",
    quality: str = "",
) -> Iterator[MeasureRow]:
    """The measures of one curve."""
    for name, value in _numbers(measures).items():
        yield MeasureRow(study, slice_name, region, component, name, value, _unit(name), reliable, quality)


def _grade(study: SavedStudy, result: SliceResult) -> str:
    """Grade of a slice; empty where it was not assessed."""
    quality = study.qualities.get(result.name)
    return "" if quality is None else str(quality.grade)


def _numbers(measures: CurveMeasures) -> dict[str, float]:
    """Measures by name; the recovery without its reason."""
    values = asdict(measures)
    recovered = measures.diastolic_recovery.fraction
    return {**values, "diastolic_recovery": np.nan if recovered is None else recovered}


def _unit(measure: str) -> str:
    """Unit that the end of a measure's name gives; fractions have ``1``."""
    return next((unit for ending, unit in _UNITS.items() if measure.endswith(ending)), "1")


def _twist_numbers(twist: Twist | None) -> dict[str, float]:
    """What is told of the twist beside its curves."""
    if twist is None:
        return {}
    return {
        "peak_twist_deg": twist.peak_twist_deg,
        "peak_torsion_deg_per_cm": twist.peak_torsion_deg_per_cm,
        "time_to_peak_ms": twist.time_to_peak_ms,
        "peak_untwist_rate_deg_per_s": twist.peak_untwist_rate_deg_per_s,
    }


def _ventricle_record(mechanics: StudyMechanics) -> dict[str, Any]:
    """Curves and measures of the whole ventricle."""
    twist = mechanics.twist
    return {
        "frame_times_ms": _plain(mechanics.frame_times_ms),
        "end_systole_ms": _plain(np.float64(mechanics.phases.es_ms)),
        "rr_interval_ms": mechanics.phases.rr_interval_ms,
        "circumferential": _curves_record(mechanics.circumferential),
        "radial": _curves_record(mechanics.radial),
        "dyssynchrony": _plain_values(mechanics.dyssynchrony._asdict()),
        "twist": None
        if twist is None
        else {
            **_plain_values(_twist_numbers(twist)),
            "twist_deg": _plain(twist.twist_deg),
            "torsion_deg_per_cm": _plain(twist.torsion_deg_per_cm),
            "shear_angle_deg": _plain(twist.shear_angle_deg),
        },
        "twist_missing": mechanics.twist_missing or None,
    }


def _curves_record(curves: VentricleCurves) -> dict[str, Any]:
    """One strain component of the whole ventricle."""
    return {
        "mean": _plain(curves.global_mean),
        "measures": _measures_record(curves.global_measures),
        "layers": {name: _measures_record(layer) for name, layer in curves.layer_measures.items()},
        "segments": {
            str(number): {"curve": _plain(curves.segments[:, number - 1]), "measures": _measures_record(measures)}
            for number, measures in curves.segment_measures.items()
        },
    }


def _slice_record(result: SliceResult, part: SliceMechanics) -> dict[str, Any]:
    """Curves and measures of one slice."""
    deformation = part.deformation
    return {
        "name": result.name,
        "frame_times_ms": _plain(deformation.motion.frame_times_ms),
        "rotation_deg": _plain(deformation.slice_rotation_deg),
        "area_ratio": _plain(deformation.area_ratio.slice_mean),
        "shear": _plain(deformation.shear.slice_mean),
        "circumferential": _regional_record(deformation.circumferential.slice_mean, part.circumferential),
        "radial": _regional_record(deformation.radial.slice_mean, part.radial),
        "dyssynchrony": _plain_values(part.dyssynchrony._asdict()),
    }


def _regional_record(mean: NDArray[np.float64], measures: RegionalMeasures) -> dict[str, Any]:
    """One strain component of one slice."""
    return {
        "mean": _plain(mean),
        "measures": _measures_record(measures.slice_mean),
        "layers": {name: _measures_record(layer) for name, layer in measures.layers.items()},
        "segments": {str(number): _measures_record(segment) for number, segment in measures.segments.items()},
    }


def _measures_record(measures: CurveMeasures) -> dict[str, Any]:
    """The measures of one curve, and why the recovery is missing where it is."""
    missing = measures.diastolic_recovery.reason or None
    return {**_plain_values(_numbers(measures)), "diastolic_recovery_missing": missing}


def _plain_values(numbers: Mapping[str, float]) -> dict[str, Any]:
    """Rounded numbers; None for what is not known."""
    return {name: _plain(np.float64(value)) for name, value in numbers.items()}


def _plain(values: NDArray[np.floating] | np.floating) -> Any:
    return plain(values, _DECIMALS)
