"""Our tracker: a small recurrent network that follows tissue frame by frame on the ED grid (`FlowNet`)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from tagstrain.networks.preprocessing import blur, locally_normalized
from tagstrain.networks.symmetry import turn_field, turn_images, unturn_field, unturn_images

FIELD_STRIDE = 2
"""Crop pixels between the nodes of the field on which frames are followed, along each axis."""
LOG_SPREAD_LIMITS = (-4.0, 4.0)
"""Natural logarithms of the expected error that training tells apart [crop pixels]."""
PATCH_PX = 4
"""Side of the patches of crop pixels that the network sees as one."""
SIZE_STEP_PX = 4 * PATCH_PX
"""The side of a crop is a multiple of it: the network halves the resolution of its patches twice."""
_LATEST_MS = 700.0
"""Time since the first frame from which on the network is told no other. Few frames of the training lay beyond 900 ms:
told the time, it followed those of long cines less well. Told none from 700 ms on it follows as well up to there."""
_MORE_LOOKS_FROM_MS, _ONE_MORE_EVERY_MS, _MOST_MORE_LOOKS = 60.0, 14.0, 6
"""Interval from the frame before beyond which tissue had time to move further than the usual looks find, how much of it
asks for one more, and how many there are at most."""
_NORMALIZATION_WIDTH_PX = 5.0
_CONTRAST_FLOOR = 0.08
_FINE_REACH, _COARSE_REACH, _REFINING_REACH = 2, 3, 3
"""How far patterns are compared around where they should be, in steps of 1, 2 and 1 crop pixels."""
_SAME_TISSUE = (0.7, 0.88)
"""Correlation of the frames with the mean of all others, mean over time, from which on that mean counts, and counts in
full. Simulated walls have 0.87 at the endocardium and 0.95 in the middle, a real one 0.60 and 0.86, and 0.69 at the
epicardium."""
_STILL_ALIKE = (0.7, 0.9)
"""Correlation of a frame with the first from which on the first counts, too, and counts alone."""
_NEIGHBORS_WEIGHT = 0.5
"""Of the frames right before and right after a frame that is mixed with them, against its own."""
_NEIGHBORS_MS = (70.0, 40.0)
"""Intervals from which on a neighbor does not count, and up to which it counts in full: what was found so far lays
frames on one another the less well, the more happens between them."""


class Flow(NamedTuple):
    """Motion of the tissue, on the ED grid, from ED to every frame.

    Nodes lie ``FIELD_STRIDE`` crop pixels apart where frames were followed only, and on every pixel once refined.
    """

    displacement_px: torch.Tensor
    """Shape ``(batch, time, 2, node, node)``: x, y in crop pixels; zero in the first frame."""
    log_spread_px: torch.Tensor
    """Natural logarithm of the expected absolute error along one axis, ``(batch, time, node, node)``."""

    def mean(self) -> Flow:
        """The mean of all motions of a batch, as a batch of one."""
        return Flow(*(field.mean(dim=0, keepdim=True) for field in self))

    def turned(self, symmetries: Sequence[int]) -> Flow:
        """The motion, a batch of one, as turned views of the same cine see it, one per symmetry."""
        return Flow(
            torch.stack([turn_field(self.displacement_px[0], symmetry) for symmetry in symmetries]),
            torch.stack([turn_images(self.log_spread_px[0], symmetry) for symmetry in symmetries]),
        )

    def upright(self, symmetries: Sequence[int]) -> Flow:
        """Motion as turned views saw it, one per symmetry, each laid upright."""
        each = list(zip(*self, symmetries, strict=True))
        return Flow(
            torch.stack([unturn_field(displacement_px, symmetry) for displacement_px, _, symmetry in each]),
            torch.stack([unturn_images(log_spread_px, symmetry) for _, log_spread_px, symmetry in each]),
        )

    def shifted(self, shifts_px: Sequence[int]) -> Flow:
        """Motion on every pixel, in views that are `shifted`."""
        return Flow(*(shifted(field, shifts_px) for field in self))


class FlowNet(nn.Module):
    """Follows the tissue frame by frame, then refines what it found with the whole cine in view.

    Everything lives on the material grid of the first frame. For each further frame the network sees the first frame,
    the new frame warped back by the displacement found so far, how well the two agree around every place, the last
    frame warped back, and what it remembers; it answers with the small displacement that is left. A second part then
    sees every frame warped back by what was found, with the frames before and after it, and answers with what is still
    left on every pixel, as often as it is asked. One set of weights serves every frame, so that a cine may have any
    number of them.

    Comparing patterns around every place is the cost volume of optical flow (Sun et al., PWC-Net, CVPR 2018); warping
    again by what was found is the iteration of Lucas and Kanade (IJCAI 1981).

    Parameters
    ----------
    widths
        Channels at 1/4, 1/8 and 1/16 of the crop's resolution while frames are followed.
    memory
        Channels of the recurrent state (a convolutional GRU, Cho et al. 2014, with 1 x 1 kernels).
    correlation
        Whether the network is shown how well patterns agree around every place.
    refinements
        How often the motion is refined.
    refining_widths
        Channels of the part that refines.
    looks
        How often a frame is warped and compared before the next one: where tissue jumps by a tag period from one frame
        to the next, the first look finds part of the way. Frames more than 60 ms apart, as beside gaps, are looked at
        more often in use, not in training: of every third frame of a cine a fifth to a third of the RMSE is gone by it.
    """

    def __init__(
        self,
        widths: tuple[int, int, int] = (48, 72, 96),
        memory: int = 32,
        correlation: bool = True,
        refinements: int = 2,
        refining_widths: tuple[int, int, int] = (64, 96, 128),
        looks: int = 2,
    ) -> None:
        super().__init__()
        self.memory = memory
        self.looks = looks
        self.correlation = correlation
        self.refinements = refinements
        patch, fine = PATCH_PX**2, widths[0]
        compared = (2 * _FINE_REACH + 1) ** 2 + (2 * _COARSE_REACH + 1) ** 2 if correlation else 0
        self.features = Pyramid(3 * patch + compared + 3 + 4 + 2 + memory, widths)
        self.gates = nn.Conv2d(fine + memory, 3 * memory, 1)
        # Per node of the finer field: two components and the logarithm of their spread.
        self.head = nn.Conv2d(fine + memory, 3 * (PATCH_PX // FIELD_STRIDE) ** 2, 3, padding=1)
        silence(self.head)
        self.refiner = _Refiner(refining_widths, correlation) if refinements else None

    def forward(
        self,
        frames: torch.Tensor,
        times_ms: torch.Tensor,
        slips_px: torch.Tensor | None = None,
        refinements: int | None = None,
        followed: Flow | None = None,
        mixed: bool = False,
        against_others: bool = False,
    ) -> Flow:
        """Motion from the first frame to all others.

        Parameters
        ----------
        frames
            Standardised crops ``(batch, time, size, size)``, the reference frame first.
            Their size is a multiple of `SIZE_STEP_PX`.
        times_ms
            Time since the reference frame ``(batch, time)``; negative where frames run backwards.
        slips_px
            Errors ``(batch, time, 2, size / 2, size / 2)`` put on what was found in the frame before, and on what is
            refined: in training, so that the network learns to find back.
        refinements
            How often to refine; None for as often as the network was built for, 0 for a quick look. One that was built
            without refinements leaves it at what it followed.
        followed
            Motion to refine, as followed frame by frame or refined before, in place of following again.
        mixed
            Whether the tags of each frame that is refined are mixed with those of its neighbors in time, where these
            are close (`_NEIGHBORS_MS`), as what was found so far carries them back to ED: what all show stands out of
            the noise. In training with `TrainingConfig.as_used` alone.
        against_others
            Whether frames are refined against the mean of all others, carried back to ED, in place of the first: tags
            fade and blood washes out, so that the further frames look less like the first than like one another.
            `share_of_others` says where that counts. In training as ``mixed`` is.
        """
        return self.passes(frames, times_ms, slips_px, refinements, followed, mixed, against_others)[-1]

    def passes(
        self,
        frames: torch.Tensor,
        times_ms: torch.Tensor,
        slips_px: torch.Tensor | None = None,
        refinements: int | None = None,
        followed: Flow | None = None,
        mixed: bool = False,
        against_others: bool = False,
    ) -> list[Flow]:
        """What `forward` found on its way there: the motion as followed, and after every refinement."""
        pattern = tag_pattern(frames)
        flows = [followed or self._follow(pattern, frames, times_ms, slips_px)]
        if self.refiner is None:
            return flows
        for _ in range(self.refinements if refinements is None else refinements):
            # Errors of another cine: what happened to a frame when it was followed is not what happens to it here.
            shaken = None if slips_px is None or len(flows) > 1 else slips_px.roll(1, dims=0)
            references = pattern[:, :1].expand_as(frames)
            if against_others:
                references = _mean_of_others(carried_back(pattern, flows[-1]), pattern[:, :1])
            flows.append(self.refiner(pattern, references, frames, times_ms, flows[-1], shaken, mixed))
        return flows

    def images(self, pattern: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        """What following carries back to ED, ``(batch, time, image, size, size)``: pattern, grey levels, any more."""
        return torch.stack([pattern, frames], dim=2)

    def _follow(
        self, pattern: torch.Tensor, frames: torch.Tensor, times_ms: torch.Tensor, slips_px: torch.Tensor | None
    ) -> Flow:
        n, n_frames, size, _ = frames.shape
        half, quarter = size // FIELD_STRIDE, size // PATCH_PX
        reference = F.pixel_unshuffle(pattern[:, :1], PATCH_PX)
        reference_grey = F.avg_pool2d(frames[:, :1], PATCH_PX)
        displacement = frames.new_zeros(n, 2, half, half)
        velocity = torch.zeros_like(displacement)
        state = frames.new_zeros(n, self.memory, quarter, quarter)
        before = reference
        displacements = [displacement]
        spreads = [frames.new_full((n, half, half), -3.0)]
        images = self.images(pattern, frames)
        for t in range(1, n_frames):
            interval_ms = times_ms[:, t] - times_ms[:, t - 1]
            clock = torch.stack([_clock(times_ms[:, t]), interval_ms / 50], dim=1)[:, :, None, None]
            found = displacement if slips_px is None else displacement + slips_px[:, t]
            n_looks, spread = self._n_looks(interval_ms), spreads[0]
            for look in range(int(n_looks.max())):
                # Each look answers for its own step: no gradient runs back through the displacement.
                start = found.detach()
                warped = warp_back(images[:, t], start)
                grey = F.avg_pool2d(warped[:, 1:2], PATCH_PX)
                x = [
                    reference,
                    F.pixel_unshuffle(warped[:, :1], PATCH_PX),
                    before,
                    reference_grey,
                    grey,
                    grey - reference_grey,
                    0.1 * F.avg_pool2d(start, FIELD_STRIDE),
                    0.5 * F.avg_pool2d(velocity, FIELD_STRIDE),
                    clock.expand(n, 2, quarter, quarter),
                    state,
                ]
                if images.shape[2] > 2:
                    x += [F.pixel_unshuffle(further, PATCH_PX) for further in (images[:, 0, 2:], warped[:, 2:])]
                if self.correlation:
                    x.append(correlated(pattern[:, :1], warped[:, :1], _FINE_REACH, PATCH_PX))
                    halves = F.avg_pool2d(torch.cat([pattern[:, :1], warped[:, :1]], dim=1), 2)
                    x.append(correlated(halves[:, :1], halves[:, 1:], _COARSE_REACH, PATCH_PX // 2))
                features = self.features(_joined(x))
                is_due = (look < n_looks)[:, None, None, None]
                state = torch.where(is_due, self._remember(features, state), state)
                answer = self.head(torch.cat([features, state], dim=1))
                answer = F.pixel_shuffle(answer, PATCH_PX // FIELD_STRIDE).float()
                found = torch.where(is_due, start + answer[:, :2], found)
                spread = torch.where(is_due[:, 0], answer[:, 2], spread)
            velocity = (found - displacement).detach()
            displacement = found.detach()
            before = F.pixel_unshuffle(warp_back(pattern[:, t : t + 1], displacement), PATCH_PX)
            displacements.append(found)
            spreads.append(spread)
        return Flow(torch.stack(displacements, dim=1), torch.stack(spreads, dim=1))

    def _n_looks(self, interval_ms: torch.Tensor) -> torch.Tensor:
        """How often a frame is looked at ``(batch,)``, by the interval to the frame before ``(batch,)``."""
        more = ((interval_ms.abs() - _MORE_LOOKS_FROM_MS) / _ONE_MORE_EVERY_MS).round()
        return self.looks + more.clamp(0, 0 if self.training else _MOST_MORE_LOOKS).long()

    def _remember(self, features: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        update, reset, candidate = self.gates(torch.cat([features, state], dim=1)).float().chunk(3, dim=1)
        update = torch.sigmoid(update)
        return (1 - update) * state + update * torch.tanh(candidate * torch.sigmoid(reset))


class _Refiner(nn.Module):
    """Corrects the motion of all frames at once, each seen with its neighbors in time."""

    def __init__(self, widths: tuple[int, int, int], correlation: bool) -> None:
        super().__init__()
        self.correlation = correlation
        compared = (2 * _REFINING_REACH + 1) ** 2 if correlation else 0
        self.features = Pyramid(2 * PATCH_PX**2 + compared + 3 + 9 + 3, widths, over_time=True)
        self.head = nn.Conv2d(widths[0], 3 * PATCH_PX**2, 3, padding=1)
        silence(self.head)

    def forward(
        self,
        pattern: torch.Tensor,
        references: torch.Tensor,
        frames: torch.Tensor,
        times_ms: torch.Tensor,
        found: Flow,
        slips_px: torch.Tensor | None,
        mixed: bool,
    ) -> Flow:
        """``references`` ``(batch, time, size, size)``: the pattern at ED that each frame is compared with."""
        n, n_frames, size, _ = frames.shape
        displacement = found.displacement_px.detach()
        if slips_px is not None:
            displacement = displacement + slips_px
        start = _resized(displacement.flatten(0, 1), size)
        spread = _resized(found.log_spread_px.detach().flatten(0, 1)[:, None], size)
        images = torch.stack([pattern, frames], dim=2).flatten(0, 1)
        tags, grey = warp_back(images, start).chunk(2, dim=1)
        if mixed:
            tags = _mixed_with_neighbors(tags.reshape(frames.shape), times_ms).flatten(0, 1)[:, None]
        reference = references.flatten(0, 1)[:, None]
        reference_grey = F.avg_pool2d(frames[:, :1], PATCH_PX).expand(-1, n_frames, -1, -1).flatten(0, 1)[:, None]
        grey = F.avg_pool2d(grey, PATCH_PX)
        coarse = F.avg_pool2d(start, PATCH_PX)
        by_time = coarse.view(n, n_frames, *coarse.shape[1:])
        steps, still = by_time.diff(dim=1), torch.zeros_like(by_time[:, :1])
        since, until = (torch.cat(x, dim=1).flatten(0, 1) for x in ([still, steps], [steps, still]))
        intervals_ms = times_ms.diff(dim=1)
        none = torch.zeros_like(times_ms[:, :1])
        clock = torch.stack(
            [
                _clock(times_ms),
                torch.cat([none, intervals_ms], dim=1) / 50,
                torch.cat([intervals_ms, none], dim=1) / 50,
            ],
            dim=2,
        ).flatten(0, 1)
        x = [
            F.pixel_unshuffle(reference, PATCH_PX),
            F.pixel_unshuffle(tags, PATCH_PX),
            reference_grey,
            grey,
            grey - reference_grey,
            0.1 * coarse,
            coarse - blur(coarse, 2.0),
            0.5 * since,
            0.5 * until,
            0.5 * F.avg_pool2d(spread, PATCH_PX),
            clock[:, :, None, None].expand(-1, -1, *grey.shape[-2:]),
        ]
        if self.correlation:
            x.append(correlated(reference, tags, _REFINING_REACH, PATCH_PX))
        features = self.features(_joined(x), n_frames)
        answer = F.pixel_shuffle(self.head(features), PATCH_PX).float().view(n, n_frames, 3, size, size)
        moves = torch.ones(n_frames, 1, 1, 1, device=frames.device)
        moves[0] = 0
        refined = (start.view(n, n_frames, 2, size, size) + answer[:, :, :2]) * moves
        return Flow(refined, answer[:, :, 2])


class Pyramid(nn.Module):
    """Features at 1/4 of the resolution from a small U-Net; ``over_time``: levels also look one frame on and back."""

    def __init__(self, in_channels: int, widths: tuple[int, int, int], over_time: bool = False) -> None:
        super().__init__()
        fine, middle, _ = widths
        self.stem = nn.Conv2d(in_channels, fine, 3, padding=1)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairwise(widths))
        self.up = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairwise(widths))
        self.encoder = nn.ModuleList(_ResidualBlock(width, over_time) for width in widths)
        self.decoder = nn.ModuleList(_ResidualBlock(width, over_time) for width in (fine, middle))

    def forward(self, x: torch.Tensor, n_frames: int = 1) -> torch.Tensor:
        x = x.to(self.stem.weight.dtype)  # half precision, where it is made use of (`half_precision`)
        fine = self.encoder[0](self.stem(x), n_frames)
        middle = self.encoder[1](self.down[0](fine), n_frames)
        coarse = self.encoder[2](self.down[1](middle), n_frames)
        y = self.decoder[1](middle + doubled(self.up[1](coarse)), n_frames)
        y = self.decoder[0](fine + doubled(self.up[0](y)), n_frames)
        return F.relu(y).float()


class _ResidualBlock(nn.Module):
    def __init__(self, width: int, over_time: bool) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, width)
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        silence(self.second)
        self.time = nn.Conv2d(width, 3 * width, 1) if over_time else None
        if self.time is not None:
            silence(self.time)

    def forward(self, x: torch.Tensor, n_frames: int) -> torch.Tensor:
        y = F.relu(self.first(F.relu(self.norm(x), inplace=True)), inplace=True)
        y = x + self.second(y)
        return y if self.time is None else _with_neighbors(y, F.relu(y), self.time, n_frames)


def _with_neighbors(x: torch.Tensor, seen: torch.Tensor, time: nn.Conv2d, n_frames: int) -> torch.Tensor:
    """Add to frames ``(batch * time, channel, ...)`` what is ``seen`` of the one before, itself and the one after.

    ``time`` answers for the frame after, the frame itself and the frame before, in this order; ``x`` is overwritten.
    """
    total = x.view(-1, n_frames, *x.shape[1:])
    assert time.bias is not None
    # One at a time: thirds of one answer would lie apart in memory, where adding them takes longer than computing them.
    after, itself, before = zip(time.weight.chunk(3), time.bias.chunk(3), strict=True)
    total += F.conv2d(seen, *itself).view(total.shape)
    total[:, 1:] += F.conv2d(seen, *after).view(total.shape)[:, :-1]
    total[:, :-1] += F.conv2d(seen, *before).view(total.shape)[:, 1:]
    return x


def _joined(parts: list[torch.Tensor]) -> torch.Tensor:
    """Images ``(batch, channel, row, column)`` joined along channels, which lie side by side in memory."""
    # With channels in front of the batch that is to transpose one matrix, several times faster than `contiguous`.
    x = torch.cat([part.transpose(0, 1) for part in parts])
    return x.flatten(1).t().contiguous().view(*x.shape[1:], -1).movedim(-1, 1)


def shifted(images: torch.Tensor, shifts_px: Sequence[int]) -> torch.Tensor:
    """Images ``(view, ..., size, size)`` moved along both axes, each view by its own number of pixels.

    What leaves at one side comes in at the other.
    """
    return torch.stack([view.roll((px, px), dims=(-2, -1)) for view, px in zip(images, shifts_px, strict=True)])


def tag_pattern(frames: torch.Tensor) -> torch.Tensor:
    """Standardised crops ``(batch, time, size, size)`` with the same contrast everywhere, as the tracker sees them."""
    return locally_normalized(frames, _NORMALIZATION_WIDTH_PX, _CONTRAST_FLOOR)


def carried_back(pattern: torch.Tensor, flow: Flow) -> torch.Tensor:
    """Patterns ``(batch, time, size, size)`` sampled where the tissue went, which lays them on that at ED."""
    return warp_back(pattern.flatten(0, 1)[:, None], flow.displacement_px.flatten(0, 1)).view(pattern.shape)


def share_of_others(carried: torch.Tensor, at_ed: torch.Tensor) -> torch.Tensor:
    """How much of what is refined against the mean of all others counts, and not against the first frame.

    Nothing where a frame still looks like the first, and nothing where frames are not seen to show the same tissue
    (blood beside the wall, tissue that leaves the slice).

    Parameters
    ----------
    carried
        Patterns ``(batch, time, size, size)``, carried back to ED.
    at_ed
        That of the first frame ``(batch, 1, size, size)``.

    Returns
    -------
        Shares from 0 to 1, of the shape of ``carried``.
    """
    others = _mean_of_others(carried, at_ed)
    same_tissue = _between(_local_correlation(carried, others).mean(dim=1, keepdim=True), *_SAME_TISSUE)
    still_alike = _between(_local_correlation(carried, at_ed), *_STILL_ALIKE)
    return same_tissue * (1 - still_alike)


def _mean_of_others(carried: torch.Tensor, at_ed: torch.Tensor) -> torch.Tensor:
    """For each of the patterns ``(batch, time, size, size)``, carried back to ED, the mean of all others.

    Were a frame part of its own mean, nothing would be left to move. The mean gets the contrast of the pattern
    ``at_ed`` ``(batch, 1, size, size)``.
    """
    others = (carried.sum(dim=1, keepdim=True) - carried) / max(carried.shape[1] - 1, 1)
    return _with_contrast_of(at_ed, others)


def _mixed_with_neighbors(carried: torch.Tensor, times_ms: torch.Tensor) -> torch.Tensor:
    """Each of the patterns ``(batch, time, size, size)``, carried back to ED, with its neighbors, in its contrast."""
    weight = _NEIGHBORS_WEIGHT * _between(times_ms.diff(dim=1).abs(), *_NEIGHBORS_MS)[:, :, None, None]
    mixed, weights = carried.clone(), torch.ones_like(carried[:, :, :1, :1])
    for one, other in ((slice(1, None), slice(None, -1)), (slice(None, -1), slice(1, None))):
        mixed[:, one] += weight * carried[:, other]
        weights[:, one] += weight
    return _with_contrast_of(carried, mixed / weights)


def _with_contrast_of(wanted: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
    """A mean of patterns, in which what differs between them pales, with as much contrast around every place as
    ``wanted``."""
    full, paled = (blur(x.square(), _NORMALIZATION_WIDTH_PX) for x in (wanted, mean))
    return mean * (full / paled.clamp_min(1e-6)).sqrt().clamp(0.5, 2.0)


def _local_correlation(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Correlation of patterns, whose local mean is zero, around every place."""
    product, own, other = (blur(x, _NORMALIZATION_WIDTH_PX) for x in (a * b, a.square(), b.square()))
    return product / (own * other).sqrt().clamp_min(1e-6)


