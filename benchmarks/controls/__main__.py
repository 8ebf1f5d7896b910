"""Architectures of trackers side by side, trained on equal data and given the true ED points.

    python -m benchmarks.controls data --out build/controls/crops.pt --sequences 4096 --device cuda
    python -m benchmarks.controls all --data build/controls/crops.pt --steps 1500 --parallel 4 --out build/controls

`all` runs every variant and seed as a `train` process of its own, a few at a time, and writes results.md and
results.json. A run that fails, or runs out of its seconds, is said so in the table.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.controls.crops import load_crops, make_crops
from benchmarks.controls.table import write_table
from benchmarks.controls.train import LEARNING_RATE, Settings, train_variant
from benchmarks.controls.variants import VARIANTS

POLL_S = 0.5
PROGRESS_S = 15.0


def main(arguments: list[str] | None = None) -> int:
    """Make crops, train one variant, or all."""
    given = sys.argv[1:] if arguments is None else arguments
    options = _options(given)
    if options.task == "data":
        make_crops(options.out, options.sequences, options.seed, options.number_a, options.number_b, options.device)
    elif options.task == "train":
        _train(options)
    else:
        return _all(options, " ".join(["python -m benchmarks.controls", *(_shown(word) for word in given)]))
    return 0


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.controls",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    tasks = parser.add_subparsers(dest="task", required=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    data = tasks.add_parser("data", help="render the crops")
    data.add_argument("--out", type=Path, required=True)
    data.add_argument("--sequences", type=int, default=4096, help="crops to train on")
    data.add_argument("--number-a", type=int, default=64, help="crops of set A")
    data.add_argument("--number-b", type=int, default=8, help="crops of each setting of set B")
    data.add_argument("--seed", type=int, default=1)
    data.add_argument("--device", default=device)
    one = tasks.add_parser("train", help="train one variant")
    one.add_argument("--variant", choices=VARIANTS, required=True)
    one.add_argument("--seed", type=int, default=1)
    one.add_argument("--out", type=Path, required=True, help="JSON file")
    several = tasks.add_parser("all", help="train all variants")
    several.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    several.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    several.add_argument("--parallel", type=int, default=1, help="processes at a time")
    several.add_argument("--out", type=Path, required=True, help="folder")
    for task in (one, several):
        task.add_argument("--data", type=Path, required=True)
        task.add_argument("--steps", type=int, required=True)
        task.add_argument("--batch-size", type=int, default=16)
        task.add_argument("--learning-rate", type=float, default=LEARNING_RATE)
        task.add_argument("--seconds", type=float, default=math.inf, help="of training, at most, for each run")
        task.add_argument("--device", default=device)
    return parser.parse_args(arguments)


def _train(options: argparse.Namespace) -> None:
    settings = Settings(
        steps=options.steps,
        batch_size=options.batch_size,
        seed=options.seed,
        device=options.device,
        seconds=options.seconds,
        learning_rate=options.learning_rate,
    )
    record = train_variant(options.variant, load_crops(options.data), settings)
    options.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _all(options: argparse.Namespace, command: str) -> int:
    """Run all, a few at a time; the table is written anew whenever one ends, so that it survives being cut off."""
    folder: Path = options.out
    folder.mkdir(parents=True, exist_ok=True)
    waiting = [(variant, seed) for seed in options.seeds for variant in options.variants]
    running: dict[str, subprocess.Popen[bytes]] = {}
    records: list[dict[str, Any]] = []
    failed: dict[str, str] = {}
    told = time.monotonic()
    text = ""
    while waiting or running:
        while waiting and len(running) < options.parallel:
            variant, seed = waiting.pop(0)
            name = f"{variant}_{seed}"
            (folder / f"{name}.json").unlink(missing_ok=True)
            running[name] = _start(options, variant, seed, folder / name)
        time.sleep(POLL_S)
        for name, process in list(running.items()):
            code = process.poll()
            if code is None:
                continue
            del running[name]
            if code == 0:
                records.append(json.loads((folder / f"{name}.json").read_text(encoding="utf-8")))
            else:
                failed[name] = f"exit code {code}; {_last_line(folder / f'{name}.log')}"
            print(f"{name}: {failed.get(name, 'done')}", flush=True)
            text = write_table(folder, records, failed, command)
        if time.monotonic() - told > PROGRESS_S:
            told = time.monotonic()
            print(*(f"{name}: {_last_line(folder / f'{name}.log')}" for name in running), sep="\n", flush=True)
    print(text)
    return 3 if failed else 0


def _start(options: argparse.Namespace, variant: str, seed: int, stem: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "benchmarks.controls", "train", "--variant", variant, "--seed", str(seed)]
    for name in ("data", "steps", "batch_size", "learning_rate", "seconds", "device"):
        command += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    with stem.with_suffix(".log").open("wb") as log:
        return subprocess.Popen([*command, "--out", f"{stem}.json"], stdout=log, stderr=subprocess.STDOUT)


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "started"


def _shown(word: str) -> str:
    """Files by their names: folders are a matter of the machine."""
    return Path(word).name if "/" in word else word


if __name__ == "__main__":
    sys.exit(main())
