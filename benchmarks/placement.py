"""How near to the truth the wall is placed from crops that are off, beside predictors that see next to nothing.

    python -m benchmarks.placement --number 24 --seed 775001

Every cine is placed from a box that is shifted and scaled by chance, so that the box cannot give the answer away. The
trivial predictors draw circles with the mean radii of all cines shown, which they are told: in the middle of the box,
at the centroid of motion in the box, and in the middle of the image. ``--data FILE.h5`` adds cines of one's own with
true landmarks at ED, from the same boxes. Writes placement.md beside this file.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

import tagstrain
from benchmarks.quality.shown_cine import show
from tagstrain.data import Box, Localization, TaggedCine
from tagstrain.data.landmarks import N_RINGS, N_SPOKES
from tagstrain.geometry import CropTransform
from tagstrain.geometry.polygon import area_centroid, radii_along
from tagstrain.inference.flow import FlowTracker
from tagstrain.inference.motion_sight import look
from tagstrain.inference.placer import MotionPlacer
from tagstrain.io import read_study
from tagstrain.io.hdf5 import LandmarkFile
from tagstrain.networks import preprocessing
from tagstrain.networks.flow import FIELD_STRIDE
from tagstrain.simulation.config import PRESETS, SimulatorConfig
from tagstrain.simulation.scene import sample_scenes
from tagstrain.training.examples import real_hearts

Array = NDArray[np.float64]
SCALES = (0.75, 1.6)
SHIFT = 0.25
"""Boxes are scaled and shifted by up to so much, the shift in sides of the box."""
N_ANGLES = 48
PLACED, IN_BOX, AT_MOTION, IN_IMAGE = (
    "placer",
    "circle in the box",
    "circle at the centroid of motion",
    "circle mid-image",
)


class Shown(NamedTuple):
    """A cine, its true wall at ED ``(spoke, ring, 2)`` in pixels, and the box that is given."""

    cine: TaggedCine
    wall_px: Array
    box: Box


class Errors(NamedTuple):
    """One predictor on one cine."""

    endo_mm: float
    """Mean absolute error of the endocardium's radius, along rays from the true centre."""
    endo_bias_mm: float
    epi_mm: float
    epi_bias_mm: float
    center_mm: float


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=24, help="cines per group")
    parser.add_argument("--seed", type=int, default=775_001)
    parser.add_argument("--data", type=Path, help="HDF5 file in the predecessor's layout, landmarks of ED known")
    options = parser.parse_args()
    torch.set_num_threads(1)
    tracker = FlowTracker.from_weights()
    placer = MotionPlacer.from_weights(tracker)
    tables = {
        name: measure(list(simulated(config, options.number, options.seed + k)), placer)
        for k, (name, config) in enumerate(groups().items())
    }
    if options.data is not None:
        tables["own cines, each from 8 boxes"] = measure(list(labelled(options.data, options.seed)), placer)
    text = f"""# Placing the wall from crops that are off

Command: `python -m benchmarks.placement --number {options.number} --seed {options.seed}\
{" --data FILE.h5" if options.data else ""}`. tagstrain {tagstrain.__version__}; tracker {tracker.info}; placer \
{placer.info}.

Boxes are scaled by {SCALES[0]} to {SCALES[1]} and shifted by up to {SHIFT:.0%} of their side. Mean over cines:
radii along rays from the true centre, absolute error and, in brackets, bias [mm]; distance of the centres of the
epicardium [mm] and its largest value. Circles have the mean radii of the cines shown.

{"".join(section(name, errors) for name, errors in tables.items())}"""
    (Path(__file__).parent / "placement.md").write_text(text.rstrip() + "\n")
    print(text)


def groups() -> dict[str, SimulatorConfig]:
    """Kinds of simulated hearts."""
    solid, hearts = PRESETS["default"], real_hearts(PRESETS["default"])
    return {
        "walls of solid muscle": solid,
        "spongy inside": replace(hearts, solid_wall_probability=0.0),
        "solid walls that hardly move": replace(
            solid, midwall_shortening=(0.0, 0.06), weak_heart_probability=0.0, infarct_probability=0.0
        ),
        "complementary tags": PRESETS["cspamm"],
    }


def simulated(config: SimulatorConfig, number: int, seed: int) -> Iterator[Shown]:
    """Fresh simulated cines, each with a box that is off."""
    rng = np.random.default_rng(seed)
    for scene in sample_scenes(config, number, seed):
        shown = show(scene)
        yield Shown(shown.cine, shown.ed_wall_px, box_that_is_off(shown.ed_wall_px, rng))


def labelled(path: Path, seed: int) -> Iterator[Shown]:
    """Every row of a file, from eight boxes that are off."""
    rng = np.random.default_rng(seed)
    with LandmarkFile(path) as file:
        for index, source in enumerate(read_study(path).slices):
            cine, row = source.load(), file.row(index)
            wall = row.points_px[row.ed_frame].reshape(N_SPOKES, N_RINGS, 2).astype(float)
            for _ in range(8):
                yield Shown(cine, wall, box_that_is_off(wall, rng))


def box_that_is_off(wall_px: Array, rng: np.random.Generator) -> Box:
    """The box around a wall, scaled and shifted by chance."""
    box = Box.around(wall_px.reshape(-1, 2))
    size = np.array([box.x2 - box.x1, box.y2 - box.y1])
    center = np.array(box.center_xy) + rng.uniform(-SHIFT, SHIFT, 2) * size
    half = np.exp(rng.uniform(*np.log(SCALES))) * size / 2
    return Box(*(center - half).tolist(), *(center + half).tolist())


