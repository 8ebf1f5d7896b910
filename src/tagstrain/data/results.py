"""What an analysis gives: `StrainResult`, `SliceResult`, `StudyResult`, each with its units and conventions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tagstrain.data.cine import TaggedCine
from tagstrain.data.insertion import Insertion
from tagstrain.data.landmarks import LandmarkTracks

BOX_MARGIN = 0.30
"""The predecessor's boxes exceed the ED landmarks by this share of their width and height on every side."""
NOT_FOR_DIAGNOSIS = "Research software: not for diagnostic use."


class Box(NamedTuple):
    """Axis-aligned box in pixels of the original image, whole numbers being pixel centres."""

    x1: float
    y1: float
    x2: float
    y2: float

    @property
    def center_xy(self) -> tuple[float, float]:
        """Middle of the box ``(x, y)``."""
        return (self.x1 + self.x2) / 2, (self.y1 + self.y2) / 2

    @classmethod
    def around(cls, ed_points_px: NDArray[np.floating]) -> Box:
        """Box that the predecessor's rule draws around ED points ``(point, 2)``; unknown points are left out."""
        known_px = ed_points_px[np.isfinite(ed_points_px).all(axis=1)]
        low, high = known_px.min(axis=0), known_px.max(axis=0)
        margin = BOX_MARGIN * (high - low)
        return cls(*(low - margin).tolist(), *(high + margin).tolist())

    def within(self, n_rows: int, n_columns: int) -> Box:
        """The same box cut at the image's borders, 0 and the number of rows or columns, as the predecessor did."""
        high = np.array([n_columns, n_rows, n_columns, n_rows], np.float64)
        return Box(*np.clip(self, 0.0, high).tolist())

    def iou(self, other: Box) -> float:
        """Intersection over union, 0 for boxes that do not meet or have no area."""
        width = min(self.x2, other.x2) - max(self.x1, other.x1)
        height = min(self.y2, other.y2) - max(self.y1, other.y1)
        intersection = max(0.0, width) * max(0.0, height)
        areas = [max(0.0, b.x2 - b.x1) * max(0.0, b.y2 - b.y1) for b in (self, other)]
        union = sum(areas) - intersection
        return intersection / union if union > 0 else 0.0


class Localization(NamedTuple):
    """Box around the left ventricle and how far it can be trusted."""

    box: Box
    confidence: float | None
    """0 (no ventricle seen) to 1; None where the localizer, as the predecessor's, states none."""


class Peak(NamedTuple):
    """Extreme value of a strain curve."""

    value: float
    frame: int
    time_ms: float


@dataclass(frozen=True, eq=False, slots=True)
class StrainResult:
    """Strain of one slice against its ED frame, as fractions; shortening is negative.

    Curves are plain means over the 24 spokes. Green-Lagrange unless the name says ``linear`` (engineering strain).
    """

    frame_times_ms: NDArray[np.float64]
    ed_frame: int
    es_frame: int
    """Frame of the most negative mean circumferential strain, in its beat."""
    circumferential: NDArray[np.float64]
    """Per ring, endocardium first; shape ``(time, ring)``."""
    circumferential_linear: NDArray[np.float64]
    radial: NDArray[np.float64]
    """Across the whole wall, endocardium to epicardium; shape ``(time,)``."""
    radial_linear: NDArray[np.float64]
    radial_layers: NDArray[np.float64]
    """Between neighbouring rings; shape ``(time, ring - 1)``."""
    radial_layers_linear: NDArray[np.float64]
    beat: slice = field(default_factory=lambda: slice(None))
    """Frames of the beat that begins at ED, where the cine shows much of another one; of all others all frames."""

    @property
    def circumferential_mean(self) -> NDArray[np.float64]:
        """Mean over rings, the predecessor's index 7; shape ``(time,)``."""
        return np.asarray(self.circumferential.mean(axis=1))

    @property
    def circumferential_linear_mean(self) -> NDArray[np.float64]:
        """Mean over rings of the engineering strain; shape ``(time,)``."""
        return np.asarray(self.circumferential_linear.mean(axis=1))

    @property
    def circumferential_midwall(self) -> NDArray[np.float64]:
        """Mid-wall ring alone, of an even number the inner of the middle two; shape ``(time,)``."""
        return self.circumferential[:, (self.circumferential.shape[1] - 1) // 2]

    @property
    def midwall_of_beat(self) -> NDArray[np.float64]:
        """`circumferential_midwall` in its beat alone."""
        return self.circumferential_midwall[self.beat]

    def peak(self, curve: NDArray[np.float64], shortening: bool) -> Peak:
        """Minimum (``shortening``) or maximum of a curve of this result in its beat, its frame and time."""
        seen = curve[self.beat]
        frame = (self.beat.start or 0) + int(np.nanargmin(seen) if shortening else np.nanargmax(seen))
        return Peak(float(curve[frame]), frame, float(self.frame_times_ms[frame]))


@dataclass(frozen=True, eq=False, slots=True)
class SliceResult:
    """Everything measured on one slice."""

    cine: TaggedCine
    localization: Localization
    landmarks: LandmarkTracks
    strain: StrainResult
    warnings: tuple[str, ...] = ()
    timings_s: Mapping[str, float] = field(default_factory=dict)
    """Wall time by stage: ``read``, ``localize``, ``place``, ``track``, ``strain``, ``insertion``."""
    insertion: Insertion | None = None
    """Anterior insertion of the right ventricle; None where nothing looked for it."""
    border_spread_mm: NDArray[np.float64] | None = None
    """How blurred the placer sees endocardium and epicardium along every spoke, ``(2, spoke)``, one standard deviation;
    None where the wall was given or the placer does not say."""
    seen_box: Box | None = None
    """Where the localizer saw the left ventricle; None where it was not asked, for the user gave box or wall, and in a
    result that was read back."""

    @property
    def is_wall_given(self) -> bool:
        """Whether the wall is the user's, or that of a placer that says nothing of its borders."""
        return self.border_spread_mm is None

    @property
    def name(self) -> str:
        """Name of the slice within its study."""
        return self.cine.name


@dataclass(frozen=True, slots=True)
class SliceFailure:
    """A slice that could not be analysed, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Provenance:
    """What made a result: enough to make it again."""

    software_version: str
    tracker: str
    weights: Mapping[str, str]
    """Network name to ``"version sha256:..."`` of its weights."""
    device: str
    preprocessing: Mapping[str, str] = field(default_factory=dict)
    """Network name to how its input was prepared, ``"tagstrain"`` or ``"original"``."""
    precision: str = "float32"
    """In which the bodies of our localizer, tracker and placer computed: ``"bfloat16"`` where the processor does so
    faster, else ``"float32"``."""
    disclaimer: str = NOT_FOR_DIAGNOSIS


@dataclass(frozen=True, eq=False, slots=True)
class StudyResult:
    """The results of one study, slices in input order."""

    key: str
    source: str
    provenance: Provenance
    slices: tuple[SliceResult, ...]
    failures: tuple[SliceFailure, ...] = ()
