"""The exceptions that tagstrain raises on purpose, each of which tells a user what to do next."""

from __future__ import annotations

from pathlib import Path


class TagstrainError(Exception):
    """Base of every error that is about the input or the request, not about a mistake in the program."""


class InputError(TagstrainError):
    """A file cannot be used: names the file, what is wrong and what to do.

    Parameters
    ----------
    path
        The offending file or folder; only its name is shown, since folders can carry a patient's name.
    problem
        What is wrong, with the value found.
    remedy
        The next step for the user.
    """

    def __init__(self, path: str | Path, problem: str, remedy: str) -> None:
        self.path = Path(path)
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{self.path.name or self.path}: {problem}. {remedy}.")

    def __reduce__(self) -> tuple[type[InputError], tuple[Path, str, str]]:
        """Let the error cross from one process to another."""
        return type(self), (self.path, self.problem, self.remedy)


class OutputError(TagstrainError):
    """The results cannot be written where they were asked for."""


class LocalizationError(TagstrainError):
    """No left ventricle was found in a slice with enough confidence to go on."""


class TagsNotFoundError(TagstrainError):
    """No tag lines were found around the points that a phase-based tracker should follow."""


class TrackingError(TagstrainError):
    """The landmarks of a slice could not be followed well enough to measure strain."""
