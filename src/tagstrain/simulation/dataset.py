"""Simulated data on disk: the predecessor's training layout, and studies as DICOM."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from tagstrain.data import Box, PixelSpacing, SliceLevel, TaggedCine
from tagstrain.geometry import OriginalCrop
from tagstrain.io.dicom_export import short_axis_affine, write_dicom_study
from tagstrain.io.landmark_writer import LandmarkFileWriter
from tagstrain.simulation.config import PRESETS, SimulatorConfig
from tagstrain.simulation.render import OVERSAMPLING, RenderedCines, full_view, render
from tagstrain.simulation.scene import Scene, sample_scene, sample_scenes, stack_scenes

BATCH = 4
_LEVELS = (SliceLevel.BASAL, SliceLevel.MID, SliceLevel.APICAL)


def write_dataset(
    path: Path,
    n: int,
    seed: int = 0,
    preset: str = "default",
    device: str = "cpu",
    overwrite: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> None:
    """Write ``n`` simulated slices with exact truth in the predecessor's training layout (see `LandmarkFileWriter`).

    Images are 256 x 256 uint16. The crop is the predecessor's (`OriginalCrop`), not rounded to whole grey levels.
    """
    write_scenes(path, sample_scenes(PRESETS[preset], n, seed), device, overwrite, progress)


def write_scenes(
    path: Path,
    scenes: Sequence[Scene],
    device: str = "cpu",
    overwrite: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> None:
    """Write scenes of one frame count as `write_dataset` does, a batch in memory at a time."""
    n_frames = len(scenes[0].acquisition.frame_times_ms)
    with LandmarkFileWriter(path, n_frames, overwrite) as writer:
        for start in range(0, len(scenes), BATCH):
            scene = stack_scenes(scenes[start : start + BATCH], device)
            cines = render(scene, full_view(scene), oversampling=OVERSAMPLING)
            for k in range(len(cines.frames)):
                _append(writer, cines, k)
                progress(1)


def _append(writer: LandmarkFileWriter, cines: RenderedCines, k: int) -> None:
    frames = _stored(cines.frames[k])
    points = cines.landmarks_px[k].double().cpu().numpy().reshape(len(frames), -1, 2)
    size = frames.shape[1]
    box = Box(*np.clip(cines.boxes_px[k].double().cpu().numpy(), 0, size).tolist())
    crop = OriginalCrop.around(box, size, size)
    pixel_mm = float(cines.pixel_mm[k])
    writer.append(
        points,
        box,
        (pixel_mm, pixel_mm),
        ed_frame=0,
        es_frame=int(cines.es_frame[k]),
        frames=frames,
        frame_times_ms=cines.frame_times_ms[k].double().cpu().numpy(),
        cropped_frames=crop.sample(frames.astype(np.float32)),
        cropped_points_px=crop.to_crop(points),
    )


def _stored(frames: torch.Tensor) -> NDArray[np.uint16]:
    return np.asarray(np.clip(np.rint(frames.cpu().numpy()), 0, 65535), np.uint16)


def sample_study(config: SimulatorConfig, seed: int) -> list[Scene]:
    """Three scenes of one heart: base, mid, apex, smaller towards the apex, twisting the other way at the base.

    The slices share chest, tags, timing and scanner; every slice has its own shape and regional motion.
    """
    rng = np.random.default_rng([seed, 3])
    mid = sample_scene(config, rng)
    scenes = []
    for level, (scale, rv, twist) in enumerate(((1.08, 1.0, -0.4), (1.0, 1.0, 0.5), (0.78, 0.6, 1.3))):
        own = sample_scene(config, rng)
        anatomy = replace(
            mid.anatomy,
            outer_radius_mm=mid.anatomy.outer_radius_mm * scale,
            rv_half_width=mid.anatomy.rv_half_width * rv,
            outer_phase_rad=own.anatomy.outer_phase_rad,
            wall_phase_rad=own.anatomy.wall_phase_rad,
            papillary_angle_rad=own.anatomy.papillary_angle_rad,
            papillary_size=own.anatomy.papillary_size * (level == 1),
        )
        motion = replace(
            mid.motion,
            twist_rad=mid.motion.twist_rad.abs() * twist,
            twist_gradient_rad=mid.motion.twist_gradient_rad.abs() * twist,
            regional_phase_rad=own.motion.regional_phase_rad,
            wave_phase_rad=own.motion.wave_phase_rad,
        )
        scenes.append(Scene(anatomy, motion, mid.tags, mid.acquisition, own.seed))
    return scenes


def simulated_study(seed: int, preset: str = "ukb", size: int = 256) -> tuple[list[TaggedCine], RenderedCines]:
    """Base, mid and apex of one simulated heart as cines, with their truth."""
    return render_study(sample_study(PRESETS[preset], seed), size)


def render_study(scenes: Sequence[Scene], size: int = 256) -> tuple[list[TaggedCine], RenderedCines]:
    """Scenes of base, mid and apex (`sample_study`) as cines, with their truth.

    The cines lie in a patient whose right ventricle, where they show one, is where it is in them, and whose apex turns
    counter-clockwise in systole as seen from below: they are seen from the base.
    """
    scene = stack_scenes(scenes)
    cines = render(scene, full_view(scene, size), oversampling=OVERSAMPLING)
    spacings = [PixelSpacing(*[round(pixel_mm, 6)] * 2) for pixel_mm in cines.pixel_mm.tolist()]
    slices = [
        TaggedCine(
            frames=_stored(cines.frames[k]).astype(np.float32),
            # DICOM stores times as decimal strings: whole microseconds survive them.
            frame_times_ms=np.round(cines.frame_times_ms[k].double().numpy(), 3),
            pixel_spacing=spacings[k],
            name=level.value,
            level=level,
            source="simulation",
            affine=short_axis_affine((size, size), spacings[k], k, float(scene.anatomy.rv_angle_rad[k])),
        )
        for k, level in enumerate(_LEVELS)
    ]
    return slices, cines


def write_dicom_studies(
    folder: Path, n: int, seed: int = 0, preset: str = "ukb", overwrite: bool = False
) -> Iterator[Path]:
    """Write ``n`` simulated three-slice studies as DICOM, one sub-folder each; gives each folder when it is done."""
    for k in range(n):
        slices, _ = simulated_study(seed + k, preset)
        target = folder / f"study_{seed + k:05d}"
        write_dicom_study(target, slices, seed + k, overwrite=overwrite)
        yield target
