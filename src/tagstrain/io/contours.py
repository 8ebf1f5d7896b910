"""A reader's own wall at ED, in place of the one found automatically: `read_contours`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tagstrain.data.landmarks import N_RINGS, N_SPOKES
from tagstrain.errors import InputError
from tagstrain.geometry.polygon import MIN_AREA, crosses_itself, enclosed_area, grid_between, is_in_order

ANY_SLICE = "*"
_REMEDY = (
    'Write {"slices": {"NAME": {"endo": [[x, y], ...], "epi": [[x, y], ...]}}} or "landmarks": 24 spokes x 7 rings of '
    "[x, y], all in pixels of the image; leave out the slice names if one contour holds for all slices"
)

_FRAME_KEYS = {"frame", "frame_index", "frame_idx", "frame_number", "phase", "phase_index"}
"""Keys that say where contours were drawn, and would be passed over."""


def read_contours(path: Path) -> dict[str, NDArray[np.float64]]:
    """ED landmarks ``(spoke, ring, 2)`` [px] by slice name, from a JSON file with contours or landmarks.

    A file without ``"slices"`` holds one contour for all slices and comes back under `ANY_SLICE`. Contours become
    landmarks on straight spokes from the epicardium's centre; spoke 0 points along +x and spokes turn towards +y.

    Raises
    ------
    InputError
        If the file is no such JSON, names a slice twice or contours beside slices, a contour or ring has no area or
        crosses itself, landmarks are out of order, the epicardium does not hold the endocardium, or a frame is named.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_each_once)
    except FileNotFoundError:
        raise InputError(path, "does not exist", "Check the path") from None
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror or error})", "Give a JSON file") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(path, f"not a readable JSON file ({error})", _REMEDY) from None
    except _NamedTwiceError as error:
        raise InputError(path, f"names {error} twice", "Leave out the one that does not hold") from None
    if not isinstance(content, dict):
        raise InputError(path, "holds no contours", _REMEDY)
    if "slices" in content and content.keys() & {"endo", "epi", "landmarks"}:
        remedy = "Name all slices under slices, or leave slices out for one contour that holds for all"
        raise InputError(path, "holds contours beside slices", remedy)
    _refuse_frame(path, "", content)
    slices = content.get("slices", {ANY_SLICE: content})
    if not isinstance(slices, dict) or not slices:
        raise InputError(path, "names no slices", _REMEDY)
    return {name: _landmarks(path, name, entry) for name, entry in slices.items()}


def _landmarks(path: Path, name: str, entry: Any) -> NDArray[np.float64]:
    where = "" if name == ANY_SLICE else f"slice {name}: "
    try:
        if not isinstance(entry, Mapping):
            raise TypeError("expected contours or landmarks")
        _refuse_frame(path, where, entry)
        if "landmarks" in entry:
            if "endo" in entry or "epi" in entry:
                raise ValueError("holds landmarks beside endo or epi: leave out the ones or the others")
            return checked_grid(entry["landmarks"])
        endo, epi = (np.asarray(entry[name], np.float64) for name in ("endo", "epi"))
        grid = grid_between(endo, epi, N_SPOKES, N_RINGS)
        for contour, of_the in ((endo, "endocardium"), (epi, "epicardium")):
            if crosses_itself(contour):
                raise ValueError(f"the {of_the} crosses itself: its points are not in order around the wall")
        return grid
    except KeyError as error:
        raise InputError(path, f"{where}{error} is missing", _REMEDY) from None
    except (TypeError, ValueError) as error:
        raise InputError(path, f"{where}{error}", _REMEDY) from None


def _refuse_frame(path: Path, where: str, content: Mapping[str, Any]) -> None:
    for key in content:
        if key.lower() in _FRAME_KEYS:
            problem = f"{where}names a {key}, but contours are taken as drawn on the end-diastolic frame"
            raise InputError(path, problem, f"Draw them there, and leave out {key}")


def checked_grid(landmarks: Any) -> NDArray[np.float64]:
    """Landmarks ``(spoke, ring, 2)`` of a wall; ValueError says why where they are none."""
    grid = np.asarray(landmarks, np.float64)
    if grid.shape != (N_SPOKES, N_RINGS, 2) or not np.isfinite(grid).all():
        raise ValueError(f"expected {N_SPOKES} x {N_RINGS} finite landmarks (x, y), got an array of shape {grid.shape}")
    inner, outer = enclosed_area(grid[:, 0]), enclosed_area(grid[:, -1])
    if min(inner, outer) < MIN_AREA:
        raise ValueError("the landmarks of a ring enclose no area: do they all lie in one place or on one line?")
    if inner >= outer:
        last = N_RINGS - 1
        raise ValueError(f"ring 0 must enclose less than ring {last}: rings run from endocardium to epicardium")
    if not is_in_order(grid):
        raise ValueError("landmarks are out of order: spokes or rings cross, or go around more than once")
    return grid


class _NamedTwiceError(Exception):
    """A name stands twice in one place of a JSON file: nobody knows which one holds."""


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for name, value in pairs:
        if name in named:
            raise _NamedTwiceError(name)
        named[name] = value
    return named
