"""Grey levels far beyond all others: brought near, and nothing else is touched."""

from __future__ import annotations

import numpy as np
import pytest

from tagstrain.inference.glare import GLARE, without_glare


@pytest.mark.parametrize("glare", [1e6, -1e6])
def test_a_hot_pixel_leaves_the_others_as_they_are(glare: float) -> None:
    images = np.random.default_rng(0).random((4, 64, 64), np.float32)
    hot = images.copy()
    hot[:, 30, 20] = glare
    mended = without_glare(hot)
    assert np.abs(mended[:, 30, 20]).max() < 2 * GLARE
    mended[:, 30, 20] = images[:, 30, 20]
    np.testing.assert_array_equal(mended, images)


def test_bright_fat_and_images_without_contrast_are_left_alone() -> None:
    images = np.random.default_rng(0).random((2, 64, 64), np.float32)
    images[:, :3] *= 5
    np.testing.assert_array_equal(without_glare(images), images)
    mostly_blank = np.zeros((2, 64, 64), np.float32)
    mostly_blank[:, 20:30, 20:30] = 100
    np.testing.assert_array_equal(without_glare(mostly_blank), mostly_blank)
