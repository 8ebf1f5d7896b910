"""From scene to images and exact truth: `render`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from tagstrain.data.landmarks import MIDWALL_RING, N_RINGS, N_SPOKES
from tagstrain.data.results import BOX_MARGIN
from tagstrain.simulation.acquisition import acquire, coil_shading
from tagstrain.simulation.anatomy import TissueMaps, smooth_fields, tissue_maps
from tagstrain.simulation.motion import HeartMotion, wall_radii
from tagstrain.simulation.scene import Scene
from tagstrain.simulation.tags import (
    complementary_magnetization,
    faded,
    mean_tag_magnetization,
    tag_magnetization,
)

SHADING_MM = 40.0


@dataclass(frozen=True, slots=True)
class View:
    """Square image of ``size`` pixels over ``side_mm`` around ``center_mm`` in the heart frame, one per scene."""

    center_mm: torch.Tensor
    side_mm: torch.Tensor
    size: int

    @property
    def pixel_mm(self) -> torch.Tensor:
        """Side of a pixel [mm], ``(scene,)``."""
        return self.side_mm / self.size

    def grid_mm(self) -> torch.Tensor:
        """Pixel centres [mm] ``(scene, row, column, 2)``."""
        steps = (torch.arange(self.size, device=self.side_mm.device) + 0.5) / self.size - 0.5
        y, x = torch.meshgrid(steps, steps, indexing="ij")
        unit = torch.stack([x, y], dim=-1)
        return unit[None] * self.side_mm[:, None, None, None] + self.center_mm[:, None, None]

    def to_px(self, points_mm: torch.Tensor) -> torch.Tensor:
        """Heart frame ``(scene, ..., 2)`` to pixels."""
        shape = (points_mm.shape[0], *([1] * (points_mm.dim() - 2)))
        offset = points_mm - self.center_mm.view(*shape, 2)
        return offset / self.pixel_mm.view(*shape, 1) + (self.size - 1) / 2

    def to_mm(self, points_px: torch.Tensor) -> torch.Tensor:
        """Pixels ``(scene, ..., 2)`` to the heart frame."""
        shape = (points_px.shape[0], *([1] * (points_px.dim() - 2)))
        return (points_px - (self.size - 1) / 2) * self.pixel_mm.view(*shape, 1) + self.center_mm.view(*shape, 2)


@dataclass(frozen=True, slots=True)
class RenderedCines:
    """Images of a batch of scenes and what is true in them; points in pixels of the view."""

    frames: torch.Tensor
    """Magnitude, shape ``(scene, time, row, column)``."""
    landmarks_px: torch.Tensor
    """Exact trajectories, shape ``(scene, time, spoke, ring, 2)``; spoke 0 points along +x, spokes turn towards +y."""
    boxes_px: torch.Tensor
    """ED box by the predecessor's rule, ``(scene, 4)``: x1, y1, x2, y2; not clamped to the image."""
    es_frame: torch.Tensor
    """Frame of the most negative mid-wall circumferential strain of the truth, ``(scene,)``."""
    frame_times_ms: torch.Tensor
    pixel_mm: torch.Tensor


OVERSAMPLING = 2
"""Times that a whole image is laid out finer, along each axis, than its pixels: edges and motion inside one count."""


def full_view(scene: Scene, size: int = 256) -> View:
    """The whole image as the scanner frames it."""
    return View(scene.acquisition.image_center_mm, scene.acquisition.field_of_view_mm, size)


def generators_of(scene: Scene, stream: int, device: torch.device) -> list[torch.Generator]:
    """One generator per scene, so that a scene's pixels do not depend on its batch."""
    return [torch.Generator(device).manual_seed((int(seed) + stream) % 2**63) for seed in scene.seed]


def ed_landmarks_mm(scene: Scene) -> torch.Tensor:
    """Material landmarks in the heart frame, ``(scene, spoke, ring, 2)``."""
    n_scenes = scene.seed.shape[0]
    device = scene.anatomy.outer_radius_mm.device
    angle = (2 * math.pi * torch.arange(N_SPOKES, device=device) / N_SPOKES).expand(n_scenes, -1)
    endo, epi = wall_radii(scene.anatomy, angle)
    depth = torch.linspace(0, 1, N_RINGS, device=device)
    radius = endo[..., None] + (epi - endo)[..., None] * depth
    return radius[..., None] * torch.stack([torch.cos(angle), torch.sin(angle)], dim=-1)[:, :, None]


