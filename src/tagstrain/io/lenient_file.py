"""A file that HDF5 can always close, even on a full disk: `LenientFile`."""

from __future__ import annotations

from io import FileIO
from pathlib import Path
from typing import Any


class LenientFile(FileIO):
    """New file to write HDF5 into; once the disk refuses something, it drops all that follows and remembers why.

    So it does once the run is interrupted.

    The HDF5 library cannot close a file after a write that failed, and crashes at the end of the process. So no write
    fails here, and `check` is to be called after each piece of work and after closing.

    Raises
    ------
    OSError
        If the file cannot be made.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w+")
        self._refusal: BaseException | None = None

    def check(self) -> None:
        """Raise what came between, if anything did.

        Raises
        ------
        OSError
            As the disk said it.
        KeyboardInterrupt
            If the run was interrupted while HDF5 wrote.
        """
        if self._refusal is not None:
            raise self._refusal

    def write(self, data: Any, /) -> int:
        """Write all of some bytes, or drop them."""
        left = memoryview(data).cast("B")
        size = len(left)
        try:
            while self._refusal is None and len(left):
                left = left[super().write(left) :]
        except BaseException as error:  # also an interruption: it would be a write that failed
            self._refusal = error
        return size

    def truncate(self, size: int | None = None, /) -> int:
        """Set the length, or leave it."""
        try:
            return super().truncate(size)
        except BaseException as error:
            self._refusal = self._refusal or error
            return self.tell()
