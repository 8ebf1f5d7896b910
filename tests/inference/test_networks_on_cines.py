"""Localizer, placer and RNN-CNN tracker around their networks: geometry that holds whatever the weights say."""

from __future__ import annotations

import math
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from tagstrain.data import Box, Localization, PixelSpacing, TaggedCine
from tagstrain.errors import InputError
from tagstrain.inference.localize import ViewLocalizer
from tagstrain.inference.predict import predict_localizer, predict_rnncnn
from tagstrain.inference.rnncnn import RnnCnn
from tagstrain.networks.localization_unet import LocalizationUNet
from tagstrain.networks.localizer import LocalizationCNN
from tagstrain.networks.rnncnn import LandmarkRnnCnn
from tagstrain.networks.weights import WeightsInfo

INFO = WeightsInfo("test", "0", "0" * 64, {})


class FollowsTheBlob(LocalizationCNN):
    """Stands in for a trained localiser: a square around the bright part of the movement channel, as wide as it is."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        weight = images[:, 1].clamp_min(2.0) - 2.0
        steps = torch.arange(256.0)
        total = weight.sum(dim=(1, 2)).clamp_min(1e-6)
        x = (weight.sum(dim=1) * steps).sum(dim=1) / total
        y = (weight.sum(dim=2) * steps).sum(dim=1) / total
        half = 2 * ((weight.sum(dim=1) * (steps - x[:, None]) ** 2).sum(dim=1) / total).sqrt()
        return torch.stack([x - half, y - half, x + half, y + half], dim=1)


class MarksTheBlob(LocalizationUNet):
    """Stands in for a trained U-Net: heart where the movement channel is bright, cavity in its brightest part."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        movement = torch.nn.functional.avg_pool2d(images[:, 1], 2)
        return 8 * torch.stack([movement - 3.0, movement - 1.5], dim=1)


class MarksAPlace(LocalizationUNet):
    """Marks the same place whatever it sees, off the middle so that turning it moves it."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps = torch.full((len(images), 2, 128, 128), -8.0)
        maps[:, :, 40:60, 20:45] = 8.0
        return maps


class Blind(LocalizationUNet):
    """Marks nothing."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.full((len(images), 2, 128, 128), -20.0)


class Guesses(LocalizationCNN):
    """Gives the same box whatever it sees, off the middle so that turning it moves it."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.tensor([[40.0, 60.0, 100.0, 120.0]]).expand(len(images), 4)


class Annuli(LandmarkRnnCnn):
    """Stands in for a trained RNN-CNN: an annulus in the middle of the crop that shrinks by 1 % a frame."""

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        batch, time = crops.shape[:2]
        angle = 2 * math.pi * torch.arange(24) / 24
        radius = torch.linspace(20, 40, 7)[None, None] * (0.99 ** torch.arange(time))[:, None, None]
        x = 63.5 + radius * torch.cos(angle)[None, :, None]
        y = 63.5 + radius * torch.sin(angle)[None, :, None]
        return torch.stack([x.flatten(1), y.flatten(1)], dim=1)[None].expand(batch, time, 2, 168)


def beating_blob(center: tuple[float, float], spacing: PixelSpacing, shape: tuple[int, int]) -> TaggedCine:
    """Tags everywhere, and a disc of 25 mm in which they move."""
    y, x = np.indices(shape).astype(float)
    across_mm, along_mm = x * spacing.column_mm, y * spacing.row_mm
    distance_mm = np.hypot(across_mm - center[0] * spacing.column_mm, along_mm - center[1] * spacing.row_mm)
    shift = np.where(distance_mm < 25, 1.0, 0.0)
    frames = [2 + np.sin(2 * np.pi * (across_mm + along_mm + 1.3 * t * shift) / 9) for t in range(8)]
    return TaggedCine(np.stack(frames).astype(np.float32), 40.0 * np.arange(8), spacing)


CINES = pytest.mark.parametrize(
    ("center", "spacing", "shape"),
    [
        ((120.0, 100.0), PixelSpacing(1.4, 1.4), (256, 256)),
        ((70.0, 120.0), PixelSpacing(1.0, 2.0), (240, 150)),
    ],
)


@CINES
def test_marked_heart_is_boxed_in_pixels_of_the_image(
    center: tuple[float, float], spacing: PixelSpacing, shape: tuple[int, int]
) -> None:
    found = ViewLocalizer(MarksTheBlob(), INFO).localize(beating_blob(center, spacing, shape))
    across_mm = np.array([spacing.column_mm, spacing.row_mm])
    assert np.abs((np.array(found.box.center_xy) - center) * across_mm).max() < 3
    size_mm = (np.array(found.box[2:]) - np.array(found.box[:2])) * across_mm
    # The disc of 25 mm and the predecessor's margins; movement is blurred by a few pixels.
    np.testing.assert_allclose(size_mm, 1.6 * 50, rtol=0.1)
    assert found.confidence > 0.7


@CINES
def test_box_follows_the_heart_in_pixels_of_the_image(
    center: tuple[float, float], spacing: PixelSpacing, shape: tuple[int, int]
) -> None:
    found = ViewLocalizer(FollowsTheBlob(3, "moving"), INFO).localize(beating_blob(center, spacing, shape))
    middle = np.array(found.box.center_xy)
    assert np.abs((middle - center) * np.array([spacing.column_mm, spacing.row_mm])).max() < 5
    size_mm = np.array([found.box.x2 - found.box.x1, found.box.y2 - found.box.y1]) * [spacing.column_mm, spacing.row_mm]
    # Four deviations of a uniform disc of 25 mm are 50 mm; the movement is blurred and cut off.
    np.testing.assert_allclose(size_mm, 50, rtol=0.15)
    assert found.confidence > 0.8


@pytest.mark.parametrize("network", [Guesses(3, "moving"), MarksAPlace()])
def test_a_network_that_guesses_has_no_confidence(network: LocalizationCNN | LocalizationUNet) -> None:
    cine = beating_blob((120.0, 100.0), PixelSpacing(1.4, 1.4), (256, 256))
    assert ViewLocalizer(network, INFO).localize(cine).confidence < 0.4


def test_a_network_that_marks_nothing_gives_no_box() -> None:
    found = ViewLocalizer(Blind(), INFO).localize(beating_blob((60.0, 50.0), PixelSpacing(2, 2), (128, 128)))
    assert np.isnan(found.box).all()
    assert found.confidence == 0


@pytest.mark.parametrize(
    ("boxes", "n_looks", "confidence"),
    [
        ([(40, 40, 80, 80), (42, 42, 82, 82)], 2, 0.9),
        ([(0, 0, 40, 40), (40, 40, 80, 80), (42, 42, 82, 82)], 3, 0.9),
        ([(0, 0, 40, 40), (40, 40, 80, 80), (0, 0, 40, 40), (60, 60, 90, 90)], 4, 0.0),
    ],
)
def test_looks_go_on_until_two_agree(
    monkeypatch: pytest.MonkeyPatch, boxes: list[tuple[float, ...]], n_looks: int, confidence: float
) -> None:
    centers: list[tuple[float, float]] = []

    def look(_self: object, _cine: TaggedCine, center_px: tuple[float, float], *_: object) -> Localization:
        centers.append(center_px)
        return Localization(Box(*boxes[len(centers) - 1]), 0.9)

    monkeypatch.setattr(ViewLocalizer, "_look", look)
    cine = TaggedCine(np.zeros((3, 100, 120), np.float32), 40.0 * np.arange(3), PixelSpacing(1, 1))
    found = ViewLocalizer(Blind(), INFO).localize(cine)
    assert centers == [(59.5, 49.5), *(Box(*box).center_xy for box in boxes[: n_looks - 1])]
    assert found.box == Box(*boxes[n_looks - 1])
    assert found.confidence == pytest.approx(confidence)


def test_tracked_points_stay_where_they_were_given_at_ed() -> None:
    cine = beating_blob((120.0, 120.0), PixelSpacing(1.4, 1.4), (256, 256))
    points = np.array([[100.0, 110.0], [130.0, 140.0], [np.nan, np.nan], [120.0, 100.0]])
    tracks = RnnCnn(Annuli(), INFO).track(cine, points)
    np.testing.assert_allclose(tracks.points_px[0], points)
    assert np.isnan(tracks.points_px[:, 2]).all()
    assert np.isnan(tracks.sigma_px[:, 2]).all()
    assert np.isfinite(tracks.sigma_px[1:, [0, 1, 3]]).all()


def test_tracked_points_move_as_the_networks_landmarks_do() -> None:
    """Points on the network's own annulus shrink by 1 % a frame towards its middle."""
    cine = TaggedCine(np.random.default_rng(0).random((6, 90, 80), np.float32), 40.0 * np.arange(6), PixelSpacing(1, 1))
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    ring = 16 * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    tracks = RnnCnn(Annuli(), INFO).track(cine, ring + np.array([40.0, 45.0]))
    expected = (0.99 ** np.arange(6))[:, None, None] * ring + np.array([40.0, 45.0])
    np.testing.assert_allclose(tracks.points_px, expected, atol=0.05)


