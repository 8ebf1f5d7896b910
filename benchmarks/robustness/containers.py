"""The same small study in every container that tagstrain reads, as bytes by file name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZIP_DEFLATED, ZipFile

import h5py
import nibabel as nib
import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, generate_uid
from pydicom.valuerep import DSfloat

from tagstrain.data import PixelSpacing, SliceLevel, TaggedCine
from tagstrain.io import write_dicom_study

Files = dict[str, bytes]
"""Content by name, in one folder."""

LEVELS = (SliceLevel.BASAL, SliceLevel.MID, SliceLevel.APICAL)
_RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def tagged_study(
    n_slices: int = 2, n_frames: int = 4, rows: int = 40, columns: int = 36, seed: int = 0
) -> list[TaggedCine]:
    """Parallel slices of noise under a grid of tags, in whole numbers, unevenly timed, in oblique planes."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((rows, columns), np.float64)
    grid = (2 + np.cos(1.4 * (x + y)) + np.cos(1.4 * (x - y))) / 4
    times_ms = np.round(12.5 + np.cumsum(rng.uniform(25, 45, n_frames)), 3)
    along_row, along_column = np.array([0.8, 0.36, -0.48]), np.array([0.0, 0.8, 0.6])
    normal = np.cross(along_row, along_column)
    cines = []
    for k, level in zip(range(n_slices), LEVELS, strict=False):
        frames = np.rint(1000 * grid + rng.uniform(0, 300, (n_frames, rows, columns))).astype(np.float32)
        affine = np.eye(4)
        affine[:3, :3] = np.column_stack([along_row * 1.25, along_column * 1.5, normal])
        affine[:3, 3] = np.array([-20.0, 31.5, 12.25]) + 12 * k * normal
        cines.append(
            TaggedCine(frames, times_ms, PixelSpacing(1.5, 1.25), level.value, level, affine=affine, rr_interval_ms=900)
        )
    return cines


def dicom_files(cines: Sequence[TaggedCine]) -> Files:
    """Classic single-frame DICOM, one file per frame."""
    with TemporaryDirectory() as folder:
        return {path.name: path.read_bytes() for path in write_dicom_study(Path(folder) / "study", cines, seed=1)}


def enhanced_files(cines: Sequence[TaggedCine]) -> Files:
    """One enhanced (multi-frame) DICOM object with all slices and frames."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = EnhancedMRImageStorage, ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["enhanced"])
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = EnhancedMRImageStorage, meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = (generate_uid(entropy_srcs=[level]) for level in "ab")
    dataset.Modality, dataset.SeriesDescription = "MR", "tagging"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 0
    dataset.Rows, dataset.Columns = cines[0].frames.shape[1:]
    frames = [(cine, t) for cine in cines for t in range(cine.n_frames)]
    dataset.NumberOfFrames = len(frames)
    dataset.PerFrameFunctionalGroupsSequence = [_functional_groups(cine, t) for cine, t in frames]
    dataset.PixelData = np.concatenate([cine.frames for cine in cines]).astype("<u2").tobytes()
    dataset["PixelData"].VR = "OW"
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return {"enhanced.dcm": stream.getvalue()}


def _functional_groups(cine: TaggedCine, t: int) -> Dataset:
    """Where and when a frame was taken."""
    item, measures, plane, orientation, timing = (Dataset() for _ in range(5))
    measures.PixelSpacing = list(cine.pixel_spacing)
    plane.ImagePositionPatient = [DSfloat(v, auto_format=True) for v in cine.affine[:3, 3]]
    directions = cine.affine[:3, :2] / np.linalg.norm(cine.affine[:3, :2], axis=0)
    orientation.ImageOrientationPatient = [DSfloat(v, auto_format=True) for v in directions.T.ravel()]
    timing.NominalCardiacTriggerDelayTime = float(cine.frame_times_ms[t])
    timing.RRIntervalTimeNominal = cine.rr_interval_ms
    item.PixelMeasuresSequence, item.PlanePositionSequence = [measures], [plane]
    item.PlaneOrientationSequence, item.CardiacSynchronizationSequence = [orientation], [timing]
    return item


def zip_files(cines: Sequence[TaggedCine]) -> Files:
    """The DICOM files in a zip with a manifest, as UK Biobank gives them."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "1234567_20211_2_0.zip"
        with ZipFile(path, "w", ZIP_DEFLATED) as archive:
            for name, content in dicom_files(cines).items():
                archive.writestr(name, content)
            archive.writestr("manifest.cvs", "filename,date\nx.dcm,Aug 30, 2015\n")
        return {path.name: path.read_bytes()}


