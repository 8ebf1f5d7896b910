"""The curves of the page as plotly figures: `strain_charts`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tagstrain.mechanics.slice_deformation import SliceDeformation
from tagstrain.mechanics.smoothing import SmoothCurve, smooth_curve
from tagstrain.mechanics.study_mechanics import StudyMechanics, VentricleCurves
from tagstrain.mechanics.timing import CurveMeasures
from tagstrain.report.bulls_eye import SEGMENT_NAMES
from tagstrain.report.page_text import number_text
from tagstrain.report.references import CIRCUMFERENTIAL_PEAK, ReferenceRange

INK = "#1b1f24"
REFERENCE_COLOR = "#dcefe0"
_LEVEL_COLORS = {"basal": "#1d4ed8", "mid": "#c2410c", "apical": "#0f766e"}
_FURTHER_COLORS = ("#7c3aed", "#a16207", "#be185d", "#4d7c0f", "#0e7490", "#6b7280")
_LEVEL_SHADES = {
    "basal": ("#1e3a8a", "#1d4ed8", "#2563eb", "#3b82f6", "#5b9bf8", "#86b6fa"),
    "mid": ("#7c2d12", "#9a3412", "#c2410c", "#ea580c", "#f0803c", "#f5a46f"),
    "apical": ("#134e4a", "#0f766e", "#0d9488", "#2fb8a8"),
}
_STEP_MS = 4.0
"""Curves are drawn with points this far apart, finer than any frame interval."""


@dataclass(frozen=True, slots=True)
class Chart:
    """One plot of curves over time."""

    key: str
    title: str
    summary: str
    """What the curves show, in words."""
    figure: dict[str, Any]
    """``data`` and ``layout`` as plotly takes them."""


def strain_charts(mechanics: StudyMechanics, slice_names: Sequence[str]) -> list[Chart]:
    """Strain by slice and, where there are any, by segment, strain rate, rotation and twist."""
    return [
        _strain_chart(mechanics, slice_names, "circumferential", CIRCUMFERENTIAL_PEAK),
        *([_segment_chart(mechanics)] if mechanics.circumferential.segment_measures else []),
        _strain_chart(mechanics, slice_names, "radial", None),
        _rate_chart(mechanics, slice_names),
        _rotation_chart(mechanics, slice_names),
    ]


def chart_legend(mechanics: StudyMechanics, slice_names: Sequence[str]) -> list[tuple[str, str]]:
    """Names and colors of the curves that the charts share."""
    slices = list(zip(slice_names, _slice_colors(mechanics), strict=True))
    return slices if len(slices) == 1 else [*slices, ("all slices; twist", INK)]


def _strain_chart(
    mechanics: StudyMechanics, names: Sequence[str], component: str, reference: ReferenceRange | None
) -> Chart:
    """One strain component of every slice and of the whole ventricle, with its peaks."""
    traces: list[dict[str, Any]] = []
    said = []
    ventricle: VentricleCurves = getattr(mechanics, component)
    for name, color, slice_ in zip(names, _slice_colors(mechanics), mechanics.slices, strict=True):
        curves = getattr(slice_.deformation, component).slice_mean
        measures = getattr(slice_, component).slice_mean
        traces += _measured(name, color, curves, slice_.deformation.motion.frame_times_ms, measures)
        said.append(_peak_in_words(name, measures))
    if len(names) > 1:
        traces += _measured(
            "all slices", INK, ventricle.global_mean, mechanics.frame_times_ms, ventricle.global_measures, 3.0
        )
        said.append(_peak_in_words("all slices", ventricle.global_measures))
    layout = _layout(mechanics, " %")
    if reference is not None:
        layout["shapes"].append(_band(reference))
        said.append(f"peaks of healthy adults: {_range_in_words(reference)}")
    title = f"{component.capitalize()} strain"
    return Chart(component, title, f"{title}: " + "; ".join(said), {"data": traces, "layout": layout})


def _segment_chart(mechanics: StudyMechanics) -> Chart:
    """Circumferential strain of every AHA segment, one family of colors per level."""
    curves = mechanics.circumferential
    shades = [color for level in _LEVEL_SHADES.values() for color in level]
    traces = []
    for number in curves.segment_measures:
        curve = smooth_curve(curves.segments[:, number - 1], mechanics.frame_times_ms)
        if curve is not None:
            name = f"{number} {SEGMENT_NAMES[number]}"
            traces.append(_line(name, shades[number - 1], curve, 100 * curve.values, 1.6))
    peaks = [100 * measures.peak for measures in curves.segment_measures.values() if np.isfinite(measures.peak)]
    lowest, highest = min(peaks, default=np.nan), max(peaks, default=np.nan)
    summary = (
        f"Circumferential strain of {len(traces)} AHA segments; "
        f"peaks from {number_text(lowest, 1)} to {number_text(highest, 1)} %"
    )
    figure = {"data": traces, "layout": _layout(mechanics, " %")}
    return Chart("segments", "Circumferential strain by segment", summary, figure)


def _rate_chart(mechanics: StudyMechanics, names: Sequence[str]) -> Chart:
    """Rate of the circumferential strain of every slice and of the whole ventricle."""
    traces = [
        _line(name, color, curve, curve.rates_per_s, 1.8)
        for name, color, curve in _slice_curves(mechanics, names, lambda slice_: slice_.circumferential.slice_mean)
    ]
    ventricle = mechanics.circumferential
    curve = smooth_curve(ventricle.global_mean, mechanics.frame_times_ms)
    if curve is not None and len(names) > 1:
        traces.append(_line("all slices", INK, curve, curve.rates_per_s, 3.0))
    measures = ventricle.global_measures
    summary = (
        f"Circumferential strain rate of all slices: {number_text(measures.systolic_rate_per_s, 2, ' per s')} at its "
        f"fastest in systole, {number_text(measures.early_diastolic_rate_per_s, 2, ' per s')} early in diastole"
    )
    figure = {"data": traces, "layout": _layout(mechanics, "")}
    return Chart("rate", "Circumferential strain rate, 1/s", summary, figure)


def _rotation_chart(mechanics: StudyMechanics, names: Sequence[str]) -> Chart:
    """Rotation of every slice, and the twist between base and apex."""
    traces = [
        _line(name, color, curve, curve.values, 1.8)
        for name, color, curve in _slice_curves(mechanics, names, lambda slice_: slice_.slice_rotation_deg)
    ]
    twist = mechanics.twist
    summary = "Rotation since ED, counter-clockwise as seen from the apex positive; " + mechanics.twist_missing
    if twist is not None:
        curve = smooth_curve(twist.twist_deg, twist.frame_times_ms)
        if curve is not None:
            traces.append(_line("twist", INK, curve, curve.values, 3.0))
            traces.append(_peak_mark("twist", INK, twist.time_to_peak_ms, twist.peak_twist_deg))
        summary += f"twist of {number_text(twist.peak_twist_deg, 1, '°')} at {number_text(twist.time_to_peak_ms)} ms"
    return Chart("rotation", "Rotation and twist", summary, {"data": traces, "layout": _layout(mechanics, "°")})


def _slice_curves(
    mechanics: StudyMechanics, names: Sequence[str], values_of: Callable[[SliceDeformation], NDArray[np.float64]]
) -> Iterator[tuple[str, str, SmoothCurve]]:
    """Name, color and smooth curve of something measured over time in every slice, where it is known."""
    for name, color, slice_ in zip(names, _slice_colors(mechanics), mechanics.slices, strict=True):
        curve = smooth_curve(values_of(slice_.deformation), slice_.deformation.motion.frame_times_ms)
        if curve is not None:
            yield name, color, curve


def _measured(
    name: str,
    color: str,
    fractions: NDArray[np.float64],
    times_ms: NDArray[np.floating],
    measures: CurveMeasures,
    width: float = 1.8,
) -> list[dict[str, Any]]:
    """A strain in percent: its frames as dots, the smooth curve through them, a mark at its peak."""
    curve = smooth_curve(fractions, times_ms)
    if curve is None:
        return []
    dots = {
        "x": _rounded(times_ms, 1),
        "y": _rounded(100 * fractions, 2),
        "mode": "markers",
        "marker": {"color": color, "size": 3.5, "opacity": 0.55},
        "hoverinfo": "skip",
    }
    peak = _peak_mark(name, color, measures.time_to_peak_ms, 100 * measures.peak)
    return [dots, _line(name, color, curve, 100 * curve.values, width), peak]


def _line(name: str, color: str, curve: SmoothCurve, values: NDArray[np.float64], width: float) -> dict[str, Any]:
    """A smooth curve."""
    step = max(1, round(_STEP_MS / max(curve.times_ms[1] - curve.times_ms[0], 1e-6)))
    return {
        "x": _rounded(curve.times_ms[::step], 1),
        "y": _rounded(values[::step], 3),
        "mode": "lines",
        "name": name,
        "line": {"color": color, "width": width},
        "hovertemplate": "%{y:.2f} at %{x:.0f} ms",
    }


def _peak_mark(name: str, color: str, time_ms: float, value: float) -> dict[str, Any]:
    """A diamond at a peak."""
    return {
        "x": _rounded(np.array([time_ms]), 1),
        "y": _rounded(np.array([value]), 3),
        "mode": "markers",
        "marker": {"symbol": "diamond", "color": color, "size": 9, "line": {"color": "white", "width": 1.2}},
        "name": f"peak of {name}",
        "hovertemplate": "%{y:.2f} at %{x:.0f} ms",
    }


_NOTE: dict[str, Any] = {"showarrow": False, "font": {"size": 11, "color": "#4b5563"}}


def _layout(mechanics: StudyMechanics, tick_unit: str) -> dict[str, Any]:
    """Axes of a chart, with ED and ES marked; margins are fixed, since the page draws the moving time over them."""
    phases = mechanics.phases
    marks = {"ED": phases.ed_ms, "ES": phases.es_ms}
    first_ms = min(float(slice_.deformation.motion.frame_times_ms[0]) for slice_ in mechanics.slices)
    last_ms = max(float(slice_.deformation.motion.frame_times_ms[-1]) for slice_ in mechanics.slices)
    axis = {"fixedrange": True, "gridcolor": "#e3e7ec", "zerolinecolor": "#8a94a0", "tickfont": {"size": 11}}
    return {
        "margin": {"l": 46, "r": 10, "t": 18, "b": 26},
        "showlegend": False,
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "font": {"family": "system-ui, sans-serif", "color": INK},
        "hovermode": "closest",
        "xaxis": {**axis, "range": [first_ms, last_ms], "nticks": 7, "zeroline": False},
        "yaxis": {**axis, "ticksuffix": tick_unit},
        "shapes": [_mark_line(time_ms) for time_ms in marks.values()],
        "annotations": [
            {**_NOTE, "text": name, "x": time_ms, "y": 1, "yref": "paper", "yanchor": "bottom"}
            for name, time_ms in marks.items()
        ],
    }


def _mark_line(time_ms: float) -> dict[str, Any]:
    """A dashed line over the whole height at a time."""
    line = {"color": "#6b7480", "width": 1, "dash": "dash"}
    return {"type": "line", "x0": time_ms, "x1": time_ms, "y0": 0, "y1": 1, "yref": "paper", "line": line}


def _band(reference: ReferenceRange) -> dict[str, Any]:
    """The range of healthy peaks, shaded."""
    return {
        "type": "rect",
        "x0": 0,
        "x1": 1,
        "xref": "paper",
        "y0": reference.low,
        "y1": reference.high,
        "fillcolor": REFERENCE_COLOR,
        "line": {"width": 0},
        "layer": "below",
    }


def _slice_colors(mechanics: StudyMechanics) -> list[str]:
    """The color of its level for the first slice of each, another for every further slice."""
    left, further = dict(_LEVEL_COLORS), cycle(_FURTHER_COLORS)
    return [left.pop(slice_.deformation.motion.level, "") or next(further) for slice_ in mechanics.slices]


def _peak_in_words(name: str, measures: CurveMeasures) -> str:
    """A peak and its time."""
    return f"{name}: peak {number_text(100 * measures.peak, 1)} % at {number_text(measures.time_to_peak_ms)} ms"


def _range_in_words(reference: ReferenceRange) -> str:
    """A range with its unit."""
    return f"{number_text(reference.low, 1)} to {number_text(reference.high, 1)} {reference.unit}"


def _rounded(values: NDArray[np.floating], decimals: int) -> list[float | None]:
    """Plain numbers, None where not finite."""
    rounded = np.round(np.asarray(values, np.float64), decimals)
    return [float(value) if np.isfinite(value) else None for value in rounded]
