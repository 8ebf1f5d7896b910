"""Hearts rendered and followed by every tracker, kept on disk: `collect`, `follow_heart`, `load_motions`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.clinic.hearts import LEVELS, Heart, draw_heart
from benchmarks.insertion import affine_with_in_front
from tagstrain.data import Insertion, LandmarkTracks, TaggedCine
from tagstrain.data.insertion import Point
from tagstrain.errors import TagstrainError
from tagstrain.inference.analyze import analyze_slice
from tagstrain.inference.interfaces import Tracker
from tagstrain.inference.mechanics import slice_motion
from tagstrain.inference.models import Models, load_models, load_tracker
from tagstrain.mechanics.slice_deformation import SliceMotion
from tagstrain.simulation.dataset import render_study
from tagstrain.simulation.insertion import insertions_mm
from tagstrain.simulation.render import full_view
from tagstrain.simulation.scene import stack_scenes

Array = NDArray[np.float64]
TRUTH = "truth"
AUTOMATIC = "automatic"
"""Box, wall and insertion found by the pipeline too, in place of the true ones."""
GIVEN_WALL = ("flow", "harp", "rnncnn")
"""Trackers that are given the true wall at ED."""
METHODS = (*GIVEN_WALL, AUTOMATIC)


@dataclass(frozen=True, eq=False, slots=True)
class ShownHeart:
    """What the trackers get to see of a heart, and what is true in it."""

    cines: list[TaggedCine]
    landmarks_px: Array
    """True landmarks ``(slice, time, spoke, ring, 2)``."""
    insertions: list[Insertion]


def show(heart: Heart) -> ShownHeart:
    """Render a heart, as seen from the apex."""
    batch = stack_scenes(heart.scenes)
    cines, rendered = render_study(heart.scenes)
    landmarks_px = rendered.landmarks_px.double().numpy()
    rv_begin_px, _, rv_end_px = np.moveaxis(full_view(batch).to_px(insertions_mm(batch.anatomy)).double().numpy(), 1, 0)
    # Seen from the apex, the RV lies between the inferior insertion and, at a larger angle, the anterior one.
    upright = [
        replace(cine, affine=affine_with_in_front(front - back))
        for cine, front, back in zip(cines, rv_end_px, rv_begin_px, strict=True)
    ]
    insertions = [
        Insertion.given(landmarks[0, :, -1], cine.spacing_xy_mm, Point(*front.tolist()))
        for landmarks, cine, front in zip(landmarks_px, cines, rv_end_px, strict=True)
    ]
    return ShownHeart(upright, landmarks_px, insertions)


def collect(numbers: dict[str, int], work: Path, n_processes: int) -> None:
    """Follow the first hearts by each method, as many as ``numbers`` says; those kept in ``work`` stay as they are."""
    work.mkdir(parents=True, exist_ok=True)
    missing = [
        (index, methods)
        for index in range(max(numbers.values()))
        if (methods := _missing([TRUTH, *(name for name, n in numbers.items() if index < n)], index, work))
    ]
    if not missing:
        return
    with ProcessPoolExecutor(n_processes, get_context("spawn"), _use_one_core) as pool:
        indices, methods = zip(*missing, strict=True)
        for number, _ in enumerate(pool.map(follow_heart, indices, methods, [work] * len(missing)), 1):
            print(f"{number} of {len(missing)} hearts followed", flush=True)


def load_motions(method: str, index: int, work: Path) -> list[SliceMotion] | None:
    """Tracked slices of a heart from base to apex, or the true ones; None where the method gave up on one."""
    with np.load(_path(method, index, work)) as kept:
        if "landmarks_mm" not in kept:
            return None
        return [
            SliceMotion(landmarks_mm, kept["frame_times_ms"], level=level, insertion_angle_rad=float(insertion_rad))
            for landmarks_mm, level, insertion_rad in zip(
                kept["landmarks_mm"], LEVELS, kept["insertion_angle_rad"], strict=True
            )
        ]


def _path(method: str, index: int, work: Path) -> Path:
    return work / f"{method}_{index:04d}.npz"


def _missing(methods: Sequence[str], index: int, work: Path) -> list[str]:
    return [method for method in methods if not _path(method, index, work).exists()]


def _use_one_core() -> None:
    torch.set_num_threads(1)


def follow_heart(index: int, methods: Sequence[str], work: Path) -> None:
    """Render a heart and keep what each method makes of it."""
    shown = show(draw_heart(index))
    for method in methods:
        kept: dict[str, object] = {}
        try:
            motions = list(_motions(shown, method))
        except TagstrainError as error:
            kept["failed"] = str(error)
        else:
            kept = {
                "landmarks_mm": np.stack([motion.landmarks_mm for motion in motions]),
                "frame_times_ms": motions[0].frame_times_ms,
                "insertion_angle_rad": [motion.insertion_angle_rad for motion in motions],
            }
        path = _path(method, index, work)
        temporary = path.with_suffix(".part.npz")
        np.savez(temporary, **kept)  # type: ignore[arg-type]
        temporary.rename(path)


def _motions(shown: ShownHeart, method: str) -> Iterator[SliceMotion]:
    """The slices as a method follows them."""
    for cine, landmarks_px, insertion in zip(shown.cines, shown.landmarks_px, shown.insertions, strict=True):
        if method == AUTOMATIC:
            yield slice_motion(analyze_slice(cine, _models()))
            continue
        if method != TRUTH:
            tracks = _tracker(method).track(cine, landmarks_px[0].reshape(-1, 2))
            landmarks_px = LandmarkTracks.from_points(tracks, n_rings=landmarks_px.shape[2]).points_px
        yield SliceMotion(
            landmarks_px * cine.spacing_xy_mm,
            cine.frame_times_ms,
            level=cine.level,
            insertion_angle_rad=insertion.angle_rad,
        )


@cache
def _tracker(method: str) -> Tracker:
    return load_tracker(method, "cpu")


@cache
def _models() -> Models:
    return load_models(device="cpu")
