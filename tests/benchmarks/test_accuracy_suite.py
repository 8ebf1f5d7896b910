"""The suite's bookkeeping: what is scored, what is skipped, and what the held-back settings hold back."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from benchmarks.accuracy import __main__ as suite
from benchmarks.accuracy.methods import METHODS, Method, NoMotion, Timed, load_methods
from benchmarks.accuracy.settings import GROUPS_A, SETTINGS
from benchmarks.accuracy.table import failed_and_seconds, write_results
from benchmarks.accuracy.test_sets import ALL_SETTINGS, TestFile
from tagstrain.data import PointTracks, TaggedCine
from tagstrain.errors import TrackingError
from tagstrain.io.hdf5 import LandmarkFile, LandmarkFileWriter
from tagstrain.simulation.config import PRESETS
from tagstrain.simulation.scene import sample_scenes


class GivesUpOnOddSlices:
    """Adds a pixel in every later frame, if it answers at all."""

    name = "moody"

    def track(self, cine: TaggedCine, ed_points_px: NDArray[np.floating]) -> PointTracks:
        if cine.name.endswith("1"):
            raise TrackingError("not today")
        tracks = np.repeat(np.asarray(ed_points_px, np.float64)[None], cine.n_frames, axis=0)
        tracks[1:] += 1.0
        return PointTracks(tracks, np.ones(tracks.shape[:2]), cine.ed_frame)


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    """Three slices of a ring that moves by two pixels along x."""
    path = tmp_path / "C_3.h5"
    angle = 2 * np.pi * np.arange(24) / 24
    radius = np.linspace(5, 9, 7)
    ring = 16 + radius[None, :, None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)[:, None]
    points = np.repeat(ring.reshape(1, -1, 2), 3, axis=0)
    points[1:, :, 0] += 2.0
    with LandmarkFileWriter(path, 3) as writer:
        for _ in range(3):
            writer.append(points, None, (1.5, 1.5), 0, 2, frames=np.tile(np.arange(32, dtype=np.uint16), (3, 32, 1)))
    return path


def test_giving_up_counts_as_no_motion(truth: Path, tmp_path: Path) -> None:
    path = tmp_path / "moody.h5"
    suite._track(Timed(GivesUpOnOddSlices()), truth, path)
    n_failed, seconds = failed_and_seconds([path])
    assert n_failed == 1
    assert seconds is not None
    assert seconds >= 0
    with LandmarkFile(path) as file:
        assert np.ptp(file.row(1).points_px, axis=0).max() == 0
        assert np.ptp(file.row(0).points_px, axis=0).max() == pytest.approx(1)


def test_table_holds_scores_and_reasons(truth: Path, tmp_path: Path) -> None:
    file = TestFile("C", "", truth)
    still = tmp_path / "still.h5"
    suite._track(Timed(NoMotion()), truth, still)
    methods = [Method("no motion", NoMotion()), Method("dis", None, skipped="OpenCV is not installed")]
    rows = suite._rows("no motion", [file], [still], methods[0]) + suite._rows("dis", [file], [None], methods[1])
    write_results(tmp_path, rows, methods, "a command", {"C": 3})
    record = json.loads((tmp_path / "results.json").read_text())
    # Two pixels of 1.5 mm in every frame but ED.
    assert record["rows"][0]["evaluation"]["displacement"]["rmse_row_mean_mm"] == pytest.approx(3.0)
    assert record["skipped"] == {"dis": "OpenCV is not installed"}
    text = (tmp_path / "results.md").read_text()
    assert "| no motion | 3 | 0 | 3.000 |" in text
    assert "| dis | skipped: OpenCV is not installed |" in text


def test_a_set_of_several_files_is_pooled_first(truth: Path, tmp_path: Path) -> None:
    still = tmp_path / "still.h5"
    suite._track(Timed(NoMotion()), truth, still)
    other = tmp_path / "other.h5"
    other.write_bytes(truth.read_bytes())
    files = [TestFile("A", "grid tags", truth), TestFile("A", "line tags", other), TestFile("C", "", truth)]
    method = Method("no motion", NoMotion())
    rows = suite._rows("no motion", files, [still] * 3, method)
    assert [(row.set_name, row.setting) for row in rows if row.setting == ALL_SETTINGS] == [("A", ALL_SETTINGS)]
    write_results(tmp_path, rows, [method], "a command", {"A": 6, "C": 3})
    text = (tmp_path / "results.md").read_text()
    assert text.index("## A: walls of solid") < text.index("### A: grid tags") < text.index("## C: another generator")
    assert text.count("| no motion | 6 | 0 | 3.000 |") == 1
    assert text.count("| no motion | 3 | 0 | 3.000 |") == 3


def test_predictions_of_others_are_found_by_name(truth: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    file = TestFile("C", "", truth)
    assert suite._given(theirs, file) is None
    suite._track(Timed(NoMotion()), truth, theirs / truth.name)
    assert suite._given(theirs, file) == theirs / truth.name
    assert suite._given(theirs / truth.name, file) == theirs / truth.name


def test_published_commands_name_no_folder() -> None:
    arguments = ["--sets", "A,C", "--methods", "no motion,flow", "--flow-weights", "/some/where/w.safetensors"]
    shown = suite._command([*arguments, "--also", "study=/else/where", "--out=/there/out"])
    assert shown == (
        "python -m benchmarks.accuracy --sets A,C --methods 'no motion,flow' --flow-weights w.safetensors "
        "--also study=where --out=out"
    )


def test_methods_come_in_the_order_of_the_table() -> None:
    assert [m.name for m in load_methods(("harp", "no motion"), None, None)] == ["no motion", "harp"]
    assert METHODS[-1] == "flow"


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: s.name)
def test_settings_hold_back_what_they_say(setting: object) -> None:
    scenes = [setting.edit(s) for s in sample_scenes(setting.config, 3, 1)]  # type: ignore[attr-defined]
    assert all(float(s.tags.depth[1]) > 0 for s in scenes)
    checks = {
        "tag spacing 4 mm": lambda s: s.tags.spacing_mm == 4,
        "tag spacing 9-10 mm": lambda s: 9 <= s.tags.spacing_mm <= 10,
        "broad tag lines": lambda s: s.tags.sharpness < 0.7,
        "sharp tag lines": lambda s: s.tags.sharpness > 1.9,
        "frames 15 ms apart": lambda s: torch.allclose(s.acquisition.frame_times_ms.diff(), torch.tensor(15.0)),
        "frames 70 ms apart": lambda s: torch.allclose(s.acquisition.frame_times_ms.diff(), torch.tensor(70.0)),
        "SNR 5-8": lambda s: 4.99 <= s.acquisition.snr <= 8.01,
        "strong motion": lambda s: s.motion.midwall_shortening > 0.32,
        "akinetic infarct": lambda s: s.motion.infarct_depth == 1,
        "dyskinetic infarct": lambda s: s.motion.infarct_depth > 1.15,
        "12 frames": lambda s: len(s.acquisition.frame_times_ms) == 12,
        "50 frames": lambda s: len(s.acquisition.frame_times_ms) == 50,
        "inner wall squeezed": lambda s: torch.isclose(s.motion.inner_loss, torch.tensor(0.3)),
        "spongy inside": lambda s: (
            s.motion.inner_loss > 0.85 and s.anatomy.exchange_share > 1.59 and s.tags.blood_mixing == 1
        ),
        "tags gone early": lambda s: math.degrees(s.tags.flip_angle_rad) > 24 and s.tags.repetition_ms == 5,
    }
    check = checks.get(setting.name, lambda s: True)  # type: ignore[attr-defined]
    assert all(bool(check(s)) for s in scenes)


def test_every_cine_of_set_a_is_in_one_group() -> None:
    scenes = sample_scenes(PRESETS["default"], 40, 1)
    groups = [{name for name, holds in GROUPS_A.items() if holds(scene)} for scene in scenes]
    assert all(len(names) == 1 for names in groups)
    assert set.union(*groups) == set(GROUPS_A)