def test_localizer_prediction_file_has_one_box_per_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cine = beating_blob((120.0, 100.0), PixelSpacing(1.4, 1.4), (256, 256))
    images = np.stack([cine.frames, np.full_like(cine.frames, np.nan)])
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file["image_seqs"], file["px_spaces"] = images, [1.4, 1.4]
    localizer = ViewLocalizer(FollowsTheBlob(3, "moving"), INFO)
    monkeypatch.setattr(ViewLocalizer, "from_weights", classmethod(lambda *_: localizer))
    n_rows, failures = predict_localizer(tmp_path / "in.h5", tmp_path / "out.h5", device="cpu")
    assert (n_rows, [failure.name for failure in failures]) == (2, ["row_00001"])
    assert "in.h5" in failures[0].reason
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["bbox_corners"].shape == (2, 4)
        np.testing.assert_allclose(file["bbox_corners"][0], localizer.localize(cine).box, atol=1e-3)
        assert np.isnan(file["bbox_corners"][1]).all()
        assert file["quality_confidence"][1] == 0


def test_rnncnn_prediction_file_has_the_predecessors_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file["cropped_image_seqs"] = np.random.default_rng(0).random((2, 5, 128, 128), np.float32)
        file["n_frames"] = [4, 3]
    model = RnnCnn(Annuli(), INFO)
    monkeypatch.setattr(RnnCnn, "from_weights", classmethod(lambda *_: model))
    assert predict_rnncnn(tmp_path / "in.h5", tmp_path / "out.h5", device="cpu") == (2, ())
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["cropped_landmark_coords"].shape == (2, 5, 2, 168)
        assert file["cropped_landmark_coords"][0, 0, 0, 0] == pytest.approx(83.5)
        known = np.isfinite(file["cropped_landmark_coords"]).all(axis=(2, 3))
        assert known.sum(axis=1).tolist() == file["n_frames"][:].tolist() == [4, 3]
    with h5py.File(tmp_path / "small.h5", "w") as file:
        file["cropped_image_seqs"] = np.zeros((1, 5, 64, 64), np.float32)
    with pytest.raises(InputError, match="expected 128 x 128"):
        predict_rnncnn(tmp_path / "small.h5", tmp_path / "out2.h5", device="cpu")
    assert not (tmp_path / "out2.h5").exists()
