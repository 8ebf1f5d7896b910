"""``results.h5``: a study's numbers under the predecessor's dataset names, plus what it did not keep."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from tagstrain.data import Box, Provenance, SliceResult
from tagstrain.data.landmarks import N_RINGS, N_SPOKES
from tagstrain.errors import LocalizationError
from tagstrain.geometry import OriginalCrop
from tagstrain.io.lenient_file import LenientFile
from tagstrain.quality import SliceQuality
from tagstrain.report.heart_images import HeartImages

_N_POINTS = N_SPOKES * N_RINGS
_CHUNK_FRAMES = 20
_NO_FRAME = -1
_FRACTION = "1 (fraction, shortening negative)"


class _Column(NamedTuple):
    """A dataset: how one row looks, what it means."""

    shape: tuple[int | None, ...]
    """Shape of a row; None is the time axis."""
    dtype: str
    units: str
    description: str


_XY = (None, 2, _N_POINTS)
_COLUMNS = {
    "bbox_predictions": _Column((4,), "f4", "px", "x1, y1, x2, y2 around the left ventricle"),
    "landmark_local_predictions": _Column(
        _XY, "f4", "px of the predecessor's crop", "(landmark - floor(x1, y1)) * resize_ratio; axis 2 is (x, y)"
    ),
    "landmark_predictions": _Column(
        _XY, "f4", "px", "landmarks in the original image; axis 2 is (x, y), axis 3 is spoke * 7 + ring"
    ),
    "resize_ratios": _Column((), "f4", "1", "128 / rows of the crop from floor(y1) to ceil(y2)"),
    "rr_strains": _Column((None, 1), "f4", _FRACTION, "radial Green-Lagrange strain across the wall"),
    "cc_strains": _Column(
        (None, N_RINGS + 1), "f4", _FRACTION, "circumferential Green-Lagrange strain; rings 0 (endocardium) to 6, mean"
    ),
    "rr_linear_strains": _Column((None, 1), "f4", _FRACTION, "radial engineering strain across the wall"),
    "cc_linear_strains": _Column(
        (None, N_RINGS + 1), "f4", _FRACTION, "circumferential engineering strain; rings 0 (endocardium) to 6, mean"
    ),
    "slice_names": _Column((), "str", "", "name of the slice"),
    "failures": _Column((), "str", "", "why the slice has no result; empty where it has one"),
    "n_frames": _Column((), "i8", "1", "frames of this row; later ones are NaN; 0 where the slice failed"),
    "frame_times_ms": _Column((None,), "f8", "ms", "time since the R wave"),
    "landmark_sigma": _Column((None, _N_POINTS), "f4", "px", "standard deviation of a landmark; NaN where not known"),
    "ed_frame_idx": _Column((), "i8", "1", "end-diastolic frame from 0; -1 where the slice failed"),
    "es_frame_idx": _Column((), "i8", "1", "end-systolic frame from 0; -1 where the slice failed"),
    "px_spaces": _Column((), "f8", "mm", "distance between rows"),
    "pixel_spacing_mm": _Column((2,), "f8", "mm", "distance between rows, between columns"),
    "localization_confidence": _Column((), "f4", "1", "0 (no ventricle seen) to 1; NaN where none is stated"),
    "quality_grade": _Column((), "str", "", "good, usable, ungraded or reject; empty where not assessed"),
    "quality_reasons": _Column((), "str", "", "why, separated by semicolons"),
    "predicted_error_mm": _Column((), "f4", "mm", "expected RMS error of the tracking; NaN where not known"),
    "predicted_circumferential_error": _Column((), "f4", "1", "expected RMS error of mid-wall circumferential strain"),
    "predicted_regional_circumferential_error": _Column((), "f4", "1", "the same for a sixth of the ring"),
    "peak_circumferential_interval_80": _Column((2,), "f4", _FRACTION, "low, high of the mid-wall peak, 80 %"),
    "peak_circumferential_interval_95": _Column((2,), "f4", _FRACTION, "low, high of the mid-wall peak, 95 %"),
}


class ResultsHdf5:
    """Writes one study's HDF5 file, one row per slice; the time axis grows when a longer slice comes."""

    def __init__(self, path: Path, key: str, source: str, provenance: Provenance) -> None:
        self._disk = LenientFile(path)
        self._file = h5py.File(self._disk, "w")
        self._n_rows = 0
        self._n_frames = 0
        self._file.attrs.update(
            {
                "study": key,
                "source": source,
                "software": "tagstrain",
                "software_version": provenance.software_version,
                "tracker": provenance.tracker,
                "device": provenance.device,
                "weights": ", ".join(f"{name} {version}" for name, version in provenance.weights.items()),
                "preprocessing": ", ".join(f"{name} {kind}" for name, kind in provenance.preprocessing.items()),
                "precision": provenance.precision,
                "disclaimer": provenance.disclaimer,
            }
        )
        for name, column in _COLUMNS.items():
            _create(self._file, name, column)

    def add(self, result: SliceResult, quality: SliceQuality | None = None) -> None:
        """Write a slice.

        Raises
        ------
        ValueError
            If the landmarks are not 24 spokes of 7 rings.
        """
        expected = (result.cine.n_frames, N_SPOKES, N_RINGS, 2)
        if result.landmarks.points_px.shape != expected:
            raise ValueError(f"landmarks: expected shape {expected}, got {result.landmarks.points_px.shape}")
        HeartImages.of(result).write(self._file, self._n_rows)
        self._write({**_row(result), **({} if quality is None else _quality_row(quality))})

    def fail(self, name: str, reason: str) -> None:
        """Write a row without values, so that rows stay in input order."""
        frame = {"ed_frame_idx": _NO_FRAME, "es_frame_idx": _NO_FRAME, "n_frames": 0}
        self._write({"slice_names": name, "failures": reason, **frame})

    def close(self) -> None:
        """Finish the file.

        Raises
        ------
        OSError
            If the disk refused any of it.
        """
        with self._disk:
            self._file.close()
        self._disk.check()

    def _write(self, row: dict[str, Any]) -> None:
        """Append a row; what it does not name keeps the fill value."""
        self._n_rows += 1
        n_frames = int(row["n_frames"])
        self._n_frames = max(self._n_frames, n_frames)
        for name, column in _COLUMNS.items():
            dataset = self._file[name]
            sizes = (self._n_frames if size is None else size for size in column.shape)
            dataset.resize((self._n_rows, *sizes))
            if name not in row:
                continue
            if None in column.shape:
                dataset[self._n_rows - 1, :n_frames] = row[name]
            else:
                dataset[self._n_rows - 1] = row[name]
        self._disk.check()


