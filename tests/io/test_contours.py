"""Contours that a reader drew, as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tagstrain.errors import InputError
from tagstrain.io.contours import ANY_SLICE, read_contours


def circle(radius: float, center: tuple[float, float] = (60.0, 70.0), n: int = 400) -> list[list[float]]:
    t = np.linspace(0, 2 * np.pi, n, endpoint=False)
    return (np.array(center) + radius * np.stack([np.cos(t), np.sin(t)], axis=-1)).tolist()


def rings(*radii: float) -> np.ndarray:
    """Landmarks on circles, from 12 to 24 px unless given."""
    return np.stack([circle(radius, n=24) for radius in radii or np.linspace(12, 24, 7)], axis=1)


def exchanged(points: list[list[float]], first: int, second: int) -> list[list[float]]:
    points = points.copy()
    points[first], points[second] = points[second], points[first]
    return points


def disordered(*exchanges: tuple[tuple[int, int], tuple[int, int]]) -> list[Any]:
    """Landmarks of which two have changed places, given by spoke and ring."""
    landmarks = rings()
    for first, second in exchanges:
        landmarks[first], landmarks[second] = landmarks[second].copy(), landmarks[first].copy()
    return landmarks.tolist()


def pushed(spoke: int, ring: int, towards: tuple[int, int], share: float) -> list[Any]:
    """Landmarks of which one has been pushed towards another, by a share of the way."""
    landmarks = rings()
    landmarks[spoke, ring] += share * (landmarks[towards] - landmarks[spoke, ring])
    return landmarks.tolist()


def written(tmp_path: Path, content: Any) -> Path:
    path = tmp_path / "wall.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_circles_become_rings(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        {"slices": {"mid": {"endo": circle(12), "epi": circle(24)}, "apex": {"endo": circle(5), "epi": circle(9)}}},
    )
    walls = read_contours(path)
    assert set(walls) == {"mid", "apex"}
    radius = np.linalg.norm(walls["mid"] - np.array([60.0, 70.0]), axis=-1)
    np.testing.assert_allclose(radius, np.broadcast_to(np.linspace(12, 24, 7), (24, 7)), atol=0.01)
    np.testing.assert_allclose(walls["mid"][0, 6], [84, 70], atol=0.01)
    np.testing.assert_allclose(walls["mid"][6, 6], [60, 94], atol=0.01)


def test_one_contour_may_hold_for_all_slices(tmp_path: Path) -> None:
    assert set(read_contours(written(tmp_path, {"endo": circle(12), "epi": circle(24)}))) == {ANY_SLICE}


def test_landmarks_are_taken_as_they_are(tmp_path: Path) -> None:
    landmarks = rings()
    walls = read_contours(written(tmp_path, {"slices": {"a": {"landmarks": landmarks.tolist()}}}))
    np.testing.assert_array_equal(walls["a"], landmarks)


def test_landmarks_that_a_hand_put_a_little_off_are_in_order(tmp_path: Path) -> None:
    """Cells need not be convex."""
    for seed in range(20):
        landmarks = rings() + np.random.default_rng(seed).normal(0, 0.3, (24, 7, 2))
        read_contours(written(tmp_path, {"landmarks": landmarks.tolist()}))
    dented = rings()
    dented[5, 3] += 0.45 * (dented[5, 4] - dented[5, 3]) + 0.45 * (dented[6, 3] - dented[5, 3])
    read_contours(written(tmp_path, {"landmarks": dented.tolist()}))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("no json", "JSON"),
        ([1, 2], "no contours"),
        ({"slices": {}}, "names no slices"),
        ({"endo": circle(12)}, "epi"),
        ({"slices": {"mid": {"endo": circle(30), "epi": circle(24)}}}, "slice mid"),
        ({"endo": circle(5, (200, 200)), "epi": circle(24)}, "does not hold the center"),
        ({"endo": circle(5)[:2], "epi": circle(24)}, "three"),
        ({"landmarks": [[1, 2]]}, "24 x 7"),
        ({"endo": "circle", "epi": circle(3)}, "could not convert"),
        ({"slices": {"mid": 3}}, "expected contours"),
        ({"landmarks": rings()[:, ::-1].tolist()}, "ring 0 must enclose less than ring 6"),
        ({"landmarks": rings(*[12] * 7).tolist()}, "ring 0 must enclose less than ring 6"),
        ({"landmarks": np.full((24, 7, 2), 0.1).tolist()}, "enclose no area"),
        ({"slices": {"mid": {"landmarks": rings().tolist(), "epi": circle(24)}}}, "slice mid: holds landmarks beside"),
        ({"endo": circle(12), "epi": exchanged(circle(24, n=24), 5, 7)}, "epicardium crosses itself"),
        ({"endo": exchanged(circle(12, n=40), 9, 30), "epi": circle(24)}, "endocardium crosses itself"),
        ({"landmarks": rings(12, 20, 18, 16, 14, 22, 24).tolist()}, "out of order"),
        ({"landmarks": rings(12, 14, 16, 30, 20, 22, 24).tolist()}, "out of order"),
        ({"landmarks": rings()[[0, 1, 3, 2, *range(4, 24)]].tolist()}, "out of order"),
        ({"landmarks": rings()[[*range(0, 24, 2)] * 2].tolist()}, "out of order"),
        ({"landmarks": disordered(((7, 0), (8, 0)))}, "out of order"),
        ({"landmarks": disordered(((0, 3), (0, 4)))}, "out of order"),
        ({"landmarks": disordered(((5, 3), (5, 4)))}, "out of order"),
        ({"landmarks": pushed(9, 2, (10, 2), 1.6)}, "out of order"),
        ({"landmarks": pushed(9, 3, (9, 5), 0.9)}, "out of order"),
        ({"slices": {"mid": {"endo": circle(5), "epi": circle(9)}}, "endo": circle(5)}, "contours beside slices"),
        ({"slices": {"a": {"endo": circle(5), "epi": circle(9), "frame": 7}}}, "a: names a frame, .* Draw them there"),
        ({"Frame_index": 7, "slices": {"mid": {"endo": circle(5), "epi": circle(9)}}}, "names a Frame_index"),
        ('{"slices": {"mid": 1, "mid": 2}}', "names mid twice"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, content: Any, problem: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(InputError, match=problem) as error:
        read_contours(path)
    assert path.name in str(error.value)


def test_a_missing_file_is_told_without_the_format(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^wall\.json: does not exist\. Check the path\.$"):
        read_contours(tmp_path / "wall.json")
    with pytest.raises(InputError, match=r": cannot be read \(Is a directory\)\. Give a JSON file\.$"):
        read_contours(tmp_path)
