"""All of the chance in a simulated cine, drawn before anything is computed: `Scene`, `sample_scene`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch

from tagstrain.simulation.config import Range, SimulatorConfig

TWO_PI = 2 * math.pi
N_HARMONICS = 4
N_WAVES = 6
N_BUMPS = 3
N_ORGANS = 6
N_PAPILLARIES = 3


@dataclass(frozen=True, eq=False, slots=True)
class AnatomyScene:
    """Shape of the heart and its surroundings at ED, in the heart frame: mm, origin at the centre of the LV."""

    outer_radius_mm: torch.Tensor
    wall_fraction: torch.Tensor
    outer_amplitude: torch.Tensor
    """Fourier modes 1-4 of the epicardial radius over its mean."""
    outer_phase_rad: torch.Tensor
    wall_amplitude: torch.Tensor
    wall_phase_rad: torch.Tensor
    papillary_angle_rad: torch.Tensor
    papillary_depth: torch.Tensor
    papillary_size: torch.Tensor
    """Radius over the cavity's radius; 0 where there is none."""
    trabecula_depth: torch.Tensor
    """Over the cavity's radius; ridges reach up to half as far into the cavity, by chance."""
    exchange_depth: torch.Tensor
    """Share of the wall, from the endocardium outwards, whose tissue leaves the slice in part, its tags with it; muscle
    in the cavity does too."""
    exchange_share: torch.Tensor
    """Share that leaves at the endocardium, all where above 1; it falls to none at ``exchange_depth``."""
    exchange_blood: torch.Tensor
    """Share of blood in what leaves; the rest looks like muscle."""
    fat_rim_mm: torch.Tensor
    rv_angle_rad: torch.Tensor
    """Direction from the LV to the RV."""
    rv_half_width: torch.Tensor
    """Half axes and offset of the RV ellipse over the LV's outer radius; 0 where the slice has no RV."""
    rv_half_height: torch.Tensor
    rv_offset: torch.Tensor
    rv_wall: torch.Tensor
    lung_width_mm: torch.Tensor
    """Width of the dark crescent of lung along the free wall."""
    lung_half_angle_rad: torch.Tensor
    body_center_mm: torch.Tensor
    body_half_axes_mm: torch.Tensor
    body_angle_rad: torch.Tensor
    body_fat_mm: torch.Tensor
    body_muscle_mm: torch.Tensor
    arm_center_mm: torch.Tensor
    arm_radius_mm: torch.Tensor
    organ_size_mm: torch.Tensor
    organ_ramp: torch.Tensor
    organ_ramp_angle_rad: torch.Tensor
    organ_sharpness: torch.Tensor
    texture: torch.Tensor
    """Strength of fine, middle and coarse texture."""


@dataclass(frozen=True, eq=False, slots=True)
class MotionScene:
    """How the heart moves; times in ms from the first frame, lengths in mm."""

    es_time_ms: torch.Tensor
    diastole_ms: torch.Tensor
    onset_exponent: torch.Tensor
    relaxation_start: torch.Tensor
    relaxation_width: torch.Tensor
    atrial_kick: torch.Tensor
    residual: torch.Tensor
    """Share of the contraction left at the end of the cycle."""
    midwall_shortening: torch.Tensor
    area_loss: torch.Tensor
    """Share of the wall's in-plane area lost at ES (through-plane motion)."""
    inner_loss: torch.Tensor
    """Share of its area that the innermost layer loses at ES besides, where the wall shortens: blood leaves between
    trabeculae."""
    inner_loss_extent: torch.Tensor
    """Share of the wall's area, from the endocardium, over which that falls; all beyond gain what is lost, evenly."""
    regional_amplitude: torch.Tensor
    regional_phase_rad: torch.Tensor
    infarct_depth: torch.Tensor
    infarct_angle_rad: torch.Tensor
    infarct_sharpness: torch.Tensor
    delay_ms: torch.Tensor
    delay_angle_rad: torch.Tensor
    twist_rad: torch.Tensor
    twist_gradient_rad: torch.Tensor
    twist_length: torch.Tensor
    twist_lag_ms: torch.Tensor
    twist_recoil: torch.Tensor
    decay_mm: torch.Tensor
    """Distance over which the LV's motion fades in the tissue around it."""
    bulk_mm: torch.Tensor
    bulk_lag_ms: torch.Tensor
    bulk_swing_mm: torch.Tensor
    wave_vector_per_mm: torch.Tensor
    wave_phase_rad: torch.Tensor
    wave_amplitude_mm: torch.Tensor
    wave_mix: torch.Tensor
    background_drag: torch.Tensor
    """Share of the heart's motion that the tissue behind it follows."""
    bump_center_mm: torch.Tensor
    bump_width_mm: torch.Tensor
    bump_mm: torch.Tensor
    bump_lag_ms: torch.Tensor


