"""The tables of the page: the whole ventricle, its slices and its segments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

from tagstrain.data import SliceResult
from tagstrain.mechanics.slice_mechanics import SliceMechanics
from tagstrain.mechanics.study_mechanics import StudyMechanics
from tagstrain.mechanics.timing import CurveMeasures
from tagstrain.report.bulls_eye import SEGMENT_NAMES
from tagstrain.report.curves import PEAK_REGIONS, peak_strains
from tagstrain.report.page_text import UNKNOWN, number_text, percent_text
from tagstrain.report.references import CIRCUMFERENTIAL_PEAK, TORSION_PEAK, ReferenceRange
from tagstrain.report.saved_study import SavedQuality

NOT_ASSESSED = "not assessed"


@dataclass(frozen=True, slots=True)
class KeyFigure:
    """One number of the whole ventricle."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text; the first cell of each names the row."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def key_figures(mechanics: StudyMechanics) -> list[KeyFigure]:
    """What a reader looks for first."""
    circumferential, radial = mechanics.circumferential.global_measures, mechanics.radial.global_measures
    midwall = mechanics.circumferential.layer_measures["mid"]
    figures = [
        KeyFigure(
            "Peak circumferential strain, mid-wall",
            percent_text(midwall.peak),
            f"Green-Lagrange, middle third, at {number_text(midwall.time_to_peak_ms)} ms; "
            f"healthy {_range_text(CIRCUMFERENTIAL_PEAK)}; whole wall {percent_text(circumferential.peak)}",
        ),
        KeyFigure(
            "Peak radial strain, whole wall",
            percent_text(radial.peak),
            f"at {number_text(radial.time_to_peak_ms)} ms; weak: few tags cross the wall; on real walls too large",
        ),
        KeyFigure("End-systole", number_text(mechanics.phases.es_ms, 0, " ms"), "after the R wave"),
        KeyFigure(
            "Circumferential strain rate, whole wall",
            number_text(circumferential.systolic_rate_per_s, 2, " /s"),
            f"early diastole {number_text(circumferential.early_diastolic_rate_per_s, 2, ' /s')}",
        ),
    ]
    twist = mechanics.twist
    if twist is not None:
        torsion = twist.peak_torsion_deg_per_cm
        if isfinite(torsion):
            note = f"torsion {number_text(torsion, 1, ' °/cm')}; healthy {_range_text(TORSION_PEAK)}"
        else:
            missing = "distance between the slices" if isfinite(twist.peak_twist_deg) else "rotation of a slice"
            note = f"the {missing} is not known"
        figures.append(KeyFigure("Twist, base to apex", number_text(twist.peak_twist_deg, 1, "°"), note))
    return figures


def ventricle_table(mechanics: StudyMechanics, slice_names: Sequence[str]) -> Table:
    """Everything measured of the whole ventricle, or of the one slice of it that there is."""
    circumferential, radial = mechanics.circumferential.global_measures, mechanics.radial.global_measures
    dyssynchrony = mechanics.dyssynchrony
    recovery = circumferential.diastolic_recovery
    rows = [
        ("Circumferential strain at end-systole, whole wall", percent_text(circumferential.end_systolic)),
        ("Radial strain at end-systole, whole wall", percent_text(radial.end_systolic)),
        ("Time to peak circumferential strain, whole wall", _time_text(circumferential)),
        ("Time to peak radial strain, whole wall", _time_text(radial)),
        ("Systolic strain rate, radial", number_text(radial.systolic_rate_per_s, 2, " /s")),
        ("Early-diastolic strain rate, radial", number_text(radial.early_diastolic_rate_per_s, 2, " /s")),
        ("Diastolic recovery", recovery.reason or percent_text(recovery.fraction, 0)),
        ("Standard deviation of the segments' times to peak", number_text(dyssynchrony.time_to_peak_sd_ms, 0, " ms")),
        ("Uniformity, circumferential (CURE)", number_text(dyssynchrony.circumferential_uniformity, 2)),
        ("Uniformity, radial (RURE)", number_text(dyssynchrony.radial_uniformity, 2)),
        ("Internal stretch fraction", number_text(dyssynchrony.internal_stretch_fraction, 2)),
    ]
    if mechanics.twist is not None:
        untwist = mechanics.twist.peak_untwist_rate_deg_per_s
        rows.append(("Peak untwist rate", number_text(untwist, 0, " °/s")))
    title = f"Slice {slice_names[0]}" if len(slice_names) == 1 else "Whole ventricle"
    return Table(title, ("Measure", "Value"), tuple(rows))


