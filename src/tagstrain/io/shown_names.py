"""What files within an input are called in messages and results: `shown_path`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

_PARTS = re.compile(r"[a-z]+|[0-9]+")
_NEUTRAL = re.compile(
    r"cine|data|dcm|dicom|dicomdir|download|echo|empty|export|file|frame|frames|i|im|ima|image|images"
    r"|img|imgs|index|info|inner|lax|log|mag|magnitude|manifest|mr|mri|note|notes|ph|phase|readme"
    r"|report|s|sa|sax|scan|se|ser|series|sl|slice|slices|study|tag|tagged|tagging|text|z"
)
"""Words that any study may have in its file names."""
_MAX_DIGITS = 8
"""Of a whole name: more of them may be a date or an ID."""
_LONGEST_SUFFIX = 5


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
    stem = Path(name).stem
    words = [part for part in _PARTS.findall(stem) if not part.isdigit()]
    is_neutral = (
        name.isascii()
        and bool(words)
        and all(map(_NEUTRAL.fullmatch, words))
        and sum(map(str.isdigit, stem)) <= _MAX_DIGITS
        and len(path.suffix) <= _LONGEST_SUFFIX
    )
    return path if is_neutral or not place else path.with_name(place)
