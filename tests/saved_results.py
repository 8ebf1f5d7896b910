"""A folder of results as ``analyze`` leaves it: three contracting slices of one heart."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from contracting_slice import contracting_slice
from tagstrain.data import Provenance, SliceFailure, SliceLevel, SliceResult
from tagstrain.inference.strain import slice_strain
from tagstrain.report.results import StudyWriter

PROVENANCE = Provenance("1.2.3", "flow", {"tracker": "0.1.0 sha256:ab"}, "cpu", {"localizer": "tagstrain"})
LEVELS = (SliceLevel.BASAL, SliceLevel.MID, SliceLevel.APICAL)
SLICE_DISTANCE_MM = 20.0


def short_axis_slices(n_frames: int = 12, shape: tuple[int, int] = (96, 88)) -> list[SliceResult]:
    """Base, middle and apex, parallel, seen from the apex, which lies left, forward and down in the patient."""
    slices = []
    for place, level in enumerate(LEVELS):
        result = contracting_slice(n_frames, shape, name=level.value)
        cine = replace(result.cine, level=level, affine=_affine(place * SLICE_DISTANCE_MM), rr_interval_ms=900.0)
        slices.append(replace(result, cine=cine))
    return slices


def write_results(folder: Path, slices: list[SliceResult], *failures: SliceFailure, key: str = "case_7") -> Path:
    """Write the results of a study into a new folder."""
    folder.mkdir(parents=True)
    with StudyWriter(folder, key, "dicom: case_7", PROVENANCE) as writer:
        for failure in failures:
            writer.fail(failure)
        for result in slices:
            writer.add(result)
    return folder


def still(result: SliceResult) -> SliceResult:
    """The slice with its landmarks where they lie at ED, as a tracker leaves them that sees no tags."""
    points_px = np.repeat(result.landmarks.points_px[:1], result.cine.n_frames, axis=0)
    landmarks = replace(result.landmarks, points_px=points_px)
    strain = slice_strain(landmarks, result.cine.spacing_xy_mm, result.cine.frame_times_ms)
    return replace(result, landmarks=landmarks, strain=strain)


def reject(folder: Path, *places: int) -> Path:
    """Grade some slices of written results as to be rejected."""
    for place in places:
        edit_json(folder, {"quality": {"grade": "reject", "reasons": ["no tags are seen"]}}, place)
    return folder


def edit_json(folder: Path, change: dict[str, object], place: int = 0) -> None:
    """Put something into the record of a slice."""
    path = folder / "results.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    record["slices"][place].update(change)
    path.write_text(json.dumps(record), encoding="utf-8")


def _affine(depth_mm: float) -> np.ndarray:
    """Image plane across the long axis, at a depth from the base."""
    to_apex = np.array([0.6, -0.64, -0.48])
    along_x = np.cross([0.0, 0.0, 1.0], to_apex)
    along_x /= np.linalg.norm(along_x)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = 1.2 * along_x, 1.4 * np.cross(-to_apex, along_x)
    affine[:3, 2], affine[:3, 3] = -to_apex, depth_mm * to_apex
    return affine
