"""How large what a file announces may be: bounds that keep damaged or hostile files from filling the memory."""

from __future__ import annotations

from collections.abc import Sequence
from io import BufferedReader
from math import prod
from pathlib import Path

from tagstrain.errors import InputError

MAX_CINE_PIXELS = 64 * 1024**2
"""Pixels of one slice over all frames, 64 frames of 1024 x 1024; scanners stay below a tenth of that."""
MAX_RATIO = 200
"""Unpacked over stored bytes; deflate reaches 1000 on zeros, images stay below 20."""
MAX_PADDED_RATIO = 1100
"""The same for what is unpacked a row at a time and may be padding: above what deflate reaches, nothing was written."""
MAX_OBJECT_BYTES = 512 * 1024**2
"""Bytes that are unpacked at once: a member of a zip, a chunk of an HDF5 dataset."""


class BoundedReader(BufferedReader):
    """A file that is never asked for more than it holds.

    Python allocates what is asked for before it reads, and a damaged length asks for gigabytes.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path.open("rb", buffering=0))
        self._n_bytes = path.stat().st_size

    def read(self, size: int | None = -1, /) -> bytes:
        """Read up to ``size`` bytes, all that are left by default."""
        left = max(self._n_bytes - self.tell(), 0)
        return super().read(left if size is None or size < 0 else min(size, left))


def check_cine_size(path: Path, shape: Sequence[int]) -> None:
    """Refuse a slice of more than `MAX_CINE_PIXELS`, before its pixels are read.

    Raises
    ------
    InputError
        Which names the shape.
    """
    if prod(shape) > MAX_CINE_PIXELS:
        problem = f"announces a slice of {prod(shape):.3g} pixels (shape {tuple(shape)}), more than any scanner makes"
        raise InputError(path, problem, "Check the file or export it again")


def check_unpacked_size(
    path: Path, n_unpacked: int, n_stored: int, limit_bytes: int, max_ratio: float = MAX_RATIO
) -> None:
    """Refuse contents that would unpack to more than ``limit_bytes`` or to ``max_ratio`` times what is stored.

    Raises
    ------
    InputError
        Which says by how much.
    """
    remedy = "Unpack it yourself if it is to be trusted, and give what comes out"
    if n_unpacked > limit_bytes:
        limit = f"{limit_bytes / 1024**3:g} GiB"
        raise InputError(path, f"would unpack to {n_unpacked / 1024**3:.1f} GiB, more than {limit}", remedy)
    ratio = n_unpacked / max(n_stored, 1)
    if ratio > max_ratio:
        raise InputError(path, f"would unpack to {ratio:.0f} times its size, which images do not", remedy)
