"""How wrong a simulated slice really is, beside what is measured on it: `Judged`, `judge_case`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.cases import Case
from tagstrain.data import LandmarkTracks, PointTracks, SliceResult, TaggedCine
from tagstrain.data.landmarks import MIDWALL_RING
from tagstrain.inference.strain import slice_strain
from tagstrain.mechanics import circumferential_strain
from tagstrain.quality.second_opinion import Agreement, agreement
from tagstrain.quality.signals import Signals, measure_signals

N_REGIONS = 6


@dataclass(frozen=True, slots=True)
class TrueErrors:
    """Differences from the truth of the simulation."""

    position_mm: float
    """RMS distance over frames and landmarks from where the tissue under the placed landmarks went."""
    circumferential: float
    """RMS over frames of mid-wall circumferential strain minus that of the true wall."""
    regional_circumferential: float
    """The same for sixths of the ring, RMS over frames and sixths."""
    peak: float
    """Measured minus true peak of mid-wall circumferential strain."""


@dataclass(frozen=True, eq=False, slots=True)
class Judged:
    """A case that was not given up: what was measured and what is true."""

    set_name: str
    setting: str
    result: SliceResult
    signals: Signals
    harp: Agreement | None
    """None where HARP was not asked or found no tags."""
    errors: TrueErrors


@dataclass(frozen=True, slots=True)
class _Recorded:
    """A tracker that says again what it said when the case was made."""

    tracks_px: NDArray[np.float64]

    @property
    def name(self) -> str:
        return "flow"

    def track(self, cine: TaggedCine, _: NDArray[np.floating]) -> PointTracks:
        points = self.tracks_px.reshape(cine.n_frames, -1, 2)
        return PointTracks(points, np.full(points.shape[:2], np.nan), cine.ed_frame)


def judge_case(case: Case) -> Judged | None:
    """Measure a case; None where the slice failed."""
    result = case.result
    if result is None:
        return None
    unstated = np.full(case.harp_px.shape[:-1], np.nan)
    asked = np.isfinite(case.harp_px).all()
    return Judged(
        case.key.set_name,
        case.setting,
        result,
        measure_signals(result, _Recorded(case.backward_px)),
        agreement(result, LandmarkTracks(case.harp_px, unstated)) if asked else None,
        _true_errors(case, result),
    )


def _true_errors(case: Case, result: SliceResult) -> TrueErrors:
    cine = result.cine
    off_mm = (result.landmarks.points_px - case.true_tracks_px) * cine.spacing_xy_mm
    truth = LandmarkTracks(case.true_landmarks_px, np.full(case.true_landmarks_px.shape[:-1], np.nan))
    true_curve = slice_strain(truth, cine.spacing_xy_mm, cine.frame_times_ms).circumferential_midwall
    curve = result.strain.circumferential_midwall
    regional = _regional_strain(result.landmarks, cine) - _regional_strain(truth, cine)
    return TrueErrors(
        position_mm=float(np.sqrt((off_mm**2).sum(axis=-1).mean())),
        circumferential=float(np.sqrt(np.mean((curve - true_curve) ** 2))),
        regional_circumferential=float(np.sqrt(np.mean(regional**2))),
        peak=float(curve.min() - true_curve.min()),
    )


def _regional_strain(landmarks: LandmarkTracks, cine: TaggedCine) -> NDArray[np.float64]:
    """Mid-wall circumferential strain of sixths of the ring, ``(time, sixth)``."""
    strain = circumferential_strain(landmarks.points_px * cine.spacing_xy_mm, landmarks.ed_frame)[:, :, MIDWALL_RING]
    return np.asarray(strain.reshape(len(strain), N_REGIONS, -1).mean(axis=2))
