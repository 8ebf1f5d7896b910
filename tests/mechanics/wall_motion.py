"""Motions of a ring of muscle whose strain has a closed form."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]


class PolarTruth(NamedTuple):
    """Green-Lagrange strain in the polar frame at ED."""

    radial: NDArray[np.float64]
    circumferential: NDArray[np.float64]
    shear: NDArray[np.float64]


class Cylinder(NamedTuple):
    """Section of a thick-walled incompressible cylinder that contracts, shortens along its axis and twists.

    ``r**2 = R**2 / axial_stretch - lost_mm2`` keeps the volume; the section turns by an angle that grows with radius.
    """

    lost_mm2: float = 228.0
    axial_stretch: float = 0.9
    turn_rad: float = 0.15
    turn_per_mm: float = -0.01

    def move(self, points_mm: Points) -> Points:
        """Place ``(..., 2)`` now of points at ED, around the origin."""
        radius_ed = np.hypot(points_mm[..., 0], points_mm[..., 1])
        radius = np.sqrt(radius_ed**2 / self.axial_stretch - self.lost_mm2)
        angle = np.arctan2(points_mm[..., 1], points_mm[..., 0]) + self.turn_rad + self.turn_per_mm * (radius_ed - 27)
        return radius[..., None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)

    def strain(self, radius_ed_mm: NDArray[np.float64]) -> PolarTruth:
        """Exact strain at a radius, from ``F = [[r', 0], [r t', r / R]]`` in polar frames."""
        radius = np.sqrt(radius_ed_mm**2 / self.axial_stretch - self.lost_mm2)
        thickening = radius_ed_mm / self.axial_stretch / radius
        stretch = radius / radius_ed_mm
        slip = radius * self.turn_per_mm
        return PolarTruth((thickening**2 + slip**2 - 1) / 2, (stretch**2 - 1) / 2, slip * stretch / 2)


def wall(n_spokes: int = 24, n_rings: int = 7, inner_mm: float = 22.0, outer_mm: float = 32.0) -> Points:
    """Landmarks ``(spoke, ring, 2)`` around the origin."""
    angle = 0.1 + 2 * np.pi * np.arange(n_spokes) / n_spokes
    radius = np.linspace(inner_mm, outer_mm, n_rings)
    return radius[None, :, None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)[:, None]


def rotated(points_mm: Points, angle_rad: float) -> Points:
    """Points turned about the origin from +x towards +y."""
    cosine, sine = np.cos(angle_rad), np.sin(angle_rad)
    return points_mm @ np.array([[cosine, sine], [-sine, cosine]])
