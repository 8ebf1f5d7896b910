"""The exchangeable parts of the pipeline: `Localizer`, `Placer`, `Tracker`, `InsertionFinder`.

`PlacerAndTracker` is placer and tracker in one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tagstrain.data import UNKNOWN_DOUBT, GreyDoubt, Insertion, LandmarkTracks, Localization, PointTracks, TaggedCine

if TYPE_CHECKING:  # it loads torch
    from tagstrain.inference.motion_sight import MotionSight


class Localizer(Protocol):
    """Finds the left ventricle in a whole image."""

    def localize(self, cine: TaggedCine) -> Localization:
        """Box around the left ventricle, in pixels of the original image, with a confidence."""
        ...


class Placement(NamedTuple):
    """The wall of the left ventricle at ED."""

    wall_px: NDArray[np.float64]
    """Landmarks ``(spoke, ring, 2)`` in pixels of the original image."""
    sight: MotionSight | None = None
    """What a placer that tracks before it places saw of the wall; None from any other."""
    border_spread_mm: NDArray[np.float64] | None = None
    """How blurred the placer sees endocardium and epicardium along every spoke, ``(2, spoke)``: one standard deviation;
    None from a placer that does not say."""


class Placer(Protocol):
    """Places the landmark grid on the wall of the left ventricle at ED."""

    def place(self, cine: TaggedCine, localization: Localization) -> Placement:
        """Find the wall in and around a box."""
        ...


@runtime_checkable
class ReadsLess(Protocol):
    """A placer that can say what it would read from less of what it saw."""

    def read_less(self, sight: MotionSight) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Landmarks ``(spoke, ring, 2)`` [px] without grey levels, and without how far tags persist either."""
        ...


def grey_doubt(cine: TaggedCine, placement: Placement | None, placer: Placer) -> GreyDoubt:
    """What a placer says of a wall that it placed when it is asked once more of what it saw."""
    if placement is None or placement.sight is None or not isinstance(placer, ReadsLess):
        return UNKNOWN_DOUBT
    walls_px = [placement.wall_px, *placer.read_less(placement.sight)]
    steps_mm = np.diff(walls_px, axis=0) * cine.spacing_xy_mm
    return GreyDoubt(*np.linalg.norm(steps_mm, axis=-1).mean(axis=(1, 2)).tolist())


class InsertionFinder(Protocol):
    """Finds where the right ventricle meets the left one in front."""

    def find(self, cine: TaggedCine, placement: Placement) -> Insertion:
        """The insertion on the epicardium of a placed wall; always one, its confidence says what it is worth."""
        ...


class Tracker(Protocol):
    """Follows material points from ED through every frame."""

    @property
    def name(self) -> str:
        """Name on the command line."""
        ...

    def track(self, cine: TaggedCine, ed_points_px: NDArray[np.floating]) -> PointTracks:
        """Trajectories of the ED points ``(point, 2)``, which come back unchanged in the ED frame.

        NaN points stay NaN, as do those far outside of the image. Points may lie anywhere else, any number of them.
        Raises ValueError for an array of another shape.
        """
        ...


@runtime_checkable
class HasQuickVariant(Protocol):
    """A tracker that can also do with less: several times faster, somewhat less accurate."""

    def quick(self) -> Tracker:
        """The same tracker in a hurry."""
        ...


def quick_variant(tracker: Tracker) -> Tracker:
    """The tracker for a second opinion: in a hurry where it can be, else as it is."""
    return tracker.quick() if isinstance(tracker, HasQuickVariant) else tracker


@runtime_checkable
class TracksOn(Protocol):
    """A tracker that can go on from the motion that a placer saw."""

    def track_on(self, cine: TaggedCine, ed_points_px: NDArray[np.floating], sight: MotionSight | None) -> PointTracks:
        """As `Tracker.track`, less what has been done for ``sight``."""
        ...


def track_placed(tracker: Tracker, cine: TaggedCine, placement: Placement) -> PointTracks:
    """Follow the landmarks of a placed wall, from what the placer saw of its motion if the tracker can."""
    points_px = placement.wall_px.reshape(-1, 2)
    return (
        tracker.track_on(cine, points_px, placement.sight)
        if isinstance(tracker, TracksOn)
        else tracker.track(cine, points_px)
    )


class PlacerAndTracker(Protocol):
    """Gives the landmark grid in all frames at once, as the predecessor's network does, with frame 0 as ED."""

    def place_and_track(self, cine: TaggedCine, localization: Localization) -> LandmarkTracks:
        """Landmarks in pixels of the original image, none of them moved afterwards."""
        ...
