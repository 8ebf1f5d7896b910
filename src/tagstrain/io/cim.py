"""Analysis folders that CIM_TAG_2D version 6 exports: cases, slices, image pointers and sample points.

::

    <case>/system/<case>.img_imageptr                           which image is which frame
    <case>/system/<case>.<model>                                ED and ES frame of every slice; <model> is model...
    <case>/<model>/series_1_slice_<k>/<case>_<frame>_samplePt_strain.dat        168 landmarks, frames from 1

Only series 1, the short axis, is read. Names of folders and images are matched without regard to case, since the
folders come from Windows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tagstrain.data.landmarks import N_RINGS, N_SPOKES
from tagstrain.errors import InputError

N_SAMPLE_POINTS = N_SPOKES * N_RINGS
SHORT_AXIS_SERIES = 1
MAX_FRAMES = 1000
"""No cine has more; a larger number is damage, and rows as long as that would fill the disk."""
_SYSTEM = "system"
_POINTER_SUFFIX = ".img_imageptr"
_POINTER_ROOT = "imagepath"
_FRAME_LINE = re.compile(r"(Series(.+?)Slice(.+?))End-(diastolic|systolic) Frame.*?(\d+)")
_STRAIN_FILE = re.compile(r"_(\d+)(?:_samplePt)?_strain\.dat$", re.IGNORECASE)
_COLUMNS = ("imageX", "imageY", "Region")
_VERSION = "CIM_TAG_2D version 6"


@dataclass(frozen=True, slots=True)
class CimSlice:
    """One short-axis slice of a model: its files by frame, the first frame being 0."""

    case: str
    model: str
    name: str
    """``series_1_slice_<k>``."""
    ed_frame: int | None
    es_frame: int | None
    images: Mapping[int, str]
    """Pointers to the images, to be found by `find_image`."""
    strain_files: Mapping[int, Path]


class SamplePoints(NamedTuple):
    """The 168 landmarks of one frame in the order of the file, which is ``spoke * 7 + ring``."""

    image_xy_px: NDArray[np.float64]
    """``(point, 2)``: pixels from the left and, unlike in all of tagstrain, from the lower edge of the image."""
    regions: NDArray[np.float64]
    """AHA segment, ``(point,)``."""


def find_cases(folder: Path) -> list[Path]:
    """Folders of cases: ``folder`` itself, or those one or two levels below it.

    Raises
    ------
    InputError
        If there is none.
    """
    if not folder.is_dir():
        raise InputError(folder, "is not a folder", f"Give the folder with the cases that {_VERSION} exported")
    found = {
        system.parent for depth in ("", "*/", "*/*/") for system in folder.glob(depth + _SYSTEM) if system.is_dir()
    }
    if not found:
        problem = f"holds no case (a folder with a folder {_SYSTEM} in it)"
        raise InputError(folder, problem, f"Give the folder with the cases that {_VERSION} exported")
    return sorted(found)


def read_case(folder: Path) -> list[CimSlice]:
    """List the short-axis slices of all models of a case; landmarks and images are not read yet.

    Raises
    ------
    InputError
        If the case has no image pointers or no model, or they are not as version 6 writes them.
    """
    system = folder / _SYSTEM
    files = sorted(file for file in system.iterdir() if file.is_file())
    pointer_files = [file for file in files if file.name.lower().endswith(_POINTER_SUFFIX)]
    if len(pointer_files) != 1:
        problem = f"has {len(pointer_files) or 'no'} {_POINTER_SUFFIX} files in {_SYSTEM}, expected 1"
        raise InputError(folder, problem, "Export the case again")
    models = [file for file in files if ".model" in file.name]
    if not models:
        raise InputError(folder, f"has no .model file in {_SYSTEM}", "Export the case again")
    pointers = _read_pointers(pointer_files[0])
    return [found for model in models for found in _read_model(folder, model, pointers)]


def find_image(root: Path, pointer: str) -> Path:
    r"""Image below ``root`` that a pointer such as ``IMAGEPATH\case\IM_0001.dcm`` names.

    Slashes may be Windows' or POSIX'; in place of IMAGEPATH there may be nothing, or the absolute path of ``root``.

    Raises
    ------
    InputError
        If it is not there, or the pointer leads elsewhere.
    """
    if Path(pointer).is_relative_to(root.absolute()):
        pointer = Path(pointer).relative_to(root.absolute()).as_posix()
    path = PureWindowsPath(pointer)  # Windows' rules read both slashes
    parts = path.parts[1:] if path.parts[:1] and path.parts[0].lower() == _POINTER_ROOT else path.parts
    if path.anchor or ".." in parts or not parts:
        raise InputError(path.name or pointer, "has a pointer that leads out of the image folder", "Mend the pointer")
    found: Path | None = root
    for part in parts:
        found = None if found is None else _child(found, part)
    if found is None or not found.is_file():
        raise InputError(path.name, "is not in the image folder", "Copy the images that the pointer file names")
    return found


def read_sample_points(path: Path) -> SamplePoints:
    """Read the landmarks of one frame; columns may stand in any order.

    Raises
    ------
    InputError
        If a column is missing, there are not 168 points, or a value is no finite number.
    """
    header, *lines = [line.split() for line in _read_lines(path) if line.strip()] or [[]]
    missing = [name for name in _COLUMNS if name not in header]
    if missing:
        raise InputError(path, f"has no column {', '.join(missing)}", f"Export the frame again with {_VERSION}")
    if len(lines) != N_SAMPLE_POINTS:
        raise InputError(path, f"has {len(lines)} points, expected {N_SAMPLE_POINTS}", "Export the frame again")
    places = [header.index(name) for name in _COLUMNS]
    try:
        values = np.array([[float(line[k]) for k in places] for line in lines])
    except (ValueError, IndexError) as error:
        raise InputError(path, "holds a line that is not numbers", "Export the frame again") from error
    if not np.isfinite(values).all():
        raise InputError(path, "holds values that are not finite", "Export the frame again")
    return SamplePoints(values[:, :2], values[:, 2])


def _read_pointers(path: Path) -> dict[tuple[int, int], dict[int, str]]:
    """Pointer of every frame by (series, slice), all counted from 0."""
    pointers: dict[tuple[int, int], dict[int, str]] = {}
    for number, line in enumerate(_read_lines(path)[1:], start=2):
        if not line.strip():
            continue
        fields = line.split("\t")
        try:
            series, slice_number, frame = (int(field) for field in fields[:3])
            if not 0 <= frame < MAX_FRAMES:
                raise ValueError(frame)
            pointers.setdefault((series, slice_number), {})[frame] = fields[3].strip()
        except (ValueError, IndexError) as error:
            problem = f"line {number} is not series, slice, index and path separated by tabs"
            raise InputError(path, problem, f"Export the case again with {_VERSION}") from error
    return pointers


def _read_model(case: Path, path: Path, pointers: Mapping[tuple[int, int], Mapping[int, str]]) -> Iterator[CimSlice]:
    """Slices of one model."""
    model = path.name[path.name.index(".model") + 1 :]
    frames: dict[tuple[int, int], dict[str, int]] = {}
    folders: dict[tuple[int, int], str] = {}
    for line in _read_lines(path):
        match = _FRAME_LINE.match(line)
        if match is None or not (match[2].strip().isdecimal() and match[3].strip().isdecimal()):
            continue
        key = int(match[2]), int(match[3])
        folders[key] = match[1].replace(" ", "_").rstrip("_").lower()
        frames.setdefault(key, {})[match[4]] = int(match[5])
    if not frames:
        problem = "names no slice (a line 'Series 1 Slice 1 End-diastolic Frame ...')"
        raise InputError(path, problem, f"Check that {_VERSION} wrote it: other versions are not read")
    for key, name in sorted(folders.items()):
        if key[0] != SHORT_AXIS_SERIES:
            continue
        yield CimSlice(
            case=case.name,
            model=model,
            name=name,
            ed_frame=frames[key].get("diastolic"),
            es_frame=frames[key].get("systolic"),
            images=pointers.get((key[0] - 1, key[1] - 1), {}),
            strain_files=_strain_files(case, model, name),
        )


def _strain_files(case: Path, model: str, name: str) -> dict[int, Path]:
    """Files with landmarks by frame; none where the folder is missing."""
    models = _child(case, model)
    folder = None if models is None else _child(models, name)
    if folder is None or not folder.is_dir():
        return {}
    found = ((_STRAIN_FILE.search(file.name), file) for file in sorted(folder.iterdir()))
    # Files count frames from 1; a frame 0 would be none of the cine's.
    return {int(match[1]) - 1: file for match, file in found if match is not None and 1 <= int(match[1]) <= MAX_FRAMES}


def _child(folder: Path, name: str) -> Path | None:
    """Entry of a folder, by its exact name or else by its name in another case; None where there is none."""
    if (folder / name).exists():
        return folder / name
    if not folder.is_dir():
        return None
    return next((entry for entry in sorted(folder.iterdir()) if entry.name.casefold() == name.casefold()), None)


def _read_lines(path: Path) -> list[str]:
    """Lines of a text file; bytes that are no text cannot be a number and are found out later."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror})", "Check its permissions") from error