@dataclass(frozen=True, eq=False, slots=True)
class TagScene:
    """Magnetisation: the SPAMM grid, its fading, and what each tissue gives."""

    spacing_mm: torch.Tensor
    angle_rad: torch.Tensor
    """Direction of the first tag normal; the second is at right angles."""
    phase_rad: torch.Tensor
    depth: torch.Tensor
    """Depth of each direction's modulation, ``2 sin(flip)**2``; 1 nulls the tag line, 0 is no tag."""
    sharpness: torch.Tensor
    """1 is the sinusoid of 1-1 SPAMM; above 1 the dark lines are narrower."""
    complementary: torch.Tensor
    """1 where images with tags half a period apart are subtracted from each other (complementary SPAMM), else 0."""
    prepared_magnetization: torch.Tensor
    flip_angle_rad: torch.Tensor
    repetition_ms: torch.Tensor
    wash_out_ms: torch.Tensor
    inflow: torch.Tensor
    """How far fresh blood lies above its steady state, over the way to full recovery."""
    blood_mixing: torch.Tensor
    """Share of fresh blood that was tagged elsewhere, so that its tags have mixed."""
    proton_density: torch.Tensor
    """Per tissue of `anatomy.Tissue`."""
    t1_ms: torch.Tensor


@dataclass(frozen=True, eq=False, slots=True)
class AcquisitionScene:
    """What the scanner does to the image."""

    frame_times_ms: torch.Tensor
    snr: torch.Tensor
    resolution_mm: torch.Tensor
    """Smallest resolved length along image ``(x, y)``."""
    apodization: torch.Tensor
    shading: torch.Tensor
    """Strength of the smooth sensitivity field, and of its ramp per 100 mm."""
    shading_angle_rad: torch.Tensor
    ghost: torch.Tensor
    ghost_axis: torch.Tensor
    gamma: torch.Tensor
    scanner_scale: torch.Tensor
    image_center_mm: torch.Tensor
    """Where the middle of the whole field of view lies, in the heart frame."""
    field_of_view_mm: torch.Tensor


@dataclass(frozen=True, eq=False, slots=True)
class Scene:
    """One simulated cine before rendering; replayed exactly from its record.

    A batch of scenes is the same object with a leading axis on every tensor (`stack_scenes`).
    """

    anatomy: AnatomyScene
    motion: MotionScene
    tags: TagScene
    acquisition: AcquisitionScene
    seed: torch.Tensor
    """Seeds the textures and the noise of rendering; int64."""

    def to_record(self) -> dict[str, Any]:
        """Plain lists and numbers for JSON."""
        parts: dict[str, Any] = {
            part: {f.name: getattr(getattr(self, part), f.name).tolist() for f in fields(getattr(self, part))}
            for part in _PARTS
        }
        return {**parts, "seed": self.seed.tolist()}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Scene:
        """Read back what `to_record` wrote."""
        parts = {
            name: kind(**{key: torch.tensor(value, dtype=torch.float32) for key, value in record[name].items()})
            for name, kind in _PARTS.items()
        }
        return cls(**parts, seed=torch.tensor(record["seed"], dtype=torch.int64))


_PARTS: dict[str, Any] = {
    "anatomy": AnatomyScene,
    "motion": MotionScene,
    "tags": TagScene,
    "acquisition": AcquisitionScene,
}


def stack_scenes(scenes: Sequence[Scene], device: torch.device | str = "cpu") -> Scene:
    """Scenes of equal frame count as one batch on a device."""
    parts = {
        name: kind(
            **{
                f.name: torch.stack([getattr(getattr(s, name), f.name) for s in scenes]).to(device)
                for f in fields(kind)
            }
        )
        for name, kind in _PARTS.items()
    }
    return Scene(**parts, seed=torch.stack([s.seed for s in scenes]))


