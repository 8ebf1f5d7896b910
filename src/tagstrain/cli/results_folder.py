"""OUT of ``analyze``, which grows study by study: `results_folder`, `written_files`."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tagstrain.errors import OutputError
from tagstrain.io import prepare_folder, remove_leftovers
from tagstrain.io.atomic import disk_told
from tagstrain.io.input_folder import RUN_RECORD
from tagstrain.io.lock import lock

RUN_LOG = "run.log"


@contextmanager
def results_folder(output: Path, may_hold_results: bool) -> Iterator[None]:
    """Open a folder for the results of a run, and copy what the package logs to `RUN_LOG` in it, after what is there.

    What a killed run left half-written is removed. A folder that held nothing is left as it was if the run ends by an
    error before a study was written to it.

    Raises
    ------
    OutputError
        Before any work, if ``output`` holds what may not be added to, cannot be written to, or is in use by another
        run; also for whatever the disk refuses during the work.
    """
    if not may_hold_results and (output / RUN_RECORD).is_file():
        raise OutputError(
            f"{output}: already holds results. Go on with that run by --resume, replace these studies' results with "
            "--overwrite, or choose another output"
        )
    is_made = not output.exists()
    with disk_told(output):
        prepare_folder(output, may_hold_results, marker=RUN_RECORD)
        with _log_file(output / RUN_LOG) as is_alone:
            is_empty = not any(entry.name != RUN_LOG for entry in output.iterdir())
            try:
                if is_alone:
                    remove_leftovers(output)
                yield
            except BaseException:
                if is_empty:
                    _remove_run_files(output, is_made)
                raise


def written_files(output: Path, folders: Sequence[str]) -> list[str]:
    """Names of the files of this run, relative to ``output``."""
    names = [name for name in (RUN_RECORD, RUN_LOG) if (output / name).exists()]
    for folder in folders:
        names += sorted(f"{folder}/{file.name}" for file in (output / folder).iterdir())
    return names


def _remove_run_files(output: Path, is_made: bool) -> None:
    """Remove the run's own files where there is no study beside them, and the folder if this run made it."""
    with suppress(OSError):  # what went wrong before is told
        if {entry.name for entry in output.iterdir()} <= {RUN_RECORD, RUN_LOG}:
            for name in (RUN_RECORD, RUN_LOG):
                (output / name).unlink(missing_ok=True)
            if is_made:
                output.rmdir()


@contextmanager
def _log_file(path: Path) -> Iterator[bool]:
    """Add what the package logs to a file, which no other run may use meanwhile; whether that is sure."""
    logger = logging.getLogger("tagstrain")
    level = logger.level
    with path.open("a", encoding="utf-8") as stream:
        is_alone = False
        with suppress(OSError):  # some shared file systems know no locks
            if not lock(stream.fileno()):
                raise OutputError(f"{path.parent}: another run is writing to it. Wait or choose another output")
            is_alone = True
        handler = logging.StreamHandler(stream)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        try:
            yield is_alone
        finally:
            logger.setLevel(level)
            logger.removeHandler(handler)
