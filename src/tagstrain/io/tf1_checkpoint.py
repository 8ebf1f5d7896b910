"""Variables that TensorFlow saved, read without TensorFlow: its checkpoints (V2), or an ``.npz`` of them."""

from __future__ import annotations

import hashlib
import math
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from tagstrain.errors import InputError
from tagstrain.io.crc32c import crc32c, masked
from tagstrain.io.leveldb_table import TABLE_MAGIC, DamagedError, Message, parse_message, table_entries

_INDEX = ".index"
_META = ".meta"
_GIVE_PREFIX = "Give the checkpoint's prefix: its .index file without .index"
_COPY_AGAIN = "Copy the checkpoint again, all its files"
_DTYPES = {1: "float32", 2: "float64", 3: "int32", 7: "string", 9: "int64", 10: "bool", 14: "bfloat16", 19: "float16"}
"""Names of the data types of TensorFlow's ``types.proto`` that are likely to be met."""


@dataclass(frozen=True, slots=True)
class Tf1Variable:
    """A saved variable; its values are read when asked for."""

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], NDArray[np.float32]]
    """Gives the values of a float32 variable; raises `InputError` where their checksum is wrong."""


@dataclass(frozen=True, slots=True)
class Tf1Variables:
    """All variables of a checkpoint or an ``.npz``."""

    path: Path
    """The file to name in messages."""
    variables: Mapping[str, Tf1Variable]
    data_files: tuple[Path, ...]
    """The files that hold the values, in the order of their numbers."""

    def sha256(self) -> str:
        """SHA-256 of the data files, one after the other; for a single file what ``sha256sum`` prints."""
        digest = hashlib.sha256()
        for path in self.data_files:
            with path.open("rb") as file:
                while piece := file.read(1 << 22):
                    digest.update(piece)
        return digest.hexdigest()


def open_tf1_variables(path: Path) -> Tf1Variables:
    """Open a TensorFlow 1 checkpoint or an ``.npz`` that maps variable names to arrays.

    Parameters
    ----------
    path
        Prefix of a V2 checkpoint (``localizer`` for ``localizer.index``, ``localizer.data-00000-of-00001``), or any
        one of its files; or an ``.npz``, whose names may end in ``:0``.

    Raises
    ------
    InputError
        If nothing is there, it is neither of these, it is damaged, or a part of it is missing.
    """
    if path.suffix == ".npz" or (path.is_file() and zipfile.is_zipfile(path)):
        return _open_npz(path)
    if not path.name:
        raise InputError(path, "is a folder", _GIVE_PREFIX)
    prefix = path.with_name(_prefix_name(path.name))
    index = prefix.with_name(prefix.name + _INDEX)
    if not index.is_file():
        raise _no_index(path, prefix, index)
    try:
        # The parts of a partitioned variable have keys that are no text; they are told, not read.
        entries = {
            key.decode(errors="replace"): parse_message(value) for key, value in table_entries(index.read_bytes())
        }
        header = entries.pop("")
        n_shards, big_endian = _number(header, 1), _number(header, 2)
    except DamagedError as error:
        raise InputError(index, f"is damaged or no checkpoint index: {error}", _COPY_AGAIN) from None
    except KeyError:
        raise InputError(index, "is a LevelDB table but no checkpoint index", "Give a TensorFlow checkpoint") from None
    if big_endian:
        raise InputError(index, "was written on a big-endian machine", "Save it again as .npz")
    shards = tuple(prefix.with_name(f"{prefix.name}.data-{i:05d}-of-{n_shards:05d}") for i in range(n_shards))
    for shard in shards:
        if not shard.is_file():
            raise InputError(shard, "is missing beside the checkpoint's index", _COPY_AGAIN)
    sizes = [shard.stat().st_size for shard in shards]
    variables = {name: _variable(index, name, entry, shards, sizes) for name, entry in entries.items()}
    return Tf1Variables(index, variables, shards)


def _prefix_name(name: str) -> str:
    """Name of a checkpoint without what the names of its files add to it."""
    for ending in (_INDEX, _META):
        if name.endswith(ending):
            return name.removesuffix(ending)
    stem, separator, number = name.rpartition(".data-")
    return stem if separator and "-of-" in number else name


