"""The predecessor's crop against PyTorch's bicubic resizing, OpenCV's kernel worked out by hand, and its own rules."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tagstrain.errors import LocalizationError
from tagstrain.geometry import OriginalCrop
from tagstrain.geometry.original_crop import centered, resize_cubic

INSIDE = (69.55119, 95.5333, 132.18111, 161.8517)
NEGATIVE = (-3.2, -5.7, 80.4, 99.9)
BEYOND = (200.3, 190.6, 270.2, 262.9)


def image(rows: int = 256, columns: int = 256) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, (2, rows, columns)).astype(np.float32)


def bicubic(images: np.ndarray) -> np.ndarray:
    """PyTorch's resizing to 128 x 128, with the same kernel as OpenCV's."""
    resized = torch.nn.functional.interpolate(torch.from_numpy(images)[None], size=(128, 128), mode="bicubic")
    return resized[0].numpy()


@pytest.mark.parametrize("size", [(67, 64), (1, 3), (128, 128), (200, 151)])
def test_resizing_is_that_of_pytorch(size: tuple[int, int]) -> None:
    images = image(*size)
    np.testing.assert_allclose(resize_cubic(images, 128), bicubic(images), atol=2e-4)


def test_a_single_bright_pixel_shows_the_kernel_worked_out_by_hand() -> None:
    """At twice the size, results lie 1/4 and 3/4 of a pixel from pixels: OpenCV's weights for a = -3/4 there."""
    dot = np.zeros((64, 64))
    dot[10, 20] = 1
    kernel = np.array([-9, -27, 67, 225, 225, 67, -27, -9]) / 256  # distances 1.75, 1.25, 0.75, 0.25, ...
    expected = np.zeros((128, 128))
    expected[17:25, 37:45] = np.outer(kernel, kernel)
    np.testing.assert_allclose(resize_cubic(dot, 128), expected, atol=1e-7)


@pytest.mark.parametrize(
    ("box", "left", "top", "columns", "rows"),
    [(INSIDE, 69, 95, 64, 67), (NEGATIVE, -4, -6, 85, 106), (BEYOND, 200, 190, 56, 66), ((3, 4, 9, 6), 3, 4, 6, 2)],
)
def test_whole_pixels_of_the_box_and_the_ratio_of_its_rows(
    box: tuple[float, ...], left: int, top: int, columns: int, rows: int
) -> None:
    crop = OriginalCrop.around(box, 256, 256)
    assert (crop.left, crop.top, crop.n_columns, crop.n_rows) == (left, top, columns, rows)
    assert crop.ratio == 128 / rows


def test_a_start_outside_is_filled_with_zeros_and_an_end_outside_is_cut_off() -> None:
    frames = image()
    padded = np.zeros((2, 106, 85), np.float32)
    padded[:, 6:, 4:] = frames[:, :100, :81]
    sampled = OriginalCrop.around(NEGATIVE, 256, 256).sample(frames)
    np.testing.assert_allclose(sampled, bicubic(padded), atol=2e-4)
    cut = np.ascontiguousarray(frames[:, 190:256, 200:256])
    np.testing.assert_allclose(OriginalCrop.around(BEYOND, 256, 256).sample(frames), bicubic(cut), atol=2e-4)


def test_a_box_that_covers_the_image_and_more_is_padded_at_its_end_too() -> None:
    """The zeros before the image come with as many behind it."""
    crop = OriginalCrop.around((-4, -4, 300, 258), 256, 256)
    assert (crop.n_columns, crop.n_rows) == (264, 262)


def test_crops_of_integers_are_rounded_and_clipped_and_those_of_floats_are_not() -> None:
    frames = np.zeros((1, 256, 256), np.float32)
    frames[0, 100:110, 100:110] = 60000
    crop = OriginalCrop.around((80, 80, 130, 130), 256, 256)
    exact = crop.sample(frames)
    assert exact.min() < -1000
    assert exact.max() > 65535
    rounded = crop.sample(frames, "uint16")
    np.testing.assert_array_equal(rounded, np.clip(np.rint(exact), 0, 65535))


def test_landmarks_have_one_ratio_along_both_axes() -> None:
    """Worked out by hand: 67 rows, so a crop pixel is 67/128 pixels, along x as along y."""
    crop = OriginalCrop.around(INSIDE, 256, 256)
    np.testing.assert_allclose(crop.to_image(np.array([98.3, 64.0])), [69 + 98.3 * 67 / 128, 95 + 33.5])
    np.testing.assert_allclose(crop.to_crop(np.array([79.0, 105.0])), [1280 / 67, 1280 / 67])


@given(
    corner=st.tuples(st.floats(-40, 150), st.floats(-40, 150)),
    side=st.tuples(st.floats(5, 140), st.floats(5, 140)),
    size=st.tuples(st.integers(120, 300), st.integers(120, 300)),
    point=st.tuples(st.floats(-50, 300), st.floats(-50, 300)),
)
def test_to_the_crop_and_back_is_where_it_was(
    corner: tuple[float, float], side: tuple[float, float], size: tuple[int, int], point: tuple[float, float]
) -> None:
    crop = OriginalCrop.around((*corner, corner[0] + side[0], corner[1] + side[1]), *size)
    np.testing.assert_allclose(crop.to_image(crop.to_crop(np.array(point))), point, atol=1e-9)


@pytest.mark.parametrize(("rows", "columns"), [(192, 155), (301, 256), (300, 200)])
def test_images_of_other_sizes_lie_in_the_middle_of_256(rows: int, columns: int) -> None:
    frames = image(rows, columns)
    square = centered(frames)
    assert square.shape == (2, 256, 256)
    dx, dy = (256 - columns) // 2, (256 - rows) // 2
    y, x = 90, 70
    np.testing.assert_array_equal(square[:, y + dy, x + dx], frames[:, y, x])
    inside = (min(rows, 256), min(columns, 256))
    assert np.count_nonzero(square) == np.count_nonzero(frames[:, : inside[0], : inside[1]])
    box = np.array([60.2, 70.7, 120.1, 140.9])
    here = OriginalCrop.around(box, rows, columns)
    there = OriginalCrop.around(box + np.array([dx, dy, dx, dy]), 256, 256)
    np.testing.assert_array_equal(here.sample(frames), there.sample(square))
    point = np.array([10.0, 20.0])
    np.testing.assert_allclose(here.to_image(point) + np.array([dx, dy]), there.to_image(point))


@pytest.mark.parametrize(
    "box",
    [(90, 80, 60, 120), (60, 120, 90, 80), (60, 80, 60, 120), (260, 80, 300, 120), (9, 9, np.nan, 30), (0, 0, 9, 1e6)],
)
def test_boxes_that_ended_the_predecessor_are_no_localization(box: tuple[float, ...]) -> None:
    if box[3] < 1e6:
        with pytest.raises(LocalizationError, match="No left ventricle found"):
            OriginalCrop.around(box, 256, 256)
    else:
        assert OriginalCrop.around(box, 256, 256).n_rows == 256  # the end is cut off
        with pytest.raises(LocalizationError, match="1000009 x 9 pixels"):
            OriginalCrop.around((-1e6, 0, 9, 9), 256, 256)
