"""The table of slices: every peak under the name of what it is of."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from contracting_slice import INNER_MM, OUTER_MM, contracting_slice
from tagstrain.cli.tables import SliceTable


def test_each_column_of_peaks_says_where_they_were_measured() -> None:
    """A ring of radius R shrinks to sqrt(R^2 - 0.52 INNER^2): E_cc = -0.26 INNER^2 / R^2; the wall keeps its area."""
    quality: Any = SimpleNamespace(grade="good")
    table = SliceTable()
    table.add("case_7", contracting_slice(41, (64, 64)), quality)
    rendered = table.render()
    assert rendered.title == "Peak Green-Lagrange strain of chords between landmarks"
    shown = {str(column.header): next(column.cells) for column in rendered.columns}
    radius = np.linspace(INNER_MM, OUTER_MM, 7)
    of_ring = -100 * 0.26 * INNER_MM**2 / radius**2
    inner, outer = np.sqrt(radius[[0, -1]] ** 2 - 0.52 * INNER_MM**2)
    assert shown["Circ., mean of rings (%)"] == f"{np.mean(of_ring):.1f}"
    assert shown["Circ., mid-wall ring (%)"] == f"{of_ring[3]:.1f}"
    assert shown["Radial, across the wall (%)"] == f"{50 * (((outer - inner) / (OUTER_MM - INNER_MM)) ** 2 - 1):.1f}"
