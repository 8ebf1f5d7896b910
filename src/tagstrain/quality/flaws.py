"""What is wrong with a slice, in words: `find_flaws`."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tagstrain.data import GreyDoubt, SliceResult
from tagstrain.inference.odd_frames import odd_frames
from tagstrain.quality.signals import Signals

# Beyond these lies at most one in fifty of the sound simulated slices (benchmarks/quality).
LARGEST_CLOSURE_MM = 3.0
LARGEST_JUMP_MM, JUMP_INTERVAL_MS = 0.77, 40.0
"""Of frames up to so far apart; how far a smooth motion bends away grows with the square of the interval."""
LARGEST_GAP = 2.5
LARGEST_FOLDED_SHARE = 0.02
LARGEST_UNKNOWN_SHARE = 0.5
"""Of landmarks in one frame. What is known alone looks better than the whole would: where landmarks are lost, they are
lost because something is wrong with them."""
LARGEST_AREA_CHANGE = 0.35
LARGEST_STRETCH = 0.06
LARGEST_AXIS_RATIO = 1.5
LARGEST_THICKNESS_STEP = 1.5
"""Walls of 60 simulated hearts, scars among them, and of a real reader reach 1.14; a stray point of a contour moves one
or two spokes alone."""
LARGEST_REPEAT_WALL_MM = 3.5
LOWEST_VISIBILITY_ED = 0.5
LOWEST_EVENNESS = 0.35
LOWEST_SYSTOLIC_EVENNESS = 0.43
"""One of 124 simulated hearts, infarcts, noise and spongy walls among them, lies below, and 24 of 28 rings with a gap
of 75 or 120 degrees that chose nothing; a real heart has 0.68."""
LARGEST_VISIBILITY_RISE = 0.2
"""A real heart was seen to reach 0.12: tags pressed together at ES come apart again."""
LEAST_SHORTENING = 0.03
LATEST_ED_MS = 50.0
"""After the R wave: muscle begins to shorten about then, and 95 ms cost 10 to 30 % of the peak of simulated hearts."""
LEAST_LOCALIZER_OVERLAP = 0.55
SIGNED_LOW, AIR_LEVEL, AIR_SHARE = 0.3, 0.05, 0.1
"""Of a real part: how far grey levels reach below zero, up to which on either side they are air's, as fractions of the
largest; and the least share of the image that such air makes up on each side. Magnitudes without their mean have their
air at the lowest level."""

CAVITY_RADIUS_MM = (5.0, 42.0)
WALL_THICKNESS_MM = (4.0, 26.0)
"""Beyond what is seen from small apical slices to severe dilatation, and from scars to severe hypertrophy.

