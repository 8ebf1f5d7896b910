"""Training examples: what one batch holds for each network, simulated (`SimulatedExamples`) or from files."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F

from tagstrain.data.landmarks import N_RINGS
from tagstrain.networks import preprocessing, rnncnn
from tagstrain.networks.symmetry import N_SYMMETRIES, turn_boxes, turn_images, turn_points, turn_spokes
from tagstrain.simulation.config import PRESETS, SimulatorConfig
from tagstrain.simulation.render import View, ed_landmarks_mm, landmark_boxes, render
from tagstrain.simulation.scene import Scene, sample_scenes, stack_scenes

Batch = Mapping[str, torch.Tensor]
FRAME_INTERVAL_MS = (26.0, 54.0)
"""Wider than any one protocol, so that the networks do not count on a frame rate."""
VIEWS = 13
"""Third word of the seeds that say where crops lie: with two, they would be those of a scene (`sample_scenes`)."""
TRACKER_CROP_SIZE = preprocessing.TRACKER_CROP_SIZE
COMPLEMENTARY_SHARE = 0.25
"""Of complementary SPAMM among what localizer and placer learn from: its grey levels are others altogether, blood is
dark and the background gone."""


def real_hearts(config: SimulatorConfig, complementary_share: float = 0.0) -> SimulatorConfig:
    """Hearts as networks learn from them: any frame rate, two thirds with a spongy inside. Placer and insertion network
    see thicker walls, too (`PlacerExamples.thickest_wall`), the tracker more solid ones.

    The wall of a real heart is no solid ring. Its inside, as readers draw it, is squeezed to a fraction of its area at
    ES, and keeps its tags for few frames; early on, blood may be as grey as tagged muscle.
    """
    return replace(
        config,
        frame_interval_ms=FRAME_INTERVAL_MS,
        inner_loss=(0.1, 0.85),
        inner_loss_extent=(0.1, 0.6),
        exchange_depth=(0.1, 0.5),
        exchange_share=(0.3, 1.6),
        exchange_blood=(0.0, 0.5),
        solid_wall_probability=0.35,
        blood_mixing=(0.0, 1.0),
        complementary_probability=max(config.complementary_probability, complementary_share),
    )


class ExampleMaker(Protocol):
    """Makes examples of one task from scenes, and varies them."""

    def simulate(self, n: int, seed: int, device: torch.device) -> dict[str, torch.Tensor]:
        """``n`` fresh examples, fully determined by the seed."""
        ...

    def vary(self, batch: Batch, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        """The same examples turned, mirrored and disturbed."""
        ...

    def shorten(self, batch: Batch, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        """The same examples with fewer frames, at times."""
        ...


def disturbed(images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Gain, offset and noise of preprocessed images ``(batch, channel, row, column)``, varied per example."""
    shape = (images.shape[0], images.shape[1], 1, 1)

    def draw(sd: float) -> torch.Tensor:
        return torch.tensor(rng.standard_normal(shape) * sd, dtype=images.dtype, device=images.device)

    noise = torch.randn(
        images.shape, dtype=images.dtype, device=images.device, generator=_generator(rng, images.device)
    )
    strength = torch.tensor(rng.uniform(0, 0.06, (images.shape[0], 1, 1, 1)), dtype=images.dtype, device=images.device)
    return images * (1 + draw(0.05)) + draw(0.04) + strength * noise


def _zoomed(
    images: torch.Tensor, rng: np.random.Generator, zoom: float = 0.10, shift: float = 0.06
) -> tuple[torch.Tensor, Callable[[torch.Tensor], torch.Tensor]]:
    """Square images shifted and scaled a little, each by itself, and how their points move; the outside becomes 0.

    Scale varies by up to a factor of ``1 + zoom`` either way, shift by a share of the side.
    """
    n, size = images.shape[0], images.shape[-1]
    scale = torch.tensor((1 + zoom) ** rng.uniform(-1, 1, n), dtype=images.dtype, device=images.device)
    offset = torch.tensor(rng.uniform(-shift, shift, (n, 2)), dtype=images.dtype, device=images.device) * size
    # Unit coordinates of `grid_sample` run from -1 to 1 across the image.
    to_old = torch.zeros(n, 2, 3, dtype=images.dtype, device=images.device)
    to_old[:, 0, 0] = to_old[:, 1, 1] = 1 / scale
    to_old[:, :, 2] = -2 * offset / size / scale[:, None]
    grid = F.affine_grid(to_old, list(images.shape), align_corners=False)
    middle = (size - 1) / 2

    def points(points_px: torch.Tensor) -> torch.Tensor:
        shape = (n, *([1] * (points_px.dim() - 2)))
        return (points_px - middle) * scale.view(*shape, 1) + offset.view(*shape, 2) + middle

    return F.grid_sample(images, grid, align_corners=False), points


