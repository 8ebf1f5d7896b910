"""A slice whose motion a teacher followed, to learn from in place of labels: `FollowedSlice`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tagstrain.data.cine import TaggedCine
from tagstrain.data.grey_doubt import UNKNOWN_DOUBT, GreyDoubt
from tagstrain.data.landmarks import LandmarkTracks


@dataclass(frozen=True, eq=False, slots=True)
class FollowedSlice:
    """The surroundings of the heart from ED on, where its wall lies and how it moves.

    Raises
    ------
    ValueError
        If cine and tracks do not begin at ED or differ in length.
    """

    cine: TaggedCine
    tracks: LandmarkTracks
    """Known everywhere; ``sigma_px`` says how far the teacher is to be trusted."""
    wall_px: NDArray[np.float64] | None = None
    """Landmarks at ED ``(spoke, ring, 2)`` on which placing from several crops agrees; None where it does not."""
    wall_without_grey_px: NDArray[np.float64] | None = None
    """The same, by a placer that is shown no grey levels."""
    grey_doubt: GreyDoubt = UNKNOWN_DOUBT
    """How far the wall moves when the placer is shown less."""

    def __post_init__(self) -> None:
        if self.cine.ed_frame or self.tracks.ed_frame:
            raise ValueError("followed slice: expected ED in frame 0")
        if len(self.tracks.points_px) != self.cine.n_frames:
            raise ValueError(f"tracks: expected {self.cine.n_frames} frames, got {len(self.tracks.points_px)}")
