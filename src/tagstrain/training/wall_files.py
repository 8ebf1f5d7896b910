"""Labelled rows of files as examples of the tracker and the placer."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from tagstrain.data import TaggedCine
from tagstrain.data.landmarks import N_RINGS, N_SPOKES
from tagstrain.errors import InputError
from tagstrain.geometry import CropTransform
from tagstrain.geometry.polygon import grid_between
from tagstrain.io.landmark_file import LandmarkRow
from tagstrain.networks import preprocessing
from tagstrain.training.examples import TrackerExamples
from tagstrain.training.placer_examples import PlacerExamples


def tracker_example(
    cine: TaggedCine,
    labels: LandmarkRow,
    path: Path,
    row: int,
    n_frames: int,
    rng: np.random.Generator | None,
    weight: NDArray[np.float64] | None = None,
) -> dict[str, torch.Tensor]:
    """One row for the tracker, in ``n_frames`` frames; those that the row lacks are not valid.

    ``weight`` ``(time, spoke, ring)``: how far its landmarks are trusted; None for fully.
    """
    ed = ed_grid(labels, path, row)
    crop = _crop(cine, ed[:, -1], TrackerExamples.scale, TrackerExamples.shift, rng)
    images, times_ms = _standardized(cine, crop)
    points = np.full((cine.n_frames, *labels.points_px.shape[1:]), np.nan)
    points[: len(labels.points_px)] = labels.points_px[: cine.n_frames]
    known = np.asarray(np.isfinite(points).all(axis=(1, 2)))
    frames = _frames_shown(known, n_frames, rng)
    missing = n_frames - len(frames)
    grid = np.nan_to_num(crop.to_crop(points[frames])).reshape(-1, N_SPOKES, N_RINGS, 2)
    last_ms = times_ms[-1:] + 40.0 * torch.arange(1, missing + 1)
    trusted = np.ones((n_frames, N_SPOKES, N_RINGS))
    if weight is not None:
        trusted[: len(frames)] = weight[frames]
    return {
        "images": torch.cat([images[frames], images[-1:].expand(missing, -1, -1)]),
        "landmarks": torch.tensor(np.concatenate([grid, np.zeros((missing, *grid.shape[1:]))]), dtype=torch.float32),
        "times_ms": torch.cat([times_ms[frames], last_ms]),
        "frame_valid": torch.from_numpy(np.concatenate([known[frames], np.zeros(missing, bool)])),
        "landmark_weight": torch.tensor(trusted, dtype=torch.float32),
        "pixel_mm": torch.tensor(crop.pixel_mm, dtype=torch.float32),
    }


def _frames_shown(is_labelled: NDArray[np.bool_], n_frames: int, rng: np.random.Generator | None) -> NDArray[np.intp]:
    """All frames of a row or, where there are more than ``n_frames``, the first and others from all over it, first of
    all labelled ones: drawn by ``rng``, or evenly."""
    if len(is_labelled) <= n_frames:
        return np.arange(len(is_labelled))

    def some(frames: NDArray[np.intp], n: int) -> NDArray[np.intp]:
        if len(frames) <= n:
            return frames
        evenly = frames[np.linspace(0, len(frames) - 1, n).round().astype(int)]
        return evenly if rng is None else np.asarray(rng.choice(frames, n, replace=False))

    later = np.arange(1, len(is_labelled))
    labelled = some(later[is_labelled[1:]], n_frames - 1)
    others = some(later[~is_labelled[1:]], n_frames - 1 - len(labelled))
    return np.sort(np.concatenate([later[:1] - 1, labelled, others]))


def placer_example(
    cine: TaggedCine, labels: LandmarkRow, path: Path, row: int, maker: PlacerExamples, rng: np.random.Generator | None
) -> dict[str, torch.Tensor]:
    """One row for the placer: the tracker runs on it as it does on simulated ones."""
    ed = ed_grid(labels, path, row)
    crop = _crop(cine, ed[:, -1], maker.scale, maker.shift, rng)
    images, times_ms = _standardized(cine, crop)
    return {
        "images": maker.channels(images[None], times_ms[None])[0],
        "landmarks": torch.tensor(crop.to_crop(from_positive_x(ed, path, row)), dtype=torch.float32),
        "pixel_mm": torch.tensor(crop.pixel_mm, dtype=torch.float32),
    }


def ed_grid(labels: LandmarkRow, path: Path, row: int) -> NDArray[np.float64]:
    """Landmarks ``(spoke, ring, 2)`` of a row that begins at ED with all of them; raises InputError for others."""
    ed = labels.points_px[0]
    if labels.ed_frame != 0:
        raise InputError(path, f"row {row} has ED in frame {labels.ed_frame}", "Write rows that begin at ED")
    if ed.shape[0] != N_SPOKES * N_RINGS or not np.isfinite(ed).all():
        problem = f"row {row} has no full grid of {N_SPOKES} spokes x {N_RINGS} rings in its first frame"
        raise InputError(path, problem, "Tracker and placer train on rows that begin at ED with all landmarks")
    return np.asarray(ed.reshape(N_SPOKES, N_RINGS, 2), np.float64)


def from_positive_x(ed: NDArray[np.float64], path: Path, row: int) -> NDArray[np.float64]:
    """The same wall with spoke 0 along +x: where a file's spoke 0 lies depends on who drew it."""
    try:
        return grid_between(ed[:, 0], ed[:, -1], N_SPOKES, N_RINGS)
    except ValueError as error:
        raise InputError(path, f"row {row} has no usable wall at ED: {error}", "Check its landmarks") from None


def _crop(
    cine: TaggedCine,
    epicardium_px: NDArray[np.float64],
    scale: tuple[float, float],
    shift: float,
    rng: np.random.Generator | None,
) -> CropTransform:
    low, high = epicardium_px.min(axis=0), epicardium_px.max(axis=0)
    side_mm = float(((high - low) * cine.spacing_xy_mm).max()) * preprocessing.TRACKER_CROP_SCALE
    center = (low + high) / 2
    if rng is not None:
        side_mm *= math.exp(rng.uniform(*np.log(scale))) / preprocessing.TRACKER_CROP_SCALE
        center = center + rng.uniform(-shift, shift, 2) * side_mm / cine.spacing_xy_mm
    spacing = (float(cine.spacing_xy_mm[0]), float(cine.spacing_xy_mm[1]))
    return CropTransform((float(center[0]), float(center[1])), side_mm, preprocessing.TRACKER_CROP_SIZE, spacing)


def _standardized(cine: TaggedCine, crop: CropTransform) -> tuple[torch.Tensor, torch.Tensor]:
    frames, valid = crop.sample(cine.frames)
    images = preprocessing.standardized(torch.from_numpy(frames)[None], torch.from_numpy(valid)[None])[0]
    times_ms = torch.tensor(cine.frame_times_ms - cine.frame_times_ms[0], dtype=torch.float32)
    return images, times_ms
