"""One slice on one page: ED, mid-systole and ES with landmarks, and the strain curves."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from tagstrain import __version__
from tagstrain.data import SliceResult
from tagstrain.report.heart_view import heart_view
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
_NOTE_LENGTH = 110


def write_summary_figure(path: Path, result: SliceResult) -> None:
    """Write a PNG with three frames, the box around the ventricle and the strain curves in percent."""
    figure = Figure(figsize=(9.6, 7.0), dpi=_DPI, facecolor="white")
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
    details = f"Green-Lagrange strain · localization confidence {stated}"
    figure.text(0.97, 0.955, details, fontsize=8.5, color=MUTED, ha="right", va="center")
    draw_ring_key(figure, 0.03, 0.459, result.landmarks.points_px.shape[2])
    figure.text(0.97, 0.025, FOOTER, fontsize=8, color=MUTED, ha="right", va="center")
    if result.warnings:
        note = "; ".join(result.warnings)
        note = note if len(note) <= _NOTE_LENGTH else note[: _NOTE_LENGTH - 1] + "…"
        figure.text(0.03, 0.025, f"Note: {note}", fontsize=8, color=MUTED, va="center", parse_math=False)
    figure.savefig(path, format="png", metadata={"Software": f"tagstrain {__version__}"})


def _draw_box(axes: Axes, result: SliceResult) -> None:
    """The box that the localizer found."""
    box = result.localization.box
    axes.add_patch(
        Rectangle((box.x1, box.y1), box.x2 - box.x1, box.y2 - box.y1, fill=False, edgecolor=BOX, lw=1.2, alpha=0.9)
    )
