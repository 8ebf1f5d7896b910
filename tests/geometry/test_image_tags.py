"""Tags of a whole image, where nobody has said where the heart is."""

from __future__ import annotations

import numpy as np
import pytest

from tagstrain.errors import TagsNotFoundError
from tagstrain.geometry.tag_spectrum import measure_image_tags


def grid(rows: int, columns: int, spacing_xy_mm: np.ndarray) -> np.ndarray:
    """Tags 7 mm apart along x and y."""
    y, x = np.indices((rows, columns))
    waves = [np.cos(2 * np.pi * k * mm / 7) for k, mm in zip((x, y), spacing_xy_mm, strict=True)]
    return 100 * (2 + waves[0] + waves[1])


def test_a_grid_is_measured_on_pixels_that_are_not_square() -> None:
    spacing_xy_mm = np.array([1.2, 1.7])
    pattern = measure_image_tags(grid(90, 120, spacing_xy_mm), spacing_xy_mm)
    assert sorted(abs(round(d.tag_angle_deg)) for d in pattern.directions) == [0, 90]
    np.testing.assert_allclose([d.tag_spacing_mm for d in pattern.directions], 7, atol=0.03)


@pytest.mark.parametrize("spacing_mm", [1e-300, 1e-6, 0.1, 4.5, 1e3, 1e300])
def test_images_too_small_or_too_coarse_are_refused_at_once(spacing_mm: float) -> None:
    with pytest.raises(TagsNotFoundError, match="cannot show tag lines"):
        measure_image_tags(np.ones((64, 64)), np.full(2, spacing_mm))
