"""Whether grey levels lead a placer astray, as those of another kind of images may: `GreyDoubt`."""

from __future__ import annotations

from typing import NamedTuple

MISLED_MM = 2.5
STEADY_SHARE = 0.4
"""Of 619 simulated slices, sound, spoiled, of settings held back or of another generator, 14 are doubted, and none of
eight crops of the one real case. With a placer that had not learned from complementary tags, 14 of 32 slices with these
were: their walls lay 5.4 mm off, those of the others 2.3 mm. With the one that has, 2 of 31 are."""


class GreyDoubt(NamedTuple):
    """How far the wall moves when a placer is shown less, mean over landmarks [mm]; NaN where it is not known.

    Motion crosses from simulation to other images where grey levels do not. These are doubted where the wall moves by
    more than `MISLED_MM` when they are left out, and by less than `STEADY_SHARE` of that when how far tags persist is
    left out as well: then all else agrees without them.
    """

    without_grey_mm: float
    """When it is not shown grey levels."""
    by_motion_mm: float
    """When it is not shown how far tags persist either, from there on."""

    @property
    def is_misled(self) -> bool:
        """Whether grey levels contradict all else."""
        return self.without_grey_mm > MISLED_MM and self.by_motion_mm < STEADY_SHARE * self.without_grey_mm


UNKNOWN_DOUBT = GreyDoubt(float("nan"), float("nan"))
