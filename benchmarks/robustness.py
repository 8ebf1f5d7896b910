"""Damaged and lying input in every container: does a reader ever raise, hang or fill the memory?

    python -m benchmarks.robustness --number 2000 --seed 20211 --table benchmarks/robustness.md

Every input is read, its slices loaded, and described as ``tagstrain info`` does, in worker processes of 2 GB each. Case
``k`` depends on the seed and ``k`` alone: ``--only K`` runs one again and shows its traceback.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import resource
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import tagstrain
from benchmarks.containers import WRITERS, Files, tagged_study, write_container
from benchmarks.mutations import mutate
from tagstrain.cli.slice_facts import SliceFacts
from tagstrain.errors import TagstrainError
from tagstrain.io import read_study

MEMORY_BYTES = 2 * 1024**3
TIME_LIMIT_S = 20.0


class Outcome(StrEnum):
    """How reading a damaged study ended; all after the first two are defects."""

    READ = "read"
    REFUSED = "refused"
    RAISED = "uncaught exception"
    MEMORY = "over 2 GB"
    HUNG = "over 20 s"
    CRASHED = "process died"


@dataclass(frozen=True, slots=True)
class CaseResult:
    """One input: what was done to it and what came of it."""

    number: int
    container: str
    damage: str
    outcome: Outcome
    detail: str
    duration_s: float


def container_of(number: int) -> str:
    """Containers take turns."""
    return list(WRITERS)[number % len(WRITERS)]


@cache
def intact_files(container: str) -> Files:
    """The study that is damaged."""
    return WRITERS[container](tagged_study())


def damaged_files(number: int, seed: int) -> tuple[str, Files]:
    """What is done in a case, and the files that come of it."""
    container = container_of(number)
    return mutate(container, intact_files(container), np.random.default_rng([seed, number]))


def read_everything(path: Path) -> Outcome:
    """Read a study and describe its slices; a refusal of any part counts as one.

    Raises
    ------
    Exception
        Whatever is no `TagstrainError`: a defect. `MemoryError`, also where a reader took it for damage.
    """
    outcome = Outcome.READ
    try:
        slices = read_study(path).slices
    except TagstrainError as error:
        _raise_memory(error)
        return Outcome.REFUSED
    for source in slices:
        try:
            SliceFacts.of(source.load())
        except TagstrainError as error:
            _raise_memory(error)
            outcome = Outcome.REFUSED
    return outcome


def _raise_memory(error: BaseException | None) -> None:
    """Raise the `MemoryError` behind an error, if there is one."""
    while error is not None:
        if isinstance(error, MemoryError):
            raise error
        error = error.__cause__ or error.__context__


def run_case(number: int, seed: int) -> CaseResult:
    """Damage a study and read it."""
    damage, files = damaged_files(number, seed)
    start = time.perf_counter()
    with TemporaryDirectory() as folder:
        try:
            outcome, detail = read_everything(write_container(Path(folder), files)), ""
        except MemoryError:
            outcome, detail = Outcome.MEMORY, traceback.format_exc(limit=-4)
        except Exception:  # counting these is what this is for
            outcome, detail = Outcome.RAISED, traceback.format_exc(limit=-4)
    return CaseResult(number, container_of(number), damage, outcome, detail, time.perf_counter() - start)


def work(connection: Connection, seed: int) -> None:
    """Run the cases that come, in a process that may not have more than `MEMORY_BYTES`."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while (number := connection.recv()) is not None:
        connection.send(run_case(number, seed))


class Worker:
    """A process that is replaced when it hangs or dies."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=work, args=(theirs, self._seed), daemon=True)
        self._process.start()
        theirs.close()

    def run(self, number: int) -> CaseResult:
        """Run one case to its end, whatever that is."""
        self._connection.send(number)
        start = time.perf_counter()
        try:
            # The first case also waits for the process to start.
            if self._connection.poll(TIME_LIMIT_S + 10):
                return self._connection.recv()
            outcome = Outcome.HUNG
        except EOFError:
            outcome = Outcome.CRASHED
        self.stop()
        damage, _ = damaged_files(number, self._seed)
        self._start()
        return CaseResult(number, container_of(number), damage, outcome, "", time.perf_counter() - start)

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()
        self._connection.close()


def run_cases(numbers: Sequence[int], seed: int) -> Iterator[CaseResult]:
    """Run cases in a worker, one after the other."""
    worker = Worker(seed)
    try:
        for number in numbers:
            yield worker.run(number)
    finally:
        worker.stop()


def reading_times_s() -> dict[str, float]:
    """Median CPU time to read a study of 3 slices, 60 frames and 256 x 256 pixels, headers and pixels, by container."""
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
        times_s[container] = float(np.median(durations))
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
        "Last column: median of 5 of the CPU time of `read_study` and `load()` for 3 slices, 60 frames, 256 x 256.",
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
