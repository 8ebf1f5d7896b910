"""The synthetic slice result as if it had been read from an archive's images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from pydicom.uid import EnhancedMRImageStorage, MRImageStorage, generate_uid

from contracting_slice import contracting_slice
from tagstrain.data import SliceLevel, SliceResult, SourceImage, SourceSeries

STUDY_UID = generate_uid(entropy_srcs=["study"])
FRAME_OF_REFERENCE_UID = generate_uid(entropy_srcs=["frame of reference"])


def archived_slice(
    name: str = "mid", level: SliceLevel = SliceLevel.MID, n_frames: int = 5, multi_frame: bool = False
) -> SliceResult:
    """A slice on an oblique plane, from one file per frame or from one file with all frames."""
    result = contracting_slice(n_frames, name=name)
    cine = result.cine
    if multi_frame:
        uid = generate_uid(entropy_srcs=[name])
        images = tuple(SourceImage(EnhancedMRImageStorage, uid, t + 1) for t in range(n_frames))
    else:
        images = tuple(SourceImage(MRImageStorage, generate_uid(entropy_srcs=[name, str(t)])) for t in range(n_frames))
    source = SourceSeries(STUDY_UID, generate_uid(entropy_srcs=[name, "series"]), FRAME_OF_REFERENCE_UID, images, 8.0)
    return replace(
        result, cine=replace(cine, level=level, affine=oblique_affine(cine.spacing_xy_mm), source_series=source)
    )


def oblique_affine(spacing_xy_mm: np.ndarray) -> np.ndarray:
    """A short-axis plane in LPS."""
    along_row = np.array([0.6, 0.64, -0.48])
    along_column = np.array([0.0, -0.6, -0.8])
    affine = np.eye(4)
    affine[:3, 0] = along_row * spacing_xy_mm[0]
    affine[:3, 1] = along_column * spacing_xy_mm[1]
    affine[:3, 2] = np.cross(along_row, along_column)
    affine[:3, 3] = [-31.5, 12.25, 80.125]
    return affine
