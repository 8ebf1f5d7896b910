"""NIfTI maps: that nibabel finds every voxel where the scanner had it, and the motion along the world's axes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
from archived_slice import archived_slice

from annulus_tracker import AnnulusTracker
from contracting_slice import contracting_slice
from tagstrain.data import LandmarkTracks, Provenance
from tagstrain.inference.wall_motion import wall_motion
from tagstrain.report.nifti_maps import NiftiMaps

PROVENANCE = Provenance("1.2.3", "flow", {}, "cpu")
TRACKER = AnnulusTracker(np.array([62.5, 60.4]), np.linspace(0, 150, 5), np.linspace(0, 0.2, 5))


def read(path: Path) -> tuple[nib.Nifti1Image, np.ndarray]:
    image = nib.load(path)
    return image, np.asarray(image.dataobj)


def test_voxels_and_motion_lie_where_the_scanner_had_them(tmp_path: Path) -> None:
    result = archived_slice()
    assert NiftiMaps(tmp_path / "nifti", TRACKER, PROVENANCE).add(result) == []
    image, displacement_mm = read(tmp_path / "nifti" / "mid_displacement.nii.gz")
    columns, rows = 120, 128
    assert displacement_mm.shape == (columns, rows, 1, 5, 3)
    assert image.header["intent_code"] == 1007
    assert int(image.header["sform_code"]) == int(image.header["qform_code"]) == 1
    np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-4)
    ras_from_lps = np.array([-1, -1, 1])
    frame = 3
    place = np.argwhere(np.isfinite(displacement_mm[:, :, 0, frame, 0]))[::40]
    before = nib.affines.apply_affine(image.affine, np.column_stack([place, np.zeros(len(place))]))
    affine = result.cine.affine
    np.testing.assert_allclose(before, (place @ affine[:3, :2].T + affine[:3, 3]) * ras_from_lps, atol=1e-3)
    now_px = TRACKER.track(result.cine, place.astype(float)).points_px[frame]
    now = (now_px @ affine[:3, :2].T + affine[:3, 3]) * ras_from_lps
    moved = displacement_mm[place[:, 0], place[:, 1], 0, frame]
    assert np.linalg.norm(moved, axis=1).min() > 1
    np.testing.assert_allclose(before + moved, now, atol=1e-3)


def test_strain_is_on_the_grid_of_the_image_with_its_timing(tmp_path: Path) -> None:
    result = archived_slice()
    NiftiMaps(tmp_path / "nifti", TRACKER, PROVENANCE).add(result)
    motion = wall_motion(result.cine, result.landmarks, TRACKER)
    for quantity, expected in (
        ("radial_strain", motion.radial_strain),
        ("circumferential_strain", motion.circumferential_strain),
    ):
        image, values = read(tmp_path / "nifti" / f"mid_{quantity}.nii.gz")
        np.testing.assert_allclose(values[:, :, 0], expected.transpose(2, 1, 0), rtol=1e-6)
        np.testing.assert_allclose(image.header.get_zooms(), [1.2, 1.4, 8.0, 38.0], rtol=1e-6)
        assert image.header.get_xyzt_units() == ("mm", "msec")
        assert image.header["toffset"] == 10
        sidecar = json.loads((tmp_path / "nifti" / f"mid_{quantity}.json").read_text())
        assert sidecar["FrameTimesMs"] == result.cine.frame_times_ms.tolist()
        assert sidecar["SoftwareVersion"] == "1.2.3"


def test_where_the_place_is_not_known_motion_is_along_the_image(tmp_path: Path) -> None:
    result = contracting_slice(5)
    NiftiMaps(tmp_path / "nifti", TRACKER, PROVENANCE).add(result)
    image, displacement_mm = read(tmp_path / "nifti" / "mid_displacement.nii.gz")
    assert int(image.header["sform_code"]) == int(image.header["qform_code"]) == 0
    expected = wall_motion(result.cine, result.landmarks, TRACKER).displacement_mm
    np.testing.assert_allclose(displacement_mm[:, :, 0, :, :2], expected.transpose(3, 2, 0, 1), rtol=1e-5, atol=1e-6)


def test_a_slice_without_wall_gets_a_warning(tmp_path: Path) -> None:
    result = contracting_slice(5)
    unknown = np.full_like(result.landmarks.points_px, np.nan)
    lost = replace(result, landmarks=LandmarkTracks(unknown, result.landmarks.sigma_px))
    (warning,) = NiftiMaps(tmp_path / "nifti", TRACKER, PROVENANCE).add(lost)
    assert warning == "No NIfTI maps were written: No pixel lies between the first and the last ring at ED"
