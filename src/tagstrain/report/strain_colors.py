"""Colors of strain and time, the same in bull's-eyes and over the cine: blue contracts, red gives way."""

from __future__ import annotations

from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.colors import to_hex

CIRCUMFERENTIAL_LIMIT_PERCENT = 30.0
RADIAL_LIMIT_PERCENT = 100.0
NOT_MEASURED = "#e6e9ed"
"""Color of a segment without a value."""
_N_COLORS = 64


class ColorScale(NamedTuple):
    """A color map between two values; values beyond take the last color."""

    low: float
    high: float
    map_name: str

    def color(self, value: float) -> str:
        """Color of a value as ``#rrggbb``."""
        return to_hex(self._map((value - self.low) / (self.high - self.low)))

    def colors(self) -> list[str]:
        """Evenly spaced colors from low to high."""
        return [to_hex(color) for color in self._map(np.linspace(0, 1, _N_COLORS))]

    @property
    def _map(self) -> matplotlib.colors.Colormap:
        """The color map by its name in matplotlib."""
        return matplotlib.colormaps[self.map_name]


def circumferential_scale() -> ColorScale:
    """Circumferential strain in percent: shortening is blue."""
    return ColorScale(-CIRCUMFERENTIAL_LIMIT_PERCENT, CIRCUMFERENTIAL_LIMIT_PERCENT, "RdBu_r")


def radial_scale() -> ColorScale:
    """Radial strain in percent: thickening is blue."""
    return ColorScale(-RADIAL_LIMIT_PERCENT, RADIAL_LIMIT_PERCENT, "RdBu")


def time_scale(last_ms: float) -> ColorScale:
    """Time since the R wave up to the end of the cine."""
    return ColorScale(0.0, last_ms, "viridis")


def readable_on(color: str) -> str:
    """Black or white, whichever stands out more on a color ``#rrggbb`` (relative luminance as WCAG 2 defines it)."""
    channels = [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if luminance > 0.179 else "#ffffff"
