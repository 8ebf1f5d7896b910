"""From headers to slices: magnitude images by series, plane and acquisition; repeats (`split_slices`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from tagstrain.data.cine import PixelSpacing, SliceLevel
from tagstrain.geometry.orientation import slice_normal
from tagstrain.io.dicom_header import DicomHeader
from tagstrain.io.slice_levels import SAME_SLICE_MM, by_depth, level_from_description

UNEVEN = 1.5
"""Longest over shortest time from image to image beyond which two acquisitions lie between each other by chance."""
SAME_PLANE_MM = 0.5
LEAST_OF_LONGEST = 0.75
"""Share of the longest repeat's frames in its series that a complete acquisition has where none are announced."""
MIN_CROSSING_DEG = 60.0
"""Least angle between two sets of tag lines that make a grid."""


@dataclass(frozen=True, eq=False, slots=True)
class FrameGroup:
    """The images of one slice in one acquisition, in no order yet."""

    headers: tuple[DicomHeader, ...]
    tag_angle_deg: float | None = None
    """Direction of its tags where they are lines; None for a grid, or where not known."""

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
        return _plane(self.first)

    @property
    def middle_mm(self) -> NDArray[np.float64] | None:
        """The image's middle in LPS; its corner where the pixel spacing is not stored, None where not known."""
        rows, columns = self.first.shape
        spacing = self.first.pixel_spacing or PixelSpacing(0.0, 0.0)
        x_mm, y_mm = (columns - 1) / 2 * spacing.column_mm, (rows - 1) / 2 * spacing.row_mm
        return None if self.affine is None else self.affine[:3] @ [x_mm, y_mm, 0.0, 1.0]

    def crosses(self, other: FrameGroup) -> bool:
        """Whether both have line tags, in clearly different directions."""
        if self.tag_angle_deg is None or other.tag_angle_deg is None:
            return False
        apart_deg = abs(self.tag_angle_deg - other.tag_angle_deg) % 180
        return min(apart_deg, 180 - apart_deg) >= MIN_CROSSING_DEG


def split_slices(headers: Sequence[DicomHeader]) -> tuple[list[FrameGroup], list[str]]:
    """Split images into slices; drop copies, phase images and what does not move.

    Returns
    -------
        The slices, and what was left out with the reason.
    """
    distinct, skipped = _without_copies(headers)
    slices: list[FrameGroup] = []
    for series in _by_series(distinct):
        magnitude = [header for header in series if header.component == "MAGNITUDE"]
        label = FrameGroup(tuple(series)).label
        skipped += _other_components(series, label)
        groups = [part for plane in _planes(magnitude) for part in _acquisitions(plane)]
        slices += [FrameGroup(group) for group in groups if len(group) > 1]
        skipped += _single_frames([group[0] for group in groups if len(group) == 1], label)
    return slices, skipped


def drop_repeats(groups: Sequence[FrameGroup]) -> tuple[list[FrameGroup], list[str]]:
    """Keep the last complete acquisition of every slice that was acquired more than once.

    Returns
    -------
        The slices, and what was left out with the reason.
    """
    repeats: list[list[FrameGroup]] = []
    for group in groups:
        same = next((found for found in repeats if _is_repeat(found[0], group)), None)
        if same is None:
            repeats.append([group])
        else:
            same.append(group)
    kept, skipped = [], []
    for found in repeats:
        *dropped, best = sorted(found, key=partial(_preference, repeats=found))
        kept.append(best)
        skipped += [
            f"{group.label} ({len(group.headers)} frames, from {group.first.source.shown.name}): "
            f"repeated; the last complete one is used (from {best.first.source.shown.name})"
            for group in dropped
        ]
    return kept, skipped


def offset_mm(one: FrameGroup, other: FrameGroup) -> float:
    """Distance of two planes along their normal; infinite where they are not parallel, 0 where both are unknown."""
    first, second = one.affine, other.affine
    if first is None or second is None:
        return 0.0 if first is None and second is None else np.inf
    if slice_normal(first) @ slice_normal(second) < 0.999:
        return np.inf
    return abs(float((second[:3, 3] - first[:3, 3]) @ slice_normal(first)))


def _without_copies(headers: Sequence[DicomHeader]) -> tuple[list[DicomHeader], list[str]]:
    """Each image once, and the files that are copies."""
    distinct: dict[object, DicomHeader] = {}
    skipped: dict[str, None] = {}
    for header in headers:
        key = (header.instance_uid or str(header.source.path), header.image.frame_number)
        if key in distinct:
            skipped[f"{header.source.shown.name}: a copy of {distinct[key].source.shown.name}"] = None
        else:
            distinct[key] = header
    return list(distinct.values()), list(skipped)


