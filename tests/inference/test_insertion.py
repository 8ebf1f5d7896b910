"""The anterior RV insertion: which of two it is, where it lies in millimeters, and what its confidence says."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline_fakes import make_cine
from tagstrain.data import Insertion, PixelSpacing, Point, TaggedCine
from tagstrain.geometry import CropTransform, wall_grid
from tagstrain.inference import motion_insertion
from tagstrain.inference.analyze import analyze_slice
from tagstrain.inference.flow import MIN_SIDE_MM
from tagstrain.inference.insertion import GUESSED_ANTERIOR, anterior_of, find_insertion, insertion_warnings, is_mirrored
from tagstrain.inference.interfaces import Placement
from tagstrain.inference.models import Models
from tagstrain.inference.motion_insertion import MotionInsertionFinder
from tagstrain.inference.motion_sight import MotionSight
from tagstrain.networks.flow import Flow
from tagstrain.networks.insertion import InsertionLogits, InsertionNet, mean_direction_rad, ray_angles_rad
from tagstrain.networks.placer import PLACER_CHANNELS
from tagstrain.networks.preprocessing import TRACKER_CROP_SIZE
from tagstrain.networks.weights import WeightsInfo, load_weights
from tagstrain.training.insertion_examples import InsertionExamples
from tagstrain.training.insertion_module import true_angles_rad

INFO = WeightsInfo("insertion", "test", "0" * 64, {})
UPPER_LEFT, LOWER_LEFT = math.radians(-130), math.radians(130)


def short_axis(column: tuple[float, ...], row: tuple[float, ...], spacing: PixelSpacing) -> np.ndarray:
    """Affine of an image whose x and y run along two directions of the patient (LPS)."""
    affine = np.eye(4)
    affine[:3, 0] = np.array(column) / np.linalg.norm(column) * spacing.column_mm
    affine[:3, 1] = np.array(row) / np.linalg.norm(row) * spacing.row_mm
    return affine


# A typical short axis seen from the apex: x to the left, back and down, y down and to the back.
AS_DISPLAYED = short_axis((0.78, 0.49, 0.39), (0.0, 0.62, -0.78), PixelSpacing(1.5, 1.25))


class Says(InsertionNet):
    """The right ventricle from ``begin`` to ``end`` whatever is seen, as sharp as asked for."""

    def __init__(self, begin_rad: float, end_rad: float, sharpness: float = 100.0, presence: float = 20.0) -> None:
        super().__init__()
        self.angles, self.sharpness, self.presence_logit = torch.tensor([begin_rad, end_rad]), sharpness, presence
        self.contours_px: list[torch.Tensor] = []

    def forward(self, channels: torch.Tensor, epicardium_px: torch.Tensor) -> InsertionLogits:
        self.contours_px.append(epicardium_px)
        logits = self.sharpness * torch.cos(ray_angles_rad() - self.angles[:, None])
        n = len(channels)
        return InsertionLogits(logits.expand(n, -1, -1), torch.full((n,), self.presence_logit))


def wall_px(cine: TaggedCine, radius_mm: float = 20.0) -> np.ndarray:
    angle = 2 * np.pi * np.arange(24) / 24
    ring_px = np.stack([np.cos(angle), np.sin(angle)], axis=-1) / cine.spacing_xy_mm
    rows, columns = cine.frames.shape[1:]
    return np.array([columns / 2, rows / 2]) + wall_grid(10 * ring_px, radius_mm * ring_px, 7)


def sight(cine: TaggedCine) -> MotionSight:
    rows, columns = cine.frames.shape[1:]
    crop = CropTransform((columns / 2, rows / 2), 64.0, 128, tuple(cine.spacing_xy_mm))
    still = Flow(torch.zeros(2, 1, 2, 64, 64), torch.zeros(2, 1, 64, 64))
    return MotionSight(crop, torch.zeros(2, PLACER_CHANNELS, 64, 64), still, np.zeros((1, 2)))


def found(network: InsertionNet, cine: TaggedCine) -> Insertion:
    finder = MotionInsertionFinder(network, INFO, None)  # type: ignore[arg-type]  # nothing is tracked
    return finder.find(cine, Placement(wall_px(cine), sight(cine)))


def test_insertion_lies_on_the_epicardium_in_the_direction_that_the_network_says() -> None:
    cine = replace(make_cine(), affine=AS_DISPLAYED)
    network = Says(LOWER_LEFT, UPPER_LEFT)
    insertion = found(network, cine)
    assert insertion.angle_rad == pytest.approx(UPPER_LEFT, abs=1e-3)
    assert insertion.inferior_angle_rad == pytest.approx(LOWER_LEFT, abs=1e-3)
    offset_mm = (np.array(insertion.point_px) - np.array([28, 24])) * cine.spacing_xy_mm
    expected = 20 * np.array([math.cos(UPPER_LEFT), math.sin(UPPER_LEFT)])
    np.testing.assert_allclose(offset_mm, expected, atol=0.2)  # the wall is a polygon of 24 sides
    # The network saw the wall where it lies in the crop: 20 mm at half a millimeter a pixel.
    radius_px = (network.contours_px[0] - 63.5).norm(dim=-1)
    torch.testing.assert_close(radius_px, torch.full_like(radius_px, 40.0), atol=1e-3, rtol=0)


@pytest.mark.parametrize("turns", [(1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, 1), (-1, 0, 0, -1), (0, 1, 1, 0)])
def test_the_anterior_insertion_is_the_same_point_of_the_patient_however_the_image_lies(turns: tuple[int, ...]) -> None:
    """Turned and mirrored images of one slice: two points of the patient keep their roles."""
    turned = AS_DISPLAYED.copy()
    turned[:3, :2] = AS_DISPLAYED[:3, :2] @ np.array(turns).reshape(2, 2).T
    angles = np.array([LOWER_LEFT, UPPER_LEFT])
    points = 20 * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    in_turned = points @ np.linalg.inv(np.array(turns).reshape(2, 2))
    np.testing.assert_allclose(turned[:3, :2] @ in_turned.T, AS_DISPLAYED[:3, :2] @ points.T, atol=1e-9)
    assert anterior_of(in_turned, turned) == (1, True)
    assert anterior_of(in_turned[::-1], turned) == (0, True)


@pytest.mark.parametrize("affine", [None, short_axis((0, 1, 1), (1, 0, 0), PixelSpacing(1, 1))], ids=["none", "odd"])
def test_an_unknown_orientation_takes_the_upper_one_and_halves_the_confidence(affine: np.ndarray | None) -> None:
    """The second slice has its y axis from right to left: neither insertion lies further in front or above."""
    upper_and_lower = np.array([[20.0, 10.0], [20.0, 40.0]])
    assert anterior_of(upper_and_lower, affine) == (0, False)
    assert anterior_of(upper_and_lower[::-1], affine) == (1, False)
    sure, guessed = (found(Says(LOWER_LEFT, UPPER_LEFT), replace(make_cine(), affine=a)) for a in (AS_DISPLAYED, None))
    assert guessed.confidence == pytest.approx(GUESSED_ANTERIOR * sure.confidence)
    assert sure.is_reliable
    assert not guessed.is_reliable


@pytest.mark.parametrize("turns", [(-1, 0, 0, 1), (-0.8, 0.6, 0.6, 0.8)])
def test_a_right_ventricle_on_the_wrong_side_is_doubted_and_told(turns: tuple[float, ...]) -> None:
    """The header of an image stored flipped, as converters do, says the other side."""
    cine = replace(make_cine(), affine=AS_DISPLAYED)
    flipped = AS_DISPLAYED.copy()
    flipped[:3, :2] = AS_DISPLAYED[:3, :2] @ np.array(turns).reshape(2, 2).T
    right, wrong = (
        found(Says(LOWER_LEFT, UPPER_LEFT), replace(cine, affine=affine)) for affine in (AS_DISPLAYED, flipped)
    )
    assert not is_mirrored(right, AS_DISPLAYED)
    assert is_mirrored(wrong, flipped)
    assert wrong.confidence == pytest.approx(GUESSED_ANTERIOR * right.confidence)
    (warning,) = insertion_warnings(wrong, replace(cine, affine=flipped), None)
    assert "mirror image" in warning
    for confidence in (0.24, 0.26):
        doubtful = replace(wrong, confidence=confidence)
        (warning,) = insertion_warnings(doubtful, replace(cine, affine=flipped), None)
        assert ("mirror image" in warning) == (confidence > 0.25)


@pytest.mark.parametrize("turn_deg", [80, 95, -80, -95])
def test_a_heart_that_lies_so_that_front_and_up_do_not_tell_goes_by_the_side(turn_deg: float) -> None:
    turn_rad = math.radians(turn_deg)
    for affine, is_from_apex in ((AS_DISPLAYED, True), (AS_DISPLAYED @ np.diag([-1.0, 1, 1, 1]), False)):
        insertion = found(Says(LOWER_LEFT + turn_rad, UPPER_LEFT + turn_rad), replace(make_cine(), affine=affine))
        begins, ends = (math.remainder(each + turn_rad, 2 * math.pi) for each in (LOWER_LEFT, UPPER_LEFT))
        assert insertion.angle_rad == pytest.approx(ends if is_from_apex else begins, abs=1e-3)
        assert insertion.is_reliable


@given(st.floats(-3, 3), st.floats(-6, 6))
def test_confidence_is_the_chance_of_a_right_ventricle_times_that_of_15_degrees(begin: float, presence: float) -> None:
    spread = math.radians(15)
    insertion = found(Says(begin, begin + 1.7, 1 / spread**2, presence), make_cine())
    chance = 1 / (1 + math.exp(-presence))
    # About two thirds of a bell lie within its width; rays are 5 degrees apart, and the orientation is not known.
    assert insertion.confidence == pytest.approx(GUESSED_ANTERIOR * 0.68 * chance, abs=0.06)


def test_a_wall_that_was_not_seen_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    cine, seen = make_cine(), []

    def look(tracker: object, looked_at: TaggedCine, crop: CropTransform) -> MotionSight:
        seen.append(crop)
        return sight(looked_at)

    monkeypatch.setattr(motion_insertion, "look", look)
    finder = MotionInsertionFinder(Says(LOWER_LEFT, UPPER_LEFT), INFO, None)  # type: ignore[arg-type]
    for width_mm in (40, 50, 100):
        wall = (28, 24) + width_mm / 40 * (wall_px(cine) - (28, 24))
        finder.find(cine, Placement(wall))
        finder.find(cine, Placement(wall, sight(cine)))
        crop = seen.pop()
        assert not seen
        assert crop.center_xy_px == pytest.approx((28, 24))
        assert crop.side_mm == pytest.approx({40: MIN_SIDE_MM, 50: 75, 100: 144}[width_mm])
        assert crop.size == TRACKER_CROP_SIZE, "the network knows no other"


def test_the_shipped_network_finds_simulated_insertions() -> None:
    """Slices of a seed never trained on: insertions within 15 degrees, right ventricles seen where they are."""
    batch = InsertionExamples("default").simulate(6, 880_002, torch.device("cpu"))
    network, _ = load_weights("insertion")
    with torch.inference_mode():
        logits = network(batch["images"].float(), batch["landmarks"][:, :, 6])
    angles = true_angles_rad(batch)
    present = angles.isfinite().all(dim=1)
    assert ((logits.presence > 0) == present).float().mean() > 0.8
    apart = (mean_direction_rad(logits.insertions.softmax(dim=-1)) - angles)[present]
    assert float((torch.cos(apart) > math.cos(math.radians(15))).float().mean()) > 0.8


def test_the_pipeline_flags_what_is_not_certain_and_keeps_the_strain(fake_models: Models) -> None:
    class Doubts:
        def find(self, cine: TaggedCine, placement: Placement) -> Insertion:
            return Insertion.towards(placement.wall_px[:, -1], cine.spacing_xy_mm, 0.5, confidence=0.3)

    plain = analyze_slice(make_cine(), fake_models)
    doubted = analyze_slice(make_cine(), replace(fake_models, insertion=Doubts()))
    assert plain.insertion is None
    assert doubted.insertion is not None
    assert not doubted.insertion.is_reliable
    (warning,) = set(doubted.warnings) - set(plain.warnings)
    assert "confidence 0.30" in warning
    assert "rotation and twist may have the other sign" in warning
    (oriented,) = insertion_warnings(doubted.insertion, replace(make_cine(), affine=AS_DISPLAYED), None)
    assert "values of the whole slice are not affected" in oriented
    np.testing.assert_array_equal(doubted.strain.circumferential, plain.strain.circumferential)


def test_a_certain_insertion_needs_no_warning() -> None:
    insertion = Insertion(Point(1, 2), 0.1, 0.9)
    cine = make_cine()
    assert not list(insertion_warnings(insertion, replace(cine, affine=AS_DISPLAYED), None))
    across = replace(cine, affine=short_axis((1, 0, 0), (0, 1, 0), cine.pixel_spacing))
    assert "from which side" in next(insertion_warnings(insertion, across, None))
    assert not list(insertion_warnings(None, make_cine(), None))


@pytest.mark.parametrize(("distance_px", "is_known"), [(30.0, True), (44.0, True), (60.0, False)])
def test_segments_are_not_known_by_a_point_far_from_the_epicardium(distance_px: float, is_known: bool) -> None:
    angle = 2 * np.pi * np.arange(360) / 360
    circle_px = 100 + 30 * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    cine = make_cine(shape=(200, 200))
    given_px = Point(100 + distance_px, 100)  # pixels are 1.25 mm wide
    insertion = find_insertion(cine, Placement(circle_px[:, None]), None, given_px)
    assert insertion is not None
    assert (insertion.is_reliable, insertion.is_given) == (is_known, True)


@pytest.mark.parametrize(
    ("distance_mm", "is_said"), [(19.0, True), (39.0, False), (40.0, False), (59.0, False), (61.0, True), (100.0, True)]
)
def test_a_point_given_far_from_the_epicardium_is_doubted(distance_mm: float, is_said: bool) -> None:
    """The epicardium lies 40 mm from the middle, pixels are not square."""
    cine = replace(make_cine(), affine=AS_DISPLAYED)
    spacing, center_mm = cine.spacing_xy_mm, np.array([90.0, 75.0])
    angle = 2 * np.pi * np.arange(360) / 360
    circle_mm = center_mm + 40 * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    given_px = Point(*((center_mm + distance_mm * np.array([0.6, -0.8])) / spacing).tolist())
    insertion = Insertion.given(circle_mm / spacing, spacing, given_px)
    first, *further = insertion_warnings(insertion, cine, given_px)
    assert first == "The anterior RV insertion was given by the user"
    assert [f"lies {abs(distance_mm - 40):.0f} mm from the epicardium" in each for each in further] == [True] * is_said
    unoriented = list(insertion_warnings(insertion, replace(cine, affine=None), given_px))
    assert "does not say from which side it is seen" in unoriented[1]
    assert len(unoriented) == 2 + is_said


@pytest.mark.parametrize(
    ("angle_deg", "confidence", "says"),
    [
        (-130.0, 0.9, None),
        (-130.0 + 40, 0.9, None),
        (-130.0 - 40, 0.9, None),
        (130.0, 0.9, "where the inferior insertion is seen"),
        (180.0 - 10, 0.9, "where the inferior insertion is seen"),
        (20.0, 0.9, "elsewhere than the anterior one is seen"),
        (130.0, 0.4, None),
    ],
)
def test_a_point_given_at_the_other_insertion_is_doubted(angle_deg: float, confidence: float, says: str | None) -> None:
    """What the network sees, anterior insertion up and to the left, counts where it is certain."""
    cine = replace(make_cine(shape=(200, 200)), affine=AS_DISPLAYED)
    angle = 2 * np.pi * np.arange(360) / 360
    circle_px = (np.array([120.0, 140.0]) + 40 * np.stack([np.cos(angle), np.sin(angle)], axis=-1)) / cine.spacing_xy_mm
    seen = Insertion.towards(circle_px, cine.spacing_xy_mm, UPPER_LEFT, confidence, LOWER_LEFT)
    given_px = Insertion.towards(circle_px, cine.spacing_xy_mm, math.radians(angle_deg), 1.0).point_px
    insertion = find_insertion(cine, Placement(circle_px[:, None]), seen, given_px)
    assert insertion is not None
    assert insertion.is_reliable
    first, *further = insertion_warnings(insertion, cine, given_px, seen)
    assert first == "The anterior RV insertion was given by the user"
    assert len(further) == (says is not None)
    assert all(says in each and "({:.0f}, {:.0f})".format(*seen.point_px) in each for each in further)
