"""The predecessor's networks against their published sizes and against NumPy implementations of their layers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tagstrain.networks.localizer import LocalizationCNN
from tagstrain.networks.rnncnn import (
    LandmarkRnnCnn,
    as_grid,
    from_grid,
    landmark_loss,
    loss_strains,
)


def n_parameters(network: torch.nn.Module) -> int:
    return sum(p.numel() for name, p in network.named_parameters() if name != "lstm.bias_hh_l0")


def test_sizes_are_the_published_ones() -> None:
    assert n_parameters(LandmarkRnnCnn()) == 35_607_440
    assert n_parameters(LocalizationCNN()) == 3_763_076


def test_rnncnn_equals_its_equations() -> None:
    """BasicLSTM by its definition: c' = c sigmoid(f + 1) + sigmoid(i) tanh(j), h = tanh(c') sigmoid(o)."""
    torch.manual_seed(0)
    network = LandmarkRnnCnn().eval()
    crops = torch.rand(1, 4, 128, 128)
    with torch.no_grad():
        features = network.frame_features(crops[0]).double().numpy()
        found = network(crops)[0].reshape(4, 336).double().numpy()
    weights = {name: p.detach().double().numpy() for name, p in network.named_parameters()}
    kernel = np.concatenate([weights["lstm.weight_ih_l0"], weights["lstm.weight_hh_l0"]], axis=1)
    bias = weights["lstm.bias_ih_l0"] + weights["lstm.bias_hh_l0"]
    bias[1024:2048] -= 1  # what a TensorFlow checkpoint would hold

    def sigmoid(x: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-x))

    c = h = np.zeros(1024)
    for t in range(4):
        i, f, j, o = np.split(kernel @ np.concatenate([features[t], h]) + bias, 4)
        c = c * sigmoid(f + 1) + sigmoid(i) * np.tanh(j)
        h = np.tanh(c) * sigmoid(o)
        hidden = np.maximum(weights["dense.weight"] @ h + weights["dense.bias"], 0)
        expected = weights["dense_1.weight"] @ hidden + weights["dense_1.bias"]
        np.testing.assert_allclose(found[t], expected, atol=1e-4)


def test_rnncnn_is_causal_and_takes_any_number_of_frames() -> None:
    network = LandmarkRnnCnn().eval()
    crops = torch.rand(1, 5, 128, 128)
    with torch.no_grad():
        long, short = network(crops), network(crops[:, :2])
    assert long.shape == (1, 5, 2, 168)
    torch.testing.assert_close(long[:, :2], short, atol=1e-4, rtol=1e-4)


def test_padding_to_twenty_frames_changes_nothing_before_the_padding() -> None:
    """What pipelines did to shorter cines: empty frames behind them; the LSTM looks back only."""
    torch.manual_seed(0)
    network = LandmarkRnnCnn().eval()
    for parameter in network.parameters():
        if parameter.dim() == 1:  # zero at first, and with them an empty frame would be nothing to the network
            torch.nn.init.normal_(parameter, std=0.1)
    crops = torch.rand(1, 3, 128, 128)
    empty = torch.zeros(1, 17, 128, 128)
    with torch.no_grad():
        alone = network(crops)
        padded = network(torch.cat([crops, empty], dim=1))
        late = network(torch.cat([empty[:, :1], crops], dim=1))
    torch.testing.assert_close(padded[:, :3], alone, atol=1e-3, rtol=1e-4)
    # An empty frame in front is no padding: it is the past of the others.
    assert float((late[:, 1:] - alone).abs().max()) > 0.01 * float(alone.abs().max())


def test_localizer_with_original_statistics_depends_on_the_batch() -> None:
    """The predecessor normalises by the batch at hand; ours by moving statistics must not."""
    images = torch.rand(2, 1, 256, 256)
    for statistics, differs in (("original", True), ("moving", False)):
        network = LocalizationCNN(1, statistics).eval()  # type: ignore[arg-type]
        with torch.no_grad():
            together, alone = network(images)[:1], network(images[:1])
        assert bool((together - alone).abs().max() > 1e-3 * together.abs().max()) is differs


def test_localizer_flattens_with_the_channel_fastest() -> None:
    """Swapping two neighbouring columns of the first dense layer swaps two channels, not two pixels."""
    torch.manual_seed(1)
    network = LocalizationCNN().eval()
    image = torch.rand(1, 1, 256, 256)
    with torch.no_grad():
        before = network(image)
        network.convolutions[4].weight[[0, 1]] = network.convolutions[4].weight[[1, 0]]
        network.convolutions[4].bias[[0, 1]] = network.convolutions[4].bias[[1, 0]]
        weight = network.dense1.weight.view(1024, 25, 128)
        weight[:, :, [0, 1]] = weight[:, :, [1, 0]]
        after = network(image)
    torch.testing.assert_close(before, after, atol=1e-4, rtol=1e-4)


def annulus(radii: torch.Tensor) -> torch.Tensor:
    """Landmarks (1, time, 2, 168) of annuli with endocardial and epicardial radius per frame."""
    angle = 2 * torch.pi * torch.arange(24) / 24
    depth = torch.linspace(0, 1, 7)
    radius = radii[:, :1] + (radii[:, 1:] - radii[:, :1]) * depth
    x = 64 + radius[:, None, :] * torch.cos(angle)[None, :, None]
    y = 64 + radius[:, None, :] * torch.sin(angle)[None, :, None]
    return from_grid(torch.stack([x, y], dim=-1))[None]


def test_strains_of_the_loss_are_closed_form() -> None:
    radii = torch.tensor([[20.0, 40.0], [12.0, 36.0]])
    radial, circumferential = loss_strains(annulus(radii))
    assert radial[0].tolist() == pytest.approx([0, ((24 / 20) ** 2 - 1) / 2], abs=1e-5)
    assert circumferential[0].tolist() == pytest.approx([0, ((24 / 30) ** 2 - 1) / 2], abs=1e-5)


def test_loss_is_squared_error_plus_five_times_each_strain_error() -> None:
    truth = annulus(torch.tensor([[20.0, 40.0], [12.0, 36.0]]))
    guess = annulus(torch.tensor([[20.0, 40.0], [20.0, 40.0]]))
    total, radial, circumferential = landmark_loss(guess, truth)
    squared = float((guess - truth).square().mean())
    rr, cc = ((24 / 20) ** 2 - 1) / 4, (1 - (24 / 30) ** 2) / 4
    assert float(radial) == pytest.approx(rr, abs=1e-5)
    assert float(circumferential) == pytest.approx(cc, abs=1e-5)
    assert float(total) == pytest.approx(squared + 5 * rr + 5 * cc, rel=1e-5)


def test_missing_frames_do_not_count_in_the_loss() -> None:
    truth = annulus(torch.tensor([[20.0, 40.0], [12.0, 36.0]]))
    damaged = truth.clone()
    damaged[:, 1] = 0
    valid = torch.tensor([[True, False]])
    assert float(landmark_loss(truth, damaged, valid)[0]) == pytest.approx(0, abs=1e-6)
    assert float(landmark_loss(truth, damaged)[0]) > 100
    # Strain is against the first frame: where that has no labels, places alone count.
    unknown_ed = truth.clone()
    unknown_ed[:, 0] = 0
    later = torch.ones(truth.shape[:2], dtype=torch.bool)
    later[:, 0] = False
    assert float(landmark_loss(truth, unknown_ed, later)[0]) == pytest.approx(0, abs=1e-6)


def test_grid_order_is_spoke_times_seven_plus_ring() -> None:
    flat = torch.arange(336.0).view(1, 1, 2, 168)
    grid = as_grid(flat)
    assert grid.shape == (1, 1, 24, 7, 2)
    assert grid[0, 0, 3, 5].tolist() == [3 * 7 + 5, 168 + 3 * 7 + 5]
    assert torch.equal(from_grid(grid), flat)
