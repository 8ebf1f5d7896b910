"""A study read back from its ``results.json`` and ``results.h5``: `read_saved_study`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from tagstrain.data import (
    Box,
    Insertion,
    LandmarkTracks,
    Localization,
    PixelSpacing,
    Point,
    PointTracks,
    Provenance,
    SliceFailure,
    SliceLevel,
    SliceResult,
    StudyResult,
    TaggedCine,
)
from tagstrain.errors import InputError
from tagstrain.inference.mechanics import slice_motion
from tagstrain.inference.strain import slice_strain
from tagstrain.mechanics.slice_deformation import deform_slice
from tagstrain.quality import Grade
from tagstrain.quality.error_model import Interval
from tagstrain.report.heart_images import HeartImages
from tagstrain.report.study_function import StudyFunction, study_function

RESULTS_JSON = "results.json"
RESULTS_HDF5 = "results.h5"
MAX_SLICES = 16
"""More slices than any one heart has: results with more are a cohort in one file."""
_ANALYZE_AGAIN = "Analyze the study again with 'tagstrain analyze'"


class SavedQuality(NamedTuple):
    """What a report says of a slice's quality."""

    grade: Grade
    reasons: tuple[str, ...] = ()
    peak_circumferential_interval_95: Interval | None = None
    """None where none was stated."""


class SliceWithoutFunction(NamedTuple):
    """A slice that was analyzed but whose landmarks allow no regional function."""

    result: SliceResult
    reason: str


@dataclass(frozen=True, eq=False, slots=True)
class SavedStudy:
    """The results of one study as its files hold them."""

    results: StudyResult
    """The cines are cut to the heart, in 8 bits, and all points are in pixels of that part. Slices that allow no
    regional function are left out."""
    without_function: tuple[SliceWithoutFunction, ...]
    function: StudyFunction | None
    """Regional function of ``results.slices``; None where there is none."""
    qualities: Mapping[str, SavedQuality]
    """Of every slice that was assessed, by slice name."""
    warnings: tuple[str, ...]
    """About the study as a whole."""
    conventions: Mapping[str, str]


def read_saved_study(folder: Path) -> SavedStudy:
    """Read the results that ``tagstrain analyze`` wrote into a study's folder.

    Raises
    ------
    InputError
        If a file is missing, damaged, or was written before the results held pictures of the heart; if there are
        more than `MAX_SLICES`, or they were not imaged over the same time.
    """
    json_path, hdf5_path = folder / RESULTS_JSON, folder / RESULTS_HDF5
    try:
        with h5py.File(hdf5_path) as file:
            _refuse_cohort(hdf5_path, len(file["slice_names"]))
            record = _read_json(json_path)
            written = [_read_slice(entry, file) for entry in record["slices"]]
        slices, without_function = _measurable(written)
        qualities = {
            entry["name"]: _read_quality(entry["quality"]) for entry in record["slices"] if entry.get("quality")
        }
        return SavedStudy(
            function=_function(json_path, slices, qualities),
            results=StudyResult(
                record["study"],
                record["source"],
                _read_provenance(record),
                slices,
                tuple(SliceFailure(entry["name"], entry["reason"]) for entry in record["failures"]),
            ),
            without_function=without_function,
            qualities=qualities,
            warnings=tuple(record.get("warnings", ())),
            conventions=dict(record["conventions"]),
        )
    except OSError as error:
        raise InputError(hdf5_path, f"cannot be read ({error})", _ANALYZE_AGAIN) from error
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        problem = f"does not hold, with {RESULTS_HDF5}, what a report needs ({error})"
        raise InputError(json_path, problem, _ANALYZE_AGAIN) from error


def _measurable(results: Sequence[SliceResult]) -> tuple[tuple[SliceResult, ...], tuple[SliceWithoutFunction, ...]]:
    """Slices that allow regional function, and those that do not."""
    slices: list[SliceResult] = []
    others: list[SliceWithoutFunction] = []
    for result in results:
        try:
            deform_slice(slice_motion(result))
        except ValueError as error:
            others.append(SliceWithoutFunction(result, str(error)))
        else:
            slices.append(result)
    return tuple(slices), tuple(others)


