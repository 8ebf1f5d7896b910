"""The pipeline: a slice or a study goes in, strain comes out (`analyze_slice`, `analyze_slices`, `analyze`)."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from tagstrain.data import (
    Box,
    LandmarkTracks,
    Localization,
    Point,
    SliceFailure,
    SliceResult,
    SliceSource,
    StrainResult,
    Study,
    StudyResult,
    TaggedCine,
)
from tagstrain.errors import InputError, LocalizationError, TagstrainError, TrackingError
from tagstrain.geometry.original_crop import IMAGE_SIZE
from tagstrain.inference.given_points import refuse_blank
from tagstrain.inference.insertion import find_insertion, insertion_warnings
from tagstrain.inference.interfaces import Placement, track_placed
from tagstrain.inference.models import Models, Preprocessing, load_models
from tagstrain.inference.odd_frames import odd_frame_warnings
from tagstrain.inference.strain import slice_strain
from tagstrain.io import read_study
from tagstrain.io.contours import ANY_SLICE, checked_grid
from tagstrain.mechanics.slice_deformation import runs_outwards
from tagstrain.mechanics.timing import HARDLY_ANY_STRAIN, seen_rr_interval_ms

__all__ = ["LOW_CONFIDENCE", "AnalysisConfig", "Models", "analyze", "analyze_slice", "analyze_slices", "load_models"]

LOW_CONFIDENCE = 0.5
"""Localization confidence below which a slice is reported as failed.

All of 200 simulated slices lie above 0.75, 25 of 30 images that end beside the ventricle below 0.5, a still tagged
phantom and noise below 0.01.
"""
LEAST_SHOWN = 0.5
"""Share of a wall given by the user that must lie in the image."""

UNSURE_MM = 2.0
"""Standard deviation of the landmarks, median of a frame, above which a slice carries a warning."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AnalysisConfig:
    """Settings of the pipeline around the networks."""

    min_confidence: float = LOW_CONFIDENCE
    """Localizations less certain than this (0 to 1) fail the slice."""
    box: Box | None = None
    """Box around the left ventricle [px] given by the user for every slice, in place of the localizer's."""
    walls: Mapping[str, NDArray[np.float64]] | None = None
    """ED landmarks ``(spoke, ring, 2)`` [px] by slice name, given by the user (`read_contours`) in place of placing."""

    rv_insertion_px: Point | None = None
    """Anterior RV insertion given by the user for every slice, in place of the network's."""

    def wall_of(self, slice_name: str) -> NDArray[np.float64] | None:
        """The user's wall for a slice, if there is one."""
        walls = self.walls or {}
        return walls.get(slice_name, walls.get(ANY_SLICE))

    def __post_init__(self) -> None:
        if not 0 <= self.min_confidence <= 1:
            raise ValueError(f"min_confidence: expected 0 to 1, got {self.min_confidence}")
        if self.box is not None and not isinstance(self.box, Box):
            raise ValueError(f"box: expected a Box(x1, y1, x2, y2), got {self.box}")
        if self.box is not None and not (
            np.isfinite(self.box).all() and self.box.x2 > self.box.x1 and self.box.y2 > self.box.y1
        ):
            raise ValueError(f"box: expected x1 < x2 and y1 < y2, got {tuple(self.box)}")
        if self.rv_insertion_px is not None and not np.isfinite(self.rv_insertion_px).all():
            raise ValueError(f"rv_insertion_px: expected two numbers, got {self.rv_insertion_px}")
        walls = {}
        for name, wall_px in (self.walls or {}).items():
            try:
                walls[name] = checked_grid(wall_px)
            except ValueError as error:
                raise ValueError(f"walls: {name}: {error}") from None
        object.__setattr__(self, "walls", walls or None)


