"""TensorFlow 1 checkpoints put together by hand, and the variables of the original networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Variables = dict[str, NDArray[np.float32]]

_WIDTHS = (1, 32, 128, 128, 128, 128)
LOCALIZER_SHAPES: dict[str, tuple[int, ...]] = {
    **{f"layer{i}/conv/kernel": (3, 3, _WIDTHS[i - 1], _WIDTHS[i]) for i in range(1, 6)},
    **{f"layer{i}/conv/bias": (_WIDTHS[i],) for i in range(1, 6)},
    **{
        f"layer{i}/batch_normalization/{name}": (_WIDTHS[i],)
        for i in range(1, 6)
        for name in ("gamma", "beta", "moving_mean", "moving_variance")
    },
    "dense1/dense/kernel": (3200, 1024),
    "dense1/dense/bias": (1024,),
    "dense2/dense/kernel": (1024, 4),
    "dense2/dense/bias": (4,),
}
RNNCNN_SHAPES: dict[str, tuple[int, ...]] = {
    "cnn_cell/conv1/kernel": (3, 3, 1, 32),
    "cnn_cell/conv1/bias": (32,),
    "cnn_cell/conv2/kernel": (3, 3, 32, 64),
    "cnn_cell/conv2/bias": (64,),
    "cnn_cell/conv4/kernel": (3, 3, 64, 64),
    "cnn_cell/conv4/bias": (64,),
    "cnn_cell/conv8/kernel": (3, 3, 64, 128),
    "cnn_cell/conv8/bias": (128,),
    "cnn_cell/dense/kernel": (25088, 1024),
    "cnn_cell/dense/bias": (1024,),
    "rnn/basic_lstm_cell/kernel": (2048, 4096),
    "rnn/basic_lstm_cell/bias": (4096,),
    "dense/kernel": (1024, 1024),
    "dense/bias": (1024,),
    "dense_1/kernel": (1024, 336),
    "dense_1/bias": (336,),
}
SHAPES = {"localizer": LOCALIZER_SHAPES, "rnncnn": RNNCNN_SHAPES}


def random_variables(network: str, seed: int) -> Variables:
    """Weights of about the size that training starts from, so that the network's outputs are not all the same."""
    rng = np.random.default_rng(seed)
    variables = {}
    for name, shape in SHAPES[network].items():
        noise = rng.standard_normal(shape, np.float32)
        if name.endswith("kernel"):
            variables[name] = noise / np.float32(np.sqrt(np.prod(shape[:-1])))
        else:
            variables[name] = np.float32(name.endswith(("gamma", "variance"))) + np.float32(0.1) * noise
    return variables


def published_spelling(variables: Mapping[str, Any]) -> dict[str, Any]:
    """The localizer's variables by the names of the published weights."""
    return {
        name.replace("/conv/kernel", "/conv_W").replace("/conv/bias", "/conv_b"): array
        for name, array in variables.items()
    }


def write_checkpoint(
    prefix: Path,
    variables: Mapping[str, NDArray[Any]],
    checksum: Callable[[bytes], int],
    n_shards: int = 1,
    entries_per_block: int = 3,
) -> None:
    """Write a V2 checkpoint: variables go to the data files in turn.

    ``checksum`` gives the CRC-32C of bytes.
    """
    files = [b""] * n_shards
    entries = {b"": _field(1, n_shards) + _field(3, _field(1, 1))}
    for number, (name, array) in enumerate(sorted(variables.items())):
        shard, data = number % n_shards, array.tobytes()
        entries[name.encode()] = bundle_entry(array, shard, len(files[shard]), _masked(checksum(data)))
        files[shard] += data
    for shard, data in enumerate(files):
        prefix.with_name(f"{prefix.name}.data-{shard:05d}-of-{n_shards:05d}").write_bytes(data)
    prefix.with_name(prefix.name + ".index").write_bytes(table(entries, checksum, entries_per_block))


def bundle_entry(array: NDArray[Any], shard: int, offset: int, masked_checksum: int, *more: bytes) -> bytes:
    """A variable's ``BundleEntryProto``; TensorFlow leaves out fields that are 0."""
    dtype = {"float32": 1, "float64": 2, "int64": 9}[str(array.dtype)]
    shape = b"".join(_field(2, _field(1, size)) for size in array.shape)
    numbers = b"".join(_field(n, v) for n, v in ((3, shard), (4, offset), (5, array.nbytes)) if v)
    fixed = _varint(6 << 3 | 5) + masked_checksum.to_bytes(4, "little")
    return _field(1, dtype) + _field(2, shape) + numbers + fixed + b"".join(more)


def table(entries: Mapping[bytes, bytes], checksum: Callable[[bytes], int], entries_per_block: int = 3) -> bytes:
    """A LevelDB table of sorted entries."""
    content, index = b"", []
    keys = sorted(entries)
    for start in range(0, len(keys), entries_per_block):
        block = [(key, entries[key]) for key in keys[start : start + entries_per_block]]
        content, handle = _append(content, _block(block), checksum)
        index.append((block[-1][0], handle))
    content, metaindex = _append(content, _block([]), checksum)
    content, handle = _append(content, _block(index), checksum)
    return content + (metaindex + handle).ljust(40, b"\0") + (0xDB4775248B80FB57).to_bytes(8, "little")


def slice_field() -> bytes:
    """The field that marks a variable as partitioned."""
    return _field(7, _field(1, _field(1, 1)))


def _append(content: bytes, block: bytes, checksum: Callable[[bytes], int]) -> tuple[bytes, bytes]:
    stored = block + b"\0"
    handle = _varint(len(content)) + _varint(len(block))
    return content + stored + _masked(checksum(stored)).to_bytes(4, "little"), handle


def _block(entries: Sequence[tuple[bytes, bytes]]) -> bytes:
    """A block that starts keys afresh at every second entry."""
    content, restarts, last = b"", [], b""
    for number, (key, value) in enumerate(entries):
        n_shared = 0
        if number % 2:
            while n_shared < min(len(key), len(last)) and key[n_shared] == last[n_shared]:
                n_shared += 1
        else:
            restarts.append(len(content))
        content += _varint(n_shared) + _varint(len(key) - n_shared) + _varint(len(value)) + key[n_shared:] + value
        last = key
    restarts = restarts or [0]
    return content + b"".join(n.to_bytes(4, "little") for n in [*restarts, len(restarts)])


def _masked(checksum: int) -> int:
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) % 2**32


def _field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    groups = [value & 0x7F]
    while value := value >> 7:
        groups.append(value & 0x7F)
    return bytes([*(group | 0x80 for group in groups[:-1]), groups[-1]])
