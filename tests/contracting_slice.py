"""A synthetic slice result: an incompressible, twisting annulus with a tag grid that deforms with it."""

from __future__ import annotations

import numpy as np

from tagstrain.data import Box, LandmarkTracks, Localization, PixelSpacing, SliceLevel, SliceResult, TaggedCine
from tagstrain.inference.strain import slice_strain

INNER_MM, OUTER_MM = 18.0, 30.0
TWIST_RAD = 0.15
NON_SQUARE = PixelSpacing(1.4, 1.2)


def contracting_slice(
    n_frames: int = 20,
    shape: tuple[int, int] = (128, 120),
    spacing: PixelSpacing = NON_SQUARE,
    name: str = "mid",
    box: Box | None = None,
) -> SliceResult:
    """Everything known about a slice whose cavity shrinks and whose wall keeps its area."""
    times_ms = 10 + 38.0 * np.arange(n_frames)
    activation = np.sin(np.pi * np.minimum(np.arange(n_frames) / max(n_frames - 1, 1) * 1.25, 1.15)).clip(0)
    shrunk_mm2 = 0.52 * INNER_MM**2 * activation
    twist_rad = TWIST_RAD * activation
    center_mm = np.array([shape[1] * spacing.column_mm, shape[0] * spacing.row_mm]) / 2 + [3.0, -5.0]
    spacing_xy = np.array([spacing.column_mm, spacing.row_mm])

    angle = 2.2 + 2 * np.pi * np.arange(24) / 24
    radius = np.linspace(INNER_MM, OUTER_MM, 7)
    now = np.sqrt(radius**2 - shrunk_mm2[:, None])  # (time, ring)
    turned = angle[None, :] + twist_rad[:, None]  # (time, spoke)
    direction = np.stack([np.cos(turned), np.sin(turned)], axis=-1)[:, :, None, :]
    points_px = (center_mm + now[:, None, :, None] * direction) / spacing_xy

    frames = np.stack(
        [_tagged_image(shape, spacing_xy, center_mm, *state) for state in zip(shrunk_mm2, twist_rad, strict=True)]
    )
    cine = TaggedCine(frames, times_ms, spacing, name=name, level=SliceLevel.MID, source="synthetic")
    landmarks = LandmarkTracks(points_px, np.full(points_px.shape[:-1], 0.3), 0)
    half_px = 1.6 * OUTER_MM / spacing_xy
    center_px = center_mm / spacing_xy
    if box is None:
        box = Box(*(center_px - half_px).tolist(), *(center_px + half_px).tolist())
    strain = slice_strain(landmarks, cine.spacing_xy_mm, times_ms)
    return SliceResult(cine, Localization(box, 0.93), landmarks, strain, warnings=("times assumed",))


def _tagged_image(
    shape: tuple[int, int], spacing_xy: np.ndarray, center_mm: np.ndarray, shrunk_mm2: float, twist_rad: float
) -> np.ndarray:
    """Tag grid 6 mm apart at 45 degrees, carried by the motion; the cavity is bright."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    offset = np.stack([x, y], axis=-1) * spacing_xy - center_mm
    now = np.hypot(offset[..., 0], offset[..., 1])
    fade = np.exp(-(((now - 25) / 22) ** 2))
    then = np.sqrt(now**2 + shrunk_mm2 * fade)
    angle = np.arctan2(offset[..., 1], offset[..., 0]) - twist_rad * fade
    material = then[..., None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    phase = 2 * np.pi / 6 * (material @ np.array([[1, 1], [1, -1]]) / np.sqrt(2))
    tags = (0.5 + 0.5 * np.cos(phase[..., 0])) * (0.5 + 0.5 * np.cos(phase[..., 1]))
    wall = (then > INNER_MM) & (then < OUTER_MM)
    level = np.where(wall, 70.0, np.where(then <= INNER_MM, 95.0, 40.0))
    noise = np.random.default_rng(7).normal(0, 4, shape)
    return np.asarray(level * (0.25 + 0.75 * tags**0.6) + noise, np.float32)
