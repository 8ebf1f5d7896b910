"""Which series show tags, by what the scanner says or else by the spectrum of one early frame: `tagged_slices`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tagstrain.data.cine import PixelSpacing
from tagstrain.errors import InputError, TagsNotFoundError
from tagstrain.geometry.tag_spectrum import MIN_FIELD_MM, TagPattern, measure_image_tags
from tagstrain.io.dicom_header import DicomHeader
from tagstrain.io.dicom_pixels import read_pixels
from tagstrain.io.dicom_series import SAME_PLANE_MM, FrameGroup, offset_mm

_NAMES_TAGS = re.compile(r"tagg(?:ed|ing)|(?<![a-z])tags?(?![a-z])|spamm", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _TagEvidence:
    """What is known of a series' tags."""

    is_tagged: bool
    angle_deg: float | None = None
    """Direction where the tags are lines."""
    reason: str = ""
    """Why it counts as not tagged."""


def tagged_slices(groups: Sequence[FrameGroup], given: PixelSpacing | None) -> tuple[list[FrameGroup], list[str]]:
    """Keep the slices of tagged series, each with the direction of its tags where they are lines.

    A series is skipped only on evidence: where neither the attributes nor the name nor the pixels can tell, it stays.

    Parameters
    ----------
    given
        Pixel spacing in place of the stored one.

    Returns
    -------
        The slices, and the series left out with the reason.
    """
    kept, skipped = [], []
    for series in _by_acquisition(groups):
        evidence = _judge(series, given)
        if evidence.is_tagged:
            kept += [replace(group, tag_angle_deg=evidence.angle_deg) for group in series]
        else:
            n_frames = sum(len(group.headers) for group in series)
            size = f"{len(series)} slice{'s' if len(series) > 1 else ''}, {n_frames} frames"
            skipped.append(f"{series[0].label} ({size}): not tagged, {evidence.reason}")
    return kept, skipped


def _by_acquisition(groups: Sequence[FrameGroup]) -> list[list[FrameGroup]]:
    """Slices that share their tags: of one series and, where a plane was imaged several times, one acquisition."""
    found: dict[tuple[str, int], list[FrameGroup]] = {}
    for k, group in enumerate(groups):
        series_uid = group.first.series_uid
        before = [other for other in groups[:k] if other.first.series_uid == series_uid]
        run = sum(offset_mm(other, group) <= SAME_PLANE_MM for other in before)
        found.setdefault((series_uid, run), []).append(group)
    return list(found.values())


def _judge(series: Sequence[FrameGroup], given: PixelSpacing | None) -> _TagEvidence:
    """Ask the name, the attributes and, where these leave it open, the pixels."""
    header = _early_header(series[len(series) // 2])
    is_named = bool(_NAMES_TAGS.search(f"{header.series_description} {header.protocol}"))
    if series[0].level is not None:
        return _TagEvidence(is_tagged=True)
    if header.tagging == "NONE" and not is_named:
        return _TagEvidence(is_tagged=False, reason="Tagging (0018,9028) is NONE")
    if header.tagging == "GRID":
        return _TagEvidence(is_tagged=True)
    if header.tagging == "LINE" and header.tag_angle_deg is not None:
        return _TagEvidence(is_tagged=True, angle_deg=header.tag_angle_deg)
    try:
        pattern = _measure(header, given)
    except TagsNotFoundError:
        is_tagged = is_named or header.tagging == "LINE" or header.tag_spacing_mm is not None
        return _TagEvidence(is_tagged, reason="an early frame shows no tag lines")
    is_line = pattern is not None and len(pattern.directions) == 1
    return _TagEvidence(is_tagged=True, angle_deg=pattern.directions[0].tag_angle_deg if pattern and is_line else None)


def _early_header(group: FrameGroup) -> DicomHeader:
    """The image in which tags stand out most."""
    return min(
        group.headers, key=lambda h: (h.trigger_time_ms or 0.0, h.temporal_position or 0, h.instance_number or 0)
    )


def _measure(header: DicomHeader, given: PixelSpacing | None) -> TagPattern | None:
    """Tags around the middle of an image; None where they cannot be measured.

    Raises
    ------
    TagsNotFoundError
        If there are none.
    """
    spacing = given or header.pixel_spacing
    if spacing is None or not spacing.is_possible:
        return None
    rows, columns = header.shape
    if min(rows * spacing.row_mm, columns * spacing.column_mm) < MIN_FIELD_MM:
        return None
    try:
        pixels = read_pixels(header)
    except InputError:
        return None  # told when the slice is loaded
    if not np.isfinite(pixels).all():
        return None
    return measure_image_tags(pixels, np.array([spacing.column_mm, spacing.row_mm]))
