"""One slice on one page: ED, mid-systole and ES with landmarks, and the strain curves."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.transforms import Bbox

from tagstrain import __version__
from tagstrain.data import SliceResult
from tagstrain.quality import SliceQuality
from tagstrain.report.heart_view import heart_view
from tagstrain.report.page_notes import slice_remarks
from tagstrain.report.page_tables import NOT_ASSESSED
from tagstrain.report.panels import (
    BOX,
    FOOTER,
    INK,
    MUTED,
    CinePanel,
    draw_circumferential,
    draw_radial,
    draw_ring_key,
)

_DPI = 130
_SIZE_IN = (9.6, 7.0)
_NOTE_LINE_LENGTH = 120  # fits between the margins in any but the widest letters
_NOTE_LINE_IN = 20 / _DPI  # whole pixels, so that notes move nothing above them


def write_summary_figure(path: Path, result: SliceResult, quality: SliceQuality | None = None) -> None:
    """Write a PNG with three frames, the box around the ventricle and the strain curves in percent.

    Parameters
    ----------
    quality
        Its grade stands at the top and its reasons below, in front of the slice's warnings; None says that it was not
        assessed.
    """
    figure = Figure(figsize=_SIZE_IN, dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    strain = result.strain
    times = strain.frame_times_ms
    frames = {
        "ED": strain.ed_frame,
        "halfway": (strain.ed_frame + strain.es_frame) // 2,
        "ES": strain.es_frame,
    }
    view = heart_view(result, result.localization.box)
    for column, (label, frame) in enumerate(frames.items()):
        axes = figure.add_axes((0.03 + column * 0.318, 0.485, 0.304, 0.417))
        CinePanel(axes, result, view, marker_pt=2.2, scale_bar=label == "ES").show(frame)
        axes.set_title(
            f"{label} · frame {frame + 1} of {len(times)} · {times[frame]:.0f} ms", fontsize=9, color=INK, loc="left"
        )
        if label == "ED":
            _draw_box(axes, result)
    left, right = figure.add_axes((0.06, 0.11, 0.41, 0.275)), figure.add_axes((0.56, 0.11, 0.41, 0.275))
    draw_circumferential(left, strain)
    left.set_xlabel("time since the R wave, ms", fontsize=8.5, color=MUTED)
    draw_radial(right, strain)
    figure.text(0.03, 0.955, result.name, fontsize=13, fontweight="bold", color=INK, va="center", parse_math=False)
    confidence = result.localization.confidence
    stated = "not stated" if confidence is None else f"{confidence:.2f}"
    grade = NOT_ASSESSED if quality is None else quality.grade
    details = f"quality {grade} · Green-Lagrange strain · localization confidence {stated}"
    figure.text(0.97, 0.955, details, fontsize=8.5, color=MUTED, ha="right", va="center")
    draw_ring_key(figure, 0.03, 0.459, result.landmarks.points_px.shape[2])
    figure.text(0.97, 0.025, FOOTER, fontsize=8, color=MUTED, ha="right", va="center")
    notes_in = _write_notes(figure, slice_remarks(result, quality))
    whole = Bbox.from_extents(0, -notes_in, *_SIZE_IN)
    figure.savefig(path, format="png", bbox_inches=whole, metadata={"Software": f"tagstrain {__version__}"})


def _write_notes(figure: Figure, remarks: Sequence[str]) -> float:
    """Write remarks below the figure, as many lines as they need; returns how far they reach below it, in inches."""
    if not remarks:
        return 0.0
    lines = textwrap.wrap("Note: " + "; ".join(remarks), _NOTE_LINE_LENGTH)
    style: dict[str, Any] = {"fontsize": 8, "color": MUTED, "va": "center", "parse_math": False}
    for place, line in enumerate(lines):
        figure.text(0.03, -place * _NOTE_LINE_IN / _SIZE_IN[1], line, **style)
    return len(lines) * _NOTE_LINE_IN


def _draw_box(axes: Axes, result: SliceResult) -> None:
    """The box that the localizer found."""
    box = result.localization.box
    axes.add_patch(
        Rectangle((box.x1, box.y1), box.x2 - box.x1, box.y2 - box.y1, fill=False, edgecolor=BOX, lw=1.2, alpha=0.9)
    )
