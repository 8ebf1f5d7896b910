"""One way in for every format, chosen by content: `read_study` for one study, `find_studies` for a folder of them."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from tagstrain.data.study import Study
from tagstrain.errors import InputError
from tagstrain.io.assembly import given_spacing, safe_name
from tagstrain.io.dicom import read_dicom_file, read_dicom_folder, read_dicom_zip
from tagstrain.io.dicom_files import is_dicom, starts_as_dicom
from tagstrain.io.dicom_studies import holds_dicom, split_folder
from tagstrain.io.hdf5 import read_hdf5_study
from tagstrain.io.input_folder import files_below, files_by_folder, folders_in, links_below, own_before_links
from tagstrain.io.nifti import is_nifti_name, read_nifti_study
from tagstrain.io.nifti_times import sidecar_path
from tagstrain.io.npz import SUFFIX as NPZ_SUFFIX
from tagstrain.io.npz import read_npz_study
from tagstrain.io.npz_arrays import is_npz
from tagstrain.io.shown_names import places, shown_path
from tagstrain.io.slice_levels import level_from_description, level_from_file_name

_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_HDF5_SUFFIXES = (".h5", ".hdf5")
_ZIP_SUFFIX = ".zip"
_ZIP_MAGICS = (b"PK\x03\x04", b"PK\x05\x06")
_NIFTI_MAGICS = (b"n+1\0", b"n+2\0")
_NIFTI1_MAGIC_AT, _NIFTI2_MAGIC_AT = 344, 4
_START_BYTES = 512


class FoundStudies(NamedTuple):
    """What a path stands for."""

    paths: tuple[Path, ...]
    """Studies, each to be given to `read_study`."""
    note: str
    """What lies beside them and is left out, in words; empty where nothing is."""


def read_study(path: str | Path, pixel_spacing_mm: tuple[float, float] | None = None, keep_ids: bool = False) -> Study:
    """Read a study: DICOM as a file, a folder or a zip, NIfTI, HDF5, or NumPy.

    Only headers are read here; the pixels of a slice are read by its ``load()``.

    Parameters
    ----------
    path
        File or folder. A folder holds DICOM files at any depth, or NIfTI or ``.npz`` files.
    pixel_spacing_mm
        Distance between rows and between columns [mm], in place of what the files store.
    keep_ids
        Keep the patient's identity, and take the study's key from the patient's ID, where the format stores them.

    Returns
    -------
        The study, its key from the name of the file or folder.

    Raises
    ------
    InputError
        If nothing in it can be used. A single slice that cannot be used raises only when it is loaded.
    ValueError
        If ``pixel_spacing_mm`` is not two positive lengths.
    """
    path = Path(path)
    given_spacing(pixel_spacing_mm)
    try:
        if path.is_dir():
            study = _read_folder(path, pixel_spacing_mm, keep_ids)
        else:
            with path.open("rb") as stream:
                start = stream.read(_START_BYTES)
            study = _read_file(path, start, pixel_spacing_mm, keep_ids)
    except FileNotFoundError as error:
        raise InputError(path, "does not exist", "Check the path") from error
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror})", "Check its permissions") from error
    if study.identity is None:
        return study
    return replace(study, key=safe_name(study.identity.patient_id, study.key))


def find_studies(path: Path) -> FoundStudies:
    """List the inputs that a path stands for; no zip is opened, and one DICOM header per folder.

    A folder is a cohort if no image lies directly in it and it holds zips, each a study of its own, or else sub-folders
    with a DICOM study each (see `split_folder`) or with NIfTI or NumPy files, in the order of their names. All else is
    one study: a folder of images stays one, also where a zip lies among them, and so does a study whose series, or
    whose slices by the names of their levels, lie in sub-folders. Where NIfTI or NumPy files lie in a folder and below
    it, which do not say whose they are, that is noted.
    """
    entries = sorted(path.glob("*"))
    studies = [entry for entry in entries if entry.suffix.lower() == _ZIP_SUFFIX and entry.is_file()]
    if studies and any(_is_image(entry) for entry in entries):
        return FoundStudies((path,), "")
    studies = studies or split_folder(path)
    subjects = [] if studies else _subjects(path)
    studies = studies or subjects
    if not studies:
        if len(entries) == 1 and entries == folders_in(path) and entries[0].is_symlink():
            return find_studies(entries[0])  # reading the folder would not follow it
        return FoundStudies((path,), _images_at_two_depths(path, entries))
    notes = []
    if subjects:
        notes.append(f"{path.name}: its {len(subjects)} sub-folders of images are taken for studies of their own")
        mixed = [folder.name for folder in subjects if _image_folders(folder)]
        if mixed:
            notes.append(f"{_some(mixed)}: all images below are taken for one heart; give their sub-folders otherwise")
    used = {place for study in studies for place in (study, *study.parents)}
    others = [entry.name for entry in entries if entry not in used]
    if others:
        notes.append(f"{path.name}: {len(others)} files or folders beside its studies are left out ({_some(others)})")
    return FoundStudies(tuple(studies), "; ".join(notes))


def _shown_names(files: Sequence[Path], used: Collection[Path]) -> list[str]:
    """What the files within an input are called that are not used: their names may be patients'."""
    shown = zip(files, places(len(files)), strict=True)
    return [shown_path(file, place).name for file, place in shown if file not in used]


