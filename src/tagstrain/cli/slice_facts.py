"""What ``tagstrain info`` says about one slice: `SliceFacts`, or why it cannot be read."""

from __future__ import annotations

from dataclasses import dataclass

from tagstrain.data import SliceLevel, SliceSource, TaggedCine
from tagstrain.errors import TagsNotFoundError, TagstrainError
from tagstrain.geometry.tag_spectrum import TagPattern, measure_image_tags

HEADERS = ("Slice", "Frames", "Rows x columns", "Spacing (mm)", "Times (ms)", "RR (ms)", "ED frame", "Tags (mm at deg)")


@dataclass(frozen=True, slots=True)
class SliceFacts:
    """What a slice holds, without its pixels."""

    name: str
    level: str
    source: str
    series_uid: str | None
    """Names the patient to those with access to the archive: for users who keep identities."""
    n_frames: int
    n_rows: int
    n_columns: int
    row_spacing_mm: float
    column_spacing_mm: float
    first_time_ms: float
    last_time_ms: float
    rr_interval_ms: float | None
    ed_frame: int
    has_affine: bool
    tag_spacing_mm: tuple[float, ...] | None
    """Measured in the first frame, one per direction: two for a grid, one for lines; None where no tags are seen."""
    tag_angle_deg: tuple[float, ...] | None
    """Angles of the normals of the tag lines, from x towards y, in the same order."""
    warnings: tuple[str, ...]

    @classmethod
    def of(cls, cine: TaggedCine) -> SliceFacts:
        """Describe a cine."""
        n_frames, n_rows, n_columns = cine.frames.shape
        tags, note = _tags(cine)
        return cls(
            name=cine.name,
            level=cine.level.value,
            source=cine.source,
            series_uid=None if cine.source_series is None else cine.source_series.series_uid,
            n_frames=n_frames,
            n_rows=n_rows,
            n_columns=n_columns,
            row_spacing_mm=cine.pixel_spacing.row_mm,
            column_spacing_mm=cine.pixel_spacing.column_mm,
            first_time_ms=float(cine.frame_times_ms[0]),
            last_time_ms=float(cine.frame_times_ms[-1]),
            rr_interval_ms=cine.rr_interval_ms,
            ed_frame=cine.ed_frame,
            has_affine=cine.affine is not None,
            tag_spacing_mm=None if tags is None else tuple(round(d.tag_spacing_mm, 3) for d in tags.directions),
            tag_angle_deg=None if tags is None else tuple(round(d.tag_angle_deg, 2) for d in tags.directions),
            warnings=(*cine.warnings, *note),
        )

    def cells(self) -> tuple[str, ...]:
        """The facts as text, narrow enough for 80 characters."""
        tags = zip(self.tag_spacing_mm or (), self.tag_angle_deg or (), strict=True)
        return (
            self.name if self.level in (self.name, SliceLevel.UNKNOWN) else f"{self.name} ({self.level})",
            str(self.n_frames),
            f"{self.n_rows} x {self.n_columns}",
            f"{self.row_spacing_mm:.3g} x {self.column_spacing_mm:.3g}",
            f"{self.first_time_ms:.0f} to {self.last_time_ms:.0f}",
            "" if self.rr_interval_ms is None else f"{self.rr_interval_ms:.0f}",
            str(self.ed_frame),
            "\n".join(f"{spacing_mm:.1f} at {angle_deg:.0f}" for spacing_mm, angle_deg in tags) or "not found",
        )


@dataclass(frozen=True, slots=True)
class SliceProblem:
    """A slice that cannot be read, and why."""

    name: str
    problem: str


def describe_slice(source: SliceSource) -> SliceFacts | SliceProblem:
    """Read one slice and describe it."""
    try:
        return SliceFacts.of(source.load())
    except (TagstrainError, ValueError) as error:
        return SliceProblem(source.name, str(error))


def _tags(cine: TaggedCine) -> tuple[TagPattern | None, tuple[str, ...]]:
    """Tags of the first frame, where they are sharpest, or why there are none."""
    try:
        return measure_image_tags(cine.frames[0], cine.spacing_xy_mm), ()
    except TagsNotFoundError as error:
        return None, (f"tag spacing and angle are not known: {error}",)
