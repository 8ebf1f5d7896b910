"""Our learned tracker: dense motion from ED to every frame (`FlowTracker`)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from tagstrain.data import PointTracks, TaggedCine
from tagstrain.geometry import CropTransform
from tagstrain.geometry.folding import unfolded
from tagstrain.inference.given_points import can_be_followed
from tagstrain.inference.glare import without_glare
from tagstrain.inference.lost_tags import unseen_motion_mm
from tagstrain.inference.motion_sight import SYMMETRIES, MotionSight, motion_in
from tagstrain.inference.odd_frames import kept_frames
from tagstrain.inference.steps import steps_px
from tagstrain.networks import preprocessing
from tagstrain.networks.flow import (
    LOG_SPREAD_LIMITS,
    PATCH_PX,
    SIZE_STEP_PX,
    Flow,
    FlowNet,
    carried_back,
    sample_field,
    share_of_others,
    shifted,
    tag_pattern,
)
from tagstrain.networks.placer import tag_agreement
from tagstrain.networks.symmetry import turned_views
from tagstrain.networks.weights import WeightsInfo, load_weights

MIN_SIDE_MM = 70.0
"""Side of the smallest crop: a few points close together still need to be seen in their surroundings."""
WIDE_EXTENT_MM = 80.0
"""Points further apart, as of a dilated ventricle, are seen in a crop of more pixels, in place of wider ones: a fifth
off the RMSE in ventricles 80 to 103 mm wide. In smaller ones nothing is gained."""
WIDE_PIXEL_MM, WIDE_MARGIN_MM = 0.75, 20.0
"""Side of the pixels of these crops, and how far they reach beyond the points."""
MAX_EXTENT_MM = 150.0
"""Points still further apart are seen in several crops, so that memory stays bounded (0.8 GB for 20 frames, 1.5 GB for
50)."""
MAX_PIXELS_AT_ONCE = 4 * 20 * preprocessing.TRACKER_CROP_SIZE**2
"""Views with more pixels together, as of 50 frames, are seen one after another, for the same reason, in no more
time."""
BLENDED_MM = 10.0
"""Points less far outside of a part that is seen in a crop of its own are seen in that, too, and count there the less
the further out, and the less sure it is of them: where parts meet, motion goes over from one into the other."""
LEAST_SIGMA_PX = 0.01
"""No crop is taken to be surer than this, as of the ED frame."""
SIGMA_SCALE = 1.05
"""Standard deviation over the expected absolute error: 69 % of the errors on set A of the accuracy benchmark lie within
it, 68 % on settings held back from training. For a Laplace distribution it would be 1.14."""
TURNS = (5, 1, 4)
"""How views are turned, on top of their own symmetry (exclusive or), for the second refinement, and for the third,
against ED and against the mean of other frames.

The first refines every view by itself; these their mean, in views of their own: quarter turns, mirrors, transposes.
What a network got wrong in a view it does not see there, and in another it does: 2 % of the error, in no more time.
Where all eight views are followed, none is left to turn to."""
SHIFTS_PX = (1, 0, 2)
"""By how many crop pixels views are moved along both axes in these refinements, every second one by 2 more.

What leaves the crop on one side comes in on the other, far from the points. A network sees patches of 4 x 4 pixels; how
the image falls onto them leaves an error, and another where it falls otherwise: 1 % of the RMSE, 2 % of the median."""
LAST_STEP = 0.85
"""How much of the third refinement's correction is taken; training had two refinements."""
UNTRAINED_SPREAD = 1.4
"""What the network expects of its error is raised by it where frames are compared with the mean of others: that was not
in its training, and it expects too little there."""
UNSEEN_SHARE = 0.15
"""Standard deviation, over the way that a point went from the frame before to the frame after, of where it was in a
frame between that was left out."""
_AGREEMENT_WIDTH_NODES = 4.0


