"""How far a spooled study has come, and its record on disk: `Stage`, `SpooledStudy`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Self


class Stage(StrEnum):
    """Stages in their order; an image that comes later takes a study of any stage back to the first."""

    RECEIVING = "receiving"
    """Images are coming in."""
    QUEUED = "queued"
    """Complete, waits for its analysis."""
    ANALYZING = "analyzing"
    SENDING = "sending"
    """Analyzed; its results go to the archive, or wait until the archive takes them."""
    DONE = "done"
    FAILED = "failed"
    """Cannot be analyzed; ``reason`` says why."""


@dataclass(frozen=True, slots=True)
class SpooledStudy:
    """What is known of a study in the spool; the identifiers of its patient are not."""

    key: str
    """Pseudonym of the StudyInstanceUID; names the study in the spool, in the results and in the log."""
    stage: Stage
    changed_s: float
    """When this record was written [s since 1970]."""
    revision: int
    """Grows with every change, so that a record that somebody read before is known to be out of date."""
    reason: str = ""
    """Why the study failed, or why it waits."""
    n_starts: int = 0
    """Analyses begun since the last image: those that gave no results that last count towards giving it up."""
    n_failed_sends: int = 0
    sent: tuple[tuple[str, str], ...] = ()
    """Destination and file name of every result object that an archive has acknowledged."""

    def to_json(self) -> str:
        """The record as it stands on disk."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a record.

        Raises
        ------
        ValueError
            If it is damaged.
        """
        try:
            content = json.loads(text)
            sent = tuple((str(destination), str(name)) for destination, name in content.pop("sent"))
            return cls(**{**content, "stage": Stage(content["stage"]), "sent": sent})
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"not the record of a study: {error}") from error
