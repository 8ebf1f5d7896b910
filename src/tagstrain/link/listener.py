"""Receiving, analyzing and sending at the same time, on one spool: `Listener`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tagstrain.link.config import ListenerConfig
from tagstrain.link.receiver import Receiver
from tagstrain.link.sender import Destination
from tagstrain.link.spool import Spool
from tagstrain.link.worker import AnalysisStep, Analyze, SendingStep, Worker

GRACE_S = 30.0
"""How long associations may go on after the listener was told to stop."""


class Listener:
    """The archive link; runs while it is entered as a context.

    Leaving the context lets associations, the analysis and the sending that are under way end. Whatever else waits
    stays in the spool for the next listener.

    Parameters
    ----------
    results
        Holds the results: what ``analyze`` writes for a study is expected in the folder named by its key.
    analyze
        Called with the folder of a study's images and its key, one study at a time, from another thread.
    """

    def __init__(
        self,
        spool: Spool,
        results: Path,
        analyze: Analyze,
        destinations: Sequence[Destination],
        config: ListenerConfig,
    ) -> None:
        self._receiver = Receiver(spool, config)
        self._workers = (
            Worker(AnalysisStep(spool, analyze, config)),
            Worker(SendingStep(spool, results, destinations, config)),
        )

    @property
    def port(self) -> int:
        """Port that it listens on."""
        return self._receiver.port

    def __enter__(self) -> Self:
        self._receiver.start()
        for worker in self._workers:
            worker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._receiver.stop(GRACE_S)
        for worker in self._workers:
            worker.stop()
