"""Dense displacement and strain of a study's slices as NIfTI images with their sidecars: `NiftiMaps`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from tagstrain.data import Provenance, SliceFailure, SliceResult, TaggedCine
from tagstrain.errors import TagstrainError
from tagstrain.inference.interfaces import Tracker
from tagstrain.inference.wall_motion import WallMotion, wall_motion
from tagstrain.quality import SliceQuality
from tagstrain.report.results_json import CONVENTIONS

_RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0])
_SCANNER = 1
_VECTOR = 1007
_PLACE = "at the place that the tissue had at ED; NaN where that was not known to be myocardium"


class _Map(NamedTuple):
    """One image: its name, its values ``(time, row, column)`` or ``(time, row, column, 3)``, what they mean."""

    quantity: str
    values: NDArray[np.float64]
    unit: str
    description: str


class NiftiMaps:
    """Writes displacement, radial and circumferential strain: ``<slice>_<quantity>.nii.gz``, each with a ``.json``.

    Images have the axes ``(x, y, 1, time)`` of the slice, the displacement a fifth one for its components: along the
    world axes of NIfTI (right, anterior, superior), or along those of the slice where its place is not known. The
    tracker follows the pixels of the wall anew: the landmarks' motion alone would not give them.
    """

    def __init__(self, folder: Path, tracker: Tracker, provenance: Provenance) -> None:
        folder.mkdir()
        self._folder = folder
        self._tracker = tracker
        self._provenance = provenance

    def add(self, result: SliceResult, quality: SliceQuality | None = None) -> list[str]:
        """Write the maps of a slice, which have no place for its quality; returns why they could not be made."""
        try:
            motion = wall_motion(result.cine, result.landmarks, self._tracker)
        except TagstrainError as error:
            return [f"No NIfTI maps were written: {str(error).removesuffix('.')}"]
        for image in _maps(result.cine, motion):
            stem = f"{result.name}_{image.quantity}"
            _write_image(self._folder / f"{stem}.nii.gz", image, result.cine)
            content = json.dumps(_sidecar(image, result, self._provenance), indent=1)
            (self._folder / f"{stem}.json").write_text(content + "\n", encoding="utf-8")
        return []

    def fail(self, failure: SliceFailure) -> None:
        """A slice that could not be analyzed has no maps."""

    def warn(self, warning: str) -> None:
        """There is no file of the study as a whole."""

    def close(self) -> None:
        """Every file is complete as soon as its slice was added."""


def _sidecar(image: _Map, result: SliceResult, provenance: Provenance) -> dict[str, Any]:
    """What the header of an image has no room for."""
    return {
        "Description": f"{image.description}, {_PLACE}",
        "Units": image.unit,
        "FrameTimesMs": result.cine.frame_times_ms.round(3).tolist(),
        "EdFrame": result.strain.ed_frame,
        "SoftwareName": "tagstrain",
        "SoftwareVersion": provenance.software_version,
        "Tracker": provenance.tracker,
        "Weights": dict(provenance.weights),
        "Disclaimer": provenance.disclaimer,
    }


def _maps(cine: TaggedCine, motion: WallMotion) -> list[_Map]:
    """The images to write."""
    displacement_mm = np.moveaxis(motion.displacement_mm, 1, -1)
    if cine.affine is None:
        axes = "x (along rows) and y (along columns)"
        to_world = np.eye(3, 2)
    else:
        axes = "the right-left, posterior-anterior and inferior-superior axes of the scanner"
        to_world = _RAS_FROM_LPS @ (cine.affine[:3, :2] / np.linalg.norm(cine.affine[:3, :2], axis=0))
    green_lagrange = f"Green-Lagrange strain, {CONVENTIONS['green_lagrange']}"
    return [
        _Map("displacement", displacement_mm @ to_world.T, "mm", f"Displacement since ED along {axes}"),
        _Map("radial_strain", motion.radial_strain, "1", f"Radial {green_lagrange}"),
        _Map("circumferential_strain", motion.circumferential_strain, "1", f"Circumferential {green_lagrange}"),
    ]


def _write_image(path: Path, image: _Map, cine: TaggedCine) -> None:
    """Write values with the place and the timing of the cine."""
    voxels = np.moveaxis(image.values, 0, 2).swapaxes(0, 1)[:, :, None]
    nifti = nib.Nifti1Image(voxels.astype(np.float32), None)
    header = nifti.header
    header.set_xyzt_units("mm", "msec")
    # The last zoom belongs to the components, which have no distance.
    step_ms = float(np.diff(cine.frame_times_ms).mean())
    zooms = (cine.pixel_spacing.column_mm, cine.pixel_spacing.row_mm, _depth_mm(cine), step_ms, 1.0)
    header.set_zooms(zooms[: voxels.ndim])
    header["toffset"] = cine.frame_times_ms[0]
    header["descrip"] = f"tagstrain {image.quantity} [{image.unit}]: see the .json".encode()
    if voxels.ndim == 5:
        header.set_intent(_VECTOR)
    if cine.affine is not None:
        affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ cine.affine
        affine[:3, 2] *= _depth_mm(cine) / np.linalg.norm(affine[:3, 2])
        nifti.set_sform(affine, _SCANNER)
        nifti.set_qform(affine, _SCANNER)
    nib.save(nifti, path)


def _depth_mm(cine: TaggedCine) -> float:
    """Thickness of the slice, 1 mm where it is not known."""
    known = None if cine.source_series is None else cine.source_series.slice_thickness_mm
    return 1.0 if known is None else known
