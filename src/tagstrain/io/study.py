"""One way in for every format, chosen by content: `read_study`."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from tagstrain.data.study import Study
from tagstrain.errors import InputError
from tagstrain.io.assembly import given_spacing
from tagstrain.io.dicom import read_dicom_file, read_dicom_folder, read_dicom_zip
from tagstrain.io.dicom_files import PREAMBLE_BYTES, is_dicom
from tagstrain.io.hdf5 import read_hdf5_study
from tagstrain.io.nifti import is_nifti_name, read_nifti_study

_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_HDF5_SUFFIXES = (".h5", ".hdf5")
_ZIP_MAGICS = (b"PK\x03\x04", b"PK\x05\x06")
_NIFTI_MAGICS = (b"n+1\0", b"n+2\0")
_NIFTI1_MAGIC_AT, _NIFTI2_MAGIC_AT = 344, 4
_START_BYTES = 512


def read_study(path: str | Path, pixel_spacing_mm: tuple[float, float] | None = None) -> Study:
    """Read a study: HDF5, NIfTI, or DICOM as a file, a folder or a zip.

    Only headers are read here; the pixels of a slice are read by its ``load()``.

    Parameters
    ----------
    path
        File or folder. A folder holds DICOM files at any depth, or NIfTI files.
    pixel_spacing_mm
        Distance between rows and between columns [mm], in place of what the files store.

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
            return _read_folder(path, pixel_spacing_mm)
        with path.open("rb") as stream:
            start = stream.read(_START_BYTES)
    except FileNotFoundError as error:
        raise InputError(path, "does not exist", "Check the path") from error
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror})", "Check its permissions") from error
    return _read_file(path, start, pixel_spacing_mm)


def _read_file(path: Path, start: bytes, pixel_spacing_mm: tuple[float, float] | None) -> Study:
    """Choose the reader by the first bytes."""
    if start.startswith(_HDF5_MAGIC):
        return read_hdf5_study(path, pixel_spacing_mm)
    if start.startswith(_ZIP_MAGICS):
        return read_dicom_zip(path, pixel_spacing_mm)
    if is_dicom(start):
        return read_dicom_file(path, pixel_spacing_mm)
    if is_nifti_name(path):
        if not _is_nifti(path, start):
            raise InputError(path, "is named NIfTI but is not", "Check the file or convert the series again")
        return read_nifti_study(path, [path], pixel_spacing_mm)
    if not start:
        raise InputError(path, "is empty", "Copy or download it again")
    if path.suffix.lower() in _HDF5_SUFFIXES:
        raise InputError(path, "is named HDF5 but is not", "Copy or download it again")
    raise InputError(path, "is not an image file that tagstrain reads", "Give DICOM (file, folder, zip), NIfTI or HDF5")


def _read_folder(path: Path, pixel_spacing_mm: tuple[float, float] | None) -> Study:
    """Read a folder of DICOM files or, where there are none, of NIfTI files."""
    files = sorted(file for file in path.rglob("*") if file.is_file())
    nifti = [file for file in files if is_nifti_name(file)]
    if not nifti or any(_starts_as_dicom(file) for file in files):
        return read_dicom_folder(path, pixel_spacing_mm)
    skipped = tuple(f"{file.name}: is not a NIfTI file" for file in files if file not in nifti)
    return read_nifti_study(path, nifti, pixel_spacing_mm, skipped)


def _starts_as_dicom(path: Path) -> bool:
    """Whether a file can be read and starts as DICOM does."""
    try:
        with path.open("rb") as stream:
            return is_dicom(stream.read(PREAMBLE_BYTES))
    except OSError:
        return False


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
