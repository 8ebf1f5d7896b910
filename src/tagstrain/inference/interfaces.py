"""The exchangeable parts of the pipeline: `Localizer`, `Placer` and `Tracker`; `PlacerAndTracker` is the two in one."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tagstrain.data import LandmarkTracks, Localization, PointTracks, TaggedCine


class Localizer(Protocol):
    """Finds the left ventricle in a whole image."""

    def localize(self, cine: TaggedCine) -> Localization:
        """Box around the left ventricle, in pixels of the original image, with a confidence."""
        ...


class Placer(Protocol):
    """Places the landmark grid on the wall of the left ventricle at ED."""

    def place(self, cine: TaggedCine, localization: Localization) -> NDArray[np.float64]:
        """ED landmarks ``(spoke, ring, 2)`` in pixels of the original image."""
        ...


class Tracker(Protocol):
    """Follows material points from ED through every frame."""

    @property
    def name(self) -> str:
        """Name on the command line."""
        ...

    def track(self, cine: TaggedCine, ed_points_px: NDArray[np.floating]) -> PointTracks:
        """Trajectories of the ED points ``(point, 2)``, which come back unchanged in the ED frame.

        NaN points stay NaN. Points may lie anywhere in the image, any number of them.
        """
        ...


class PlacerAndTracker(Protocol):
    """Gives the landmark grid in all frames at once, as the predecessor's network does, with frame 0 as ED."""

    def place_and_track(self, cine: TaggedCine, localization: Localization) -> LandmarkTracks:
        """Landmarks in pixels of the original image, none of them moved afterwards."""
        ...
