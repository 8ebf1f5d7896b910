"""The controls of the placer show each network what they say, and measure it right."""

from __future__ import annotations

import math

import pytest
import torch

from benchmarks.placer_controls import VARIANTS, Sighted, errors_of, row, trivial
from tagstrain.data.landmarks import N_RINGS, N_SPOKES
from tagstrain.networks.placer import CHANNEL_GROUPS, PLACER_CHANNELS, PlacerNet

CENTER_PX = torch.tensor([70.0, 58.0])


def ring(radius_px: float, center_px: torch.Tensor = CENTER_PX) -> torch.Tensor:
    angle = 2 * math.pi * torch.arange(N_SPOKES) / N_SPOKES
    return center_px + radius_px * torch.stack([angle.cos(), angle.sin()], dim=-1)


def crop(pixel_mm: float = 0.5) -> dict[str, torch.Tensor]:
    """One crop with a wall between circles of 20 and 32 pixels, and motion around their center alone."""
    landmarks = torch.stack([ring(20 + 12 * k / (N_RINGS - 1)) for k in range(N_RINGS)], dim=1)
    images = torch.zeros(1, PLACER_CHANNELS, 64, 64)
    y, x = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    images[:, :2] = torch.exp(-((2 * x + 0.5 - CENTER_PX[0]) ** 2 + (2 * y + 0.5 - CENTER_PX[1]) ** 2) / 400)
    return {"images": images, "landmarks": landmarks[None], "pixel_mm": torch.tensor([pixel_mm])}


def test_groups_hold_every_channel_once() -> None:
    told = [k for group in CHANNEL_GROUPS.values() for k in range(group.start, group.stop)]
    assert told == list(range(PLACER_CHANNELS))
    assert {name: int(variant.mask().sum()) for name, variant in VARIANTS.items()} == {
        "all": PLACER_CHANNELS,
        "no dropout": PLACER_CHANNELS,
        "no grey": PLACER_CHANNELS - 5,
        "motion, tags": PLACER_CHANNELS - 7,
        "motion": PLACER_CHANNELS - 10,
        "grey": 5,
        "ED frame": 1,
    }


@pytest.mark.parametrize("name", [name for name in VARIANTS if name not in {"all", "no dropout"}])
def test_what_is_hidden_changes_nothing(name: str) -> None:
    mask = VARIANTS[name].mask()
    network = Sighted(PlacerNet(), mask).eval()
    images = torch.randn(1, PLACER_CHANNELS, 64, 64, generator=torch.Generator().manual_seed(0))
    other = torch.where(mask > 0, images, images + 1)
    seen = torch.where(mask > 0, images + 1, images)
    with torch.inference_mode():
        answers = [network(each) for each in (images, other, seen)]
    torch.testing.assert_close(answers[0], answers[1])
    assert float((answers[0] - answers[2]).abs().max()) > 1e-3


def test_errors_of_circles_are_those_of_geometry() -> None:
    """Endocardium 2 pixels too wide, both 3 and 4 pixels off: at half a millimeter each."""
    off = CENTER_PX + torch.tensor([3.0, 4.0])
    (found,) = errors_of(torch.stack([ring(22, off), ring(32, off)])[None], crop())
    assert found.center_mm == pytest.approx(2.5, abs=1e-4)
    # A polygon of 24 corners has 0.6 % less radius than its circle.
    assert found.endo_mm == pytest.approx(1.0, abs=0.02)
    assert found.epi_mm == pytest.approx(0.0, abs=1e-4)
    (right,) = errors_of(torch.stack([ring(20), ring(32)])[None], crop())
    assert right.rmse_mm == pytest.approx(0.0, abs=1e-4)


def test_the_circle_at_the_centroid_of_motion_is_where_it_moves() -> None:
    found = trivial(crop())
    assert found["circle at the centroid of motion"][0].center_mm < 0.1
    mid_crop = float((CENTER_PX - 63.5).norm() * 0.5)
    assert found["circle mid-crop"][0].center_mm == pytest.approx(mid_crop, abs=1e-3)


def test_rows_tell_the_spread_between_seeds() -> None:
    first, second = (torch.tensor([[rmse, -1.0, 0.5, 2.0]]).numpy() for rmse in (1.0, 2.0))
    assert row("all", [first, second]) == "| all | 1.50 ± 0.50 | 1.00 (-1.00) | 0.50 (+0.50) | 2.00 ± 0.00 |"
    assert row("circle", [first]) == "| circle | 1.00 | 1.00 (-1.00) | 0.50 (+0.50) | 2.00 |"
