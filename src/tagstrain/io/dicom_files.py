"""The DICOM images below a folder, in a zip or listed in a DICOMDIR, as headers: `file_headers`, `zip_headers`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path

from pydicom.datadict import tag_for_keyword
from pydicom.filereader import dcmread
from pydicom.tag import Tag
from pydicom.uid import MediaStorageDirectoryStorage

from tagstrain.errors import InputError
from tagstrain.io.archive import ByteSource, FileBytes, open_archive, read_member, zip_members
from tagstrain.io.dicom_header import DicomHeader, read_headers, refuse_deflate_bomb
from tagstrain.io.dicom_values import damage_told, sequence, text, words
from tagstrain.io.limits import BoundedReader
from tagstrain.io.shown_names import places

PREAMBLE_BYTES = 132

# UK Biobank lists each zip's files in one; what it says is neither complete nor free of errors.
_MANIFEST = re.compile(r"^manifest.*\.(?:cvs|csv)$", re.IGNORECASE)
_DIRECTORY_RECORDS = Tag(tag_for_keyword("DirectoryRecordSequence") or 0)


def is_dicom(start: bytes) -> bool:
    """Whether a file's first 132 bytes are those of DICOM part 10."""
    return start[128:PREAMBLE_BYTES] == b"DICM"


def starts_as_dicom(path: Path) -> bool:
    """Whether a file can be read and starts as DICOM does."""
    try:
        with path.open("rb") as stream:
            return is_dicom(stream.read(PREAMBLE_BYTES))
    except OSError:
        return False


def is_manifest(path: Path) -> bool:
    """Whether a file is UK Biobank's list of the files beside it, which the headers replace."""
    return _MANIFEST.match(path.name) is not None


def file_headers(files: Sequence[Path], are_named: bool = False) -> Iterator[DicomHeader | InputError]:
    """Headers of files, or why a file gives none; manifests and DICOMDIRs are passed over.

    Parameters
    ----------
    are_named
        Whether the user named the files one by one, so that messages may; see `shown_path`.
    """
    for path, place in zip(files, places(len(files)), strict=True):
        file = FileBytes(path, "" if are_named else place)
        try:
            with BoundedReader(path) as stream:
                start = stream.read(PREAMBLE_BYTES)
                stream.seek(0)
                if is_dicom(start):
                    yield from read_headers(file, stream)
                elif not is_manifest(path):
                    yield _not_dicom(file)
        except InputError as error:
            yield error
        except OSError as error:
            yield InputError(file.shown, f"cannot be read ({error.strerror})", "Check the file")


def zip_headers(path: Path) -> Iterator[DicomHeader | InputError]:
    """Headers of the members of a zip, or why a member gives none; manifests and DICOMDIRs are passed over."""
    members = zip_members(path)
    with open_archive(path) as archive:
        for member in members:
            try:
                data = read_member(archive, member)
                if is_dicom(data):
                    yield from read_headers(member, BytesIO(data))
                elif not is_manifest(member.path):
                    yield _not_dicom(member)
            except InputError as error:
                yield error


def media_files(path: Path) -> list[Path] | None:
    """Files that a DICOMDIR lists, whether they exist or not; None for a file that is no DICOMDIR.

    Raises
    ------
    InputError
        If it is damaged, would unpack to more than memory should hold, or names a file outside its folder.
    """
    source = FileBytes(path)
    data = source.read()
    with damage_told(source):
        refuse_deflate_bomb(source, BytesIO(data))
        dataset = dcmread(BytesIO(data), stop_before_pixels=True, specific_tags=[_DIRECTORY_RECORDS])
        if text(dataset.file_meta, "MediaStorageSOPClassUID") != MediaStorageDirectoryStorage:
            return None
        listed = [words(record, "ReferencedFileID") for record in sequence(dataset, "DirectoryRecordSequence")]
    names = [parts for parts in listed if any(parts)]
    if any(part in ("", ".", "..") or re.search(r"[/\\:]", part) for parts in names for part in parts):
        raise InputError(path, "lists a file outside its folder", "Do not use this file; ask its source")
    return [_find(path.parent, parts) for parts in dict.fromkeys(names)]


def _find(folder: Path, parts: tuple[str, ...]) -> Path:
    """The listed file; names are in capitals on the medium and may not be after copying."""
    for part in parts:
        exact = folder / part
        if not exact.exists() and folder.is_dir():
            exact = next((entry for entry in folder.iterdir() if entry.name.upper() == part), exact)
        folder = exact
    return folder


def _not_dicom(file: ByteSource) -> InputError:
    """Say that a file is something else."""
    return InputError(file.shown, "is not a DICOM file", "Give DICOM, NIfTI, NumPy or HDF5")
