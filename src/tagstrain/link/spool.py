"""Studies on disk between their arrival and the archive's receipt for their results: `Spool`.

A spool is a folder::

    lock                    held by the one process that uses the spool
    salt                    secret behind the pseudonyms, readable by its owner alone
    studies/<key>/*.dcm     images of a study as they came, named by pseudonyms of their SOP instance UIDs
    records/<key>.json      how far the study has come, see `SpooledStudy`

Every file is written under a temporary name and flushed to the disk before it is renamed, so that a process that is
killed at any point leaves a spool from which the next one goes on.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Self

from tagstrain.errors import OutputError
from tagstrain.io import sync_folder, write_durably
from tagstrain.io.lock import lock
from tagstrain.io.pseudonym import pseudonym
from tagstrain.link.stages import SpooledStudy, Stage

_SALT_BYTES = 32
_LEFTOVER = ".*.partial"
"""Temporary names of files and folders whose writer or remover was killed."""

_log = logging.getLogger(__name__)


class Spool:
    """The studies of one spool folder; safe to use from several threads, locked against other processes.

    Parameters
    ----------
    root
        The folder; made if missing. What an earlier process left in it is taken up again.

    Raises
    ------
    OutputError
        If another process uses it, or it cannot be written to.
    """

    def __init__(self, root: Path) -> None:
        self._images = root / "studies"
        self._records = root / "records"
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock_file = _lock(root / "lock")
            self._images.mkdir(exist_ok=True)
            self._records.mkdir(exist_ok=True)
            self._salt = _read_or_make_salt(root / "salt")
            self._studies = self._take_up()
        except OSError as error:
            raise OutputError(f"{root}: cannot be used as spool ({error.strerror}). Choose another one") from error
        # One lock for all: images and record of a study change together, and the disk takes one write at a time anyway.
        self._guard = Lock()
        self._last_image_s = dict.fromkeys(self._studies, time.monotonic())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the spool to the next process."""
        os.close(self._lock_file)

    def store(self, study_uid: str, instance_uid: str, content: bytes) -> str:
        """Keep an image, in place of an earlier one with its UID; when this returns, it is on the disk.

        The study goes back to `Stage.RECEIVING`, whatever its stage, unless all that came is a copy of what it was
        already analyzed with: archives that forward a study again when results are filed would never come to an end.

        Parameters
        ----------
        content
            The image as a DICOM file.

        Returns
        -------
            Key of the study.

        Raises
        ------
        OSError, OutputError
            If it cannot be written.
        """
        key = pseudonym(study_uid, self._salt)
        folder = self._images / key
        file = folder / f"{pseudonym(instance_uid, self._salt)}.dcm"
        with self._guard:
            study = self._studies.get(key)
            if study is not None and study.stage not in (Stage.RECEIVING, Stage.FAILED) and _holds(file, content):
                return key
            self._last_image_s[key] = time.monotonic()
            # A process killed between the two writes must not leave the image in a study that counts as analyzed.
            if study is not None and study.stage is not Stage.RECEIVING:
                self._write(_reopened(key, study))
            if not folder.exists():
                folder.mkdir(mode=0o700)
                sync_folder(self._images)
            write_durably(file, content)
            if study is None:
                self._write(_reopened(key, study))
        return key

    def images(self, key: str) -> Path:
        """Folder with the images of a study."""
        return self._images / key

    def in_stage(self, *stages: Stage) -> list[SpooledStudy]:
        """Studies in one of these stages, longest unchanged first."""
        with self._guard:
            found = [study for study in self._studies.values() if study.stage in stages]
        return sorted(found, key=lambda study: study.changed_s)

    def update(self, study: SpooledStudy, stage: Stage, **changes: Any) -> SpooledStudy | None:
        """Write that a study has come to a stage, with other fields that change.

        Returns
        -------
            The new record; None, and nothing is written, if the study changed since ``study`` was read: an image came.
        """
        with self._guard:
            if self._studies.get(study.key) != study:
                return None
            changed = replace(study, stage=stage, changed_s=time.time(), revision=study.revision + 1, **changes)
            self._write(changed)
            return changed

    def queue(self, key: str) -> None:
        """Take a study that was being received as complete."""
        study = self._studies.get(key)
        if study is not None and study.stage is Stage.RECEIVING and self.update(study, Stage.QUEUED) is not None:
            _log.info("%s: complete, %d images", key, sum(1 for _ in self.images(key).glob("*.dcm")))

    def queue_idle(self, idle_s: float) -> None:
        """Take studies to which no image came for so long as complete."""
        now_s = time.monotonic()
        for study in self.in_stage(Stage.RECEIVING):
            if now_s - self._last_image_s[study.key] >= idle_s:
                self.queue(study.key)

    def queue_failed(self) -> None:
        """Have the studies that failed analyzed once more, after what made them fail was mended."""
        for study in self.in_stage(Stage.FAILED):
            self.update(study, Stage.QUEUED, reason="", n_starts=0)

    def forget_done(self, keep_s: float) -> None:
        """Remove images and records of studies that have been done for so long."""
        for study in self.in_stage(Stage.DONE):
            if time.time() - study.changed_s < keep_s:
                return
            with self._guard:
                if self._studies.get(study.key) == study:
                    self._forget(study.key)

    def _forget(self, key: str) -> None:
        """Remove a study; renamed first, so that no part of it is ever taken for a study that came in."""
        folder = self._images / key
        doomed = folder.with_name(f".{key}.partial")
        if folder.exists():
            folder.rename(doomed)
            sync_folder(self._images)
        self._record_file(key).unlink(missing_ok=True)
        shutil.rmtree(doomed, ignore_errors=True)
        del self._studies[key], self._last_image_s[key]

    def _write(self, study: SpooledStudy) -> None:
        """Put a record on the disk, then into effect."""
        write_durably(self._record_file(study.key), study.to_json().encode())
        self._studies[study.key] = study

    def _record_file(self, key: str) -> Path:
        return self._records / f"{key}.json"

    def _take_up(self) -> dict[str, SpooledStudy]:
        """Studies that an earlier process left, without what it could not finish writing."""
        for leftover in [*self._images.glob(f"*/{_LEFTOVER}"), *self._records.glob(_LEFTOVER)]:
            leftover.unlink()
        for leftover in self._images.glob(_LEFTOVER):
            shutil.rmtree(leftover)
        for folder in self._images.iterdir():
            if not any(folder.iterdir()):  # its first image could not be written
                folder.rmdir()
        keys = {folder.name for folder in self._images.iterdir()}
        for record in self._records.glob("*.json"):
            if record.stem not in keys:  # its images were removed, which is how a study is taken out by hand
                record.unlink()
        return {key: self._read(key) for key in keys}

    def _read(self, key: str) -> SpooledStudy:
        """The record of a study; one that has none was interrupted on its first image."""
        try:
            return SpooledStudy.from_json(self._record_file(key).read_text(encoding="utf-8"))
        except FileNotFoundError:
            pass
        except ValueError as error:
            _log.warning("%s: %s; it is analyzed again", key, error)
        return _reopened(key, None)


def _reopened(key: str, study: SpooledStudy | None) -> SpooledStudy:
    """Record of a study that is being received, for the first time or once more."""
    revision = 0 if study is None else study.revision + 1
    return SpooledStudy(key, Stage.RECEIVING, time.time(), revision)


def _holds(file: Path, content: bytes) -> bool:
    """Whether a file holds just that."""
    return file.exists() and file.stat().st_size == len(content) and file.read_bytes() == content


def _lock(path: Path) -> int:
    """Descriptor of a lock that the system takes back when this process ends, however it ends."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    if not lock(descriptor):
        os.close(descriptor)
        raise OutputError(f"{path.parent}: another process uses this spool. Stop it or choose another spool")
    return descriptor


def _read_or_make_salt(path: Path) -> bytes:
    """Secret behind the pseudonyms, which must stay the same as long as the spool."""
    if not path.exists():
        write_durably(path, os.urandom(_SALT_BYTES))
        path.chmod(0o600)
    return path.read_bytes()
