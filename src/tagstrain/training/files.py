"""Training examples from HDF5 files in the predecessor's layout: `FileExamples`."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from tagstrain.data import Box, TaggedCine
from tagstrain.data.landmarks import N_RINGS, N_SPOKES
from tagstrain.data.results import BOX_MARGIN
from tagstrain.errors import InputError
from tagstrain.geometry import CropTransform
from tagstrain.geometry.polygon import runs_from_inside
from tagstrain.io import read_study
from tagstrain.io.assembly import SPACING_OF_HEARTS, is_spacing_of_hearts
from tagstrain.io.hdf5 import LandmarkFile, LandmarkRow
from tagstrain.networks import preprocessing, rnncnn
from tagstrain.training.config import Task
from tagstrain.training.examples import LandmarkExamples, LocalizerExamples
from tagstrain.training.placer_examples import PlacerExamples
from tagstrain.training.wall_files import ed_grid, from_positive_x, placer_example, tracker_example

FRAMES_PER_EXAMPLE = 20
HELD_BACK = 5
"""One row in so many, the last ones of every file, is never trained on; see `_divided` for smaller files."""
_Row = tuple[Path, int]


class FileExamples:
    """Draws random rows of labelled files, prepared as inference prepares its input.

    Crops are shifted and scaled like the simulated ones. Landmarks keep the numbering of the file: it may be
    anatomical, so they are not turned; the placer's alone, which are contours to it, start along +x.
    """

    def __init__(self, task: Task, paths: list[Path], placer_maker: PlacerExamples | None = None) -> None:
        self.task = task
        self.placer_maker = placer_maker or PlacerExamples("default")
        files: list[list[tuple[Path, int]]] = []
        for path in paths:
            with self._opened(path) as file:
                for row in range(len(file)):
                    self._check(file.row(row), path, row)
                files.append([(path, row) for row in range(len(file))])
        self.rows, self.held_back = _divided(files)
        if not self.rows:
            raise InputError(paths[0], "has no rows", "Give files with at least one labelled row")

    def check_images(self) -> None:
        """Refuse rows whose images cannot be read or show nothing where their labels lie, before hours of training do.

        Raises
        ------
        InputError
            At the first such row.
        """
        for path in dict.fromkeys(path for path, _ in self.rows + self.held_back):
            with self._opened(path) as file:
                for row, source in enumerate(read_study(path).slices):
                    _check_image(source.load(), file.row(row), path, row)

    def draw(self, n: int, rng: np.random.Generator, device: torch.device) -> dict[str, torch.Tensor]:
        """``n`` random examples, none of them held back."""
        chosen = [self.rows[int(k)] for k in rng.integers(len(self.rows), size=n)]
        return self._stacked([self._example(path, row, rng) for path, row in chosen], device)

    def validation(self, limit: int, device: torch.device) -> dict[str, torch.Tensor]:
        """Up to ``limit`` rows from all over those held back, without shift or scale; those trained on where none was
        spared."""
        rows = self.held_back or self.rows
        n = min(limit, len(rows))
        chosen = [rows[(2 * k + 1) * len(rows) // (2 * n)] for k in range(n)]
        return self._stacked([self._example(path, row, None) for path, row in chosen], device)

    def _opened(self, path: Path) -> LandmarkFile:
        """A file's labels; for the localizer, boxes will do."""
        return LandmarkFile(path, may_lack_landmarks=self.task == "localizer")

    def _check(self, labels: LandmarkRow, path: Path, row: int) -> None:
        """Refuse labels that cannot be trained on, before any work is done."""
        if labels.pixel_spacing_mm is None or not is_spacing_of_hearts(labels.pixel_spacing_mm):
            problem = f"row {row} has no pixel spacing, or none of {SPACING_OF_HEARTS}"
            raise InputError(path, problem, "Write px_spaces [mm] for every row, or leave it out")
        if (misfit := labels.misfit) is not None:
            raise InputError(path, f"row {row}: {misfit.problem}", misfit.remedy)
        if self.task in ("tracker", "placer"):
            ed = ed_grid(labels, path, row)
            _check_order(ed, path, row)
            if self.task == "placer":
                from_positive_x(ed, path, row)
                return
            if not np.isfinite(labels.points_px[1:]).all(axis=(1, 2)).any():
                problem = f"row {row} has no frame after the first with all landmarks, so no motion to learn from"
                raise InputError(path, problem, "Leave the row out; the placer can learn from it")
            return
        if labels.box is None:
            raise InputError(path, f"row {row} has no box in bbox_corners", "Add bbox_corners to train from this file")
        if not (labels.box.x1 < labels.box.x2 and labels.box.y1 < labels.box.y2):
            problem = f"row {row}: bbox_corners {tuple(labels.box)} enclose nothing"
            raise InputError(path, problem, "Write x1, y1, x2, y2 with x1 < x2 and y1 < y2")
        if self.task == "rnncnn" and labels.points_px.shape[1] != rnncnn.N_LANDMARKS:
            problem = f"row {row} has {labels.points_px.shape[1]} landmarks instead of {rnncnn.N_LANDMARKS}"
            raise InputError(path, problem, "The RNN-CNN trains on 24 spokes x 7 rings")
        if self.task == "rnncnn" and not np.isfinite(labels.points_px[0]).all():
            problem = f"row {row} lacks landmarks in its first frame, from which strain is measured"
            raise InputError(path, problem, "Leave the row out, or write rows that begin at ED with all landmarks")
        if (ed_points := _whole_wall(labels)) is not None:
            _check_order(ed_points, path, row)

    def _stacked(self, examples: list[dict[str, torch.Tensor]], device: torch.device) -> dict[str, torch.Tensor]:
        return {key: torch.stack([e[key] for e in examples]).to(device) for key in examples[0]}

    def _example(self, path: Path, row: int, rng: np.random.Generator | None) -> dict[str, torch.Tensor]:
        cine = read_study(path).slices[row].load()
        with self._opened(path) as file:
            labels = file.row(row)
        if self.task == "tracker":
            return tracker_example(cine, labels, path, row, FRAMES_PER_EXAMPLE, rng)
        if self.task == "placer":
            return placer_example(cine, labels, path, row, self.placer_maker, rng)
        assert labels.box is not None  # checked at the start
        if self.task == "localizer":
            return _localizer_example(cine, labels, labels.box, rng)
        return _landmark_example(cine, labels, labels.box, rng)


