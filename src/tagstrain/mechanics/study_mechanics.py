"""The whole ventricle: global strain, AHA segments, twist and dyssynchrony over its slices: `study_mechanics`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tagstrain.mechanics.dyssynchrony import Dyssynchrony
from tagstrain.mechanics.regions import LAYERS, N_AHA_SEGMENTS, RegionalCurves
from tagstrain.mechanics.rotation import Twist, twist_between
from tagstrain.mechanics.slice_deformation import SliceDeformation, SliceMotion, deform_slice
from tagstrain.mechanics.slice_mechanics import SliceMechanics, dyssynchrony_of, measure_slice
from tagstrain.mechanics.smoothing import smooth_curve
from tagstrain.mechanics.strain import mean_known
from tagstrain.mechanics.timing import SHORTEST_RR_MS, CardiacPhases, CurveMeasures, end_systole_ms, measure_curve

LIKE_INTERVAL = 1.5
"""Frame interval over the shortest of all slices up to which a slice may be the clock of the others."""


@dataclass(frozen=True, eq=False, slots=True)
class VentricleCurves:
    """One strain component of the whole ventricle on its common times, with its measures."""

    global_mean: NDArray[np.float64]
    """Plain mean over slices, shape ``(time,)``."""
    layers: NDArray[np.float64]
    """The same of the thirds of the wall, shape ``(time, 3)``, in the order of `regions.LAYERS`."""
    segments: NDArray[np.float64]
    """AHA segment ``n`` in column ``n - 1``, shape ``(time, 17)``; NaN where not imaged, as segment 17 never is."""
    global_measures: CurveMeasures
    layer_measures: Mapping[str, CurveMeasures]
    """By the names in `regions.LAYERS`."""
    segment_measures: Mapping[int, CurveMeasures]
    """By the number of every segment that was imaged."""


@dataclass(frozen=True, eq=False, slots=True)
class StudyMechanics:
    """Function of the left ventricle over all its slices."""

    slices: tuple[SliceMechanics, ...]
    """In input order, all measured against the ventricle's end-systole."""
    frame_times_ms: NDArray[np.float64]
    """Times of the curves of the whole ventricle: those of its clock (`study_mechanics`)."""
    phases: CardiacPhases
    circumferential: VentricleCurves
    radial: VentricleCurves
    twist: Twist | None
    """Between the outermost basal and apical slices; where depths are not known, the first and the last of them."""
    twist_missing: str
    """Why there is no twist, in words; empty where there is."""
    dyssynchrony: Dyssynchrony


def study_mechanics(motions: Sequence[SliceMotion]) -> StudyMechanics:
    """Measure all slices of a ventricle on one clock.

    Slices may have different frame times; curves of the whole ventricle are interpolated linearly between frames. Its
    clock is the frames of one slice, of those with about the shortest frame interval the one that begins first: from
    its last frame before all have begun to half a frame after the first has ended. Of a slice that has not begun or has
    ended, the first or last value counts, so that a trigger a little off costs no frame, ED least of all.

    Raises
    ------
    ValueError
        If there is no slice, the slices share less than two frames' time, or one allows no strain.
    """
    if not motions:
        raise ValueError("motions: expected at least one slice, got none")
    deformations = [deform_slice(motion) for motion in motions]
    times_ms = _common_times([motion.frame_times_ms for motion in motions])
    phases = _phases(deformations, times_ms)
    circumferential = _ventricle_curves(
        deformations, [slice_.circumferential for slice_ in deformations], times_ms, phases, is_shortening=True
    )
    radial = _ventricle_curves(
        deformations, [slice_.radial for slice_ in deformations], times_ms, phases, is_shortening=False
    )
    twist, twist_missing = _twist(deformations, times_ms, phases)
    return StudyMechanics(
        slices=tuple(measure_slice(deformation, phases.es_ms) for deformation in deformations),
        frame_times_ms=times_ms,
        phases=phases,
        circumferential=circumferential,
        radial=radial,
        twist=twist,
        twist_missing=twist_missing,
        dyssynchrony=dyssynchrony_of(deformations, list(circumferential.segment_measures.values()), phases),
    )


def _common_times(frame_times_ms: Sequence[NDArray[np.floating]]) -> NDArray[np.float64]:
    """Frame times of the clock, as far as all slices go."""
    intervals_ms = [float(np.median(np.diff(times))) if len(times) > 1 else np.inf for times in frame_times_ms]
    fine = [k for k, interval_ms in enumerate(intervals_ms) if interval_ms <= LIKE_INTERVAL * min(intervals_ms)]
    clock = min(fine, key=lambda k: (float(frame_times_ms[k][0]), intervals_ms[k]))
    start, end = max(times[0] for times in frame_times_ms), min(times[-1] for times in frame_times_ms)
    if not end - start >= intervals_ms[clock] / 2:
        raise ValueError(f"frame_times_ms: the slices share {max(end - start, 0):.0f} ms, less than two frames")
    times_ms = np.asarray(frame_times_ms[clock], np.float64)[_last_until(frame_times_ms[clock], start) :]
    times_ms = times_ms[times_ms <= end + intervals_ms[clock] / 2]
    if len(times_ms) < 2:
        raise ValueError("frame_times_ms: the slices share less than two frames of their clock")
    return np.asarray(times_ms)


def _last_until(times_ms: NDArray[np.floating], moment_ms: float) -> int:
    """Index of the last of some times that is not after a moment; the first if all are."""
    return max(int(np.searchsorted(times_ms, moment_ms, side="right")) - 1, 0)


