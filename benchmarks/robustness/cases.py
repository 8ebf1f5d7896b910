"""One damaged study after another, each read in a process with limits: `run_cases`."""

from __future__ import annotations

import multiprocessing
import resource
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.robustness.containers import WRITERS, Files, tagged_study, write_container
from benchmarks.robustness.mutations import mutate
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