def _between(x: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """0 up to ``low``, 1 from ``high`` on, linear between."""
    return ((x - low) / (high - low)).clamp(0, 1)


def _clock(times_ms: torch.Tensor) -> torch.Tensor:
    """Time since the first frame [s] as the network is told it."""
    return times_ms.clamp(-_LATEST_MS, _LATEST_MS) / 1000


def silence(layer: nn.Conv2d) -> None:
    """Start from an answer of zero."""
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)


def doubled(x: torch.Tensor) -> torch.Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def _resized(field: torch.Tensor, size: int) -> torch.Tensor:
    return F.interpolate(field, size=(size, size), mode="bilinear", align_corners=False)


def correlated(reference: torch.Tensor, moved: torch.Tensor, reach: int, patch: int) -> torch.Tensor:
    """How well patterns ``(batch, 1, size, size)`` agree when one is shifted, averaged over patches.

    Returns
    -------
        Shape ``(batch, (2 * reach + 1)**2, size / patch, size / patch)``: the mean over every patch of ``reference``
        times ``moved`` taken ``(dy, dx)`` pixels further, ``dy`` from ``-reach`` to ``reach``, slower than ``dx``.
    """
    n, _, size, _ = reference.shape
    side, window = size // patch, patch + 2 * reach
    padded = F.pad(moved, (reach, reach, reach, reach), mode="replicate")[:, 0]
    # Every patch is a kernel of its own, moved over the window around it: a depthwise convolution.
    windows = padded.unfold(1, window, patch).unfold(2, window, patch).reshape(1, -1, window, window)
    kernels = F.pixel_unshuffle(reference, patch).permute(0, 2, 3, 1).reshape(-1, 1, patch, patch)
    # Half precision is for the networks: it would round how well patterns agree.
    with torch.autocast(reference.device.type, enabled=False):
        sums = F.conv2d(windows, kernels, groups=len(kernels))
    return (sums / patch**2).view(n, side, side, -1).permute(0, 3, 1, 2)


