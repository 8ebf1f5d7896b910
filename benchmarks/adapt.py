"""Whether tracker and placer adapt to another scanner without labels, beside what labels would have given.

    python -m benchmarks.adapt --work adapt_work --out benchmarks/adapt.md

Cines of a scanner that the shipped networks were not trained for (`SCANNERS`): some to learn from, others to measure
on. The gap is what the same number of steps from the same weights gains with the true labels of the
cines to learn from; `tagstrain adapt` sees their images alone. Each network adapts by itself, the other one as shipped.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

import tagstrain
from benchmarks.placement import Shown, box_that_is_off, errors_of
from tagstrain.cli.adapt import DEFAULTS
from tagstrain.data import FollowedSlice, Localization
from tagstrain.data.landmarks import N_RINGS, N_SPOKES
from tagstrain.inference.flow import FlowTracker
from tagstrain.inference.models import load_models
from tagstrain.inference.placer import MotionPlacer
from tagstrain.inference.teacher import follow_cohort, teaching_models
from tagstrain.io import read_study
from tagstrain.io.landmark_file import LandmarkFile
from tagstrain.networks.weights import load_weights
from tagstrain.simulation.config import PRESETS, SimulatorConfig
from tagstrain.simulation.dataset import write_scenes
from tagstrain.simulation.scene import Scene, sample_scenes
from tagstrain.training.adaptation import Adaptation
from tagstrain.training.config import TrainingConfig
from tagstrain.training.placer_adaptation import adapt_placer
from tagstrain.training.run import train
from tagstrain.training.tracker_adaptation import adapt_tracker

LEARN_SEED, TEST_SEED = 853_001, 863_001
SHIPPED, WITHOUT, WITH = "as shipped", "adapted without labels", "trained with labels"


class Scanner(NamedTuple):
    """A scanner that the shipped networks were not trained for."""

    meaning: str
    config: SimulatorConfig
    shading: tuple[float, float] | None = None
    """Strength of the uneven field, and of the ramp away from the coil per 100 mm; None: as the simulator draws it."""

    def scene(self, scene: Scene) -> Scene:
        """The scene as this scanner shades it."""
        if self.shading is None:
            return scene
        return replace(scene, acquisition=replace(scene.acquisition, shading=torch.tensor(self.shading)))


SCANNERS = {
    "cspamm": Scanner(
        "Complementary SPAMM in magnitude (Fischer et al. 1993), grids: tissue is bright between lines that are dark "
        "for good, blood turns dark, and all fades into noise; lines lie 4 to 10 mm apart, as in training.",
        replace(PRESETS["cspamm"], line_tag_probability=0.0),
    ),
    "coarse": Scanner(
        "Coarse grids, 13 to 14 mm apart (training: 4 to 10), and shading that nobody corrected: e-fold over 67 mm, on "
        "top of an uneven field that varies by as much.",
        SimulatorConfig(tag_spacing_mm=(13.0, 14.0), common_spacing_mm=(13.0, 14.0), line_tag_probability=0.0),
        (1.0, 1.5),
    ),
    "coil": Scanner(
        "Uncorrected shading of one surface coil: e-fold over 33 mm, on top of an uneven field that varies by half "
        "more.",
        SimulatorConfig(),
        (1.5, 3.0),
    ),
}


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("adapt_work"), help="folder for cines and runs")
    parser.add_argument("--out", type=Path, help="Markdown file; printed only if not given")
    parser.add_argument("--learn", type=int, default=24, help="cines to learn from")
    parser.add_argument("--test", type=int, default=16, help="cines to measure on")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=("tracker", "placer"), help="the one network to adapt")
    parser.add_argument("--scanner", choices=SCANNERS, default="cspamm")
    options = parser.parse_args()
    scanner = SCANNERS[options.scanner]
    work: Path = options.work
    work.mkdir(parents=True, exist_ok=True)
    learn, test = work / "learn.h5", work / "test.h5"
    for path, number, seed in ((learn, options.learn, LEARN_SEED), (test, options.test, TEST_SEED)):
        scenes = [scanner.scene(scene) for scene in sample_scenes(scanner.config, number, seed)]
        write_scenes(path, scenes, overwrite=True)
    models = teaching_models(load_models(device="cpu"))
    assert isinstance(models.tracker, FlowTracker)
    start = perf_counter()
    slices = [found for found in follow_cohort(read_study(learn), models) if isinstance(found, FollowedSlice)]
    followed_s = perf_counter() - start
    sections = []
    for task, adapt in (("tracker", adapt_tracker), ("placer", adapt_placer)):
        if options.only not in (None, task):
            continue
        config = TrainingConfig(
            task=task,  # type: ignore[arg-type]
            out=str(work / f"{task}_adapted"),
            init="shipped",
            seed=options.seed,
            **DEFAULTS[task],
            device="cpu",
            workers=0,
        )
        start = perf_counter()
        adapted = adapt(config, slices, work / f"{task}.safetensors")
        adapted_s = perf_counter() - start
        start = perf_counter()
        labelled = train(replace(config, out=str(work / f"{task}_labelled"), data=(str(learn),)))
        labelled_s = perf_counter() - start
        if task == "tracker":
            trackers = {
                SHIPPED: FlowTracker.from_weights(),
                "the teacher: as shipped, eight views": models.tracker,
                WITHOUT: FlowTracker.from_weights(adapted.weights),
                WITH: FlowTracker.from_weights(labelled),
            }
            errors_mm = {name: cine_errors_mm(tracker, test) for name, tracker in trackers.items()}
        else:
            of_weights = {SHIPPED: None, WITHOUT: adapted.weights, WITH: labelled}
            errors_mm = {
                name: placing_errors_mm(MotionPlacer.from_weights(FlowTracker.from_weights(), weights), test)
                for name, weights in of_weights.items()
            }
        sections.append(section(errors_mm, adapted, (adapted_s, labelled_s)))
    text = heading(options, followed_s) + "\n".join(sections)
    print(text)
    if options.out:
        options.out.write_text(text)


def placing_errors_mm(placer: MotionPlacer, path: Path) -> NDArray[np.float64]:
    """Mean absolute error of every cine's endocardial and epicardial radii, from a box that is off."""
    rng = np.random.default_rng(TEST_SEED)
    errors = []
    with LandmarkFile(path) as file:
        for row, source in enumerate(read_study(path).slices):
            cine, wall_px = source.load(), file.row(row).points_px[0].reshape(N_SPOKES, N_RINGS, 2).astype(float)
            shown = Shown(cine, wall_px, box_that_is_off(wall_px, rng))
            placed_px = placer.place(cine, Localization(shown.box, None)).wall_px
            found = errors_of(shown, placed_px[:, 0], placed_px[:, -1])
            errors.append((found.endo_mm + found.epi_mm) / 2)
    return np.array(errors)


