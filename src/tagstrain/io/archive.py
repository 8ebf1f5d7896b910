"""Zips read member by member, without unpacking to disk, once they are known to be harmless."""

from __future__ import annotations

import lzma
import re
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import IO, Protocol

from tagstrain.errors import InputError
from tagstrain.io.limits import MAX_OBJECT_BYTES, check_unpacked_size
from tagstrain.io.shown_names import places, shown_path

MAX_UNCOMPRESSED_BYTES = 4 * 1024**3
_DRIVE = re.compile("[A-Za-z]:")
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""The others are unpacked by zipfile as a whole, whatever size is announced."""

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
        """Where it lies."""
        ...

    @property
    def shown(self) -> Path:
        """Names the object in messages and results (`shown_path`)."""
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
    place: str = ""
    """Which of the files of an input it is, in words; empty for one that the user named."""

    @property
    def shown(self) -> Path:
        """Names the file in messages and results."""
        return shown_path(self.path, self.place)

    def read(self) -> bytes:
        """All its bytes."""
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise InputError(self.shown, f"cannot be read ({error.strerror})", "Check the file") from error


@dataclass(frozen=True, slots=True)
class ZipMember:
    """A file within a zip; the zip is opened when its bytes are asked for."""

    archive: Path
    member: str
    place: str = ""
    """Which of the zip's files it is, in words."""

    @property
    def path(self) -> Path:
        """Path of the zip, continued by the path within it."""
        return self.archive / self.member

    @property
    def shown(self) -> Path:
        """Names the file in messages and results."""
        return shown_path(self.path, self.place)

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
        If it is no zip or damaged, is encrypted, packed by another method than deflate, names a path outside its root,
        holds members that overlap or are larger than an image, or would unpack to more than `MAX_UNCOMPRESSED_BYTES` or
        many times its size.
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
    return [ZipMember(path, name, place) for name, place in zip(sorted(names), places(len(names)), strict=True)]


def read_member(archive: zipfile.ZipFile, member: ZipMember) -> bytes:
    """Bytes of a member of an open zip, checksum verified.

    Raises
    ------
    InputError
        If the member is damaged.
    """
    with member_damage_told(member.shown), archive.open(member.member) as stream:
        return read_announced(archive, stream)


def read_announced(archive: zipfile.ZipFile, stream: IO[bytes]) -> bytes:
    """All that is left of an open member, and no more than it announces.

    Asked for everything, zipfile unpacks whatever is stored, up to 2 GiB, and then cuts it down to that size.
    """
    return stream.read(archive.getinfo(stream.name).file_size)


@contextmanager
def member_damage_told(path: Path) -> Iterator[None]:
    """Turn what the decompressor raises while a member is read into an `InputError`."""
    try:
        yield
    except _DAMAGE as error:
        raise InputError(path, "is damaged within the zip", "Download the zip again") from error


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
        parts = info.filename.replace("\\", "/").split("/")
        if parts[0] == "" or ".." in parts or _DRIVE.match(info.filename):
            raise InputError(path, "holds a file with a path outside the zip", "Do not use this file; ask its source")
        if info.compress_type not in _METHODS:
            raise InputError(path, "is packed by another method than deflate", "Pack it again as an ordinary zip")
        if info.flag_bits & 0x1:
            raise InputError(path, "is encrypted", "Decrypt it and give the decrypted zip or folder")
    packed = sum(info.compress_size for info in members)
    # Members that share their bytes let a small file name any amount of them, each with a harmless ratio.
    if packed > path.stat().st_size:
        raise InputError(path, "holds files that overlap", "Do not use this zip; ask its source")
    largest = max((info.file_size for info in members), default=0)
    if largest > MAX_OBJECT_BYTES:
        raise InputError(path, f"holds a file of {largest / 1024**3:.1f} GiB, which no image has", "Check its source")
    check_unpacked_size(path, sum(info.file_size for info in members), packed, MAX_UNCOMPRESSED_BYTES)
