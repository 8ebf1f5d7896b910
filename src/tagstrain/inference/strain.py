"""Strain of one slice, assembled from its tracked landmarks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tagstrain.data import LandmarkTracks, StrainResult
from tagstrain.mechanics.strain import (
    circumferential_strain,
    end_systolic_frame,
    engineering,
    mean_known,
    radial_layer_strain,
    radial_strain,
)
from tagstrain.mechanics.timing import beat_end_ms


def slice_strain(
    landmarks: LandmarkTracks,
    spacing_xy_mm: NDArray[np.floating],
    frame_times_ms: NDArray[np.floating],
    rr_interval_ms: float | None = None,
) -> StrainResult:
    """Strain curves of a slice, means over the spokes that are known.

    Parameters
    ----------
    landmarks
        Landmarks in pixels, with their ED frame.
    spacing_xy_mm
        Pixel spacing [mm] along ``(x, y)``: where pixels are not square, strain in pixels is wrong.
    frame_times_ms
        Time of every frame [ms], shape ``(time,)``.
    rr_interval_ms
        Where it is known and the cine goes on after it, or shows half of it and more on both sides of ED, ES and peaks
        are looked for in the beat from ED on alone.

    Raises
    ------
    ValueError
        If neighbouring landmarks coincide at ED or no circumferential strain is known.
    """
    points_mm = landmarks.points_px * np.asarray(spacing_xy_mm, np.float64)
    ed_frame = landmarks.ed_frame
    circumferential = mean_known(circumferential_strain(points_mm, ed_frame), axis=1)
    times_ms = np.asarray(frame_times_ms, np.float64)
    end_ms = beat_end_ms(times_ms[ed_frame], rr_interval_ms)
    n_until_next = int(np.searchsorted(times_ms, end_ms))
    half_ms = (end_ms - times_ms[ed_frame]) / 2
    is_between_beats = min(times_ms[ed_frame] - times_ms[0], times_ms[-1] - times_ms[ed_frame]) >= half_ms
    if n_until_next < len(times_ms):
        beat = slice(ed_frame, n_until_next)
    else:
        beat = slice(ed_frame, None) if is_between_beats else slice(None)
    return StrainResult(
        frame_times_ms=times_ms,
        ed_frame=ed_frame,
        es_frame=(beat.start or 0) + end_systolic_frame(circumferential[beat]),
        beat=beat,
        circumferential=circumferential,
        circumferential_linear=mean_known(circumferential_strain(points_mm, ed_frame, engineering), axis=1),
        radial=mean_known(radial_strain(points_mm, ed_frame), axis=1),
        radial_linear=mean_known(radial_strain(points_mm, ed_frame, engineering), axis=1),
        radial_layers=mean_known(radial_layer_strain(points_mm, ed_frame), axis=1),
        radial_layers_linear=mean_known(radial_layer_strain(points_mm, ed_frame, engineering), axis=1),
    )
