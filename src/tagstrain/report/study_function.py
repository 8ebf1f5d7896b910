"""Function of a study's slices, and of its ventricle from those that may stand for it: `study_function`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tagstrain.data import SliceLevel, SliceResult
from tagstrain.geometry.orientation import slice_normal
from tagstrain.inference.mechanics import slice_motion, ventricle_mechanics
from tagstrain.io.slice_levels import largest_stack
from tagstrain.mechanics.slice_mechanics import SliceMechanics, slice_mechanics
from tagstrain.mechanics.study_mechanics import StudyMechanics
from tagstrain.mechanics.timing import HARDLY_ANY_STRAIN
from tagstrain.quality import Grade
from tagstrain.quality.slice_order import LARGEST_ED_DIFFERENCE_MS

REJECTED = f"quality {Grade.REJECT}"
UNPLACED = "slices of unknown level are not taken together"
ACROSS = "its level is not known and its plane lies across the others, as that of a long axis"
RELAXED = 0.1
"""Share of its shortening that a slice has given back where its end-systole is over."""
ALONG = 0.88
"""Least cosine between the normals of two planes of which neither lies across the other."""


@dataclass(frozen=True, eq=False, slots=True)
class StudyFunction:
    """Regional function of a study."""

    slices: tuple[SliceMechanics, ...]
    """Of every slice, in input order, measured against the ventricle's end-systole; each against its own where there
    is no ventricle."""
    ventricle: StudyMechanics | None
    """Of the slices that are not left out; None where none is left."""
    left_out: Mapping[str, str]
    """Name of every slice that is in no value of the ventricle, and why, in words."""

    @property
    def ventricle_missing(self) -> str:
        """Why there are no values of the ventricle, in words; empty where there are."""
        return "" if self.ventricle else "; ".join(dict.fromkeys(self.left_out.values()))


def study_function(results: Sequence[SliceResult], grades: Mapping[str, Grade]) -> StudyFunction:
    """Measure a study's slices, and the ventricle without those that are to be rejected or may not be of it.

    Of slices that know neither level nor place, as rows of an HDF5 file, nobody can say that they are of one ventricle.
    Planes across the stack are no short axis. A slice whose frames end before the end-systole of the others, and its
    own, would end the curves of all of them there, and one that begins late would begin them late.

    Parameters
    ----------
    results
        At least one slice.
    grades
        By slice name; slices that were not assessed are taken.

    Raises
    ------
    ValueError
        If the ventricle's slices share less than two frames' time.
    """
    left_out = dict(_left_out(results, grades))
    taken = [result for result in results if result.name not in left_out]
    ventricle = ventricle_mechanics(taken) if taken else None
    measured = {} if ventricle is None else dict(zip([result.name for result in taken], ventricle.slices, strict=True))
    es_ms = None if ventricle is None else ventricle.phases.es_ms
    slices = tuple(measured.get(result.name) or slice_mechanics(slice_motion(result), es_ms) for result in results)
    return StudyFunction(slices, ventricle, left_out)


def _left_out(results: Sequence[SliceResult], grades: Mapping[str, Grade]) -> Iterator[tuple[str, str]]:
    """Name of every slice that may not stand for the ventricle, and why."""
    across = _across(results)
    taken = []
    for result in results:
        if len(results) > 1 and result.cine.level is SliceLevel.UNKNOWN and result.cine.affine is None:
            yield result.name, UNPLACED
        elif result.name in across:
            yield result.name, ACROSS
        elif grades.get(result.name) is Grade.REJECT:
            yield result.name, REJECTED
        else:
            taken.append(result)
    late = dict(_late(taken))
    yield from late.items()
    taken = [result for result in taken if result.name not in late]
    # A slice that still shortens at its end does not say when end-systole is.
    relaxed = [result for result in taken if _has_relaxed(result)]
    es_ms = [float(result.strain.frame_times_ms[result.strain.es_frame]) for result in relaxed]
    for result in taken:
        end_ms = result.cine.frame_times_ms[-1]
        if es_ms and end_ms < np.median(es_ms) and result not in relaxed:
            yield result.name, f"its frames end at {end_ms:.0f} ms, before the end-systole of the others"


def _late(results: Sequence[SliceResult]) -> Iterator[tuple[str, str]]:
    """Name of every slice that has its ED after most others, or the other, and why that puts it out."""
    ed_ms = [float(result.cine.frame_times_ms[result.landmarks.ed_frame]) for result in results]
    usual_ms = sorted(ed_ms)[(len(ed_ms) - 1) // 2] if ed_ms else 0.0
    for result, own_ms in zip(results, ed_ms, strict=True):
        if own_ms > usual_ms + LARGEST_ED_DIFFERENCE_MS:
            yield (
                result.name,
                f"its end-diastole lies {own_ms - usual_ms:.0f} ms after that of the others: it begins late, or its "
                "times count from elsewhere",
            )


def _has_relaxed(result: SliceResult) -> bool:
    """Whether a slice's last frames show that its end-systole is over, earlier than that of others as it may be."""
    strain = result.strain
    shortest, last = strain.circumferential_midwall[strain.es_frame], strain.midwall_of_beat[-1]
    return bool(shortest < -HARDLY_ANY_STRAIN and last > (1 - RELAXED) * shortest)


def _across(results: Sequence[SliceResult]) -> set[str]:
    """Names of the slices of unknown level that are not parallel to those of known level, or to most where none is."""
    normals = {k: slice_normal(each.cine.affine) for k, each in enumerate(results) if each.cine.affine is not None}
    unknown = [k for k in normals if results[k].cine.level is SliceLevel.UNKNOWN]
    known = [k for k in normals if k not in unknown]
    stack = known or largest_stack([each.cine.affine for each in results], ALONG)
    if len(normals) < 2:
        return set()
    if not known and 2 * len(stack) <= len(normals):  # nobody knows which of them are the short axes
        return {results[k].name for k in unknown}
    return {results[k].name for k in unknown if abs(float(normals[k] @ normals[stack[0]])) <= ALONG}