def analyze_slice(cine: TaggedCine, models: Models, config: AnalysisConfig | None = None) -> SliceResult:
    """Localize, place, track and measure one slice.

    Models that give all landmarks at once, the predecessor's, take frame 0 as ED, and their localizer's box stays.

    Raises
    ------
    LocalizationError
        If no left ventricle was found with enough confidence, its box cannot be cropped, or what the user gave does
        not lie in the image.
    TrackingError
        If the images show nothing around the wall, or the landmarks give no finite strain.
    """
    config = config or AnalysisConfig()
    timings_s: dict[str, float] = {}
    wall_px = config.wall_of(cine.name)
    seen_box = None
    if wall_px is None:
        with _timed(timings_s, "localize"):
            localization = locate(cine, models, config)
        seen_box = None if config.box else localization.box
    else:
        _refuse_wall_outside(wall_px, cine)
        localization = _around(wall_px, cine, 1.0)
    if models.at_once is not None and wall_px is None:
        cine = _from_frame_0(cine)
        with _timed(timings_s, "track"):
            landmarks = models.at_once.place_and_track(cine, localization)
        placement = Placement(landmarks.points_px[landmarks.ed_frame])
        refuse_blank(placement.wall_px.reshape(-1, 2), cine, "the wall")
    else:
        if wall_px is None:
            with _timed(timings_s, "place"):
                placement = models.placer.place(cine, localization)
            if config.box is None:
                # Two networks have seen the heart by now: the box around what they found is better than the first's.
                localization = _around(placement.wall_px, cine, localization.confidence)
        else:
            placement = Placement(wall_px)
        refuse_blank(placement.wall_px.reshape(-1, 2), cine, "the wall")
        with _timed(timings_s, "track"):
            tracks = track_placed(models.tracker, cine, placement)
            landmarks = LandmarkTracks.from_points(tracks, n_rings=placement.wall_px.shape[1])
    with _timed(timings_s, "strain"):
        strain = _finite_strain(cine, landmarks)
        if (seen_rr := _with_seen_rr_interval(cine, strain)) is not None:
            cine, strain = seen_rr, _finite_strain(seen_rr, landmarks)
    with _timed(timings_s, "insertion"):
        seen = models.insertion.find(cine, placement) if models.insertion else None
        insertion = find_insertion(cine, placement, seen, config.rv_insertion_px)
    warnings = (
        *cine.warnings,
        *_original_warnings(cine, localization, models),
        *_warnings(cine, landmarks, strain, config),
        *insertion_warnings(insertion, cine, config.rv_insertion_px, seen),
    )
    spread_mm = placement.border_spread_mm
    return SliceResult(cine, localization, landmarks, strain, warnings, timings_s, insertion, spread_mm, seen_box)


def check_walls(study: Study, config: AnalysisConfig | None) -> None:
    """Refuse contours for slices that are not there: a name mistyped would place a wall that the user drew.

    Raises
    ------
    TagstrainError
        Which names them, and the slices that are there.
    """
    names = [source.name for source in study.slices]
    unknown = sorted(set((config or AnalysisConfig()).walls or {}) - {ANY_SLICE, *names})
    if unknown:
        raise TagstrainError(
            f"AnalysisConfig.walls (--contours) names {', '.join(unknown)}, which {study.key} does not have. "
            f"Its slices are {', '.join(names)}."
        )


def analyze_slices(
    study: Study, models: Models, config: AnalysisConfig | None = None
) -> Iterator[SliceResult | SliceFailure]:
    """Analyse the slices of a study one by one, in order; a slice that fails does not stop the others.

    Only one slice is held at a time, so memory does not grow with the study.

    Raises
    ------
    TagstrainError
        If walls are given for slices that are not there (`check_walls`).
    """
    check_walls(study, config)
    for source in study.slices:
        try:
            start = perf_counter()
            cine = _load(source)
            read_s = perf_counter() - start
            result = analyze_slice(cine, models, config)
        except TagstrainError as error:
            _log.warning("%s, %s: failed: %s", study.key, source.name, error)
            yield SliceFailure(source.name, str(error))
        else:
            _log.info("%s, %s: done", study.key, source.name)
            yield replace(result, timings_s={"read": read_s, **result.timings_s})


def analyze(
    path: str | Path,
    *,
    models: Models | None = None,
    config: AnalysisConfig | None = None,
    pixel_spacing_mm: tuple[float, float] | None = None,
) -> StudyResult:
    """Read a study and analyse all its slices.

    Parameters
    ----------
    path
        DICOM file, folder or zip, NIfTI or NumPy file or folder, or HDF5 file in the predecessor's layout.
    models
        From `load_models`, to choose tracker, device or weights, or to load them once for many studies; None loads
        the shipped ones.
    pixel_spacing_mm
        ``(row, column)`` spacing [mm] for files that store none.

    Raises
    ------
    tagstrain.errors.InputError
        If the path cannot be read. A single slice that fails is listed in the result instead.
    """
    study = read_study(Path(path), pixel_spacing_mm)
    models = models or load_models()
    slices: list[SliceResult] = []
    failures: list[SliceFailure] = []
    for outcome in analyze_slices(study, models, config):
        if isinstance(outcome, SliceResult):
            slices.append(outcome)
        else:
            failures.append(outcome)
    return StudyResult(study.key, study.path.name, models.provenance, tuple(slices), tuple(failures))


