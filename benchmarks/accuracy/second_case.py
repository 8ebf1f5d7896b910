"""All of the chance in a cine of the second generator: `SecondCase`, `draw_case`."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.annulus_motion import Annulus, Contraction, SliceMotion, StreamDeformation
from benchmarks.accuracy.spamm_bloch import TRAINS, ImagingPulses, KSpace
from benchmarks.accuracy.thorax import Thorax

Array = NDArray[np.float64]

N_PIXELS = 256
N_FRAMES = 20
STREAM_STEP_MM = 17.0
STREAM_REACH_MM = 150.0
TIME_KNOT_MS = 130.0
N_TIME_KNOTS = 16
"""Knots from three before the tags to 1.4 s after them, beyond the longest cycle."""
SMALLEST_CAVITY = 0.35
"""Least share of its radius that the cavity keeps; thick walls shorten less than drawn."""
MAX_STEEPNESS = 0.35
"""Largest derivative of the free deformation: far from where it would fold."""


@dataclass(frozen=True, eq=False, slots=True)
class TagGrid:
    """How the tags were laid."""

    spacing_mm: float
    angle_rad: float
    phases_rad: tuple[float, float]
    train: str
    total_flips_rad: tuple[float, float]
    flip_tilt: tuple[float, float]
    """Relative change of the tagging flip angle over 100 mm along x and y."""
    field_rad: tuple[float, float]
    """Phase that the field's imperfection adds between two pulses, over 100 mm along x and y."""


@dataclass(frozen=True, eq=False, slots=True)
class SecondCase:
    """One cine before rendering: all of its chance."""

    thorax: Thorax
    motion: SliceMotion
    tags: TagGrid
    pulses: ImagingPulses
    kspace: KSpace
    field_of_view_mm: float
    heart_at_mm: tuple[float, float]
    """Axis of the left ventricle from the middle of the field of view."""
    coils_mm: Array
    """Places of the coil's elements from the middle of the field of view, ``(coil, 2)``."""
    coil_phases_rad: Array
    wash_out_ms: float
    inflow: float
    """Longitudinal magnetization of blood that was outside the slice when the tags were laid."""
    snr: float
    noise_seed: int


def draw_case(rng: np.random.Generator) -> SecondCase:
    """Draw one cine."""
    epi_mm = rng.uniform(23, 36)
    endo_mm = epi_mm * rng.uniform(0.48, 0.76)
    n_knots = 8
    epi_knots = epi_mm * (1 + rng.normal(0, 0.06, n_knots))
    endo_knots = np.minimum(endo_mm * (1 + rng.normal(0, 0.09, n_knots)), epi_knots - 5.5)
    peak_ms = rng.uniform(250, 400)
    flip_deg = rng.uniform(4.5, 9)
    interval_ms, repetition_ms = rng.uniform(28, 50), rng.uniform(4, 7)
    n_views = round(interval_ms / repetition_ms)
    delay_ms = rng.uniform(3, 18)
    heartbeat_ms = max(rng.uniform(800, 1150), delay_ms + N_FRAMES * interval_ms + 40)
    field_of_view_mm = rng.uniform(300, 370)
    n_readout = min(2 * round(field_of_view_mm / rng.uniform(1.2, 1.8) / 2), N_PIXELS)
    n_phase = min(2 * round(field_of_view_mm / rng.uniform(1.5, 2.5) / 2), N_PIXELS)
    thorax = Thorax(
        endo_knots_mm=endo_knots,
        epi_knots_mm=epi_knots,
        rv_angle_rad=rng.uniform(0, 2 * np.pi),
        rv_reach_mm=rng.uniform(8, 26),
        rv_spread_mm=epi_mm * rng.uniform(0.75, 1.15),
        papillary_angles_rad=tuple(rng.uniform(0, 2 * np.pi, int(rng.integers(0, 3)))),
        papillary_mm=endo_mm * rng.uniform(0.15, 0.28),
        lung_gap_mm=rng.uniform(1, 8),
        torso_center_mm=(rng.uniform(-45, -5), rng.uniform(-30, 30)),
        torso_half_axes_mm=(rng.uniform(105, 130), rng.uniform(140, 190)),
        fat_mm=rng.uniform(5, 25),
        texture=rng.uniform(0.02, 0.10),
        texture_seed=int(rng.integers(2**62)),
    )
    total_flip = np.radians(rng.uniform(65, 100))
    return SecondCase(
        thorax=thorax,
        motion=_draw_motion(rng, thorax, peak_ms),
        tags=TagGrid(
            spacing_mm=rng.uniform(4.8, 8.0),
            angle_rad=np.pi / 4 + rng.normal(0, 0.04) if rng.random() < 0.6 else rng.uniform(0, np.pi),
            phases_rad=(rng.uniform(0, 2 * np.pi), rng.uniform(0, 2 * np.pi)),
            train=str(rng.choice(list(TRAINS))),
            total_flips_rad=(total_flip, total_flip * rng.uniform(0.9, 1.0)),
            flip_tilt=(rng.normal(0, 0.12), rng.normal(0, 0.12)),
            field_rad=(rng.normal(0, 0.5), rng.normal(0, 0.5)),
        ),
        pulses=ImagingPulses(np.radians(flip_deg), interval_ms / n_views, n_views, N_FRAMES, delay_ms, heartbeat_ms),
        kspace=KSpace(
            n_readout,
            n_phase,
            N_PIXELS,
            phase_along_y=bool(rng.random() < 0.5),
            filter_floor=rng.uniform(0.3, 1.0),
            line_error_rad=rng.normal(0, 0.04) * float(rng.random() < 0.4),
        ),
        field_of_view_mm=field_of_view_mm,
        heart_at_mm=(rng.uniform(-35, 35), rng.uniform(-35, 35)),
        coils_mm=rng.uniform(110, 170, (3, 1)) * _bearing(rng.uniform(0, 2 * np.pi, 3)),
        coil_phases_rad=rng.uniform(0, 2 * np.pi, 3),
        wash_out_ms=rng.uniform(50, 180),
        inflow=rng.uniform(0.25, 0.6),
        snr=float(np.exp(rng.uniform(np.log(8), np.log(40)))),
        noise_seed=int(rng.integers(2**62)),
    )


