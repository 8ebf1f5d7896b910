"""The predecessor's pipeline, step by step by its rules, and its networks beside ours."""

from __future__ import annotations

from dataclasses import replace
from math import ceil, floor
from pathlib import Path

import numpy as np
import pytest
import torch

from original_networks import BOX, noise
from tagstrain.data import Box, Localization, PixelSpacing, TaggedCine
from tagstrain.errors import InputError, LocalizationError, TagstrainError
from tagstrain.inference.analyze import AnalysisConfig, analyze_slice
from tagstrain.inference.localize import ViewLocalizer
from tagstrain.inference.models import Models, Preprocessing, load_localizer, load_models, load_tracker
from tagstrain.inference.original import OriginalLocalizer, OriginalRnnCnn
from tagstrain.inference.placer import MotionPlacer
from tagstrain.networks.flow import FlowNet
from tagstrain.networks.localization_unet import LocalizationUNet
from tagstrain.networks.localizer import LocalizationCNN
from tagstrain.networks.placer import PlacerNet
from tagstrain.networks.rnncnn import LandmarkRnnCnn
from tagstrain.networks.weights import WeightsInfo, save_weights

UKB = PixelSpacing(350 / 256, 350 / 256)


def cine(frames: np.ndarray, spacing: PixelSpacing = UKB, pixel_type: str = "float32") -> TaggedCine:
    return TaggedCine(frames, 40.0 * np.arange(len(frames)), spacing, pixel_type=pixel_type)


@pytest.fixture(scope="module")
def original(original_weights: dict[str, Path]) -> Models:
    """The predecessor's pipeline."""
    return load_models("rnncnn", "cpu", original_weights["localizer"], original_weights["rnncnn"])


class Shrinks(LandmarkRnnCnn):
    """An annulus around (64, 64) that shrinks by 1 % a frame."""

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        batch, time = crops.shape[:2]
        angle = 2 * torch.pi * torch.arange(24) / 24
        direction = torch.stack([torch.cos(angle), torch.sin(angle)])[..., None]
        at_ed = (direction * torch.linspace(30, 50, 7)).flatten(1)
        return 64 + at_ed * (0.99 ** torch.arange(time))[None, :, None, None].expand(batch, -1, -1, -1)


def by_the_rules(frames: np.ndarray, models: Models) -> tuple[np.ndarray, np.ndarray]:
    """Box and landmarks (time, 2, 168) as the predecessor's pipeline gives them, spelled out."""
    localizer, tracker = models.localizer, models.at_once
    assert isinstance(localizer, OriginalLocalizer)
    assert isinstance(tracker, OriginalRnnCnn)
    with torch.inference_mode():
        x1, y1, x2, y2 = localizer.network(torch.from_numpy(frames[:1])[None])[0].tolist()
        rows, columns = slice(floor(y1), ceil(y2)), slice(floor(x1), ceil(x2))
        part = torch.from_numpy(frames)[:, None, rows, columns]
        crops = torch.nn.functional.interpolate(part, size=(128, 128), mode="bicubic")[:, 0]
        local = tracker.network(crops[None])[0].numpy()
    ratio = 128 / (rows.stop - rows.start)
    corner = np.array([columns.start, rows.start])
    return np.array([x1, y1, x2, y2]), local / ratio + corner[:, None]


@pytest.mark.parametrize("n_frames", [2, 13])
def test_pipeline_is_box_crop_landmarks_and_back_for_any_number_of_frames(original: Models, n_frames: int) -> None:
    frames = noise((n_frames, 256, 256))
    result = analyze_slice(cine(frames), original)
    box, landmarks = by_the_rules(frames, original)
    np.testing.assert_allclose(result.localization.box, box, atol=1e-3)
    points = np.moveaxis(result.landmarks.points_px.reshape(n_frames, 168, 2), -1, 1)
    np.testing.assert_allclose(points, landmarks, atol=1e-3)
    assert np.ptp(landmarks, axis=0).max() > 0.1  # the test would not see frames mixed up if nothing moved
    assert result.localization.confidence is None
    assert np.isnan(result.landmarks.sigma_px).all()
    assert any("states no confidence" in warning for warning in result.warnings)