def locate(cine: TaggedCine, models: Models, config: AnalysisConfig) -> Localization:
    """Box around the left ventricle: the user's, or the localizer's if it is certain enough or states no confidence.

    Raises
    ------
    LocalizationError
        If the localizer's confidence is below ``config.min_confidence`` or its box has no area in the image.
    """
    if config.box is not None:
        _refuse_outside(config.box, cine, "the box given by the user")
        return Localization(config.box, 1.0)
    found = models.localizer.localize(cine)
    if np.isnan(found.box).all():
        raise LocalizationError(
            "No left ventricle found: nothing in the image looks like one. If the slice does show one, "
            "'tagstrain analyze' takes it with its box: --box X1,Y1,X2,Y2."
        )
    # Written so that a confidence of NaN fails too.
    if found.confidence is not None and not found.confidence >= config.min_confidence:
        raise LocalizationError(
            f"No left ventricle found: localization confidence {found.confidence:.2f} is below "
            f"{config.min_confidence:.2f}. If the slice does show one, 'tagstrain analyze' and 'track' take it with a "
            "lower --min-confidence, 'analyze' with its box, too: --box X1,Y1,X2,Y2."
        )
    _refuse_outside(found.box, cine, "the localized box")
    return found


def _refuse_outside(box: Box, cine: TaggedCine, what: str) -> None:
    rows, columns = cine.frames.shape[1:]
    if not box.iou(Box(-0.5, -0.5, columns - 0.5, rows - 0.5)) > 0:
        raise LocalizationError(f"No left ventricle found: {what}, {_shown(box)}, is not in the image.")


def _refuse_wall_outside(wall_px: NDArray[np.float64], cine: TaggedCine) -> None:
    shown = float(cine.shows(wall_px).mean())
    if shown < LEAST_SHOWN:
        rows, columns = cine.frames.shape[1:]
        raise LocalizationError(
            f"{100 * (1 - shown):.0f} % of the wall given by the user lie outside of the image of {columns} x {rows} "
            "pixels. Are its points (x, y) in pixels of this slice?"
        )


def _from_frame_0(cine: TaggedCine) -> TaggedCine:
    """The cine with frame 0 as ED, as the predecessor's pipeline takes every cine."""
    if cine.ed_frame == 0:
        return cine
    warning = f"Frame 0 was taken as end-diastole, as the original pipeline does; the file says frame {cine.ed_frame}"
    return replace(cine, ed_frame=0, warnings=(*cine.warnings, warning))


def _around(wall_px: NDArray[np.float64], cine: TaggedCine, confidence: float | None) -> Localization:
    """The box that the predecessor's rule draws around ED landmarks."""
    rows, columns = cine.frames.shape[1:]
    return Localization(Box.around(wall_px.reshape(-1, 2)).within(rows, columns), confidence)


def _load(source: SliceSource) -> TaggedCine:
    """Read one slice; pixels or times that no cine can have become an error about the input."""
    try:
        return source.load()
    except ValueError as error:
        raise InputError(
            source.name, f"the slice cannot be used: {error}", "Check or convert the file again"
        ) from error


def _finite_strain(cine: TaggedCine, landmarks: LandmarkTracks) -> StrainResult:
    """Strain of a slice, checked to exist in every frame and to be that of something in the image."""
    n_outside = int(np.count_nonzero(_outside(cine, landmarks)))
    if 2 * n_outside > landmarks.points_px[..., 0].size:
        raise TrackingError(
            f"{n_outside} of {landmarks.points_px[..., 0].size} landmark positions lie outside the image."
        )
    if not runs_outwards(landmarks.points_px[landmarks.ed_frame]):
        raise TrackingError(
            "The innermost ring of landmarks is no smaller than the outermost, so that these are no wall's. Try "
            "another box or tracker."
        )
    try:
        strain = slice_strain(landmarks, cine.spacing_xy_mm, cine.frame_times_ms, cine.rr_interval_ms)
    except ValueError as error:
        raise TrackingError(f"Strain cannot be measured: {error}.") from error
    curves = np.column_stack([strain.circumferential, strain.radial])
    lost = np.flatnonzero(~np.isfinite(curves).all(axis=1))
    if lost.size:
        raise TrackingError(
            f"Strain is not finite in {lost.size} of {cine.n_frames} frames (first at "
            f"{cine.frame_times_ms[lost[0]]:.0f} ms): landmarks were lost."
        )
    unknown = ~np.isfinite(landmarks.points_px).all(axis=-1)
    if 2 * np.count_nonzero(unknown) > unknown.size:
        raise TrackingError(
            f"Strain would be that of the lesser part of the wall: {np.count_nonzero(unknown)} of {unknown.size} "
            "landmark positions are not known."
        )
    return strain


