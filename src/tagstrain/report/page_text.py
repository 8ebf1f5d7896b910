"""Numbers as a reader sees them on the page: percent, with a real minus sign, a dash where not known."""

from __future__ import annotations

from math import isfinite

UNKNOWN = "–"


def number_text(value: float | None, decimals: int = 0, unit: str = "") -> str:
    """A number with its unit; `UNKNOWN` where there is none."""
    if value is None or not isfinite(value):
        return UNKNOWN
    text = f"{value:.{decimals}f}"
    shown = text.lstrip("-") if float(text) == 0 else text
    return shown.replace("-", "\N{MINUS SIGN}") + unit


def percent_text(fraction: float | None, decimals: int = 1) -> str:
    """A fraction as percent."""
    return number_text(None if fraction is None else 100 * fraction, decimals, " %")
