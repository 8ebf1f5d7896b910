"""Function of a study's slices, and of its ventricle from those that may stand for it: `study_function`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tagstrain.data import SliceLevel, SliceResult
from tagstrain.inference.mechanics import slice_motion, ventricle_mechanics
from tagstrain.mechanics.slice_mechanics import SliceMechanics, slice_mechanics
from tagstrain.mechanics.study_mechanics import StudyMechanics
from tagstrain.quality import Grade

REJECTED = f"quality {Grade.REJECT}"
UNPLACED = "slices of unknown level are not taken together"


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
    for result in results:
        if len(results) > 1 and result.cine.level is SliceLevel.UNKNOWN and result.cine.affine is None:
            yield result.name, UNPLACED
        elif grades.get(result.name) is Grade.REJECT:
            yield result.name, REJECTED
