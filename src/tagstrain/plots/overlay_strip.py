"""Frames of a slice side by side with their landmarks: `draw_overlay_strip`."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure, SubFigure

from tagstrain.data import SliceResult
from tagstrain.report.heart_view import heart_view
from tagstrain.report.panels import INK, CinePanel

_PHASES_OF_ES = (0.0, 0.5, 1.0, 1.5)
"""Frames shown where none are asked for, from ED (0) to ES (1) and on."""


def draw_overlay_strip(figure: Figure | SubFigure, result: SliceResult, frames: Sequence[int] | None = None) -> None:
    """Fill a figure, or a part of one, with frames and the landmarks on them.

    Parameters
    ----------
    figure
        Where to draw; one wide row.
    result
        The slice.
    frames
        Which frames; None takes ED, halfway to ES, ES, and halfway as far beyond.

    Raises
    ------
    ValueError
        If a frame does not exist.
    """
    strain, n_frames = result.strain, result.cine.n_frames
    if frames is None:
        length = strain.es_frame - strain.ed_frame
        phases = (round(strain.ed_frame + phase * length) for phase in _PHASES_OF_ES)
        frames = sorted({min(max(frame, 0), n_frames - 1) for frame in phases})
    outside = [frame for frame in frames if not 0 <= frame < n_frames]
    if outside:
        raise ValueError(f"frames: expected 0 to {n_frames - 1}, got {outside[0]}")
    view = heart_view(result)
    for place, frame in enumerate(frames):
        axes = figure.add_subplot(1, len(frames), place + 1)
        CinePanel(axes, result, view, marker_pt=1.8, scale_bar=place == 0).show(frame)
        phase = {strain.ed_frame: " (ED)", strain.es_frame: " (ES)"}.get(frame, "")
        axes.set_title(f"{strain.frame_times_ms[frame]:.0f} ms{phase}", fontsize=9, color=INK)
