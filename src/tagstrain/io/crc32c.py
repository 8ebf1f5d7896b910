"""CRC-32C (Castagnoli) of large buffers, with NumPy alone."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

_POLYNOMIAL = 0x82F63B78
"""The polynomial of RFC 3720, bits reversed."""
_LANE_BYTES = 256
_MASK_DELTA = 0xA282EAD8

_Words = NDArray[np.uint32]


def crc32c(data: bytes | NDArray[np.uint8]) -> int:
    """Checksum of bytes, as RFC 3720 defines it.

    A checksum that starts from zero is linear in the message, and zeros in front do not change it. So the bytes are
    cut into lanes of equal length, all lanes advance together byte by byte, and neighboring lanes are then joined in
    pairs until one is left.
    """
    message = np.frombuffer(data, np.uint8) if isinstance(data, bytes) else data
    n_lanes = 1 << max(0, (-(-len(message) // _LANE_BYTES) - 1).bit_length())
    lane_bytes = -(-len(message) // n_lanes)
    lanes = np.zeros((n_lanes, lane_bytes), np.uint8)
    lanes.reshape(-1)[n_lanes * lane_bytes - len(message) :] = message
    states = np.zeros(n_lanes, np.uint32)
    table = _zero_byte_tables()[0]
    for column in np.ascontiguousarray(lanes.T):
        states = table[(states & 0xFF) ^ column] ^ (states >> 8)
    while len(states) > 1:
        states = _past_zeros(states[::2], lane_bytes) ^ states[1::2]
        lane_bytes *= 2
    # The standard starts from all ones and inverts the result; by linearity the start can be added afterwards.
    start = _past_zeros(np.array([0xFFFFFFFF], np.uint32), len(message))
    return int(states[0] ^ start[0]) ^ 0xFFFFFFFF


def masked(checksum: int) -> int:
    """The checksum as LevelDB tables and TensorFlow store it: rotated and shifted, so that it can itself be summed."""
    return ((checksum >> 15 | checksum << 17) + _MASK_DELTA) & 0xFFFFFFFF


def _past_zeros(states: _Words, n_bytes: int) -> _Words:
    """States after ``n_bytes`` more zeros, by doubling: one table per power of two."""
    power = 0
    while n_bytes >> power:
        if n_bytes >> power & 1:
            states = _applied(_doubled_tables(power), states)
        power += 1
    return states


@cache
def _doubled_tables(power: int) -> _Words:
    """What ``2**power`` zero bytes do to a state: one table of 256 entries for each of its four bytes."""
    if power == 0:
        return _zero_byte_tables()
    half = _doubled_tables(power - 1)
    return _applied(half, half)


def _applied(tables: _Words, states: _Words) -> _Words:
    """States of any shape sent through the map that the tables hold."""
    parts = [tables[byte][states >> 8 * byte & 0xFF] for byte in range(4)]
    joined: _Words = parts[0] ^ parts[1] ^ parts[2] ^ parts[3]
    return joined


@cache
def _zero_byte_tables() -> _Words:
    """What one zero byte does to a state: the low byte is divided by the polynomial, the others move down."""
    states = (np.arange(256, dtype=np.uint32) << (8 * np.arange(4, dtype=np.uint32))[:, None]).astype(np.uint32)
    for _ in range(8):
        states = np.where(states & 1, states >> 1 ^ np.uint32(_POLYNOMIAL), states >> 1).astype(np.uint32)
    return states
