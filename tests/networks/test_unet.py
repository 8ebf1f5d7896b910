"""The U-Net: sizes, independence of the batch, and that every weight takes part."""

from __future__ import annotations

import pytest
import torch

from tagstrain.networks.unet import UNet


@pytest.mark.parametrize(("rows", "columns"), [(32, 48), (16, 16), (64, 80)])
def test_maps_have_the_size_of_the_images(rows: int, columns: int) -> None:
    assert UNet(12, 3, (8, 16, 24))(torch.zeros(2, 12, rows, columns)).shape == (2, 3, rows, columns)


def test_sides_that_cannot_be_halved_are_refused() -> None:
    with pytest.raises(ValueError, match=r"divisible by 4, got \(32, 34\)"):
        UNet(1, 1, (8, 8, 8))(torch.zeros(1, 1, 32, 34))


@pytest.mark.parametrize("widths", [(8, 12), (0, 8), (4,)])
def test_widths_that_do_not_group_are_refused(widths: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="multiples of 8"):
        UNet(1, 1, widths)


def test_an_image_does_not_depend_on_its_batch() -> None:
    network = UNet(2, 1, (8, 16))
    images = torch.randn(3, 2, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(network(images)[1:2], network(images[1:2]), atol=1e-5, rtol=1e-5)


def test_every_weight_takes_part() -> None:
    network = UNet(2, 1, (8, 16, 24))
    network(torch.randn(1, 2, 16, 16)).square().mean().backward()
    idle = [name for name, p in network.named_parameters() if p.grad is None or not bool(p.grad.abs().max() > 0)]
    assert idle == []


def test_one_pixel_reaches_far_over_the_coarse_levels() -> None:
    """With five levels every output sees the whole neighbourhood of a heart, 64 pixels and more."""
    network = UNet(1, 1).double()
    images = torch.zeros(1, 1, 128, 128, dtype=torch.float64, requires_grad=True)
    network(images + torch.rand(1, 1, 128, 128, dtype=torch.float64))[0, 0, 64, 64].backward()
    assert images.grad is not None
    assert float(images.grad[0, 0, 64, 32].abs()) > 0
