"""What the second generator draws: a short-axis slice through heart and chest as shares of tissues."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.annulus_motion import bspline_basis

Array = NDArray[np.float64]

EDGE_MM = 0.9
"""Width over which one tissue turns into the next."""
MATERIAL_STEP_MM = 0.75


class Tissue(IntEnum):
    """Index into `PROTON_DENSITY` and `T1_MS`."""

    AIR = 0
    FAT = 1
    MUSCLE = 2
    LUNG = 3
    LIVER = 4
    BLOOD = 5
    MYOCARDIUM = 6


PROTON_DENSITY = np.array([0.0, 1.5, 0.9, 0.12, 0.95, 1.1, 1.0])
T1_MS = np.array([1000.0, 290.0, 1000.0, 1100.0, 620.0, 1550.0, 1100.0])


@dataclass(frozen=True, eq=False, slots=True)
class Thorax:
    """Shapes at ED; mm and angles from the axis of the left ventricle, angles from +x towards +y."""

    endo_knots_mm: Array
    """Radius of the endocardium at evenly spaced angles, a closed cubic B-spline in between."""
    epi_knots_mm: Array
    rv_angle_rad: float
    """Direction of the right ventricle; the chest is laid out by it."""
    rv_reach_mm: float
    """How far the right ventricle's cavity reaches beyond the septum."""
    rv_spread_mm: float
    papillary_angles_rad: tuple[float, ...]
    papillary_mm: float
    lung_gap_mm: float
    torso_center_mm: tuple[float, float]
    torso_half_axes_mm: tuple[float, float]
    fat_mm: float
    texture: float
    texture_seed: int

    def wall_radii(self, angle_rad: Array) -> tuple[Array, Array]:
        """Radius of endocardium and epicardium at some angles."""
        return _closed_spline(self.endo_knots_mm, angle_rad), _closed_spline(self.epi_knots_mm, angle_rad)

    def landmarks(self, n_spokes: int = 24, n_rings: int = 7) -> Array:
        """Material points ``(spoke, ring, 2)``, spoke 0 towards +x, rings evenly from endocardium to epicardium."""
        angle = 2 * np.pi * np.arange(n_spokes) / n_spokes
        endo, epi = self.wall_radii(angle)
        radius = endo[:, None] + (epi - endo)[:, None] * np.linspace(0, 1, n_rings)
        return np.asarray(radius[..., None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)[:, None])

    def shares(self, x_mm: Array, y_mm: Array) -> Array:
        """Share of every tissue times its texture, ``(tissue, y, x)``, on a grid of material points."""
        x, y = np.meshgrid(x_mm, y_mm)
        radius, angle = np.hypot(x, y), np.arctan2(y, x)
        endo, epi = self.wall_radii(angle)
        c, s = np.cos(self.rv_angle_rad), np.sin(self.rv_angle_rad)
        toward_rv, across = x * c + y * s, y * c - x * s
        shares = np.zeros((len(Tissue), *x.shape))
        shares[Tissue.AIR] = 1

        def paint(inside_mm: Array, tissue: Tissue) -> None:
            """Lay a tissue where the signed distance is positive."""
            share = np.clip(0.5 + inside_mm / EDGE_MM, 0, 1)
            shares[:] *= 1 - share
            shares[tissue] += share

        torso_x, torso_y = toward_rv - self.torso_center_mm[0], across - self.torso_center_mm[1]
        half_x, half_y = self.torso_half_axes_mm
        level = ((np.abs(torso_x) / half_x) ** 2.6 + (np.abs(torso_y) / half_y) ** 2.6) ** (1 / 2.6)
        skin_mm = (1 - level) * min(half_x, half_y)
        epi_mm = float(self.epi_knots_mm.mean())
        paint(skin_mm, Tissue.FAT)
        paint(skin_mm - self.fat_mm, Tissue.MUSCLE)
        chest_mm = skin_mm - self.fat_mm - 16
        # Lung beyond the free wall, liver under the heart, fat between; the sternum's side is muscle.
        lung_mm = np.minimum(chest_mm, radius - epi_mm - self.lung_gap_mm)
        paint(np.minimum(lung_mm, 0.45 * epi_mm - toward_rv), Tissue.LUNG)
        paint(_ellipse(toward_rv + 0.2 * epi_mm, across - 2.6 * epi_mm, 2.4 * epi_mm, 1.35 * epi_mm), Tissue.LIVER)
        paint(_ellipse(toward_rv + 2.6 * epi_mm, across + 1.1 * epi_mm, 11.0, 11.0), Tissue.BLOOD)
        paint(epi_mm + 0.75 * self.lung_gap_mm - radius, Tissue.FAT)
        rv_x = toward_rv - 0.25 * epi_mm
        rv_mm = _ellipse(rv_x, across, 0.75 * epi_mm + self.rv_reach_mm, self.rv_spread_mm)
        paint(rv_mm + 3.5, Tissue.MYOCARDIUM)
        paint(rv_mm, Tissue.BLOOD)
        paint(epi - radius, Tissue.MYOCARDIUM)
        paint(endo - radius, Tissue.BLOOD)
        for bearing in self.papillary_angles_rad:
            at, _ = self.wall_radii(np.array([bearing]))
            along = (x * np.cos(bearing) + y * np.sin(bearing)) - 0.8 * at[0]
            beside = y * np.cos(bearing) - x * np.sin(bearing)
            blob = _ellipse(along, beside, 1.3 * self.papillary_mm, self.papillary_mm)
            paint(np.minimum(blob, endo - radius), Tissue.MYOCARDIUM)
        return np.asarray(shares * self._grain(x_mm, y_mm))

    def _grain(self, x_mm: Array, y_mm: Array) -> Array:
        """Factor of the signal's texture: B-spline noise of two sizes."""
        rng = np.random.default_rng(self.texture_seed)
        grain = np.ones((len(y_mm), len(x_mm)))
        for step_mm in (2.2, 9.0):
            first = min(x_mm[0], y_mm[0]) - 2 * step_mm
            n = int(np.ceil((max(x_mm[-1], y_mm[-1]) - first) / step_mm)) + 3
            x, _ = bspline_basis(x_mm, first, step_mm, n)
            y, _ = bspline_basis(y_mm, first, step_mm, n)
            grain += 2.0 * self.texture * (y @ rng.standard_normal((n, n)) @ x.T)
        return np.maximum(grain, 0)


def _closed_spline(knots: Array, angle_rad: Array) -> Array:
    """Closed cubic B-spline over the full turn."""
    n = len(knots)
    turn = (np.asarray(angle_rad) / (2 * np.pi)) % 1.0 * n
    basis, _ = bspline_basis(turn.ravel(), -2.0, 1.0, n + 5)
    wrapped = knots[(np.arange(n + 5) - 2) % n]
    return np.asarray((basis @ wrapped).reshape(np.shape(angle_rad)))


def _ellipse(x: Array, y: Array, half_x: float, half_y: float) -> Array:
    """Signed distance to an ellipse, positive inside; near enough for a soft edge."""
    level = np.hypot(x / half_x, y / half_y)
    return np.asarray((1 - level) * min(half_x, half_y))