def _by_series(headers: Sequence[DicomHeader]) -> list[list[DicomHeader]]:
    """The images of each series."""
    series: dict[str, list[DicomHeader]] = {}
    for header in headers:
        series.setdefault(header.series_uid, []).append(header)
    return list(series.values())


def _other_components(series: Sequence[DicomHeader], label: str) -> list[str]:
    """Say how many images of a series are no magnitude images."""
    others = [header.component for header in series if header.component != "MAGNITUDE"]
    counts = [f"{others.count(component)} {component.lower()}" for component in sorted(set(others))]
    return [f"{label}: {' and '.join(counts)} images left out, only magnitude shows tags"] if others else []


def _single_frames(headers: Sequence[DicomHeader], label: str) -> list[str]:
    """Say which images of a series stand alone in their plane."""
    if not headers:
        return []
    what = "a single frame" if len(headers) == 1 else f"{len(headers)} planes with a single frame each"
    return [f"{headers[0].source.shown.name} ({label}): {what}, at least 2 are needed to measure motion"]


def _planes(headers: Sequence[DicomHeader]) -> list[list[DicomHeader]]:
    """Group the images of a series by plane, in order of first appearance: one series may hold several slices."""
    by_normal: list[tuple[NDArray[np.float64] | None, list[DicomHeader]]] = []
    for header in headers:
        plane = _plane(header)
        normal = None if plane is None else plane[:3, 2]
        same = next((group for known, group in by_normal if _is_parallel(known, normal)), None)
        if same is None:
            by_normal.append((normal, [header]))
        else:
            same.append(header)
    planes: list[list[DicomHeader]] = []
    for normal, parallel in by_normal:
        planes += [parallel] if normal is None else _split_by_depth(parallel, normal)
    place = {id(header): k for k, header in enumerate(headers)}
    return sorted(planes, key=lambda plane: place[id(plane[0])])


def _is_parallel(one: NDArray[np.float64] | None, other: NDArray[np.float64] | None) -> bool:
    """Whether two normals point the same way; two unknown ones do."""
    if one is None or other is None:
        return one is other
    return float(one @ other) >= 0.999


def _split_by_depth(headers: Sequence[DicomHeader], normal: NDArray[np.float64]) -> list[list[DicomHeader]]:
    """Group parallel images by their place along the normal, each group in the order given."""
    depths_mm = np.array([header.position_mm for header in headers], np.float64) @ normal
    return [[headers[k] for k in sorted(plane)] for plane in by_depth(depths_mm, SAME_PLANE_MM)]


def _acquisitions(headers: Sequence[DicomHeader]) -> list[tuple[DicomHeader, ...]]:
    """Split a plane imaged several times over in one series, where that gives every part distinct trigger times.

    Scanners also number the segments of one acquisition: where all trigger times are distinct anyway, parts count that
    have other tags, or that cover the same time and are whole by the number of images announced or, without one, by an
    uneven time from each image to the next.
    """
    is_one_clock = _has_distinct_times(headers)
    for attribute in ("tag_angle_deg", "acquisition_number", "temporal_position"):
        by_value: dict[float | None, list[DicomHeader]] = {}
        for header in headers:
            by_value.setdefault(getattr(header, attribute), []).append(header)
        parts = list(by_value.values())
        is_split = len(parts) > 1 and all(len(part) > 1 and _has_distinct_times(part) for part in parts)
        are_other_tags = attribute == "tag_angle_deg" and None not in by_value
        if is_split and (not is_one_clock or are_other_tags or (None not in by_value and _are_whole(parts))):
            return [tuple(part) for part in parts]
    return _rounds(headers)


def _rounds(headers: Sequence[DicomHeader]) -> list[tuple[DicomHeader, ...]]:
    """Split images whose trigger times come several times over, by the order of their instance numbers.

    Single times that repeat make no round, nor do as many images as are announced.
    """
    times = {header.trigger_time_ms for header in headers}
    numbers = {header.instance_number for header in headers}
    announced = max(header.n_expected or 0 for header in headers)
    is_known = None not in times and None not in numbers and len(numbers) == len(headers)
    if not is_known or len(headers) <= max(announced, len(times)):
        return [tuple(headers)]
    timed = [(h.trigger_time_ms or 0.0, h) for h in sorted(headers, key=lambda h: h.instance_number or 0.0)]
    rounds = _rounds_one_after_the_other(timed, 1 if announced else 2) or _rounds_time_by_time(timed)
    # Where there are more rounds than times, the times tell nothing.
    return rounds if 0 < len(rounds) <= len(times) else [tuple(headers)]


