"""The bull's-eyes of the page as SVG shapes with their colors: `bulls_eyes`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import cos, isfinite, radians, sin

from tagstrain.mechanics.study_mechanics import StudyMechanics, VentricleCurves
from tagstrain.mechanics.timing import CurveMeasures
from tagstrain.report.bulls_eye import SEGMENT_NAMES, Wedge, bulls_eye_wedges
from tagstrain.report.page_text import UNKNOWN, number_text
from tagstrain.report.strain_colors import (
    NOT_MEASURED,
    ColorScale,
    circumferential_scale,
    radial_scale,
    readable_on,
    time_scale,
)

_RADIUS = 100


@dataclass(frozen=True, slots=True)
class BullsEyeWedge:
    """One segment as it is drawn."""

    path: str
    """SVG path around the origin."""
    fill: str
    ink: str
    text: str
    text_x: float
    text_y: float
    tooltip: str


@dataclass(frozen=True, slots=True)
class BullsEye:
    """One quantity over the ventricle."""

    title: str
    unit: str
    scale: ColorScale
    wedges: tuple[BullsEyeWedge, ...]
    summary: str
    """Everything that the picture shows, in words."""


def bulls_eyes(mechanics: StudyMechanics) -> tuple[BullsEye, ...]:
    """Peak circumferential and radial strain and the time of the former, per AHA segment; none without segments."""
    if not mechanics.circumferential.segment_measures:
        return ()
    last_ms = float(mechanics.frame_times_ms[-1])
    circumferential, radial = mechanics.circumferential, mechanics.radial
    return (
        _bulls_eye(
            "Peak circumferential strain, whole wall", "%", circumferential, _peak_percent, circumferential_scale()
        ),
        _bulls_eye("Peak radial strain, whole wall", "%", radial, _peak_percent, radial_scale()),
        _bulls_eye(
            "Time to peak circumferential strain, whole wall",
            "ms",
            circumferential,
            _time_to_peak_ms,
            time_scale(last_ms),
        ),
    )


def _peak_percent(measures: CurveMeasures) -> float:
    return 100 * measures.peak


def _time_to_peak_ms(measures: CurveMeasures) -> float:
    return measures.time_to_peak_ms


def _bulls_eye(
    title: str,
    unit: str,
    curves: VentricleCurves,
    value_of: Callable[[CurveMeasures], float],
    scale: ColorScale,
) -> BullsEye:
    """One quantity of every segment that was imaged."""
    values = {number: value_of(measures) for number, measures in curves.segment_measures.items()}
    wedges = tuple(_drawn(wedge, values, unit, scale) for wedge in bulls_eye_wedges())
    return BullsEye(title, unit, scale, wedges, f"{title}. " + "; ".join(wedge.tooltip for wedge in wedges))


def _drawn(wedge: Wedge, values: Mapping[int, float], unit: str, scale: ColorScale) -> BullsEyeWedge:
    """A wedge with the color and the text of its value."""
    value = values.get(wedge.segment)
    is_known = value is not None and isfinite(value)
    fill = scale.color(value) if value is not None and is_known else NOT_MEASURED
    text = number_text(value)
    x, y = _point((wedge.inner_radius + wedge.outer_radius) / 2, (wedge.start_deg + wedge.end_deg) / 2)
    said = f"{text} {unit}" if text != UNKNOWN else "not measured"
    return BullsEyeWedge(
        path=_wedge_path(wedge),
        fill=fill,
        ink=readable_on(fill),
        text=text,
        text_x=x,
        text_y=y,
        tooltip=f"{wedge.segment} {SEGMENT_NAMES[wedge.segment]}: {said}",
    )


def _wedge_path(wedge: Wedge) -> str:
    """SVG path of a wedge; y points down there."""
    start_outer, end_outer = (_point(wedge.outer_radius, angle) for angle in (wedge.start_deg, wedge.end_deg))
    start_inner, end_inner = (_point(wedge.inner_radius, angle) for angle in (wedge.start_deg, wedge.end_deg))
    outer, inner = wedge.outer_radius * _RADIUS, wedge.inner_radius * _RADIUS
    return (
        f"M{start_outer[0]} {start_outer[1]}A{outer:.1f} {outer:.1f} 0 0 0 {end_outer[0]} {end_outer[1]}"
        f"L{end_inner[0]} {end_inner[1]}A{inner:.1f} {inner:.1f} 0 0 1 {start_inner[0]} {start_inner[1]}Z"
    )


def _point(radius: float, angle_deg: float) -> tuple[float, float]:
    """SVG coordinates of a point of the unit circle's disc."""
    angle = radians(angle_deg)
    return round(_RADIUS * radius * cos(angle), 1), round(-_RADIUS * radius * sin(angle), 1)