def test_no_confidence_is_not_low_confidence_but_a_box_outside_fails(original: Models) -> None:
    config = AnalysisConfig(min_confidence=1.0)
    assert analyze_slice(cine(noise((2, 256, 256))), original, config).localization.confidence is None
    localizer = original.localizer
    assert isinstance(localizer, OriginalLocalizer)

    class Elsewhere(LocalizationCNN):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.tensor([[90.0, 90.0, 60.0, 150.0]])

    lost = replace(original, localizer=replace(localizer, network=Elsewhere()))
    with pytest.raises(LocalizationError, match="No left ventricle found"):
        analyze_slice(cine(noise((2, 256, 256))), lost)


@pytest.mark.parametrize("shape", [(192, 155), (300, 281)])
def test_images_of_other_sizes_are_put_in_the_middle_and_brought_back(original: Models, shape: tuple[int, int]) -> None:
    rows, columns = shape
    frames = noise((2, *shape))
    dy, dx = (256 - rows) // 2, (256 - columns) // 2
    square = np.zeros((2, 256, 256), np.float32)
    inner = frames[:, max(0, -dy) : max(0, -dy) + 256, max(0, -dx) : max(0, -dx) + 256]
    square[:, max(0, dy) : max(0, dy) + inner.shape[1], max(0, dx) : max(0, dx) + inner.shape[2]] = inner
    here, there = analyze_slice(cine(frames), original), analyze_slice(cine(square), original)
    offset = np.array([dx, dy])
    moved = np.array(here.localization.box).reshape(2, 2) + offset
    np.testing.assert_allclose(moved.ravel(), there.localization.box, atol=1e-9)
    np.testing.assert_allclose(here.landmarks.points_px + offset, there.landmarks.points_px, atol=1e-9)
    assert any("takes images of 256 x 256" in warning for warning in here.warnings)
    assert not any("takes images of 256 x 256" in warning for warning in there.warnings)


def test_frame_0_is_end_diastole_whatever_the_file_says(original: Models) -> None:
    first = cine(noise((4, 256, 256)))
    expected = analyze_slice(first, original)
    result = analyze_slice(replace(first, ed_frame=2), original)
    assert result.strain.ed_frame == result.cine.ed_frame == 0
    np.testing.assert_array_equal(result.strain.radial, expected.strain.radial)
    assert any("the file says frame 2" in warning for warning in result.warnings)


def test_pixels_stored_as_integers_are_cropped_as_integers(original: Models) -> None:
    frames = np.round(noise((2, 256, 256)))
    tracker = original.at_once
    assert isinstance(tracker, OriginalRnnCnn)
    seen: list[torch.Tensor] = []

    def listen(module: torch.nn.Module, arguments: tuple[torch.Tensor]) -> None:
        seen.append(arguments[0])

    hook = tracker.network.register_forward_pre_hook(listen)
    for pixel_type in ("float32", "uint16"):
        tracker.place_and_track(cine(frames, pixel_type=pixel_type), Localization(Box(*BOX), None))
    hook.remove()
    exact, rounded = seen
    assert float(exact.min()) < -1
    torch.testing.assert_close(rounded, exact.round().clamp_min(0))