class _Dice:
    """Draws float32 tensors from one NumPy generator."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def between(self, low: float, high: float, *shape: int) -> torch.Tensor:
        return torch.tensor(self.rng.uniform(low, high, shape), dtype=torch.float32)

    def within(self, bounds: Range, *shape: int) -> torch.Tensor:
        return self.between(*bounds, *shape)

    def log_between(self, low: float, high: float) -> torch.Tensor:
        return self.between(math.log(low), math.log(high)).exp()

    def angle(self, *shape: int) -> torch.Tensor:
        return self.between(0, TWO_PI, *shape)

    def normal(self, sd: float | Sequence[float], *shape: int) -> torch.Tensor:
        draw = self.rng.standard_normal(shape or np.shape(sd))
        return torch.tensor(draw * np.asarray(sd), dtype=torch.float32)

    def happens(self, probability: float) -> float:
        return float(self.rng.random() < probability)


def sample_scene(config: SimulatorConfig, rng: np.random.Generator) -> Scene:
    """Draw one scene; all randomness of its cine, down to the noise seed, is in the result."""
    dice = _Dice(rng)
    anatomy = _sample_anatomy(config, dice)
    scene = Scene(
        anatomy=anatomy,
        motion=_sample_motion(config, dice, anatomy),
        tags=_sample_tags(config, dice),
        acquisition=_sample_acquisition(config, dice),
        seed=torch.tensor(int(rng.integers(2**62)), dtype=torch.int64),
    )
    # By dice of its own, so that all else is as it is without.
    dice = _Dice(np.random.default_rng([int(scene.seed), 1]))
    inside = {
        "exchange_depth": dice.within(config.exchange_depth),
        "exchange_share": dice.within(config.exchange_share),
        "exchange_blood": dice.within(config.exchange_blood),
    }
    mixing, extent = dice.within(config.blood_mixing), dice.within(config.inner_loss_extent)
    loss = scene.motion.inner_loss
    if dice.happens(config.solid_wall_probability):
        inside["exchange_share"] = loss = torch.zeros(())
    tags = replace(scene.tags, blood_mixing=mixing)
    if dice.happens(config.complementary_probability):
        tags = replace(tags, complementary=torch.ones(()), spacing_mm=2 * tags.spacing_mm)
    return replace(
        scene,
        anatomy=replace(anatomy, **inside),
        tags=tags,
        motion=replace(scene.motion, inner_loss=loss, inner_loss_extent=extent),
    )


def sample_scenes(config: SimulatorConfig, n: int, seed: int) -> list[Scene]:
    """Draw ``n`` independent scenes; scene ``k`` does not depend on ``n``."""
    return [sample_scene(config, np.random.default_rng([seed, k])) for k in range(n)]


def _sample_anatomy(config: SimulatorConfig, dice: _Dice) -> AnatomyScene:
    outer_radius = dice.within(config.outer_radius_mm)
    rv_angle = dice.angle()
    has_rv = dice.happens(config.right_ventricle_probability)
    half_axes = torch.stack([dice.between(130, 205), dice.between(100, 175)])
    # The heart lies off the middle of the chest, anywhere up to half-way to the skin.
    reach, bearing = dice.between(0.05, 0.55), dice.angle()
    body_angle = dice.angle()
    turn = torch.stack(
        [
            torch.stack([body_angle.cos(), -body_angle.sin()]),
            torch.stack([body_angle.sin(), body_angle.cos()]),
        ]
    )
    body_center = -turn @ (half_axes * reach * torch.stack([bearing.cos(), bearing.sin()]))
    arm_bearing = dice.angle()
    arm_distance = half_axes.max() + dice.between(25, 60)
    return AnatomyScene(
        outer_radius_mm=outer_radius,
        wall_fraction=dice.within(config.wall_fraction),
        outer_amplitude=dice.normal([0.0, 0.045, 0.02, 0.012]),
        outer_phase_rad=dice.angle(N_HARMONICS),
        wall_amplitude=dice.normal([0.10, 0.07, 0.04, 0.02]),
        wall_phase_rad=dice.angle(N_HARMONICS),
        papillary_angle_rad=dice.angle(N_PAPILLARIES),
        papillary_depth=dice.between(0.55, 1.0, N_PAPILLARIES),
        papillary_size=dice.between(0.10, 0.34, N_PAPILLARIES)
        * torch.tensor([dice.happens(0.6) for _ in range(N_PAPILLARIES)]),
        trabecula_depth=dice.between(0.0, 0.1),  # low: readers draw the endocardium inside of the trabeculae
        exchange_depth=torch.zeros(()),
        exchange_share=torch.zeros(()),
        exchange_blood=torch.zeros(()),
        fat_rim_mm=dice.between(0, 4.5) * dice.happens(0.6),
        rv_angle_rad=rv_angle,
        rv_half_width=dice.between(0.45, 1.15) * has_rv,
        rv_half_height=dice.between(0.75, 1.35),
        rv_offset=dice.between(-0.2, 0.35),
        rv_wall=dice.between(0.10, 0.28),
        lung_width_mm=dice.between(0, 60) * dice.happens(0.85),
        lung_half_angle_rad=dice.between(0.6, 2.4),
        body_center_mm=body_center,
        body_half_axes_mm=half_axes,
        body_angle_rad=body_angle,
        body_fat_mm=dice.between(3, 40),
        body_muscle_mm=dice.between(6, 28),
        arm_center_mm=body_center + arm_distance * torch.stack([arm_bearing.cos(), arm_bearing.sin()]),
        arm_radius_mm=dice.between(25, 55) * dice.happens(0.3),
        organ_size_mm=dice.between(math.log(6.0), math.log(30.0), N_ORGANS).exp(),
        organ_ramp=dice.between(0, 1.2, N_ORGANS),
        organ_ramp_angle_rad=dice.angle(N_ORGANS),
        organ_sharpness=dice.between(6, 25),
        texture=dice.between(0, 0.14, 3),
    )


def _sample_motion(config: SimulatorConfig, dice: _Dice, anatomy: AnatomyScene) -> MotionScene:
    es_time = dice.within(config.es_time_ms)
    weak = dice.happens(config.weak_heart_probability)
    incomplete = dice.happens(0.3)
    directions = dice.angle(N_WAVES)
    wave_numbers = TWO_PI / dice.between(35, 135, N_WAVES)
    twist_sign = 1 - 2 * dice.happens(0.5)
    frame_ms = 40.0
    return MotionScene(
        es_time_ms=es_time,
        diastole_ms=(dice.within(config.cycle_span_ms) - es_time).clamp_min(200),
        onset_exponent=dice.between(0.55, 1.9),
        relaxation_start=dice.between(0, 0.2),
        relaxation_width=dice.between(0.35, 1.0),
        atrial_kick=dice.between(0, 0.15),
        residual=dice.between(0.0, 0.6) if incomplete else dice.between(-0.03, 0.2),
        midwall_shortening=dice.between(0.0, 0.15) if weak else dice.within(config.midwall_shortening),
        area_loss=dice.between(-0.12, 0.22),
        regional_amplitude=dice.normal([0.12, 0.10, 0.06]),
        regional_phase_rad=dice.angle(3),
        infarct_depth=dice.between(0.3, 1.15) * dice.happens(config.infarct_probability),
        infarct_angle_rad=dice.angle(),
        infarct_sharpness=dice.between(1.0, 5.0),
        delay_ms=dice.between(0, 1.6 * frame_ms) * dice.happens(config.dyssynchrony_probability),
        delay_angle_rad=dice.angle(),
        twist_rad=dice.normal(math.radians(8.0)),
        twist_gradient_rad=twist_sign * dice.between(math.radians(-10), math.radians(55)),
        twist_length=dice.between(0.2, 0.55),
        twist_lag_ms=dice.between(-1.5 * frame_ms, 1.5 * frame_ms),
        twist_recoil=dice.between(-0.1, 0.4),
        decay_mm=dice.between(8, 30),
        bulk_mm=dice.normal(config.bulk_motion_sd_mm, 2),
        bulk_lag_ms=dice.between(-frame_ms, 1.5 * frame_ms),
        bulk_swing_mm=dice.normal(0.35, 3, 2),
        wave_vector_per_mm=wave_numbers[:, None] * torch.stack([directions.cos(), directions.sin()], dim=-1),
        wave_phase_rad=dice.angle(N_WAVES),
        wave_amplitude_mm=dice.normal(1.0, N_WAVES, 2).clamp(-2.5, 2.5) * dice.between(0, 0.7),
        wave_mix=dice.normal(1.0, N_WAVES, 3).clamp(-2, 2),
        background_drag=dice.between(0.3, 1.0) * dice.happens(0.6),
        bump_center_mm=dice.between(-1, 1, N_BUMPS, 2) * 3.0 * anatomy.outer_radius_mm,
        bump_width_mm=dice.between(0.4, 1.6, N_BUMPS) * anatomy.outer_radius_mm,
        bump_mm=dice.normal(2.5, N_BUMPS, 2) * torch.tensor([[dice.happens(0.5)] for _ in range(N_BUMPS)]),
        bump_lag_ms=dice.between(-2 * frame_ms, 4 * frame_ms, N_BUMPS),
        inner_loss=dice.within(config.inner_loss),
        inner_loss_extent=torch.ones(()),
    )


def _sample_tags(config: SimulatorConfig, dice: _Dice) -> TagScene:
    common = dice.happens(0.5)
    diagonal = dice.happens(config.diagonal_tag_probability)
    second = 1 - dice.happens(config.line_tag_probability)
    depth = dice.between(0.75, 1.25)
    #               lung, fat, muscle, liver, other, blood, myocardium (order of `anatomy.Tissue`)
    density_low = [0.02, 0.9, 0.7, 0.7, 0.4, 0.8, 0.85]
    density_high = [0.20, 2.0, 1.1, 1.2, 1.4, 1.3, 1.1]
    t1_low = [900.0, 230.0, 850.0, 500.0, 500.0, 1200.0, 900.0]
    t1_high = [1300.0, 400.0, 1250.0, 850.0, 1500.0, 1900.0, 1350.0]
    mix = dice.between(0, 1, 2, len(t1_low))
    density = torch.tensor(density_low) + mix[0] * (torch.tensor(density_high) - torch.tensor(density_low))
    t1 = torch.tensor(t1_low) + mix[1] * (torch.tensor(t1_high) - torch.tensor(t1_low))
    return TagScene(
        spacing_mm=dice.within(config.common_spacing_mm if common else config.tag_spacing_mm),
        angle_rad=math.pi / 4 + dice.normal(0.03) if diagonal else dice.between(0, math.pi),
        phase_rad=dice.angle(2),
        depth=torch.stack([depth, depth * dice.between(0.8, 1.0) * second]),
        sharpness=dice.between(0.7, 1.9),
        complementary=torch.zeros(()),
        prepared_magnetization=dice.between(0.6, 1.0),
        flip_angle_rad=dice.between(math.radians(5), math.radians(15)),
        repetition_ms=dice.between(4, 11),
        wash_out_ms=dice.between(30, 160),
        inflow=dice.between(0, 0.7),
        blood_mixing=torch.zeros(()),
        proton_density=density,
        t1_ms=t1,
    )


def _sample_acquisition(config: SimulatorConfig, dice: _Dice) -> AcquisitionScene:
    swap = dice.happens(0.5)
    resolution = torch.stack([dice.within(config.readout_resolution_mm), dice.within(config.phase_resolution_mm)])
    interval = dice.within(config.frame_interval_ms)
    return AcquisitionScene(
        frame_times_ms=dice.between(0, 25) + interval * torch.arange(config.n_frames),
        snr=dice.log_between(*config.snr),
        resolution_mm=resolution.flip(0) if swap else resolution,
        apodization=dice.between(0.02, 0.14),
        shading=torch.stack([dice.between(0, 0.3), dice.between(0, 0.6)]),
        shading_angle_rad=dice.angle(),
        ghost=dice.between(0.005, 0.04) * dice.happens(config.ghost_probability),
        ghost_axis=torch.tensor(0.0 if swap else 1.0),
        gamma=dice.between(0.85, 1.2),
        scanner_scale=dice.log_between(60, 1500),
        image_center_mm=dice.normal(26.0, 2).clamp(-75, 75),
        field_of_view_mm=dice.between(280, 400),
    )
