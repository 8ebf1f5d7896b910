"""From the landmarks of one slice to its strain and rotation curves: `deform_slice`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tagstrain.mechanics.deformation import landmark_gradients
from tagstrain.mechanics.heart_frame import HeartFrame, heart_frame, ring_motion
from tagstrain.mechanics.regions import (
    AHA_SEGMENTS,
    RegionalCurves,
    aha_segments_of,
    assumed_insertion_rad,
    counterclockwise_sign,
    regional_curves,
)
from tagstrain.mechanics.rotation import rotation_deg
from tagstrain.mechanics.strain import mean_known
from tagstrain.mechanics.tensors import (
    PrincipalStrains,
    area_ratio,
    green_lagrange_tensor,
    polar_components,
    principal_strains,
)


def runs_outwards(landmarks: NDArray[np.floating]) -> bool:
    """Whether the first ring of ``(spoke, ring, 2)`` is smaller than the last, by the spokes on which both are known.

    True where there are none.
    """
    ends = landmarks[:, [0, -1]]
    known = ends[np.isfinite(ends).all(axis=(1, 2))]
    if not len(known):
        return True
    inner, outer = np.linalg.norm(known - known.mean(axis=(0, 1)), axis=-1).sum(axis=0)
    return bool(inner < outer)


@dataclass(frozen=True, eq=False, slots=True)
class SliceMotion:
    """What mechanics needs to know of one tracked slice."""

    landmarks_mm: NDArray[np.floating]
    """``(x, y)`` [mm] per frame, shape ``(time, spoke, ring, 2)``, at least three spokes and two rings; NaN where not
    known. Spokes are in angular order and closed; ring 0 is the endocardium."""
    frame_times_ms: NDArray[np.floating]
    """Time since the R wave, strictly increasing, shape ``(time,)``."""
    ed_frame: int = 0
    level: str = "unknown"
    """``"basal"``, ``"mid"`` or ``"apical"``, as `tagstrain.data.SliceLevel`; at any other there are no segments."""
    rr_interval_ms: float | None = None
    insertion_angle_rad: float | None = None
    """Direction of the anterior RV insertion from the ventricle's center, from +x towards +y of the image. Where None,
    segments start at an assumed place (`regions.assumed_insertion_rad`)."""
    is_seen_from_apex: bool = True
    """Whether the image shows the heart from its apex (`geometry.orientation.is_seen_from_apex`), as is usual."""
    depth_mm: float | None = None
    """Place along the long axis, growing from base to apex; None where not known."""

    def __post_init__(self) -> None:
        shape = self.landmarks_mm.shape
        if len(shape) != 4 or shape[1] < 3 or shape[2] < 2 or shape[3] != 2:
            raise ValueError(f"landmarks_mm: expected shape (time, spoke, ring, 2), 3 spokes or more, got {shape}")
        if self.frame_times_ms.shape != shape[:1]:
            raise ValueError(f"frame_times_ms: expected shape ({shape[0]},), got {self.frame_times_ms.shape}")
        if not np.isfinite(self.frame_times_ms).all() or np.any(np.diff(self.frame_times_ms) <= 0):
            raise ValueError("frame_times_ms: expected finite and strictly increasing times")
        if not 0 <= self.ed_frame < shape[0]:
            raise ValueError(f"ed_frame: expected 0 to {shape[0] - 1}, got {self.ed_frame}")
        if not runs_outwards(self.landmarks_mm[self.ed_frame]):
            raise ValueError("landmarks_mm: at ED ring 0, the endocardium, is no smaller than the last ring")

    @property
    def ed_ms(self) -> float:
        """Time of the ED frame."""
        return float(self.frame_times_ms[self.ed_frame])


@dataclass(frozen=True, eq=False, slots=True)
class SliceDeformation:
    """Strain and rotation of one slice over time, against its ED frame.

    Strains are Green-Lagrange, as fractions, in the polar frame at ED: radial is away from the ventricle's center,
    circumferential counter-clockwise as seen from the apex. So the shear's sign is the same for every image.
    """

    motion: SliceMotion
    gradients: NDArray[np.float64]
    """Deformation gradient per landmark (`deformation.landmark_gradients`), for other strain measures; shape
    ``(time, spoke, ring, 2, 2)``."""
    frame: HeartFrame
    """Center and polar angles, at ED and now."""
    segments: tuple[int, ...]
    """AHA segments of this slice, ascending: the columns of `RegionalCurves.segments`. Empty at an unknown level."""
    segment_of_spoke: NDArray[np.int64]
    """AHA segment of every spoke, 0 at an unknown level; shape ``(spoke,)``."""
    radial: RegionalCurves
    circumferential: RegionalCurves
    shear: RegionalCurves
    """Radial-circumferential."""
    area_ratio: RegionalCurves
    """Area now over area at ED, ``det F``."""
    principal: PrincipalStrains
    """Per landmark, shape ``(time, spoke, ring)``; the angle counter-clockwise as seen from the apex."""
    rotation_deg: NDArray[np.float64]
    """Rotation of every ring since ED, counter-clockwise as seen from the apex; shape ``(time, ring)``."""

    @property
    def slice_rotation_deg(self) -> NDArray[np.float64]:
        """Mean rotation of all rings, shape ``(time,)``."""
        return mean_known(self.rotation_deg, axis=1)

    @property
    def epicardial_radius_mm(self) -> float:
        """Mean radius of the outermost ring at ED."""
        return float(mean_known(self.frame.ed_radius_mm[:, -1], axis=0))


def deform_slice(motion: SliceMotion) -> SliceDeformation:
    """Strain tensors at the landmarks, averaged over rings, layers, AHA segments and the slice.

    Raises
    ------
    ValueError
        If landmarks coincide at ED or too few are known there.
    """
    frame = heart_frame(motion.landmarks_mm, motion.ed_frame)
    gradients = landmark_gradients(motion.landmarks_mm, motion.ed_frame)
    strain = polar_components(green_lagrange_tensor(gradients), frame.ed_angle_rad)
    strain = strain._replace(shear=strain.shear * counterclockwise_sign(motion.is_seen_from_apex))
    segment_of_spoke = _segment_of_spoke(frame, motion)
    segments = AHA_SEGMENTS.get(motion.level, ())

    def averaged(values: NDArray[np.float64]) -> RegionalCurves:
        return regional_curves(values, segment_of_spoke, segments)

    return SliceDeformation(
        motion=motion,
        gradients=gradients,
        frame=frame,
        segments=segments,
        segment_of_spoke=segment_of_spoke,
        radial=averaged(strain.radial),
        circumferential=averaged(strain.circumferential),
        shear=averaged(strain.shear),
        area_ratio=averaged(area_ratio(gradients)),
        principal=principal_strains(strain),
        rotation_deg=rotation_deg(ring_motion(motion.landmarks_mm, motion.ed_frame), motion.is_seen_from_apex),
    )


def _segment_of_spoke(frame: HeartFrame, motion: SliceMotion) -> NDArray[np.int64]:
    """AHA segment in which each spoke lies at ED; 0 for a spoke without known landmarks."""
    x = mean_known(np.cos(frame.ed_angle_rad), axis=1)
    y = mean_known(np.sin(frame.ed_angle_rad), axis=1)
    is_known = np.isfinite(x)
    insertion_rad = motion.insertion_angle_rad
    if insertion_rad is None:
        insertion_rad = assumed_insertion_rad(motion.is_seen_from_apex)
    angle = np.arctan2(y[is_known], x[is_known])
    segments = np.zeros(len(x), np.int64)
    segments[is_known] = aha_segments_of(angle, motion.level, insertion_rad, motion.is_seen_from_apex)
    return segments
