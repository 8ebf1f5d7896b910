"""Cines as classic single-frame DICOM in the style of UK Biobank field 20211: `write_dicom_study`."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid
from pydicom.valuerep import DSfloat

from tagstrain.data.cine import PixelSpacing, SliceLevel, TaggedCine
from tagstrain.geometry.orientation import FRONT_AND_UP
from tagstrain.io.atomic import atomic_folder, disk_told
from tagstrain.io.slice_levels import LEVELS

_UINT16_MAX = 65535
# A normally placed heart in DICOM's LPS. Its long axis leads left, front and down from base to apex.
_SLICE_GAP_MM = 15.0
_TOWARDS_APEX = np.array([0.62, -0.62, -0.48]) / np.linalg.norm([0.62, -0.62, -0.48])
_CENTER_MM = np.array([30.0, -20.0, 0.0])
_RV_ANGLE_RAD = math.radians(30)
"""Where in the image the right ventricle is taken to lie, for cines that do not say how they lie in the patient."""


def write_dicom_study(
    folder: Path,
    cines: Sequence[TaggedCine],
    seed: int,
    series_descriptions: Sequence[str] | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Write one series per cine, one file per frame; the folder appears only when all are written.

    Pixels that are whole numbers from 0 to 65535 are stored as they are; others are scaled to that range with
    RescaleSlope and RescaleIntercept. There is no patient: name and birth date are empty.

    Parameters
    ----------
    seed
        Names the patient, and makes the unique identifiers together with the cines: same seed and cines, same bytes;
        other cines, other identifiers.
    series_descriptions
        One per cine; ``cine_tagging_3sl_SAX_b1s`` (basal), ``b2s``, ``b3s`` unless given.

    Returns
    -------
        The files, in order of slice and frame.

    Raises
    ------
    OutputError
        If the folder cannot be written, or holds files and is not to be overwritten.
    """
    if series_descriptions is None:
        series_descriptions = [f"cine_tagging_3sl_SAX_b{_series_index(cine, k)}s" for k, cine in enumerate(cines)]
    if len(series_descriptions) != len(cines):
        raise ValueError(f"series_descriptions: expected {len(cines)}, got {len(series_descriptions)}")
    identity = _identity(cines, series_descriptions, seed)
    names: list[str] = []
    with disk_told(folder), atomic_folder(folder, overwrite) as temporary:
        for k, (cine, description) in enumerate(zip(cines, series_descriptions, strict=True)):
            affine = cine.affine
            if affine is None:
                affine = short_axis_affine(cine.frames.shape[1:], cine.pixel_spacing, _series_index(cine, k) - 1)
            stored, slope, intercept = _to_uint16(cine.frames)
            for t in range(cine.n_frames):
                dataset = _frame_dataset(cine, t, affine, stored[t], identity, k)
                dataset.PatientID = f"tagstrain-{seed}"
                dataset.SeriesDescription = description
                if (slope, intercept) != (1.0, 0.0):
                    dataset.RescaleSlope, dataset.RescaleIntercept = _decimal(slope), _decimal(intercept)
                    dataset.RescaleType = "US"
                names.append(f"IM_{k + 1:02d}_{t + 1:04d}.dcm")
                dataset.save_as(temporary / names[-1], enforce_file_format=True)
    return [folder / name for name in names]


def _identity(cines: Sequence[TaggedCine], descriptions: Sequence[str], seed: int) -> tuple[str, ...]:
    """What the unique identifiers are made from."""
    content = hashlib.sha256()
    for cine, description in zip(cines, descriptions, strict=True):
        place = None if cine.affine is None else cine.affine.tolist()
        timing = cine.frame_times_ms.tolist(), cine.rr_interval_ms
        header = cine.frames.shape, timing, tuple(cine.pixel_spacing), place, description
        content.update(repr(header).encode())
        content.update(cine.frames.tobytes())
    return "tagstrain", str(seed), content.hexdigest()


def _series_index(cine: TaggedCine, place: int) -> int:
    """1 for the basal, 2 for the middle, 3 for the apical slice; by place where the level is not known."""
    return place + 1 if cine.level is SliceLevel.UNKNOWN else LEVELS.index(cine.level) + 1