def nifti_files(cines: Sequence[TaggedCine], suffix: str = ".nii") -> Files:
    """One (x, y, 1, t) image per slice, named as converters of UK Biobank do, with times in a sidecar."""
    files: Files = {}
    with TemporaryDirectory() as folder:
        for k, cine in enumerate(cines):
            path = Path(folder) / f"tag_{k + 1}{suffix}"
            affine = None if cine.affine is None else _RAS_FROM_LPS @ cine.affine
            image = nib.Nifti1Image(cine.frames.transpose(2, 1, 0)[:, :, None].astype(np.int16), affine)
            image.header["pixdim"][1:5] = [cine.pixel_spacing.column_mm, cine.pixel_spacing.row_mm, 8, 35]
            image.header.set_xyzt_units("mm", "msec")
            nib.save(image, path)
            files[path.name] = path.read_bytes()
            times = ", ".join(f"{time:.6f}" for time in cine.frame_times_ms)
            sidecar = f'{{"FrameTimesMs": [{times}], "RRIntervalMs": {cine.rr_interval_ms}}}'
            files[f"tag_{k + 1}.json"] = sidecar.encode()
    return files


def packed_nifti_files(cines: Sequence[TaggedCine]) -> Files:
    """The same, compressed."""
    return nifti_files(cines, ".nii.gz")


def hdf5_files(cines: Sequence[TaggedCine]) -> Files:
    """One row per slice in the predecessor's layout, compressed chunk by chunk."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "rows.h5"
        with h5py.File(path, "w") as file:
            images = np.stack([cine.frames for cine in cines]).astype(np.uint16)
            file.create_dataset("image_seqs", data=images, chunks=(1, *images.shape[1:]), compression="gzip")
            file["px_spaces"] = [cine.pixel_spacing.row_mm for cine in cines]
            file["px_spaces_column"] = [cine.pixel_spacing.column_mm for cine in cines]
            file["frame_times_ms"] = np.stack([cine.frame_times_ms for cine in cines])
            file["rr_interval_ms"] = [cine.rr_interval_ms for cine in cines]
            file["ed_frame_idx"] = [cine.ed_frame for cine in cines]
            file["n_frames"] = [cine.n_frames for cine in cines]
        return {path.name: path.read_bytes()}


def npz_arrays(cine: TaggedCine) -> dict[str, np.ndarray]:
    """Arrays of our NumPy layout."""
    arrays = {
        "frames": cine.frames.astype(np.uint16),
        "frame_times_ms": cine.frame_times_ms,
        "pixel_spacing_mm": np.array(cine.pixel_spacing),
        "ed_frame": np.array(cine.ed_frame),
        "rr_interval_ms": np.array(cine.rr_interval_ms),
    }
    return arrays if cine.affine is None else {**arrays, "affine": cine.affine}


def npz_files(cines: Sequence[TaggedCine]) -> Files:
    """One NumPy file per slice, named by level."""
    files: Files = {}
    with TemporaryDirectory() as folder:
        for cine in cines:
            path = Path(folder) / f"{cine.name}.npz"
            np.savez_compressed(path, **npz_arrays(cine))
            files[path.name] = path.read_bytes()
    return files


WRITERS: Mapping[str, Callable[[Sequence[TaggedCine]], Files]] = {
    "dicom": dicom_files,
    "enhanced": enhanced_files,
    "zip": zip_files,
    "nifti": nifti_files,
    "nifti.gz": packed_nifti_files,
    "hdf5": hdf5_files,
    "npz": npz_files,
}
"""Every container by name; what is added here is fuzzed, timed and compared with the others."""


def write_container(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Write files into an existing folder.

    Returns
    -------
        What a user would name: the file where there is one, else the folder.
    """
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder / next(iter(files)) if len(files) == 1 else folder
