"""The same pixels read back the same, whichever container they come in."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.robustness.containers import WRITERS, tagged_study, write_container
from tagstrain.data import TaggedCine
from tagstrain.io import read_study

WITHOUT_POSITION = {"hdf5"}


def read_back(container: str, cines: list[TaggedCine]) -> list[TaggedCine]:
    """Write a study in a container and read its slices."""
    with TemporaryDirectory() as folder:
        study = read_study(write_container(Path(folder), WRITERS[container](cines)))
        assert study.skipped in ((), ("manifest.cvs: is not a DICOM file",))
        return [source.load() for source in study.slices]


@pytest.mark.parametrize("container", WRITERS)
@settings(max_examples=5)
@given(
    n_slices=st.integers(1, 3),
    n_frames=st.sampled_from([2, 3, 11]),
    rows=st.integers(5, 41),
    columns=st.integers(5, 41),
    seed=st.integers(0, 1000),
)
def test_frames_times_spacing_and_position_survive(
    container: str, n_slices: int, n_frames: int, rows: int, columns: int, seed: int
) -> None:
    cines = tagged_study(n_slices, n_frames, rows, columns, seed)
    found = read_back(container, cines)
    assert len(found) == n_slices
    for cine, expected in zip(found, cines, strict=True):
        np.testing.assert_array_equal(cine.frames, expected.frames)
        np.testing.assert_allclose(cine.frame_times_ms, expected.frame_times_ms, atol=1e-6)
        np.testing.assert_allclose(cine.pixel_spacing, expected.pixel_spacing, rtol=1e-6)
        assert cine.rr_interval_ms == expected.rr_interval_ms
        assert cine.ed_frame == expected.ed_frame
        if container in WITHOUT_POSITION:
            assert cine.affine is None
        else:
            assert cine.affine is not None
            corner = np.array([columns - 1, rows - 1, 0, 1])
            np.testing.assert_allclose(cine.affine @ corner, expected.affine @ corner, atol=1e-4)