def _phases(deformations: Sequence[SliceDeformation], times_ms: NDArray[np.float64]) -> CardiacPhases:
    """The common time at which the last slice has its ED, end-systole of the global strain, mean of known RR."""
    ed_frame = _last_until(times_ms, max(slice_.motion.ed_ms for slice_ in deformations))
    ed_ms = float(times_ms[ed_frame])
    known_rr = [slice_.motion.rr_interval_ms for slice_ in deformations if slice_.motion.rr_interval_ms is not None]
    global_mean = _mean_of_slices(deformations, [s.circumferential.slice_mean for s in deformations], times_ms)
    sound_rr = [rr_ms for rr_ms in known_rr if rr_ms >= SHORTEST_RR_MS] or known_rr
    rr_interval_ms = float(np.mean(sound_rr)) if sound_rr else None
    es_ms = end_systole_ms(global_mean, times_ms, ed_frame, rr_interval_ms)
    es_ms = min(es_ms, *(float(slice_.motion.frame_times_ms[-1]) for slice_ in deformations))
    return CardiacPhases(ed_ms, max(es_ms, ed_ms), rr_interval_ms)


def _ventricle_curves(
    deformations: Sequence[SliceDeformation],
    curves: Sequence[RegionalCurves],
    times_ms: NDArray[np.float64],
    phases: CardiacPhases,
    is_shortening: bool,
) -> VentricleCurves:
    """Global and segmental curves of a strain component; a segment seen in several slices is their mean."""
    per_slice = np.full((len(curves), len(times_ms), N_AHA_SEGMENTS), np.nan)
    for place, (slice_, slice_curves) in enumerate(zip(deformations, curves, strict=True)):
        for number, values in zip(slice_.segments, slice_curves.segments.T, strict=True):
            per_slice[place, :, number - 1] = _interpolated(values, slice_.motion, times_ms)
    segments = mean_known(per_slice, axis=0)
    global_mean = _mean_of_slices(deformations, [slice_curves.slice_mean for slice_curves in curves], times_ms)
    layers = [
        _mean_of_slices(deformations, [slice_curves.layers[:, place] for slice_curves in curves], times_ms)
        for place in range(len(LAYERS))
    ]

    def measure(values: NDArray[np.float64]) -> CurveMeasures:
        return measure_curve(smooth_curve(values, times_ms), phases, is_shortening)

    imaged = sorted({number for slice_ in deformations for number in slice_.segments})
    return VentricleCurves(
        global_mean=global_mean,
        layers=np.stack(layers, axis=1),
        segments=segments,
        global_measures=measure(global_mean),
        layer_measures={name: measure(values) for name, values in zip(LAYERS, layers, strict=True)},
        segment_measures={number: measure(segments[:, number - 1]) for number in imaged},
    )


def _mean_of_slices(
    deformations: Sequence[SliceDeformation], curves: Sequence[NDArray[np.float64]], times_ms: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Mean of one curve ``(time,)`` per slice on the common times."""
    on_common_times = [
        _interpolated(values, slice_.motion, times_ms) for slice_, values in zip(deformations, curves, strict=True)
    ]
    return mean_known(np.stack(on_common_times), axis=0)


def _twist(
    deformations: Sequence[SliceDeformation], times_ms: NDArray[np.float64], phases: CardiacPhases
) -> tuple[Twist | None, str]:
    """Twist between the outermost basal and apical slices, or why there is none."""
    basal = next(iter(_towards_apex(deformations, "basal")), None)
    apical = next(reversed(_towards_apex(deformations, "apical")), None)
    if basal is None or apical is None:
        missing = " and ".join(name for name, found in (("basal", basal), ("apical", apical)) if found is None)
        return None, f"twist needs a basal and an apical slice; there is no {missing} one"
    depths_mm = basal.motion.depth_mm, apical.motion.depth_mm
    distance_mm = abs(depths_mm[1] - depths_mm[0]) if depths_mm[0] is not None and depths_mm[1] is not None else None
    twist = twist_between(
        _interpolated(basal.slice_rotation_deg, basal.motion, times_ms),
        _interpolated(apical.slice_rotation_deg, apical.motion, times_ms),
        times_ms,
        distance_mm,
        (basal.epicardial_radius_mm, apical.epicardial_radius_mm),
        phases.ed_ms,
        phases.es_ms,
        phases.end_ms,
    )
    return twist, ""


def _towards_apex(deformations: Sequence[SliceDeformation], level: str) -> list[SliceDeformation]:
    """Slices of a level from base to apex; in the order given where the depth of one is not known."""
    found = [slice_ for slice_ in deformations if slice_.motion.level == level]
    depths_mm = [slice_.motion.depth_mm for slice_ in found if slice_.motion.depth_mm is not None]
    return [found[k] for k in np.argsort(depths_mm, kind="stable")] if len(depths_mm) == len(found) else found


def _interpolated(
    values: NDArray[np.float64], motion: SliceMotion, times_ms: NDArray[np.float64]
) -> NDArray[np.float64]:
    """A slice's curve ``(time,)`` at common times, linear between its known frames, NaN beyond them.

    Times before its first frame or after its last are taken for those.
    """
    is_known = np.isfinite(values)
    if not is_known.any():
        return np.full(len(times_ms), np.nan)
    own_ms = motion.frame_times_ms
    within_ms = np.clip(times_ms, own_ms[0], own_ms[-1])
    return np.asarray(np.interp(within_ms, own_ms[is_known], values[is_known], left=np.nan, right=np.nan))
