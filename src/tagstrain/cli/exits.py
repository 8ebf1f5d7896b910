"""The exit codes that scripts may rely on, and how a command ends with one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from importlib.util import find_spec
from types import FrameType
from typing import ClassVar

from tagstrain.errors import InputError, TagstrainError

_TRAINING_PACKAGES = ("lightning", "tensorboard", "torchmetrics")


class ExitCode(IntEnum):
    """What the command's exit status means."""

    DONE = 0
    ERROR = 1
    """Usage or internal error, or results that cannot be written."""
    UNREADABLE = 2
    """The input cannot be read."""
    SOME_FAILED = 3
    """Some slices or studies failed; the others are written."""
    INTERRUPTED = 130
    """SIGINT (Ctrl-C) ended it, as shells say that; the studies that were done are written."""
    TERMINATED = 143
    """The same by SIGTERM."""


class CommandExit(Exception):  # noqa: N818 - not an error: a command that ran to its end and says how it went
    """Ends a command with an exit code, past typer, which uses code 2 for itself."""

    def __init__(self, code: ExitCode) -> None:
        self.code = code
        super().__init__(code.name)


class Terminated(KeyboardInterrupt):
    """SIGTERM, with which batch systems end jobs: treated like Ctrl-C, it leaves no half-written results either."""

    was_raised: ClassVar[bool] = False
    """Whether the signal came: a library that was at work may have swallowed the exception, and end in its own way."""

    @classmethod
    def handle(cls, _number: int, _frame: FrameType | None) -> None:
        """Raise it; a handler for `signal.signal`."""
        cls.was_raised = True
        raise cls


def code_of_interruption(interruption: KeyboardInterrupt) -> ExitCode:
    """`ExitCode.TERMINATED` for SIGTERM, `ExitCode.INTERRUPTED` else."""
    return ExitCode.TERMINATED if isinstance(interruption, Terminated) else ExitCode.INTERRUPTED


def finish(code: ExitCode) -> None:
    """End the command: return on `ExitCode.DONE`, raise `CommandExit` otherwise."""
    if code is not ExitCode.DONE:
        raise CommandExit(code)


def require_training() -> None:
    """Make sure, before any work is done, that networks can be trained.

    Raises
    ------
    TagstrainError
        If a package is missing that the extra ``train`` brings.
    """
    missing = [name for name in _TRAINING_PACKAGES if find_spec(name) is None]
    if missing:
        raise TagstrainError(f"{', '.join(missing)} is not installed. Run pip install 'tagstrain[train]'")


@contextmanager
def options_not_input() -> Iterator[None]:
    """Turn an unreadable file that an option named (weights) into a usage error: the input is not at fault."""
    try:
        yield
    except InputError as error:
        raise TagstrainError(str(error)) from error
