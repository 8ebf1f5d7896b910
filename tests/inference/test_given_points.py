"""Points that no tracker can follow, and what they do to the others: nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tagstrain.data import PointTracks, TaggedCine
from tagstrain.errors import TrackingError
from tagstrain.inference.analyze import analyze_slice
from tagstrain.inference.given_points import can_be_followed
from tagstrain.inference.interfaces import Tracker
from tagstrain.inference.models import Models, Preprocessing, load_tracker
from tagstrain.io import read_study
from tagstrain.io.landmark_file import LandmarkFile
from tagstrain.networks.preprocessing import standardized

N_FRAMES = 5


@pytest.fixture(scope="module")
def given(simulated_file: Path) -> tuple[TaggedCine, NDArray[np.float64]]:
    """The first frames of a cine, and its landmarks at ED ``(point, 2)``."""
    cine = read_study(simulated_file).slices[0].load()
    cine = replace(cine, frames=cine.frames[:N_FRAMES], frame_times_ms=cine.frame_times_ms[:N_FRAMES])
    return cine, np.asarray(LandmarkFile(simulated_file).row(0).points_px[0], np.float64)


@pytest.fixture(
    scope="module",
    params=[("flow", None), ("harp", None), ("rnncnn", None), ("rnncnn", Preprocessing.ORIGINAL)],
    ids=["flow", "harp", "rnncnn", "rnncnn as the original"],
)
def following(
    request: pytest.FixtureRequest, given: tuple[TaggedCine, NDArray[np.float64]]
) -> tuple[Tracker, PointTracks]:
    """Each tracker, and where it sees the landmarks go."""
    name, preprocessing = request.param
    tracker = load_tracker(name, "cpu", None, preprocessing)
    return tracker, tracker.track(*given)


@pytest.mark.parametrize("stray", [-9999.0, -400.0, -60.0, 1e5])
def test_a_point_far_outside_is_lost_alone(
    stray: float, following: tuple[Tracker, PointTracks], given: tuple[TaggedCine, NDArray[np.float64]]
) -> None:
    (tracker, alone), (cine, points_px) = following, given
    found = tracker.track(cine, np.concatenate([points_px, [[stray, stray]]]))
    np.testing.assert_array_equal(found.points_px[:, :-1], alone.points_px)
    assert np.isfinite(found.points_px[:, :-1]).all()
    assert np.isnan(found.points_px[:, -1]).all()
    assert np.isnan(found.sigma_px[:, -1]).all()


@pytest.mark.parametrize("shape", [(24, 7, 2), (2, 168), (168, 3)])
def test_points_of_another_shape_are_refused(
    shape: tuple[int, ...], following: tuple[Tracker, PointTracks], given: tuple[TaggedCine, NDArray[np.float64]]
) -> None:
    with pytest.raises(ValueError, match=r"expected shape \(point, 2\)"):
        following[0].track(given[0], np.zeros(shape))


def test_points_on_the_border_or_close_to_it_can_be_followed(given: tuple[TaggedCine, NDArray[np.float64]]) -> None:
    cine, _ = given
    rows, columns = cine.frames.shape[1:]
    x_mm, y_mm = cine.spacing_xy_mm
    points_px = np.array(
        [
            [-0.5, -0.5],
            [columns - 0.5 + 9 / x_mm, 3],
            [columns - 0.5 + 11 / x_mm, 3],
            [3, -0.5 - 9 / y_mm],
            [3, rows - 0.5 + 11 / y_mm],
            [np.nan, 3],
        ]
    )
    assert can_be_followed(points_px, cine).tolist() == [True, True, False, True, False, False]


def test_the_rnncnn_refuses_points_that_are_no_heart(given: tuple[TaggedCine, NDArray[np.float64]]) -> None:
    cine, points_px = given
    with pytest.raises(TrackingError, match="sees hearts as a whole"):
        load_tracker("rnncnn", "cpu").track(cine, points_px[:2])


@pytest.mark.parametrize("unit", [1e-9, 1e-4, 1e6])
@pytest.mark.parametrize("following", [("flow", None)], ids=["flow"], indirect=True)
def test_grey_levels_may_be_of_any_unit(
    unit: float, following: tuple[Tracker, PointTracks], given: tuple[TaggedCine, NDArray[np.float64]]
) -> None:
    (tracker, before), (cine, points_px) = following, given
    after = tracker.track(replace(cine, frames=cine.frames * np.float32(unit)), points_px)
    np.testing.assert_allclose(after.points_px, before.points_px, atol=0.02)


def test_an_image_without_contrast_is_given_none() -> None:
    noise = torch.rand(1, 2, 8, 8, generator=torch.Generator().manual_seed(1))
    flat = 7.0 * (1 + 1e-6 * noise)
    assert float(standardized(flat).abs().max()) < 0.1
    assert float(standardized(torch.zeros(1, 2, 8, 8)).abs().max()) == 0


def test_a_spoiled_reference_frame_is_told(fake_models: Models, given: tuple[TaggedCine, NDArray[np.float64]]) -> None:
    cine, _ = given
    frames = cine.frames.copy()
    frames[2] = np.roll(frames[2], 60, axis=1)
    for ed_frame in (2, 1):
        warnings = analyze_slice(replace(cine, frames=frames, ed_frame=ed_frame), fake_models).warnings
        assert any("do not belong between their neighbors: 2 (counted from 0" in warning for warning in warnings)
        assert any("The ED frame (2) is one of them" in warning for warning in warnings) == (ed_frame == 2)
