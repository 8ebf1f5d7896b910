"""How a simulated heart moves: exact maps between material points at ED and their place at any time."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from tagstrain.simulation.scene import AnatomyScene, MotionScene, Scene

FIXED_POINT_STEPS = 40
FULL_SQUEEZE_SHORTENING = 0.1
"""Mid-wall shortening from which on the inside of the wall is squeezed as much as it can be."""


def _expand(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Per-scene scalars ``(scene,)`` shaped to broadcast against ``(scene, ...)``."""
    return values.reshape(values.shape[0], *([1] * (like.dim() - 1)))


def wall_radii(anatomy: AnatomyScene, angle_rad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Endocardial and epicardial radius [mm] at ED for angles ``(scene, ...)`` around the LV's centre."""
    outer_factor = torch.ones_like(angle_rad)
    wall_factor = torch.ones_like(angle_rad)
    for mode in range(anatomy.outer_amplitude.shape[1]):
        outer = torch.cos((mode + 1) * angle_rad + _expand(anatomy.outer_phase_rad[:, mode], angle_rad))
        wall = torch.cos((mode + 1) * angle_rad + _expand(anatomy.wall_phase_rad[:, mode], angle_rad))
        outer_factor = outer_factor + _expand(anatomy.outer_amplitude[:, mode], angle_rad) * outer
        wall_factor = wall_factor + _expand(anatomy.wall_amplitude[:, mode], angle_rad) * wall
    radius = _expand(anatomy.outer_radius_mm, angle_rad)
    epi = radius * outer_factor
    wall_mm = radius * _expand(anatomy.wall_fraction, angle_rad) * wall_factor.clamp(0.5, 1.6)
    return (epi - wall_mm).clamp_min(3.0), epi


class _Squeeze:
    """How much of the wall's area lies further in than a material depth, at ED and once its inside was squeezed.

    From the endocardium on, over a share ``extent`` of the wall's area, layers keep less of their area, the innermost
    ``1 - loss``, rising linearly; all beyond gain the same, so that the wall keeps its area as a whole.
    """

    def __init__(self, loss: torch.Tensor, extent: torch.Tensor) -> None:
        self.extent = extent
        steepness = loss / (1 - extent / 2)
        self.gain = steepness * extent / 2
        """Share by which layers beyond the extent grow."""
        self.innermost = 1 - loss
        self.bend = steepness / (2 * extent)

    def now(self, share_ed: torch.Tensor) -> torch.Tensor:
        """Share once squeezed of a share at ED."""
        within = self.innermost * share_ed + self.bend * share_ed**2
        return torch.where(share_ed < self.extent, within, (1 + self.gain) * share_ed - self.gain)

    def at_ed(self, share: torch.Tensor) -> torch.Tensor:
        """Inverse of `now`, for shares from 0 to 1."""
        share = share.clamp(0, 1)
        within = 2 * share / (self.innermost + (self.innermost**2 + 4 * self.bend * share).sqrt())
        return torch.where(within < self.extent, within, (share + self.gain) / (1 + self.gain))


class _Wall(NamedTuple):
    """Radii [mm] by material angle, at ED and now, and how the inside is squeezed by now."""

    endo_ed: torch.Tensor
    epi_ed: torch.Tensor
    endo: torch.Tensor
    epi: torch.Tensor
    squeeze: _Squeeze


class HeartMotion:
    """Motion of a batch of scenes.

    Radial motion keeps (or loses a set share of) the wall's area, the inside more than the outside where asked for, so
    that the map has a closed form both ways; twist varies with depth; bulk motion and smooth waves are added in space.
    Positions are mm in the heart frame, times ms from the first frame, where nothing has moved.
    """

    def __init__(self, scene: Scene) -> None:
        self.anatomy = scene.anatomy
        self.motion = scene.motion

    def contraction(self, time_ms: torch.Tensor) -> torch.Tensor:
        """Course of the contraction, 0 at ED and 1 at ES, for times ``(scene, ...)``."""
        m: MotionScene = self.motion
        es, time = _expand(m.es_time_ms, time_ms), time_ms.clamp_min(0)
        rise = torch.sin(math.pi / 2 * (time / es).clamp(0, 1)).clamp_min(0) ** _expand(m.onset_exponent, time)
        phase = ((time - es) / _expand(m.diastole_ms, time)).clamp(0, 1.2)
        filling = ((phase - _expand(m.relaxation_start, time)) / _expand(m.relaxation_width, time)).clamp(0, 1)
        filling = filling * filling * (3 - 2 * filling)
        kick = _expand(m.atrial_kick, time)
        filling = filling * (1 - kick) + kick * torch.sigmoid((phase - 0.85) * 15)
        return torch.where(time <= es, rise, 1 - (1 - _expand(m.residual, time)) * filling)

    def _since_ed(self, time_ms: torch.Tensor, lag_ms: torch.Tensor) -> torch.Tensor:
        """Lagged contraction less its value at ED."""
        lag = _expand(lag_ms, time_ms)
        return self.contraction(time_ms - lag) - self.contraction(torch.zeros_like(time_ms) - lag)

    def _swings(self, time_ms: torch.Tensor) -> torch.Tensor:
        """Three slow oscillations ``(scene, ..., 3)``, zero at ED."""
        span = _expand(self.motion.es_time_ms + self.motion.diastole_ms, time_ms)
        return torch.stack([torch.sin(math.pi * mode * time_ms / span) for mode in (1, 2, 3)], dim=-1)

    def wall_at(self, angle_rad: torch.Tensor, time_ms: torch.Tensor) -> _Wall:
        """The wall at material angles ``(scene, ...)`` and times of the same shape."""
        m = self.motion
        endo_ed, epi_ed = wall_radii(self.anatomy, angle_rad)
        delay = _expand(m.delay_ms, angle_rad) * (
            0.5 + 0.5 * torch.cos(angle_rad + _expand(m.delay_angle_rad, angle_rad))
        )
        course = self.contraction(time_ms - delay)
        regional = torch.ones_like(angle_rad)
        for mode in range(m.regional_amplitude.shape[1]):
            wave = torch.cos((mode + 1) * angle_rad + _expand(m.regional_phase_rad[:, mode], angle_rad))
            regional = regional + _expand(m.regional_amplitude[:, mode], angle_rad) * wave
        from_scar = torch.cos(angle_rad - _expand(m.infarct_angle_rad, angle_rad)) - 1
        scar = torch.exp(_expand(m.infarct_sharpness, angle_rad) * from_scar)
        regional = regional - _expand(m.infarct_depth, angle_rad) * scar
        area = epi_ed**2 - endo_ed**2
        area_loss = _expand(m.area_loss, angle_rad)
        mid_squared = ((endo_ed + epi_ed) / 2) ** 2
        mid_depth = (mid_squared - endo_ed**2) / area
        shortening = _expand(m.midwall_shortening, angle_rad) * regional
        # What does not contract is not squeezed.
        loss = _expand(m.inner_loss, angle_rad) * (shortening / FULL_SQUEEZE_SHORTENING).clamp(0, 1)
        extent = _expand(m.inner_loss_extent, angle_rad)
        mid_es_squared = mid_squared * (1 - shortening) ** 2
        mid_depth_es = _Squeeze(loss, extent).now(mid_depth)
        endo_es = (mid_es_squared - mid_depth_es * area * (1 - area_loss)).clamp_min(0).sqrt()
        endo_shortening = (1 - endo_es / endo_ed).clamp(-0.25, 0.70)
        endo = endo_ed * (1 - endo_shortening * course)
        epi = (endo**2 + area * (1 - area_loss * course)).sqrt()
        return _Wall(endo_ed, epi_ed, endo, epi, _Squeeze(loss * course, extent))

    def _twist(self, radius: torch.Tensor, time_ms: torch.Tensor) -> torch.Tensor:
        """Rotation [rad] of points now at a radius."""
        m = self.motion
        outer = _expand(self.anatomy.outer_radius_mm, radius)
        span = _expand(m.es_time_ms + m.diastole_ms, time_ms)
        course = self._since_ed(time_ms, m.twist_lag_ms) * (1 - _expand(m.twist_recoil, time_ms) * time_ms / span)
        depth = torch.exp(-radius / (_expand(m.twist_length, radius) * outer))
        fade = torch.exp(-(((radius - 0.9 * outer).clamp_min(0) / _expand(m.decay_mm, radius)) ** 2))
        return course * (_expand(m.twist_rad, radius) + _expand(m.twist_gradient_rad, radius) * depth) * fade

    def _drift(self, points_mm: torch.Tensor, time_ms: torch.Tensor) -> torch.Tensor:
        """Bulk motion and smooth waves [mm] at places ``(scene, point, 2)``; times ``(scene, 1 or point)``."""
        m = self.motion
        swings = self._swings(time_ms)
        bulk = m.bulk_mm[:, None] * self._since_ed(time_ms, m.bulk_lag_ms)[..., None]
        bulk = bulk + torch.einsum("bpm,bmd->bpd", swings, m.bulk_swing_mm)
        courses = torch.cat([self.contraction(time_ms)[..., None], swings[..., :2]], dim=-1)
        mix = 0.7 * torch.einsum("bpm,bkm->bpk", courses, m.wave_mix)
        phase = torch.einsum("bpd,bkd->bpk", points_mm, m.wave_vector_per_mm) + m.wave_phase_rad[:, None]
        waves = torch.einsum("bpk,bkd->bpd", torch.sin(phase) * mix, m.wave_amplitude_mm)
        outer = _expand(self.anatomy.outer_radius_mm, points_mm[..., 0])
        beyond = (points_mm.norm(dim=-1) - 1.1 * outer).clamp_min(0) / outer
        return (bulk + waves) * torch.exp(-(beyond**2))[..., None]

    def _outside_reach(self, epi_ed: torch.Tensor, epi: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """How far the epicardium moved, and the distance over which the tissue outside gives way."""
        shift = epi_ed - epi
        return shift, torch.maximum(_expand(self.motion.decay_mm, shift), 1.4 * shift.abs())

    def backward(self, points_mm: torch.Tensor, time_ms: torch.Tensor) -> torch.Tensor:
        """Where at ED the material was that is now at ``points_mm`` ``(scene, point, 2)``; times ``(scene, 1)``."""
        local = points_mm - self._drift(points_mm, time_ms)
        radius = local.norm(dim=-1).clamp_min(1e-3)
        angle = torch.atan2(local[..., 1], local[..., 0]) - self._twist(radius, time_ms)
        endo_ed, epi_ed, endo, epi, squeeze = self.wall_at(angle, time_ms)
        depth = (radius**2 - endo**2) / (epi**2 - endo**2)
        inside = radius * endo_ed / endo
        wall = (endo_ed**2 + squeeze.at_ed(depth) * (epi_ed**2 - endo_ed**2)).clamp_min(1e-4).sqrt()
        shift, reach = self._outside_reach(epi_ed, epi)
        outside = radius + shift * torch.exp(-(radius - epi).clamp_min(0) / reach)
        radius_ed = torch.where(depth < 0, inside, torch.where(depth > 1, outside, wall))
        return radius_ed[..., None] * torch.stack([torch.cos(angle), torch.sin(angle)], dim=-1)

    def forward(self, points_ed_mm: torch.Tensor, times_ms: torch.Tensor) -> torch.Tensor:
        """Trajectories ``(scene, time, point, 2)`` of ED points ``(scene, point, 2)`` at times ``(scene, time)``."""
        n_scenes, n_points, _ = points_ed_mm.shape
        n_times = times_ms.shape[1]

        def flat(values: torch.Tensor) -> torch.Tensor:
            return values[:, None].expand(n_scenes, n_times, n_points).reshape(n_scenes, -1)

        time = times_ms[:, :, None].expand(n_scenes, n_times, n_points).reshape(n_scenes, -1)
        radius_ed = flat(points_ed_mm.norm(dim=-1))
        angle = flat(torch.atan2(points_ed_mm[..., 1], points_ed_mm[..., 0]))
        endo_ed, epi_ed, endo, epi, squeeze = self.wall_at(angle, time)
        depth = (radius_ed**2 - endo_ed**2) / (epi_ed**2 - endo_ed**2)
        inside = radius_ed * endo / endo_ed
        wall = (endo**2 + squeeze.now(depth) * (epi**2 - endo**2)).clamp_min(1e-4).sqrt()
        shift, reach = self._outside_reach(epi_ed, epi)
        outside = radius_ed
        for _ in range(FIXED_POINT_STEPS):
            outside = radius_ed - shift * torch.exp(-(outside - epi).clamp_min(0) / reach)
        radius = torch.where(depth < 0, inside, torch.where(depth > 1, outside, wall))
        angle = angle + self._twist(radius, time)
        local = radius[..., None] * torch.stack([torch.cos(angle), torch.sin(angle)], dim=-1)
        points = local
        for _ in range(FIXED_POINT_STEPS):
            points = local + self._drift(points, time)
        return points.reshape(n_scenes, n_times, n_points, 2)

    def background_backward(
        self, points_mm: torch.Tensor, time_ms: torch.Tensor, heart_ed: torch.Tensor
    ) -> torch.Tensor:
        """ED place of the tissue behind the heart: dragged along in part, with slow bumps of its own."""
        m = self.motion
        moved = points_mm + _expand(m.background_drag, points_mm) * (heart_ed - points_mm)
        for bump in range(m.bump_mm.shape[1]):
            distance = (points_mm - m.bump_center_mm[:, bump, None]).norm(dim=-1)
            weight = torch.exp(-0.5 * (distance / _expand(m.bump_width_mm[:, bump], distance)) ** 2)
            course = self._since_ed(time_ms, m.bump_lag_ms[:, bump])
            moved = moved + (weight * course)[..., None] * m.bump_mm[:, bump, None]
        return moved
