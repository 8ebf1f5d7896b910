"""Simulated slices analyzed once and kept on disk: `Case`, `collect`."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.accuracy.second_case import draw_case
from benchmarks.accuracy.settings import SETTINGS
from benchmarks.quality.corruption import spoiled_case
from benchmarks.quality.shown_cine import ShownCine, show, show_second
from tagstrain.data import UNKNOWN_DOUBT, GreyDoubt, LandmarkTracks, PixelSpacing, SliceResult, TaggedCine
from tagstrain.data.results import Box, Localization
from tagstrain.errors import TagstrainError
from tagstrain.inference.analyze import analyze_slice
from tagstrain.inference.interfaces import Placement, grey_doubt
from tagstrain.inference.models import Models, load_models
from tagstrain.inference.strain import slice_strain
from tagstrain.quality.second_opinion import place_again, track_back
from tagstrain.simulation.scene import sample_scenes

Array = NDArray[np.float64]
CALIBRATION = "calibration"
SEEDS = {CALIBRATION: 891_001, "test": 895_001, "held back": 893_001, "second generator": 894_101}


@dataclass(frozen=True, slots=True)
class CaseKey:
    """Which case: the set, and its place in it."""

    set_name: str
    index: int

    def path(self, work: Path) -> Path:
        """File that keeps it."""
        return work / f"{self.set_name.replace(' ', '_')}_{self.index:04d}.npz"


@dataclass(frozen=True, eq=False, slots=True)
class Case:
    """One slice: what is wrong with it, what the pipeline made of it, and the truth."""

    key: CaseKey
    setting: str
    severity: str
    """One of `SEVERITIES`; empty for a sound slice and a held-back setting."""
    result: SliceResult | None
    """None where the slice failed."""
    backward_px: Array
    """The last frame's landmarks tracked back to ED (`track_back`), ``(time, spoke, ring, 2)``."""
    repeated: Placement | None
    """The wall placed once more (`place_again`); None where that failed."""
    grey_doubt: GreyDoubt
    """How far that wall moves when the placer is shown less."""
    seen_box: Box
    """Where the localizer sees the left ventricle, whatever box or wall was given."""
    true_tracks_px: Array
    """Where the tissue under the placed landmarks really went."""
    true_landmarks_px: Array
    """Landmarks of the true wall."""


def draw(key: CaseKey) -> tuple[str, str, ShownCine]:
    """The cine of a case, the name of its setting and how severe it is."""
    seed = SEEDS[key.set_name]
    if key.set_name == "held back":
        setting = SETTINGS[key.index % len(SETTINGS)]
        scene = sample_scenes(setting.config, 1, seed + key.index)[0]
        return setting.name, "", show(setting.edit(scene))
    if key.set_name == "second generator":
        return "second generator", "", show_second(draw_case(np.random.default_rng([seed, key.index])))
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
    setting, severity, shown = draw(key)
    path = key.path(work)
    kept: dict[str, object] = {"setting": setting, "severity": severity}
    try:
        result = analyze_slice(shown.cine, _models, shown.config)
    except TagstrainError:
        pass
    else:
        kept |= _record(result, shown, _models)
    temporary = path.with_suffix(".part.npz")
    np.savez(temporary, **kept)  # type: ignore[arg-type]
    temporary.rename(path)


def _record(result: SliceResult, shown: ShownCine, models: Models) -> dict[str, object]:
    """Arrays from which a case can be had again."""
    cine, landmarks = result.cine, result.landmarks
    points_px = landmarks.to_points().points_px
    backward = track_back(result, models.tracker)
    assert backward is not None  # our tracker follows whatever it is given
    assert landmarks.first_view_px is not None
    repeated = place_again(result, models.placer)
    if repeated is not None:
        assert repeated.border_spread_mm is not None  # our placer says
    shape = landmarks.points_px.shape
    return {
        "frames": cine.frames.astype(np.uint16),
        "times_ms": cine.frame_times_ms,
        "pixel_mm": shown.pixel_mm,
        "box": result.localization.box,
        "confidence": result.localization.confidence,
        "points_px": landmarks.points_px,
        "sigma_px": landmarks.sigma_px,
        "first_view_px": landmarks.first_view_px,
        "placed_spread_mm": np.empty(0) if result.border_spread_mm is None else result.border_spread_mm,
        "backward_px": backward.points_px,
        "seen_box": result.seen_box or models.localizer.localize(cine).box,
        "repeated_px": np.empty(0) if repeated is None else repeated.wall_px,
        "border_spread_mm": np.empty(0) if repeated is None else repeated.border_spread_mm,
        "grey_doubt": grey_doubt(cine, repeated, models.placer),
        "true_tracks_px": shown.true_tracks_px(points_px[0]).reshape(shape),
        "true_landmarks_px": shown.true_landmarks_px(),
    }


def load_case(key: CaseKey, work: Path) -> Case:
    """Read a case."""
    with np.load(key.path(work)) as kept:
        setting, severity = str(kept["setting"]), str(kept["severity"])
        if "points_px" not in kept:
            nothing = np.empty((0, 0, 0, 2))
            unknown = None, UNKNOWN_DOUBT, Box(*[np.nan] * 4)
            return Case(key, setting, severity, None, nothing, *unknown, nothing, nothing)
        spacing = PixelSpacing(float(kept["pixel_mm"]), float(kept["pixel_mm"]))
        cine = TaggedCine(kept["frames"].astype(np.float32), kept["times_ms"], spacing)
        landmarks = LandmarkTracks(kept["points_px"], kept["sigma_px"], first_view_px=kept["first_view_px"])
        strain = slice_strain(landmarks, cine.spacing_xy_mm, cine.frame_times_ms)
        localization = Localization(Box(*kept["box"].tolist()), float(kept["confidence"]))
        placed_spread_mm = kept["placed_spread_mm"] if kept["placed_spread_mm"].size else None
        result = SliceResult(cine, localization, landmarks, strain, border_spread_mm=placed_spread_mm)
        again = Placement(kept["repeated_px"], None, kept["border_spread_mm"]) if kept["repeated_px"].size else None
        said = again, GreyDoubt(*kept["grey_doubt"].tolist()), Box(*kept["seen_box"].tolist())
        truth = (kept["true_tracks_px"], kept["true_landmarks_px"])
        return Case(key, setting, severity, result, kept["backward_px"], *said, *truth)
