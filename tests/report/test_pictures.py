"""Figures and animations: the right thing in the right place, whatever the slice looks like."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from contracting_slice import INNER_MM, OUTER_MM, contracting_slice
from tagstrain.data import Box, LandmarkTracks, Localization, PixelSpacing, SliceResult, StrainResult
from tagstrain.inference.strain import slice_strain
from tagstrain.quality import Grade
from tagstrain.report.animation import write_animation
from tagstrain.report.figures import write_summary_figure
from tagstrain.report.heart_view import heart_view
from tagstrain.report.panels import CinePanel, draw_circumferential, draw_radial, ring_colors
from tagstrain.report.saved_study import SavedQuality


def with_points(result: SliceResult, points_px: np.ndarray) -> SliceResult:
    landmarks = LandmarkTracks(points_px, np.full(points_px.shape[:-1], np.nan))
    strain = slice_strain(landmarks, result.cine.spacing_xy_mm, result.cine.frame_times_ms)
    return replace(result, landmarks=landmarks, strain=strain)


def test_animation_has_every_frame_at_a_third_of_its_speed(tmp_path: Path) -> None:
    result = contracting_slice(6, (64, 64))
    write_animation(tmp_path / "a.gif", result)
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == 6
        assert gif.size == (960, 500)
        assert gif.info["loop"] == 0
        durations = []
        pictures = []
        for frame in range(gif.n_frames):
            gif.seek(frame)
            durations.append(gif.info["duration"])
            pictures.append(np.asarray(gif.convert("RGB")))
    assert durations == [110] * 5 + [600]
    assert all((one != other).any() for one, other in pairwise(pictures))


def test_animation_marks_the_time_of_the_frame(tmp_path: Path) -> None:
    result = contracting_slice(9, (64, 64))
    write_animation(tmp_path / "a.gif", result)
    columns = []
    with Image.open(tmp_path / "a.gif") as gif:
        still = np.min([_gray(gif, frame) for frame in (1, 7)], axis=0)
        for frame in range(2, 7):
            panel = (still - _gray(gif, frame))[60:240, 500:]
            columns.append(int(np.argmax((panel > 30).sum(axis=0))))
    steps = np.diff(columns)
    assert (steps > 30).all()
    assert np.ptp(steps) <= 2


def _gray(gif: Image.Image, frame: int) -> np.ndarray:
    gif.seek(frame)
    return np.asarray(gif.convert("L"), float)


@pytest.mark.parametrize("spacing", [PixelSpacing(1.4, 1.2), PixelSpacing(1.0, 2.0)])
def test_landmarks_are_drawn_where_they_are_in_the_color_of_their_ring(spacing: PixelSpacing) -> None:
    result = contracting_slice(5, (70, 66), spacing)
    figure = Figure(figsize=(5, 5), dpi=100)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    panel = CinePanel(axes, result, heart_view(result), marker_pt=4)
    panel.show(3)
    canvas.draw()
    picture = np.asarray(canvas.buffer_rgba())[::-1, :, :3] / 255
    for spoke, ring in ((0, 0), (7, 3), (13, 5), (20, 6)):
        x, y = axes.transData.transform(result.landmarks.points_px[3, spoke, ring])
        np.testing.assert_allclose(picture[int(y), int(x)], to_rgb(ring_colors(7)[ring]), atol=0.12)


@pytest.mark.parametrize("spacing", [PixelSpacing(1.4, 1.2), PixelSpacing(1.0, 2.0)])
def test_image_and_landmarks_share_their_coordinates(spacing: PixelSpacing) -> None:
    result = contracting_slice(3, (70, 66), spacing)
    x, y = np.round(result.landmarks.points_px[0, 4, 3]).astype(int)
    frames = np.zeros_like(result.cine.frames)
    frames[:, y, x] = 100
    result = replace(result, cine=replace(result.cine, frames=frames))
    figure = Figure(figsize=(5, 5), dpi=100)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    CinePanel(axes, result, heart_view(result), scale_bar=False)
    canvas.draw()
    picture = np.asarray(canvas.buffer_rgba())[::-1, :, 0].astype(float)
    weights = np.where(picture > 128, picture, 0)
    rows, columns = np.indices(picture.shape)
    center = np.array([(weights * columns).sum(), (weights * rows).sum()]) / weights.sum() + 0.5
    np.testing.assert_allclose(center, axes.transData.transform((x, y)), atol=1.0)


def test_every_named_curve_says_what_it_is_and_its_own_peak() -> None:
    """A ring of radius R shrinks to sqrt(R^2 - 0.52 INNER^2): E_cc = -0.26 INNER^2 / R^2; the wall keeps its area."""
    strain = contracting_slice(41, (64, 64)).strain
    radius = np.linspace(INNER_MM, OUTER_MM, 7)
    of_ring = -100 * 0.26 * INNER_MM**2 / radius**2
    inner, outer = np.sqrt(radius[[0, -1]] ** 2 - 0.52 * INNER_MM**2)
    across = 100 * (((outer - inner) / (OUTER_MM - INNER_MM)) ** 2 - 1) / 2
    assert named_peaks(draw_circumferential, strain) == {
        "mean of rings": pytest.approx(np.mean(of_ring), abs=0.1),
        "mid-wall ring": pytest.approx(of_ring[3], abs=0.1),
    }
    assert named_peaks(draw_radial, strain) == {"across the wall": pytest.approx(across, abs=0.1)}


def named_peaks(draw: Callable[[Axes, StrainResult], None], strain: StrainResult) -> dict[str, float]:
    """Peaks in percent that the legend states, by the name of their curve."""
    axes = Figure().add_subplot()
    draw(axes, strain)
    assert axes.get_title("right") == "chords between landmarks"
    legend = axes.get_legend()
    assert legend is not None
    said = [re.fullmatch(r"(.+), peak (\S+) % at \d+ ms", text.get_text()) for text in legend.get_texts()]
    return {match[1]: float(match[2].replace("−", "-")) for match in said if match is not None}


def test_view_is_square_in_mm_and_holds_every_landmark() -> None:
    result = contracting_slice(5, (90, 80), PixelSpacing(1.0, 2.0))
    view = heart_view(result)
    width_mm, height_mm = 2.0 * (view.xlim[1] - view.xlim[0]), 1.0 * (view.ylim[0] - view.ylim[1])
    assert width_mm == pytest.approx(height_mm)
    points = result.landmarks.points_px
    assert view.xlim[0] < points[..., 0].min() < points[..., 0].max() < view.xlim[1]
    assert view.ylim[1] < points[..., 1].min() < points[..., 1].max() < view.ylim[0]


def summary_pixels(path: Path, result: SliceResult, quality: Any = None) -> np.ndarray:
    """The summary figure as RGB."""
    write_summary_figure(path, result, quality)
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"), int)


def test_summary_figure_shows_the_box_and_below_it_the_notes(tmp_path: Path) -> None:
    result = contracting_slice(5, (64, 64))
    noted = summary_pixels(tmp_path / "a.png", result)
    plain = summary_pixels(tmp_path / "b.png", replace(result, warnings=()))
    yellow = (np.abs(noted - [255, 212, 59]).sum(axis=-1) < 60).sum()
    assert yellow > 500
    assert plain.shape == (910, 1248, 3)
    assert len(noted) > len(plain)
    assert (noted[len(plain) :] < 200).any()
    np.testing.assert_array_equal(noted[: len(plain) - 15], plain[:-15])


@pytest.mark.parametrize("word", ["tags", "ANTERIOR", "x" * 400])
def test_a_long_note_is_wrapped_to_its_last_word_inside_the_margins(word: str, tmp_path: Path) -> None:
    result = contracting_slice(3, (48, 44))
    long = " ".join([word] * (800 // len(word)))
    pictures = [
        summary_pixels(tmp_path / "a.png", replace(result, warnings=(f"{long} {end}",))) for end in ("one", "two")
    ]
    bottoms = [picture[910:] for picture in pictures]
    assert all((bottom[:, -30:] == 255).all() and (bottom[-4:] == 255).all() for bottom in bottoms)
    assert (bottoms[0] != bottoms[1]).any()


def test_summary_figure_states_grade_and_reasons_in_the_words_of_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts: list[str] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: texts.extend(t.get_text() for t in figure.texts))
    result = contracting_slice(3, (48, 44))
    quality: Any = SavedQuality(Grade.USABLE, ("tags end early",))
    write_summary_figure(tmp_path / "a.png", result, quality)
    assert "quality usable · Green-Lagrange strain · localization confidence 0.93" in texts
    assert "Note: quality usable: tags end early; times assumed" in texts
    texts.clear()
    write_summary_figure(tmp_path / "a.png", result)
    assert "quality not assessed · Green-Lagrange strain · localization confidence 0.93" in texts


def awkward_slices() -> dict[str, SliceResult]:
    base = contracting_slice(4, (48, 44))
    points = base.landmarks.points_px
    gap, ed_only = points.copy(), points.copy()
    gap[2] = np.nan
    gap[:, 5] = np.nan
    ed_only[1:] = np.nan
    flat = replace(base, cine=replace(base.cine, frames=np.zeros_like(base.cine.frames)))
    edge = replace(base, localization=Localization(Box(-30, -20, 20, 30), 0.1), warnings=("x" * 500,))
    return {
        "two frames": contracting_slice(2, (48, 44)),
        "gaps": with_points(base, gap),
        "only ED known": with_points(base, ed_only),
        "no motion": with_points(base, np.repeat(points[:1], 4, axis=0)),
        "flat image": flat,
        "box beyond the edge": edge,
        "landmarks beyond the edge": with_points(base, points + 60),
        "dollar and underscore": contracting_slice(3, (48, 44), name="a_$b$_c"),
    }


@pytest.mark.parametrize("case", awkward_slices())
def test_awkward_slices_are_drawn_too(case: str, tmp_path: Path) -> None:
    result = awkward_slices()[case]
    write_animation(tmp_path / "a.gif", result)
    write_summary_figure(tmp_path / "a.png", result)
    with Image.open(tmp_path / "a.gif") as gif, Image.open(tmp_path / "a.png") as png:
        assert gif.n_frames == result.cine.n_frames
        png.load()
