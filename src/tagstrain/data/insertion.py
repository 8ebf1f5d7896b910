"""Where AHA segments begin: the anterior insertion of the right ventricle (`Insertion`)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tagstrain.geometry.polygon import radii_along

LOW_INSERTION_CONFIDENCE = 0.5
"""Confidence below which values by segment may belong to a neighboring one."""


class Point(NamedTuple):
    """A place in pixels of the original image, whole numbers being pixel centres."""

    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Insertion:
    """Where the wall of the right ventricle meets the left one at ED, in front.

    Angles are those of the slice's plane in mm, from +x towards +y of the image, around the mean of the epicardial
    landmarks at ED.
    """

    point_px: Point
    """On the epicardium."""
    angle_rad: float
    """Direction of the point, -pi to pi."""
    confidence: float
    """Chance that the direction is right within 15 degrees, 0 to 1; 1 if the user gave it, 0 if far from the wall."""
    is_given: bool = False
    """Whether the user gave it, in place of the network."""
    inferior_angle_rad: float = np.nan
    """Direction of the other insertion, at the septum's other end; NaN where not looked for."""

    def __post_init__(self) -> None:
        if not np.isfinite([*self.point_px, self.angle_rad]).all():
            raise ValueError(f"insertion: expected a finite point and angle, got {self.point_px}, {self.angle_rad}")
        if not 0 <= self.confidence <= 1:
            raise ValueError(f"confidence: expected 0 to 1, got {self.confidence}")

    @property
    def is_reliable(self) -> bool:
        """Whether values by segment can be trusted to be those of the segment they are named for."""
        return self.confidence >= LOW_INSERTION_CONFIDENCE

    @classmethod
    def towards(
        cls,
        epicardium_px: NDArray[np.floating],
        spacing_xy_mm: NDArray[np.floating],
        angle_rad: float,
        confidence: float,
        inferior_angle_rad: float = np.nan,
    ) -> Insertion:
        """The insertion in a direction, on an ED epicardium ``(point, 2)`` of pixels with this ``(x, y)`` spacing."""
        epicardium_mm = np.asarray(epicardium_px, np.float64) * spacing_xy_mm
        center_mm = epicardium_mm.mean(axis=0)
        radius_mm = radii_along(epicardium_mm, center_mm, np.array([angle_rad]))[0]
        point_px = (center_mm + radius_mm * np.array([np.cos(angle_rad), np.sin(angle_rad)])) / spacing_xy_mm
        return cls(Point(*point_px.tolist()), angle_rad, confidence, inferior_angle_rad=inferior_angle_rad)

    @classmethod
    def given(
        cls, epicardium_px: NDArray[np.floating], spacing_xy_mm: NDArray[np.floating], point_px: Point
    ) -> Insertion:
        """The insertion in the direction of a point that the user gave.

        Raises
        ------
        ValueError
            If the point is the middle of the epicardium and so has no direction.
        """
        offset_mm = (np.asarray(point_px) - np.asarray(epicardium_px, np.float64).mean(axis=0)) * spacing_xy_mm
        if not np.hypot(*offset_mm) > 0:
            raise ValueError("it is the middle of the left ventricle and has no direction from there")
        angle_rad = float(np.arctan2(offset_mm[1], offset_mm[0]))
        return replace(cls.towards(epicardium_px, spacing_xy_mm, angle_rad, 1.0), is_given=True)
