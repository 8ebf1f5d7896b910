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
from tagstrain.io.assembly import is_same_spacing, nominal_times, resolve_spacing
from tagstrain.io.dicom_header import DicomHeader
from tagstrain.io.dicom_series import FrameGroup

MOST_STEPS = 2
"""Frames that numbers may count for each one found where none are announced; what counts further counts no frames."""

_LEAST_TO_CONTRADICT = 5
"""Images from which on the instance numbers of all but one tell that the trigger time of that one is odd."""


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
        If they have different sizes or spacings, or no spacing, or are those of several slices whose positions are
        not known.
    """
    path = group.first.source.shown
    sizes = Counter(header.shape for header in group.headers)
    if len(sizes) > 1:
        found = ", ".join(f"{n} of {rows} x {columns}" for (rows, columns), n in sizes.most_common())
        raise InputError(path, f"its slice mixes images of different sizes ({found})", "Export the series again")
    spacings = [header.pixel_spacing for header in group.headers]
    if given is None and not all(is_same_spacing(spacing, spacings[0]) for spacing in spacings):
        raise InputError(path, "its slice mixes images of different PixelSpacing (0028,0030)", "Export it again")
    spacing, warnings = resolve_spacing(path, group.first.pixel_spacing, given, "PixelSpacing (0028,0030)")
    headers, times_ms, time_warnings = _order_in_time(group.headers)
    expected = max(header.n_expected or 0 for header in headers)
    if group.affine is None and expected > 1 and len(headers) > expected and len(headers) % expected == 0:
        problem = (
            f"its series has {len(headers)} images without positions, where CardiacNumberOfImages announces {expected}"
        )
        raise InputError(path, problem, "Put the images of each slice into a series or a folder of their own")
    if len(headers) < expected:
        warnings += (f"{len(headers)} of the {expected} frames that CardiacNumberOfImages announces were found",)
    affine = group.affine
    if affine is not None:
        affine = affine @ np.diag([spacing.column_mm, spacing.row_mm, 1.0, 1.0])
    return OrderedSlice(headers, times_ms, spacing, affine, warnings + time_warnings)


def _order_in_time(
    headers: tuple[DicomHeader, ...],
) -> tuple[tuple[DicomHeader, ...], NDArray[np.float64], tuple[str, ...]]:
    """Order by trigger time; where that is missing or tied, by another number, from which it is then filled in."""
    times = [header.trigger_time_ms for header in headers]
    known = [time for time in times if time is not None]
    if len(known) == len(headers) == len(set(known)):
        ordered = sorted(headers, key=attrgetter("trigger_time_ms"))
        return tuple(ordered), np.array(sorted(known)), _told_of_one_out_of_order(ordered)
    ordered, order, steps = _order_without_times(headers)
    filled_ms, n_filled = _filled_times(ordered, steps)
    if n_filled:
        warning = (
            f"trigger times of {n_filled} of {len(headers)} frames are missing or repeat: filled in by the {order}"
        )
        return tuple(ordered), filled_ms, (warning,)
    what = "repeat" if len(known) == len(headers) else "are missing" if not known else "are missing in some frames"
    warnings = [f"trigger times {what}: frames are in the order of their {order}, frame 0 taken as ED"]
    interval_ms = ordered[0].interval_ms
    if interval_ms is None:
        times_ms, warning = nominal_times(len(ordered))
        return tuple(ordered), times_ms, (*warnings, warning)
    warnings.append(f"an even {interval_ms:g} ms between frames was taken from the header")
    if len(steps) < 1 + steps[-1]:
        warnings.append(f"by their {order}, {steps[-1] + 1 - len(steps):g} frames in between are missing")
    return tuple(ordered), steps * interval_ms, tuple(warnings)


def _told_of_one_out_of_order(ordered: Sequence[DicomHeader]) -> tuple[str, ...]:
    """That one trigger time contradicts the instance numbers, which all others follow; empty where none does."""
    numbers = [header.instance_number for header in ordered]
    if None in numbers or len(set(numbers)) < max(len(numbers), _LEAST_TO_CONTRADICT) or _grows(numbers):
        return ()
    odd = [k for k in range(len(numbers)) if _grows(numbers[:k] + numbers[k + 1 :])]
    if not odd:
        return ()
    times = " or ".join(f"{ordered[k].trigger_time_ms:g}" for k in odd)
    return (
        f"the trigger time of one image ({times} ms) contradicts the instance numbers, which all others follow: if it "
        "is wrong, so are the order of the frames and, at the beginning or the end, ED",
    )


def _grows(numbers: Sequence[float | None]) -> bool:
    return bool((np.diff(np.array(numbers, np.float64)) > 0).all())


def _order_without_times(headers: Sequence[DicomHeader]) -> tuple[list[DicomHeader], str, NDArray[np.float64]]:
    """Order by the first number that every image has its own of, or by file name.

    Returns
    -------
        The images in order, what the number is, and the place of each in steps of the usual one: a missing image leaves
        a gap.
    """
    one_by_one = np.arange(len(headers), dtype=np.float64)
    announced = max(header.n_expected or 0 for header in headers) or MOST_STEPS * len(headers)
    for attribute, words in (("temporal_position", "temporal positions"), ("instance_number", "instance numbers")):
        numbers = [getattr(header, attribute) for header in headers]
        if None not in numbers and len(set(numbers)) == len(numbers):
            places = np.sort(numbers)
            steps = (places - places[0]) / np.median(np.diff(places))
            # Numbers without a rule, or that go further than there are frames, count something else too.
            count_frames = np.array_equal(steps, np.rint(steps)) and steps[-1] < announced
            return sorted(headers, key=attrgetter(attribute)), words, steps if count_frames else one_by_one
    return sorted(headers, key=lambda header: str(header.source.path)), "file names", one_by_one


def _filled_times(ordered: Sequence[DicomHeader], steps: NDArray[np.float64]) -> tuple[NDArray[np.float64], int]:
    """Trigger times with those that are missing or not an image's own read off a line through the others.

    Returns
    -------
        The times, and how many were filled in: none where fewer than half are known, or where they do not follow the
        order.
    """
    times = [header.trigger_time_ms for header in ordered]
    counts = Counter(times)
    is_known = np.array([time is not None and counts[time] == 1 for time in times])
    # The first frame's may be 0, as where a later one's is not known and 0 was written.
    others_ms = [time for time, known in zip(times, is_known, strict=True) if known and time is not None]
    is_known[0] |= times[0] is not None and times[0] < min(others_ms, default=-np.inf)
    known_ms = np.array([time for time, known in zip(times, is_known, strict=True) if known], np.float64)
    if len(known_ms) < max(2, len(times) / 2) or (np.diff(known_ms) <= 0).any():
        return np.empty(0), 0
    at = steps[is_known]
    interval_ms = float(np.median(np.diff(known_ms) / np.diff(at)))
    if at[0] > 0:  # the R wave comes first
        at = np.concatenate([[0.0], at])
        known_ms = np.concatenate([[max(known_ms[0] - interval_ms * at[1], 0.0)], known_ms])
        if known_ms[0] >= known_ms[1]:
            return np.empty(0), 0
    filled_ms = np.interp(steps, at, known_ms) + interval_ms * np.maximum(steps - at[-1], 0)
    return filled_ms, int((~is_known).sum())
