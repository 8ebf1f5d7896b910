"""A smooth curve through noisy frames, with its rate of change: `smooth_curve`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import BSpline, make_interp_spline, make_smoothing_spline

HALF_GAIN_PERIOD_MS = 120.0
"""Oscillations of this period pass at half their size; chosen by benchmarks/strain_rate.py."""
TIME_STEP_MS = 1.0
"""Times at which the smooth curve is given are at most this far apart."""
MIN_SPLINE_FRAMES = 5
"""Fewer known frames are joined by straight lines."""


@dataclass(frozen=True, eq=False, slots=True)
class SmoothCurve:
    """A curve freed of noise, at fine steps from the first known frame to the last."""

    times_ms: NDArray[np.float64]
    values: NDArray[np.float64]
    rates_per_s: NDArray[np.float64]
    """Change of the value per second."""

    def __post_init__(self) -> None:
        if not self.times_ms.shape == self.values.shape == self.rates_per_s.shape:
            raise ValueError(
                f"expected times, values and rates of one shape, got {self.times_ms.shape}, {self.values.shape}, "
                f"{self.rates_per_s.shape}"
            )

    def value_at(self, time_ms: float) -> float:
        """Value at any time; NaN outside the known frames."""
        return float(np.interp(time_ms, self.times_ms, self.values, left=np.nan, right=np.nan))


def smooth_curve(
    values: NDArray[np.floating],
    frame_times_ms: NDArray[np.floating],
    half_gain_period_ms: float = HALF_GAIN_PERIOD_MS,
) -> SmoothCurve | None:
    """Cubic smoothing spline through the known frames, used twice, with its strength set in ms.

    The spline minimizes ``integral (f - y)**2 + (P / 2 pi)**4 integral f''**2``; it passes an oscillation of period
    ``T`` with gain ``1 / (1 + (P / T)**4)``. What it leaves is smoothed again and added back (Tukey's twicing): the
    gain stays near 1 for longer and then falls faster, so that peak rates are flattened less for the same noise. Each
    frame stands for the time around it: neither the number of frames nor their spacing, even or not, changes what is
    smoothed away.

    Parameters
    ----------
    values
        Shape ``(time,)``; NaN where not known.
    frame_times_ms
        Shape ``(time,)``, strictly increasing.
    half_gain_period_ms
        Period that passes at half its size, ``P / (1 + sqrt 2)**(1 / 4)``.

    Returns
    -------
        None where fewer than two frames are known.

    References
    ----------
    Silverman, Ann Stat 1984;12:898-916, doi:10.1214/aos/1176346710 (the spline's gain); Tukey, Exploratory Data
    Analysis, 1977 (twicing)
    """
    is_known = np.isfinite(values)
    if is_known.sum() < 2:
        return None
    times = np.asarray(frame_times_ms, np.float64)[is_known]
    n_steps = int(np.ceil((times[-1] - times[0]) / TIME_STEP_MS))
    fine_times = np.linspace(times[0], times[-1], n_steps + 1)
    knots, to_coefficients, degree = _smoother(tuple(times.tolist()), half_gain_period_ms)
    curve = BSpline(knots, to_coefficients @ np.asarray(values, np.float64)[is_known], degree)
    return SmoothCurve(fine_times, curve(fine_times), curve.derivative()(fine_times) * 1000)


@lru_cache(maxsize=8)
def _smoother(
    times_ms: tuple[float, ...], half_gain_period_ms: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Knots of the spline through values at some times, its coefficients ``(coefficient, time)`` per value, its degree.

    Smoothing is linear, and the many curves of a slice share their times.
    """
    times = np.array(times_ms)
    each = np.eye(len(times))
    if len(times) < MIN_SPLINE_FRAMES:
        spline = make_interp_spline(times, each, k=1)
        return spline.t, spline.c, spline.k
    strength = (1 + np.sqrt(2)) * (half_gain_period_ms / (2 * np.pi)) ** 4
    spline = make_smoothing_spline(times, each, w=np.gradient(times), lam=strength)
    return spline.t, spline.c @ (2 * each - spline(times)), spline.k
