"""The whole pipeline on one real cine, where its file can be reached (environment variable TAGSTRAIN_REAL_CASE)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tagstrain.cli.main import run
from tagstrain.data import Box
from tagstrain.mechanics.accuracy import best_spoke_rotation

REAL_CASE = os.environ.get("TAGSTRAIN_REAL_CASE", "")
pytestmark = pytest.mark.skipif(not Path(REAL_CASE).is_file(), reason="TAGSTRAIN_REAL_CASE names no file")


@pytest.fixture(scope="module", params=["harp", "rnncnn"])
def measured(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The slice's entry in results.json after one command, once with each tracker."""
    out = tmp_path_factory.mktemp("real") / "out"
    assert run(["analyze", REAL_CASE, "-o", str(out), "--tracker", request.param, "--quiet"]) == 0
    results = json.loads(next(out.glob("*/results.json")).read_text())
    return {"tracker": request.param, **results["slices"][0]}


def test_box_is_where_the_expert_put_it(measured: dict[str, Any]) -> None:
    with h5py.File(REAL_CASE) as file:
        expert = Box(*file["bbox_corners"][0])
    assert Box(*measured["box_px"]).iou(expert) >= 0.75


def test_ed_landmarks_are_near_the_experts(measured: dict[str, Any]) -> None:
    with h5py.File(REAL_CASE) as file:
        expert = file["landmark_coords"][0, 0].T.reshape(24, 7, 2)
        spacing_mm = float(file["px_spaces"][0])
    placed = np.array(measured["landmarks_px"])[0]
    assert best_spoke_rotation(placed * spacing_mm, expert * spacing_mm).rmse_mm <= 4.0


def test_midwall_strain_is_that_of_a_healthy_heart(measured: dict[str, Any]) -> None:
    curve = np.array(measured["strain"]["circumferential"]["green_lagrange"]["ring_3"])
    peak = int(curve.argmin())
    assert curve[0] == 0
    assert -0.28 <= curve[peak] <= -0.12
    if measured["tracker"] != "harp":
        return  # the baseline's own trajectories jump at first and reach their minimum late, at frame 11
    assert 5 <= peak <= 10
    # Smooth: no step between neighbours of more than a third of the peak, and few turns.
    assert np.abs(np.diff(curve)).max() < abs(curve[peak]) / 3
    assert np.abs(np.diff(curve, 2)).max() < abs(curve[peak]) / 3