def test_given_points_move_as_the_networks_landmarks_around_them(original: Models) -> None:
    """A network whose annulus shrinks by 1 % a frame moves points on that annulus towards its middle."""
    tracker = original.at_once
    assert isinstance(tracker, OriginalRnnCnn)
    tracker = replace(tracker, network=Shrinks())
    slice_cine = cine(noise((3, 256, 256)))
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    ring = 20 * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    points = np.concatenate([ring + np.array([110, 120]), [[np.nan, 1]]])
    tracks = tracker.track(slice_cine, points)
    # The box: 40 px and 30 % more on both sides, from 78 to 142 and 88 to 152, so a crop pixel is half a pixel.
    middle = np.array([78 + 32, 88 + 32])
    expected = middle + (0.99 ** np.arange(3))[:, None, None] * (points[:-1] - middle)
    np.testing.assert_allclose(tracks.points_px[:, :-1], expected, atol=0.02)
    np.testing.assert_array_equal(tracks.points_px[0, :-1], points[:-1])
    assert np.isnan(tracks.points_px[:, -1]).all()
    with pytest.raises(LocalizationError):
        tracker.track(slice_cine, np.array([[90.0, 100.0]]))


ORIGINAL, OURS = "original", "tagstrain"
KINDS: dict[str, type[torch.nn.Module]] = {"rnncnn": LandmarkRnnCnn, "tracker": FlowNet, "placer": PlacerNet}


@pytest.mark.parametrize(
    ("tracker", "theirs", "asked", "localizer", "placer", "preprocessing"),
    [
        ("rnncnn", "both", None, OriginalLocalizer, OriginalRnnCnn, {"localizer": ORIGINAL, "rnncnn": ORIGINAL}),
        ("rnncnn", "localizer", None, OriginalLocalizer, MotionPlacer, {"localizer": ORIGINAL, "rnncnn": OURS}),
        ("rnncnn", "rnncnn", None, ViewLocalizer, OriginalRnnCnn, {"localizer": OURS, "rnncnn": ORIGINAL}),
        ("rnncnn", "both", OURS, OriginalLocalizer, OriginalRnnCnn, {"localizer": OURS, "rnncnn": OURS}),
        ("rnncnn", "none", None, ViewLocalizer, MotionPlacer, {"localizer": OURS, "rnncnn": OURS}),
        ("rnncnn", "none", ORIGINAL, ViewLocalizer, OriginalRnnCnn, {"localizer": OURS, "rnncnn": ORIGINAL}),
        ("flow", "localizer", None, OriginalLocalizer, MotionPlacer, {"localizer": ORIGINAL}),
        ("flow", "localizer", ORIGINAL, OriginalLocalizer, MotionPlacer, {"localizer": ORIGINAL}),
        ("harp", "localizer", OURS, OriginalLocalizer, MotionPlacer, {"localizer": OURS}),
        ("flow", "none", None, ViewLocalizer, MotionPlacer, {"localizer": OURS}),
    ],
)
def test_each_network_is_run_as_its_weights_say_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch,
    tracker: str,
    theirs: str,
    asked: str | None,
    localizer: type,
    placer: type,
    preprocessing: dict[str, str],
) -> None:
    """Which classes run is decided by the settings in the files alone, so no network is built here."""

    def settings(name: str, path: Path | None) -> dict[str, str]:
        return {"preprocessing": OURS if path is None else ORIGINAL}

    def build(name: str, path: Path | None, device: str, **_: object) -> tuple[torch.nn.Module, WeightsInfo]:
        kind = KINDS.get(name, LocalizationUNet if path is None else LocalizationCNN)
        return kind.__new__(kind), WeightsInfo(name, "1", "0", settings(name, path))

    monkeypatch.setattr("tagstrain.networks.weights.stored_settings", settings)
    for module in ("localize", "rnncnn", "original", "flow", "placer"):
        monkeypatch.setattr(f"tagstrain.inference.{module}.load_weights", build)
    monkeypatch.setattr(LocalizationCNN, "in_channels", 1, raising=False)
    given = {name: Path("theirs") if theirs in (name, "both") else None for name in ("localizer", "rnncnn")}
    models = load_models(tracker, "cpu", given["localizer"], given["rnncnn"], asked)
    assert type(models.localizer) is localizer
    assert type(models.placer) is placer
    assert models.tracker.name == tracker
    assert models.provenance.preprocessing == preprocessing
    assert (models.at_once is not None) is (placer is OriginalRnnCnn)


