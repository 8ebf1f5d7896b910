"""Weights files of the predecessor's two networks: random, but with answers that lie where a heart could."""

from __future__ import annotations

import math
from pathlib import Path

import h5py
import numpy as np
import torch

from tagstrain.networks.localizer import LocalizationCNN
from tagstrain.networks.rnncnn import LandmarkRnnCnn
from tagstrain.networks.weights import save_weights

BOX = (80.4, 90.6, 150.7, 170.2)
"""What the localizer answers, give or take the pixels that its random weights add."""


def write_localizer(path: Path) -> LocalizationCNN:
    """The predecessor's localizer; boxes near `BOX` that depend on image and batch."""
    torch.manual_seed(0)
    network = LocalizationCNN(1, "original").eval()
    with torch.no_grad():
        network.dense2.weight *= 4
        network.dense2.bias.copy_(torch.tensor(BOX))
    settings = {"network": {"in_channels": 1, "batch_statistics": "original"}, "preprocessing": "original"}
    save_weights(path, "localizer", network, "original", settings)
    return network


def write_rnncnn(path: Path) -> None:
    """The predecessor's landmark network; landmarks near an annulus of 20 to 40 crop pixels. A small file."""
    torch.manual_seed(1)
    network = LandmarkRnnCnn()
    angle = 2 * math.pi * torch.arange(24) / 24
    radius = torch.linspace(20, 40, 7)
    x = 64 + radius * torch.cos(angle)[:, None]
    y = 64 + radius * torch.sin(angle)[:, None]
    with torch.no_grad():
        network.dense_1.weight *= 0.5
        network.dense_1.bias.copy_(torch.cat([x.flatten(), y.flatten()]))
    save_weights(path, "rnncnn", network, "original", {"network": {}, "preprocessing": "original"}, eight_bits=True)


def noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Grey levels from 0 to 255, float32, not whole."""
    return np.random.default_rng(seed).uniform(0, 255, shape).astype(np.float32)


def write_rows(path: Path, images: np.ndarray, **datasets: object) -> Path:
    """A file in the predecessor's layout."""
    with h5py.File(path, "w") as file:
        n_rows = len(images)
        stored = {"px_spaces": np.full(n_rows, 350 / 256), "ed_frame_idx": np.zeros(n_rows, int), **datasets}
        for name, values in {"image_seqs": images, **stored}.items():
            file[name] = values
    return path