def cine_errors_mm(tracker: FlowTracker, path: Path) -> NDArray[np.float64]:
    """Root mean square error of every cine over landmarks and frames after ED."""
    errors = []
    with LandmarkFile(path) as file:
        for row, source in enumerate(read_study(path).slices):
            cine, truth_px = source.load(), file.row(row).points_px
            found_px = tracker.track(cine, truth_px[0]).points_px
            errors.append(np.sqrt(np.square((found_px - truth_px)[1:] * cine.spacing_xy_mm).sum(axis=-1).mean()))
    return np.array(errors)


def heading(options: argparse.Namespace, followed_s: float) -> str:
    """What was done, and with what."""
    versions = ", ".join(f"{name} sha256 {load_weights(name)[1].sha256[:16]}" for name in ("tracker", "placer"))
    lines = [
        "# Adapting to another scanner without labels",
        "",
        f"Command: `python -m benchmarks.adapt --learn {options.learn} --test {options.test} --seed {options.seed} "
        f"--scanner {options.scanner}`; "
        f"cines to learn from of seed {LEARN_SEED}, to measure on of seed {TEST_SEED}; "
        f"tagstrain {tagstrain.__version__}, shipped {versions}. Following the cohort took {followed_s:.0f} s.",
        "",
        f"The scanner: {SCANNERS[options.scanner].meaning} All else as in the simulator's default.",
        "",
        "Tracker: RMSE of all frames but ED, true ED points given; two views are averaged but in the teacher. Placer: "
        "mean absolute error of the endocardium's and the epicardium's radius, from boxes that are off, as in "
        "`benchmarks/placement.md`.",
        "",
    ]
    return "\n".join(lines) + "\n"


def section(errors_mm: Mapping[str, NDArray[np.float64]], adapted: Adaptation, seconds: tuple[float, float]) -> str:
    """One network's table, what share of the gap was closed, and what the adaptation itself could tell."""
    shares = []
    for of_cines in (np.mean, np.median):
        shipped, without, with_labels = (of_cines(errors_mm[name]) for name in (SHIPPED, WITHOUT, WITH))
        gap, closed = shipped - with_labels, shipped - without
        shares.append(f"{closed / gap:.0%}" if gap > 0 else "nothing, for there is none")
    before, after = (list(each._asdict().values()) for each in (adapted.before, adapted.after))
    lines = [
        f"## {adapted.network.capitalize()}",
        "",
        "| weights | error mm, mean of cines | median | 90 % of cines | gain, +- standard error |",
        "|---|---|---|---|---|",
        *(
            f"| {name} | {each.mean():.3f} | {np.median(each):.3f} | {np.quantile(each, 0.9):.3f} "
            f"| {gain.mean():.3f} +- {gain.std(ddof=1) / len(gain) ** 0.5:.3f} |"
            for name, each in errors_mm.items()
            for gain in [errors_mm[SHIPPED] - each]
        ),
        "",
        f"Of the gap that labels close, adapting without them closes, in the mean of the cines: {shares[0]}; in the "
        f"median: {shares[1]}. "
        + "".join(
            f"Its teacher was not shown {group}, which contradicted all else. " for group in adapted.teacher_left_out
        )
        + f"{adapted.n_slices} cines were learned from; {seconds[0]:.0f} s without labels, {seconds[1]:.0f} s with.",
        "",
        f"Of what was learned without labels {adapted.share:.0%} is in the weights, as much as the guard let pass.",
        "",
        "| what adapting can tell without truth | before | after |",
        "|---|---|---|",
        *(
            f"| {name} | {was:.3f} | {now:.3f} |"
            for name, was, now in zip(
                (*adapted.before.labels, "simulated RMSE, mm"),
                (*before, adapted.simulated_rmse_mm_before),
                (*after, adapted.simulated_rmse_mm_after),
                strict=True,
            )
        ),
    ]
    if adapted.weights is None:
        lines += ["", "Nothing was exported: no share of what was learned was better within the guard."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