def warp_back(images: torch.Tensor, displacement_px: torch.Tensor) -> torch.Tensor:
    """Images ``(batch, channel, size, size)`` sampled where a field ``(batch, 2, node, node)`` leads."""
    size = images.shape[-1]
    field = displacement_px if displacement_px.shape[-1] == size else _resized(displacement_px, size)
    steps = (torch.arange(size, device=images.device, dtype=images.dtype) + 0.5) * (2 / size) - 1
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    places = torch.stack([x, y], dim=-1) + field.permute(0, 2, 3, 1) * (2 / size)
    return F.grid_sample(images, places, align_corners=False, padding_mode="border")


def sample_field(field: torch.Tensor, points_px: torch.Tensor, size: int) -> torch.Tensor:
    """A field ``(batch, time, channel, node, node)`` at ED points ``(batch, point, 2)`` of a crop of ``size`` pixels.

    Returns
    -------
        Shape ``(batch, time, point, channel)``, linear between nodes.
    """
    n, n_frames, n_channels, _, _ = field.shape
    unit = (points_px + 0.5) * (2 / size) - 1
    values = F.grid_sample(
        field.flatten(1, 2), unit[:, :, None], mode="bilinear", align_corners=False, padding_mode="border"
    )
    return values.view(n, n_frames, n_channels, -1).transpose(2, 3)
