"""From which side a short-axis image shows the heart."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tagstrain.geometry.orientation import apex_direction, is_seen_from_apex, slice_normal

LEFT, BACK, UP = np.eye(3)  # DICOM's LPS
# As radiologists show a short axis: septum (right, front) on the left of the screen, inferior wall below.
TO_SCREEN_RIGHT = (LEFT + BACK) / np.sqrt(2)
TO_SCREEN_BOTTOM = np.cross(np.array([-1.0, 1.0, 0.8]) / np.linalg.norm([1.0, 1.0, 0.8]), TO_SCREEN_RIGHT)


def affine(x_direction: NDArray[np.float64], y_direction: NDArray[np.float64]) -> NDArray[np.float64]:
    matrix = np.eye(4)
    matrix[:3, :3] = np.column_stack([1.4 * x_direction, 1.2 * y_direction, np.cross(x_direction, y_direction)])
    return matrix


USUAL = affine(TO_SCREEN_RIGHT, TO_SCREEN_BOTTOM)


def test_the_usual_picture_is_seen_from_the_apex() -> None:
    assert TO_SCREEN_BOTTOM @ UP < 0
    assert is_seen_from_apex(USUAL) is True


@pytest.mark.parametrize(
    ("x_direction", "y_direction", "expected"),
    [
        (-TO_SCREEN_RIGHT, TO_SCREEN_BOTTOM, False),  # columns stored from right to left
        (TO_SCREEN_RIGHT, -TO_SCREEN_BOTTOM, False),
        (TO_SCREEN_BOTTOM, TO_SCREEN_RIGHT, False),  # rows and columns exchanged
        (-TO_SCREEN_RIGHT, -TO_SCREEN_BOTTOM, True),  # turned by half
        (TO_SCREEN_BOTTOM, -TO_SCREEN_RIGHT, True),  # turned by a quarter
    ],
)
def test_mirrored_images_are_seen_from_the_base_and_turned_ones_are_not(
    x_direction: NDArray[np.float64], y_direction: NDArray[np.float64], expected: bool
) -> None:
    assert is_seen_from_apex(affine(x_direction, y_direction)) is expected


def test_the_apex_is_to_the_left_front_and_bottom_whichever_way_the_image_is_stored() -> None:
    for image in (USUAL, affine(TO_SCREEN_BOTTOM, TO_SCREEN_RIGHT)):
        direction, is_certain = apex_direction(image)
        assert is_certain
        assert direction @ LEFT > 0
        assert direction @ BACK < 0
        assert direction @ UP < 0


def test_a_long_axis_view_does_not_tell() -> None:
    long_axis = affine(TO_SCREEN_RIGHT, slice_normal(USUAL))
    assert is_seen_from_apex(long_axis) is None
    assert apex_direction(long_axis)[1] is False
