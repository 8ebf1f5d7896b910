"""What files within an input are called in messages and results: `shown_path`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

_PARTS = re.compile(r"[^\W\d_]+|\d+")
_NEUTRAL = re.compile(
    r"cine|csv|data|dcm|dicom|dicomdir|download|echo|empty|export|file|frame|frames|im|ima|image|images"
    r"|img|imgs|index|info|inner|json|lax|log|mag|magnitude|manifest|md|mr|mri|note|notes|pdf|ph|phase|readme"
    r"|report|sa|sax|scan|se|ser|series|sl|slice|slices|study|tag|tagged|tagging|text|tmp|txt|xml|zip"
)
"""Words that any study may have in its file names."""
_MAX_DIGITS = 5
"""More of them may be a date or an ID."""


def places(n_files: int) -> Iterator[str]:
    """Which file of an input each is, in the order of their paths, in words."""
    return (f"file {k + 1} of {n_files}" for k in range(n_files))


def shown_path(path: Path, place: str) -> Path:
    """A path whose name may stand in messages, logs and results.

    Scanners and archives name files after patients, IDs and dates: a name that is made of more than numbers and of
    words that any study may have is replaced by the file's place. With an empty ``place`` it stays: the user wrote it.
    """
    parts = _PARTS.findall(path.name.lower())
    is_neutral = all(len(p) <= _MAX_DIGITS if p.isdigit() else len(p) == 1 or _NEUTRAL.fullmatch(p) for p in parts)
    return path if is_neutral or not place else path.with_name(place)