def _no_index(path: Path, prefix: Path, index: Path) -> InputError:
    """Why a checkpoint without index cannot be opened."""
    if path.is_dir():
        return InputError(path, "is a folder", _GIVE_PREFIX)
    if not prefix.is_file():
        return InputError(index, "file not found", _GIVE_PREFIX)
    with prefix.open("rb") as file:
        file.seek(-min(prefix.stat().st_size, len(TABLE_MAGIC)), 2)
        is_table = file.read() == TABLE_MAGIC
    if is_table:
        remedy = "Save it again with tf.train.Saver (V2 is its default since TensorFlow 0.12), or as .npz"
        return InputError(prefix, "is an old single-file (V1) checkpoint", remedy)
    return InputError(prefix, "is no TensorFlow checkpoint", "Give a checkpoint's prefix, or an .npz of its variables")


def _variable(index: Path, name: str, entry: Message, shards: tuple[Path, ...], sizes: list[int]) -> Tf1Variable:
    """A variable from its entry in the index (``BundleEntryProto`` of TensorFlow's ``tensor_bundle.proto``)."""
    try:
        dtype_number, shard, offset, n_bytes, checksum = (_number(entry, field) for field in (1, 3, 4, 5, 6))
        shape = tuple(_number(parse_message(size), 1) for size in _messages(entry, 2, 2))
    except DamagedError as error:
        raise InputError(index, f"the entry of '{name}' is damaged: {error}", _COPY_AGAIN) from None
    dtype = _DTYPES.get(dtype_number, f"of type {dtype_number}")
    is_split = 7 in entry
    if is_split:
        dtype = "partitioned"
    if shard >= len(shards) or (dtype == "float32" and 4 * math.prod(shape) != n_bytes):
        raise InputError(index, f"the entry of '{name}' contradicts itself", _COPY_AGAIN)
    if not is_split and offset + n_bytes > sizes[shard]:
        problem = f"is cut short: '{name}' ends at byte {offset + n_bytes}, the file at {sizes[shard]}"
        raise InputError(shards[shard], problem, _COPY_AGAIN)
    return Tf1Variable(shape, dtype, partial(_read, name, shape, shards[shard], offset, n_bytes, checksum))


def _read(
    name: str, shape: tuple[int, ...], shard: Path, offset: int, n_bytes: int, checksum: int
) -> NDArray[np.float32]:
    """Read the values of a float32 variable."""
    data = np.fromfile(shard, np.uint8, count=n_bytes, offset=offset)
    if len(data) < n_bytes or masked(crc32c(data)) != checksum:
        raise InputError(shard, f"is damaged: the checksum of '{name}' is wrong", _COPY_AGAIN)
    return data.view("<f4").astype(np.float32, copy=False).reshape(shape)


def _number(message: Message, field: int) -> int:
    """An integer field; one that is absent is 0."""
    value = message.get(field, [0])[-1]
    if not isinstance(value, int):
        raise DamagedError(f"field {field} is no number")
    return value


def _messages(message: Message, *fields: int) -> list[bytes]:
    """Encoded messages at the end of a path of fields."""
    found = message.get(fields[0], [])
    if not all(isinstance(value, bytes) for value in found):
        raise DamagedError(f"field {fields[0]} is no message")
    inner = cast(list[bytes], found)
    if len(fields) == 1:
        return inner
    return [value for data in inner for value in _messages(parse_message(data), *fields[1:])]


def _open_npz(path: Path) -> Tf1Variables:
    """Read an ``.npz`` of variable name -> array."""
    if not path.is_file():
        raise InputError(path, "file not found", "Check the path")
    arrays: dict[str, NDArray[np.float32]] = {}
    if not zipfile.is_zipfile(path):
        raise InputError(path, "is damaged or no .npz of arrays", "Write it with numpy.savez")
    try:
        with np.load(path) as file:
            for key in file.files:
                name = key.removesuffix(":0")
                if name in arrays:
                    raise InputError(path, f"holds '{name}' both with and without ':0'", "Keep one of them")
                arrays[name] = file[key]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(path, f"is damaged or no .npz of arrays: {error}", "Write it with numpy.savez") from None
    variables = {
        name: Tf1Variable(array.shape, str(array.dtype), partial(arrays.__getitem__, name))
        for name, array in arrays.items()
    }
    return Tf1Variables(path, variables, (path,))
