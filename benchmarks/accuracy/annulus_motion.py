"""Motion of the second generator: an incompressible annulus inside a divergence-free B-spline deformation.

Written apart from ``tagstrain.simulation`` and sharing nothing with it, so that a tracker trained there is judged on
motion of another kind.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

N_FIXED_POINT_STEPS = 60


def bspline_basis(positions: Array, first_knot: float, step: float, n_knots: int) -> tuple[Array, Array]:
    """Uniform cubic B-splines and their derivatives at some positions, both of shape ``(position, knot)``."""
    s = (positions[:, None] - first_knot) / step - np.arange(n_knots)
    a = np.abs(s)
    value = np.where(a < 1, 2 / 3 - a**2 + a**3 / 2, np.where(a < 2, (2 - a) ** 3 / 6, 0.0))
    slope = np.where(a < 1, -2 * s + 1.5 * s * a, np.where(a < 2, -np.sign(s) * (2 - a) ** 2 / 2, 0.0))
    return value, slope / step


@dataclass(frozen=True, slots=True)
class Contraction:
    """Course of the contraction, 0 when tagged and 1 at its peak: the double Hill function of elastance models.

    References
    ----------
    Stergiopulos, Meister and Westerhof, Am J Physiol 1996;270:H2050
    """

    peak_ms: float
    rise_exponent: float
    fall_exponent: float
    fall_delay: float
    """Half time of the fall over that of the rise."""
    residual: float
    """Share that the fall leaves behind."""

    def __call__(self, time_ms: Array | float) -> Array:
        """Contraction at times since tagging."""
        grid = np.linspace(0, 6, 1201)
        shape = self._shape(grid)
        peak = int(np.argmax(shape))
        return np.asarray(self._shape(np.asarray(time_ms, np.float64) / self.peak_ms * grid[peak]) / shape[peak])

    def _shape(self, time: Array) -> Array:
        """Product of rise and fall, in units of the rise's half time."""
        rise = np.maximum(time, 0) ** self.rise_exponent
        fall = (np.maximum(time, 0) / self.fall_delay) ** self.fall_exponent
        return np.asarray(rise / (1 + rise) * (self.residual + (1 - self.residual) / (1 + fall)))


@dataclass(frozen=True, slots=True)
class Annulus:
    """Circles that stay circles: every ring keeps its share of the wall's volume, and turns.

    A material point ``R`` from the axis goes to ``r**2 = a**2 + (R**2 - A**2) / stretch``: with a through-plane stretch
    of ``stretch`` the wall's volume is kept exactly. Blood inside ``A`` is scaled, tissue outside ``B`` keeps its area.
    """

    inner_mm: float
    """``A``, inside the endocardium."""
    outer_mm: float
    """``B``, outside the epicardium."""
    inner_shortening: float
    """Of the radius ``A`` at the peak of the contraction."""
    through_plane_shortening: float
    twist_inner_rad: float
    twist_outer_rad: float

    def _radii(self, contraction: float) -> tuple[float, float, float]:
        """Inner and outer radius now, and the through-plane stretch."""
        inner = self.inner_mm * (1 - self.inner_shortening * contraction)
        stretch = 1 - self.through_plane_shortening * contraction
        return inner, float(np.sqrt(inner**2 + (self.outer_mm**2 - self.inner_mm**2) / stretch)), stretch

    def _twist(self, radius_ed: Array, twist: float) -> Array:
        """Rotation of rings by their radius at ED: linear in the wall, dying out with the square outside."""
        depth = np.clip((radius_ed - self.inner_mm) / (self.outer_mm - self.inner_mm), 0, 1)
        fade = np.minimum(1, (self.outer_mm / np.maximum(radius_ed, 1e-9)) ** 2)
        angle = self.twist_inner_rad + (self.twist_outer_rad - self.twist_inner_rad) * depth
        return np.asarray(twist * angle * fade)

    def forward(self, points_mm: Array, contraction: float, twist: float) -> Array:
        """Where material points ``(..., 2)``, relative to the axis, have gone."""
        inner, outer, stretch = self._radii(contraction)
        radius_ed = np.hypot(points_mm[..., 0], points_mm[..., 1])
        wall = inner**2 + (radius_ed**2 - self.inner_mm**2) / stretch
        outside = outer**2 + radius_ed**2 - self.outer_mm**2
        radius = np.where(
            radius_ed < self.inner_mm,
            radius_ed * inner / self.inner_mm,
            np.sqrt(np.maximum(np.where(radius_ed > self.outer_mm, outside, wall), 0)),
        )
        return _turned(points_mm, radius / np.maximum(radius_ed, 1e-9), self._twist(radius_ed, twist))

    def backward(self, points_mm: Array, contraction: float, twist: float) -> Array:
        """Where the material that is now at points ``(..., 2)`` was at ED."""
        inner, outer, stretch = self._radii(contraction)
        radius = np.hypot(points_mm[..., 0], points_mm[..., 1])
        wall = self.inner_mm**2 + (radius**2 - inner**2) * stretch
        outside = self.outer_mm**2 + radius**2 - outer**2
        radius_ed = np.where(
            radius < inner,
            radius * self.inner_mm / inner,
            np.sqrt(np.maximum(np.where(radius > outer, outside, wall), 0)),
        )
        return _turned(points_mm, radius_ed / np.maximum(radius, 1e-9), -self._twist(radius_ed, twist))


