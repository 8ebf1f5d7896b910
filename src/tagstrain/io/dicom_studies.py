"""Which DICOM images may make one heart: never those of two patients or studies (`split_folder`, `check_one_study`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tagstrain.errors import InputError
from tagstrain.io.dicom_files import file_headers, starts_as_dicom
from tagstrain.io.dicom_header import DicomHeader
from tagstrain.io.input_folder import files_by_folder, folders_in, own_before_links

DOUBT = "some slices name neither patient nor DICOM study: make sure that all are of one patient"


def split_folder(folder: Path) -> list[Path]:
    """Sub-folders that are DICOM studies of their own, in the order of their names; empty where the folder is one.

    It is split only where no image lies directly in it and no study in two sub-folders; a single sub-folder is looked
    into. One header per folder is read, the first: what is mixed within a folder is for `check_one_study` to refuse.
    """
    if _first_image(sorted(entry for entry in folder.glob("*") if entry.is_file())) is not None:
        return []
    below = folders_in(folder)
    if len(below) == 1:  # as on a medium, with its list beside the one folder of all images
        return split_folder(below[0])
    below = own_before_links(below, holds_dicom)
    images = [_images_below(entry) for entry in below]
    every = [image for found in images for image in found]
    # Anonymized images may lack either: what not all of them have cannot tell them apart.
    has_study = all(image.study_uid for image in every)
    has_patient = all(image.patient for image in every)
    studies = [
        {(image.study_uid if has_study else "", image.patient if has_patient else "") for image in found}
        for found in images
    ]
    n_distinct = len(set().union(*studies))
    if n_distinct < 2 or n_distinct < sum(map(len, studies)) or sum(map(bool, studies)) < 2:
        return []
    # A sub-folder whose images are all damaged is a study too: one that fails, not one that is passed over.
    return [entry for entry, found in zip(below, studies, strict=True) if found or holds_dicom(entry)]


def check_one_study(path: Path, headers: Sequence[DicomHeader], keep_ids: bool) -> str:
    """Refuse images of several patients or DICOM studies.

    Parameters
    ----------
    keep_ids
        Also refuse where it cannot be told, since the identity of one would be given to all.

    Returns
    -------
        A warning where it cannot be told for all images; empty where they are of one, or none of them names any.

    Raises
    ------
    InputError
        Which says of how many, and not of whom.
    """
    patients, studies = {header.patient for header in headers}, {header.study_uid for header in headers}
    for what, names in (("patients", patients), ("DICOM studies", studies)):
        n = len(names - {""})
        if n > 1:
            problem = f"holds slices of {n} {what}, which must not be mixed"
            raise InputError(path, problem, "Give every study as a folder or zip of its own, and none of them twice")
    if any(len(names) == 1 and "" not in names for names in (patients, studies)) or patients == studies == {""}:
        return ""
    if keep_ids:
        problem = "holds slices that name neither patient nor DICOM study beside others that do"
        raise InputError(path, problem, "Give one study at a time, or leave out --keep-ids")
    return DOUBT


def _images_below(folder: Path) -> list[DicomHeader]:
    """The first image of every folder, at any depth."""
    return [image for image in map(_first_image, files_by_folder(folder)) if image is not None]


def _first_image(files: Sequence[Path]) -> DicomHeader | None:
    """The first MR image that can be read."""
    return next((header for header in file_headers(files) if isinstance(header, DicomHeader)), None)


def holds_dicom(folder: Path) -> bool:
    """Whether any file below a folder starts as DICOM does."""
    return any(file.is_file() and starts_as_dicom(file) for files in files_by_folder(folder) for file in files)
