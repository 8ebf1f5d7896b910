"""One simulated study as the scanners of different vendors store it, for the reader tests."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from io_examples import LEVELS, edit_dicom
from numpy.typing import NDArray
from pydicom import Dataset, FileDataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, generate_uid

from tagstrain.data import PixelSpacing, SliceLevel, TaggedCine
from tagstrain.io import write_dicom_study

RR_INTERVAL_MS = 850.0
SERIES_UID = "1.2.826.0.1.3680043.8.498.20211"


def tagged_cine(
    level: SliceLevel = SliceLevel.UNKNOWN,
    angles_deg: Sequence[float] = (45.0, 135.0),
    n_frames: int = 5,
    start_ms: float = 20.0,
    depth_mm: float = 0.0,
) -> TaggedCine:
    """Slice through a ring of tissue with fading tags 6 mm apart, in 12-bit whole numbers, on an oblique plane."""
    rows, columns, spacing = 72, 60, PixelSpacing(1.5, 1.25)
    y, x = np.mgrid[:rows, :columns]
    x_mm, y_mm = (x - 30) * spacing.column_mm, (y - 36) * spacing.row_mm
    tissue = 800.0 + 600.0 * np.exp(-((np.hypot(x_mm, y_mm) - 22.0) ** 2) / 60)
    times_ms = start_ms + 42.5 * np.arange(n_frames)
    frames = np.repeat(tissue[None], n_frames, axis=0)
    for angle in np.deg2rad(angles_deg):
        wave = np.cos(2 * np.pi * (x_mm * np.cos(angle) + y_mm * np.sin(angle)) / 6.0)
        frames *= 1 - 0.6 * np.exp(-times_ms / 900)[:, None, None] * (1 + wave) / 2
    frames += np.random.default_rng(LEVELS.index(level) if level in LEVELS else 3).normal(0, 15, frames.shape)
    frames = np.rint(np.clip(frames, 0, 4095)).astype(np.float32)
    return TaggedCine(frames, times_ms, spacing, name=level.value, level=level, affine=_affine(spacing, depth_mm))


def tagged_study(**options: object) -> list[TaggedCine]:
    """Base, mid and apex, 12 mm apart."""
    return [tagged_cine(level, depth_mm=12.0 * k, **options) for k, level in enumerate(LEVELS)]


def _affine(spacing: PixelSpacing, depth_mm: float) -> NDArray[np.float64]:
    """Oblique short axis whose normal points to the apex of a normally placed heart."""
    normal = np.array([0.6, -0.7, -0.4]) / np.linalg.norm([0.6, -0.7, -0.4])
    along_row = np.cross([0.0, 0.0, -1.0], normal)
    along_row /= np.linalg.norm(along_row)
    affine = np.eye(4)
    affine[:3, 0] = along_row * spacing.column_mm
    affine[:3, 1] = np.cross(normal, along_row) * spacing.row_mm
    affine[:3, 2] = normal
    affine[:3, 3] = np.array([-20.0, 35.0, 60.0]) + depth_mm * normal
    return affine


# Classic, one file per image


def write_classic(
    folder: Path, cines: Sequence[TaggedCine], edit: Callable[[FileDataset], None], seed: int = 1
) -> None:
    """One series per slice without a telling name, RR interval as scanners write it, and what ``edit`` changes."""
    files = write_dicom_study(folder, cines, seed, ["HLA_03"] * len(cines))
    edit_dicom(files, lambda d: (setattr(d, "NominalInterval", int(RR_INTERVAL_MS)), edit(d))[0])


def write_siemens_classic(folder: Path, cines: Sequence[TaggedCine]) -> None:
    """No tagging attribute, no rescale, frames in any order of instance numbers."""

    def edit(dataset: FileDataset) -> None:
        dataset.Manufacturer, dataset.ImageType = "SIEMENS", ["ORIGINAL", "PRIMARY", "M", "RETRO", "ND"]
        dataset.SequenceName, dataset.HeartRate = "*fl2d1", 0
        dataset.InstanceNumber = 3 * dataset.InstanceNumber % 17

    write_classic(folder, cines, edit)


def write_ge(folder: Path, cines: Sequence[TaggedCine]) -> None:
    """All slices and phases in one series, numbered through; only the heart rate tells the RR interval."""

    def edit(dataset: FileDataset) -> None:
        dataset.Manufacturer, dataset.ImageType = "GE MEDICAL SYSTEMS", ["ORIGINAL", "PRIMARY", "OTHER"]
        dataset.SeriesInstanceUID = SERIES_UID
        dataset.InstanceNumber += 100 * dataset.SeriesNumber
        dataset.SeriesNumber, dataset.HeartRate = 7, round(60000 / RR_INTERVAL_MS)
        del dataset.NominalInterval

    write_classic(folder, cines, edit)


def write_philips_classic(folder: Path, cines: Sequence[TaggedCine]) -> None:
    """One series with magnitude and phase, a rescale per image, and a real-world map that is not for us."""

    def edit(dataset: FileDataset) -> None:
        stored, slope = dataset.pixel_array, 0.5 * dataset.InstanceNumber
        dataset.Manufacturer, dataset.SeriesInstanceUID = "Philips Medical Systems", SERIES_UID
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE"]
        dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = slope, -4, "normalized"
        dataset.PixelData = np.rint((stored + 4) / slope).astype("<u2").tobytes()
        mapping = Dataset()
        mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept = 77.0, 5.0
        dataset.RealWorldValueMappingSequence = [mapping]
        dataset.TemporalPositionIdentifier = dataset.InstanceNumber
        dataset.NumberOfTemporalPositions = dataset.CardiacNumberOfImages
        del dataset.CardiacNumberOfImages

    def to_phase(dataset: FileDataset) -> None:
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "PHASE MAP", "P", "FFE"]
        dataset.SOPInstanceUID = generate_uid(entropy_srcs=[dataset.SOPInstanceUID, "phase"])
        dataset.PixelData = (4095 - dataset.pixel_array).astype("<u2").tobytes()
        dataset.InstanceNumber += 500
        dataset.RescaleSlope, dataset.RescaleIntercept = 1.5, -3141

    write_classic(folder, cines, edit)
    for file in sorted(folder.iterdir()):
        dataset = dcmread(file)
        to_phase(dataset)
        dataset.save_as(folder / f"PH_{file.name}")


def philips_rescaled(cine: TaggedCine) -> TaggedCine:
    """The cine with the rounding of `write_philips_classic`."""
    slopes = 0.5 * np.arange(1, cine.n_frames + 1)[:, None, None]
    return replace(cine, frames=(np.rint((cine.frames + 4) / slopes) * slopes - 4).astype(np.float32))


# Enhanced, all images in one object


def write_siemens_enhanced(path: Path, cines: Sequence[TaggedCine]) -> Path:
    """XA style: orientation and spacing shared, slices interleaved, no tagging attribute."""
    dataset, frames = _enhanced(cines, "Siemens Healthineers", range(len(cines[0].frames)))
    shared = Dataset()
    shared.PixelMeasuresSequence = [_item(PixelSpacing=list(cines[0].pixel_spacing), SliceThickness=8.0)]
    shared.PlaneOrientationSequence = [_orientation(cines[0])]
    dataset.SharedFunctionalGroupsSequence = [shared]
    for frame, cine, t in frames:
        frame.CardiacSynchronizationSequence[0].RRIntervalTimeNominal = RR_INTERVAL_MS
        frame.PixelValueTransformationSequence = [_item(RescaleIntercept=0, RescaleSlope=1, RescaleType="US")]
        frame.MRImageFrameTypeSequence = [
            _item(FrameType=["ORIGINAL", "PRIMARY", "M", "NONE"], ComplexImageComponent="MAGNITUDE")
        ]
        frame.FrameContentSequence[0].FrameComments = f"{cine.name} {t}"
    return _save(dataset, path)


def write_philips_enhanced(path: Path, cines: Sequence[TaggedCine]) -> Path:
    """Magnitude and phase in one object, rescale per frame, spacing and tag spacing in private sequences only."""
    dataset, frames = _enhanced([cine for cine in cines for _ in range(2)], "Philips", range(len(cines[0].frames)))
    shared, tags = Dataset(), _item(TagSpacingFirstDimension=6.0)
    shared.PlaneOrientationSequence = [_orientation(cines[0])]
    shared.add_new(0x20050014, "LO", "Philips MR Imaging DD 005")
    shared.add_new(0x2005140E, "SQ", [tags])
    dataset.SharedFunctionalGroupsSequence = [shared]
    pixels = dataset.pixel_array.copy()
    for k, (frame, cine, t) in enumerate(frames):
        is_phase = k % 2 == 1
        slope = 0.5 * (t + 1)
        pixels[k] = 4095 - cine.frames[t] if is_phase else np.rint((cine.frames[t] + 4) / slope)
        frame.PixelValueTransformationSequence = [_item(RescaleIntercept=-4, RescaleSlope=slope, RescaleType="US")]
        component = "PHASE" if is_phase else "MAGNITUDE"
        frame.MRImageFrameTypeSequence = [
            _item(FrameType=["ORIGINAL", "PRIMARY", "M_FFE", "NONE"], ComplexImageComponent=component)
        ]
        private = _item(PixelSpacing=list(cine.pixel_spacing), HeartRate=round(60000 / RR_INTERVAL_MS))
        frame.add_new(0x20050014, "LO", "Philips MR Imaging DD 005")
        frame.add_new(0x2005140F, "SQ", [private])
    dataset.PixelData = pixels.tobytes()
    return _save(dataset, path)


def _enhanced(
    cines: Sequence[TaggedCine], manufacturer: str, times: range
) -> tuple[FileDataset, list[tuple[Dataset, TaggedCine, int]]]:
    """An enhanced MR object, the last phase first and the slices within it, and the items of its frames."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = EnhancedMRImageStorage, ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["enhanced", manufacturer])
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = EnhancedMRImageStorage, meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"{SERIES_UID}.1", f"{SERIES_UID}.2"
    dataset.FrameOfReferenceUID = f"{SERIES_UID}.3"
    dataset.Modality, dataset.Manufacturer, dataset.SeriesNumber, dataset.InstanceNumber = "MR", manufacturer, 5, 1
    dataset.PatientName, dataset.PatientID = "Sekret^Jo", "Sekret1"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.Rows, dataset.Columns = cines[0].frames.shape[1:]
    frames, pixels = [], []
    for t, (place, cine) in itertools.product(reversed(times), enumerate(cines)):
        item = Dataset()
        item.FrameContentSequence = [_item(StackID="1", InStackPositionNumber=place + 1, TemporalPositionIndex=t + 1)]
        item.PlanePositionSequence = [_item(ImagePositionPatient=[round(float(v), 8) for v in cine.affine[:3, 3]])]
        item.CardiacSynchronizationSequence = [_item(NominalCardiacTriggerDelayTime=float(cine.frame_times_ms[t]))]
        frames.append((item, cine, t))
        pixels.append(cine.frames[t].astype("<u2"))
    dataset.PerFrameFunctionalGroupsSequence = [item for item, _, _ in frames]
    dataset.NumberOfFrames = len(frames)
    dataset.PixelData = np.stack(pixels).tobytes()
    dataset["PixelData"].VR = "OW"
    return dataset, frames


def _orientation(cine: TaggedCine) -> Dataset:
    """Direction cosines of row and column."""
    directions = [cine.affine[:3, k] / np.linalg.norm(cine.affine[:3, k]) for k in (0, 1)]
    return _item(ImageOrientationPatient=[round(float(v), 8) for v in np.concatenate(directions)])


def _item(**attributes: object) -> Dataset:
    """Sequence item with some attributes."""
    item = Dataset()
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return item


def _save(dataset: FileDataset, path: Path) -> Path:
    """Write the object."""
    dataset.save_as(path, enforce_file_format=True)
    return path
