"""The cines that trackers are judged on, written once as HDF5: `write_test_set`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.accuracy.second_case import draw_case
from benchmarks.accuracy.second_generator import render_case
from benchmarks.accuracy.settings import GROUPS_A, SEED_A, SEED_B, SEED_C, SETTINGS
from tagstrain.data import Box
from tagstrain.io.hdf5 import LandmarkFileWriter
from tagstrain.simulation.config import PRESETS
from tagstrain.simulation.dataset import write_scenes
from tagstrain.simulation.scene import Scene, sample_scenes

ALL_SETTINGS = "all settings"
"""Name of the pool of a set that has several."""
SETS = {
    "A": "walls of solid muscle, as most that the tracker learned from, other seeds",
    "B": "settings held back from training",
    "C": "another generator, written separately",
}


@dataclass(frozen=True, slots=True)
class TestFile:
    """Cines with their truth in the predecessor's layout."""

    set_name: str
    setting: str
    path: Path

    __test__ = False  # no test class, whatever pytest thinks of the name


def test_files(folder: Path, sets: tuple[str, ...], numbers: dict[str, int]) -> Iterator[TestFile]:
    """Files of the sets in the order of the table; those that are missing are made first.

    Parameters
    ----------
    numbers
        Cines per set, for B per setting.
    """
    for name in sets:
        settings = [""]
        if name == "A":
            scenes = _scenes_a(numbers[name])
            settings = [group for group, holds in GROUPS_A.items() if any(map(holds, scenes))]
        elif name == "B":
            settings = [s.name for s in SETTINGS]
        for index, setting in enumerate(settings):
            stem = "_".join([name, str(numbers[name]), *setting.replace("-", " ").split()])
            file = TestFile(name, setting, folder / f"{stem}.h5")
            if not file.path.exists():
                _write(file, index, numbers[name])
            yield file


test_files.__test__ = False  # type: ignore[attr-defined]


def _write(file: TestFile, index: int, n: int) -> None:
    if file.set_name == "A":
        write_scenes(file.path, [scene for scene in _scenes_a(n) if GROUPS_A[file.setting](scene)])
    elif file.set_name == "B":
        setting = SETTINGS[index]
        write_scenes(file.path, [setting.edit(s) for s in sample_scenes(setting.config, n, SEED_B + index)])
    else:
        write_second(file.path, n)


def _scenes_a(n: int) -> list[Scene]:
    return sample_scenes(PRESETS["default"], n, SEED_A)


def write_second(path: Path, n: int) -> None:
    """Write ``n`` cines of the second generator, one in memory at a time."""
    with LandmarkFileWriter(path, 20) as writer:
        for index in range(n):
            cine = render_case(draw_case(np.random.default_rng([SEED_C, index])))
            points = cine.landmarks_px.reshape(len(cine.frames), -1, 2)
            writer.append(
                points,
                Box.around(points[0]).within(*cine.frames.shape[1:]),
                (cine.pixel_mm, cine.pixel_mm),
                ed_frame=0,
                es_frame=cine.es_frame,
                frames=cine.frames,
                frame_times_ms=cine.frame_times_ms,
            )