def _with_seen_rr_interval(cine: TaggedCine, strain: StrainResult) -> TaggedCine | None:
    """The cine with the RR interval that its motion shows, where it states none and goes on into the next beat."""
    if cine.rr_interval_ms is not None:
        return None
    rr_ms = seen_rr_interval_ms(strain.circumferential_midwall, cine.frame_times_ms, strain.ed_frame)
    if rr_ms is None:
        return None
    warning = (
        f"The RR interval is not known, and the wall begins to shorten once more {rr_ms:.0f} ms after ED, which is "
        "taken for it"
    )
    return replace(cine, rr_interval_ms=rr_ms, warnings=(*cine.warnings, warning))


def _original_warnings(cine: TaggedCine, localization: Localization, models: Models) -> Iterator[str]:
    """What the predecessor's networks and preprocessing leave open."""
    if localization.confidence is None:
        yield "The localizer states no confidence: nothing was checked but that its box lies in the image"
    rows, columns = cine.frames.shape[1:]
    is_original = Preprocessing.ORIGINAL in models.provenance.preprocessing.values()
    if is_original and (rows, columns) != (IMAGE_SIZE, IMAGE_SIZE):
        yield (
            f"The original preprocessing takes images of {IMAGE_SIZE} x {IMAGE_SIZE}: this one of {rows} x {columns} "
            "was filled up with zeros or cut around its middle, and its pixels may have another size than those that "
            "the network knows"
        )


def _warnings(
    cine: TaggedCine, landmarks: LandmarkTracks, strain: StrainResult, config: AnalysisConfig
) -> Iterator[str]:
    """What a reader of the numbers should know, in words."""
    if config.wall_of(cine.name) is not None:
        yield "The wall at ED was given by the user" + ("; the box given was not used" if config.box else "")
    elif config.box is not None:
        yield f"The box {_shown(config.box)} was given by the user, in place of the localizer's"
    if strain.es_frame == strain.ed_frame:
        yield "No circumferential shortening was measured: ES falls on the ED frame"
    elif strain.es_frame < strain.ed_frame:
        yield (
            f"The wall is shortest at {cine.frame_times_ms[strain.es_frame]:.0f} ms, before ED at "
            f"{cine.frame_times_ms[strain.ed_frame]:.0f} ms: peaks, times and rates of the mechanics count from ED on "
            "and do not see that contraction"
        )
    elif strain.midwall_of_beat.min() > -HARDLY_ANY_STRAIN:
        yield f"Hardly any circumferential shortening was measured: less than {100 * HARDLY_ANY_STRAIN:g} %"
    if strain.beat.stop is not None:
        yield (
            "The cine goes on into the next beat: ES, peaks and times are those of the frames from ED to before "
            f"{cine.frame_times_ms[strain.beat.stop]:.0f} ms, ED and an RR interval of {cine.rr_interval_ms:.0f} ms"
        )
    elif strain.beat.start is not None:
        yield (
            "The cine shows much of another beat before ED: ES, peaks and times are those of the frames from ED at "
            f"{cine.frame_times_ms[strain.beat.start]:.0f} ms on"
        )
    yield from odd_frame_warnings(cine)
    points = landmarks.points_px
    n_missing = int(np.count_nonzero(~np.isfinite(points).all(axis=-1)))
    if n_missing:
        yield f"{n_missing} of {points[..., 0].size} landmark positions are not known and left out of the means"
    sigma_mm = landmarks.sigma_px.reshape(cine.n_frames, -1) * cine.pixel_mm
    stated = np.isfinite(sigma_mm).any(axis=1, keepdims=True)
    spread_mm = np.nanmedian(np.where(stated, sigma_mm, 0), axis=1)
    unsure = np.flatnonzero(spread_mm > UNSURE_MM)
    if unsure.size:
        yield (
            f"Landmarks are uncertain by more than {UNSURE_MM:g} mm in {unsure.size} of {cine.n_frames} frames "
            f"(first at {cine.frame_times_ms[unsure[0]]:.0f} ms): the tags are hardly seen, or landmarks were lost"
        )
    outside = _outside(cine, landmarks)
    if outside.any():
        yield f"{np.count_nonzero(outside)} of {outside.size} landmark positions lie outside the image"


def _outside(cine: TaggedCine, landmarks: LandmarkTracks) -> NDArray[np.bool_]:
    """Which landmark positions ``(time, spoke, ring)`` lie outside the image; those that are not known do not."""
    is_known = ~np.isnan(landmarks.points_px).any(axis=-1)
    return is_known & ~cine.shows(landmarks.points_px)


def _shown(box: Box) -> str:
    """A box in words."""
    return "({:.0f}, {:.0f})-({:.0f}, {:.0f})".format(*box)


@contextmanager
def _timed(timings_s: dict[str, float], stage: str) -> Iterator[None]:
    """Record the wall time of a stage."""
    start = perf_counter()
    yield
    timings_s[stage] = perf_counter() - start
