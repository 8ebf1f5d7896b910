"""Which slice is basal, mid or apical: from the series' name or from where the slices lie."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from tagstrain.data.cine import SliceLevel
from tagstrain.geometry.orientation import apex_direction, slice_normal

LEVELS = (SliceLevel.BASAL, SliceLevel.MID, SliceLevel.APICAL)
LEVELS_FROM_POSITION = "basal, mid and apical were told apart by the slices' positions: the file does not name them"
LEVEL_UNKNOWN = "the slice's level (basal, mid, apical) is not known"
ORDER_DISAGREES = "the slices' positions do not follow the order basal, mid, apical that the series names give"
ENDS_DISAGREE = (
    "by the header's positions the apex is where the series names have the base, as where the patient is registered "
    "the other way round: positions and orientation are not used, and the slice is taken as seen from the apex, as is "
    "usual (otherwise rotation and twist have the other sign)"
)

SAME_SLICE_MM = 1.0
"""Largest distance between acquisitions of one slice."""
PARALLEL = 0.99
"""Least cosine between the normals of slices of one stack."""

_UK_BIOBANK = re.compile(r"^cine_tagging_3sl_SAX_b([123])s?$", re.IGNORECASE)
_WORDS = {**{level.value: level for level in LEVELS}, "base": SliceLevel.BASAL, "apex": SliceLevel.APICAL}
_CONVERTED = re.compile(r"^tag_([123])$", re.IGNORECASE)


def level_from_description(description: str) -> SliceLevel | None:
    """Level that a UK Biobank series description (field 20211) names; None for any other."""
    match = _UK_BIOBANK.match(description.strip())
    return LEVELS[int(match[1]) - 1] if match else None


def level_from_file_name(stem: str) -> SliceLevel | None:
    """Level that the name of a converted file gives: ``tag_1`` to ``tag_3``, the level's own name, base or apex."""
    match = _CONVERTED.match(stem)
    if match:
        return LEVELS[int(match[1]) - 1]
    named = {_WORDS[word] for word in re.split(r"[^a-z]+", stem.lower()) if word in _WORDS}
    return named.pop() if len(named) == 1 else None


def levels_from_position(
    affines: Sequence[NDArray[np.float64] | None], middles_mm: Sequence[NDArray[np.float64] | None]
) -> tuple[list[int], list[SliceLevel | None]]:
    """Order slices from base to apex and give each third of the stack its level, where position can tell it.

    The stack is the largest set of parallel slices; planes across it, such as long axes, come last and get no level.
    Fewer than three planes may lie anywhere between base and apex, so they get none either. Slices of one plane, such
    as an acquisition and its repeat, have one level.

    Parameters
    ----------
    affines
        Maps from ``(column, row, 0, 1)`` to LPS [mm]; None where not known.
    middles_mm
        Where the images' middles lie in LPS. The heart is near them: of a plane that is tilted by a few degrees, a
        corner lies deeper by more than slices are apart.

    Returns
    -------
        Indices in order, and the level of each slice in the order given; None where not known.
    """
    stack = largest_stack(affines)
    planes, is_certain = _planes_towards_apex([affines[k] for k in stack], [middles_mm[k] for k in stack])
    levels: list[SliceLevel | None] = [None] * len(affines)
    if is_certain and len(planes) >= len(LEVELS):
        for place, plane in enumerate(planes):
            for k in plane:
                levels[stack[k]] = LEVELS[int((place + 0.5) * len(LEVELS) / len(planes))]
    ordered = [stack[k] for plane in planes for k in plane]
    return ordered + [k for k in range(len(affines)) if k not in stack], levels


class Listed(Protocol):
    """A slice of a folder of files whose pixels are not read yet."""

    @property
    def level(self) -> SliceLevel:
        """As the file's name says."""

    @property
    def affine(self) -> NDArray[np.float64] | None:
        """Map from ``(column, row, 0, 1)`` to LPS [mm]; None where not known."""

    @property
    def middle_mm(self) -> NDArray[np.float64] | None:
        """The image's middle in LPS; None where not known."""


ListedT = TypeVar("ListedT", bound=Listed)


def towards_apex(slices: Sequence[ListedT], may_name: bool) -> list[tuple[ListedT, SliceLevel | None]]:
    """Sort by the levels that file names give, else by position.

    Returns
    -------
        Slices, each with the level that its position gives it (`levels_from_position`) where names give none and
        slices may be named by position; None otherwise.
    """
    levels = {entry.level for entry in slices}
    if SliceLevel.UNKNOWN not in levels:
        return [(entry, None) for entry in sorted(slices, key=lambda entry: LEVELS.index(entry.level))]
    if len(levels) > 1:
        return [(entry, None) for entry in slices]
    order, placed = levels_from_position([entry.affine for entry in slices], [entry.middle_mm for entry in slices])
    return [(slices[k], placed[k] if may_name else None) for k in order]


def _planes_towards_apex(
    affines: Sequence[NDArray[np.float64] | None], middles_mm: Sequence[NDArray[np.float64] | None]
) -> tuple[list[list[int]], bool]:
    """Slices by plane along their common normal, the most basal first where that can be told.

    The left ventricle points left, forward and down; the normal's end that does so is taken for the apex's.

    Returns
    -------
        Indices by plane in order, and whether the direction is certain enough to name the ends. Slices without a
        position, or not parallel, keep their order, each in a plane of its own.
    """
    known = [affine for affine in affines if affine is not None]
    middles = [middle for middle in middles_mm if middle is not None]
    apart = [[k] for k in range(len(affines))]
    if len(known) < 2 or not len(known) == len(middles) == len(affines):
        return apart, False
    normals = np.stack([slice_normal(affine) for affine in known])
    if not (np.abs(normals @ normals[0]) > PARALLEL).all():
        return apart, False
    axis, is_certain = apex_direction(known[0])
    return by_depth(np.stack(middles) @ axis, SAME_SLICE_MM), is_certain


def by_depth(depths_mm: NDArray[np.float64], thickness_mm: float) -> list[list[int]]:
    """Indices by plane, the least deep first; a plane holds what lies within a thickness of the first in it."""
    planes: list[list[int]] = []
    for k in np.argsort(depths_mm, kind="stable").tolist():
        if planes and depths_mm[k] - depths_mm[planes[-1][0]] <= thickness_mm:
            planes[-1].append(k)
        else:
            planes.append([k])
    return planes


def largest_stack(affines: Sequence[NDArray[np.float64] | None], least_cosine: float = PARALLEL) -> list[int]:
    """Indices of the largest set of parallel slices, those without a position left out; all where none has one."""
    normals = {k: slice_normal(affine) for k, affine in enumerate(affines) if affine is not None}
    stacks = [[k for k, other in normals.items() if abs(float(n @ other)) > least_cosine] for n in normals.values()]
    return max(stacks, key=len, default=list(range(len(affines))))
