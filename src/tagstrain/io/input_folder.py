"""What lies in an input folder, without results that were written into it: `files_below`, `files_by_folder`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

RUN_RECORD = "run.json"
"""File by which a folder of results is known."""
_START_BYTES = 200


def files_below(folder: Path) -> list[Path]:
    """Files at any depth, in the order of their paths."""
    return sorted(file for files in files_by_folder(folder) for file in files if file.is_file())


def links_below(folder: Path) -> list[Path]:
    """Links at any depth, to folders, which are not followed, or to anything else."""
    places = [(Path(place), [*names, *files]) for place, names, files in _walked(folder)]
    return [place / name for place, names in places for name in names if (place / name).is_symlink()]


def files_by_folder(folder: Path) -> Iterator[list[Path]]:
    """What a folder and those below hold that is no folder, one after the other as they are asked for.

    Links to folders are not followed: within a study they lead to what belongs to others, or back.
    """
    for place, _, files in _walked(folder):
        yield [Path(place) / name for name in sorted(files)]


def _walked(folder: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """Every folder with the names of folders and of files in it, but for folders of results."""
    for place, names, files in os.walk(folder):
        names[:] = [name for name in names if not _holds_results(Path(place) / name)]
        yield place, names, files


def folders_in(folder: Path) -> list[Path]:
    """Folders directly in a folder, in the order of their names.

    Links count too, so that studies can be picked by them, but for those that lead back, into the folder itself, or to
    where another one leads.
    """
    entries = [entry for entry in folder.glob("*") if entry.is_dir()]
    home = folder.resolve()
    found = {home, *home.parents}
    chosen = []
    for entry in sorted(entries):
        if entry.is_symlink():
            target = entry.resolve()
            if target in found or home in target.parents:
                continue
            found.add(target)
        if not _holds_results(entry):
            chosen.append(entry)
    return chosen


def own_before_links(folders: list[Path], holds_images: Callable[[Path], bool]) -> list[Path]:
    """Folders without the links among them, which pick studies only where none of the others holds images."""
    own = [folder for folder in folders if not folder.is_symlink()]
    return own if len(own) < len(folders) and any(map(holds_images, own)) else folders


def _holds_results(folder: Path) -> bool:
    """Whether results of ours lie in a folder: exports among them would be taken for images."""
    try:
        with (folder / RUN_RECORD).open("rb") as stream:
            return b'"software": "tagstrain"' in stream.read(_START_BYTES)
    except OSError:
        return False
