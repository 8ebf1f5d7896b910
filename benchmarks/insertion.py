"""How well the right ventricle's insertion is found on fresh simulated slices, and what its confidence is worth.

    python benchmarks/insertion.py --number 200 --seed 880001

The box is the true one; wall and insertion are found as `tagstrain analyze` finds them. The simulator turns its hearts
at random, so each slice is told an orientation in which the insertion at which the right ventricle begins is the
anterior one. Prints the tables of the model card.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tagstrain.data import Box, Localization, PixelSpacing, TaggedCine
from tagstrain.inference.flow import FlowTracker
from tagstrain.inference.motion_insertion import MotionInsertionFinder
from tagstrain.inference.placer import MotionPlacer
from tagstrain.simulation.config import PRESETS
from tagstrain.simulation.insertion import insertions_mm
from tagstrain.simulation.render import full_view, render
from tagstrain.simulation.scene import Scene, sample_scenes, stack_scenes

WITHIN_DEG = 15.0
LEVELS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0)
"""Borders of the confidence levels."""


class Outcome(NamedTuple):
    """One slice: error of the insertion, NaN where there is no right ventricle, and the confidence stated."""

    error_deg: float
    error_mm: float
    confidence: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=200)
    parser.add_argument("--seed", type=int, default=880_001)
    parser.add_argument("--preset", default="default")
    parser.add_argument("--weights", type=Path, help="of the insertion network; the shipped ones if not given")
    options = parser.parse_args()
    tracker = FlowTracker.from_weights()
    placer, finder = MotionPlacer.from_weights(tracker), MotionInsertionFinder.from_weights(tracker, options.weights)
    scenes = sample_scenes(PRESETS[options.preset], options.number, options.seed)
    print(report([measure(scene, placer, finder) for scene in scenes]))


def measure(scene: Scene, placer: MotionPlacer, finder: MotionInsertionFinder) -> Outcome:
    """Simulate a slice and find its insertion."""
    batch = stack_scenes([scene])
    view = full_view(batch)
    rendered = render(batch, view)
    truth_px = view.to_px(insertions_mm(batch.anatomy))[0].double().numpy()
    pixel_mm = float(rendered.pixel_mm[0])
    cine = TaggedCine(
        frames=np.rint(rendered.frames[0].numpy()).astype(np.float32),
        frame_times_ms=rendered.frame_times_ms[0].double().numpy(),
        pixel_spacing=PixelSpacing(pixel_mm, pixel_mm),
        affine=affine_with_in_front(truth_px[2] - truth_px[0]),
    )
    found = finder.find(cine, placer.place(cine, Localization(Box(*rendered.boxes_px[0].tolist()), 1.0)))
    center_px = rendered.landmarks_px[0, 0, :, -1].double().numpy().mean(axis=0)
    point, true = np.array(found.point_px) - center_px, truth_px[2] - center_px
    apart_rad = np.arctan2(true[0] * point[1] - true[1] * point[0], true @ point)
    return Outcome(abs(np.degrees(apart_rad)), float(np.hypot(*(point - true))) * pixel_mm, found.confidence)


def affine_with_in_front(direction: NDArray[np.float64]) -> NDArray[np.float64]:
    """Affine of a short-axis slice in whose image the patient's front and top lie in a direction; any for NaN."""
    affine = np.eye(4)
    if np.isfinite(direction).all():
        forwards = direction / np.hypot(*direction)
        sideways = np.array([-forwards[1], forwards[0]])
        patient = np.array([[0.0, -1.0, 1.0], [np.sqrt(2), 0.0, 0.0]]) / np.sqrt(2)  # front and up, left: LPS
        affine[:3, :2] = patient.T @ np.stack([forwards, sideways])
    return affine


def report(outcomes: Sequence[Outcome]) -> str:
    """Both tables as Markdown."""
    error_deg, error_mm, confidence = np.array(outcomes).T
    there = np.isfinite(error_deg)
    kept = there & (confidence >= 0.5)
    lines = [
        "| slices | n | median error | 90 % | within 15 degrees | median mm | 90 % mm |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, chosen in (("with a right ventricle", there), ("of these, confidence 0.5 or more", kept)):
        error, mm = error_deg[chosen], error_mm[chosen]
        lines.append(
            f"| {name} | {len(error)} | {np.median(error):.1f} deg | {np.quantile(error, 0.9):.1f} deg "
            f"| {np.mean(error <= WITHIN_DEG):.3f} | {np.median(mm):.1f} | {np.quantile(mm, 0.9):.1f} |"
        )
    lines += ["", "| confidence | slices | mean confidence | right within 15 degrees |", "|---|---|---|---|"]
    right = np.where(there, np.nan_to_num(error_deg, nan=np.inf) <= WITHIN_DEG, False)
    level = np.clip(np.searchsorted(LEVELS, confidence, side="right") - 1, 0, len(LEVELS) - 2)
    for k in np.unique(level):
        chosen = level == k
        lines.append(
            f"| {LEVELS[k]:.2f} to {LEVELS[k + 1]:.2f} | {chosen.sum()} | {confidence[chosen].mean():.2f} "
            f"| {right[chosen].mean():.2f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
