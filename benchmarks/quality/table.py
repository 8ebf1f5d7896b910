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
from benchmarks.quality.cases import FITTED, SEEDS, CaseKey
from benchmarks.quality.corruption import SOUND
from benchmarks.quality.fit import COVERAGES, GOOD_ERROR, predicted_out_of_fold
from benchmarks.quality.true_errors import Judged
from tagstrain.data import SliceResult
from tagstrain.inference.flow import FlowTracker
from tagstrain.inference.harp import HarpTracker
from tagstrain.quality import Grade, SliceQuality
from tagstrain.quality.error_model import MODELS, Calibration
from tagstrain.quality.second_opinion import track_back
from tagstrain.quality.signals import Signals
from tagstrain.quality.slice_quality import judge
from tagstrain.quality.tag_visibility import tag_visibility

Array = NDArray[np.float64]
N_TIMED = 3
MEANINGS = {
    "calibration": "slices that the models were fitted to, expected errors as the fit gives them",
    "second calibration": "the same, another seed; a test set until limits of flaws were chosen by it",
    "test": "the same kinds of slices, another seed; no number was fitted to it",
    "held back": "settings of tags, frames, noise and motion that the fit does not know",
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
    groups["test, spoiled alone"] = [a for a in groups["test"] if a.case.setting != SOUND.name]
    groups["held back and second generator"] = groups["held back"] + groups["second generator"]
    groups["all but calibration"] = [a for a in assessed if a.case.set_name not in FITTED]
    seeds = ", ".join(f"{name} {seed}" for name, seed in SEEDS.items())
    lines = [
        "# Quality of slices: expected against true error",
        "",
        f"Command: `{command}`. Seeds: {seeds}. tagstrain {tagstrain.__version__}, {os.cpu_count()} CPU cores, "
        f"{platform.machine()}.",
        "",
        *(f"- {name}: {version}" for name, version in calibration.weights.items()),
        "",
        *(f"- {name}: {meaning}" for name, meaning in MEANINGS.items()),
        "",
        "Position: RMS distance of the tracked points from where their tissue went. Circumferential: RMS over frames "
        "of the error of mid-wall strain, placing included; regional: the same for sixths of the ring. A third of the "
        "calibration and test slices are sound, the others are spoiled as listed below.",
        "",
        *_rank_table(groups, failed),
        *_grade_table(groups),
        *_interval_table(groups),
        *_setting_table(groups["test"] + groups["held back"]),
        *_model_table(calibration),
        *_signal_table(groups["all but calibration"]),
        *_harp_lines([a.case for a in assessed if a.case.harp is not None]),
        *_cost_lines(judged),
    ]
    return "\n".join(lines) + "\n"


def _rows(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = ["", f"## {title}", "", _line(header), _line(["---"] * len(header))]
    return [*lines, *(_line(row) for row in rows)]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _rank(values: Sequence[float], errors: Sequence[float]) -> str:
    """Rank correlation, or a dash for too few slices."""
    if len(values) < 5:
        return "-"
    return f"{spearmanr(values, errors).statistic:.2f}"


def _rank_table(groups: dict[str, list[_Assessed]], failed: Sequence[CaseKey]) -> list[str]:
    rows = []
    for name, group in groups.items():
        pairs = [
            ([a.quality.predicted_error_mm for a in group], [a.case.errors.position_mm for a in group]),
            (
                [a.quality.predicted_circumferential_error for a in group],
                [a.case.errors.circumferential for a in group],
            ),
            (
                [a.quality.predicted_regional_circumferential_error for a in group],
                [a.case.errors.regional_circumferential for a in group],
            ),
        ]
        n_failed = sum(key.set_name == name for key in failed)
        rows.append([name, str(len(group)), str(n_failed) if name in SEEDS else "", *(_rank(*pair) for pair in pairs)])
    header = ["set", "slices", "failed", "position", "circumferential", "regional"]
    return _rows("Rank correlation (Spearman) of expected and true error", header, rows)


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
        kept = [a for a in group if a.quality.grade is not Grade.REJECT]
        widths = [np.ptp(a.quality.peak_circumferential_interval_80) / 2 for a in kept]
        coverage = [_percent([a.covers(percent) for a in kept]) for percent in COVERAGES]
        rows.append([name, str(len(kept)), *coverage, f"{np.median(widths):.3f}" if kept else "-"])
    header = ["set", "slices not rejected", *(f"{percent} %" for percent in COVERAGES), "half of 80 %, median"]
    return _rows("Coverage of the intervals of peak mid-wall strain", header, rows)


def _setting_table(assessed: Sequence[_Assessed]) -> list[str]:
    rows = []
    for setting in dict.fromkeys(a.case.setting for a in assessed):
        group = [a for a in assessed if a.case.setting == setting]
        position = [a.case.errors.position_mm for a in group]
        circumferential = [a.case.errors.circumferential for a in group]
        grades = [str(sum(a.quality.grade is grade for a in group)) for grade in Grade]
        rows.append(
            [
                setting,
                str(len(group)),
                *grades,
                f"{np.median(position):.2f}",
                f"{max(position):.2f}",
                f"{np.median(circumferential):.4f}",
                f"{max(circumferential):.4f}",
            ]
        )
    header = ["what is wrong, or setting", "slices", *Grade, "position mm, median", "largest"]
    return _rows("By kind, test and held back", [*header, "circumferential, median", "largest"], rows)


def _model_table(calibration: Calibration) -> list[str]:
    models = {name: getattr(calibration, name) for name in MODELS}
    names = sorted({name for model in models.values() for name in model.powers})
    rows = [["scale", *(f"{model.scale:.4f}" for model in models.values())]]
    rows += [[name, *(f"{model.powers.get(name, 0):.2f}" for model in models.values())] for name in names]
    table = _rows("Models: error = scale x product of evidence to these powers", ["evidence", *models], rows)
    factors = "; ".join(
        f"{grade} " + ", ".join(f"{percent} % {factor:.2f}" for percent, factor in by_percent.items())
        for grade, by_percent in calibration.interval_factors.items()
    )
    limits = f"good below {calibration.good_below:.4f}, usable below {calibration.usable_below:.4f}"
    return [
        *table,
        "",
        f"Half widths of the intervals in expected circumferential errors: {factors}. Grades: {limits}.",
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


def _harp_lines(asked: Sequence[Judged]) -> list[str]:
    """Whether HARP's opinion tells more than the other signals do."""
    if len(asked) < 20:
        return []
    position = np.array([case.errors.position_mm for case in asked])
    distance = np.array([case.harp.distance_mm for case in asked if case.harp is not None])
    without = predicted_out_of_fold(asked, position)
    logs = np.log(np.stack([without, distance], axis=1))
    both = np.empty(len(asked))
    for k in range(len(asked)):
        kept = np.arange(len(asked)) != k
        design = np.column_stack([logs[kept], np.ones(kept.sum())])
        solution, *_ = np.linalg.lstsq(design, np.log(position[kept]), rcond=None)
        both[k] = np.append(logs[k], 1.0) @ solution
    return [
        "",
        "## Does a second tracker pay?",
        "",
        f"{len(asked)} slices were followed by HARP too. Rank correlation with the position error: distance between "
        f"the two trackers alone {_rank(distance, position)}, the signals without it {_rank(without, position)}, both "
        f"{_rank(both, position)} (all out of fold).",
    ]


def _cost_lines(judged: Sequence[Judged]) -> list[str]:
    """Process time per slice of what is measured, on one core."""
    tracker = FlowTracker.from_weights()
    steps: dict[str, Callable[[SliceResult], object]] = {
        "the way back": lambda result: track_back(result, tracker),
        "visibility of the tags": lambda result: tag_visibility(result.cine, result.landmarks),
        "HARP (not asked)": lambda result: HarpTracker().track(
            result.cine, result.landmarks.to_points().points_px[result.landmarks.ed_frame]
        ),
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
