"""Small synthetic cines, and the same pixels written in every format, for the reader tests."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import FileDataset

from tagstrain.data import PixelSpacing, SliceLevel, Study, TaggedCine
from tagstrain.io import LandmarkFileWriter, write_dicom_study

LEVELS = (SliceLevel.BASAL, SliceLevel.MID, SliceLevel.APICAL)


def example_cine(
    n_frames: int = 4,
    rows: int = 9,
    columns: int = 7,
    spacing: tuple[float, float] = (1.5, 1.25),
    level: SliceLevel = SliceLevel.UNKNOWN,
    seed: int = 0,
    start_ms: float = 12.5,
    step_ms: float = 33.5,
) -> TaggedCine:
    """Cine of random whole numbers in 12 bits, different in every pixel and frame."""
    frames = np.random.default_rng(seed).integers(0, 4096, (n_frames, rows, columns)).astype(np.float32)
    times_ms = start_ms + step_ms * np.arange(n_frames)
    return TaggedCine(frames, times_ms, PixelSpacing(*spacing), name=level.value, level=level)


def example_cines(**sizes: int) -> list[TaggedCine]:
    """Basal, middle and apical slice."""
    return [example_cine(level=level, seed=k, **sizes) for k, level in enumerate(LEVELS)]


def edit_dicom(files: Sequence[Path], edit: Callable[[FileDataset], None]) -> None:
    """Change attributes of files in place."""
    for file in files:
        dataset = dcmread(file)
        edit(dataset)
        dataset.save_as(file)


def set_study(files: Sequence[Path], study_uid: str = "1.2.3", patient_id: str = "P1") -> None:
    """Make files be of one study and patient, as far as they are to name any."""
    edit_dicom(files, lambda d: d.update({"StudyInstanceUID": study_uid, "PatientID": patient_id}))


def zip_folder(folder: Path, path: Path, prefix: str = "") -> Path:
    """Zip the files of a folder."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, prefix + file.relative_to(folder).as_posix())
    return path


def write_nifti(
    path: Path,
    cine: TaggedCine,
    affine_ras: NDArray[np.float64] | None = None,
    units: tuple[str, str] = ("mm", "msec"),
    shape: str = "x y 1 t",
) -> Path:
    """Write (x, y, 1, t) or (x, y, t) as converters do: the transpose of the DICOM pixel array."""
    pixels = cine.frames.transpose(2, 1, 0)
    if shape == "x y 1 t":
        pixels = pixels[:, :, None, :]
    image = nib.Nifti1Image(pixels, affine_ras)
    step = np.diff(cine.frame_times_ms)[0] if len(cine.frame_times_ms) > 1 else 0
    thickness = [8.0] if pixels.ndim == 4 else []
    image.header["pixdim"][1 : pixels.ndim + 1] = [
        cine.pixel_spacing.column_mm,
        cine.pixel_spacing.row_mm,
        *thickness,
        step,
    ]
    image.header["toffset"] = cine.frame_times_ms[0]
    image.header.set_xyzt_units(*units)
    nib.save(image, path)
    return path


def write_hdf5(path: Path, cines: Sequence[TaggedCine]) -> Path:
    """Write one row per cine, as the simulator does."""
    with LandmarkFileWriter(path, max(cine.n_frames for cine in cines)) as writer:
        for cine in cines:
            writer.append(
                np.full((cine.n_frames, 3, 2), np.nan),
                None,
                cine.pixel_spacing,
                cine.ed_frame,
                frames=cine.frames.astype(np.uint16),
                frame_times_ms=cine.frame_times_ms,
            )
    return path


def write_plain_hdf5(path: Path, images: NDArray[np.generic], **datasets: NDArray[np.generic]) -> Path:
    """Write ``image_seqs`` and any other dataset as they are."""
    with h5py.File(path, "w") as file:
        file["image_seqs"] = images
        for name, values in datasets.items():
            file[name] = values
    return path


def write_study(folder: Path, cines: Sequence[TaggedCine] | None = None, seed: int = 1) -> list[Path]:
    """Write the three example slices, or others, as DICOM."""
    return write_dicom_study(folder, cines if cines is not None else example_cines(), seed)


def by_name(study: Study) -> dict[str, TaggedCine]:
    """Load every slice."""
    return {source.name: source.load() for source in study.slices}


def assert_same_cine(found: TaggedCine, expected: TaggedCine) -> None:
    """Same pixels bit for bit, same spacing and times to the precision that formats store."""
    np.testing.assert_array_equal(found.frames, expected.frames)
    np.testing.assert_allclose(found.pixel_spacing, expected.pixel_spacing, rtol=1e-6)
    np.testing.assert_allclose(found.frame_times_ms, expected.frame_times_ms, rtol=1e-6, atol=1e-6)
