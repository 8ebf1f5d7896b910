"""DICOM studies, from a file, a folder, a DICOMDIR or a zip, as tagged slices in order from base to apex."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tagstrain.data.cine import PixelSpacing, SliceLevel, TaggedCine
from tagstrain.data.study import SliceSource, Study
from tagstrain.errors import InputError
from tagstrain.io.assembly import UnreadableSlice, checked_cine, given_spacing, safe_name, unique_names
from tagstrain.io.dicom_files import file_headers, media_files, zip_headers
from tagstrain.io.dicom_header import DicomHeader
from tagstrain.io.dicom_identity import read_identity
from tagstrain.io.dicom_lines import (
    ONE_DIRECTION,
    breath_hold_warning,
    breath_holds_apart_mm,
    crossed_frames,
    crossed_slice,
    pair_lines,
)
from tagstrain.io.dicom_pixels import read_frames
from tagstrain.io.dicom_series import FrameGroup, drop_repeats, offset_mm, split_slices
from tagstrain.io.dicom_studies import check_one_study
from tagstrain.io.dicom_tagging import tagged_slices
from tagstrain.io.dicom_timing import OrderedSlice, order_frames
from tagstrain.io.input_folder import files_below
from tagstrain.io.shown_names import given_name
from tagstrain.io.slice_levels import (
    ENDS_DISAGREE,
    LEVEL_UNKNOWN,
    LEVELS,
    LEVELS_FROM_POSITION,
    ORDER_DISAGREES,
    SAME_SLICE_MM,
    levels_from_position,
)

N_NAMED_ALIKE = 5
"""Files that are skipped for the same reason and still named one by one."""


@dataclass(frozen=True, eq=False, slots=True)
class DicomSlice:
    """One slice whose headers are known; pixels are decoded when it is loaded."""

    name: str
    level: SliceLevel
    images: OrderedSlice

    def load(self) -> TaggedCine:
        """Decode the pixels.

        Raises
        ------
        InputError
            If an image is damaged or its compression cannot be decoded.
        """
        headers = self.images.headers
        frames, warnings, apart_mm = read_frames(headers), self.images.warnings, None
        if self.images.crossing_headers:
            crossing = read_frames(self.images.crossing_headers)
            apart_mm = breath_holds_apart_mm(frames, crossing, self.images.pixel_spacing)
            if apart_mm is not None:
                warnings += (breath_hold_warning(apart_mm),)
            frames = crossed_frames(frames, crossing)
        n_files = len({header.source for header in headers + self.images.crossing_headers})
        return checked_cine(
            headers[0].source.shown,
            frames,
            frame_times_ms=self.images.frame_times_ms,
            pixel_spacing=self.images.pixel_spacing,
            name=self.name,
            level=self.level,
            affine=self.images.affine,
            source=f"DICOM, {n_files} files, first {headers[0].source.shown.name}",
            warnings=warnings,
            rr_interval_ms=self.images.rr_interval_ms,
            source_series=self.images.source_series,
            breath_holds_apart_mm=apart_mm,
        )


def read_dicom_folder(path: Path, pixel_spacing_mm: tuple[float, float] | None = None, keep_ids: bool = False) -> Study:
    """Read all DICOM files below a folder; what is no tagged image is named in ``skipped``.

    Parameters
    ----------
    keep_ids
        Also read who the study is about, into `Study.identity`.

    Raises
    ------
    InputError
        If no slice of it can be used, or the slices are of several patients or DICOM studies.
    """
    key = safe_name(given_name(path))
    return _build_study(path, file_headers(files_below(path)), pixel_spacing_mm, keep_ids, key)


def read_dicom_file(path: Path, pixel_spacing_mm: tuple[float, float] | None = None, keep_ids: bool = False) -> Study:
    """Read one DICOM file: an enhanced (multi-frame) object, or a DICOMDIR with all the files that it lists.

    Raises
    ------
    InputError
        If no slice of it can be used, as in a classic single-frame file, since motion needs two frames.
    """
    listed = media_files(path)
    key = safe_name(path.stem if listed is None else given_name(path.parent))
    headers = file_headers([path], are_named=True) if listed is None else file_headers(listed)
    return _build_study(path, headers, pixel_spacing_mm, keep_ids, key)


def read_dicom_zip(path: Path, pixel_spacing_mm: tuple[float, float] | None = None, keep_ids: bool = False) -> Study:
    """Read the DICOM files of a zip, flat or nested, without unpacking it to disk.

    Raises
    ------
    InputError
        If the zip is unsafe or damaged, or no slice of it can be used.
    """
    return _build_study(path, zip_headers(path), pixel_spacing_mm, keep_ids, safe_name(path.stem))


def _build_study(
    path: Path,
    found: Iterable[DicomHeader | InputError],
    pixel_spacing_mm: tuple[float, float] | None,
    keep_ids: bool,
    key: str,
) -> Study:
    """Sort what was found into slices; fail only if none is left."""
    given = given_spacing(pixel_spacing_mm)
    headers: list[DicomHeader] = []
    errors: list[InputError] = []
    for entry in found:
        if isinstance(entry, InputError):
            errors.append(entry)
        else:
            headers.append(entry)
    if not headers:
        raise _no_image(path, errors)
    moving, left_out = split_slices(headers)
    if not moving:
        raise _no_cine(path, headers, left_out)
    tagged, untagged = tagged_slices(moving, given)
    if not tagged:
        raise InputError(path, f"holds no tagged series ({_some(untagged)})", "Give the tagged series")
    doubt = check_one_study(path, [header for group in tagged for header in group.headers], keep_ids)
    kept, repeats = drop_repeats(tagged)
    pairs = pair_lines(kept)
    images = [_ordered(pair, given, doubt) for pair in pairs]
    slices = _name_slices([pair[0] for pair in pairs], images)
    unreadable = [source for source in slices if isinstance(source, UnreadableSlice)]
    if len(unreadable) == len(slices):
        raise unreadable[0].error()
    return Study(
        key=key,
        path=path,
        slices=slices,
        format="dicom",
        skipped=(*_named(errors), *left_out, *untagged, *repeats),
        identity=read_identity(kept[0].first.source) if keep_ids else None,
    )


def _no_image(path: Path, errors: list[InputError]) -> InputError:
    """Why a study without a single image cannot be used."""
    telling = [error for error in errors if error.problem != "is not a DICOM file"] or errors
    if not errors:
        return InputError(path, "is empty", "Give a folder or zip with the images")
    if len(errors) == 1 and path.is_file() and errors[0].path == path:
        return errors[0]
    problem = f"holds no image that can be used ({len(errors)} files; {telling[0].path.name} {telling[0].problem})"
    return InputError(path, problem, telling[0].remedy)


def _no_cine(path: Path, headers: list[DicomHeader], left_out: list[str]) -> InputError:
    """Why a study whose images make no cine cannot be used."""
    if any(header.component == "MAGNITUDE" for header in headers):
        problem = f"holds single frames only ({len(headers)}), at least 2 of one slice are needed to measure motion"
        return InputError(path, problem, "Give the folder or zip with all frames of the slice")
    return InputError(path, f"holds no magnitude image ({_some(left_out)})", "Give the magnitude images")


def _some(reasons: list[str]) -> str:
    """The first reasons as one line."""
    more = f"; and {len(reasons) - 3} more" if len(reasons) > 3 else ""
    return "; ".join(reasons[:3]) + more


def _ordered(pair: tuple[FrameGroup, ...], given: PixelSpacing | None, doubt: str) -> OrderedSlice | InputError:
    """Images of a slice in order, two sets of line tags together, or why they cannot be used."""
    try:
        image, *second = (order_frames(group, given) for group in pair)
        if second:
            image = crossed_slice(image, second[0])
    except InputError as error:
        return error
    one_direction = ONE_DIRECTION if not second and pair[0].tag_angle_deg is not None else ""
    return replace(image, warnings=(*image.warnings, *filter(None, (one_direction, doubt))))


def _name_slices(groups: list[FrameGroup], images: list[OrderedSlice | InputError]) -> tuple[SliceSource, ...]:
    """Order the slices from base to apex and name them by level where that is known."""
    levels: list[SliceLevel | None] = [group.level for group in groups]
    order, placed = levels_from_position([group.affine for group in groups], [group.middle_mm for group in groups])
    warning = ""
    if None not in levels:
        by_name = sorted(range(len(groups)), key=lambda k: LEVELS.index(levels[k] or SliceLevel.BASAL))
        if len(set(levels)) == len(groups) == 3 and None not in placed and by_name != order:
            warning = ENDS_DISAGREE if by_name == order[::-1] else ORDER_DISAGREES
        order = by_name
    elif levels == [None] * len(groups):
        levels, warning = placed, LEVELS_FROM_POSITION
    names = unique_names([str(levels[k] or f"slice_{place + 1}") for place, k in enumerate(order)])
    slices: list[SliceSource] = []
    for k, name in zip(order, names, strict=True):
        image = images[k]
        if isinstance(image, InputError):
            slices.append(UnreadableSlice.from_error(name, image))
            continue
        told = [LEVEL_UNKNOWN if levels[k] is None else warning, _told_of_repeats(k, groups)]
        affine = None if warning == ENDS_DISAGREE else image.affine
        image = replace(image, affine=affine, warnings=(*image.warnings, *filter(None, told)))
        slices.append(DicomSlice(name, levels[k] or SliceLevel.UNKNOWN, image))
    return tuple(slices)


def _told_of_repeats(k: int, groups: Sequence[FrameGroup]) -> str:
    """That other series show a slice's plane, too, in words; empty where none does."""
    group = groups[k]
    again = [
        other.label
        for j, other in enumerate(groups)
        if j != k and group.affine is not None and offset_mm(group, other) <= SAME_SLICE_MM
    ]
    same = f"its plane is shown by {' and '.join(again)}, too: each counts as a slice of its own"
    return f"{same}; give one of them if they are of one condition" if again else ""


def _named(errors: list[InputError]) -> list[str]:
    """Say why files were passed over; many with the same fault on one line."""
    names: dict[str, list[str]] = {}
    for error in errors:
        names.setdefault(error.problem, []).append(error.path.name)
    lines: list[str] = []
    for problem, alike in names.items():
        if len(alike) <= N_NAMED_ALIKE:
            lines += [f"{name}: {problem}" for name in alike]
        else:
            lines.append(f"{alike[0]} and {len(alike) - 1} more files: {problem}")
    return lines
