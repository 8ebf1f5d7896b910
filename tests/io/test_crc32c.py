"""CRC-32C against the numbers of RFC 3720 and against long division bit by bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagstrain.io.crc32c import crc32c


def by_long_division(data: bytes) -> int:
    state = 0xFFFFFFFF
    for byte in data:
        state ^= byte
        for _ in range(8):
            state = state >> 1 ^ (0x82F63B78 if state & 1 else 0)
    return state ^ 0xFFFFFFFF


@pytest.mark.parametrize(
    ("data", "checksum"),
    [
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
        (b"", 0),
    ],
)
def test_checksums_of_rfc_3720(data: bytes, checksum: int) -> None:
    assert crc32c(data) == checksum


@given(st.binary(max_size=600))
def test_lanes_give_what_long_division_gives(data: bytes) -> None:
    assert crc32c(data) == by_long_division(data)


@pytest.mark.parametrize("n_bytes", [255, 256, 257, 511, 513, 1024, 4099, 20000])
def test_many_lanes_give_what_long_division_gives(n_bytes: int) -> None:
    data = np.random.default_rng(n_bytes).integers(0, 256, n_bytes, dtype=np.uint8)
    assert crc32c(data) == by_long_division(data.tobytes())