def _some(names: Sequence[str]) -> str:
    """The first names of a list."""
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _subjects(path: Path) -> list[Path]:
    """Sub-folders with NIfTI or NumPy files, which do not say whose they are; none where DICOM lies anywhere."""
    folders = _image_folders(path)
    return [] if folders and holds_dicom(path) else folders


def _images_at_two_depths(path: Path, entries: Sequence[Path]) -> str:
    """Say where one file may have made one heart of many subjects; empty where none did."""
    direct = [entry.name for entry in entries if _is_array_file(entry)]
    folders = [folder for folder in folders_in(path) if not folder.is_symlink()] if direct else []
    below = [folder.name for folder in folders if _has_array_file(folder)]
    if not below:
        return ""
    return (
        f"{path.name}: all images in it and below are taken for one heart, since some lie in it ({_some(direct)}) and "
        f"some in its sub-folders ({_some(below)})"
    )


def _has_array_file(folder: Path) -> bool:
    """Whether a NIfTI or NumPy file lies anywhere below a folder, by name."""
    return any(_is_array_file(file) for files in files_by_folder(folder) for file in files)


def _image_folders(path: Path) -> list[Path]:
    """Sub-folders with NIfTI or NumPy files, where there are several; a single one is looked into.

    None where an image lies directly in the folder, or where they are named by the levels of one heart's slices.
    """
    if any(_is_image(entry) for entry in path.glob("*")):
        return []
    folders = [folder for folder in own_before_links(folders_in(path), _has_array_file) if _has_array_file(folder)]
    if len(folders) < 2:
        return _image_folders(folders[0]) if folders else []
    levels = [level_from_file_name(folder.name) or level_from_description(folder.name) for folder in folders]
    is_one_heart = None not in levels and len(set(levels)) == len(levels)
    return [] if is_one_heart else folders


def _read_file(path: Path, start: bytes, pixel_spacing_mm: tuple[float, float] | None, keep_ids: bool) -> Study:
    """Choose the reader by the first bytes."""
    if start.startswith(_HDF5_MAGIC):
        return read_hdf5_study(path, pixel_spacing_mm)
    if start.startswith(_ZIP_MAGICS):
        if is_npz(path):
            return read_npz_study(path, [path], pixel_spacing_mm)
        return read_dicom_zip(path, pixel_spacing_mm, keep_ids=keep_ids)
    if is_dicom(start):
        return read_dicom_file(path, pixel_spacing_mm, keep_ids=keep_ids)
    if is_nifti_name(path):
        if not _is_nifti(path, start):
            raise InputError(path, "is named NIfTI but is not", "Check the file or convert the series again")
        return read_nifti_study(path, [path], pixel_spacing_mm)
    if not start:
        raise InputError(path, "is empty", "Copy or download it again")
    if path.suffix.lower() in _HDF5_SUFFIXES:
        raise InputError(path, "is named HDF5 but is not", "Copy or download it again")
    raise InputError(
        path, "is not an image file that tagstrain reads", "Give DICOM (file, folder, zip), NIfTI, HDF5 or npz"
    )


def _read_folder(path: Path, pixel_spacing_mm: tuple[float, float] | None, keep_ids: bool) -> Study:
    """Read a folder of DICOM files or, where there are none, of NIfTI files, else of NumPy files."""
    files = files_below(path)
    if not files and (links := links_below(path)):
        if any(link.exists() for link in links):
            remedy = "Give a folder whose own entries link to one study each, or the folders that the links lead to"
            raise InputError(path, "holds no file, only links that are not followed", remedy)
        raise InputError(path, "holds no file, only links that lead nowhere", "Fetch what they lead to")
    nifti = [file for file in files if is_nifti_name(file)]
    npz = [file for file in files if file.suffix.lower() == NPZ_SUFFIX]
    if files and all(file.suffix.lower() in _HDF5_SUFFIXES for file in files):
        raise InputError(path, "is a folder of HDF5 files", f"Give the files: {path.name}/*{files[0].suffix}")
    if not (nifti or npz) or any(starts_as_dicom(file) for file in files):
        return read_dicom_folder(path, pixel_spacing_mm, keep_ids=keep_ids)
    if nifti:
        used = {*nifti, *(sidecar_path(file) for file in nifti)}
        skipped = tuple(f"{name}: is not a NIfTI file" for name in _shown_names(files, used))
        return read_nifti_study(path, nifti, pixel_spacing_mm, skipped)
    skipped = tuple(f"{name}: is not a NumPy file" for name in _shown_names(files, set(npz)))
    return read_npz_study(path, npz, pixel_spacing_mm, skipped)


def _is_image(path: Path) -> bool:
    """Whether a file is an image by its start (DICOM) or its name."""
    return _is_array_file(path) or (path.is_file() and starts_as_dicom(path))


def _is_array_file(path: Path) -> bool:
    """Whether this is a file that is named as NIfTI or NumPy files are."""
    return (is_nifti_name(path) or path.suffix.lower() == NPZ_SUFFIX) and path.is_file()


def _is_nifti(path: Path, start: bytes) -> bool:
    """Whether the (unpacked) header carries NIfTI's magic."""
    if start.startswith(b"\x1f\x8b"):
        try:
            with gzip.open(path) as stream:
                start = stream.read(_START_BYTES)
        except (OSError, EOFError, zlib.error):
            return False
    magics = (start[_NIFTI1_MAGIC_AT : _NIFTI1_MAGIC_AT + 4], start[_NIFTI2_MAGIC_AT : _NIFTI2_MAGIC_AT + 4])
    return any(magic in _NIFTI_MAGICS for magic in magics)
