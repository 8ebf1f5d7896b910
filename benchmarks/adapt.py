"""Whether a tracker adapts to another scanner without labels, beside what labels would have given.

    python -m benchmarks.adapt --work adapt_work --out benchmarks/adapt.md

Cines of a scanner that the shipped tracker was not trained for (`SCANNER`, `other_scanner`): some to learn from, others
to measure on, true ED points given. The gap is what the same number of steps from the same weights gains with the true
labels of the cines to learn from; `tagstrain adapt` sees their images alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray

import tagstrain
from tagstrain.cli.adapt import DEFAULTS
from tagstrain.data import FollowedSlice
from tagstrain.inference.flow import FlowTracker
from tagstrain.inference.models import load_models
from tagstrain.inference.teacher import follow_cohort, teaching_models
from tagstrain.io import read_study
from tagstrain.io.landmark_file import LandmarkFile
from tagstrain.networks.weights import load_weights
from tagstrain.simulation.config import SimulatorConfig
from tagstrain.simulation.dataset import write_scenes
from tagstrain.simulation.scene import Scene, sample_scenes
from tagstrain.training.adaptation import CONSISTENCY_LABELS, Adaptation, adapt
from tagstrain.training.config import TrainingConfig
from tagstrain.training.run import train

SCANNER = SimulatorConfig()
LEARN_SEED, TEST_SEED = 853_001, 863_001


def other_scanner(scene: Scene) -> Scene:
    """Uncorrected shading of one surface coil: e-fold over 33 mm, on top of an uneven field."""
    return replace(scene, acquisition=replace(scene.acquisition, shading=torch.tensor([1.5, 3.0])))


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("adapt_work"), help="folder for cines and runs")
    parser.add_argument("--out", type=Path, help="Markdown file; printed only if not given")
    parser.add_argument("--learn", type=int, default=24, help="cines to learn from")
    parser.add_argument("--test", type=int, default=16, help="cines to measure on")
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    work: Path = options.work
    work.mkdir(parents=True, exist_ok=True)
    learn, test = work / "learn.h5", work / "test.h5"
    for path, number, seed in ((learn, options.learn, LEARN_SEED), (test, options.test, TEST_SEED)):
        write_scenes(path, [other_scanner(scene) for scene in sample_scenes(SCANNER, number, seed)], overwrite=True)

    config = TrainingConfig(
        task="tracker",
        out=str(work / "adapted"),
        init="shipped",
        seed=options.seed,
        **{**DEFAULTS, "steps": options.steps},
        device="cpu",
        workers=0,
    )
    start = perf_counter()
    models = teaching_models(load_models(device="cpu"))
    slices = [found for found in follow_cohort(read_study(learn), models) if isinstance(found, FollowedSlice)]
    adapted = adapt(config, slices)
    adapted_s = perf_counter() - start
    start = perf_counter()
    labelled = train(replace(config, out=str(work / "labelled"), data=(str(learn),)))
    labelled_s = perf_counter() - start
    trackers = {
        "as shipped": FlowTracker.from_weights(),
        "the teacher: as shipped, eight views": models.tracker,
        "adapted without labels": FlowTracker.from_weights(adapted.weights),
        "trained with labels": FlowTracker.from_weights(labelled),
    }
    errors_mm = {name: cine_errors_mm(tracker, test) for name, tracker in trackers.items()}
    text = report(errors_mm, options, adapted, (adapted_s, labelled_s))
    print(text)
    if options.out:
        options.out.write_text(text)


def cine_errors_mm(tracker: FlowTracker, path: Path) -> NDArray[np.float64]:
    """Root mean square error of every cine over landmarks and frames after ED."""
    errors = []
    with LandmarkFile(path) as file:
        for row, source in enumerate(read_study(path).slices):
            cine, truth_px = source.load(), file.row(row).points_px
            found_px = tracker.track(cine, truth_px[0]).points_px
            errors.append(np.sqrt(np.square((found_px - truth_px)[1:] * cine.spacing_xy_mm).sum(axis=-1).mean()))
    return np.array(errors)


def report(
    errors_mm: Mapping[str, NDArray[np.float64]],
    options: argparse.Namespace,
    adapted: Adaptation,
    seconds: tuple[float, float],
) -> str:
    """The table, what share of the gap was closed, and what the adaptation itself could tell."""
    shipped, _, without, with_labels = (each.mean() for each in errors_mm.values())
    gap, closed = shipped - with_labels, shipped - without
    share = f"closes {closed / gap:.0%}" if gap > 0 else "has nothing to close"
    command = f"python -m benchmarks.adapt --learn {options.learn} --test {options.test} --steps {options.steps}"
    lines = [
        "# Adapting to another scanner without labels",
        "",
        f"Command: `{command} --seed {options.seed}`; cines to learn from of "
        f"seed {LEARN_SEED}, to measure on of seed {TEST_SEED}; tagstrain {tagstrain.__version__}, "
        f"shipped tracker sha256 {load_weights('tracker')[1].sha256[:16]}.",
        "",
        "The scanner: " + " ".join((other_scanner.__doc__ or "").split()) + " All else as in the simulator's default. "
        "ED points given, all frames but ED; two views are averaged but in the teacher.",
        "",
        "| tracker | RMSE mm, mean of cines | median | 90 % of cines | gain, +- standard error |",
        "|---|---|---|---|---|",
        *(
            f"| {name} | {each.mean():.3f} | {np.median(each):.3f} | {np.quantile(each, 0.9):.3f} "
            f"| {gain.mean():.3f} +- {gain.std(ddof=1) / len(gain) ** 0.5:.3f} |"
            for name, each in errors_mm.items()
            for gain in [errors_mm["as shipped"] - each]
        ),
        "",
        f"Of the gap that labels close, adapting without them {share}. "
        f"{adapted.n_slices} of {options.learn} cines were followed; "
        f"{seconds[0]:.0f} s in all without labels, {seconds[1]:.0f} s with.",
        "",
        "| what adapting can tell without truth | before | after |",
        "|---|---|---|",
        *(
            f"| {name} | {before:.3f} | {after:.3f} |"
            for name, before, after in zip(
                (*CONSISTENCY_LABELS, "simulated RMSE, mm"),
                (*adapted.before, adapted.simulated_rmse_mm_before),
                (*adapted.after, adapted.simulated_rmse_mm_after),
                strict=True,
            )
        ),
    ]
    if adapted.weights is None:
        lines += ["", "Nothing was exported: no step was better within the guard."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
