"""Outputs that are either whole or absent: written under a temporary name, then renamed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from tagstrain.errors import OutputError

_UNIQUE_DIGITS = 12


def keep_inputs(output: Path, *inputs: Path | None) -> None:
    """Refuse to replace what a command reads, whatever is to be overwritten; inputs that were not given are None.

    Raises
    ------
    OutputError
        If the output is one of the inputs, by whatever name.
    """
    for path in inputs:
        if path is not None and output.exists() and path.exists() and output.samefile(path):
            raise OutputError(f"{output}: is the input itself. Choose another output")


def may_be_folder(path: Path) -> None:
    """Refuse a folder that cannot be made because a file is in the way, and make nothing.

    Raises
    ------
    OutputError
        Which names the file.
    """
    existing = next(each for each in (path, *path.absolute().parents) if each.exists())
    if not existing.is_dir():
        raise OutputError(f"{existing}: is not a folder. Choose another output")


def prepare_output(path: Path, overwrite: bool = False, marker: str | None = None) -> None:
    """Make sure that ``path`` may be written, before the work that leads to it begins.

    Missing parent folders are made. An empty folder counts as not yet written.

    Parameters
    ----------
    marker
        Name of a file that every folder of this kind holds (``run.json``). A folder without it was not written by
        tagstrain and is never replaced, ``overwrite`` or not.

    Raises
    ------
    OutputError
        If the target exists and is not to be overwritten, or its parent folder cannot be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: its folder cannot be made ({error.strerror}). Choose another output") from error
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise OutputError(f"{path}: its folder is not writable. Choose another output or change the permissions")
    if path.is_dir() and not path.is_symlink():
        _check_folder(path, overwrite, marker)
    elif (path.exists() or path.is_symlink()) and not overwrite:
        raise OutputError(f"{path}: already exists. Choose another output or replace it with --overwrite")


def _check_folder(path: Path, overwrite: bool, marker: str | None) -> None:
    """Refuse a folder that holds something, unless it is one of ours and may go."""
    try:
        is_empty = not any(path.iterdir())
    except OSError as error:
        raise OutputError(f"{path}: cannot be listed ({error.strerror}). Choose another output") from error
    if is_empty:
        return
    if not overwrite:
        raise OutputError(f"{path}: already holds files. Choose another output or replace it with --overwrite")
    if marker is not None and not (path / marker).exists():
        raise OutputError(
            f"{path}: holds files but no {marker}, so tagstrain did not write it and will not replace it. "
            "Choose another output"
        )


def prepare_folder(path: Path, overwrite: bool = False, marker: str | None = None) -> None:
    """Make a folder, or make sure that one which exists may be written into piece by piece.

    One that exists stays what it is: a mount point, its owner, its mode. ``overwrite`` and ``marker`` as in
    `prepare_output`.

    Raises
    ------
    OutputError
        As `prepare_output` does, or if ``path`` is a file.
    """
    if path.is_dir():
        _check_folder(path, overwrite, marker)
        if not os.access(path, os.W_OK | os.X_OK):
            raise OutputError(f"{path}: is not writable. Choose another output or change the permissions")
        return
    if path.exists():
        raise OutputError(f"{path}: is not a folder. Choose another output")
    prepare_output(path)
    path.mkdir()


def remove_leftovers(folder: Path, name: str = "*") -> None:
    """Remove the temporary files and folders that a killed process left in a folder while it wrote ``name``."""
    for leftover in folder.glob(f".{name}.{'[0-9a-f]' * _UNIQUE_DIGITS}.partial"):
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()


@contextmanager
def atomic_file(path: Path, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary file name beside ``path``; it becomes ``path`` on success and is removed on failure.

    Raises
    ------
    OutputError
        As `prepare_output` does, before and after, or if ``path`` is a folder.
    """
    if path.is_dir():
        raise OutputError(f"{path}: is a folder, not a file. Choose another output")
    prepare_output(path, overwrite)
    temporary = _temporary_name(path)
    try:
        yield temporary
        prepare_output(path, overwrite)  # another run may have written it meanwhile
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def disk_told(path: Path) -> Iterator[None]:
    """Turn what the disk refuses while ``path`` is written into an `OutputError`."""
    try:
        yield
    except OSError as error:
        # pydicom wraps what the disk said in a traceback of its own.
        said = (e.strerror for e in (error, error.__cause__) if isinstance(e, OSError) and e.strerror)
        problem = f"cannot be written ({next(said, error)})"
        raise OutputError(f"{path}: {problem}. Free some space or choose another output") from error


def write_durably(path: Path, content: bytes) -> None:
    """Write a file, replacing one of that name; once this returns, not even a power cut takes it away.

    Raises
    ------
    OutputError
        As `prepare_output` does.
    OSError
        If the disk is full or fails; what was there before stays.
    """
    with atomic_file(path, overwrite=True) as temporary, temporary.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Have the disk keep the names in a folder as they are now."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def atomic_folder(path: Path, overwrite: bool = False, marker: str | None = None) -> Iterator[Path]:
    """Give a new folder beside ``path``; it becomes ``path`` on success and is removed on failure.

    A folder that is replaced stays in place until the new one is whole.

    Raises
    ------
    OutputError
        As `prepare_output` does, before and after, or if ``path`` is a file.
    """
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise OutputError(f"{path}: is not a folder. Choose another output")
    prepare_output(path, overwrite, marker)
    temporary = _temporary_name(path)
    temporary.mkdir()
    try:
        yield temporary
        prepare_output(path, overwrite, marker)  # another run may have filled it meanwhile
        _replace_folder(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _replace_folder(new: Path, path: Path) -> None:
    """Put ``new`` in the place of ``path``, keeping the old folder until the new one stands."""
    if not path.exists():
        new.rename(path)
        return
    old = _temporary_name(path)
    try:
        path.rename(old)
        new.rename(path)
    except BaseException:  # an interruption too
        if not path.exists():
            old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _temporary_name(path: Path) -> Path:
    """Name in the same folder (hence the same file system) that no other run uses."""
    return path.with_name(f".{path.name}.{uuid4().hex[:_UNIQUE_DIGITS]}.partial")
