"""The predecessor's crop against PyTorch's bicubic resizing, a second library with the same kernel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tagstrain.geometry import original_crop


@given(
    left=st.floats(0, 20), top=st.floats(0, 20), width=st.floats(2, 70), height=st.floats(2, 70), seed=st.integers(0, 9)
)
def test_images_are_resized_as_pytorch_does(left: float, top: float, width: float, height: float, seed: int) -> None:
    frames = np.random.default_rng(seed).integers(0, 255, (2, 90, 91)).astype(np.uint16)
    corners = (left, top, left + width, top + height)
    crops, _ = original_crop(frames, np.zeros((1, 2)), corners)
    x1, y1, x2, y2 = int(left), int(top), int(np.ceil(corners[2])), int(np.ceil(corners[3]))
    region = torch.tensor(frames[None, :, y1:y2, x1:x2].astype(np.float32))
    expected = torch.nn.functional.interpolate(region, size=(128, 128), mode="bicubic", align_corners=False)
    np.testing.assert_allclose(crops, expected[0].numpy(), atol=1e-3)


def test_points_are_scaled_by_rows_along_both_axes() -> None:
    _, points = original_crop(np.zeros((40, 40)), np.array([[10.5, 20.0], [42.0, 36.0]]), (10.2, 20.7, 25.9, 35.1))
    np.testing.assert_allclose(points, [[0.5 * 8, 0], [32 * 8, 16 * 8]])


@pytest.mark.parametrize("corners", [(-1, 0, 5, 5), (0, 0, 41, 5), (5, 5, 5, 9), (9, 5, 5, 9)])
def test_boxes_beyond_the_image_or_without_area_are_refused(corners: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="expected one within 40 x 30"):
        original_crop(np.zeros((30, 40)), np.zeros((1, 2)), corners)
