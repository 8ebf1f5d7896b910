"""What lies in an input folder, without results that were written into it: `files_below`, `files_by_folder`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

RUN_RECORD = "run.json"
"""File by which a folder of results is known."""
_START_BYTES = 200


def files_below(folder: Path) -> list[Path]:
    """Files at any depth, in the order of their paths."""
    return sorted(file for files in files_by_folder(folder) for file in files if file.is_file())


def files_by_folder(folder: Path) -> Iterator[list[Path]]:
    """What a folder and those below hold that is no folder, one after the other as they are asked for.

    Links to folders are followed, but for those that lead to where the walk has been or is bound for.
    """
    trees = [folder.resolve()]
    for place, names, files in os.walk(folder, followlinks=True):
        names[:] = [
            entry.name
            for entry in _in_order(Path(place) / name for name in names)
            if _leads_on(entry, trees) and not _holds_results(entry)
        ]
        yield [Path(place) / name for name in sorted(files)]


def folders_in(folder: Path) -> list[Path]:
    """Folders directly in a folder, in the order of their names; links among them as in `files_by_folder`."""
    trees = [folder.resolve()]
    entries = _in_order(entry for entry in folder.glob("*") if entry.is_dir())
    return sorted(entry for entry in entries if _leads_on(entry, trees) and not _holds_results(entry))


def _in_order(entries: Iterable[Path]) -> list[Path]:
    """By name, links last: what lies in a folder itself is not taken from elsewhere."""
    return sorted(entries, key=lambda entry: (entry.is_symlink(), entry))


def _leads_on(entry: Path, trees: list[Path]) -> bool:
    """Whether a folder lies in none of the trees walked and holds none of them; where a link leads is one from then on.

    A folder that is no link belongs to the walk it is met in.
    """
    if not entry.is_symlink():
        return True
    target = entry.resolve()
    if any(target.is_relative_to(tree) or tree.is_relative_to(target) for tree in trees):
        return False
    trees.append(target)
    return True


def _holds_results(folder: Path) -> bool:
    """Whether results of ours lie in a folder: exports among them would be taken for images."""
    try:
        with (folder / RUN_RECORD).open("rb") as stream:
            return b'"software": "tagstrain"' in stream.read(_START_BYTES)
    except OSError:
        return False