def motion_times_ms(scene: Scene) -> torch.Tensor:
    """Time since the first frame, ``(scene, time)``: the first frame is ED and undeformed."""
    times = scene.acquisition.frame_times_ms
    return times - times[:, :1]


@torch.no_grad()
def render(
    scene: Scene, view: View, frame_indices: Sequence[int] | None = None, oversampling: int = 1
) -> RenderedCines:
    """Render a batch of scenes (`stack_scenes`) on the device of its tensors.

    On one device and one PyTorch build the same scenes and view give the same bytes, whatever else is in the batch.

    Parameters
    ----------
    frame_indices
        Frames to image; None for all. Truth always covers all frames. Grey levels are scaled by the mean of the frames
        imaged, so that those of one frame depend on which others are.
    oversampling
        How much finer than the image tissue, tags and motion are laid out, along each axis; what a scanner's pixels of
        more than 1 mm cannot show is then left out as in k-space, not sampled at their centres.
    """
    device = view.side_mm.device
    fine = View(view.center_mm, view.side_mm, view.size * oversampling)
    motion = HeartMotion(scene)
    times = motion_times_ms(scene)
    frames = range(times.shape[1]) if frame_indices is None else frame_indices
    signal = _signal(scene, fine, motion, times, frames)
    wall = _wall_mask(scene, fine)
    first = signal[:, :1] if frames[0] == 0 else _signal(scene, fine, motion, times, [0])
    wall_signal = (first.abs() * wall[:, None]).sum(dim=(1, 2, 3)) / wall.sum(dim=(1, 2)).clamp_min(1)
    noise_sd = wall_signal / scene.acquisition.snr
    noise = generators_of(scene, 1, device)
    images = acquire(signal, view.pixel_mm, scene.acquisition, noise_sd, noise, oversampling)
    brightness = images.mean(dim=(1, 2, 3), keepdim=True).clamp_min(1e-9)
    images = (images / brightness) ** scene.acquisition.gamma[:, None, None, None]
    landmarks_mm = ed_landmarks_mm(scene)
    tracks = motion.forward(landmarks_mm.flatten(1, 2), times)
    tracks = tracks.reshape(*tracks.shape[:2], N_SPOKES, N_RINGS, 2)
    tracks_px = view.to_px(tracks)
    return RenderedCines(
        frames=images * scene.acquisition.scanner_scale[:, None, None, None] / 4,
        landmarks_px=tracks_px,
        boxes_px=landmark_boxes(tracks_px[:, 0]),
        es_frame=_es_frame(tracks),
        frame_times_ms=scene.acquisition.frame_times_ms,
        pixel_mm=view.pixel_mm,
    )


def landmark_boxes(ed_landmarks_px: torch.Tensor) -> torch.Tensor:
    """Box ``(scene, 4)`` of ED landmarks ``(scene, spoke, ring, 2)`` by the predecessor's rule."""
    points = ed_landmarks_px.flatten(1, 2)
    low, high = points.amin(dim=1), points.amax(dim=1)
    margin = BOX_MARGIN * (high - low)
    return torch.cat([low - margin, high + margin], dim=-1)


def _es_frame(tracks_mm: torch.Tensor) -> torch.Tensor:
    ring = tracks_mm[:, :, :, MIDWALL_RING]
    chords = (ring.roll(-1, dims=2) - ring).norm(dim=-1)
    frame: torch.Tensor = ((chords / chords[:, :1]) ** 2).mean(dim=-1).argmin(dim=1)
    return frame


def _wall_mask(scene: Scene, view: View) -> torch.Tensor:
    points = view.grid_mm()
    endo, epi = wall_radii(scene.anatomy, torch.atan2(points[..., 1], points[..., 0]))
    radius = points.norm(dim=-1)
    wall: torch.Tensor = (radius > endo) & (radius < epi)
    return wall.float()


def heart_share(scene: Scene, view: View, ed_points_mm: torch.Tensor) -> torch.Tensor:
    """Share of the heart, from 0 (all chest) to 1, in what is seen at ED points ``(scene, point, 2)``."""
    map_view, maps = _tissue(scene, view, generators_of(scene, 0, view.side_mm.device))
    return _sampled(maps.heart_mask, map_view, ed_points_mm)[:, 0].clamp(0, 1)