Lang et al., J Am Soc Echocardiogr 2015;28(1):1, doi:10.1016/j.echo.2014.10.003 (normal: cavity radius 19 to 29 mm,
wall 6 to 10 mm); Maron and Maron, Lancet 2013;381:242, doi:10.1016/S0140-6736(12)60397-3 (wall above 30 mm is rare).
A wall drawn on tags includes trabeculae.
"""
THINNEST_WALL_MM = 1.0
"""Below it there is no tissue to be followed."""


class Grade(StrEnum):
    """How far the numbers of a slice can be used."""

    GOOD = "good"
    USABLE = "usable"
    UNGRADED = "ungraded"
    """No error can be predicted, and nothing that was measured speaks for rejecting the slice."""
    REJECT = "reject"


class Flaw(NamedTuple):
    """Something that a reader of the numbers should know, and the best grade that is possible with it."""

    reason: str
    best_grade: Grade


def find_flaws(signals: Signals, result: SliceResult) -> Iterator[Flaw]:
    """Everything that is out of the ordinary, whatever error is expected from it."""
    yield from _tag_flaws(signals, result)
    yield from _motion_flaws(signals, result)
    yield from _wall_flaws(signals, result)


def ends_shortening(result: SliceResult) -> bool:
    """Whether the mid-wall ring is shortest in the last frame (of its beat), so that its peak may lie after it."""
    curve = result.strain.midwall_of_beat
    return bool(curve[-1] < 0 and curve[-1] == np.nanmin(curve))


def _tag_flaws(signals: Signals, result: SliceResult) -> Iterator[Flaw]:
    """Whether there is a pattern to be followed, and for how long."""
    times_ms = result.strain.frame_times_ms
    if signals.n_tag_directions == 0:
        yield Flaw("no tag lines were found around the wall", Grade.REJECT)
        return
    if signals.n_tag_directions == 1:
        yield Flaw("tag lines run in one direction only: motion along them leaves no trace", Grade.USABLE)
    if (apart_mm := result.cine.breath_holds_apart_mm) is not None:
        yield Flaw(
            f"the heart seems to lie {apart_mm:.0f} mm apart in the two breath-holds of its line tags: strain across "
            "the wall is wrong",
            Grade.USABLE,
        )
    if signals.tag_visibility_ed < LOWEST_VISIBILITY_ED:
        yield Flaw(
            f"the tags make up only {100 * signals.tag_visibility_ed:.0f} % of the wall's contrast at end-diastole",
            Grade.USABLE,
        )
    if signals.tag_evenness < LOWEST_EVENNESS:
        yield Flaw(
            "part of what was taken for the wall holds hardly any tags: the wall may be wrong there, or its motion",
            Grade.USABLE,
        )
    if signals.systolic_evenness < LOWEST_SYSTOLIC_EVENNESS:
        yield Flaw(
            "an eighth of the ring holds hardly any tags in systole: it may be open there, as at the outflow tract, "
            "and what is measured across the gap is not muscle's",
            Grade.USABLE,
        )
    if signals.visibility_rise > LARGEST_VISIBILITY_RISE:
        yield Flaw(
            f"the tags are seen better again at {times_ms[signals.visibility_rise_frame]:.0f} ms than before: frames "
            "out of order or of another heartbeat, or landmarks that were lost in between",
            Grade.USABLE,
        )
    es_ms = float(times_ms[result.strain.es_frame])
    if signals.tags_end_ms < es_ms:
        yield Flaw(
            f"tags are seen until {signals.tags_end_ms:.0f} ms only, end-systole is at {es_ms:.0f} ms", Grade.USABLE
        )
    elif signals.tags_end_ms < times_ms[-1]:
        yield Flaw(f"tags are seen until {signals.tags_end_ms:.0f} ms; do not rely on later strain", Grade.GOOD)


def _motion_flaws(signals: Signals, result: SliceResult) -> Iterator[Flaw]:
    """Whether the motion is one that tissue can make."""
    times_ms = result.strain.frame_times_ms
    if result.strain.ed_frame == 0 and times_ms[0] > LATEST_ED_MS:
        yield Flaw(
            f"the first frame, taken as end-diastole, lies {times_ms[0]:.0f} ms after the R wave: what the heart "
            "contracts before it is not seen, and all strain is too weak",
            Grade.USABLE,
        )
    repeated = np.flatnonzero((result.cine.frames[1:] == result.cine.frames[:-1]).all(axis=(1, 2))) + 1
    if repeated.size:
        times = ", ".join(f"{times_ms[frame]:.0f}" for frame in repeated)
        yield Flaw(f"frames at {times} ms repeat the one before: no motion was imaged there", Grade.USABLE)
    if signals.closure_mm > LARGEST_CLOSURE_MM:
        yield Flaw(
            f"followed to the last frame and back, landmarks miss their start by {signals.closure_mm:.1f} mm",
            Grade.USABLE,
        )
    if signals.step_mm > 0:
        yield Flaw(
            f"everything in sight steps by {signals.step_mm:.1f} mm at {times_ms[signals.step_frame]:.0f} ms, as in "
            "another breath: the flow tracker steps along, other trackers do not, and another part of the heart may be "
            "seen from there on",
            Grade.USABLE,
        )
    usual_ms = float(np.median(np.diff(times_ms)))
    if signals.jump_mm > LARGEST_JUMP_MM * max(1.0, usual_ms / JUMP_INTERVAL_MS) ** 2:
        time_ms = times_ms[signals.jump_frame]
        yield Flaw(
            f"the motion jumps by {signals.jump_mm:.1f} mm at {time_ms:.0f} ms: a mistriggered frame, "
            "or landmarks that were lost",
            Grade.USABLE,
        )
    odd = np.flatnonzero(odd_frames(result.cine.frames))
    if odd.size:
        times = ", ".join(f"{times_ms[frame]:.0f}" for frame in odd)
        yield Flaw(
            f"frames at {times} ms do not belong between their neighbors: what is measured there is interpolated, or "
            "not to be trusted",
            Grade.USABLE,
        )
    if ends_shortening(result):
        yield Flaw("the ring is shortest in the last frame: what it reaches after that is not seen", Grade.USABLE)
    if signals.largest_gap > LARGEST_GAP:
        yield Flaw(
            f"frames are missing: the longest interval is {signals.largest_gap:.1f} times the usual", Grade.USABLE
        )
    if signals.unknown_share > 0:
        yield Flaw(
            f"{100 * signals.unknown_share:.0f} % of the landmarks are not known at "
            f"{times_ms[signals.unknown_frame]:.0f} ms: what is measured there is of the others",
            Grade.REJECT if signals.unknown_share > LARGEST_UNKNOWN_SHARE else Grade.USABLE,
        )
    if signals.folded_share > LARGEST_FOLDED_SHARE:
        yield Flaw(
            f"{100 * signals.folded_share:.0f} % of the wall is turned inside out: landmarks were lost", Grade.REJECT
        )
    if signals.largest_stretch > LARGEST_STRETCH:
        yield Flaw(
            f"the ring stretches by {100 * signals.largest_stretch:.0f} % beyond end-diastole: landmarks were lost, "
            "or the frame taken as end-diastole is not",
            Grade.USABLE,
        )
    if signals.peak_shortening < LEAST_SHORTENING:
        yield Flaw(
            f"the ring shortens by {100 * signals.peak_shortening:.1f} % at most: a heart that hardly beats, "
            "or tissue beside the heart",
            Grade.USABLE,
        )
    if signals.wall_area_change > LARGEST_AREA_CHANGE:
        yield Flaw(
            f"the wall's area changes by {100 * signals.wall_area_change:.0f} %, more than that of muscle, which keeps "
            "its volume",
            Grade.USABLE,
        )


def _wall_flaws(signals: Signals, result: SliceResult) -> Iterator[Flaw]:
    """Whether the wall is that of a heart, and all of it in the image."""
    for name, value_mm, (low_mm, high_mm) in (
        ("cavity's radius", signals.cavity_radius_mm, CAVITY_RADIUS_MM),
        ("wall's thickness", signals.wall_thickness_mm, WALL_THICKNESS_MM),
    ):
        if not low_mm <= value_mm <= high_mm:
            yield Flaw(f"the {name} of {value_mm:.0f} mm is not that of a heart", Grade.USABLE)
    if signals.wall_thickness_mm < THINNEST_WALL_MM:
        yield Flaw(
            f"endocardium and epicardium lie on each other ({signals.wall_thickness_mm:.1f} mm apart)", Grade.REJECT
        )
    if signals.axis_ratio > LARGEST_AXIS_RATIO:
        yield Flaw(
            f"the heart is {signals.axis_ratio:.1f} times as long as wide: no short-axis slice, or a wrong wall",
            Grade.USABLE,
        )
    if signals.thickness_step > LARGEST_THICKNESS_STEP:
        yield Flaw(
            f"the wall's thickness changes {signals.thickness_step:.1f}-fold from one place to the next: a stray point "
            "of a contour",
            Grade.USABLE,
        )
    if signals.repeat_wall_mm > LARGEST_REPEAT_WALL_MM:
        yield Flaw(
            f"placed once more, from every other frame, the wall lies {signals.repeat_wall_mm:.1f} mm elsewhere",
            Grade.USABLE,
        )
    if signals.given_wall_frame != result.landmarks.ed_frame:
        yield Flaw(
            "the wall given does not lie where it is seen at end-diastole, but where it is at "
            f"{result.cine.frame_times_ms[signals.given_wall_frame]:.0f} ms: was it drawn on another frame?",
            Grade.USABLE,
        )
    if GreyDoubt(signals.without_grey_mm, signals.by_motion_mm).is_misled and not result.is_wall_given:
        yield Flaw(
            "grey levels contradict the motion, as in images of another kind than placing has learned from: without "
            f"them the wall is placed {signals.without_grey_mm:.1f} mm elsewhere",
            Grade.USABLE,
        )
    if not result.is_wall_given and _is_real_part(result.cine.frames):
        yield Flaw(
            "grey levels lie on both sides of zero, as in the real part of complementary tagging: placing has learned "
            "from magnitudes, and its walls may lie millimeters off",
            Grade.USABLE,
        )
    beats = not signals.peak_shortening < LEAST_SHORTENING
    if signals.localizer_overlap < LEAST_LOCALIZER_OVERLAP:
        yield Flaw(
            "the localizer sees the left ventricle elsewhere, or of another size: the boxes overlap by "
            f"{100 * signals.localizer_overlap:.0f} %" + ("" if beats else ", and what was measured does not beat"),
            Grade.USABLE if beats else Grade.REJECT,
        )
    if signals.border_distance_mm < 0:
        yield Flaw(
            "the border of the image cuts the heart" + ("" if beats else ", and what is left of it does not beat"),
            Grade.USABLE if beats else Grade.REJECT,
        )


def _is_real_part(frames: NDArray[np.float32]) -> bool:
    """Whether tags are bright on one side of zero and as dark on the other, and air is zero but for noise.

    Real parts whose air was set to zero, or that show little of it, are not told.
    """
    some = frames[::4, ::2, ::2]
    largest = np.percentile(np.abs(some), 99.9)
    air = min(((side > 0) & (side < AIR_LEVEL * largest)).mean() for side in (some, -some))
    return bool(np.percentile(some, 0.1) < -SIGNED_LOW * largest and air > AIR_SHARE)
