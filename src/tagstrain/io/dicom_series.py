"""From headers to slices: group by series and position, order in time, drop repeats (`group_slices`)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from tagstrain.data.cine import PixelSpacing, SliceLevel
from tagstrain.errors import InputError
from tagstrain.geometry.orientation import slice_normal
from tagstrain.io.assembly import nominal_times, resolve_spacing
from tagstrain.io.dicom_header import DicomHeader
from tagstrain.io.slice_levels import level_from_description

SAME_PLANE_MM = 0.5
SAME_SLICE_MM = 1.0


@dataclass(frozen=True, eq=False, slots=True)
class FrameGroup:
    """The images of one slice in one series, in no order yet."""

    headers: tuple[DicomHeader, ...]

    @property
    def first(self) -> DicomHeader:
        """Any header, for what all share."""
        return self.headers[0]

    @property
    def level(self) -> SliceLevel | None:
        """Level that the series description names."""
        return level_from_description(self.first.series_description)

    @property
    def label(self) -> str:
        """Words for messages: the series by number, since a free description may name the patient."""
        number = self.first.series_number
        if self.level is not None:
            return f"series {self.first.series_description.strip()}"
        return "series without a number" if number is None else f"series {number:g}"

    @property
    def is_complete(self) -> bool:
        """As many frames as the scanner announced."""
        expected = max((h.n_expected or 0 for h in self.headers), default=0)
        return len({h.shape for h in self.headers}) == 1 and len(self.headers) >= max(expected, 2)

    @property
    def affine(self) -> NDArray[np.float64] | None:
        """Map from ``(column, row, 0, 1)`` to LPS [mm] with steps of 1 mm; None where not known."""
        orientation, position = self.first.orientation, self.first.position_mm
        if orientation is None or position is None:
            return None
        affine = np.eye(4)
        affine[:3, :3] = np.column_stack([*orientation, np.cross(orientation[0], orientation[1])])
        affine[:3, 3] = position
        return affine


@dataclass(frozen=True, eq=False, slots=True)
class OrderedSlice:
    """A slice ready to be decoded: its images in order of time, and what had to be assumed."""

    headers: tuple[DicomHeader, ...]
    frame_times_ms: NDArray[np.float64]
    pixel_spacing: PixelSpacing
    affine: NDArray[np.float64] | None
    warnings: tuple[str, ...]


def group_slices(headers: list[DicomHeader]) -> tuple[list[FrameGroup], list[str]]:
    """Split images into slices and drop copies, single images and repeated series.

    Returns
    -------
        The slices, and what was left out with the reason.
    """
    skipped: list[str] = []
    distinct: dict[str, DicomHeader] = {}
    for header in headers:
        if header.instance_uid and header.instance_uid in distinct:
            skipped.append(f"{header.source.path.name}: a copy of {distinct[header.instance_uid].source.path.name}")
        else:
            distinct[header.instance_uid or str(header.source.path)] = header
    planes = _split_planes(list(distinct.values()))
    cines = [plane for plane in planes if len(plane.headers) > 1]
    skipped += [
        f"{plane.first.source.path.name} ({plane.label}): a single frame, at least 2 are needed to measure motion"
        for plane in planes
        if len(plane.headers) == 1
    ]
    kept, repeats = _drop_repeats(cines)
    return kept, skipped + repeats


def order_frames(group: FrameGroup, given: PixelSpacing | None) -> OrderedSlice:
    """Put the images of a slice in order of time.

    Raises
    ------
    InputError
        If they have different sizes or spacings, or no spacing.
    """
    path = group.first.source.path
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


def _split_planes(headers: list[DicomHeader]) -> list[FrameGroup]:
    """Group by series, then by plane: one series may hold several slices."""
    planes: dict[str, list[FrameGroup]] = {}
    for header in headers:
        own = FrameGroup((header,))
        in_series = planes.setdefault(header.series_uid, [])
        for k, plane in enumerate(in_series):
            if _offset_mm(plane, own) <= SAME_PLANE_MM:
                in_series[k] = replace(plane, headers=(*plane.headers, header))
                break
        else:
            in_series.append(own)
    return [plane for in_series in planes.values() for plane in in_series]


def _offset_mm(one: FrameGroup, other: FrameGroup) -> float:
    """Distance of two planes along their normal; infinite where they are not parallel, 0 where both are unknown."""
    first, second = one.affine, other.affine
    if first is None or second is None:
        return 0.0 if first is None and second is None else np.inf
    if slice_normal(first) @ slice_normal(second) < 0.999:
        return np.inf
    return abs(float((second[:3, 3] - first[:3, 3]) @ slice_normal(first)))


def _drop_repeats(groups: list[FrameGroup]) -> tuple[list[FrameGroup], list[str]]:
    """Keep the last complete series of every slice that was acquired more than once."""
    repeats: list[list[FrameGroup]] = []
    for group in groups:
        same = next((found for found in repeats if _is_repeat(found[0], group)), None)
        if same is None:
            repeats.append([group])
        else:
            same.append(group)
    kept, skipped = [], []
    for found in repeats:
        *dropped, best = sorted(found, key=_preference)
        kept.append(best)
        skipped += [
            f"{group.label} ({len(group.headers)} frames, from {group.first.source.path.name}): "
            f"repeated; the last complete one is used (from {best.first.source.path.name})"
            for group in dropped
        ]
    return kept, skipped


def _is_repeat(one: FrameGroup, other: FrameGroup) -> bool:
    """Same slice in two series: same description, and same place unless the description alone names the slice."""
    a, b = one.first, other.first
    if a.series_uid == b.series_uid or not a.series_description:
        return False
    if a.series_description.strip() != b.series_description.strip():
        return False
    return one.level is not None or (one.affine is not None and _offset_mm(one, other) <= SAME_SLICE_MM)


def _preference(group: FrameGroup) -> tuple[bool, int, float, str, str]:
    """Sort key whose largest is the series to use."""
    first = group.first
    n_frames = 0 if group.is_complete else len(group.headers)  # among complete ones the last wins, not the longest
    number = -np.inf if first.series_number is None else first.series_number
    return group.is_complete, n_frames, number, first.acquired, first.series_uid


def _order_in_time(
    headers: tuple[DicomHeader, ...],
) -> tuple[tuple[DicomHeader, ...], NDArray[np.float64], tuple[str, ...]]:
    """Order by trigger time; where that is missing or tied, by instance number with an even interval."""
    times = [header.trigger_time_ms for header in headers]
    known = [time for time in times if time is not None]
    if len(known) == len(headers) == len(set(known)):
        ordered = sorted(headers, key=attrgetter("trigger_time_ms"))
        return tuple(ordered), np.array(sorted(known)), ()
    what = "repeat" if len(known) == len(headers) else "are missing" if not known else "are missing in some frames"
    warnings = [f"trigger times {what}: frames are in the order of their instance numbers, frame 0 taken as ED"]
    numbers = [header.instance_number for header in headers]
    if None in numbers or len(set(numbers)) < len(numbers):
        warnings = [f"trigger times {what} and so do instance numbers: frames are in the order of their file names"]
        ordered = sorted(headers, key=lambda header: str(header.source.path))
    else:
        ordered = sorted(headers, key=attrgetter("instance_number"))
    interval_ms = ordered[0].interval_ms
    if interval_ms is None:
        times_ms, warning = nominal_times(len(ordered))
        return tuple(ordered), times_ms, (*warnings, warning)
    warnings.append(f"an even {interval_ms:g} ms between frames was taken from the header")
    return tuple(ordered), np.arange(len(ordered), dtype=np.float64) * interval_ms, tuple(warnings)