def _tissue(scene: Scene, view: View, generators: list[torch.Generator]) -> tuple[View, TissueMaps]:
    """All tissue at ED in a view and some way around it, from where it moves into the view."""
    margin = 1.25
    map_view = View(view.center_mm, view.side_mm * margin, math.ceil(view.size * margin / 8) * 8)
    return map_view, tissue_maps(scene, map_view.grid_mm(), map_view.pixel_mm, generators)


def _sampled(maps: torch.Tensor, map_view: View, places_mm: torch.Tensor) -> torch.Tensor:
    """Maps ``(scene, channel, row, column)`` at places ``(scene, point, 2)``, ``(scene, channel, point)``."""
    unit = 2 * (places_mm - map_view.center_mm[:, None]) / map_view.side_mm[:, None, None]
    return F.grid_sample(maps, unit[:, None], align_corners=False, padding_mode="border")[:, :, 0]


def _signal(scene: Scene, view: View, motion: HeartMotion, times: torch.Tensor, frames: Sequence[int]) -> torch.Tensor:
    """Signal before acquisition, ``(scene, frame, row, column)``: tissue and tags carried from ED to each frame."""
    n, size = view.side_mm.shape[0], view.size
    generators = generators_of(scene, 0, view.side_mm.device)
    map_view, maps = _tissue(scene, view, generators)
    heart_maps = torch.cat([maps.heart, maps.heart_mask], dim=1)
    slow = torch.full_like(view.side_mm, SHADING_MM)[:, None]
    shading = coil_shading(
        view.grid_mm(), scene.acquisition, smooth_fields(generators, size, view.pixel_mm, slow)[:, 0]
    )
    points = view.grid_mm().reshape(n, -1, 2)
    has_complementary = bool((scene.tags.complementary > 0).any())  # asked once: a GPU would stop for it
    images = []
    for frame in frames:
        time = times[:, frame : frame + 1]
        # At every pixel: motion has a kink at the endocardium, which interpolation would round off.
        heart_ed = motion.backward(points, time)
        background_ed = motion.background_backward(points, time, heart_ed)
        heart = _sampled(heart_maps, map_view, heart_ed)
        background = _sampled(maps.background, map_view, background_ed)
        share = heart[:, 5].clamp(0, 1)
        magnetization = torch.lerp(
            _magnetization(scene, background, background_ed, time, has_complementary),
            _magnetization(scene, heart[:, :5], heart_ed, time, has_complementary),
            share,
        )
        images.append(magnetization.view(n, size, size) * shading)
    return torch.stack(images, dim=1)


def _magnetization(
    scene: Scene,
    properties: torch.Tensor,
    places_ed_mm: torch.Tensor,
    time_ms: torch.Tensor,
    has_complementary: bool,
) -> torch.Tensor:
    """Signal ``(scene, point)`` of tissue ``(scene, channel, point)`` that was at ``places_ed_mm`` when tagged.

    ``has_complementary`` says whether the tags of any scene are complementary.
    """
    tags = scene.tags
    density, steady, rate, blood, lost = properties.unbind(dim=1)
    washed_out = 1 - torch.exp(-((time_ms / tags.wash_out_ms[:, None]) ** 2))
    steady = steady + blood * washed_out * tags.inflow[:, None] * (1 - steady)
    depth = tags.depth[:, None, :] * (1 - lost * washed_out)[..., None]
    sharpness = tags.sharpness[:, None]
    grid = tags.spacing_mm[:, None], tags.angle_rad[:, None], tags.phase_rad[:, None]
    tagged = tag_magnetization(places_ed_mm, *grid, depth, sharpness)
    # What was tagged in another place takes over: as bright as the tags are in the mean.
    mixed = (lost - blood * (1 - tags.blood_mixing[:, None])) / lost.clamp_min(1e-6)
    excess = mean_tag_magnetization(depth, sharpness) - mean_tag_magnetization(tags.depth[:, None, :], sharpness)
    tagged = tagged - mixed * excess
    if has_complementary:
        # What takes the place of what was tagged here is the same in all images that are subtracted, or mixed.
        # So is what all fades towards.
        left = complementary_magnetization(places_ed_mm, *grid, tags.depth[:, None, :], sharpness)
        is_complementary = tags.complementary[:, None] > 0
        tagged = torch.where(is_complementary, left * (1 - lost * washed_out), tagged)
        steady = torch.where(is_complementary, 0.0, steady)
    return density * faded(tags.prepared_magnetization[:, None] * tagged, steady, rate, time_ms)
