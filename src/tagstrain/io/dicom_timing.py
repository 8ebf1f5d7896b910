"""The images of a slice in order of time, and what is the same in all of them: `order_frames`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from tagstrain.data.archive import SourceSeries
from tagstrain.data.cine import PixelSpacing
from tagstrain.errors import InputError
from tagstrain.io.assembly import nominal_times, resolve_spacing
from tagstrain.io.dicom_header import DicomHeader
from tagstrain.io.dicom_series import FrameGroup


@dataclass(frozen=True, eq=False, slots=True)
class OrderedSlice:
    """A slice ready to be decoded: its images in order of time, and what had to be assumed."""

    headers: tuple[DicomHeader, ...]
    frame_times_ms: NDArray[np.float64]
    pixel_spacing: PixelSpacing
    affine: NDArray[np.float64] | None
    warnings: tuple[str, ...]
    crossing_headers: tuple[DicomHeader, ...] = ()
    """Images of the second set of line tags, one per frame, where the two sets were acquired apart."""

    @property
    def rr_interval_ms(self) -> float | None:
        """Median over the images; None where none has it."""
        known = [header.rr_interval_ms for header in self.headers if header.rr_interval_ms is not None]
        return float(np.median(known)) if known else None

    @property
    def source_series(self) -> SourceSeries | None:
        """The series in the archive; None where an identifier is missing."""
        first = self.headers[0]
        images = tuple(header.image for header in self.headers)
        if not (first.study_uid and first.series_uid) or not all(image[0] and image[1] for image in images):
            return None
        return SourceSeries(
            first.study_uid,
            first.series_uid,
            first.frame_of_reference_uid or None,
            images,
            first.slice_thickness_mm,
        )


def order_frames(group: FrameGroup, given: PixelSpacing | None) -> OrderedSlice:
    """Put the images of a slice in order of time.

    Raises
    ------
    InputError
        If they have different sizes or spacings, or no spacing.
    """
    path = group.first.source.shown
    sizes = Counter(header.shape for header in group.headers)
    if len(sizes) > 1:
        found = ", ".join(f"{n} of {rows} x {columns}" for (rows, columns), n in sizes.most_common())
        raise InputError(path, f"its slice mixes images of different sizes ({found})", "Export the series again")
    spacings = {header.pixel_spacing for header in group.headers}
    if len(spacings) > 1 and given is None:
        raise InputError(path, "its slice mixes images of different PixelSpacing (0028,0030)", "Export it again")
    spacing, warnings = resolve_spacing(path, group.first.pixel_spacing, given, "PixelSpacing (0028,0030)")
    headers, times_ms, time_warnings = _order_in_time(group.headers)
    expected = max(header.n_expected or 0 for header in headers)
    if len(headers) < expected:
        warnings += (f"{len(headers)} of the {expected} frames that CardiacNumberOfImages announces were found",)
    affine = group.affine
    if affine is not None:
        affine = affine @ np.diag([spacing.column_mm, spacing.row_mm, 1.0, 1.0])
    return OrderedSlice(headers, times_ms, spacing, affine, warnings + time_warnings)


def _order_in_time(
    headers: tuple[DicomHeader, ...],
) -> tuple[tuple[DicomHeader, ...], NDArray[np.float64], tuple[str, ...]]:
    """Order by trigger time; where that is missing or tied, by another number with an even interval."""
    times = [header.trigger_time_ms for header in headers]
    known = [time for time in times if time is not None]
    if len(known) == len(headers) == len(set(known)):
        ordered = sorted(headers, key=attrgetter("trigger_time_ms"))
        return tuple(ordered), np.array(sorted(known)), ()
    what = "repeat" if len(known) == len(headers) else "are missing" if not known else "are missing in some frames"
    ordered, order = _order_without_times(headers)
    warnings = [f"trigger times {what}: frames are in the order of their {order}, frame 0 taken as ED"]
    interval_ms = ordered[0].interval_ms
    if interval_ms is None:
        times_ms, warning = nominal_times(len(ordered))
        return tuple(ordered), times_ms, (*warnings, warning)
    warnings.append(f"an even {interval_ms:g} ms between frames was taken from the header")
    return tuple(ordered), np.arange(len(ordered), dtype=np.float64) * interval_ms, tuple(warnings)


def _order_without_times(headers: Sequence[DicomHeader]) -> tuple[list[DicomHeader], str]:
    """Order by the first number that every image has its own of, or by file name; and what that number is."""
    for attribute, words in (("temporal_position", "temporal positions"), ("instance_number", "instance numbers")):
        numbers = [getattr(header, attribute) for header in headers]
        if None not in numbers and len(set(numbers)) == len(numbers):
            return sorted(headers, key=attrgetter(attribute)), words
    return sorted(headers, key=lambda header: str(header.source.path)), "file names"