def _check_order(ed_points_px: NDArray[np.float64], path: Path, row: int) -> None:
    """Refuse landmarks ``(spoke, ring, 2)`` that are no wall."""
    if not runs_from_inside(ed_points_px):
        problem = f"row {row}: its landmarks do not run spoke by spoke from the inside"
        raise InputError(path, problem, "Write 24 spokes x 7 rings, the endocardium first")


def _whole_wall(labels: LandmarkRow) -> NDArray[np.float64] | None:
    """ED landmarks ``(spoke, ring, 2)`` where they are all there."""
    points = labels.points_px[labels.ed_frame]
    is_whole = points.shape[0] == rnncnn.N_LANDMARKS and np.isfinite(points).all()
    return points.reshape(N_SPOKES, N_RINGS, 2) if is_whole else None


def _check_image(cine: TaggedCine, labels: LandmarkRow, path: Path, row: int) -> None:
    """Refuse a row whose image is blank where its labels lie, or ends before most of them."""
    points = labels.points_px[labels.ed_frame]
    points = middle = points[np.isfinite(points).all(axis=1)]
    if not len(points) and labels.box is not None:
        points, middle = np.array(labels.box).reshape(2, 2), np.array(labels.box.center_xy)[None]
    if not cine.shows(middle).mean() > 0.5:
        problem = f"row {row}: most of its labels lie outside of its images"
        raise InputError(path, problem, "Write labels in pixels of the images beside them")
    last_px = np.array(cine.frames.shape[:0:-1]) - 1
    low, high = (np.clip(end, 0, last_px).astype(int) for end in (points.min(axis=0), points.max(axis=0)))
    if np.ptp(cine.frames[labels.ed_frame, low[1] : high[1] + 1, low[0] : high[0] + 1]) == 0:
        raise InputError(path, f"row {row}: its images show nothing where its labels lie", "Leave the row out")


