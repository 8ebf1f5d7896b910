"""What the calibration is worth on slices that it has not seen, as Markdown: `results_markdown`."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import fields
from time import process_time

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

import tagstrain
from benchmarks.quality.cases import CALIBRATION, SEEDS, CaseKey
from benchmarks.quality.corruption import SEVERITIES
from benchmarks.quality.fit import COVERAGES, GOOD_ERROR
from benchmarks.quality.true_errors import Judged
from tagstrain.data import SliceResult
from tagstrain.inference.models import load_models
from tagstrain.quality import Grade, SliceQuality
from tagstrain.quality.error_model import MODELS, Calibration
from tagstrain.quality.second_opinion import place_again, track_back
from tagstrain.quality.signals import Signals
from tagstrain.quality.slice_quality import judge
from tagstrain.quality.tag_visibility import tag_visibility

Array = NDArray[np.float64]
N_TIMED = 3
MEANINGS = {
    CALIBRATION: "slices that the models were fitted to, expected errors as the fit gives them",
    "test": "the same kinds of slices, another seed; no number was fitted to it",
    "held back": "settings of tags, frames, noise, motion and the wall's inside that the fit does not know",
    "second generator": "that of benchmarks/accuracy, which shares no code with the first",
}


class _Assessed:
    """A case with its judgment."""

    def __init__(self, case: Judged, calibration: Calibration) -> None:
        self.case = case
        self.quality: SliceQuality = judge(case.result, case.signals, calibration.tracker, calibration)

    @property
    def is_good(self) -> bool:
        """By the truth."""
        return self.case.errors.circumferential < GOOD_ERROR

    @property
    def has_intervals(self) -> bool:
        """Not rejected, and an error could be predicted."""
        return bool(np.isfinite(self.quality.peak_circumferential_interval_80).all())

    def covers(self, percent: int) -> bool:
        """Whether the interval of the peak holds the true one."""
        low, high = getattr(self.quality, f"peak_circumferential_interval_{percent}")
        true_peak = float(self.case.result.strain.circumferential_midwall.min()) - self.case.errors.peak
        return bool(low <= true_peak <= high)


def results_markdown(
    judged: Sequence[Judged], failed: Sequence[CaseKey], calibration: Calibration, command: str
) -> str:
    """All tables."""
    assessed = [_Assessed(case, calibration) for case in judged]
    groups = {name: [a for a in assessed if a.case.set_name == name] for name in SEEDS}
    test = groups["test"]
    groups["test, sound alone"] = [a for a in test if a.case.is_sound]
    groups |= {f"test, {name} alone": [a for a in test if a.case.severity == name] for name in SEVERITIES}
    groups["test, all spoiled"] = [a for a in test if not a.case.is_sound]
    groups["all but calibration"] = [a for a in assessed if a.case.set_name != CALIBRATION]
    seeds = ", ".join(f"{name} {seed}" for name, seed in SEEDS.items())
    lines = [
        "# Quality of slices: expected against true error",
        "",
        _summary(groups["all but calibration"], test),
        "",
        f"Command: `{command}`. Seeds: {seeds}. tagstrain {tagstrain.__version__}, {os.cpu_count()} CPU cores, "
        f"{platform.machine()}.",
        "",
        *(f"- {name}: {version}" for name, version in calibration.weights.items()),
        "",
        *(f"- {name}: {meaning}" for name, meaning in MEANINGS.items()),
        "",
        "Position: RMS distance of the tracked points from where their tissue went, the chest's beside the heart. "
        "Circumferential: RMS over frames "
        "of the error of the slice's mid-wall strain, placing included; regional: the same for sixths of the ring. A "
        "quarter of the calibration and test slices is sound, the others are spoiled in nine ways, each as often mild "
        "as moderate and heavy (`corruption.py` has the ranges).",
        "",
        *_rank_table(groups, failed),
        *_component_lines(test),
        *_grade_table(groups),
        *_interval_table(groups),
        *_setting_table(test + groups["held back"]),
        *_model_table(calibration),
        *_signal_table(groups["all but calibration"]),
        *_cost_lines(judged),
    ]
    return "\n".join(lines) + "\n"


def _summary(assessed: Sequence[_Assessed], test: Sequence[_Assessed]) -> str:
    """What there is to say in one paragraph."""
    kept = [a for a in assessed if a.has_intervals]
    good = [a.is_good for a in assessed if a.quality.grade is Grade.GOOD]
    ranks, test_ranks = (" / ".join(_rank(*pair) for pair in _pairs(group)[:3]) for group in (assessed, test))
    coverage = " and ".join(_percent([a.covers(percent) for a in kept]) for percent in COVERAGES)
    return (
        f"{len(assessed)} slices that nothing was fitted to: rank correlation of expected and true error {ranks} "
        f"(positions / regional circumferential strain / that of the slice), {test_ranks} in the test set alone; "
        f"{_percent(good)} of the {len(good)} graded good have a circumferential error below {GOOD_ERROR}, and the 80 "
        f"and 95 % intervals hold {coverage} of the true peaks of the {len(kept)} that have them."
    )


def _rows(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = ["", f"## {title}", "", _line(header), _line(["---"] * len(header))]
    return [*lines, *(_line(row) for row in rows)]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _rank(values: Sequence[float] | Array, errors: Sequence[float] | Array) -> str:
    """Rank correlation, or a dash for too few slices."""
    known = np.isfinite(values) & np.isfinite(errors)
    if known.sum() < 5:
        return "-"
    return f"{spearmanr(np.asarray(values)[known], np.asarray(errors)[known]).statistic:.2f}"


def _pairs(group: Sequence[_Assessed]) -> list[tuple[list[float], list[float]]]:
    """Expected and true errors: position, regional, circumferential, its tracking part, its placing part."""
    circumferential = [a.quality.predicted_circumferential_error for a in group]
    return [
        ([a.quality.predicted_error_mm for a in group], [a.case.errors.position_mm for a in group]),
        (
            [a.quality.predicted_regional_circumferential_error for a in group],
            [a.case.errors.regional_circumferential for a in group],
        ),
        (circumferential, [a.case.errors.circumferential for a in group]),
        (circumferential, [a.case.errors.circumferential_of_tracking for a in group]),
        (circumferential, [a.case.errors.circumferential_of_placing for a in group]),
    ]


def _rank_table(groups: dict[str, list[_Assessed]], failed: Sequence[CaseKey]) -> list[str]:
    rows = []
    for name, group in groups.items():
        n_failed = sum(key.set_name == name for key in failed)
        rows.append(
            [name, str(len(group)), str(n_failed) if name in SEEDS else "", *(_rank(*pair) for pair in _pairs(group))]
        )
    header = [
        "set",
        "slices",
        "failed",
        "position",
        "regional",
        "circumferential",
        "its tracking part",
        "its placing part",
    ]
    return _rows("Rank correlation (Spearman) of expected and true error", header, rows)


def _component_lines(assessed: Sequence[_Assessed]) -> list[str]:
    """How well the circumferential error could be ranked by who knows one part of it."""
    errors = [a.case.errors for a in assessed]
    total, tracking, placing = (
        np.array([getattr(each, name) for each in errors])
        for name in ("circumferential", "circumferential_of_tracking", "circumferential_of_placing")
    )
    return [
        "",
        "The circumferential error is one of tracking (the strain of the tissue that was followed) and one of placing "
        "(the tissue followed is not the true mid-wall, and strain changes with depth): medians "
        f"{np.median(tracking):.4f} and {np.median(placing):.4f} in the test set. Who knew every tracking error "
        f"exactly, and of placing no more than its median, would rank the circumferential error with "
        f"{_rank(np.hypot(tracking, np.median(placing)), total)}; who knew both exactly with "
        f"{_rank(np.hypot(tracking, placing), total)}.",
    ]


def _grade_table(groups: dict[str, list[_Assessed]]) -> list[str]:
    rows = []
    for name, group in groups.items():
        by_grade = {grade: [a for a in group if a.quality.grade is grade] for grade in Grade}
        graded_good = by_grade[Grade.GOOD]
        truly = [a for a in group if a.is_good]
        rows.append(
            [
                name,
                *(str(len(by_grade[grade])) for grade in Grade),
                _percent([a.is_good for a in graded_good]),
                _percent([a.quality.grade is Grade.GOOD for a in truly]),
                _percent([a.is_good for a in group]),
            ]
        )
    header = ["set", *Grade, f"of good, error < {GOOD_ERROR}", f"of error < {GOOD_ERROR}, good", "error below in all"]
    return _rows("Grades", header, rows)


def _percent(hits: Sequence[bool]) -> str:
    return f"{100 * float(np.mean(hits)):.0f} %" if hits else "-"


def _interval_table(groups: dict[str, list[_Assessed]]) -> list[str]:
    rows = []
    for name, group in groups.items():
        kept = [a for a in group if a.has_intervals]
        widths = [np.ptp(a.quality.peak_circumferential_interval_80) / 2 for a in kept]
        coverage = [_percent([a.covers(percent) for a in kept]) for percent in COVERAGES]
        rows.append([name, str(len(kept)), *coverage, f"{np.median(widths):.3f}" if kept else "-"])
    header = ["set", "slices with intervals", *(f"{percent} %" for percent in COVERAGES), "half of 80 %, median"]
    return _rows("Coverage of the intervals of peak mid-wall strain", header, rows)


def _setting_table(assessed: Sequence[_Assessed]) -> list[str]:
    rows = []
    for setting, severity in sorted(
        {(a.case.setting, a.case.severity) for a in assessed},
        key=lambda pair: (not pair[1], pair[0], (*SEVERITIES, "").index(pair[1])),
    ):
        group = [a for a in assessed if (a.case.setting, a.case.severity) == (setting, severity)]
        grades = [str(sum(a.quality.grade is grade for a in group)) for grade in Grade]
        errors = [
            [getattr(a.case.errors, name) for a in group]
            for name in ("position_mm", "regional_circumferential", "circumferential")
        ]
        medians = [f"{np.median(each):.2f}" if k == 0 else f"{np.median(each):.4f}" for k, each in enumerate(errors)]
        rows.append([setting, severity, str(len(group)), *grades, *medians, f"{max(errors[-1]):.4f}"])
    header = ["what is wrong, or setting", "severity", "slices", *Grade, "position mm", "regional", "circumferential"]
    return _rows("By kind, test and held back (median errors)", [*header, "its largest"], rows)


def _model_table(calibration: Calibration) -> list[str]:
    parts = {f"{name}, {cause}": part for name in MODELS for cause, part in getattr(calibration, name).parts.items()}
    names = sorted({name for part in parts.values() for name in part.powers})
    rows = [["scale", *(f"{part.scale:.4f}" for part in parts.values())]]
    rows += [[name, *(f"{part.powers.get(name, 0):.2f}" for part in parts.values())] for name in names]
    title = (
        "Models: part of the error = scale x product of evidence to these powers; error = root of the sum of squares"
    )
    table = _rows(title, ["evidence", *parts], rows)
    factors = "; ".join(
        f"{each.grade}, up to {each.below:.4f}: "
        + ", ".join(f"{percent} % {low:+.2f} to {high:+.2f}" for percent, (low, high) in each.factors.items())
        for each in calibration.interval_ranges
    )
    limits = f"good below {calibration.good_below:.4f}, usable below {calibration.usable_below:.4f}"
    return [
        *table,
        "",
        f"Errors of the peak that the intervals allow for, in expected circumferential errors: {factors}. Grades: "
        f"{limits}.",
    ]


def _signal_table(assessed: Sequence[_Assessed]) -> list[str]:
    errors: dict[str, Callable[[_Assessed], float]] = {
        "position": lambda a: a.case.errors.position_mm,
        "circumferential": lambda a: a.case.errors.circumferential,
    }
    rows = []
    for signal in (field.name for field in fields(Signals)):
        values = [float(getattr(a.case.signals, signal)) for a in assessed]
        known = np.isfinite(values)
        pairs = [(np.array(values)[known], np.array([f(a) for a in assessed])[known]) for f in errors.values()]
        constant = known.sum() < 5 or np.ptp(np.array(values)[known]) == 0
        rows.append([signal, *("-" if constant else _rank(*pair) for pair in pairs)])
    return _rows("Rank correlation of each signal alone", ["signal", *errors], rows)


def _cost_lines(judged: Sequence[Judged]) -> list[str]:
    """Process time per slice of what is measured, on one core."""
    models = load_models(device="cpu")
    steps: dict[str, Callable[[SliceResult], object]] = {
        "the way back": lambda result: track_back(result, models.tracker),
        "the wall once more by half of the frames": lambda result: place_again(result, models.placer),
        "visibility of the tags": lambda result: tag_visibility(result.cine, result.landmarks),
    }
    costs = []
    for name, step in steps.items():
        seconds = []
        for case in judged[:N_TIMED]:
            start = process_time()
            step(case.result)
            seconds.append(process_time() - start)
        costs.append(f"{name} {np.median(seconds):.2f} s")
    return ["", "## Cost", "", f"Process time per slice, median of {N_TIMED}: {', '.join(costs)}."]
