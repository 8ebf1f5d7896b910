"""Arrays of an ``.npz`` file, read one by one, never by pickle, and never larger than what is stored: `open_npz`."""

from __future__ import annotations

import tokenize
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from tagstrain.errors import InputError
from tagstrain.io.archive import member_damage_told, open_archive, read_announced

_SUFFIX = ".npy"
_MAX_SMALL_ARRAY = 10_000
"""Items of an array that is not pixels."""
_READ_HEADER = {(1, 0): npy_format.read_array_header_1_0, (2, 0): npy_format.read_array_header_2_0}

# What NumPy raises on a header that is no Python literal, beside the errors of a damaged zip.
_HEADER_DAMAGE = (SyntaxError, tokenize.TokenError, TypeError, AttributeError, IndexError)


@dataclass(frozen=True, slots=True)
class _Header:
    """What an array's header announces."""

    shape: tuple[int, ...]
    is_fortran_order: bool
    dtype: np.dtype[Any]


@dataclass(frozen=True, slots=True)
class NpzArrays:
    """The arrays of an open file by name."""

    path: Path
    _archive: zipfile.ZipFile

    def __contains__(self, name: str) -> bool:
        return name + _SUFFIX in self._archive.namelist()

    def listing(self) -> str:
        """Names of the arrays, for messages."""
        names = sorted(name.removesuffix(_SUFFIX) for name in self._archive.namelist())
        return ", ".join(names[:20]) or "nothing"

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape that an array announces."""
        with self._open(name) as stream:
            return self._header(name, stream).shape

    def array(self, name: str) -> NDArray[Any]:
        """An array of integers or floats.

        Raises
        ------
        InputError
            If it is missing, damaged, or holds something else.
        """
        if name not in self:
            raise InputError(self.path, f"array {name} is missing (found: {self.listing()})", "Check the file")
        values = self._read(name)
        if values.dtype.kind not in "iuf":
            raise InputError(self.path, f"array {name} holds {values.dtype}, expected integers or floats", "Mend it")
        return values

    def numbers(self, name: str) -> NDArray[np.float64] | None:
        """A small array of numbers; None where the file has no such array."""
        if name not in self:
            return None
        shape = self.shape(name)
        if prod(shape) > _MAX_SMALL_ARRAY:
            raise InputError(self.path, f"array {name} has shape {shape}, far more than expected", "Mend it")
        return np.asarray(self.array(name), np.float64)

    def number(self, name: str) -> float | None:
        """A single number; None where it is missing or NaN."""
        values = self.numbers(name)
        if values is None:
            return None
        if values.size != 1 or np.isinf(values).any():
            raise InputError(self.path, f"array {name}: expected one number, got {values.ravel()[:3]}", "Mend it")
        return None if np.isnan(values).any() else float(values.item())

    def text(self, name: str) -> str | None:
        """A single text; None where it is missing or no text."""
        if name not in self or prod(self.shape(name)) != 1:
            return None
        values = self._read(name)
        with member_damage_told(self.path / name):  # raised for numbers that are no characters
            return str(values.item()) if values.dtype.kind == "U" else None

    @contextmanager
    def _open(self, name: str) -> Iterator[IO[bytes]]:
        """Open an array; whatever is wrong with it becomes an `InputError`."""
        member = self.path / (name + _SUFFIX)
        try:
            with (
                member_damage_told(member),
                warnings.catch_warnings(),
                self._archive.open(name + _SUFFIX) as stream,
            ):
                warnings.simplefilter("ignore")
                yield stream
        except _HEADER_DAMAGE as error:
            raise InputError(member, "is no NumPy array that can be read", "Write it again with numpy.savez") from error

    def _header(self, name: str, stream: IO[bytes]) -> _Header:
        """Read an array's header and refuse one that its bytes do not bear out, before anything is allocated."""
        version = npy_format.read_magic(stream)
        shape, is_fortran_order, dtype = _READ_HEADER[version](stream)
        if dtype.hasobject:
            raise InputError(self.path, f"array {name} holds pickled objects, which may run any code", "Store numbers")
        n_stored = self._archive.getinfo(name + _SUFFIX).file_size - stream.tell()
        if min(shape, default=0) < 0 or prod(shape) * dtype.itemsize != n_stored:
            problem = f"array {name} announces shape {shape} of {dtype}, but {n_stored} bytes are stored"
            raise InputError(self.path, problem, "Write it again with numpy.savez")
        return _Header(shape, is_fortran_order, dtype)

    def _read(self, name: str) -> NDArray[Any]:
        """Read an array of any type but objects."""
        with self._open(name) as stream:
            header = self._header(name, stream)
            values = np.frombuffer(read_announced(self._archive, stream), header.dtype)
            return np.array(values.reshape(header.shape, order="F" if header.is_fortran_order else "C"))


@contextmanager
def open_npz(path: Path) -> Iterator[NpzArrays]:
    """Open a file after checking that none of its members can do harm.

    Raises
    ------
    InputError
        As `tagstrain.io.archive.open_archive` does.
    """
    with open_archive(path) as archive:
        yield NpzArrays(path, archive)


def is_npz(path: Path) -> bool:
    """Whether a zip holds NumPy arrays and nothing else.

    Raises
    ------
    InputError
        As `tagstrain.io.archive.open_archive` does.
    """
    with open_archive(path) as archive:
        names = archive.namelist()
    return bool(names) and all(name.endswith(_SUFFIX) for name in names)
