"""The landmark RNN-CNN of Ferdian et al., its loss, and the two strains inside that loss."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from tagstrain.data.landmarks import MIDWALL_RING, N_RINGS, N_SPOKES

INPUT_SIZE = 128
N_LANDMARKS = N_SPOKES * N_RINGS
STRAIN_WEIGHT = 5.0
STRAIN_EPSILON_PX2 = 1e-4
LEAK = 0.1


class LandmarkRnnCnn(nn.Module):
    """A CNN per frame, one LSTM over frames, and two dense layers that give all landmarks of each frame.

    Ferdian et al., Radiol Cardiothorac Imaging 2020;2(1):e190032.

    Any number of frames, where the original took exactly 20: sequences need no padding. The network is causal, frame t
    sees frames 0 to t, so frames behind a sequence, as the original's users padded it, do not change its landmarks,
    and a sequence that was cut at 20 frames has the landmarks of the first 20 of the whole. Frames put in front, or
    inserted, do change all that follow.

    The original trained with dropout on the LSTM's outputs alone; nothing is dropped outside training.
    """

    def __init__(self, dropout: float = 0.2) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3)
        self.conv2 = nn.Conv2d(32, 64, 3)
        self.conv4 = nn.Conv2d(64, 64, 3)
        self.conv8 = nn.Conv2d(64, 128, 3, padding=1)
        self.features = nn.Linear(128 * 14 * 14, 1024)
        self.lstm = nn.LSTM(1024, 1024, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.dense = nn.Linear(1024, 1024)
        self.dense_1 = nn.Linear(1024, 2 * N_LANDMARKS)
        self._initialize()

    def _initialize(self) -> None:
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
            else:
                nn.init.zeros_(parameter)
            if name == "lstm.bias_ih_l0":
                with torch.no_grad():
                    parameter[1024:2048] = 1.0  # TensorFlow adds a forget bias of 1 at run time

    def frame_features(self, frames: torch.Tensor) -> torch.Tensor:
        """CNN features ``(image, 1024)`` of images ``(image, 128, 128)``."""
        x = frames[:, None]
        for convolution in (self.conv1, self.conv2, self.conv4):
            x = F.max_pool2d(F.leaky_relu(convolution(x), LEAK), 2)
        x = F.leaky_relu(self.conv8(x), LEAK)
        return F.leaky_relu(self.features(x.flatten(1)), LEAK)

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        """Landmarks ``(batch, time, 2, 168)`` [crop px], axis 2 is (x, y), of crops ``(batch, time, 128, 128)``."""
        batch, time = crops.shape[:2]
        features = self.frame_features(crops.flatten(0, 1)).reshape(batch, time, -1)
        states, _ = self.lstm(features)
        hidden = F.relu(self.dense(self.dropout(states)))
        landmarks: torch.Tensor = self.dense_1(hidden)
        return landmarks.reshape(batch, time, 2, N_LANDMARKS)


def as_grid(landmarks: torch.Tensor) -> torch.Tensor:
    """``(..., 2, 168)`` as the network gives them to ``(..., spoke, ring, 2)``."""
    return landmarks.reshape(*landmarks.shape[:-1], N_SPOKES, N_RINGS).movedim(-3, -1)


def from_grid(landmarks: torch.Tensor) -> torch.Tensor:
    """``(..., spoke, ring, 2)`` to ``(..., 2, 168)``."""
    return landmarks.movedim(-1, -3).flatten(-2)


def loss_strains(landmarks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Radial and mid-wall circumferential Green strain ``(batch, time)`` as the original's loss has them.

    ``epsilon`` guards the division; it is added to the squared length at frame 0 only, so frame 0 is exactly 0.
    """
    grid = as_grid(landmarks)
    radial = (grid[..., N_RINGS - 1, :] - grid[..., 0, :]).square().sum(dim=-1)
    ring = grid[..., MIDWALL_RING, :]
    circumferential = (ring.roll(-1, dims=-2) - ring).square().sum(dim=-1)

    def strain(squared: torch.Tensor) -> torch.Tensor:
        epsilon = torch.zeros_like(squared)
        epsilon[:, 0] = STRAIN_EPSILON_PX2
        reference = squared[:, :1] + STRAIN_EPSILON_PX2
        return (((squared + epsilon) / reference - 1) / 2).mean(dim=-1)

    return strain(radial), strain(circumferential)


def landmark_loss(
    predicted: torch.Tensor, target: torch.Tensor, frame_valid: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The original's loss: mean squared error [px^2] + 5 |radial error| + 5 |mid-wall circumferential error|.

    Parameters
    ----------
    predicted, target
        Shape ``(batch, time, 2, 168)``, crop pixels.
    frame_valid
        Frames that count, bool ``(batch, time)``; None for all. Missing frames may hold any finite values.

    Returns
    -------
        Total loss, mean radial strain error, mean circumferential strain error.
    """
    squared = (predicted - target).square().mean(dim=(-1, -2))
    radial, circumferential = loss_strains(predicted)
    true_radial, true_circumferential = loss_strains(target)
    radial_error = (radial - true_radial).abs()
    circumferential_error = (circumferential - true_circumferential).abs()
    if frame_valid is None:
        frame_valid = torch.ones_like(squared, dtype=torch.bool)

    def mean(values: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        return torch.where(valid, values, torch.zeros_like(values)).sum() / valid.sum().clamp_min(1)

    has_strain = frame_valid & frame_valid[:, :1]  # against the first frame
    rr, cc = mean(radial_error, has_strain), mean(circumferential_error, has_strain)
    return mean(squared, frame_valid) + STRAIN_WEIGHT * rr + STRAIN_WEIGHT * cc, rr, cc
