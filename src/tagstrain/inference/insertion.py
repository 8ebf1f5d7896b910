"""The anterior RV insertion of a slice, from the user or a network: `find_insertion`, `anterior_of`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tagstrain.data import Insertion, Point, TaggedCine
from tagstrain.data.insertion import LOW_INSERTION_CONFIDENCE
from tagstrain.errors import LocalizationError
from tagstrain.geometry.orientation import FRONT_AND_UP, is_seen_from_apex, is_side_known
from tagstrain.inference.interfaces import Placement

GUESSED_ANTERIOR = 0.5
"""Share of the confidence that is left where it is a convention which of the two insertions is the anterior one, or
where the image contradicts its orientation (`is_mirrored`)."""
_LEAST_RISE = 0.3
"""Share of the way between the insertions along front and up below which the slice is no usual short axis."""
_FAR_FROM_WALL_MM = 20.0
"""Distance of a user's point from the placed epicardium, on which it should lie, above which its slice is warned of and
its segments do not count as known."""
_ELSEWHERE_RAD = np.pi / 4
"""Between directions of the epicardium: three quarters of a segment, and less than half of the septum."""


def find_insertion(
    cine: TaggedCine, placement: Placement, seen: Insertion | None, given_px: Point | None
) -> Insertion | None:
    """The anterior insertion on the epicardium of a placed wall: the user's, else what a network has seen.

    Raises
    ------
    LocalizationError
        If the user's point lies outside the image or has no direction from the wall's middle.
    """
    if given_px is None:
        return seen
    try:
        if not cine.shows(np.array(given_px)):
            raise ValueError("it is not in the image")
        insertion = Insertion.given(placement.wall_px[:, -1], cine.spacing_xy_mm, given_px)
        is_near = _from_epicardium_mm(given_px, insertion, cine) <= _FAR_FROM_WALL_MM
        return insertion if is_near else replace(insertion, confidence=0.0)
    except ValueError as error:
        raise LocalizationError(
            f"The RV insertion given by the user, ({given_px.x:g}, {given_px.y:g}), cannot be used: {error}."
        ) from None


def insertion_warnings(
    insertion: Insertion | None, cine: TaggedCine, given_px: Point | None, seen: Insertion | None = None
) -> Iterator[str]:
    """How far values by segment can be trusted, in words.

    Parameters
    ----------
    given_px, seen
        The user's point, and what a network has seen, where there are such.
    """
    if insertion is None:
        return
    if given_px is not None:
        yield "The anterior RV insertion was given by the user"
    if insertion.is_reliable and not is_side_known(cine.affine):
        yield (
            "The image does not say from which side it is seen: the order of the segments and the sign of rotation "
            "and twist are those of a view from the apex"
        )
    if given_px is not None:
        distance_mm = _from_epicardium_mm(given_px, insertion, cine)
        if distance_mm > _FAR_FROM_WALL_MM:
            yield (
                f"The RV insertion given by the user, ({given_px.x:g}, {given_px.y:g}), lies {distance_mm:.0f} mm from "
                "the epicardium, where the ventricles meet: only its direction was used. Check that it is X,Y in "
                "pixels of this slice"
            )
        elif seen is not None and seen.is_reliable and _apart_rad(insertion.angle_rad, seen.angle_rad) > _ELSEWHERE_RAD:
            is_other = _apart_rad(insertion.angle_rad, seen.inferior_angle_rad) < _ELSEWHERE_RAD
            where = "where the inferior insertion is seen" if is_other else "elsewhere than the anterior one is seen"
            yield (
                f"The RV insertion given by the user lies {where}: segments begin at the anterior one, which is taken "
                f"to be ({seen.point_px.x:.0f}, {seen.point_px.y:.0f}) if none is given. Check it"
            )
    elif not insertion.is_reliable:
        contradicts = is_mirrored(insertion, cine.affine) and (
            insertion.confidence >= GUESSED_ANTERIOR * LOW_INSERTION_CONFIDENCE
        )
        if contradicts:
            of_the_slice = (
                "and rotation and twist may have the other sign, for the right ventricle lies where it would in a "
                "mirror image: check the orientation that the file gives"
            )
        elif is_side_known(cine.affine):
            of_the_slice = "values of the whole slice are not affected"
        else:
            of_the_slice = (
                "and rotation and twist may have the other sign, for the image does not say from which side it is seen"
            )
        yield (
            f"The anterior RV insertion is not certain (confidence {insertion.confidence:.2f}): values by segment may "
            f"be those of a neighboring one; {of_the_slice}. Give it with --rv-insertion X,Y"
        )


def _apart_rad(first: float, second: float) -> float:
    """Angle between two directions; NaN where one is not known."""
    return abs(math.remainder(first - second, math.tau))


def _from_epicardium_mm(given_px: Point, insertion: Insertion, cine: TaggedCine) -> float:
    return float(np.hypot(*(np.subtract(given_px, insertion.point_px) * cine.spacing_xy_mm)))


def anterior_of(points_px: NDArray[np.float64], affine: NDArray[np.float64] | None) -> tuple[int, bool]:
    """Which of two insertions ``(2, 2)`` is the anterior one, and whether the patient's orientation says so.

    In the patient the anterior insertion lies in front of and above the inferior one: the two directions are taken
    together, for how much of each depends on how the heart lies. Where they do not tell, the side does from which the
    image is seen: from the apex, the anterior one is the second. Where that is not known either, the picture is taken
    to be displayed as usual, seen from the apex with the anterior wall up: the upper one.

    Parameters
    ----------
    points_px
        Going from +x towards +y, the right ventricle lies between the first and the second.
    affine
        ``(4, 4)`` map from ``(column, row, 0, 1)`` to patient coordinates [mm], DICOM's LPS; None where not known.
    """
    if affine is not None:
        way_mm = affine[:3, :2] @ (points_px[0] - points_px[1])
        rise = float(way_mm @ FRONT_AND_UP) / max(float(np.linalg.norm(way_mm)), 1e-9)
        if abs(rise) >= _LEAST_RISE:
            return (0 if rise > 0 else 1), True
        from_apex = is_seen_from_apex(affine)
        if from_apex is not None:
            return int(from_apex), True
    return int(points_px[1, 1] < points_px[0, 1]), False


def is_mirrored(insertion: Insertion, affine: NDArray[np.float64] | None) -> bool:
    """Whether the right ventricle lies on the other side than the slice's orientation says: one of them is wrong.

    Seen from the apex, going from +x towards +y, the right ventricle comes between the inferior insertion and the
    anterior one; it takes less than half of the wall. False where the orientation does not tell from which side the
    image is seen, or the inferior insertion is not known. An image turned upside down in its header, too, has the right
    ventricle on the patient's right: that mirror image is not told from a true one.

    Parameters
    ----------
    affine
        As for `anterior_of`, which says by it which insertion is the anterior one.
    """
    from_apex = None if affine is None else is_seen_from_apex(affine)
    septum = np.sin(insertion.angle_rad - insertion.inferior_angle_rad)
    return from_apex is not None and bool(septum < 0 if from_apex else septum > 0)
