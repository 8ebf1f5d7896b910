"""Function of a whole ventricle from its tracked slices: `ventricle_mechanics`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tagstrain.data import SliceResult
from tagstrain.geometry.orientation import apex_direction, is_seen_from_apex
from tagstrain.mechanics.slice_deformation import SliceMotion
from tagstrain.mechanics.study_mechanics import StudyMechanics, study_mechanics


def ventricle_mechanics(results: Sequence[SliceResult]) -> StudyMechanics:
    """Regional strain, timing, rotation and twist of a ventricle from its tracked slices, in the order given.

    Raises
    ------
    ValueError
        If there is no slice, or the slices share less than two frames' time.
    """
    long_axis = _long_axis(results)
    return study_mechanics([slice_motion(result, long_axis) for result in results])


def _long_axis(results: Sequence[SliceResult]) -> NDArray[np.float64] | None:
    """Direction from base to apex that the slices have in common, in DICOM's LPS; None where none tells one."""
    directions = [apex_direction(result.cine.affine) for result in results if result.cine.affine is not None]
    total = np.sum([direction for direction, is_certain in directions if is_certain], axis=0)
    length = float(np.linalg.norm(total))
    return total / length if length > 0 else None


def slice_motion(result: SliceResult, long_axis: NDArray[np.float64] | None = None) -> SliceMotion:
    """What mechanics needs to know of a tracked slice.

    A slice whose orientation does not tell from which side it is seen counts as seen from the apex, as is usual.

    Parameters
    ----------
    long_axis
        Unit vector in DICOM's LPS along which the depth of the slice is measured, where the heart's middle is at ED:
        slices of which one is a little tilted lie as far apart as their hearts do. None leaves the depth unknown.
    """
    cine = result.cine
    seen = depth_mm = None
    if cine.affine is not None:
        seen = is_seen_from_apex(cine.affine)
        if long_axis is not None and seen is not None:
            x, y = np.nanmean(result.landmarks.points_px[result.landmarks.ed_frame], axis=(0, 1))
            depth_mm = float((cine.affine @ [x, y, 0.0, 1.0])[:3] @ long_axis)
    return SliceMotion(
        landmarks_mm=result.landmarks.points_px * cine.spacing_xy_mm,
        frame_times_ms=cine.frame_times_ms,
        ed_frame=result.landmarks.ed_frame,
        level=cine.level,
        rr_interval_ms=cine.rr_interval_ms,
        insertion_angle_rad=None if result.insertion is None else result.insertion.angle_rad,
        is_seen_from_apex=True if seen is None else seen,
        depth_mm=depth_mm,
    )
