"""Simulated slices analyzed once and kept on disk: `Case`, `collect`."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.accuracy.second_case import draw_case
from benchmarks.accuracy.settings import SETTINGS
from benchmarks.quality.corruption import spoiled_case
from benchmarks.quality.shown_cine import ShownCine, show, show_second
from tagstrain.data import LandmarkTracks, PixelSpacing, SliceResult, TaggedCine
from tagstrain.data.results import Box, Localization
from tagstrain.errors import TagsNotFoundError, TagstrainError
from tagstrain.inference.analyze import analyze_slice
from tagstrain.inference.harp import HarpTracker
from tagstrain.inference.models import Models, load_models
from tagstrain.inference.strain import slice_strain
from tagstrain.simulation.scene import sample_scenes

Array = NDArray[np.float64]
N_WITH_HARP = 40
"""Cases of a set that HARP follows too: enough to see whether its opinion pays for doubling the time of a slice."""
SEEDS = {
    "calibration": 881_001,
    "second calibration": 882_001,
    "test": 885_001,
    "held back": 883_001,
    "second generator": 884_101,
}
FITTED = ("calibration", "second calibration")
"""Sets that models and limits come from; the second was a test set until limits of flaws were chosen by it."""


@dataclass(frozen=True, slots=True)
class CaseKey:
    """Which case: the set, and its place in it."""

    set_name: str
    index: int

    @property
    def is_asked_of_harp(self) -> bool:
        """Whether HARP follows the landmarks too."""
        return self.set_name in (*FITTED, "test") and self.index < N_WITH_HARP

    def path(self, work: Path) -> Path:
        """File that keeps it."""
        return work / f"{self.set_name.replace(' ', '_')}_{self.index:04d}.npz"


@dataclass(frozen=True, eq=False, slots=True)
class Case:
    """One slice: what is wrong with it, what the pipeline made of it, and the truth."""

    key: CaseKey
    setting: str
    result: SliceResult | None
    """None where the slice failed."""
    backward_px: Array
    """The last frame's landmarks tracked back to ED, ``(time, spoke, ring, 2)``."""
    harp_px: Array
    """The same ED landmarks tracked by HARP; NaN where it found no tags or was not asked."""
    true_tracks_px: Array
    """Where the tissue under the placed landmarks really went."""
    true_landmarks_px: Array
    """Landmarks of the true wall."""


def draw(key: CaseKey) -> tuple[str, ShownCine]:
    """The cine of a case and the name of its setting."""
    seed = SEEDS[key.set_name]
    if key.set_name == "held back":
        setting = SETTINGS[key.index % len(SETTINGS)]
        scene = sample_scenes(setting.config, 1, seed + key.index)[0]
        return setting.name, show(setting.edit(scene))
    if key.set_name == "second generator":
        return "second generator", show_second(draw_case(np.random.default_rng([seed, key.index])))
    return spoiled_case(seed, key.index)


def collect(keys: list[CaseKey], work: Path, n_processes: int) -> Iterator[Case]:
    """Cases in order; those not kept in ``work`` yet are made first."""
    work.mkdir(parents=True, exist_ok=True)
    missing = [key for key in keys if not key.path(work).exists()]
    with ProcessPoolExecutor(n_processes, get_context("spawn"), _start) as pool:
        for number, _ in enumerate(pool.map(_make, missing, [work] * len(missing)), 1):
            print(f"{number} of {len(missing)} slices analyzed", flush=True)
    for key in keys:
        yield load_case(key, work)


_models: Models | None = None


def _start() -> None:
    """Set up a worker: one core each."""
    global _models
    torch.set_num_threads(1)
    _models = load_models(device="cpu")


def _make(key: CaseKey, work: Path) -> None:
    """Draw, analyze and keep a case."""
    assert _models is not None
    setting, shown = draw(key)
    path = key.path(work)
    kept: dict[str, object] = {"setting": setting}
    try:
        result = analyze_slice(shown.cine, _models, shown.config)
    except TagstrainError:
        pass
    else:
        kept |= _record(result, shown, _models, with_harp=key.is_asked_of_harp)
    temporary = path.with_suffix(".part.npz")
    np.savez(temporary, **kept)  # type: ignore[arg-type]
    temporary.rename(path)


def _record(result: SliceResult, shown: ShownCine, models: Models, with_harp: bool) -> dict[str, object]:
    """Arrays from which a case can be had again."""
    cine, landmarks = result.cine, result.landmarks
    points_px = landmarks.to_points().points_px
    backward = models.tracker.track(replace(cine, ed_frame=cine.n_frames - 1), points_px[-1])
    harp_px = np.full_like(points_px, np.nan)
    if with_harp:
        with suppress(TagsNotFoundError):
            harp_px = HarpTracker().track(cine, points_px[0]).points_px
    shape = landmarks.points_px.shape
    return {
        "frames": cine.frames.astype(np.uint16),
        "times_ms": cine.frame_times_ms,
        "pixel_mm": shown.pixel_mm,
        "box": result.localization.box,
        "confidence": result.localization.confidence,
        "points_px": landmarks.points_px,
        "sigma_px": landmarks.sigma_px,
        "backward_px": backward.points_px.reshape(shape),
        "harp_px": harp_px.reshape(shape),
        "true_tracks_px": shown.true_tracks_px(points_px[0]).reshape(shape),
        "true_landmarks_px": shown.true_landmarks_px(),
    }


def load_case(key: CaseKey, work: Path) -> Case:
    """Read a case."""
    with np.load(key.path(work)) as kept:
        setting = str(kept["setting"])
        if "points_px" not in kept:
            nothing = np.empty((0, 0, 0, 2))
            return Case(key, setting, None, nothing, nothing, nothing, nothing)
        spacing = PixelSpacing(float(kept["pixel_mm"]), float(kept["pixel_mm"]))
        cine = TaggedCine(kept["frames"].astype(np.float32), kept["times_ms"], spacing)
        landmarks = LandmarkTracks(kept["points_px"], kept["sigma_px"])
        strain = slice_strain(landmarks, cine.spacing_xy_mm, cine.frame_times_ms)
        localization = Localization(Box(*kept["box"].tolist()), float(kept["confidence"]))
        result = SliceResult(cine, localization, landmarks, strain)
        truth = (kept["backward_px"], kept["harp_px"], kept["true_tracks_px"], kept["true_landmarks_px"])
        return Case(key, setting, result, *truth)
