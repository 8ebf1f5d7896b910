"""The two encodings inside a TensorFlow checkpoint's index: LevelDB tables and protocol buffer messages."""

from __future__ import annotations

from collections.abc import Iterator

from tagstrain.io.crc32c import crc32c, masked

TABLE_MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")
_FOOTER_BYTES = 48
_BLOCK_TRAILER_BYTES = 5

Message = dict[int, list[int | bytes]]
"""Fields of a protocol buffer message by number: integers, or bytes for texts, blocks of bytes and inner messages."""


class DamagedError(ValueError):
    """Bytes that do not follow their format."""


def table_entries(table: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a LevelDB table, in the order of the keys.

    The format is that of LevelDB's ``doc/table_format.md``; blocks must be stored uncompressed, as TensorFlow writes
    them.

    Raises
    ------
    DamagedError
        If the table is cut short, has no LevelDB magic number, or a block's checksum is wrong.
    """
    footer = table[-_FOOTER_BYTES:]
    if len(footer) < _FOOTER_BYTES or not footer.endswith(TABLE_MAGIC):
        raise DamagedError("it does not end with the magic number of a LevelDB table")
    _, _, position = _block_handle(footer, 0)
    offset, size, _ = _block_handle(footer, position)
    for _, handle in _block_entries(_block(table, offset, size)):
        offset, size, _ = _block_handle(handle, 0)
        yield from _block_entries(_block(table, offset, size))


def parse_message(data: bytes) -> Message:
    """Fields of a protocol buffer message.

    Raises
    ------
    DamagedError
        If a field runs beyond the end or is of an unknown kind.
    """
    fields: Message = {}
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        value: int | bytes
        match tag & 7:
            case 0:
                value, position = _varint(data, position)
            case 1:
                value, position = int.from_bytes(_piece(data, position, 8), "little"), position + 8
            case 2:
                length, position = _varint(data, position)
                value, position = _piece(data, position, length), position + length
            case 5:
                value, position = int.from_bytes(_piece(data, position, 4), "little"), position + 4
            case kind:
                raise DamagedError(f"a message has a field of unknown kind {kind}")
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def _block_handle(data: bytes, position: int) -> tuple[int, int, int]:
    """Offset and size of a block, and where its handle ends."""
    offset, position = _varint(data, position)
    size, position = _varint(data, position)
    return offset, size, position


def _block(table: bytes, offset: int, size: int) -> bytes:
    """Content of a block, after its checksum was found right."""
    stored = _piece(table, offset, size + _BLOCK_TRAILER_BYTES)
    content, compression, checksum = stored[:size], stored[size], stored[size + 1 :]
    if masked(crc32c(stored[: size + 1])) != int.from_bytes(checksum, "little"):
        raise DamagedError("the checksum of a block is wrong")
    if compression != 0:
        raise DamagedError(f"a block is compressed (type {compression}), which TensorFlow does not write")
    return content


def _block_entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a block; each key repeats a part of the one before."""
    n_restarts = int.from_bytes(_piece(block, len(block) - 4, 4), "little")
    end = len(block) - 4 - 4 * n_restarts
    position, key = 0, b""
    while position < end:
        n_shared, position = _varint(block, position)
        n_own, position = _varint(block, position)
        n_value, position = _varint(block, position)
        if n_shared > len(key):
            raise DamagedError("a key repeats more than the one before it has")
        key = key[:n_shared] + _piece(block, position, n_own)
        position += n_own
        yield key, _piece(block, position, n_value)
        position += n_value


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """An integer in groups of seven bits, lowest first, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        byte = _piece(data, position, 1)[0]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise DamagedError("an integer is longer than 64 bits")


def _piece(data: bytes, position: int, length: int) -> bytes:
    """``length`` bytes from ``position``; all of them must be there."""
    if position < 0 or position + length > len(data):
        raise DamagedError("it is cut short")
    return data[position : position + length]