def _rounds_one_after_the_other(
    timed: Sequence[tuple[float, DicomHeader]], least: int
) -> list[tuple[DicomHeader, ...]]:
    """Images in order as rounds of ``least`` images or more that each begin with the earliest time; empty for none.

    A round that was broken off shares its times with the longest one; a stretch of one cine that begins with a time
    that is not known, and was written as 0, does not.
    """
    runs: list[list[tuple[float, DicomHeader]]] = []
    for time_ms, header in timed:
        if not runs or time_ms <= runs[-1][-1][0]:
            runs.append([])
        runs[-1].append((time_ms, header))
    of_longest = {time_ms for time_ms, _ in max(runs, key=len)}
    first_ms = min(time_ms for time_ms, _ in timed)
    are_rounds = all(
        run[0][0] == first_ms and len(run) >= least and 2 * sum(time_ms in of_longest for time_ms, _ in run) > len(run)
        for run in runs
    )
    return [tuple(header for _, header in run) for run in runs] if are_rounds else []


def _rounds_time_by_time(timed: Sequence[tuple[float, DicomHeader]]) -> list[tuple[DicomHeader, ...]]:
    """Images in order as the first of each time, the second of each time and so on; empty where these are no rounds."""
    by_time: dict[float, list[DicomHeader]] = {}
    for time_ms, header in timed:
        by_time.setdefault(time_ms, []).append(header)
    # The earliest time comes most often, the others as often or, once the last round has been broken off, once less.
    counts = [len(by_time[time_ms]) for time_ms in sorted(by_time)]
    n_whole = counts.count(counts[0])
    if counts[0] < 2 or n_whole < 2 or not set(counts[n_whole:]) <= {counts[0] - 1}:
        return []
    return [tuple(same[k] for same in by_time.values() if k < len(same)) for k in range(counts[0])]


def _are_whole(parts: Sequence[Sequence[DicomHeader]]) -> bool:
    """Whether parts, every image of which has a trigger time, are acquisitions and not the segments of one."""
    times = [[header.trigger_time_ms or 0.0 for header in part] for part in parts]
    overlap_ms = min(map(max, times)) - max(map(min, times))
    if overlap_ms <= min(max(part) - min(part) for part in times) / 2:
        return False
    announced = {header.n_expected for part in parts for header in part}
    if None not in announced:
        return all({header.n_expected for header in part} == {len(part)} for part in parts)
    intervals_ms = np.diff(np.sort(np.concatenate(times)))
    return bool(intervals_ms.max() > UNEVEN * intervals_ms.min())


def _has_distinct_times(headers: Sequence[DicomHeader]) -> bool:
    """Whether every image has a trigger time of its own."""
    times = {header.trigger_time_ms for header in headers}
    return None not in times and len(times) == len(headers)


def _is_repeat(one: FrameGroup, other: FrameGroup) -> bool:
    """Same slice acquired twice: same description, and same place unless the description alone names the slice."""
    a, b = one.first, other.first
    if one.crosses(other) or a.series_description.strip() != b.series_description.strip():
        return False
    is_same_place = one.affine is not None and offset_mm(one, other) <= SAME_SLICE_MM
    if a.series_uid == b.series_uid:
        return is_same_place
    return bool(a.series_description) and (one.level is not None or is_same_place)


def _preference(group: FrameGroup, repeats: Sequence[FrameGroup]) -> tuple[bool, int, float, str, float, str]:
    """Sort key whose largest is the acquisition to use, among the ``repeats`` of a slice."""
    first = group.first
    longest = max(len(other.headers) for other in repeats if other.first.series_uid == first.series_uid)
    # Where no number is announced, one with far fewer frames than another of its series was broken off.
    is_announced = all(header.n_expected for header in group.headers)
    is_complete = group.is_complete and (is_announced or len(group.headers) > LEAST_OF_LONGEST * longest)
    n_frames = 0 if is_complete else len(group.headers)  # among complete ones the last wins, not the longest
    number = -np.inf if first.series_number is None else first.series_number
    return is_complete, n_frames, number, first.acquired, first.acquisition_number or 0.0, first.series_uid


def _plane(header: DicomHeader) -> NDArray[np.float64] | None:
    """Map from ``(column, row, 0, 1)`` to LPS [mm] with steps of 1 mm; None where not known."""
    if header.orientation is None or header.position_mm is None:
        return None
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([*header.orientation, np.cross(header.orientation[0], header.orientation[1])])
    affine[:3, 3] = header.position_mm
    return affine