def _inside(images: torch.Tensor) -> torch.Tensor:
    """Pixels ``(batch, 1, row, column)`` that lie inside the image: outside, all channels are 0."""
    return (images != 0).any(dim=1, keepdim=True)


def _generator(rng: np.random.Generator, device: torch.device) -> torch.Generator:
    return torch.Generator(device).manual_seed(int(rng.integers(2**62)))


class LandmarkExamples:
    """Crops ``images`` (batch, time, 128, 128) with ``landmarks`` (batch, time, spoke, ring, 2) in crop pixels.

    ``frame_valid`` (batch, time) marks frames that have labels, ``pixel_mm`` (batch,) is the side of a crop pixel.

    Crops are shifted and scaled as far as a localiser may be wrong, so that the crop does not leak the answer.
    """

    scale = (0.82, 1.25)
    shift = 0.10
    """Share of the crop's side."""
    few_frames = 8

    def __init__(self, preset: str) -> None:
        self.config = replace(PRESETS[preset], frame_interval_ms=FRAME_INTERVAL_MS)

    def simulate(self, n: int, seed: int, device: torch.device) -> dict[str, torch.Tensor]:
        scene = stack_scenes(sample_scenes(self.config, n, seed), device)
        rng = np.random.default_rng([seed, 1, VIEWS])
        # The box rule is the same in mm and in pixels.
        boxes_mm = landmark_boxes(ed_landmarks_mm(scene))
        side = (boxes_mm[:, 2:] - boxes_mm[:, :2]).amax(dim=1) * preprocessing.LANDMARK_CROP_SCALE
        log_scale = rng.uniform(math.log(self.scale[0]), math.log(self.scale[1]), n)
        scale = torch.tensor(np.exp(log_scale), dtype=torch.float32, device=device)
        shift = torch.tensor(rng.uniform(-self.shift, self.shift, (n, 2)), dtype=torch.float32, device=device)
        center = (boxes_mm[:, :2] + boxes_mm[:, 2:]) / 2 + shift * side[:, None]
        cines = render(scene, View(center, side * scale, rnncnn.INPUT_SIZE))
        return {
            "images": preprocessing.landmark_input(cines.frames).half(),
            "landmarks": cines.landmarks_px,
            "frame_valid": torch.ones(cines.frames.shape[:2], dtype=torch.bool, device=device),
            "pixel_mm": cines.pixel_mm,
        }

    def vary(self, batch: Batch, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        symmetry = int(rng.integers(N_SYMMETRIES))
        points = turn_points(batch["landmarks"], symmetry, rnncnn.INPUT_SIZE)
        images = turn_images(batch["images"].float(), symmetry).contiguous()
        return {**batch, "images": disturbed(images, rng), "landmarks": turn_spokes(points, symmetry)}

    def shorten(self, batch: Batch, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        """Most often ED and a few later frames: the network must not count frames, and its time goes by frame."""
        time = batch["images"].shape[1]
        if rng.random() < 0.2 or time <= self.few_frames:
            return dict(batch)
        later = 1 + np.sort(rng.permutation(time - 1)[: self.few_frames - 1])
        kept = np.concatenate([[0], later])
        frames = torch.as_tensor(kept, device=batch["images"].device)
        short = {key: batch[key].index_select(1, frames) for key in ("images", "landmarks", "frame_valid")}
        return {**batch, **short}


_SECOND_LOOK_MM = preprocessing.LOCALIZER_ZOOM * preprocessing.LOCALIZER_FIELD_OF_VIEW_MM


class LocalizerExamples:
    """Channels ``images`` (batch, 3, 256, 256) with what is true at ED, in pixels of the 256 grid.

    ``boxes`` (batch, 4) follow the predecessor's rule; ``contours`` (batch, 2, point, 2) are the endocardium and the
    epicardium, NaN where not known.

    Half are first looks at the whole image, half second looks, centred as far off the heart as a first may be.
    """

    first_look_mm = (0.85 * preprocessing.LOCALIZER_FIELD_OF_VIEW_MM, 1.12 * preprocessing.LOCALIZER_FIELD_OF_VIEW_MM)
    second_look_mm = (0.90 * _SECOND_LOOK_MM, 1.12 * _SECOND_LOOK_MM)
    second_look_shift_mm = 28.0
    missing_channel = 0.15
    """Share of examples that lack one of the channels."""
    without_heart = 0.08
    """Share of examples whose image ends before the ventricle, so that there is nothing to mark."""
    cut_heart = 0.12
    """Share of examples whose image ends in the ventricle; half of it shows at least."""
    only_noise = 0.04
    """Share of examples that show noise alone."""
    size = 256

    def __init__(self, preset: str) -> None:
        self.config = real_hearts(PRESETS[preset], COMPLEMENTARY_SHARE)

    def simulate(self, n: int, seed: int, device: torch.device) -> dict[str, torch.Tensor]:
        scene = stack_scenes(sample_scenes(self.config, n, seed), device)
        rng = np.random.default_rng([seed, 1, VIEWS])
        second = rng.random(n) < 0.5
        bounds = np.where(second[:, None], self.second_look_mm, self.first_look_mm)
        side = torch.tensor(rng.uniform(bounds[:, 0], bounds[:, 1]), dtype=torch.float32, device=device)
        # Half of the first looks are centred where the scanner centred, all others off the heart by up to `shift`.
        shift = np.where(second, self.second_look_shift_mm, 0.33 * bounds[:, 1])[:, None]
        free = rng.random(n) < np.where(second, 1.0, 0.5)
        anywhere = torch.tensor(rng.uniform(-shift, shift, (n, 2)), dtype=torch.float32, device=device)
        choose = torch.tensor(free, device=device)[:, None]
        center = torch.where(choose, anywhere, scene.acquisition.image_center_mm)
        reach = (0.5 * side - 1.3 * scene.anatomy.outer_radius_mm).clamp_min(0)[:, None]
        view = View(torch.minimum(torch.maximum(center, -reach), reach), side, self.size)
        cines = render(scene, view, preprocessing.localizer_frame_indices(self.config.n_frames))
        valid = self._inside_image(scene, view, rng)
        images = preprocessing.localizer_channels(cines.frames, valid)
        contours = cines.landmarks_px[:, 0, :, [0, N_RINGS - 1]].transpose(1, 2)
        return {
            "images": images.half(),
            "boxes": cines.boxes_px,
            "contours": contours,
            "pixel_mm": cines.pixel_mm,
        }

    def _inside_image(self, scene: Scene, view: View, rng: np.random.Generator) -> torch.Tensor:
        """Pixels inside a scanner image that is at times smaller than the view, though never cuts the heart."""
        points = view.grid_mm()
        n = view.side_mm.shape[0]
        half = torch.tensor(rng.uniform(0.30, 0.75, (n, 2)), dtype=torch.float32, device=points.device)
        half = half * view.side_mm[:, None]
        needed = view.center_mm.abs() + 1.3 * scene.anatomy.outer_radius_mm[:, None]
        half = torch.maximum(half, needed)
        offset = (points - view.center_mm[:, None, None]).abs()
        return (offset <= half[:, None, None]).all(dim=-1)

    def vary(self, batch: Batch, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        symmetry = int(rng.integers(N_SYMMETRIES))
        images, points = _zoomed(turn_images(batch["images"].float(), symmetry), rng)
        turned = {
            "boxes": points(turn_boxes(batch["boxes"], symmetry, self.size).reshape(-1, 2, 2)).flatten(1),
            "contours": points(turn_points(batch["contours"], symmetry, self.size)),
        }
        images, turned = self._some_cut(images, turned, rng)
        images, turned = self._some_noise(images, turned, rng)
        images = disturbed(images, rng) * _inside(images)
        # A network that can do without any one channel leans less on grey levels that real images have otherwise.
        n, n_channels = images.shape[:2]
        missing = np.where(rng.random(n) < self.missing_channel, rng.integers(n_channels, size=n), -1)
        kept = torch.tensor(missing[:, None] != np.arange(n_channels), dtype=images.dtype, device=images.device)
        return {**batch, **turned, "images": images * kept[:, :, None, None]}

    def _some_cut(
        self, images: torch.Tensor, truth: Batch, rng: np.random.Generator
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Examples of which some end in the ventricle, to be marked as if all of it showed, and some beside it."""
        n, device = len(images), images.device
        fate = rng.random(n)
        is_empty = torch.tensor(fate < self.without_heart, device=device)
        is_cut = torch.tensor(fate < self.without_heart + self.cut_heart, device=device)
        angle = rng.uniform(0, 2 * math.pi, n)
        away = torch.tensor(np.stack([np.cos(angle), np.sin(angle)], axis=-1), dtype=images.dtype, device=device)
        low, high = truth["boxes"].view(n, 2, 2).unbind(dim=1)
        # The box is 1.6 times as wide as the ventricle, which ends at 0.625 of the box's half side.
        share = np.where(fate < self.without_heart, rng.uniform(0.65, 1.2, n), rng.uniform(-0.65, 0.0, n))
        reach = torch.tensor(share, dtype=images.dtype, device=device) * (high - low).amax(1) / 2
        middle = (low + high) / 2
        # More of the image lies on one side of the ventricle than on the other.
        away = away * torch.where((away * (self.size / 2 - middle)).sum(dim=1, keepdim=True) < 0, -1, 1)
        begin = (middle * away).sum(dim=1) + reach
        steps = torch.arange(self.size, dtype=images.dtype, device=device)
        along = away[:, 0, None, None] * steps + away[:, 1, None, None] * steps[:, None]
        shown = _inside(images)[:, 0] & (along > begin[:, None, None])
        # What is left has grey levels and movement of its own to be measured by; nothing moves outside.
        grey = preprocessing.standardized(images[:, ::2], shown)
        still = images[:, 1].amin(dim=(1, 2), keepdim=True)
        movement = preprocessing.standard_movement(torch.where(shown, images[:, 1], still)) * shown
        rest = torch.stack([grey[:, 0], movement, grey[:, 1]], dim=1)
        return torch.where(is_cut[:, None, None, None], rest, images), self._without_ventricle(truth, is_empty)

    def _some_noise(
        self, images: torch.Tensor, truth: Batch, rng: np.random.Generator
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Examples of which some are noise alone, of any grain: nothing to mark."""
        is_noise = torch.tensor(rng.random(len(images)) < self.only_noise, device=images.device)
        images = images.clone()
        for i in is_noise.nonzero()[:, 0].tolist():
            grain = int(rng.integers(48, self.size))
            parts = torch.randn(
                (2, preprocessing.LOCALIZER_FRAMES, grain, grain),
                device=images.device,
                generator=_generator(rng, images.device),
            )
            magnitude = torch.hypot(*parts)[None]
            frames = F.interpolate(magnitude, size=(self.size, self.size), mode="bilinear", align_corners=False)
            images[i] = preprocessing.localizer_channels(frames)[0].to(images.dtype)
        return images, self._without_ventricle(truth, is_noise)

    def _without_ventricle(self, truth: Batch, is_empty: torch.Tensor) -> dict[str, torch.Tensor]:
        """The truth where some examples show no ventricle: no box, and contours that lie far off."""
        boxes = truth["boxes"].masked_fill(is_empty[:, None], torch.nan)
        return {"boxes": boxes, "contours": truth["contours"] + 10 * self.size * is_empty[:, None, None, None]}

    def shorten(self, batch: Batch, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        """Nothing to do: the channels are made from a set number of frames already."""
        return dict(batch)


def drawn_crop_mm(
    scene: Scene, scale: tuple[float, float], shift: float, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """A random square crop per scene: middle and diameter of the epicardium, side of the crop, its offset [mm].

    ``scale`` is the range of side over diameter, drawn log-uniformly; ``shift`` the largest offset over side.
    """
    ed = ed_landmarks_mm(scene).flatten(1, 2)
    n, device = len(ed), ed.device
    low, high = ed.amin(dim=1), ed.amax(dim=1)
    diameter = (high - low).amax(dim=1)
    log_scale = rng.uniform(math.log(scale[0]), math.log(scale[1]), n)
    side = diameter * torch.tensor(np.exp(log_scale), dtype=torch.float32, device=device)
    share = torch.tensor(rng.uniform(-shift, shift, (n, 2)), dtype=torch.float32, device=device)
    return (low + high) / 2, diameter, side, share * side[:, None]


class TrackerExamples:
    """Crops ``images`` (batch, time, 128, 128), standardised, with ``landmarks`` (batch, time, spoke, ring, 2).

    ``times_ms`` (batch, time) counts from the first frame, which need not be ED: a cine may begin anywhere in the cycle
    and run backwards. ``frame_valid`` and ``pixel_mm`` as in `LandmarkExamples`; ``landmark_weight``
    (batch, time, spoke, ring) is 1 where the truth is known and less where a teacher is not sure.
    """

    scale = (1.3, 2.1)
    """Side of the crop over the diameter of the epicardium."""
    shift = 0.10
    n_frames = (6, 14)
    cut_off = 0.25
    """Share of examples of which the crop shows more than the image holds."""

    def __init__(self, preset: str) -> None:
        # What kind of wall it is, the tracker has to see: it must not expect the one rather than the other.
        self.config = replace(real_hearts(PRESETS[preset]), solid_wall_probability=0.5)

    def simulate(self, n: int, seed: int, device: torch.device) -> dict[str, torch.Tensor]:
        scene = stack_scenes(sample_scenes(self.config, n, seed), device)
        rng = np.random.default_rng([seed, 1, VIEWS])
        middle, _, side, offset = drawn_crop_mm(scene, self.scale, self.shift, rng)
        cines = render(scene, View(middle + offset, side, TRACKER_CROP_SIZE))
        return {
            "images": preprocessing.standardized(cines.frames).half(),
            "landmarks": cines.landmarks_px,
            "times_ms": cines.frame_times_ms - cines.frame_times_ms[:, :1],
            "frame_valid": torch.ones(cines.frames.shape[:2], dtype=torch.bool, device=device),
            "landmark_weight": torch.ones(cines.landmarks_px.shape[:-1], device=device),
            "pixel_mm": cines.pixel_mm,
        }

    def vary(self, batch: Batch, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        symmetry = int(rng.integers(N_SYMMETRIES))
        points = turn_points(batch["landmarks"], symmetry, TRACKER_CROP_SIZE)
        images = disturbed(turn_images(batch["images"].float(), symmetry).contiguous(), rng)
        seen = self._inside_image(points[:, 0].flatten(1, 2), rng)
        return {**batch, "images": images * seen[:, None], "landmarks": turn_spokes(points, symmetry)}

    def _inside_image(self, ed_points_px: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """Pixels ``(batch, row, column)`` inside an image that ends anywhere outside the wall, at times; else all."""
        n, device = len(ed_points_px), ed_points_px.device
        low, high = ed_points_px.amin(dim=1), ed_points_px.amax(dim=1)
        whole = rng.random((n, 1, 1)) >= self.cut_off
        share = np.where(whole, np.inf, rng.uniform(0.02, 0.45, (n, 2, 2)))
        margin = torch.tensor(share, dtype=torch.float32, device=device) * (high - low)[:, None]
        steps = torch.arange(TRACKER_CROP_SIZE, device=device, dtype=torch.float32)
        inside = (steps >= (low - margin[:, 0])[..., None]) & (steps <= (high + margin[:, 1])[..., None])
        return inside[:, 1, :, None] & inside[:, 0, None, :]

    def shorten(self, batch: Batch, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        """A third of the batches whole; the others a stretch from anywhere, at times backwards, or with frames missing.

        Where frames are missing the tissue jumps; half of the time the clock does not show it, as where real hearts set
        in suddenly.
        """
        time = batch["images"].shape[1]
        fate = rng.random()
        if fate < 0.35 or time <= self.n_frames[1]:
            return dict(batch)
        length = int(rng.integers(*self.n_frames))
        if fate < 0.65:
            kept = np.sort(rng.permutation(min(time, 3 * length))[:length])
        else:
            stride = 2 if rng.random() < 0.25 and 2 * length < time else 1
            first = int(rng.integers(time - stride * (length - 1))) if rng.random() < 0.5 else 0
            kept = first + stride * np.arange(length)
        if rng.random() < 0.3:
            kept = kept[::-1].copy()
        frames = torch.as_tensor(kept, device=batch["images"].device)
        names = ("images", "landmarks", "frame_valid", "landmark_weight", "times_ms")
        short = {key: batch[key].index_select(1, frames) for key in names}
        if fate < 0.5:
            short["times_ms"] = batch["times_ms"][:, :length]
        short["times_ms"] = short["times_ms"] - short["times_ms"][:, :1]
        return {**batch, **short}
