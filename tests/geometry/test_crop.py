"""The crop transform: exact both ways, each axis by its own scale, and equal to SciPy's cubic convolution in spirit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from tagstrain.geometry import CropTransform, wall_grid
from tagstrain.geometry.crop import cubic_weights

crops = st.builds(
    CropTransform,
    center_xy_px=st.tuples(st.floats(-50, 300), st.floats(-50, 300)),
    side_mm=st.floats(5, 400),
    size=st.integers(2, 256),
    spacing_xy_mm=st.tuples(st.floats(0.3, 4), st.floats(0.3, 4)),
)


@given(crop=crops, x=st.floats(-500, 500), y=st.floats(-500, 500))
def test_to_crop_and_back_is_the_identity(crop: CropTransform, x: float, y: float) -> None:
    np.testing.assert_allclose(crop.to_image(crop.to_crop(np.array([x, y]))), [x, y], atol=1e-6)


@given(crop=crops)
def test_crop_pixels_are_square_in_millimetres(crop: CropTransform) -> None:
    corners = crop.to_image(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])) * np.array(crop.spacing_xy_mm)
    np.testing.assert_allclose(corners[1] - corners[0], [crop.pixel_mm, 0], atol=1e-6)
    np.testing.assert_allclose(corners[2] - corners[0], [0, crop.pixel_mm], atol=1e-6)


def test_whole_image_at_its_own_size_is_the_image() -> None:
    image = np.random.default_rng(0).random((30, 30), dtype=np.float32)
    sampled, valid = CropTransform((14.5, 14.5), 30.0, 30, (1.0, 1.0)).sample(image)
    np.testing.assert_allclose(sampled, image, atol=1e-6)
    assert valid.all()


@settings(deadline=None)
@given(
    center=st.tuples(st.floats(20, 40), st.floats(15, 30)),
    side_mm=st.floats(10, 60),
    spacing=st.tuples(st.floats(0.8, 2), st.floats(0.8, 2)),
)
def test_linear_images_are_sampled_exactly_inside(
    center: tuple[float, float], side_mm: float, spacing: tuple[float, float]
) -> None:
    """A ramp is reproduced at the mapped positions: images and points obey the same map, half a pixel included."""
    y, x = np.mgrid[:48, :64].astype(np.float32)
    crop = CropTransform(center, side_mm, 40, spacing)
    sampled, valid = crop.sample(np.stack([x, y]))
    steps = np.arange(40.0)
    where = crop.to_image(np.stack(np.meshgrid(steps, steps), axis=-1))
    # Two taps from the edge, times the widening of the kernel, the edge pixel repeats and the ramp ends.
    reach = 2 * max(1.0, *crop.scale_xy) + 1
    inside = valid & (where > reach).all(axis=-1) & (where < np.array([63, 47]) - reach).all(axis=-1)
    # The kernel reproduces ramps exactly; widened and sampled at whole pixels it does so to a few hundredths.
    tolerance = 1e-3 if max(crop.scale_xy) <= 1 else 0.05
    np.testing.assert_allclose(sampled[0][inside], where[..., 0][inside], atol=tolerance)
    np.testing.assert_allclose(sampled[1][inside], where[..., 1][inside], atol=tolerance)


def test_pixels_outside_the_image_are_marked() -> None:
    image = np.ones((20, 20), np.float32)
    sampled, valid = CropTransform((0.0, 10.0), 20.0, 20, (1.0, 1.0)).sample(image)
    assert not valid[:, :9].any()
    assert valid[5, 12]
    np.testing.assert_allclose(sampled, 1, atol=1e-6)  # padding repeats the edge, it is no dark frame


def test_upsampling_equals_a_second_library() -> None:
    """PyTorch takes a = -0.5, as we do, when it is told to antialias (and -0.75 when not)."""
    image = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    ours, _ = CropTransform((7.5, 7.5), 16.0, 48, (1.0, 1.0)).sample(image[0, 0].numpy())
    pil_kernel = F.interpolate(image, size=(48, 48), mode="bicubic", align_corners=False, antialias=True)
    np.testing.assert_allclose(ours[9:-9, 9:-9], pil_kernel[0, 0, 9:-9, 9:-9].numpy(), atol=1e-5)


def test_downsampling_does_not_alias() -> None:
    """Stripes finer than the new pixels average out."""
    stripes = np.tile(np.array([0.0, 1.0], np.float32), 64)[None].repeat(128, axis=0)
    coarse, _ = CropTransform((63.5, 63.5), 128.0, 16, (1.0, 1.0)).sample(stripes)
    np.testing.assert_allclose(coarse[:, 1:-1], 0.5, atol=0.01)  # at the edge the last stripe repeats


@given(st.lists(st.floats(-20, 60), min_size=1, max_size=20), st.floats(0.1, 6))
def test_weights_sum_to_one(positions: list[float], scale: float) -> None:
    weights = cubic_weights(np.array(positions), 32, scale)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("bad", [{"side_mm": 0.0}, {"size": 0}, {"spacing_xy_mm": (0.0, 1.0)}])
def test_impossible_crops_are_refused(bad: dict[str, object]) -> None:
    fields = {"center_xy_px": (1.0, 1.0), "side_mm": 10.0, "size": 8, "spacing_xy_mm": (1.0, 1.0)}
    with pytest.raises(ValueError, match="expected positive"):
        CropTransform(**{**fields, **bad})  # type: ignore[arg-type]


def test_rings_are_equally_spaced_from_endocardium_to_epicardium() -> None:
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    grid = wall_grid(10 * circle, 22 * circle, 7)
    np.testing.assert_allclose(np.linalg.norm(grid, axis=-1), np.tile(np.linspace(10, 22, 7), (24, 1)))
