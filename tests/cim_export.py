"""A small CIM_TAG_2D version 6 export of a simulated study: DICOM images and analysis folders that hold the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tagstrain.data import TaggedCine
from tagstrain.io import write_dicom_study
from tagstrain.simulation.dataset import simulated_study

N_FRAMES = 4
DECIMALS = 4
MODEL = "model_reader"
COLUMNS = ("Frame", "imageX", "imageY", "patientX", "Region", "Element", "SubDivXi1", "SubDivXi2")


@dataclass(frozen=True, eq=False)
class SimulatedCase:
    """Three slices with their true landmarks and AHA segments."""

    cines: Sequence[TaggedCine]
    landmarks_px: NDArray[np.float64]
    """``(slice, time, point, 2)``."""
    es_frame: int = 2

    def regions(self, level: int) -> NDArray[np.float64]:
        """AHA segment of every point of the basal, middle or apical slice: 6, 6 and 4 around the wall."""
        n = (6, 6, 4)[level]
        return (1, 7, 13)[level] + np.repeat(np.arange(24) * n // 24, 7).astype(float)


@cache
def simulated_case(seed: int = 1, size: int = 64) -> SimulatedCase:
    """A simulated heart, its first few frames only."""
    cines, truth = simulated_study(seed, size=size)
    landmarks = truth.landmarks_px.double().numpy()[:, :N_FRAMES]
    few = [replace(c, frames=c.frames[:N_FRAMES], frame_times_ms=c.frame_times_ms[:N_FRAMES]) for c in cines]
    return SimulatedCase(few, landmarks.reshape(len(few), N_FRAMES, -1, 2))


def write_cim_export(
    folder: Path, case: SimulatedCase, name: str = "case_07", posix: bool = False
) -> tuple[Path, Path]:
    """Write a case; gives the folder of the analyses and the folder of the images."""
    cim, images = folder / "cim", folder / "images"
    files = write_dicom_study(images / name, case.cines, seed=len(name))
    system = cim / name / "system"
    system.mkdir(parents=True)
    slash = "/" if posix else "\\"
    pointers = ["Series\tSlice\tIndex\tPath"]
    model = ["CIM model", "Series 2 Slice 1 End-diastolic Frame : 1"]
    for level, cine in enumerate(case.cines):
        for frame in range(cine.n_frames):
            path = slash.join(["IMAGEPATH", name, files[level * cine.n_frames + frame].name])
            pointers += [f"0\t{level}\t{frame}\t{path}", f"1\t{level}\t{frame}\t{path}.long_axis"]
            write_strain_file(cim, name, level, frame, case)
        model.append(f"Series 1 Slice {level + 1} End-diastolic Frame : 0")
    # ES in another order than ED: the two are paired by name, not by place.
    model += [f"Series 1 Slice {level + 1} End-systolic Frame : {case.es_frame}" for level in (2, 0, 1)]
    (system / f"{name}.img_imageptr").write_text("\r\n".join(pointers) + "\r\n", newline="")
    (system / f"{name}.{MODEL}").write_text("\n".join(model) + "\n")
    return cim, images


def strain_file(cim: Path, name: str, level: int, frame: int) -> Path:
    """File of one frame, counted from 0 here and from 1 in the name."""
    return cim / name / MODEL / f"series_1_slice_{level + 1}" / f"{name}_{frame + 1}_samplePt_strain.dat"


def write_strain_file(cim: Path, name: str, level: int, frame: int, case: SimulatedCase) -> None:
    """Landmarks of one frame as text, y counted from the lower edge."""
    n_rows = case.cines[level].frames.shape[1]
    lines = [" ".join(COLUMNS)]
    for k, (x, y) in enumerate(case.landmarks_px[level, frame]):
        region = case.regions(level)[k]
        numbers = (x, n_rows - y, 0.0, region, k // 42 + 1, k % 7 / 6, k // 7 % 6 / 6)
        lines.append(f"{frame + 1} " + " ".join(f"{value:.{DECIMALS}f}" for value in numbers))
    path = strain_file(cim, name, level, frame)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