@dataclass(frozen=True, slots=True)
class FlowTracker:
    """Follows tissue with `FlowNet`: warp and update, frame by frame, on the ED grid.

    The images around the points are sampled on a square crop in mm, so that matrix and pixel spacing do not matter;
    any number of frames and points will do, wherever in the image they lie. Frames before ED are followed backwards.
    Frames that do not belong between their neighbors (`kept_frames`) are left out; motion is interpolated over them.
    Where all tissue steps from one frame to the next (`steps_px`), the crop steps with it.
    """

    network: FlowNet
    info: WeightsInfo
    device: str = "cpu"
    symmetries: tuple[int, ...] = SYMMETRIES
    """Views in which `track` follows, and turned by `TURNS` refines."""
    refines: bool = True
    """Whether `track` refines what it followed: three times, once more than in training, which takes off more of the
    excess of radial strain in walls with a spongy inside."""

    @classmethod
    def from_weights(cls, path: Path | None = None, device: str = "cpu") -> FlowTracker:
        """Load weights; None for the shipped ones. Raises InputError if they cannot be used."""
        network, info = load_weights("tracker", path, device, half_precision=True)
        assert isinstance(network, FlowNet)
        return cls(network, info, device)

    @property
    def name(self) -> str:
        """Name on the command line."""
        return "flow"

    def quick(self) -> FlowTracker:
        """One that follows frame by frame in one view and leaves it at that."""
        return replace(self, symmetries=self.symmetries[:1], refines=False)

    def track(self, cine: TaggedCine, ed_points_px: NDArray[np.floating]) -> PointTracks:
        """Trajectories of the ED points ``(point, 2)``, which come back unchanged in the ED frame.

        Points that cannot be followed (`can_be_followed`) come back as NaN.
        """
        return self.track_on(cine, ed_points_px, None)

    def track_on(self, cine: TaggedCine, ed_points_px: NDArray[np.floating], sight: MotionSight | None) -> PointTracks:
        """The same; what this network followed in the crop of ``sight`` is refined alone, if all points lie in it."""
        points = np.asarray(ed_points_px, np.float64)
        chosen = np.flatnonzero(can_be_followed(points, cine))
        points_mm = points * cine.spacing_xy_mm
        parts = close_together(points_mm, chosen)
        moved = np.zeros((2, cine.n_frames, *points.shape))
        spread, total = np.zeros((2, *moved.shape[1:3]))
        for part, near in zip(parts, nearness(points_mm, parts), strict=True):
            seen = np.flatnonzero(near > 0)
            *both_moved_px, spread_px = self._follow(cine, crop_around(points[part], cine), points[seen], sight)
            weight = (near[seen] / np.maximum(spread_px, LEAST_SIGMA_PX)) ** 2
            moved[:, :, seen] += weight[..., None] * np.stack(both_moved_px)
            spread[:, seen] += weight * spread_px
            total[:, seen] += weight
        tracks, first_view = np.full_like(moved, np.nan)
        sigma = np.full_like(spread, np.nan)
        tracks[:, chosen], first_view[:, chosen] = points[chosen] + moved[:, :, chosen] / total[:, chosen, None]
        sigma[:, chosen] = spread[:, chosen] / total[:, chosen]
        tracks[:, chosen] = unfolded(tracks[:, chosen], points[chosen])
        return PointTracks(tracks, sigma, cine.ed_frame, first_view if len(self.symmetries) > 1 else None)

    def views(
        self, cine: TaggedCine, crop: CropTransform, symmetries: tuple[int, ...], steps: NDArray[np.float64]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What the network is to see of everything in a crop, from ED to the end further away, a view per symmetry.

        The crop takes part in ``steps`` (`steps_px`).

        Returns
        -------
            Standardised, turned crops ``(view, time, size, size)`` from ED on, back in time where more frames lie
            before ED than after it, and their times since ED [ms] ``(view, time)``.
        """
        ed = cine.ed_frame
        kept = kept_frames(cine)
        further = further_frames(cine, kept)
        frames = self._standardized(cine, crop, kept, steps)[:, further]
        times_ms = torch.tensor(cine.frame_times_ms[further] - cine.frame_times_ms[ed], dtype=torch.float32)
        return (
            turned_views(frames, symmetries),
            times_ms.to(self.device).expand(len(symmetries), -1),
        )

    def _standardized(
        self, cine: TaggedCine, crop: CropTransform, kept: NDArray[np.bool_], steps: NDArray[np.float64]
    ) -> torch.Tensor:
        """Crops ``(1, time, size, size)``, zero where a frame is left out: its grey levels may be of any size."""
        images, valid = crop.sample(cine.frames[kept])
        for image, frame, step in zip(images, cine.frames[kept], steps[kept], strict=True):
            if step.any():
                image[...] = crop.moved(step).sample(frame)[0]
        standard = torch.zeros(1, cine.n_frames, *images.shape[1:], device=self.device)
        standard[:, kept] = preprocessing.standardized(
            torch.from_numpy(without_glare(images))[None].to(self.device),
            torch.from_numpy(valid)[None].to(self.device),
        )
        return standard

    def _follow(
        self, cine: TaggedCine, crop: CropTransform, points_px: NDArray[np.float64], sight: MotionSight | None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Displacement, and as the first view sees it ``(time, point, 2)``, and its standard deviation
        ``(time, point)``, all in pixels of the image."""
        kept = kept_frames(cine)
        seen_before = self._seen_before(sight, crop, points_px)
        steps = steps_px(cine, crop, kept) if sight is None or seen_before is None else sight.steps_px
        standard = self._standardized(cine, crop, kept, steps)
        places = torch.tensor(crop.to_crop(points_px), dtype=torch.float32, device=self.device)
        moved = np.zeros((2, cine.n_frames, len(points_px), 2))
        sigma = np.zeros(moved.shape[1:3])
        ed, further = cine.ed_frame, further_frames(cine, kept)
        for frames in (np.arange(ed, cine.n_frames), np.arange(ed, -1, -1)):
            frames = frames[kept[frames]]
            if len(frames) > 1:
                times_ms = cine.frame_times_ms[frames] - cine.frame_times_ms[ed]
                followed = seen_before if np.array_equal(frames, further) else None
                seen, spread, agreement = self._seen(standard[:, frames], times_ms, places, followed)
                moved[:, frames] = seen * crop.scale_xy + steps[frames, None]
                unseen = unseen_motion_mm(agreement, np.abs(times_ms)) / crop.pixel_mm
                sigma[frames] = np.hypot(SIGMA_SCALE * spread, unseen[:, None]) * np.sqrt(np.prod(crop.scale_xy))
        sigma[ed] = 0.0
        _fill_in(moved, sigma, kept, cine.frame_times_ms)
        return moved[0], moved[1], sigma

    def _seen_before(
        self, sight: MotionSight | None, crop: CropTransform, points_px: NDArray[np.float64]
    ) -> Flow | None:
        """What was followed before, in ``crop``; None if it does not hold all points in the views of this tracker."""
        if sight is None or self.symmetries != SYMMETRIES:
            return None
        places = sight.crop.to_crop(points_px)
        is_inside = ((places >= 0) & (places <= sight.crop.size - 1)).all()
        return motion_in(crop, sight) if is_inside else None

    def _seen(
        self, frames: torch.Tensor, times_ms: NDArray[np.float64], places: torch.Tensor, followed: Flow | None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Displacement by all views, and as the first sees it ``(2, time, point, 2)``, and its expected error
        ``(time, point)`` [crop pixels] at ``places`` ``(point, 2)``, and how well the tags around them agree with those
        of the first frame ``(time,)``, before motion is last refined."""
        with torch.inference_mode():
            refines = self.refines and self.network.refiner is not None
            views = turned_views(frames, self.symmetries)
            flow = self._flow(views, times_ms, followed, refinements=int(refines)).upright(self.symmetries)
            if refines:
                flow = self._refined(frames, times_ms, flow.mean(), 0)
            size = frames.shape[-1]
            each, spread = _motion_at(flow, places, size)
            moved = each.mean(dim=0)
            apart = each[0] - moved  # what is found from here on is common to all views
            flow = flow.mean()
            pattern = tag_pattern(frames)
            carried = carried_back(pattern, flow)
            agreement = _sampled(_agreement(carried), places, size).mean(dim=(0, 2, 3))
            if refines:
                # One after the other: no more than the motion of one is held in memory.
                to_ed, ed_spread = _motion_at(self._refined(frames, times_ms, flow, 1), places, size)
                to_others, others_spread = _motion_at(
                    self._refined(frames, times_ms, flow, 2, against_others=True), places, size
                )
                share = _sampled(share_of_others(carried, pattern[:, :1])[:, :, None], places, size)[0]
                refined = torch.lerp(to_ed.mean(dim=0), to_others.mean(dim=0), share)
                moved = torch.lerp(moved, refined, LAST_STEP)
                spread = torch.lerp(ed_spread, UNTRAINED_SPREAD * others_spread, share[..., 0])
        return (
            torch.stack([moved, moved + apart]).cpu().double().numpy(),
            spread.cpu().double().numpy(),
            agreement.cpu().double().numpy(),
        )

    def _refined(
        self,
        frames: torch.Tensor,
        times_ms: NDArray[np.float64],
        shared: Flow,
        k: int,
        against_others: bool = False,
    ) -> Flow:
        """Motion that all views share, refined in others, those of ``TURNS[k]``: as each of these sees it."""
        symmetries = tuple(symmetry ^ TURNS[k] for symmetry in self.symmetries)
        shifts_px = [(SHIFTS_PX[k] + 2 * view) % PATCH_PX for view in range(len(symmetries))]
        views = shifted(turned_views(frames, symmetries), shifts_px)
        start = shared.turned(symmetries).shifted(shifts_px)
        flow = self._flow(views, times_ms, start, refinements=1, mixed=True, against_others=against_others)
        return flow.shifted([-px for px in shifts_px]).upright(symmetries)

    def _flow(self, views: torch.Tensor, times_ms: NDArray[np.float64], start: Flow | None, **how: int) -> Flow:
        """Motion in views ``(view, time, size, size)``, from ``start`` on or followed; `FlowNet` tells ``how``."""
        times = torch.tensor(times_ms, dtype=torch.float32, device=self.device).expand(len(views), -1)
        at_once = max(1, MAX_PIXELS_AT_ONCE // views[0].numel())
        flows: list[Flow] = []
        for k in range(0, len(views), at_once):
            some = slice(k, k + at_once)
            followed = None if start is None else Flow(*(field[some] for field in start))
            flows.append(self.network(views[some], times[some], followed=followed, **how))
        return Flow(*(torch.cat(fields) for fields in zip(*flows, strict=True)))


def further_frames(cine: TaggedCine, kept: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Frames from ED to the end further away, back in time where more of them lie before ED than after it, without
    those that are not kept."""
    ed = cine.ed_frame
    frames = np.arange(ed, cine.n_frames) if cine.n_frames - 1 - ed >= ed else np.arange(ed, -1, -1)
    return np.asarray(frames[kept[frames]])


def _fill_in(
    moved: NDArray[np.float64], sigma: NDArray[np.float64], kept: NDArray[np.bool_], times_ms: NDArray[np.float64]
) -> None:
    """Interpolate displacements ``(2, time, point, 2)`` and their standard deviation ``(time, point)`` over frames that
    were left out; never the first or the last."""
    for frame in np.flatnonzero(~kept):
        before, after = np.flatnonzero(kept[:frame])[-1], frame + int(np.argmax(kept[frame:]))
        share = (times_ms[frame] - times_ms[before]) / (times_ms[after] - times_ms[before])
        moved[:, frame] = (1 - share) * moved[:, before] + share * moved[:, after]
        way = np.linalg.norm(moved[:, after] - moved[:, before], axis=-1).mean(axis=0)
        sigma[frame] = np.hypot((1 - share) * sigma[before] + share * sigma[after], UNSEEN_SHARE * way)


def _sampled(field: torch.Tensor, places: torch.Tensor, size: int) -> torch.Tensor:
    """A field ``(view, time, channel, node, node)`` at ``places`` ``(point, 2)`` of a crop of ``size`` pixels,
    ``(view, time, point, channel)``."""
    return sample_field(field, places.expand(len(field), -1, -1), size)


def _motion_at(flow: Flow, places: torch.Tensor, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Displacement by every view ``(view, time, point, 2)``, and its expected error by all ``(time, point)``, of motion
    laid upright, at ``places`` ``(point, 2)`` of a crop of ``size`` pixels."""
    log_spread = _sampled(flow.log_spread_px[:, :, None], places, size)[..., 0]
    return _sampled(flow.displacement_px, places, size), log_spread.clamp(*LOG_SPREAD_LIMITS).exp().mean(dim=0)


def _agreement(carried: torch.Tensor) -> torch.Tensor:
    """How well tags, carried back to ED, agree with those at ED, smoothed over some, ``(1, time, 1, node, node)``."""
    return preprocessing.blur(tag_agreement(carried), _AGREEMENT_WIDTH_NODES)[:, :, None]


def close_together(points_mm: NDArray[np.floating], chosen: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    """Indices of points in parts that one crop can show well, none wider or higher than `MAX_EXTENT_MM`.

    Parts are divided across their longer side, where the gap between points is widest; of gaps about as wide, the one
    that leaves parts of one size, as few as will do: of three, the heart is most likely in the middle one.

    Parameters
    ----------
    points_mm
        Shape ``(point, 2)``.
    chosen
        Indices of the points that count, which are finite.
    """
    if not len(chosen):
        return []
    here = np.asarray(points_mm[chosen], np.float64)
    extent = np.ptp(here, axis=0)
    n_parts = math.ceil(extent.max() / MAX_EXTENT_MM)
    if n_parts <= 1:
        return [chosen]
    along = here[:, extent.argmax()]
    steps = np.sort(along)
    gaps, middles = np.diff(steps), (steps[1:] + steps[:-1]) / 2
    off = np.abs(middles - steps[0] - (steps[-1] - steps[0]) * (n_parts // 2) / n_parts)
    border = middles[np.where(gaps >= gaps.max() / 2, off, np.inf).argmin()]
    return [part for side in (along < border, along >= border) for part in close_together(points_mm, chosen[side])]


def nearness(points_mm: NDArray[np.floating], parts: list[NDArray[np.intp]]) -> NDArray[np.float64]:
    """How near every point is to each part ``(part, point)``: 1 in it, 0 from `BLENDED_MM` outside on, as for points
    of no part."""
    near = np.zeros((len(parts), len(points_mm)))
    known = np.concatenate([*parts, np.empty(0, np.intp)])
    for each, part in zip(near, parts, strict=True):
        low, high = points_mm[part].min(axis=0), points_mm[part].max(axis=0)
        outside_mm = np.maximum(low - points_mm[known], points_mm[known] - high).max(axis=1)
        each[known] = np.clip(1 - outside_mm / BLENDED_MM, 0, 1)
    return near


def crop_around(points_px: NDArray[np.float64], cine: TaggedCine) -> CropTransform:
    """The crop that the network sees around some points."""
    spacing = (float(cine.spacing_xy_mm[0]), float(cine.spacing_xy_mm[1]))
    low, high = points_px.min(axis=0), points_px.max(axis=0)
    extent_mm = float(((high - low) * cine.spacing_xy_mm).max())
    center = (low + high) / 2
    size, side_mm = preprocessing.TRACKER_CROP_SIZE, max(preprocessing.TRACKER_CROP_SCALE * extent_mm, MIN_SIDE_MM)
    if extent_mm > WIDE_EXTENT_MM:
        size = SIZE_STEP_PX * math.ceil((extent_mm + 2 * WIDE_MARGIN_MM) / WIDE_PIXEL_MM / SIZE_STEP_PX)
        side_mm = size * WIDE_PIXEL_MM
    return CropTransform((float(center[0]), float(center[1])), side_mm, size, spacing)