def measure(shown: Sequence[Shown], placer: MotionPlacer) -> dict[str, list[Errors]]:
    """Errors of all predictors on the same cines and boxes."""
    radii_mm = np.mean([true_radii_mm(each).mean(axis=1) for each in shown], axis=0)
    found: dict[str, list[Errors]] = {name: [] for name in (PLACED, IN_BOX, AT_MOTION, IN_IMAGE)}
    for each in shown:
        wall_px = placer.place(each.cine, Localization(each.box, None)).wall_px
        found[PLACED].append(errors_of(each, wall_px[:, 0], wall_px[:, -1]))
        rows, columns = each.cine.frames.shape[1:]
        centers = {
            IN_BOX: np.array(each.box.center_xy),
            AT_MOTION: centroid_of_motion_px(each, placer.tracker),
            IN_IMAGE: np.array([(columns - 1) / 2, (rows - 1) / 2]),
        }
        for name, center in centers.items():
            found[name].append(errors_of(each, *(circle_px(each, center, radius) for radius in radii_mm)))
    return found


def centroid_of_motion_px(shown: Shown, tracker: FlowTracker) -> Array:
    """Centroid of the squared motion, against the crop's median, when most moves; of its strongest part."""
    spacing = (float(shown.cine.spacing_xy_mm[0]), float(shown.cine.spacing_xy_mm[1]))
    side_mm = max((shown.box.x2 - shown.box.x1) * spacing[0], (shown.box.y2 - shown.box.y1) * spacing[1])
    crop = CropTransform(shown.box.center_xy, side_mm, preprocessing.TRACKER_CROP_SIZE, spacing)
    return crop.to_image(centroid_of_motion(look(tracker, shown.cine, crop).channels[:1].double())[0].cpu().numpy())


def centroid_of_motion(channels: torch.Tensor) -> torch.Tensor:
    """The same in crop pixels ``(batch, 2)``, of the channels that the placer sees ``(batch, channel, node, node)``."""
    motion = channels[:, :2].square().sum(dim=1)
    weight = torch.where(motion > 0.15 * motion.amax(dim=(1, 2), keepdim=True), motion, 0.0)
    places = FIELD_STRIDE * torch.arange(motion.shape[-1], device=motion.device) + (FIELD_STRIDE - 1) / 2
    total = weight.sum(dim=(1, 2))[:, None]
    return torch.stack([(weight.sum(1) * places).sum(-1), (weight.sum(2) * places).sum(-1)], dim=-1) / total


def circle_px(shown: Shown, center_px: Array, radius_mm: float) -> Array:
    """A circle in mm, in pixels of the image."""
    angle = 2 * np.pi * np.arange(N_ANGLES) / N_ANGLES
    return np.asarray(
        center_px + radius_mm / shown.cine.spacing_xy_mm * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    )


def true_radii_mm(shown: Shown) -> Array:
    """Radii ``(2, ray)`` of true endocardium and epicardium from their centre."""
    contours = [shown.wall_px[:, ring] * shown.cine.spacing_xy_mm for ring in (0, -1)]
    return np.stack([radii_from(area_centroid(contours[1]), contour) for contour in contours])


def radii_from(center_mm: Array, contour_mm: Array) -> Array:
    """Radii of a contour along rays; where the centre lies outside, of the mean distance of its corners from it."""
    angle = 2 * np.pi * np.arange(N_ANGLES) / N_ANGLES
    try:
        return np.asarray(radii_along(contour_mm, center_mm, angle))
    except ValueError:
        return np.full(N_ANGLES, np.linalg.norm(contour_mm - center_mm, axis=-1).mean())


def errors_of(shown: Shown, endo_px: Array, epi_px: Array) -> Errors:
    """Errors of two contours ``(point, 2)``."""
    spacing = shown.cine.spacing_xy_mm
    center = area_centroid(shown.wall_px[:, -1] * spacing)
    endo, epi = (
        radii_from(center, contour * spacing) - truth
        for contour, truth in zip((endo_px, epi_px), true_radii_mm(shown), strict=True)
    )
    off = float(np.linalg.norm(area_centroid(epi_px * spacing) - center))
    return Errors(*(float(f(e)) for e in (endo, epi) for f in (lambda x: np.abs(x).mean(), np.mean)), off)


def section(name: str, errors: Mapping[str, Sequence[Errors]]) -> str:
    """A group's table as Markdown."""
    n = len(next(iter(errors.values())))
    lines = [
        f"## {name} ({n})",
        "",
        "| predictor | endocardium | epicardium | centre | largest |",
        "|---|---|---|---|---|",
    ]
    for predictor, each in errors.items():
        mean, worst = Errors(*np.mean(each, axis=0)), max(e.center_mm for e in each)
        endo = f"{mean.endo_mm:.2f} ({mean.endo_bias_mm:+.2f})"
        epi = f"{mean.epi_mm:.2f} ({mean.epi_bias_mm:+.2f})"
        lines.append(f"| {predictor} | {endo} | {epi} | {mean.center_mm:.2f} | {worst:.2f} |")
    return "\n".join(lines) + "\n\n"


if __name__ == "__main__":
    main()
