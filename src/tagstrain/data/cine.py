"""One slice of tagged MRI and where it lies: `TaggedCine`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tagstrain.data.archive import SourceSeries

NOMINAL_FRAME_INTERVAL_MS = 40.0
"""Frame interval assumed, with a warning, where a file stores no frame times (near the UK Biobank protocol's)."""
LEAST_INTERVAL_MS = 1.0
"""Between the frames of any cine: less are times in seconds."""


class PixelSpacing(NamedTuple):
    """Distance between neighbouring pixel centres, in the order DICOM stores it (PS3.3 section 10.7.1.3)."""

    row_mm: float  # from one row to the next, along y
    column_mm: float  # from one column to the next, along x

    @property
    def is_possible(self) -> bool:
        """Whether both are lengths, finite and above 0."""
        return all(np.isfinite(mm) and mm > 0 for mm in self)


class SliceLevel(StrEnum):
    """Where along the long axis a short-axis slice lies."""

    BASAL = "basal"
    MID = "mid"
    APICAL = "apical"
    UNKNOWN = "unknown"


@dataclass(frozen=True, eq=False, slots=True)
class TaggedCine:
    """One slice of tagged MRI through one cardiac cycle.

    Pixel ``frames[t, row, column]`` has its centre at ``(x, y) = (column, row)``.

    Raises
    ------
    ValueError
        If a field has the wrong shape or a value that no image can have; says what was expected and what came.
    """

    frames: NDArray[np.float32]
    """Magnitude images as stored, not normalised, finite; shape ``(time, row, column)``, at least two frames."""
    frame_times_ms: NDArray[np.float64]
    """Time since the R wave [ms], strictly increasing, not necessarily even; shape ``(time,)``."""
    pixel_spacing: PixelSpacing
    name: str = "slice"
    """Name of the slice within its study; safe as a file name and free of patient data."""
    level: SliceLevel = SliceLevel.UNKNOWN
    ed_frame: int = 0
    """Index of the end-diastolic (ED) frame, the undeformed reference of every strain."""
    affine: NDArray[np.float64] | None = None
    """``(4, 4)`` map from ``(column, row, 0, 1)`` to patient coordinates [mm], DICOM's LPS; None where not known."""
    source: str = ""
    """What the pixels were read from (format and file name, no folder)."""
    pixel_type: str = "float32"
    """NumPy name of the type in which pixels were stored, where the original pipeline would compute in that type."""
    warnings: tuple[str, ...] = ()
    """What had to be assumed when reading, in words."""
    rr_interval_ms: float | None = None
    """Time from one R wave to the next [ms]; None where not known."""
    source_series: SourceSeries | None = None
    """The archived images, for results that refer to them; None where the pixels did not come from DICOM."""
    breath_holds_apart_mm: float | None = None
    """How far apart [mm] the heart lies in the two series of line tags that the frames were made of, where that is far
    enough to be told; None of all other frames."""

    def __post_init__(self) -> None:
        # Unsigned times would wrap where they are subtracted.
        object.__setattr__(self, "frame_times_ms", np.asarray(self.frame_times_ms, np.float64))
        object.__setattr__(self, "pixel_spacing", PixelSpacing(*self.pixel_spacing))
        if np.ma.is_masked(self.frames):
            raise ValueError("frames: some pixels are masked; leave frames that are not to be used out")
        if np.iscomplexobj(self.frames):
            raise ValueError(f"frames: expected magnitude images, got {self.frames.dtype}")
        if self.frames.ndim != 3 or 0 in self.frames.shape:
            raise ValueError(f"frames: expected shape (time, row, column), got {self.frames.shape}")
        if self.frames.shape[0] < 2:
            raise ValueError("frames: expected at least 2 frames to measure motion, got 1")
        if not np.isfinite(self.frames).all():
            raise ValueError(f"frames: {np.count_nonzero(~np.isfinite(self.frames))} pixels are NaN or infinite")
        if self.frame_times_ms.shape != (self.n_frames,):
            raise ValueError(f"frame_times_ms: expected shape ({self.n_frames},), got {self.frame_times_ms.shape}")
        if not np.isfinite(self.frame_times_ms).all() or np.any(np.diff(self.frame_times_ms) <= 0):
            raise ValueError("frame_times_ms: expected finite and strictly increasing times")
        if (interval_ms := float(np.median(np.diff(self.frame_times_ms)))) < LEAST_INTERVAL_MS:
            raise ValueError(f"frame_times_ms: frames are {interval_ms:g} ms apart; are these seconds?")
        if not self.pixel_spacing.is_possible:
            raise ValueError(f"pixel_spacing: expected two positive lengths in mm, got {tuple(self.pixel_spacing)}")
        if not (isinstance(self.ed_frame, (int, np.integer)) and 0 <= self.ed_frame < self.n_frames):
            raise ValueError(f"ed_frame: expected a whole number from 0 to {self.n_frames - 1}, got {self.ed_frame}")
        object.__setattr__(self, "ed_frame", int(self.ed_frame))
        if self.affine is not None and self.affine.shape != (4, 4):
            raise ValueError(f"affine: expected shape (4, 4), got {self.affine.shape}")
        if self.rr_interval_ms is not None and not 0 < self.rr_interval_ms < float("inf"):
            raise ValueError(f"rr_interval_ms: expected a positive time, got {self.rr_interval_ms}")
        if self.breath_holds_apart_mm is not None and not 0 < self.breath_holds_apart_mm < float("inf"):
            raise ValueError(f"breath_holds_apart_mm: expected a positive length, got {self.breath_holds_apart_mm}")
        if self.source_series is not None and len(self.source_series.images) != self.n_frames:
            raise ValueError(
                f"source_series: expected one image per frame ({self.n_frames}), got {len(self.source_series.images)}"
            )

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return int(self.frames.shape[0])

    @property
    def spacing_xy_mm(self) -> NDArray[np.float64]:
        """Pixel spacing [mm] in the order of points, ``(x, y)``."""
        return np.array([self.pixel_spacing.column_mm, self.pixel_spacing.row_mm])

    @property
    def pixel_mm(self) -> float:
        """Side of a square as large as a pixel [mm]: the pixel in which standard deviations of points are stated."""
        return float(np.sqrt(self.pixel_spacing.column_mm * self.pixel_spacing.row_mm))

    def shows(self, points_px: NDArray[np.floating], margin_mm: float = 0.0) -> NDArray[np.bool_]:
        """Which points ``(..., 2)`` are known and lie in the image, or no further outside of it than a margin."""
        margin_px = margin_mm / self.spacing_xy_mm
        size_px = np.array(self.frames.shape[:0:-1])
        return np.asarray(((points_px >= -0.5 - margin_px) & (points_px <= size_px - 0.5 + margin_px)).all(axis=-1))
