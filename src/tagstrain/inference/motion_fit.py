"""What smooths a noisy motion field: the tissue it belongs to, a low-order model of its motion, local polynomials."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from scipy.spatial import Delaunay, QhullError


def tissue_around(
    points: NDArray[np.floating], size: int, max_gap: float, isolated_radius: float, softness: float
) -> NDArray[np.float64]:
    """Soft mask of the tissue that a set of points samples, such as the wall between an inner and an outer ring.

    The points are joined to triangles; those that fit in a circle of diameter ``max_gap`` are tissue, larger ones
    span a hole or a bay. Points that belong to no such triangle stand for a disc around them.

    Parameters
    ----------
    points
        Finite positions ``(point, 2)`` in pixels of the mask.
    size
        Rows and columns of the mask.
    max_gap, isolated_radius, softness
        In pixels; the mask falls off outside the tissue like a Gaussian with standard deviation ``softness``.

    Returns
    -------
        Shape ``(size, size)``, 1 in the tissue, 0 far from it.
    """
    steps = np.arange(size, dtype=float)
    grid = np.stack(np.broadcast_arrays(steps[None, :], steps[:, None]), axis=-1)
    inside = np.zeros((size, size), bool)
    isolated = np.ones(len(points), bool)
    try:
        triangulation = Delaunay(points)
    except (QhullError, ValueError):  # fewer than three points, or all on one line
        triangulation = None
    if triangulation is not None:
        corners = points[triangulation.simplices]
        sides = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=-1)
        (ax, ay), (bx, by) = (corners[:, 1] - corners[:, 0]).T, (corners[:, 2] - corners[:, 0]).T
        four_areas = 2 * np.abs(ax * by - ay * bx)
        small = 2 * sides.prod(axis=1) < max_gap * four_areas
        simplex = triangulation.find_simplex(grid)
        inside = (simplex >= 0) & small[simplex]
        isolated[triangulation.simplices[small]] = False
    for point in points[isolated]:
        inside |= np.linalg.norm(grid - point, axis=-1) <= isolated_radius
    if not inside.any():
        return np.zeros((size, size))
    return np.asarray(np.exp(-(distance_transform_edt(~inside) ** 2) / (2 * softness**2)))


@dataclass(frozen=True, eq=False, slots=True)
class MotionModel:
    """The motion of the whole tissue as a sum of few functions, fitted to all that was measured.

    Around a hole: Fourier terms in angle times ``1/r``, 1 and ``r``, the radial terms of an incompressible ring to
    first order. Otherwise: a polynomial of second degree. Faint regions follow it, and it steers local fits.
    """

    basis: NDArray[np.float64]
    """Shape ``(function, row, column)``."""
    penalty: NDArray[np.float64]
    """Per function, relative to the sum of weights."""

    @classmethod
    def of(cls, tissue: NDArray[np.floating], fourier_order: int = 3, stiffness: float = 0.01) -> MotionModel:
        """Model for a soft tissue mask ``(row, column)``."""
        rows, columns = np.nonzero(tissue > 0.5)
        steps_y, steps_x = (np.arange(n, dtype=float) for n in tissue.shape)
        x = np.broadcast_to(steps_x[None, :] - columns.mean(), tissue.shape)
        y = np.broadcast_to(steps_y[:, None] - rows.mean(), tissue.shape)
        radius = max(1.0, float(np.hypot(columns - columns.mean(), rows - rows.mean()).mean()))
        if tissue[round(rows.mean()), round(columns.mean())] > 0.5:
            x, y = np.clip(x / radius, -3, 3), np.clip(y / radius, -3, 3)
            functions = [np.ones_like(x), x, y, x * x, x * y, y * y]
            orders = [0, 0, 0, 1, 1, 1]
        else:
            # Bounded at the center and far out, where no tissue holds the fit.
            ratio = np.clip(np.hypot(x, y) / radius, 0.15, 2)
            angle = np.arctan2(y, x)
            waves = [(0, np.ones_like(angle))]
            waves += [(m, wave(m * angle)) for m in range(1, fourier_order + 1) for wave in (np.cos, np.sin)]
            functions = [wave * ratio**power for _, wave in waves for power in (-1, 0, 1)]
            orders = [order for order, _ in waves for _ in range(3)]
        return cls(np.stack(functions), stiffness * np.square(orders, dtype=float) + 1e-6)

    def __call__(self, values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Weighted least-squares fits to ``(direction, row, column)``, everywhere on the grid."""
        used = weights.max(axis=0) > 1e-3
        basis = self.basis[:, used]
        weighted = basis * weights[:, None, used]
        normal = weighted @ basis.T
        normal += np.diag(self.penalty) * (weights.sum((1, 2)) + 1e-6)[:, None, None]
        coefficients = np.linalg.solve(normal, (weighted @ values[:, used, None]))[..., 0]
        return np.asarray(np.einsum("df,fij->dij", coefficients, self.basis))


class LocalPolynomialFit:
    """Moving weighted least-squares fit of a polynomial under a Gaussian window.

    Unlike a Gaussian average it has no bias towards the side where more was measured, so that the rim of a tissue
    is extrapolated along the slope (and the curvature) inside.

    Parameters
    ----------
    where
        Nodes at which the fit is wanted, a mask of shape ``(row, column)``, square.
    window
        Standard deviation of the Gaussian [nodes].
    degree
        1 or 2.
    ridge
        Pull of slopes and curvatures towards zero, which keeps scarce data from being extrapolated.
    """

    def __init__(self, where: NDArray[np.bool_], window: float, degree: int, ridge: float = 0.02) -> None:
        steps = np.arange(len(where))
        offset = (steps[None, :] - steps[:, None]) / window
        gaussian = np.exp(-(offset**2) / 2)
        self._moments = [gaussian * offset**power for power in range(2 * degree + 1)]
        self._powers = [(p, q) for p in range(degree + 1) for q in range(degree + 1 - p)]
        self._where = where
        self._ridge = np.diag([0.0] + [ridge] * (len(self._powers) - 1))

    def __call__(
        self, values: NDArray[np.float64], weights: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Fit ``values`` ``(direction, row, column)``.

        Returns
        -------
            Fitted values ``(direction, node)`` and their variance for unit variance at unit weight, same shape.
        """
        powers = self._powers
        totals = {(p, q) for a, b in powers for c, d in powers for p, q in [(a + c, b + d)]}
        sums = {power: self._moment(weights, power) for power in totals}
        normal = np.stack([np.stack([sums[a + c, b + d] for c, d in powers], -1) for a, b in powers], -2)
        normal += (sums[0, 0] + 1e-9)[..., None, None] * self._ridge + 1e-12 * np.eye(len(powers))
        data = np.stack([self._moment(weights * values, power) for power in powers], axis=-1)
        unit = np.zeros_like(data)
        unit[..., 0] = 1
        solution = np.linalg.solve(normal, np.stack([data, unit], axis=-1))
        return np.asarray(solution[..., 0, 0]), np.asarray(solution[..., 0, 1])

    def _moment(self, values: NDArray[np.float64], power: tuple[int, int]) -> NDArray[np.float64]:
        """Windowed sum of ``values`` times ``x**p * y**q`` about each wanted node."""
        along_x, along_y = self._moments[power[0]], self._moments[power[1]]
        return np.asarray((along_y @ values @ along_x.T)[:, self._where])