def short_axis_affine(
    shape: tuple[int, ...], pixel_spacing: PixelSpacing, slice_index: int, rv_angle_rad: float = _RV_ANGLE_RAD
) -> NDArray[np.float64]:
    """A short-axis plane of a normally placed heart, seen from the base, in which its image shows no mirrored heart.

    Going from +x towards +y of such an image come the anterior insertion of the right ventricle, the right ventricle
    to the right and in front, and the inferior insertion; tissue near the apex turns the same way in systole.

    Parameters
    ----------
    shape
        ``(rows, columns)``.
    slice_index
        0 for the basal slice; slices lie 15 mm apart along their normal.
    rv_angle_rad
        Direction of the right ventricle in the image, from the left one, from +x towards +y.

    Returns
    -------
        ``(4, 4)`` map from ``(column, row, 0, 1)`` to patient coordinates [mm], DICOM's LPS.
    """
    anterior = FRONT_AND_UP - (FRONT_AND_UP @ _TOWARDS_APEX) * _TOWARDS_APEX
    anterior /= np.linalg.norm(anterior)
    towards_rv = np.cross(_TOWARDS_APEX, anterior)
    cos, sin = math.cos(rv_angle_rad), math.sin(rv_angle_rad)
    rows, columns = shape
    affine = np.eye(4)
    affine[:3, 0] = (cos * towards_rv + sin * anterior) * pixel_spacing.column_mm
    affine[:3, 1] = (sin * towards_rv - cos * anterior) * pixel_spacing.row_mm
    affine[:3, 2] = _TOWARDS_APEX
    middle = affine[:3, 0] * (columns - 1) / 2 + affine[:3, 1] * (rows - 1) / 2
    affine[:3, 3] = _CENTER_MM + slice_index * _SLICE_GAP_MM * _TOWARDS_APEX - middle
    return affine


def _to_uint16(frames: NDArray[np.float32]) -> tuple[NDArray[np.uint16], float, float]:
    """Stored values, rescale slope and intercept."""
    low, high = float(frames.min()), float(frames.max())
    if low >= 0 and high <= _UINT16_MAX and np.array_equal(frames, np.rint(frames)):
        return frames.astype(np.uint16), 1.0, 0.0
    slope = float(_decimal((high - low) / _UINT16_MAX)) or 1.0
    low = float(_decimal(low))
    stored = np.clip(np.rint((frames.astype(np.float64) - low) / slope), 0, _UINT16_MAX)
    return stored.astype(np.uint16), slope, low


def _frame_dataset(
    cine: TaggedCine,
    t: int,
    affine: NDArray[np.float64],
    pixels: NDArray[np.uint16],
    identity: tuple[str, ...],
    place: int,
) -> FileDataset:
    """Data set of one frame, all attributes of MR Image Storage that a reader needs."""
    study_uid = generate_uid(entropy_srcs=[*identity])
    series_uid = generate_uid(entropy_srcs=[*identity, f"series {place}"])
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[*identity, f"series {place} frame {t}"])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = generate_uid(entropy_srcs=["tagstrain"])
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID = study_uid
    dataset.SeriesInstanceUID = series_uid
    dataset.FrameOfReferenceUID = generate_uid(entropy_srcs=[*identity, "frame of reference"])
    for empty in ("PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber"):
        setattr(dataset, empty, "")
    for empty in ("ReferringPhysicianName", "StudyID", "PositionReferenceIndicator", "PatientPosition", "EchoTime"):
        setattr(dataset, empty, None)
    dataset.Modality, dataset.Manufacturer = "MR", "tagstrain"
    dataset.ImageType = ["DERIVED", "PRIMARY", "M"]
    dataset.ScanningSequence, dataset.SequenceVariant, dataset.ScanOptions = "GR", "SP", "CG"
    dataset.MRAcquisitionType, dataset.EchoTrainLength = "2D", 1
    dataset.SeriesNumber, dataset.InstanceNumber, dataset.AcquisitionNumber = place + 1, t + 1, 1
    _set_timing(dataset, cine, t)
    _set_geometry(dataset, cine, affine)
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    dataset.PixelData = pixels.astype("<u2").tobytes()
    dataset["PixelData"].VR = "OW"
    return dataset


def _set_timing(dataset: FileDataset, cine: TaggedCine, t: int) -> None:
    """Cardiac timing: trigger time of the frame, RR interval, frames in the cycle."""
    interval_ms = float(np.mean(np.diff(cine.frame_times_ms)))
    dataset.TriggerTime = _decimal(float(cine.frame_times_ms[t]))
    rr_interval_ms = cine.rr_interval_ms or float(cine.frame_times_ms[-1]) + interval_ms
    dataset.NominalInterval = round(rr_interval_ms)
    dataset.CardiacNumberOfImages = cine.n_frames
    dataset.RepetitionTime = _decimal(interval_ms)


def _set_geometry(dataset: FileDataset, cine: TaggedCine, affine: NDArray[np.float64]) -> None:
    """Spacing, orientation and position of the plane."""
    along_row = affine[:3, 0] / np.linalg.norm(affine[:3, 0])
    along_column = affine[:3, 1] / np.linalg.norm(affine[:3, 1])
    dataset.PixelSpacing = [_decimal(mm) for mm in cine.pixel_spacing]
    dataset.ImageOrientationPatient = [_decimal(float(v)) for v in (*along_row, *along_column)]
    dataset.ImagePositionPatient = [_decimal(float(v)) for v in affine[:3, 3]]
    dataset.SliceThickness = _decimal(8.0)


def _decimal(value: float) -> DSfloat:
    """Number in at most 16 characters, as a DICOM decimal string must be."""
    return DSfloat(value, auto_format=True)