def slice_table(
    results: Sequence[SliceResult], slices: Sequence[SliceMechanics], qualities: Mapping[str, SavedQuality]
) -> Table:
    """One row per slice, with its grade."""
    header = (
        "Slice",
        "Quality",
        "Circ. peak, whole wall",
        "Circ. at ES, whole wall",
        "Circ. rate, systole",
        "Circ. rate, early diastole",
        "Time to peak",
        "Radial peak",
        "Rotation at ES",
        f"Circ. peak, {PEAK_REGIONS['circumferential_midwall']} (chords)",
    )
    rows = (
        _slice_row(result, slice_, qualities.get(result.name)) for result, slice_ in zip(results, slices, strict=True)
    )
    return Table("Slices", header, tuple(rows))


def segment_table(mechanics: StudyMechanics) -> Table:
    """One row per AHA segment that was imaged."""
    header = (
        "Segment",
        "Circ. peak, whole wall",
        "Circ. at ES, whole wall",
        "Time to peak",
        "Post-systolic index",
        "Radial peak",
    )
    radial = mechanics.radial.segment_measures
    rows = (
        (
            f"{number} {SEGMENT_NAMES[number]}",
            percent_text(measures.peak),
            percent_text(measures.end_systolic),
            number_text(measures.time_to_peak_ms, 0, " ms"),
            percent_text(measures.post_systolic_index, 0),
            percent_text(radial[number].peak),
        )
        for number, measures in mechanics.circumferential.segment_measures.items()
    )
    return Table("AHA segments", header, tuple(rows))


def _slice_row(result: SliceResult, slice_: SliceMechanics, quality: SavedQuality | None) -> tuple[str, ...]:
    """Values of one slice."""
    circumferential = slice_.circumferential.slice_mean
    chords = peak_strains(result.strain)["circumferential_midwall"].green_lagrange
    return (
        result.name,
        NOT_ASSESSED if quality is None else str(quality.grade),
        percent_text(circumferential.peak),
        percent_text(circumferential.end_systolic),
        number_text(circumferential.systolic_rate_per_s, 2, " /s"),
        number_text(circumferential.early_diastolic_rate_per_s, 2, " /s"),
        number_text(circumferential.time_to_peak_ms, 0, " ms"),
        percent_text(slice_.radial.slice_mean.peak),
        number_text(float(slice_.deformation.slice_rotation_deg[slice_.es_frame]), 1, "°"),
        UNKNOWN if chords is None else percent_text(chords.value) + _interval_text(quality),
    )


def _interval_text(quality: SavedQuality | None) -> str:
    """The 95 % interval of the mid-wall peak, where one was stated."""
    interval = None if quality is None else quality.peak_circumferential_interval_95
    if interval is None:
        return ""
    return f" (95 %: {number_text(100 * interval.low, 1)} to {number_text(100 * interval.high, 1)})"


def _time_text(measures: CurveMeasures) -> str:
    """Time to peak in ms, and in percent of the RR interval where that is known."""
    text = number_text(measures.time_to_peak_ms, 0, " ms")
    of_rr = percent_text(measures.time_to_peak_of_rr, 0)
    return text if of_rr == UNKNOWN else f"{text} ({of_rr} of the RR interval)"


def _range_text(reference: ReferenceRange) -> str:
    """A reference range with its unit."""
    return f"{number_text(reference.low, 1)} to {number_text(reference.high, 1, ' ' + reference.unit)}"
