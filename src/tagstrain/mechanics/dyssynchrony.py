"""How far the regions of the ventricle deform together: indices of dyssynchrony."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tagstrain.mechanics.smoothing import SmoothCurve
from tagstrain.mechanics.timing import CardiacPhases, CurveMeasures


class Dyssynchrony(NamedTuple):
    """Indices of dyssynchrony; NaN where too few regions are known."""

    time_to_peak_sd_ms: float
    """Standard deviation of the time to peak circumferential strain over the segments that have one."""
    circumferential_uniformity: float
    """CURE, of circumferential strain: 1 where all sectors agree, 0 where opposite ones cancel."""
    radial_uniformity: float
    """RURE, the same of radial strain."""
    internal_stretch_fraction: float
    """Stretch over shortening during systole, of circumferential strain; 0 where no segment is stretched."""


def time_to_peak_sd_ms(measures: Sequence[CurveMeasures]) -> float:
    """Sample standard deviation of the segments' times to peak; NaN for fewer than two that are known.

    References
    ----------
    Yu et al., Circulation 2004;110:66-73 (there of tissue velocities)
    """
    times = np.array([measure.time_to_peak_ms for measure in measures])
    known = times[np.isfinite(times)]
    return float(known.std(ddof=1)) if len(known) > 1 else np.nan


def uniformity_ratio(sector_strains: Sequence[NDArray[np.floating]]) -> float:
    """Uniformity ratio estimate: CURE of circumferential, RURE of radial strain.

    ``sqrt(S0 / (S0 + 2 S1))`` with the power ``S0`` of the mean over sectors and ``S1`` of the first Fourier order
    around the ventricle, each summed over slices and frames.

    Parameters
    ----------
    sector_strains
        Per slice, strain of equally wide sectors in angular order, shape ``(time, sector)``; frames in which a
        sector is NaN are left out.

    References
    ----------
    Leclercq et al., Circulation 2002;106:1760-1763; radial: Budge et al.,
    JACC Cardiovasc Imaging 2012;5:789-797
    """
    mean_power = first_power = 0.0
    for strain in sector_strains:
        known = strain[np.isfinite(strain).all(axis=1)]
        orders = np.abs(np.fft.rfft(known, axis=1) / max(strain.shape[1], 1)) ** 2
        mean_power += float(orders[:, 0].sum())
        first_power += float(orders[:, 1].sum()) if orders.shape[1] > 1 else 0.0
    total = mean_power + 2 * first_power
    return float(np.sqrt(mean_power / total)) if total > 0 else np.nan


def internal_stretch_fraction(curves: Sequence[SmoothCurve | None], phases: CardiacPhases) -> float:
    """Total stretch of all regions over their total shortening between ED and end-systole.

    NaN where nothing shortens.

    References
    ----------
    Kirn et al., Am J Physiol Heart Circ Physiol 2008;295:H640-H646, doi:10.1152/ajpheart.00106.2008
    """
    stretch = shortening = 0.0
    for curve in curves:
        if curve is not None:
            is_systole = (curve.times_ms >= phases.ed_ms) & (curve.times_ms <= phases.es_ms)
            steps = np.diff(curve.values[is_systole])
            stretch += float(steps[steps > 0].sum())
            shortening -= float(steps[steps < 0].sum())
    return stretch / shortening if shortening > 0 else np.nan
