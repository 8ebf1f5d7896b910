"""Time of the default pipeline and of the predecessor's two networks, on the same cines in one process.

    python -m benchmarks.speed --number 20

Process time per slice of one thread, frames in memory; cines of 20 frames of 256 x 256. The predecessor's networks have
random weights, which take as long as any, and are given the true box. Writes speed.md beside this file.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np
import torch

import tagstrain
from benchmarks.quality.shown_cine import show
from tagstrain.data import Box, Localization, TaggedCine
from tagstrain.inference.analyze import analyze_slice
from tagstrain.inference.models import load_models
from tagstrain.inference.original import OriginalLocalizer, OriginalRnnCnn
from tagstrain.networks.localizer import LocalizationCNN
from tagstrain.networks.rnncnn import LandmarkRnnCnn
from tagstrain.networks.weights import WeightsInfo
from tagstrain.quality import assess
from tagstrain.simulation.config import PRESETS
from tagstrain.simulation.scene import sample_scenes

ASKED_PER_CORE_PER_S = 6.5
"""13 slices per second on two cores, the rate that the predecessor reports on a GPU."""
ASKED_RATIO = 3.0


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=20)
    parser.add_argument("--seed", type=int, default=772_001)
    options = parser.parse_args()
    torch.set_num_threads(1)
    shown = [show(scene) for scene in sample_scenes(PRESETS["ukb"], options.number, options.seed)]
    cines = [each.cine for each in shown]
    boxes = [Box.around(each.ed_wall_px.reshape(-1, 2)) for each in shown]
    models = load_models(device="cpu")
    results = [analyze_slice(cine, models) for cine in cines]  # to warm up
    ours = timed(partial(analyze_slice, cine, models) for cine in cines)
    judge = partial(assess, tracker=models.tracker, placer=models.placer, localizer=models.localizer)
    judging = timed(partial(judge, result) for result in results)
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    info = WeightsInfo("random", "0", "", {"preprocessing": "original"})
    networks = LocalizationCNN(1, "original"), LandmarkRnnCnn()
    for network in networks:
        network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    localizer, rnncnn = OriginalLocalizer(networks[0], info), OriginalRnnCnn(networks[1], info)

    def run_original(cine: TaggedCine, box: Box) -> None:
        localizer.localize(cine)
        rnncnn.place_and_track(cine, Localization(box, None))

    run_original(cines[0], boxes[0])
    theirs = timed(partial(run_original, *pair) for pair in zip(cines, boxes, strict=True))
    stages = {name: np.median([result.timings_s[name] for result in results]) for name in results[0].timings_s}
    weights = "; ".join(f"{name} {version}" for name, version in models.provenance.weights.items())
    text = f"""# Time per slice

Command: `python -m benchmarks.speed --number {options.number} --seed {options.seed}`.
tagstrain {tagstrain.__version__}, PyTorch {torch.__version__.split("+")[0]}, one thread of {os.cpu_count()} CPU cores,
{platform.machine()}; our networks in {models.provenance.precision}. Weights: {weights}.

Process time per slice, median of {options.number} cines of {cines[0].n_frames} frames of 256 x 256, frames in memory.

| what | s per slice | slices per s and core |
| --- | --- | --- |
| ours: localize, place, track, strain, insertion | {ours:.2f} | {1 / ours:.2f} |
| quality of the slice, besides | {judging:.2f} | |
| the predecessor's two networks | {theirs:.2f} | {1 / theirs:.2f} |

- rate: {1 / ours:.2f} slices per second and core, {ASKED_PER_CORE_PER_S:g} asked: \
{"holds" if 1 / ours >= ASKED_PER_CORE_PER_S else "does not hold"}
- ratio: {theirs / ours:.2f} times the predecessor's rate, {ASKED_RATIO:g} asked: \
{"holds" if theirs / ours >= ASKED_RATIO else "does not hold"}
- peak memory of the process up to then: {peak_mib:.0f} MiB
- stages (wall time, median, s): {", ".join(f"{name} {seconds:.2f}" for name, seconds in stages.items())}
"""
    (Path(__file__).parent / "speed.md").write_text(text)
    print(text)


def timed(tasks: Iterable[Callable[[], object]]) -> float:
    """Median process time [s]."""
    seconds = []
    for task in tasks:
        start = time.process_time()
        task()
        seconds.append(time.process_time() - start)
    return float(np.median(seconds))


if __name__ == "__main__":
    main()
