"""The curves of the page as plotly figures: `strain_charts`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tagstrain.mechanics.regions import LAYERS, RegionalCurves
from tagstrain.mechanics.slice_deformation import SliceDeformation
from tagstrain.mechanics.slice_mechanics import RegionalMeasures
from tagstrain.mechanics.smoothing import SmoothCurve, smooth_curve
from tagstrain.mechanics.study_mechanics import StudyMechanics, VentricleCurves
from tagstrain.mechanics.timing import CurveMeasures
from tagstrain.report.bulls_eye import SEGMENT_NAMES
from tagstrain.report.page_text import number_text
from tagstrain.report.references import CIRCUMFERENTIAL_PEAK, ReferenceRange
from tagstrain.report.study_function import StudyFunction

INK = "#1b1f24"
REFERENCE_COLOR = "#dcefe0"
HEALTHY_PEAKS = "peaks of healthy adults, near mid-wall, mean of the slices"
"""What the shaded range is of, in words."""
_VENTRICLE = "ventricle"
_MIDWALL = LAYERS.index("mid")
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


def strain_charts(function: StudyFunction, slice_names: Sequence[str]) -> list[Chart]:
    """Strain by slice, at mid-wall too, and, where there are any, by segment, strain rate, rotation and twist."""
    ventricle = function.ventricle
    return [
        _strain_chart(function, slice_names, "circumferential", CIRCUMFERENTIAL_PEAK, is_midwall=True),
        _strain_chart(function, slice_names, "circumferential"),
        *([_segment_chart(function, ventricle)] if ventricle and ventricle.circumferential.segment_measures else []),
        _strain_chart(function, slice_names, "radial"),
        _rate_chart(function, slice_names),
        _rotation_chart(function, slice_names),
    ]


def chart_legend(function: StudyFunction, slice_names: Sequence[str]) -> list[tuple[str, str]]:
    """Names and colors of the curves that the charts share."""
    slices = list(zip(slice_names, _slice_colors(function), strict=True))
    return slices if _together(function) is None else [*slices, (f"{_VENTRICLE}; twist", INK)]


def _together(function: StudyFunction) -> StudyMechanics | None:
    """The ventricle where it is more than one slice, whose curves are its own."""
    ventricle = function.ventricle
    return None if ventricle is None or len(ventricle.slices) == 1 else ventricle


def _strain_chart(
    function: StudyFunction,
    names: Sequence[str],
    component: str,
    reference: ReferenceRange | None = None,
    *,
    is_midwall: bool = False,
) -> Chart:
    """One strain component of every slice and of the ventricle, over the whole wall or at mid-wall, with its peaks."""
    traces: list[dict[str, Any]] = []
    said = []
    for name, color, slice_ in zip(names, _slice_colors(function), function.slices, strict=True):
        curves: RegionalCurves = getattr(slice_.deformation, component)
        regions: RegionalMeasures = getattr(slice_, component)
        values = curves.layers[:, _MIDWALL] if is_midwall else curves.slice_mean
        measures = regions.layers["mid"] if is_midwall else regions.slice_mean
        traces += _measured(name, color, values, slice_.deformation.motion.frame_times_ms, measures)
        said.append(_peak_in_words(name, measures))
    together = _together(function)
    if together is not None:
        whole: VentricleCurves = getattr(together, component)
        values = whole.layers[:, _MIDWALL] if is_midwall else whole.global_mean
        measures = whole.layer_measures["mid"] if is_midwall else whole.global_measures
        traces += _measured(_VENTRICLE, INK, values, together.frame_times_ms, measures, 3.0)
        said.append(_peak_in_words(_VENTRICLE, measures))
    layout = _layout(function, " %")
    if reference is not None:
        layout["shapes"].append(_band(reference))
        said.append(f"{HEALTHY_PEAKS}: {_range_in_words(reference)}")
    title = f"{component.capitalize()} strain, {'mid-wall' if is_midwall else 'whole wall'}"
    key = f"{component}_midwall" if is_midwall else component
    return Chart(key, title, f"{title}: " + "; ".join(said), {"data": traces, "layout": layout})


def _segment_chart(function: StudyFunction, ventricle: StudyMechanics) -> Chart:
    """Circumferential strain of every AHA segment, one family of colors per level."""
    curves = ventricle.circumferential
    shades = [color for level in _LEVEL_SHADES.values() for color in level]
    traces = []
    for number in curves.segment_measures:
        curve = smooth_curve(curves.segments[:, number - 1], ventricle.frame_times_ms)
        if curve is not None:
            name = f"{number} {SEGMENT_NAMES[number]}"
            traces.append(_line(name, shades[number - 1], curve, 100 * curve.values, 1.6))
    peaks = [100 * measures.peak for measures in curves.segment_measures.values() if np.isfinite(measures.peak)]
    lowest, highest = min(peaks, default=np.nan), max(peaks, default=np.nan)
    summary = (
        f"Circumferential strain of {len(traces)} AHA segments, whole wall; "
        f"peaks from {number_text(lowest, 1)} to {number_text(highest, 1)} %"
    )
    figure = {"data": traces, "layout": _layout(function, " %")}
    return Chart("segments", "Circ. strain by segment, whole wall", summary, figure)


def _rate_chart(function: StudyFunction, names: Sequence[str]) -> Chart:
    """Rate of the circumferential strain of every slice and of the whole ventricle."""
    traces = [
        _line(name, color, curve, curve.rates_per_s, 1.8)
        for name, color, curve in _slice_curves(function, names, lambda slice_: slice_.circumferential.slice_mean)
    ]
    measured = [(name, slice_.circumferential.slice_mean) for name, slice_ in zip(names, function.slices, strict=True)]
    together = _together(function)
    if together is not None:
        whole = together.circumferential
        curve = smooth_curve(whole.global_mean, together.frame_times_ms)
        if curve is not None:
            traces.append(_line(_VENTRICLE, INK, curve, curve.rates_per_s, 3.0))
        measured = [(_VENTRICLE, whole.global_measures)]
    said = (
        f"{name}: {number_text(measures.systolic_rate_per_s, 2, ' per s')} at its fastest in systole, "
        f"{number_text(measures.early_diastolic_rate_per_s, 2, ' per s')} early in diastole"
        for name, measures in measured
    )
    summary = "Circumferential strain rate, whole wall: " + "; ".join(said)
    figure = {"data": traces, "layout": _layout(function, "")}
    return Chart("rate", "Circ. strain rate, whole wall, 1/s", summary, figure)


def _rotation_chart(function: StudyFunction, names: Sequence[str]) -> Chart:
    """Rotation of every slice, and the twist between base and apex."""
    traces = [
        _line(name, color, curve, curve.values, 1.8)
        for name, color, curve in _slice_curves(function, names, lambda slice_: slice_.slice_rotation_deg)
    ]
    ventricle = function.ventricle
    twist = None if ventricle is None else ventricle.twist
    why_no_twist = "no twist" if ventricle is None else ventricle.twist_missing
    summary = "Rotation since ED, counter-clockwise as seen from the apex positive; " + why_no_twist
    if twist is not None:
        curve = smooth_curve(twist.twist_deg, twist.frame_times_ms)
        if curve is not None:
            traces.append(_line("twist", INK, curve, curve.values, 3.0))
            traces.append(_peak_mark("twist", INK, twist.time_to_peak_ms, twist.peak_twist_deg))
        summary += f"twist of {number_text(twist.peak_twist_deg, 1, '°')} at {number_text(twist.time_to_peak_ms)} ms"
    return Chart("rotation", "Rotation and twist", summary, {"data": traces, "layout": _layout(function, "°")})


def _slice_curves(
    function: StudyFunction, names: Sequence[str], values_of: Callable[[SliceDeformation], NDArray[np.float64]]
) -> Iterator[tuple[str, str, SmoothCurve]]:
    """Name, color and smooth curve of something measured over time in every slice, where it is known."""
    for name, color, slice_ in zip(names, _slice_colors(function), function.slices, strict=True):
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


def _layout(function: StudyFunction, tick_unit: str) -> dict[str, Any]:
    """Axes of a chart, with ED and ES of the ventricle marked; margins are fixed, since the page draws the moving time
    over them."""
    ventricle = function.ventricle
    marks = {} if ventricle is None else {"ED": ventricle.phases.ed_ms, "ES": ventricle.phases.es_ms}
    first_ms = min(float(slice_.deformation.motion.frame_times_ms[0]) for slice_ in function.slices)
    last_ms = max(float(slice_.deformation.motion.frame_times_ms[-1]) for slice_ in function.slices)
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


def _slice_colors(function: StudyFunction) -> list[str]:
    """The color of its level for the first slice of each, another for every further slice."""
    left, further = dict(_LEVEL_COLORS), cycle(_FURTHER_COLORS)
    return [left.pop(slice_.deformation.motion.level, "") or next(further) for slice_ in function.slices]


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
