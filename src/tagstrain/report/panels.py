"""What figures and animations are made of: the cine with its landmarks, and the strain curves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import AbstractPathEffect, withStroke
from numpy.typing import NDArray

from tagstrain import __version__
from tagstrain.data import SliceResult, StrainResult
from tagstrain.data.landmarks import MIDWALL_RING
from tagstrain.report.curves import CHORDS, PEAK_REGIONS, PeakPair, peak_strains
from tagstrain.report.heart_view import View

INK = "#1b1f24"
MUTED = "#6b7480"
FAINT = "#d9dee4"
RADIAL = "#c2255c"
BOX = "#ffd43b"
FOOTER = f"tagstrain {__version__} · not for diagnostic use"
_RINGS = ("#ff4d5e", "#ff8533", "#ffb81f", "#8cc63f", "#1fb5a0", "#2f97f0", "#8f7bff")
_SCALE_BAR_MM = 10.0


def ring_colors(n_rings: int) -> list[str]:
    """One color per ring, endocardium (warm) to epicardium (cold)."""
    stops = np.array([[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in _RINGS]) / 255
    positions = np.linspace(0, len(_RINGS) - 1, n_rings)
    mixed = np.stack([np.interp(positions, np.arange(len(_RINGS)), stops[:, c]) for c in range(3)], axis=-1)
    return [to_hex(color) for color in mixed]


class CinePanel:
    """A cine with its landmarks on a pair of axes, ready to show any frame."""

    def __init__(
        self, axes: Axes, result: SliceResult, view: View, marker_pt: float = 3.2, scale_bar: bool = True
    ) -> None:
        self._result = result
        self._view = view
        spacing = result.cine.pixel_spacing
        axes.set_facecolor("black")
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_visible(False)
        extent = (view.columns.start - 0.5, view.columns.stop - 0.5, view.rows.stop - 0.5, view.rows.start - 0.5)
        dark, bright = view.gray_range
        self._image = axes.imshow(
            self._pixels(0), cmap="gray", vmin=dark, vmax=bright, interpolation="bicubic", extent=extent
        )
        colors = ring_colors(result.landmarks.points_px.shape[2])
        outer = (0, len(colors) - 1)
        self._contours = [axes.plot([], [], color=colors[ring], lw=1.0, alpha=0.8)[0] for ring in outer]
        self._outer = outer
        self._rings = [
            axes.plot([], [], ls="", marker="o", ms=marker_pt, mew=0.0, color=color, alpha=0.95)[0] for color in colors
        ]
        axes.set(xlim=view.xlim, ylim=view.ylim, aspect=spacing.row_mm / spacing.column_mm)
        self._scale_bar = _scale_bar(axes, view, spacing.column_mm) if scale_bar else []

    def show(self, frame: int) -> None:
        """Show a frame."""
        self._image.set_data(self._pixels(frame))
        points = self._result.landmarks.points_px[frame]
        for ring, line in enumerate(self._rings):
            line.set_data(points[:, ring, 0], points[:, ring, 1])
        for ring, line in zip(self._outer, self._contours, strict=True):
            closed = np.concatenate([points[:, ring], points[:1, ring]])
            line.set_data(closed[:, 0], closed[:, 1])

    @property
    def artists(self) -> list[Artist]:
        """What changes from frame to frame or lies on top of it, in drawing order."""
        return [self._image, *self._contours, *self._rings, *self._scale_bar]

    def _pixels(self, frame: int) -> NDArray[np.float32]:
        """The part of a frame that is shown."""
        pixels = self._result.cine.frames[frame, self._view.rows, self._view.columns]
        return pixels if pixels.size else np.zeros((1, 1), np.float32)


def draw_circumferential(axes: Axes, strain: StrainResult) -> None:
    """Circumferential strain of every ring, and their mean, in percent."""
    times, peaks = strain.frame_times_ms, peak_strains(strain)
    n_rings = strain.circumferential.shape[1]
    for ring, color in enumerate(ring_colors(n_rings)):
        label = _with_peak("circumferential_midwall", peaks) if ring == MIDWALL_RING else None
        width = 1.9 if ring == MIDWALL_RING else 1.0
        axes.plot(times, 100 * strain.circumferential[:, ring], color=color, lw=width, alpha=0.9, label=label)
    label = _with_peak("circumferential_mean", peaks)
    axes.plot(times, 100 * strain.circumferential_mean, color=INK, lw=2.2, label=label)
    _dress(axes, strain, "Circumferential strain, %", n_named=2)


def draw_radial(axes: Axes, strain: StrainResult) -> None:
    """Radial strain from the first ring to the last in percent."""
    label = _with_peak("radial", peak_strains(strain))
    axes.plot(strain.frame_times_ms, 100 * strain.radial, color=RADIAL, lw=2.2, label=label)
    _dress(axes, strain, "Radial strain, %", n_named=1)
    axes.set_xlabel("time since the R wave, ms", fontsize=8.5, color=MUTED)


def draw_ring_key(figure: Figure, x: float, y: float, n_rings: int) -> None:
    """Name the first and last color of the rings, in figure coordinates."""
    step = 0.012
    figure.text(x, y, "endocardium", fontsize=8, color=MUTED, va="center")
    start = x + 0.66 / figure.get_figwidth() + 0.018
    for ring, color in enumerate(ring_colors(n_rings)):
        figure.text(start + ring * step, y, "●", fontsize=8, color=color, va="center", ha="center")
    figure.text(start + n_rings * step, y, "epicardium", fontsize=8, color=MUTED, va="center")


def set_animated(artists: Iterable[Artist]) -> None:
    """Leave artists out of the static background."""
    for artist in artists:
        artist.set_animated(True)


def _with_peak(name: str, peaks: Mapping[str, PeakPair]) -> str:
    """Where a curve was measured, and its peak where that is known."""
    peak = peaks[name].green_lagrange
    if peak is None:
        return PEAK_REGIONS[name]
    value = f"{100 * peak.value:+.1f}".replace("-", "−")
    return f"{PEAK_REGIONS[name]}, peak {value} % at {peak.time_ms:.0f} ms"


def _dress(axes: Axes, strain: StrainResult, title: str, n_named: int) -> None:
    """Title, zero line, ED and ES marks, quiet axes, and the names of some curves above them."""
    axes.set_title(title, fontsize=9.5, color=INK, loc="left", fontweight="bold", pad=6)
    axes.set_title(CHORDS, fontsize=8.5, color=MUTED, loc="right", pad=6)
    axes.axhline(0, color=MUTED, lw=0.8)
    marks = (
        {strain.ed_frame: "ED", strain.es_frame: "ES"}
        if strain.ed_frame != strain.es_frame
        else {strain.ed_frame: "ED = ES"}
    )
    for frame, label in marks.items():
        time_ms = strain.frame_times_ms[frame]
        axes.axvline(time_ms, color=MUTED, lw=1.0, ls=(0, (3, 2.5)))
        style: dict[str, Any] = {"fontsize": 8, "color": MUTED, "va": "bottom", "textcoords": "offset points"}
        axes.annotate(label, (time_ms, 0.0), xycoords=("data", "axes fraction"), xytext=(3, 2), **style)
    axes.grid(axis="y", color=FAINT, lw=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8, colors=MUTED, length=0)
    span = float(np.ptp(strain.frame_times_ms))
    axes.set_xlim(strain.frame_times_ms[0] - 0.01 * span, strain.frame_times_ms[-1] + 0.01 * span)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.legend(loc="upper right", fontsize=7.5, edgecolor="none", labelcolor=INK, borderaxespad=0.1, reverse=True)
    _leave_room(axes, above=0.04 + 0.12 * n_named)


def _leave_room(axes: Axes, above: float) -> None:
    """Fix the range of values, with room for labels below and a legend above."""
    low, high = axes.get_ylim()
    span = max(high - low, 2.0)
    axes.set_ylim(low - 0.10 * span, high + above * span)


def _scale_bar(axes: Axes, view: View, column_mm: float) -> list[Artist]:
    """White bar of 10 mm with its label, lower left, outlined so that it shows on bright tissue too."""
    outline: list[AbstractPathEffect] = [withStroke(linewidth=2.0, foreground="black", alpha=0.6)]
    width = view.xlim[1] - view.xlim[0]
    height = view.ylim[0] - view.ylim[1]
    x, y = view.xlim[0] + 0.04 * width, view.ylim[0] - 0.04 * height
    length_px = _SCALE_BAR_MM / column_mm
    bar = axes.add_patch(Rectangle((x, y - 0.008 * height), length_px, 0.008 * height, color="white", lw=0))
    bar.set_path_effects(outline)
    label = axes.text(x, y - 0.018 * height, f"{_SCALE_BAR_MM:.0f} mm", color="white", fontsize=7.5, ha="left")
    label.set_path_effects(outline)
    return [bar, label]
