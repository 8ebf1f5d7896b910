"""Knowing an input again although its name is not unique and its folders must not be written down: `input_sha256`."""

from __future__ import annotations

import hashlib
from pathlib import Path


def input_sha256(path: Path) -> str | None:
    """SHA-256 of a file's bytes, or of the names in a folder and their sizes, which need no reading.

    Returns
    -------
        Hexadecimal digits; None where there is nothing that can be read.
    """
    try:
        if path.is_dir():
            files = sorted((file.relative_to(path).as_posix(), file.stat().st_size) for file in _files_in(path))
            return hashlib.sha256("".join(f"{name}\0{size}\n" for name, size in files).encode()).hexdigest()
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return None


def _files_in(folder: Path) -> list[Path]:
    """Files at any depth."""
    return [file for file in folder.rglob("*") if file.is_file()]
