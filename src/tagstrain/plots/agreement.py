"""How two ways to measure the same quantity agree: `draw_bland_altman`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from tagstrain.mechanics.accuracy import summarize_differences
from tagstrain.report.panels import FAINT, INK, MUTED

_LIMITS_SD = 1.96


class BlandAltman(NamedTuple):
    """Mean difference and the limits within which 95 % of differences lie, where they are normal."""

    bias: float
    lower_limit: float
    upper_limit: float
    n: int


def draw_bland_altman(
    axes: Axes, measured: NDArray[np.floating], reference: NDArray[np.floating], unit: str = ""
) -> BlandAltman:
    """Plot differences against means, with bias and limits of agreement.

    Parameters
    ----------
    axes
        Where to draw.
    measured, reference
        Pairs of values in ``unit``, of one shape; pairs with a NaN are left out.
    unit
        For the labels.

    Returns
    -------
        What the lines show; NaN for limits of fewer than two pairs.

    Raises
    ------
    ValueError
        If the shapes differ.

    References
    ----------
    Bland and Altman, Lancet 1986;327:307-310, doi:10.1016/S0140-6736(86)90837-8
    """
    one, other = np.asarray(measured, np.float64), np.asarray(reference, np.float64)
    if one.shape != other.shape:
        raise ValueError(f"expected measured and reference values of one shape, got {one.shape} and {other.shape}")
    one, other = one.ravel(), other.ravel()
    summary = summarize_differences(one - other)
    limits = (summary.bias - _LIMITS_SD * summary.sd, summary.bias + _LIMITS_SD * summary.sd)
    axes.plot((one + other) / 2, one - other, "o", ms=4, mew=0, color=INK, alpha=0.6)
    for value, name, style in (
        (summary.bias, "bias", "-"),
        (limits[0], "−1.96 SD", "--"),
        (limits[1], "+1.96 SD", "--"),
    ):
        if np.isfinite(value):
            axes.axhline(value, color=MUTED, lw=1.2, ls=style)
            axes.annotate(
                f"{name} {value:+.3g}".replace("-", "−"),
                (1, value),
                xycoords=("axes fraction", "data"),
                xytext=(-2, 3),
                textcoords="offset points",
                ha="right",
                fontsize=8,
                color=MUTED,
            )
    shown_unit = f", {unit}" if unit else ""
    axes.set_xlabel(f"mean of both{shown_unit}", fontsize=9, color=INK)
    axes.set_ylabel(f"measured − reference{shown_unit}", fontsize=9, color=INK)
    axes.grid(axis="y", color=FAINT, lw=0.6)
    axes.set_axisbelow(True)
    return BlandAltman(summary.bias, *limits, summary.n)