def test_weights_for_harp_are_refused() -> None:
    for load in (lambda: load_tracker("harp", "cpu", Path("w")), lambda: load_models("harp", "cpu", None, Path("w"))):
        with pytest.raises(TagstrainError, match="harp has no weights"):
            load()


@pytest.mark.parametrize("name", ["placer_weights", "insertion_weights"])
def test_weights_that_the_predecessors_pipeline_would_not_read_are_refused(
    original_weights: dict[str, Path], name: str
) -> None:
    given = (original_weights["localizer"], original_weights["rnncnn"])
    with pytest.raises(TagstrainError, match="places the landmarks itself"):
        load_models("rnncnn", "cpu", *given, **{name: Path("w")})  # type: ignore[arg-type]


def test_unknown_preprocessings_are_refused_by_name() -> None:
    with pytest.raises(TagstrainError, match="'cubic' is not known"):
        load_tracker("rnncnn", "cpu", None, "cubic")


@pytest.mark.parametrize("tracker", ["flow", "harp"])
def test_the_original_preprocessing_is_refused_where_no_network_has_one(tracker: str) -> None:
    with pytest.raises(TagstrainError, match="--preprocessing original changes nothing"):
        load_models(tracker, "cpu", preprocessing="original")
    with pytest.raises(TagstrainError, match="--preprocessing original changes nothing"):
        load_tracker(tracker, "cpu", preprocessing="original")
    assert load_tracker(tracker, "cpu", preprocessing="tagstrain").name == tracker


def test_weights_that_say_original_but_read_three_channels_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    settings = {"network": {"in_channels": 3}, "preprocessing": "original"}
    save_weights(path, "localizer", LocalizationCNN(3), "1", settings)
    with pytest.raises(InputError, match="does not read one channel"):
        load_localizer(path)


def test_both_preprocessings_agree_where_there_is_nothing_to_get_wrong(original: Models) -> None:
    """An image at the resolution that was trained on, and 64 x 64 whole pixels, from the edge of the first at 79.5.

    The crops then show the same, and what the network says about them lies in the same place.
    """
    slice_cine = cine(noise((2, 256, 256)))
    localizer, tracker = original.localizer, original.at_once
    assert isinstance(localizer, OriginalLocalizer)
    assert isinstance(tracker, OriginalRnnCnn)
    resampled = replace(localizer, preprocessing=Preprocessing.TAGSTRAIN)
    np.testing.assert_allclose(resampled.localize(slice_cine).box, localizer.localize(slice_cine).box, atol=1e-2)
    theirs = replace(tracker, network=Shrinks())
    ours = replace(theirs, preprocessing=Preprocessing.TAGSTRAIN)
    found = ours.place_and_track(slice_cine, Localization(Box(79.5, 89.5, 143.5, 153.5), None))
    expected = theirs.place_and_track(slice_cine, Localization(Box(80, 90, 144, 154), None))
    np.testing.assert_allclose(found.points_px, expected.points_px, atol=1e-6)


def test_our_preprocessing_brings_an_image_of_any_resolution_to_what_was_trained_on(original: Models) -> None:
    """The same smooth scene in pixels half the size: the box covers the same millimeters."""
    localizer = original.localizer
    assert isinstance(localizer, OriginalLocalizer)
    resampled = replace(localizer, preprocessing=Preprocessing.TAGSTRAIN)

    def scene(n: int) -> np.ndarray:
        x, y = np.meshgrid((np.arange(n) + 0.5) / n, (np.arange(n) + 0.5) / n)
        return (100 + 50 * np.sin(40 * x + 9 * y) + 40 * np.cos(30 * x * y)).astype(np.float32)[None].repeat(2, axis=0)

    coarse = resampled.localize(cine(scene(256))).box
    fine = resampled.localize(cine(scene(512), PixelSpacing(350 / 512, 350 / 512))).box
    np.testing.assert_allclose((np.array(fine) + 0.5) / 2, np.array(coarse) + 0.5, atol=0.3)
