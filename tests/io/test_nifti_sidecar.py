"""Frame times and RR interval from the JSON beside a NIfTI file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from io_examples import example_cine, write_nifti

from tagstrain.data import TaggedCine
from tagstrain.io import read_study

UNEVEN_MS = [10.0, 45.5, 80.25, 130.0]


def read_with(tmp_path: Path, sidecar: object, name: str = "tag_1.nii.gz") -> TaggedCine:
    """A cine of four frames, 33.5 ms apart from 12.5 ms on by its header, beside a sidecar."""
    path = write_nifti(tmp_path / name, example_cine())
    text = sidecar if isinstance(sidecar, str) else json.dumps(sidecar)
    (tmp_path / "tag_1.json").write_text(text)
    return read_study(path).slices[0].load()


@pytest.mark.parametrize("name", ["tag_1.nii.gz", "tag_1.nii"])
@pytest.mark.parametrize(
    ("key", "factor"), [("FrameTimesMs", 1), ("frame_times_ms", 1), ("TriggerTime", 1), ("FrameTimesStart", 1e-3)]
)
def test_times_come_from_the_sidecar_in_its_unit(tmp_path: Path, key: str, factor: float, name: str) -> None:
    cine = read_with(tmp_path, {key: [time * factor for time in UNEVEN_MS]}, name)
    np.testing.assert_allclose(cine.frame_times_ms, UNEVEN_MS)
    assert not any("sidecar" in warning for warning in cine.warnings)


@pytest.mark.parametrize("key", ["RRIntervalMs", "rr_interval_ms", "NominalInterval"])
def test_the_rr_interval_comes_from_the_sidecar(tmp_path: Path, key: str) -> None:
    assert read_with(tmp_path, {key: 912}).rr_interval_ms == 912


@pytest.mark.parametrize(
    ("sidecar", "message"),
    [
        ({"FrameTimesMs": [0, 1, 2]}, "expected 4 numbers"),
        ({"FrameTimesMs": [0, 1, 2, "3"]}, "expected 4 numbers"),
        ({"FrameTimesMs": [0, 1, True, 3]}, "expected 4 numbers"),
        ({"FrameTimesMs": [0, 1, 2, 10**400]}, "expected 4 numbers"),
        ({"FrameTimesStart": [0, 1, 2, 1e306]}, "expected 4 numbers"),
        ({"FrameTimesMs": [0, 1, 1, 3]}, "does not increase"),
        ('{"FrameTimesMs": [0, 1, 2, NaN]}', "expected 4 numbers"),
        ({"NominalInterval": -5}, "no positive time"),
        ({"NominalInterval": {}}, "no positive time"),
        ("[1, 2]", "no JSON object"),
        ("{", "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
    ],
    ids=str,
)
def test_a_sidecar_that_cannot_be_used_is_told_and_the_header_used(
    tmp_path: Path, sidecar: object, message: str
) -> None:
    cine = read_with(tmp_path, sidecar)
    assert any(message in warning for warning in cine.warnings)
    np.testing.assert_allclose(cine.frame_times_ms, 12.5 + 33.5 * np.arange(4))
    assert cine.rr_interval_ms is None


def test_one_trigger_time_as_converters_write_it_is_no_list_of_times(tmp_path: Path) -> None:
    cine = read_with(tmp_path, {"TriggerTime": 12.5, "RepetitionTime": 0.0335})
    np.testing.assert_allclose(cine.frame_times_ms, 12.5 + 33.5 * np.arange(4))
    assert not any("sidecar" in warning for warning in cine.warnings)


def test_sidecars_of_a_folder_are_used_and_not_skipped(tmp_path: Path) -> None:
    for k in (1, 2):
        write_nifti(tmp_path / f"tag_{k}.nii.gz", example_cine(seed=k))
    (tmp_path / "tag_2.json").write_text(json.dumps({"FrameTimesMs": UNEVEN_MS}))
    (tmp_path / "other.json").write_text("{}")
    (tmp_path / "DOE_JANE_19500102.txt").touch()
    study = read_study(tmp_path)
    assert study.skipped == ("file 1 of 5: is not a NIfTI file", "other.json: is not a NIfTI file")
    basal, mid = (source.load() for source in study.slices)
    np.testing.assert_allclose(np.diff(basal.frame_times_ms), 33.5, rtol=1e-6)
    np.testing.assert_allclose(mid.frame_times_ms, UNEVEN_MS)
