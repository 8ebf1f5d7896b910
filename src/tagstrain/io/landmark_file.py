"""Landmarks from HDF5 files in the predecessor's layout, one row at a time: `LandmarkFile`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from tagstrain.data.cine import PixelSpacing
from tagstrain.data.landmarks import N_RINGS, N_SPOKES
from tagstrain.data.results import Box
from tagstrain.errors import InputError
from tagstrain.io.hdf5_layout import (
    BOXES,
    ED_FRAME,
    ES_FRAME,
    IMAGE_AXES,
    IMAGES,
    LANDMARKS,
    QUALITY_PREFIX,
    SIGMA,
    open_hdf5,
    require_dataset,
    row_frame,
    row_n_frames,
    row_number,
    row_numbers,
    row_spacing,
)


@dataclass(frozen=True, eq=False, slots=True)
class LandmarkRow:
    """What one row of a truth or prediction file says about the landmarks of one slice."""

    points_px: NDArray[np.float64]
    """``(x, y)`` in pixels of the whole image, shape ``(time, point, 2)``; NaN where missing and in padding."""
    box: Box | None
    pixel_spacing_mm: PixelSpacing | None
    ed_frame: int
    es_frame: int | None
    n_frames: int
    """Real frames; the rest of ``points_px`` is padding."""
    sigma_px: NDArray[np.float64] | None
    """Standard deviation of the points [px], shape ``(time, point)``; NaN where not known."""
    quality: Mapping[str, float] = field(default_factory=dict)
    """Quality columns by name, without the prefix."""

    @property
    def misfit(self) -> Misfit | None:
        """How the points at ED contradict the box, which has a margin on every side of them; None if they do not."""
        at_ed = self.points_px[self.ed_frame]
        known = at_ed[np.isfinite(at_ed).all(axis=-1)]
        if self.box is None or not len(known):
            return None
        low, high = np.array(self.box[:2]), np.array(self.box[2:])

        def outside_px(points: NDArray[np.float64]) -> float:
            """How far the furthest point lies outside of the box."""
            return float(np.maximum(low - points, points - high).max())

        if outside_px(known) <= _CLEARLY_PX:
            return None
        if outside_px(known + np.floor(low)) <= 0:
            return COUNT_FROM_BOX
        return X_AND_Y_EXCHANGED if outside_px(known[:, ::-1]) <= 0 else None


class Misfit(NamedTuple):
    """Landmarks that do not lie in their box, and would if they were meant otherwise."""

    problem: str
    remedy: str


_CLEARLY_PX = 2.0
"""Beyond a box that was drawn closely."""
COUNT_FROM_BOX = Misfit(
    "its landmarks lie outside of bbox_corners and fit into it if they count from its corner, as those of the "
    "predecessor's preparation script do",
    "Add the corner (x1, y1), rounded down, or write the file with tagstrain prepare-cim",
)
X_AND_Y_EXCHANGED = Misfit(
    "its landmarks lie outside of bbox_corners and fit into it with x and y exchanged",
    "Write x first, the column, and then y",
)


class LandmarkFile:
    """A file of landmarks, opened for each row, so that it can be handed to other processes.

    Parameters
    ----------
    may_lack_landmarks
        Read images with boxes alone as rows without points.

    Raises
    ------
    InputError
        On opening, if the file is damaged or has no landmarks.
    """

    def __init__(self, path: Path, may_lack_landmarks: bool = False) -> None:
        self.path = path
        self._may_lack_landmarks = may_lack_landmarks
        with open_hdf5(path) as file:
            self._n_rows = int(self._landmarks(file).shape[0])

    def __enter__(self) -> LandmarkFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def __len__(self) -> int:
        return self._n_rows

    def row(self, index: int) -> LandmarkRow:
        """Read one row.

        Raises
        ------
        IndexError
            If there is no such row.
        InputError
            If the row is damaged.
        """
        if not 0 <= index < self._n_rows:
            raise IndexError(f"row {index} of {self._n_rows}")
        path, n_rows = self.path, self._n_rows
        with open_hdf5(path) as file:
            landmarks = self._landmarks(file)
            shape = (landmarks.shape[1], 2, 0)
            stored = np.asarray(landmarks[index], np.float64) if LANDMARKS in file else np.zeros(shape)
            n_frames = row_n_frames(file, path, index, landmarks)
            ed_frame = row_frame(file, path, ED_FRAME, index, n_rows) or 0
            es_frame = row_frame(file, path, ES_FRAME, index, n_rows)
            corners = row_numbers(file, path, BOXES, index, n_rows)
            spacing = row_spacing(file, path, index, n_rows)
            sigma = row_numbers(file, path, SIGMA, index, n_rows)
            columns = sorted(
                name for name in file if name.startswith(QUALITY_PREFIX) and _holds_numbers(file.get(name))
            )
            quality = {name: row_number(file, path, name, index, n_rows) for name in columns}
        if ed_frame >= n_frames:
            raise InputError(path, f"row {index}: {ED_FRAME} is {ed_frame} of {n_frames} frames", "Mend the dataset")
        points = np.moveaxis(stored, 1, 2).copy()
        # The predecessor writes what has no labels as zeros, and no heart reaches into the corner of an image; of other
        # points one may lie there, but no two share a place.
        is_zero = (points == 0).all(axis=2)
        is_grid = points.shape[1] == N_SPOKES * N_RINGS
        points[is_zero & (is_grid | (np.count_nonzero(is_zero, axis=1, keepdims=True) > 1))] = np.nan
        points[n_frames:] = np.nan
        points[~np.isfinite(points).all(axis=-1)] = np.nan
        if sigma is not None:
            if sigma.size != points[..., 0].size:
                raise InputError(path, f"dataset {SIGMA} does not match {LANDMARKS}", "Write one value per point")
            sigma = sigma.reshape(points.shape[:2])
            sigma[n_frames:] = np.nan
        return LandmarkRow(
            points_px=points,
            box=Box(*map(float, corners)) if corners is not None and _is_box(corners) else None,
            pixel_spacing_mm=spacing,
            ed_frame=ed_frame,
            es_frame=es_frame,
            n_frames=n_frames,
            sigma_px=sigma,
            quality={name.removeprefix(QUALITY_PREFIX): float(v) for name, v in quality.items() if v is not None},
        )

    def _landmarks(self, file: h5py.File) -> h5py.Dataset:
        """Checked dataset of the points; the images where they are missing and may be."""
        if self._may_lack_landmarks and LANDMARKS not in file:
            return require_dataset(file, self.path, IMAGES, IMAGE_AXES)
        dataset = require_dataset(file, self.path, LANDMARKS, "row, time, 2, point")
        if dataset.shape[2] != 2:
            raise InputError(
                self.path, f"dataset {LANDMARKS}: expected (x, y) on axis 2, got shape {dataset.shape}", "Transpose it"
            )
        return dataset


def _is_box(corners: NDArray[np.float64]) -> bool:
    """Four known numbers."""
    return corners.size == 4 and bool(np.isfinite(corners).all())


def _holds_numbers(item: object) -> bool:
    """Whether a column is one of ours, and not a note of somebody else under a name that begins alike."""
    return isinstance(item, h5py.Dataset) and item.dtype.kind in "iuf"
