"""Zips read member by member, without unpacking to disk, once they are known to be harmless."""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Protocol

from tagstrain.errors import InputError

MAX_UNCOMPRESSED_BYTES = 4 * 1024**3
MAX_RATIO = 200  # deflate reaches 1000 on zeros; DICOM images stay below 20

# What zipfile and its decompressors raise on damaged or unsupported members.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    KeyError,
    OverflowError,
    MemoryError,
)


class ByteSource(Protocol):
    """One stored object, a file or a member of a zip, that can be read as often as needed."""

    @property
    def path(self) -> Path:
        """Where it lies; names the object in messages."""
        ...

    def read(self) -> bytes:
        """All its bytes.

        Raises
        ------
        InputError
            If it cannot be read.
        """
        ...


@dataclass(frozen=True, slots=True)
class FileBytes:
    """A file on disk."""

    path: Path

    def read(self) -> bytes:
        """All its bytes."""
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise InputError(self.path, f"cannot be read ({error.strerror})", "Check the file") from error


@dataclass(frozen=True, slots=True)
class ZipMember:
    """A file within a zip; the zip is opened when its bytes are asked for."""

    archive: Path
    member: str

    @property
    def path(self) -> Path:
        """Path of the zip, continued by the path within it."""
        return self.archive / self.member

    def read(self) -> bytes:
        """All its bytes."""
        with open_archive(self.archive) as archive:
            return read_member(archive, self)


@contextmanager
def open_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip after checking that no member can do harm.

    Raises
    ------
    InputError
        If it is no zip or damaged, is encrypted, names a path outside its root, or would unpack to more than
        `MAX_UNCOMPRESSED_BYTES` or `MAX_RATIO` times its size.
    """
    try:
        archive = zipfile.ZipFile(path)
    except _DAMAGE as error:
        raise InputError(path, "is not a zip that can be read (truncated or damaged)", "Download it again") from error
    with archive:
        _check_members(path, archive.infolist())
        yield archive


def zip_members(path: Path) -> list[ZipMember]:
    """List the files of a zip, in the order of their names.

    Raises
    ------
    InputError
        As `open_archive` does.
    """
    with open_archive(path) as archive:
        names = {info.filename for info in archive.infolist() if not info.is_dir()}
    return [ZipMember(path, name) for name in sorted(names)]


def read_member(archive: zipfile.ZipFile, member: ZipMember) -> bytes:
    """Bytes of a member of an open zip, checksum verified.

    Raises
    ------
    InputError
        If the member is damaged.
    """
    try:
        return archive.read(member.member)
    except _DAMAGE as error:
        raise InputError(member.path, "is damaged within the zip", "Download the zip again") from error


def read_each(sources: Iterable[ByteSource]) -> Iterator[bytes]:
    """Bytes of one object after another; a zip that holds several in a row is opened once.

    Raises
    ------
    InputError
        If one of them cannot be read.
    """
    for zipped, run in groupby(sources, key=lambda source: source.archive if isinstance(source, ZipMember) else None):
        if zipped is None:
            yield from (source.read() for source in run)
            continue
        with open_archive(zipped) as archive:
            yield from (read_member(archive, source) for source in run if isinstance(source, ZipMember))


def _check_members(path: Path, members: list[zipfile.ZipInfo]) -> None:
    """Refuse what must not be read."""
    for info in members:
        # The members are never written, but a zip made to escape its root is not to be trusted in anything else.
        windows = PureWindowsPath(info.filename)
        is_absolute = PurePosixPath(info.filename).is_absolute() or bool(windows.drive or windows.root)
        if is_absolute or ".." in windows.parts:
            raise InputError(path, "holds a file with a path outside the zip", "Do not use this file; ask its source")
        if info.flag_bits & 0x1:
            raise InputError(path, "is encrypted", "Decrypt it and give the decrypted zip or folder")
    unpacked = sum(info.file_size for info in members)
    packed = sum(info.compress_size for info in members)
    if unpacked > MAX_UNCOMPRESSED_BYTES:
        raise InputError(
            path,
            f"would unpack to {unpacked / 1024**3:.1f} GiB, more than {MAX_UNCOMPRESSED_BYTES / 1024**3:g} GiB",
            "Unpack it and give the folder if it is to be trusted",
        )
    if unpacked > MAX_RATIO * max(packed, 1):
        raise InputError(
            path,
            f"would unpack to {unpacked / max(packed, 1):.0f} times its size, which images do not",
            "Unpack it and give the folder if it is to be trusted",
        )