def _turned(points_mm: Array, scale: Array, angle_rad: Array) -> Array:
    """Points scaled and turned about the origin, each by its own."""
    c, s = np.cos(angle_rad) * scale, np.sin(angle_rad) * scale
    x, y = points_mm[..., 0], points_mm[..., 1]
    return np.stack([c * x - s * y, s * x + c * y], axis=-1)


@dataclass(frozen=True, eq=False, slots=True)
class StreamDeformation:
    """Free-form deformation over time whose displacement is the curl of a B-spline stream function.

    The displacement at a *place* ``x`` is ``u = (d psi / dy, -d psi / dx)``: no divergence, so area changes in second
    order only. ``psi`` is a cubic B-spline in space, and in time it has two parts: one that follows the contraction
    (bulk motion) and a cubic B-spline in time.
    """

    first_knot_mm: float
    """Of both axes, relative to the axis of the annulus."""
    step_mm: float
    following: Array
    """Coefficients of the part that follows the contraction, shape ``(x knot, y knot)``."""
    free: Array
    """Coefficients of the free part, shape ``(time knot, x knot, y knot)``."""
    time_step_ms: float

    def _coefficients(self, time_ms: float, contraction: float) -> Array:
        """Spatial coefficients at a time; zero when the tags are laid."""
        first = -3 * self.time_step_ms
        now, _ = bspline_basis(np.array([time_ms, 0.0]), first, self.time_step_ms, len(self.free))
        return np.asarray(contraction * self.following + np.tensordot(now[0] - now[1], self.free, axes=1))

    def at_points(self, points_mm: Array, time_ms: float, contraction: float) -> Array:
        """Displacement at places ``(point, 2)``."""
        c = self._coefficients(time_ms, contraction)
        x, dx = bspline_basis(points_mm[:, 0], self.first_knot_mm, self.step_mm, len(c))
        y, dy = bspline_basis(points_mm[:, 1], self.first_knot_mm, self.step_mm, len(c))
        return np.stack([((x @ c) * dy).sum(axis=1), -((dx @ c) * y).sum(axis=1)], axis=-1)

    def on_grid(self, x_mm: Array, y_mm: Array, time_ms: float, contraction: float) -> Array:
        """Displacement on the grid of all ``x_mm`` and ``y_mm``, shape ``(y, x, 2)``."""
        c = self._coefficients(time_ms, contraction)
        x, dx = bspline_basis(x_mm, self.first_knot_mm, self.step_mm, len(c))
        y, dy = bspline_basis(y_mm, self.first_knot_mm, self.step_mm, len(c))
        return np.stack([dy @ c.T @ x.T, -(y @ c.T @ dx.T)], axis=-1)


@dataclass(frozen=True, eq=False, slots=True)
class SliceMotion:
    """The whole motion; positions are mm from the axis of the annulus, times ms since the tags were laid."""

    annulus: Annulus
    deformation: StreamDeformation
    contraction: Contraction
    twist: Contraction

    def forward(self, material_mm: Array, time_ms: float) -> Array:
        """Place of material points ``(point, 2)`` at a time, exact to 1e-6 mm.

        Raises
        ------
        ArithmeticError
            If the deformation is too steep to be followed.
        """
        contraction = float(self.contraction(time_ms))
        turned = self.annulus.forward(material_mm, contraction, float(self.twist(time_ms)))
        places = turned
        change = np.zeros(1)
        for _ in range(N_FIXED_POINT_STEPS):
            after = turned + self.deformation.at_points(places, time_ms, contraction)
            change = np.abs(after - places)
            places = after
        if change.max(initial=0) > 1e-6:
            raise ArithmeticError(f"deformation: positions known to {change.max():.1e} mm only, expected 1e-6 mm")
        return places

    def backward_on_grid(self, x_mm: Array, y_mm: Array, time_ms: float) -> Array:
        """Material point now at every place of a grid, shape ``(y, x, 2)``."""
        contraction = float(self.contraction(time_ms))
        places = np.stack(np.meshgrid(x_mm, y_mm), axis=-1)
        before = places - self.deformation.on_grid(x_mm, y_mm, time_ms, contraction)
        return self.annulus.backward(before, contraction, float(self.twist(time_ms)))
