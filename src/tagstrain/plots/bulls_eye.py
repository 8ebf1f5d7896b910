"""Values of the AHA segments as a bull's-eye: `draw_bulls_eye`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Wedge

from tagstrain.report.bulls_eye import bulls_eye_wedges
from tagstrain.report.page_text import number_text
from tagstrain.report.strain_colors import NOT_MEASURED, ColorScale, readable_on


def draw_bulls_eye(axes: Axes, values: Mapping[int, float], scale: ColorScale, decimals: int = 0) -> None:
    """Draw the segments as rings, base outside, anterior wall at the top, septum on the left.

    Parameters
    ----------
    axes
        Where to draw; they lose their ticks and frame.
    values
        By AHA segment, 1 to 16, in the unit of ``scale``; segments that are missing or NaN stay gray.
    scale
        Colors, such as `circumferential_scale`.
    decimals
        Of the numbers written into the segments.
    """
    for wedge in bulls_eye_wedges():
        value = values.get(wedge.segment, np.nan)
        color = scale.color(value) if np.isfinite(value) else NOT_MEASURED
        width = wedge.outer_radius - wedge.inner_radius
        axes.add_patch(
            Wedge((0, 0), wedge.outer_radius, wedge.start_deg, wedge.end_deg, width=width, fc=color, ec="white", lw=1.2)
        )
        radius, angle = (wedge.inner_radius + wedge.outer_radius) / 2, np.radians((wedge.start_deg + wedge.end_deg) / 2)
        x, y = radius * np.cos(angle), radius * np.sin(angle)
        axes.text(x, y, number_text(value, decimals), ha="center", va="center", fontsize=8, color=readable_on(color))
    axes.set(xlim=(-1.02, 1.02), ylim=(-1.02, 1.02), aspect="equal")
    axes.set_axis_off()
