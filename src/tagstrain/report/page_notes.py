"""What a reader of the page should know before trusting its numbers, in words: `study_notes`, `slice_remarks`."""

from __future__ import annotations

from typing import NamedTuple

from tagstrain.data import SliceLevel, SliceResult
from tagstrain.mechanics.study_mechanics import StudyMechanics
from tagstrain.quality import SliceQuality
from tagstrain.report.saved_study import SavedQuality, SavedStudy

WHOLE_STUDY = "all slices"
_INSERTION_ASSUMED = (
    "the insertion of the right ventricle is not known in every slice: there, AHA segments start where it lies in a "
    "picture as radiologists show it, so regional values may belong to a neighboring segment"
)

_NO_FUNCTION = (
    "analyzed, but its regional function cannot be measured ({reason}), so it is not shown here; its strain between "
    "landmarks is in strain.csv"
)


class Note(NamedTuple):
    """One remark and the slice that it is about."""

    subject: str
    text: str


def study_notes(study: SavedStudy) -> list[Note]:
    """Failures, warnings and grades of the slices, then what could not be measured or had to be assumed."""
    results, function = study.results, study.function
    notes = [Note(WHOLE_STUDY, warning) for warning in study.warnings]
    notes += [Note(failure.name, f"not analyzed: {failure.reason}") for failure in results.failures]
    for result, reason in study.without_function:
        notes.append(Note(result.name, _NO_FUNCTION.format(reason=reason)))
        notes += _slice_notes(study, result)
    for result in results.slices:
        notes += _slice_notes(study, result)
        if result.cine.level is SliceLevel.UNKNOWN:
            notes.append(Note(result.name, "its level is not known, so it is in no bull's-eye"))
    if function is None:
        return [*notes, Note(WHOLE_STUDY, "no slice could be measured, so there are no curves and no values")]
    if function.ventricle is not None:
        notes += [Note(name, f"left out of the ventricle's values: {why}") for name, why in function.left_out.items()]
        notes += _ventricle_notes(function.ventricle)
    if not study.qualities:
        notes.append(Note(WHOLE_STUDY, "the quality of the slices was not assessed"))
    return notes


def slice_remarks(result: SliceResult, quality: SavedQuality | SliceQuality | None) -> list[str]:
    """Why a slice got its grade, and its warnings, in words."""
    reasons = [] if quality is None else [f"quality {quality.grade}: {why}" for why in quality.reasons]
    return [*reasons, *result.warnings]


def _slice_notes(study: SavedStudy, result: SliceResult) -> list[Note]:
    """What is to be said about a slice."""
    return [Note(result.name, text) for text in slice_remarks(result, study.qualities.get(result.name))]


def _ventricle_notes(ventricle: StudyMechanics) -> list[Note]:
    """What was assumed for the ventricle's values, or could not be measured."""
    notes = []
    deformations = [slice_.deformation for slice_ in ventricle.slices]
    if any(slice_.segments and slice_.motion.insertion_angle_rad is None for slice_ in deformations):
        notes.append(Note(WHOLE_STUDY, _INSERTION_ASSUMED))
    if ventricle.twist is None:
        notes.append(Note(WHOLE_STUDY, ventricle.twist_missing))
    return notes