def _bearing(angle_rad: Array) -> Array:
    return np.stack([np.cos(angle_rad), np.sin(angle_rad)], axis=-1)


def _draw_motion(rng: np.random.Generator, thorax: Thorax, peak_ms: float) -> SliceMotion:
    contraction = Contraction(
        peak_ms, rng.uniform(1.6, 2.8), rng.uniform(5, 12), rng.uniform(1.8, 2.6), rng.uniform(0, 0.2)
    )
    endo, epi = thorax.wall_radii(np.linspace(0, 2 * np.pi, 180))
    inner_mm, outer_mm = 0.92 * float(endo.min()), 1.02 * float(epi.max())
    midwall_mm = float((endo + epi).mean() / 2)
    shortening = rng.uniform(0.0, 0.08) if rng.random() < 0.12 else rng.uniform(0.10, 0.27)
    through_plane = rng.uniform(-0.02, 0.14)
    # The ring at mid-wall and the volume between it and `inner_mm` say how far the latter must go in.
    moved = (midwall_mm * (1 - shortening)) ** 2 - (midwall_mm**2 - inner_mm**2) / (1 - through_plane)
    annulus = Annulus(
        inner_mm=inner_mm,
        outer_mm=outer_mm,
        inner_shortening=1 - np.sqrt(max(moved, (SMALLEST_CAVITY * inner_mm) ** 2)) / inner_mm,
        through_plane_shortening=through_plane,
        twist_inner_rad=np.radians(rng.normal(0, 10)),
        twist_outer_rad=np.radians(rng.normal(0, 5)),
    )
    twist = replace(contraction, peak_ms=peak_ms * rng.uniform(0.85, 1.05), residual=rng.uniform(0, 0.3))
    return SliceMotion(annulus, _draw_deformation(rng, annulus.outer_mm), contraction, twist)


def _draw_deformation(rng: np.random.Generator, outer_mm: float) -> StreamDeformation:
    """Bulk motion that dies out beyond the heart, and a free part of a set size that is nowhere steep."""
    n = 2 * int(np.ceil(STREAM_REACH_MM / STREAM_STEP_MM)) + 3
    first_mm = -STREAM_STEP_MM * (n - 1) / 2
    knots = first_mm + STREAM_STEP_MM * np.arange(n)
    x, y = np.meshgrid(knots, knots, indexing="ij")
    beyond = np.clip((np.hypot(x, y) - 1.3 * outer_mm) / 85.0, 0, 1)
    window = np.cos(np.pi / 2 * beyond) ** 2
    bulk_x, bulk_y = np.clip(rng.normal(0, 2.0, 2), -4, 4)
    following = window * (bulk_x * y - bulk_y * x)
    free = rng.standard_normal((N_TIME_KNOTS, n, n)) * np.exp(-((np.hypot(x, y) / (2.2 * outer_mm)) ** 2))
    unit = StreamDeformation(first_mm, STREAM_STEP_MM, np.zeros((n, n)), free, TIME_KNOT_MS)
    near = np.linspace(-2 * outer_mm, 2 * outer_mm, 81)
    largest, steepest = 0.0, 0.0
    for time_ms in np.arange(0, 1000, 50.0):
        field = unit.on_grid(near, near, float(time_ms), 0.0)
        largest = max(largest, float(np.hypot(field[..., 0], field[..., 1]).max()))
        slopes = np.gradient(field, near[1] - near[0], axis=(0, 1))
        steepest = max(steepest, *(float(np.abs(slope).max()) for slope in slopes))
    size = min(rng.uniform(0.5, 4.0) / largest, MAX_STEEPNESS / steepest)
    return StreamDeformation(first_mm, STREAM_STEP_MM, following, size * free, TIME_KNOT_MS)
