"""Damaged and lying input in every container: does a reader ever raise, hang or fill the memory?

    python -m benchmarks.robustness --number 2000 --seed 20211 --table benchmarks/robustness.md

Every input is read, its slices loaded, and described as ``tagstrain info`` does, in worker processes of 2 GB each. Case
``k`` depends on the seed and ``k`` alone, but for time stamps in zips: ``--only K`` runs it again and shows its
traceback.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import tagstrain
from benchmarks.robustness.cases import CaseResult, Outcome, run_cases
from benchmarks.robustness.containers import WRITERS, tagged_study, write_container
from tagstrain.io import read_study


def reading_times_s() -> dict[str, float]:
    """CPU time to read 3 slices of 60 frames of 256 x 256 pixels, by container; the fastest of five."""
    study = tagged_study(n_slices=3, n_frames=60, rows=256, columns=256)
    times_s = {}
    for container, write in WRITERS.items():
        with TemporaryDirectory() as folder:
            path = write_container(Path(folder), write(study))
            durations = []
            for _ in range(5):
                start = time.process_time()
                for source in read_study(path).slices:
                    source.load()
                durations.append(time.process_time() - start)
        times_s[container] = min(durations)
    return times_s


def report(options: argparse.Namespace, results: Sequence[CaseResult], times_s: dict[str, float]) -> str:
    """The table as Markdown, with command, seed and machine."""
    lines = [
        "# Robustness of the readers",
        "",
        f"Command: `python -m benchmarks.robustness --number {options.number} --seed {options.seed}`; tagstrain "
        f"{tagstrain.__version__}; Python {platform.python_version()}, {os.cpu_count()} CPU cores, "
        f"{platform.machine()}.",
        "",
        f"Each of the {len(results)} inputs is a small tagged study whose header lies (attributes missing, empty, of "
        "the wrong type, absurd) or whose bytes are cut, flipped, overwritten, inserted or removed. It is read "
        "with its pixels and described as `tagstrain info` does, in a process that may have 2 GB and 20 s.",
        "",
        "| container | inputs | " + " | ".join(Outcome) + " | longest (s) | 3 x 60 frames (s) |",
        "|---" * (len(Outcome) + 4) + "|",
    ]
    for container in WRITERS:
        of_container = [result for result in results if result.container == container]
        counts = Counter(result.outcome for result in of_container)
        cells = " | ".join(str(counts[outcome]) for outcome in Outcome)
        longest_s = max((result.duration_s for result in of_container), default=0.0)
        lines.append(f"| {container} | {len(of_container)} | {cells} | {longest_s:.2f} | {times_s[container]:.2f} |")
    lines += [
        "",
        "Last column: CPU time of `read_study` and `load()` for 3 slices, 60 frames, 256 x 256; fastest of 5.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Run the cases and write the table, or show one case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=20211)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--only", type=int, help="run this case alone, in a worker, and show what it did")
    options = parser.parse_args()
    numbers = range(options.number) if options.only is None else [options.only]
    results = []
    for result in run_cases(numbers, options.seed):
        results.append(result)
        if result.outcome not in (Outcome.READ, Outcome.REFUSED) or options.only is not None:
            print(f"case {result.number} ({result.container}): {result.damage}: {result.outcome}\n{result.detail}")
    if options.only is None:
        table = report(options, results, reading_times_s())
        print(table)
        if options.table is not None:
            options.table.write_text(table)


if __name__ == "__main__":
    main()