def _row(result: SliceResult) -> dict[str, Any]:
    """One slice under the dataset names."""
    box = result.localization.box
    spacing = result.cine.pixel_spacing
    strain = result.strain
    tracks = result.landmarks.to_points()
    confidence = result.localization.confidence
    local_px, ratio = _in_original_crop(tracks.points_px, box, *result.cine.frames.shape[1:])
    return {
        "bbox_predictions": np.array(box, np.float64),
        "landmark_local_predictions": _predecessor_order(local_px),
        "landmark_predictions": _predecessor_order(tracks.points_px),
        "resize_ratios": ratio,
        "rr_strains": strain.radial[:, None],
        "cc_strains": np.column_stack([strain.circumferential, strain.circumferential_mean]),
        "rr_linear_strains": strain.radial_linear[:, None],
        "cc_linear_strains": np.column_stack([strain.circumferential_linear, strain.circumferential_linear_mean]),
        "slice_names": result.name,
        "n_frames": result.cine.n_frames,
        "frame_times_ms": strain.frame_times_ms,
        "landmark_sigma": tracks.sigma_px,
        "ed_frame_idx": strain.ed_frame,
        "es_frame_idx": strain.es_frame,
        "px_spaces": spacing.row_mm,
        "pixel_spacing_mm": np.array(spacing),
        "localization_confidence": np.nan if confidence is None else confidence,
    }


def _quality_row(quality: SliceQuality) -> dict[str, Any]:
    """The judgment on a slice under the dataset names."""
    return {
        "quality_grade": str(quality.grade),
        "quality_reasons": "; ".join(quality.reasons),
        "predicted_error_mm": quality.predicted_error_mm,
        "predicted_circumferential_error": quality.predicted_circumferential_error,
        "predicted_regional_circumferential_error": quality.predicted_regional_circumferential_error,
        "peak_circumferential_interval_80": np.array(quality.peak_circumferential_interval_80),
        "peak_circumferential_interval_95": np.array(quality.peak_circumferential_interval_95),
    }


def _in_original_crop(
    points_px: NDArray[np.float64], box: Box, n_rows: int, n_columns: int
) -> tuple[NDArray[np.float64], float]:
    """Points in pixels of the predecessor's crop, and its ratio; NaN for a box that it could not crop."""
    try:
        crop = OriginalCrop.around(box, n_rows, n_columns)
    except LocalizationError:
        return np.full_like(points_px, np.nan), float("nan")
    return crop.to_crop(points_px), crop.ratio


def _predecessor_order(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points ``(time, point, 2)`` as ``(time, 2, point)``."""
    return np.moveaxis(points, -1, 1)


def _create(file: h5py.File, name: str, column: _Column) -> None:
    """Make an empty dataset that grows along rows and time and is filled with what stands for missing."""
    text = column.dtype == "str"
    start = tuple(0 if size is None else size for size in column.shape)
    limits = tuple(column.shape)
    chunk = tuple(_CHUNK_FRAMES if size is None else size for size in column.shape)
    values_per_row = int(np.prod(chunk))
    fill = None if text else (np.nan if column.dtype.startswith("f") else 0)
    dataset = file.create_dataset(
        name,
        shape=(0, *start),
        maxshape=(None, *limits),
        chunks=(max(1, 2048 // values_per_row), *chunk),
        dtype=h5py.string_dtype() if text else column.dtype,
        fillvalue=fill,
    )
    dataset.attrs["units"] = column.units
    dataset.attrs["description"] = column.description
