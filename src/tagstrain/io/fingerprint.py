"""Knowing an input again although its name is not unique and its folders must not be written down: `input_sha256`."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from tagstrain.io.dicom_files import is_dicom
from tagstrain.io.input_folder import files_below

_PIECE_BYTES = 1024**2
_START_BYTES = 16 * 1024
"""Read of every DICOM file in a folder: enough for headers, whose UIDs tell images of one size apart."""


def input_sha256(path: Path) -> str | None:
    """SHA-256 of a file's bytes, or of the names, sizes and bytes of a folder's files; of DICOM in it, how it starts.

    Results that were written into the folder do not count.

    Returns
    -------
        Hexadecimal digits; None where there is nothing that can be read.
    """
    try:
        if path.is_dir():
            known = hashlib.sha256()
            for file in files_below(path):
                known.update(os.fsencode(f"{file.relative_to(path).as_posix()}\0{file.stat().st_size}\n"))
                with file.open("rb") as stream:
                    start = stream.read(_START_BYTES)
                    known.update(start)
                    while not is_dicom(start) and (more := stream.read(_PIECE_BYTES)):
                        known.update(more)
            return known.hexdigest()
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return None
