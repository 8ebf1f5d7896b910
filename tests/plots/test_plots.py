"""Figures for papers: the right value in the right place."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from contracting_slice import contracting_slice
from tagstrain.plots import (
    circumferential_scale,
    draw_bland_altman,
    draw_bulls_eye,
    draw_circumferential,
    draw_overlay_strip,
    draw_radial,
)


def drawn(figure: Figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def test_bulls_eye_has_every_value_on_its_color_and_gray_where_there_is_none() -> None:
    axes = Figure().add_subplot()
    values = {number: -1.5 * number for number in range(1, 16)} | {3: float("nan")}
    draw_bulls_eye(axes, values, circumferential_scale(), decimals=1)
    colors = [to_hex(patch.get_facecolor()) for patch in axes.patches]
    texts = [text.get_text() for text in axes.texts]
    assert texts[0] == "−1.5"
    assert texts[2] == texts[15] == "–"
    assert colors[2] == colors[15] == "#e6e9ed"
    assert colors[9] == circumferential_scale().color(-15.0)
    assert axes.texts[0].get_position() == pytest.approx((0, 0.86))  # basal anterior at the top


def test_bland_altman_has_the_textbook_limits() -> None:
    reference = np.array([1.0, 2.0, 3.0, 4.0, np.nan])
    measured = reference + np.array([0.1, 0.3, 0.1, 0.3, 0.0])
    axes = Figure().add_subplot()
    result = draw_bland_altman(axes, measured, reference, "mm")
    sd = np.std([0.1, 0.3, 0.1, 0.3], ddof=1)
    assert result == pytest.approx((0.2, 0.2 - 1.96 * sd, 0.2 + 1.96 * sd, 4))
    assert [line.get_ydata()[0] for line in axes.lines[1:]] == pytest.approx(result[:3])
    assert axes.get_xlabel() == "mean of both, mm"


@settings(max_examples=20)
@given(shift=st.floats(-5, 5), values=st.lists(st.floats(-100, 100), min_size=2, max_size=8))
def test_a_constant_difference_is_all_bias(shift: float, values: list[float]) -> None:
    result = draw_bland_altman(Figure().add_subplot(), np.array(values) + shift, np.array(values))
    assert result[:3] == pytest.approx([shift] * 3, abs=1e-9)


def test_bland_altman_refuses_values_that_are_no_pairs() -> None:
    for other in (np.zeros((3, 2)), np.zeros(6)):
        with pytest.raises(ValueError, match="of one shape, got"):
            draw_bland_altman(Figure().add_subplot(), np.zeros((2, 3)), other)


def test_overlay_strip_shows_ed_es_and_the_way_between() -> None:
    result = contracting_slice(20, (64, 64))
    figure = Figure(figsize=(8, 2.4))
    draw_overlay_strip(figure, result)
    titles = [axes.get_title() for axes in figure.axes]
    assert len(titles) == 4
    assert titles[0].endswith("ms (ED)")
    assert titles[2].endswith("ms (ES)")
    es_ms = result.strain.frame_times_ms[result.strain.es_frame]
    assert titles[2] == f"{es_ms:.0f} ms (ES)"
    points = result.landmarks.points_px[result.strain.es_frame]
    np.testing.assert_array_equal(figure.axes[2].lines[2].get_xdata(), points[:, 0, 0])
    assert drawn(figure).std() > 20


def test_overlay_strip_takes_the_frames_asked_for() -> None:
    result = contracting_slice(5, (48, 44))
    figure = Figure()
    draw_overlay_strip(figure, result, frames=[4, 0])
    assert [axes.get_title().split()[0] for axes in figure.axes] == ["162", "10"]
    with pytest.raises(ValueError, match="expected 0 to 4, got 5"):
        draw_overlay_strip(Figure(), result, frames=[5])


def test_strain_curves_can_be_drawn_on_axes_of_ones_own() -> None:
    result = contracting_slice(6, (48, 44))
    figure = Figure()
    circumferential, radial = figure.subplots(2)
    draw_circumferential(circumferential, result.strain)
    draw_radial(radial, result.strain)
    np.testing.assert_allclose(radial.lines[0].get_ydata(), 100 * result.strain.radial)
    assert len(circumferential.lines) >= 8
