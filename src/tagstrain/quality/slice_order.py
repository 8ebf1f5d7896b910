"""Whether slices come from the levels that they are named after, of one heart rate and parallel: `SliceOrder`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tagstrain.data import SliceLevel, SliceResult
from tagstrain.geometry.orientation import slice_normal

LEVELS = (SliceLevel.BASAL, SliceLevel.MID, SliceLevel.APICAL)
TOLERANCES = {
    (SliceLevel.BASAL, SliceLevel.APICAL): 1.05,
    (SliceLevel.MID, SliceLevel.APICAL): 1.05,
    (SliceLevel.BASAL, SliceLevel.MID): 1.15,
}
"""Outer radius of the second level over that of the first above which the two may have been mixed up."""
ROTATION_TOLERANCE_DEG = 4.0
LARGEST_TILT_DEG = 2.5
"""Angle between planes above which torsion, which takes them for parallel, is not to be used."""
LARGEST_ED_DIFFERENCE_MS = 50.0
"""Between slices that were triggered alike. What the others contract until a late one begins would be in no curve of
the ventricle, and its rates a quarter too small at 100 ms."""
LARGEST_RR_RATIO = 1.15
"""Longest over shortest RR interval up to which slices are of one heart rate: breath-holds differ by a few percent."""


class LevelEvidence(NamedTuple):
    """What changes from base to apex."""

    outer_radius_mm: float
    """Mean radius of the epicardium at ED: it falls."""
    rotation_deg: float
    """Turn of the wall from ED to ES, from x towards y: base and apex turn opposite ways, the middle lies between."""


@dataclass(slots=True)
class SliceOrder:
    """Gathers the slices of a study, of which it keeps a few numbers each."""

    _seen: dict[SliceLevel, list[LevelEvidence]] = field(default_factory=dict)
    _normals: list[NDArray[np.float64]] = field(default_factory=list)
    _rr_intervals_ms: list[float] = field(default_factory=list)
    _ed_times_ms: list[float] = field(default_factory=list)
    _side: NDArray[np.float64] | None = None
    """Normal of the first slice that has one: turns are told as seen along it."""

    def add(self, result: SliceResult) -> None:
        """Take in a slice; one whose epicardium is not known at ED and ES tells nothing."""
        evidence = level_evidence(result)
        normal = None if result.cine.affine is None else slice_normal(result.cine.affine)
        if evidence is not None and normal is not None:
            self._side = normal if self._side is None else self._side
            # Stored from the other side, the same turn is seen the other way round.
            evidence = evidence._replace(rotation_deg=math.copysign(1, normal @ self._side) * evidence.rotation_deg)
        if evidence is not None:
            self._seen.setdefault(result.cine.level, []).append(evidence)
        if result.cine.level not in LEVELS:
            return
        self._ed_times_ms.append(float(result.cine.frame_times_ms[result.landmarks.ed_frame]))
        if normal is not None:
            self._normals.append(normal)
        if result.cine.rr_interval_ms is not None:
            self._rr_intervals_ms.append(result.cine.rr_interval_ms)

    def doubts(self) -> Iterator[str]:
        """What does not fit the order of the levels, or the idea of parallel planes or of one heart rate, in words."""
        mean = {level: LevelEvidence(*np.mean(found, axis=0)) for level, found in self._seen.items()}
        for (upper, lower), tolerance in TOLERANCES.items():
            if upper in mean and lower in mean:
                above_mm, below_mm = mean[upper].outer_radius_mm, mean[lower].outer_radius_mm
                if below_mm > tolerance * above_mm:
                    yield (
                        f"slice levels may be mixed up: the heart's outer radius is {below_mm:.0f} mm in the {lower} "
                        f"and {above_mm:.0f} mm in the {upper} slice"
                    )
        if set(LEVELS) <= mean.keys():
            basal, middle, apical = (mean[level].rotation_deg for level in LEVELS)
            low, high = min(basal, apical), max(basal, apical)
            if not low - ROTATION_TOLERANCE_DEG <= middle <= high + ROTATION_TOLERANCE_DEG:
                yield (
                    f"slice levels may be mixed up: the mid slice turns by {middle:.0f} degrees, which does not lie "
                    f"between basal ({basal:.0f}) and apical ({apical:.0f})"
                )
        tilt_deg = self._largest_tilt_deg()
        if tilt_deg > LARGEST_TILT_DEG:
            yield (
                f"slices are not parallel (up to {tilt_deg:.0f} degrees between their planes): torsion, which takes "
                "them for parallel, is not to be used"
            )
        shortest_ms, longest_ms = min(self._rr_intervals_ms, default=0.0), max(self._rr_intervals_ms, default=0.0)
        if longest_ms > LARGEST_RR_RATIO * shortest_ms:
            yield (
                f"slices were taken at different heart rates (RR intervals {shortest_ms:.0f} to {longest_ms:.0f} ms): "
                "curves of the whole ventricle are means at the same time after the R wave and blur its phases"
            )
        first_ms, last_ms = min(self._ed_times_ms, default=0.0), max(self._ed_times_ms, default=0.0)
        if last_ms - first_ms > LARGEST_ED_DIFFERENCE_MS:
            yield (
                f"end-diastole lies {first_ms:.0f} to {last_ms:.0f} ms after the R wave in the slices: times may count "
                f"from different moments; those that begin more than {LARGEST_ED_DIFFERENCE_MS:.0f} ms after most "
                "others are left out of the values of the whole ventricle"
            )

    def _largest_tilt_deg(self) -> float:
        """Largest angle between the planes of any two slices; which side an image is seen from does not matter."""
        if not self._normals:
            return 0.0
        normals = np.stack(self._normals)
        return float(np.degrees(np.arccos(np.abs(normals @ normals.T).min().clip(max=1.0))))


def level_evidence(result: SliceResult) -> LevelEvidence | None:
    """Measure a slice; None where no epicardial landmark is known at both ED and ES."""
    ed, es = result.strain.ed_frame, result.strain.es_frame
    epi_mm = result.landmarks.points_px[[ed, es], :, -1] * result.cine.spacing_xy_mm
    known = np.isfinite(epi_mm).all(axis=(0, 2))
    if not known.any():
        return None
    from_middle = epi_mm[:, known] - epi_mm[:, known].mean(axis=1, keepdims=True)
    at_ed, at_es = from_middle @ np.array([1, 1j])
    turn = np.angle((at_es * at_ed.conj()).sum())
    return LevelEvidence(float(np.abs(at_ed).mean()), float(np.degrees(turn)))