def _function(
    path: Path, slices: tuple[SliceResult, ...], qualities: Mapping[str, SavedQuality]
) -> StudyFunction | None:
    """Function of the slices and of the ventricle that they are of."""
    grades = {name: quality.grade for name, quality in qualities.items()}
    try:
        return study_function(slices, grades) if slices else None
    except ValueError as error:
        problem = f"allows no regional function: {error}"
        raise InputError(path, problem, "Analyze its slices as separate studies") from error


def _refuse_cohort(path: Path, n_rows: int) -> None:
    """Refuse results of a whole cohort in one file before reading them."""
    if n_rows > MAX_SLICES:
        raise InputError(
            path,
            f"holds {n_rows} slices, more than one heart has",
            f"Regional function and reports are for hearts of up to {MAX_SLICES} slices; read strain.csv",
        )


def _read_json(path: Path) -> dict[str, Any]:
    """Read ``results.json``."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(path, f"cannot be read ({error})", _ANALYZE_AGAIN) from error
    if not isinstance(record, dict):
        raise InputError(path, "does not hold the results of a study", _ANALYZE_AGAIN)
    return record


def _read_provenance(record: Mapping[str, Any]) -> Provenance:
    """What made the results."""
    provenance = record["provenance"]
    named = {name: dict(provenance[name]) for name in ("weights", "preprocessing")}
    return Provenance(**{**provenance, **named}, disclaimer=record["disclaimer"])


def _read_quality(record: Mapping[str, Any]) -> SavedQuality:
    """The judgment on a slice."""
    stated = record.get("peak_circumferential_interval_95")
    interval = None if stated is None or None in stated else Interval(*map(float, stated))
    return SavedQuality(Grade(record["grade"]), tuple(record["reasons"]), interval)


def _read_slice(entry: Mapping[str, Any], file: h5py.File) -> SliceResult:
    """One slice, from its record in the JSON and its row in the HDF5."""
    row, n_frames = entry["row"], entry["n_frames"]
    images = HeartImages.read(file, row)
    corner_px = np.array([images.first_column, images.first_row], np.float64)
    points_px = np.moveaxis(file["landmark_predictions"][row, :n_frames].astype(np.float64), 1, 2) - corner_px
    sigma_px = file["landmark_sigma"][row, :n_frames].astype(np.float64)
    spacing = PixelSpacing(entry["pixel_spacing_mm"]["row"], entry["pixel_spacing_mm"]["column"])
    cine = TaggedCine(
        frames=images.to_gray_levels(),
        frame_times_ms=file["frame_times_ms"][row, :n_frames],
        pixel_spacing=spacing,
        name=entry["name"],
        level=SliceLevel(entry["level"]),
        ed_frame=entry["ed_frame"],
        affine=_moved(entry["affine"], corner_px),
        source=entry["source"],
        rr_interval_ms=entry["rr_interval_ms"],
    )
    landmarks = LandmarkTracks.from_points(PointTracks(points_px, sigma_px, cine.ed_frame))
    return SliceResult(
        cine,
        Localization(Box(*(np.array(entry["box_px"]) - np.tile(corner_px, 2))), entry["localization_confidence"]),
        landmarks,
        slice_strain(landmarks, cine.spacing_xy_mm, cine.frame_times_ms, cine.rr_interval_ms),
        tuple(entry["warnings"]),
        insertion=None if entry["insertion"] is None else _read_insertion(entry["insertion"], corner_px),
    )


def _read_insertion(record: Mapping[str, Any], corner_px: NDArray[np.float64]) -> Insertion:
    """The insertion of the right ventricle, in pixels of the part of the image."""
    inferior_rad = record["inferior_angle_rad"]
    return Insertion(
        Point(*(np.array(record["point_px"]) - corner_px).tolist()),
        record["angle_rad"],
        record["confidence"],
        record["is_given"],
        np.nan if inferior_rad is None else inferior_rad,
    )


def _moved(affine: list[list[float]] | None, corner_px: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Affine of the part of an image whose first pixel is ``(x, y)`` of the whole; None where there is none."""
    if affine is None:
        return None
    to_whole = np.eye(4)
    to_whole[:2, 3] = corner_px
    return np.asarray(np.array(affine) @ to_whole)
