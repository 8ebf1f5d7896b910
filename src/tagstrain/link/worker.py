"""What happens to spooled studies: their analysis and the sending of their results, one thread each."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

from tagstrain.errors import OutputError, TagstrainError
from tagstrain.link.config import ListenerConfig
from tagstrain.link.sender import Destination, SendError
from tagstrain.link.spool import Spool
from tagstrain.link.stages import SpooledStudy, Stage

Analyze = Callable[[Path, str], None]
"""Analyzes the images of a folder and writes the results of the study with that key; raises `TagstrainError`."""

MAX_STARTS = 3
"""A study whose analysis was begun so often without lasting results fails: it may be what ends the process."""
MAX_RETRY_S = 60 * 60.0
_POLL_S = 0.1
_TROUBLE_S = 10.0
"""Wait after the disk refused something."""

_log = logging.getLogger(__name__)


def result_objects(results: Path) -> list[Path]:
    """DICOM objects among the results of a study, which go to the archive."""
    return sorted((results / "dicom").glob("*.dcm"))


def retry_delay_s(n_failed: int, first_s: float) -> float:
    """Wait before sending once more after ``n_failed`` attempts: doubled each time, up to `MAX_RETRY_S`."""
    return min(first_s * 2.0 ** min(n_failed - 1, 32), MAX_RETRY_S)


class Worker:
    """A thread that repeats a step: at once while the step finds work, else after a short wait."""

    def __init__(self, step: Callable[[], bool]) -> None:
        self._step = step
        self._stop = Event()
        self._thread = Thread(target=self._run, name=type(step).__name__, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Ask it to stop, and wait until the step that it is in has ended."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                wait_s = 0.0 if self._step() else _POLL_S
            except (OSError, OutputError) as error:
                _log.error("The disk refused a write: %s. Trying again", error)
                wait_s = _TROUBLE_S
            self._stop.wait(wait_s)


@dataclass(frozen=True, slots=True)
class AnalysisStep:
    """Takes studies as complete once they are idle, and analyzes the one that has waited longest."""

    spool: Spool
    analyze: Analyze
    config: ListenerConfig

    def __call__(self) -> bool:
        """Do one step; says whether there was something to analyze.

        Raises
        ------
        OSError, OutputError
            If the disk refuses a write; the study stays where it is, and is tried again `MAX_STARTS` times at most.
        """
        self.spool.queue_idle(self.config.idle_s)
        self.spool.forget_done(self.config.keep_s)
        # One that is still in its analysis was interrupted: this thread is the only one that analyzes.
        waiting = self.spool.in_stage(Stage.ANALYZING, Stage.QUEUED)
        if waiting:
            self._begin(waiting[0])
        return bool(waiting)

    def _begin(self, study: SpooledStudy) -> None:
        """Analyze a study unless that ended badly too often."""
        if study.n_starts >= MAX_STARTS:
            reason = f"given up after {MAX_STARTS} analyses: {study.reason or 'each was interrupted'}"
            _log.error("%s: failed: %s", study.key, reason)
            self.spool.update(study, Stage.FAILED, reason=reason)
            return
        begun = self.spool.update(study, Stage.ANALYZING, n_starts=study.n_starts + 1)
        if begun is not None:
            self._analyze(begun)

    def _analyze(self, study: SpooledStudy) -> None:
        """Analyze a study and write how that ended."""
        reason = ""
        try:
            self.analyze(self.spool.images(study.key), study.key)
        except (OSError, OutputError) as error:
            self.spool.update(study, Stage.ANALYZING, reason=str(error))
            raise
        except TagstrainError as error:
            reason = str(error)
        except Exception as error:  # a mistake in the program must not stop the studies that come after
            _log.exception("%s: internal error", study.key)
            reason = f"internal error ({type(error).__name__}); the log says where"
        stage = Stage.FAILED if reason else Stage.SENDING
        if self.spool.update(study, stage, reason=reason) is None:
            _log.info("%s: images came during the analysis; it is analyzed again with them", study.key)
        elif reason:
            _log.error("%s: failed: %s", study.key, reason)
        else:
            _log.info("%s: analyzed", study.key)


@dataclass(frozen=True, slots=True)
class SendingStep:
    """Sends the results of analyzed studies to every destination until all have acknowledged them."""

    spool: Spool
    results: Path
    """Holds a folder of results per study, named by its key."""
    destinations: Sequence[Destination]
    config: ListenerConfig

    def __call__(self) -> bool:
        """Try the studies that are due; says whether there were any.

        Raises
        ------
        OSError, OutputError
            If the disk refuses a write.
        """
        due = [study for study in self.spool.in_stage(Stage.SENDING) if self._is_due(study)]
        for study in due:
            self._send(study)
        return bool(due)

    def _is_due(self, study: SpooledStudy) -> bool:
        """Whether enough time has passed since sending failed."""
        if study.n_failed_sends == 0:
            return True
        return time.time() - study.changed_s >= retry_delay_s(study.n_failed_sends, self.config.first_retry_s)

    def _send(self, study: SpooledStudy) -> None:
        """Send what no destination has acknowledged yet, and write down every receipt."""
        problems: list[str] = []
        objects = result_objects(self.results / study.key)
        if not objects:
            self._analyze_again(study)
            return
        for destination in self.destinations:
            missing = [path for path in objects if (destination.name, path.name) not in study.sent]
            if not missing:
                continue
            try:
                for path in destination.send(missing):
                    receipts = (*study.sent, (destination.name, path.name))
                    changed = self.spool.update(study, Stage.SENDING, sent=receipts)
                    if changed is None:  # an image came: these results are out of date
                        return
                    study = changed
            except SendError as error:
                problems.append(str(error))
            except (OSError, OutputError):
                raise
            except Exception as error:  # a mistake in the program must not stop what else is to be sent
                _log.exception("%s: internal error", study.key)
                problems.append(f"internal error ({type(error).__name__}); the log says where")
        self._end(study, problems)

    def _analyze_again(self, study: SpooledStudy) -> None:
        """Queue a study whose results were removed, or were written to another folder by an earlier listener."""
        reason = f"it has no DICOM objects in {self.results.name}"
        if self.spool.update(study, Stage.QUEUED, reason=reason, sent=(), n_failed_sends=0) is not None:
            _log.warning("%s: %s; it is analyzed again", study.key, reason)

    def _end(self, study: SpooledStudy, problems: list[str]) -> None:
        """Write how an attempt to send went."""
        if not problems:
            if self.spool.update(study, Stage.DONE, reason="", n_failed_sends=0) is not None:
                _log.info("%s: done, %d objects sent", study.key, len(study.sent))
            return
        n_failed, reason = study.n_failed_sends + 1, "; ".join(problems)
        if self.spool.update(study, Stage.SENDING, reason=reason, n_failed_sends=n_failed) is not None:
            wait_s = retry_delay_s(n_failed, self.config.first_retry_s)
            _log.warning("%s: not sent: %s. Trying again in %.0f s", study.key, reason, wait_s)
