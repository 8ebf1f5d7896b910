"""Function of a whole ventricle from its tracked slices: `ventricle_mechanics`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tagstrain.data import SliceResult
from tagstrain.geometry.orientation import apex_direction, is_seen_from_apex
from tagstrain.mechanics.slice_deformation import SliceMotion
from tagstrain.mechanics.study_mechanics import StudyMechanics, study_mechanics


def ventricle_mechanics(
    results: Sequence[SliceResult], insertion_angles_rad: Mapping[str, float] | None = None
) -> StudyMechanics:
    """Regional strain, timing, rotation and twist of a ventricle; slices in the order given.

    Parameters
    ----------
    results
        The tracked slices.
    insertion_angles_rad
        Direction of the anterior RV insertion (`SliceMotion.insertion_angle_rad`) by slice name, where known.

    Raises
    ------
    ValueError
        If there is no slice, or the slices share less than two frames' time.
    """
    angles_rad = insertion_angles_rad or {}
    return study_mechanics([slice_motion(result, angles_rad.get(result.name)) for result in results])


def slice_motion(result: SliceResult, insertion_angle_rad: float | None = None) -> SliceMotion:
    """What mechanics needs to know of a tracked slice.

    A slice whose orientation does not tell from which side it is seen counts as seen from the apex, as is usual.
    """
    cine = result.cine
    seen = depth_mm = None
    if cine.affine is not None:
        seen = is_seen_from_apex(cine.affine)
        towards_apex, is_certain = apex_direction(cine.affine)
        depth_mm = float(cine.affine[:3, 3] @ towards_apex) if is_certain else None
    return SliceMotion(
        landmarks_mm=result.landmarks.points_px * cine.spacing_xy_mm,
        frame_times_ms=cine.frame_times_ms,
        ed_frame=result.landmarks.ed_frame,
        level=cine.level,
        rr_interval_ms=cine.rr_interval_ms,
        insertion_angle_rad=insertion_angle_rad,
        is_seen_from_apex=True if seen is None else seen,
        depth_mm=depth_mm,
    )
