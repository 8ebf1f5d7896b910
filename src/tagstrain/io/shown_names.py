"""What files are called in messages and results: `shown_path` for those within an input, `printable` for inputs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

_PARTS = re.compile(r"[a-z]+|[0-9]+")
_NEUTRAL = re.compile(
    r"cine|data|dcm|dicom|dicomdir|download|echo|empty|export|file|frame|frames|i|im|ima|image|images"
    r"|img|imgs|index|info|inner|lax|log|mag|magnitude|manifest|mr|mri|note|notes|other|ph|phase|readme"
    r"|report|s|sa|sax|scan|se|ser|series|sl|slice|slices|study|tag|tagged|tagging|text|z"
)
"""Words that any study may have in its file names."""
_MAX_DIGITS, _MAX_RUN = 8, 4
"""Of a whole name, and in a row: more of them may be a date or an ID."""
_DATE = re.compile(r"(19|20)[0-9]{2}\D+[01]?[0-9]\D+[0-3]?[0-9]")
_SUFFIX = re.compile(r"\.(csv|dcm|dicom|ima|json|md|pdf|txt|xml|zip|[0-9]{1,4})")


def printable(name: str) -> str:
    """A file's name with bytes spelled out that are no UTF-8, which no text file and no database takes."""
    return name.encode("utf-8", "backslashreplace").decode()


def places(n_files: int) -> Iterator[str]:
    """Which file of an input each is, in the order of their paths, in words."""
    return (f"file {k + 1} of {n_files}" for k in range(n_files))


def shown_path(path: Path, place: str) -> Path:
    """A path whose name may stand in messages, logs and results.

    Scanners and archives name files after patients, IDs and dates. A name stays if it is made of words that any study
    may have and few digits, as ``IM_0012_0004.dcm``; any other, also one of digits alone, is replaced by the file's
    place. With an empty ``place`` it stays: the user wrote it.
    """
    name = path.name.lower()
    stem, suffix = Path(name).stem, Path(name).suffix
    parts = _PARTS.findall(stem)
    words = [part for part in parts if not part.isdigit()]
    is_neutral = (
        name.isascii()
        and bool(words)
        and all(map(_NEUTRAL.fullmatch, words))
        and all(len(part) <= _MAX_RUN for part in parts if part.isdigit())
        and sum(map(str.isdigit, name)) <= _MAX_DIGITS
        and not _DATE.search(stem)
        and (not suffix or _SUFFIX.fullmatch(suffix) is not None)
    )
    return path if is_neutral or not place else path.with_name(place)


def given_name(path: Path) -> str:
    """Name of an input as it was given, also of a link; that of the folder where it is the current one or the like."""
    return path.name if path.name not in ("", "..") else path.resolve().name