def _divided(files: list[list[_Row]]) -> tuple[list[_Row], list[_Row]]:
    """Rows to train on and rows held back.

    Those are the last fifth of every file, and the last of those with fewer than five rows as long as not more than a
    fifth of all is held back.
    """
    rows: list[_Row] = []
    held_back: list[_Row] = []
    n_spared = sum(map(len, files)) // HELD_BACK
    n_left = n_spared - sum(len(file) // HELD_BACK for file in files)
    for file in reversed(files):
        # From the end, and not here and there: neighboring rows are often slices of one heart.
        n_trained = len(file) - len(file) // HELD_BACK
        if len(file) < HELD_BACK and len(file) <= n_left:
            n_trained, n_left = 0, n_left - len(file)
        rows[:0] = file[:n_trained]
        held_back[:0] = file[n_trained:]
    return rows, held_back


def _localizer_example(
    cine: TaggedCine, labels: LandmarkRow, box: Box, rng: np.random.Generator | None
) -> dict[str, torch.Tensor]:
    rows, columns = cine.frames.shape[1:]
    side_mm = preprocessing.LOCALIZER_FIELD_OF_VIEW_MM
    center = np.array([(columns - 1) / 2, (rows - 1) / 2])
    if rng is not None:
        maker = LocalizerExamples
        second = rng.random() < 0.5
        side_mm = float(rng.uniform(*(maker.second_look_mm if second else maker.first_look_mm)))
        reach_mm = 0.5 * side_mm - (np.array(box[2:]) - np.array(box[:2])) / 2 * cine.spacing_xy_mm
        reach_mm = np.clip(reach_mm, 0, maker.second_look_shift_mm if second else None)
        center = np.array(box.center_xy) + rng.uniform(-0.9, 0.9, 2) * reach_mm / cine.spacing_xy_mm
    crop = CropTransform((center[0], center[1]), side_mm, 256, (cine.spacing_xy_mm[0], cine.spacing_xy_mm[1]))
    frames, valid = crop.sample(cine.frames[preprocessing.localizer_frame_indices(cine.n_frames)])
    images = preprocessing.localizer_channels(torch.from_numpy(frames)[None], torch.from_numpy(valid)[None])
    corners = crop.to_crop(np.array(box).reshape(2, 2)).ravel()
    return {
        "images": images[0],
        "boxes": torch.tensor(corners, dtype=torch.float32),
        "contours": torch.tensor(crop.to_crop(_contours_px(labels, box)), dtype=torch.float32),
        "pixel_mm": torch.tensor(crop.pixel_mm),
    }


def _contours_px(labels: LandmarkRow, box: Box) -> NDArray[np.float64]:
    """ED endocardium and epicardium ``(2, spoke, 2)``: of the landmarks where they are all there, else of the box.

    A box says no more than the epicardium's extent, which is drawn as an ellipse; the endocardium is NaN then.
    """
    if (wall := _whole_wall(labels)) is not None:
        return np.stack([wall[:, 0], wall[:, -1]])
    angle = 2 * np.pi * np.arange(N_SPOKES) / N_SPOKES
    half_extent = (np.array(box[2:]) - np.array(box[:2])) / (2 + 4 * BOX_MARGIN)
    ellipse = np.array(box.center_xy) + half_extent * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    return np.stack([np.full_like(ellipse, np.nan), ellipse])


def _landmark_example(
    cine: TaggedCine, labels: LandmarkRow, box: Box, rng: np.random.Generator | None
) -> dict[str, torch.Tensor]:
    extent_mm = (np.array(box[2:]) - np.array(box[:2])) * cine.spacing_xy_mm
    side_mm = float(extent_mm.max()) * preprocessing.LANDMARK_CROP_SCALE
    center = np.array(box.center_xy)
    if rng is not None:
        maker = LandmarkExamples
        center = center + rng.uniform(-maker.shift, maker.shift, 2) * side_mm / cine.spacing_xy_mm
        side_mm *= math.exp(rng.uniform(math.log(maker.scale[0]), math.log(maker.scale[1])))
    crop = CropTransform((center[0], center[1]), side_mm, 128, (cine.spacing_xy_mm[0], cine.spacing_xy_mm[1]))
    frames, valid = crop.sample(cine.frames[:FRAMES_PER_EXAMPLE])
    images = preprocessing.landmark_input(torch.from_numpy(frames)[None], torch.from_numpy(valid)[None])[0]
    points = crop.to_crop(labels.points_px[: len(frames)])
    images = torch.cat([images, torch.zeros(FRAMES_PER_EXAMPLE - len(frames), *images.shape[1:])])
    points = np.concatenate([points, np.full((FRAMES_PER_EXAMPLE - len(points), *points.shape[1:]), np.nan)])
    known = np.isfinite(points).all(axis=(1, 2))
    grid = torch.tensor(np.nan_to_num(points), dtype=torch.float32)
    return {
        "images": images,
        "landmarks": grid.reshape(len(grid), N_SPOKES, N_RINGS, 2),
        "frame_valid": torch.from_numpy(known),
        "pixel_mm": torch.tensor(crop.pixel_mm, dtype=torch.float32),
    }
