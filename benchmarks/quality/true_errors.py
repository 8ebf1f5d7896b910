"""How wrong a simulated slice really is, beside what is measured on it: `Judged`, `judge_case`."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.cases import Case
from benchmarks.quality.corruption import SOUND
from tagstrain.data import Box, Localization, PointTracks, SliceResult, TaggedCine
from tagstrain.data.landmarks import MIDWALL_RING
from tagstrain.errors import TrackingError
from tagstrain.inference.interfaces import Placement
from tagstrain.mechanics import circumferential_strain
from tagstrain.quality.second_opinion import regional_strain
from tagstrain.quality.signals import Signals, measure_signals


@dataclass(frozen=True, slots=True)
class TrueErrors:
    """Differences from the truth of the simulation."""

    position_mm: float
    """RMS distance over frames and landmarks from where the tissue under the placed landmarks went."""
    circumferential: float
    """RMS over frames of mid-wall circumferential strain minus that of the true wall."""
    circumferential_of_tracking: float
    """RMS over frames of mid-wall circumferential strain minus that of the same tissue, followed truly."""
    circumferential_of_placing: float
    """RMS over frames of the rest: strain of the tissue that was taken for the mid-wall minus that of the true one."""
    regional_circumferential: float
    """The same as `circumferential` for sixths of the ring, RMS over frames and sixths."""
    regional_circumferential_of_tracking: float
    regional_circumferential_of_placing: float
    peak: float
    """Measured minus true peak of mid-wall circumferential strain."""


@dataclass(frozen=True, eq=False, slots=True)
class Judged:
    """A case that was not given up: what was measured and what is true."""

    set_name: str
    setting: str
    severity: str
    result: SliceResult
    signals: Signals
    errors: TrueErrors

    @property
    def is_sound(self) -> bool:
        """Whether nothing was spoiled."""
        return self.setting == SOUND.name


@dataclass(frozen=True, slots=True)
class _Recorded:
    """Placer, tracker and localizer that say again what they said when the case was made."""

    backward_px: NDArray[np.float64]
    repeated: Placement | None
    seen_box: Box

    @property
    def name(self) -> str:
        return "flow"

    def localize(self, _: TaggedCine) -> Localization:
        return Localization(self.seen_box, None)

    def place(self, _: TaggedCine, __: Localization) -> Placement:
        if self.repeated is None:
            raise TrackingError("Placing the wall again failed when the case was made")
        return self.repeated

    def track(self, cine: TaggedCine, _: NDArray[np.floating]) -> PointTracks:
        points = self.backward_px.reshape(cine.n_frames, -1, 2)
        return PointTracks(points, np.full(points.shape[:2], np.nan), cine.ed_frame)


def judge_case(case: Case) -> Judged | None:
    """Measure a case; None where the slice failed."""
    result = case.result
    if result is None:
        return None
    recorded = _Recorded(case.backward_px, case.repeated, case.seen_box)
    signals = measure_signals(result, recorded, recorded, recorded)
    # What the placer saw is not kept, so that it cannot be asked again.
    without_grey_mm, by_motion_mm = case.grey_doubt
    signals = replace(signals, without_grey_mm=without_grey_mm, by_motion_mm=by_motion_mm)
    return Judged(case.key.set_name, case.setting, case.severity, result, signals, _true_errors(case, result))


def _true_errors(case: Case, result: SliceResult) -> TrueErrors:
    cine = result.cine
    ours, tissue, truth = (
        points_px * cine.spacing_xy_mm
        for points_px in (result.landmarks.points_px, case.true_tracks_px, case.true_landmarks_px)
    )
    curve, tissue_curve, true_curve = (_midwall_curve(points_mm) for points_mm in (ours, tissue, truth))
    regions, tissue_regions, true_regions = (regional_strain(points_mm, 0) for points_mm in (ours, tissue, truth))
    return TrueErrors(
        position_mm=_rms(np.linalg.norm(ours - tissue, axis=-1)),
        circumferential=_rms(curve - true_curve),
        circumferential_of_tracking=_rms(curve - tissue_curve),
        circumferential_of_placing=_rms(tissue_curve - true_curve),
        regional_circumferential=_rms(regions - true_regions),
        regional_circumferential_of_tracking=_rms(regions - tissue_regions),
        regional_circumferential_of_placing=_rms(tissue_regions - true_regions),
        peak=float(curve.min() - true_curve.min()),
    )


def _midwall_curve(points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Circumferential strain of the slice, mid-wall, against frame 0, ``(time,)``; unknown spokes are left out."""
    return np.asarray(np.nanmean(circumferential_strain(points_mm)[:, :, MIDWALL_RING], axis=1))


def _rms(values: NDArray[np.float64]) -> float:
    """Of what is known: landmarks outside of the image are not."""
    return float(np.sqrt(np.nanmean(values**2)))
