"""A second, separate generator of tagged cines with exact truth: `render_case`.

It shares no code with ``tagstrain.simulation`` and is never used for training: another motion (`annulus_motion`),
another image formation (`spamm_bloch`) and another drawing of the chest (`thorax`). NumPy alone. Left out: motion
while a frame is read, tissue that moves through the slice, breathing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.second_case import N_PIXELS, SecondCase, TagGrid
from benchmarks.accuracy.spamm_bloch import TRAINS, spamm_train
from benchmarks.accuracy.thorax import MATERIAL_STEP_MM, PROTON_DENSITY, T1_MS, Tissue

Array = NDArray[np.float64]

N_OBJECT = 384
"""Side of the grid that stands for the continuous object."""
COIL_REACH_MM = 90.0


@dataclass(frozen=True, eq=False, slots=True)
class SecondCine:
    """Images and truth."""

    frames: NDArray[np.uint16]
    """``(time, row, column)``."""
    landmarks_px: Array
    """``(time, spoke, ring, 2)``; the reference is the first frame."""
    frame_times_ms: Array
    pixel_mm: float
    es_frame: int
    """Frame of the shortest mid-wall ring."""


def render_case(case: SecondCase) -> SecondCine:
    """Images and truth; a function of the case alone."""
    times_ms = case.pulses.frame_times_ms
    material = case.thorax.landmarks()
    tracks_mm = np.stack([case.motion.forward(material.reshape(-1, 2), t) for t in times_ms])
    tracks_mm = tracks_mm.reshape(len(times_ms), *material.shape)
    pixel_mm = case.field_of_view_mm / N_PIXELS
    images = _images(case)
    scale = 900 / np.percentile(images[0], 99)
    return SecondCine(
        frames=np.clip(np.rint(images * scale), 0, 65535).astype(np.uint16),
        landmarks_px=(tracks_mm + case.heart_at_mm) / pixel_mm + N_PIXELS / 2,
        frame_times_ms=times_ms,
        pixel_mm=pixel_mm,
        es_frame=shortest_ring_frame(tracks_mm),
    )


def shortest_ring_frame(tracks_mm: Array) -> int:
    """Frame in which the middle ring's chords are shortest on average, relative to the first frame."""
    ring = tracks_mm[:, :, tracks_mm.shape[2] // 2]
    chords = np.linalg.norm(np.roll(ring, -1, axis=1) - ring, axis=-1)
    return int(np.argmin(((chords / chords[:1]) ** 2).mean(axis=1)))


def tagged_magnetization(tags: TagGrid, places_mm: Array) -> Array:
    """What both trains of pulses leave of the magnetization at places ``(..., 2)``, from the axis of the LV."""
    x, y = places_mm[..., 0], places_mm[..., 1]
    flip = 1 + (tags.flip_tilt[0] * x + tags.flip_tilt[1] * y) / 100
    field = (tags.field_rad[0] * x + tags.field_rad[1] * y) / 100
    c, s = np.cos(tags.angle_rad), np.sin(tags.angle_rad)
    longitudinal = np.ones_like(x)
    for direction, (along, total) in enumerate(zip((x * c + y * s, y * c - x * s), tags.total_flips_rad, strict=True)):
        phase = 2 * np.pi * along / tags.spacing_mm + tags.phases_rad[direction] + field
        longitudinal = spamm_train(longitudinal, phase, total * flip, TRAINS[tags.train])
    return longitudinal


class _Object:
    """The slice as the scanner sees it: transverse magnetization on a fine grid at any pulse."""

    def __init__(self, case: SecondCase) -> None:
        self.case = case
        fov = case.field_of_view_mm
        axis = (np.arange(N_OBJECT) - N_OBJECT / 2) * fov / N_OBJECT
        self.x_mm, self.y_mm = axis - case.heart_at_mm[0], axis - case.heart_at_mm[1]
        reach = fov / 2 + max(map(abs, case.heart_at_mm)) + 12
        self.material_axis = np.arange(-reach, reach, MATERIAL_STEP_MM)
        self.shares = case.thorax.shares(self.material_axis, self.material_axis)
        near = np.arange(-40, 40, 0.7)
        grid = np.stack(np.meshgrid(near, near), axis=-1)
        self.history = case.pulses.history(T1_MS, float(tagged_magnetization(case.tags, grid).mean()))
        sensitivity = [
            1 / (1 + ((axis[None] - x) ** 2 + (axis[:, None] - y) ** 2) / COIL_REACH_MM**2) for x, y in case.coils_mm
        ]
        self.coils = np.stack(sensitivity) * np.exp(1j * case.coil_phases_rad)[:, None, None]

    def at(self, frame: int) -> tuple[Array, Array]:
        """Magnetization at the frame's first and last pulse, the motion frozen at its middle."""
        time_ms = float(self.case.pulses.frame_times_ms[frame])
        material = self.case.motion.backward_on_grid(self.x_mm, self.y_mm, time_ms)
        tagging = tagged_magnetization(self.case.tags, material)
        fresh_blood = 1 - np.exp(-((time_ms / self.case.wash_out_ms) ** 1.5))
        maps = []
        for view in (0, -1):
            tagged, fresh = self.history[frame, view].copy()
            tagged[Tissue.BLOOD] *= 1 - fresh_blood
            fresh[Tissue.BLOOD] += fresh_blood * (self.case.inflow - fresh[Tissue.BLOOD])
            maps += [np.tensordot(weight * PROTON_DENSITY, self.shares, axes=1) for weight in (tagged, fresh)]
        places = (material - self.material_axis[0]) / MATERIAL_STEP_MM
        tagged_first, fresh_first, tagged_last, fresh_last = _bilinear(np.stack(maps), places)
        flip = np.sin(self.case.pulses.flip_rad)
        return flip * (tagged_first * tagging + fresh_first), flip * (tagged_last * tagging + fresh_last)


def _bilinear(maps: Array, places: Array) -> Array:
    """Values of maps ``(map, row, column)`` at places ``(..., 2)`` in their grid, ``(map, ...)``."""
    n = maps.shape[-1]
    inside = np.clip(places, 0, n - 1.001)
    corner = inside.astype(np.int64)
    right, down = np.moveaxis(inside - corner, -1, 0)
    flat = maps.reshape(len(maps), -1)
    start = corner[..., 1] * n + corner[..., 0]
    above = flat[:, start] * (1 - right) + flat[:, start + 1] * right
    below = flat[:, start + n] * (1 - right) + flat[:, start + n + 1] * right
    return np.asarray(above * (1 - down) + below * down)


def _images(case: SecondCase) -> Array:
    """Magnitude images ``(time, row, column)``, sum of squares over the coil's elements."""
    rng = np.random.default_rng(case.noise_seed)
    shown = _Object(case)
    silence = np.zeros(case.kspace.shape, np.complex128)
    images = []
    noise_sd = 0.0
    for frame in range(case.pulses.n_frames):
        first, last = shown.at(frame)
        if frame == 0:
            clean = [case.kspace.sample(first * coil, last * coil, silence) for coil in shown.coils]
            noise_sd = _wall_signal(case, np.sqrt((np.abs(clean) ** 2).sum(axis=0))) / case.snr
        noise = rng.standard_normal((len(shown.coils), *case.kspace.shape, 2)).view(np.complex128)[..., 0] * noise_sd
        channels = [case.kspace.sample(first * c, last * c, n) for c, n in zip(shown.coils, noise, strict=True)]
        images.append(np.sqrt((np.abs(channels) ** 2).sum(axis=0)))
    return np.stack(images)


def _wall_signal(case: SecondCase, image: Array) -> float:
    """Mean of an image over the wall as it lay when tagged."""
    axis = (np.arange(N_PIXELS) - N_PIXELS / 2) * case.field_of_view_mm / N_PIXELS
    x, y = np.meshgrid(axis - case.heart_at_mm[0], axis - case.heart_at_mm[1])
    endo, epi = case.thorax.wall_radii(np.arctan2(y, x))
    radius = np.hypot(x, y)
    return float(image[(radius > endo) & (radius < epi)].mean())
