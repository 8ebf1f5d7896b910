"""One slice in motion, the landmarks beside the strain curves: as pictures (`draw_frames`) and as an animated GIF."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from tagstrain.data import SliceResult
from tagstrain.report.heart_view import heart_view
from tagstrain.report.panels import (
    FOOTER,
    INK,
    MUTED,
    CinePanel,
    draw_circumferential,
    draw_radial,
    draw_ring_key,
    set_animated,
)

_DPI = 100
_SLOW_MOTION = 3.0
_SHOWN_MS = (30, 400)
_LAST_FRAME_MS = 600
_N_GRAYS = 96
_N_COLORS = 160
_COLORFUL = 24  # difference between the largest and the smallest channel, of 255


def write_animation(path: Path, result: SliceResult) -> None:
    """Write the animation, three times slower than the heart, looping.

    Every frame lasts as long as the cine's own frame times say, so uneven timing looks uneven.
    """
    pictures = [Image.fromarray(pixels) for pixels in draw_frames(result)]
    palette = _shared_palette(pictures, (result.strain.ed_frame, result.strain.es_frame))
    indexed = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    indexed[0].save(
        path,
        format="GIF",
        save_all=True,
        append_images=indexed[1:],
        duration=_durations_ms(result.strain.frame_times_ms),
        loop=0,
        optimize=False,
    )


def draw_frames(result: SliceResult) -> list[NDArray[np.uint8]]:
    """RGB pictures ``(row, column, 3)``; the static part is drawn once and the moving part over it."""
    figure = Figure(figsize=(9.6, 5.0), dpi=_DPI, facecolor="white")
    canvas: Any = FigureCanvasAgg(figure)  # matplotlib leaves this class untyped
    strain = result.strain
    cine = CinePanel(figure.add_axes((0.025, 0.095, 0.4224, 0.811)), result, heart_view(result))
    curves = {
        figure.add_axes((0.525, 0.575, 0.45, 0.30)): (draw_circumferential, strain.circumferential_mean, INK),
        figure.add_axes((0.525, 0.150, 0.45, 0.29)): (draw_radial, strain.radial, INK),
    }
    markers = []
    for axes, (draw, _, color) in curves.items():
        draw(axes, strain)
        markers.append(axes.axvline(0, color=color, lw=1.2, alpha=0.55))
        markers.append(axes.plot([0], [0], "o", ms=6, color=color, mec="white", mew=1.2, zorder=5)[0])
    figure.text(0.025, 0.951, result.name, fontsize=12, fontweight="bold", color=INK, va="center", parse_math=False)
    clock = figure.text(0.4474, 0.951, "", fontsize=10, color=INK, va="center", ha="right")
    draw_ring_key(figure, 0.025, 0.048, result.landmarks.points_px.shape[2])
    figure.text(0.975, 0.03, FOOTER, fontsize=8, color=MUTED, ha="right", va="center")
    moving = [*cine.artists, *markers, clock]
    set_animated(moving)
    canvas.draw()
    background = canvas.copy_from_bbox(figure.bbox)

    pictures = []
    n_frames = len(strain.frame_times_ms)
    for frame, time_ms in enumerate(strain.frame_times_ms):
        cine.show(frame)
        for index, (_, values, _) in enumerate(curves.values()):
            markers[2 * index].set_xdata([time_ms, time_ms])
            markers[2 * index + 1].set_data([time_ms], [100 * values[frame]])
        phase = {strain.ed_frame: "  ED", strain.es_frame: "  ES"}.get(frame, "")
        clock.set_text(f"frame {frame + 1} of {n_frames} · {time_ms:.0f} ms{phase}")
        canvas.restore_region(background)
        for artist in moving:
            figure.draw_artist(artist)
        pictures.append(np.asarray(canvas.buffer_rgba())[..., :3].copy())
    return pictures


def _shared_palette(pictures: list[Image.Image], frames: tuple[int, ...]) -> Image.Image:
    """One palette for all frames, so that colors do not flicker: even grays, and the colors of the given frames.

    Chosen apart because the landmarks cover few pixels and would lose their colors to the image's grays.
    """
    pixels = np.concatenate([np.asarray(pictures[frame]).reshape(-1, 3) for frame in frames])
    colorful = pixels[np.ptp(pixels, axis=1) > _COLORFUL]
    entries = [(level, level, level) for level in np.linspace(0, 255, _N_GRAYS).round().astype(int).tolist()]
    if len(colorful):
        chosen = Image.fromarray(colorful[None]).quantize(_N_COLORS, method=Image.Quantize.MEDIANCUT)
        colors = np.array(chosen.getpalette(), int).reshape(-1, 3)
        entries += [tuple(color) for color in colors.tolist()]
    palette = Image.new("P", (1, 1))
    palette.putpalette([channel for entry in entries for channel in entry])
    return palette


def _durations_ms(frame_times_ms: NDArray[np.float64]) -> list[int]:
    """Time each frame stays on the screen, in GIF's steps of 10 ms; the last one rests before the loop starts."""
    shown = np.clip(np.diff(frame_times_ms) * _SLOW_MOTION, *_SHOWN_MS)
    return [*(int(round(ms, -1)) for ms in shown.tolist()), _LAST_FRAME_MS]
