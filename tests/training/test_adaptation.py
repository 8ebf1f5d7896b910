"""Adapting without labels: what is measured is right, the guard holds, and what is exported can be used."""

from __future__ import annotations

import json
import math
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tagstrain.data import FollowedSlice, GreyDoubt, LandmarkTracks, PixelSpacing, TaggedCine
from tagstrain.networks.flow import FIELD_STRIDE, Flow
from tagstrain.networks.weights import load_weights
from tagstrain.simulation.config import PRESETS
from tagstrain.simulation.render import View, render
from tagstrain.simulation.scene import sample_scenes, stack_scenes
from tagstrain.training import tracker_adaptation
from tagstrain.training.adaptation import Adaptation, _mix, save_adaptations
from tagstrain.training.config import TrainingConfig
from tagstrain.training.placer_adaptation import (
    CROPS_PER_SLICE,
    CohortWalls,
    PlacerAdaptation,
    PlacerConsistency,
    adapt_placer,
    taught,
)
from tagstrain.training.stream import TrainingBatches
from tagstrain.training.tracker_adaptation import (
    CohortExamples,
    TrackerAdaptation,
    TrackerConsistency,
    adapt_tracker,
    consistency,
    photometric_loss,
)

SIZE = 128
SPEED_PX_PER_MS = 0.02
CPU = torch.device("cpu")


class Drift(torch.nn.Module):
    """Says that everything moves along x at a set speed, whatever it sees."""

    def __init__(self, speed_px_per_ms: float = SPEED_PX_PER_MS) -> None:
        super().__init__()
        self.speed = torch.nn.Parameter(torch.tensor(speed_px_per_ms))

    def forward(self, frames: torch.Tensor, times_ms: torch.Tensor) -> Flow:
        nodes = frames.shape[-1] // FIELD_STRIDE
        along_x = (self.speed * times_ms)[:, :, None, None].expand(-1, -1, nodes, nodes)
        return Flow(torch.stack([along_x, torch.zeros_like(along_x)], dim=2), torch.zeros_like(along_x))


def drifting_tags() -> dict[str, torch.Tensor]:
    """A grid of tags that drifts along x at `SPEED_PX_PER_MS`, with landmarks on a wall that drifts along."""
    times_ms = 40.0 * torch.arange(6)
    y, x = torch.meshgrid(torch.arange(SIZE).float(), torch.arange(SIZE).float(), indexing="ij")
    x = x[None] - SPEED_PX_PER_MS * times_ms[:, None, None]
    frames = torch.cos(2 * math.pi * (x + y) / 11) + torch.cos(2 * math.pi * (x - y) / 11)
    angle = 2 * math.pi * torch.arange(24) / 24
    radius = torch.linspace(18, 36, 7)
    wall = 63.5 + radius[None, :, None] * torch.stack([angle.cos(), angle.sin()], dim=-1)[:, None]
    drift = torch.stack([SPEED_PX_PER_MS * times_ms, torch.zeros(6)], dim=-1)
    return {
        "images": frames[None],
        "times_ms": times_ms[None],
        "landmarks": (wall[None] + drift[:, None, None])[None],
        "frame_valid": torch.ones(1, 6, dtype=torch.bool),
        "landmark_weight": torch.ones(1, 6, 24, 7),
        "pixel_mm": torch.tensor([0.5]),
    }


@pytest.mark.parametrize(("speed_share", "lowest", "highest"), [(1.0, 0.0, 0.02), (0.0, 0.2, 1.0), (0.8, 0.02, 0.5)])
def test_photometric_loss_is_least_at_the_true_motion(speed_share: float, lowest: float, highest: float) -> None:
    batch = drifting_tags()
    flow = Drift(speed_share * SPEED_PX_PER_MS)(batch["images"], batch["times_ms"])
    assert lowest <= photometric_loss(flow, batch).item() <= highest


def test_a_stretch_without_landmarks_in_its_first_frame_says_nothing_about_tags() -> None:
    """As where a short cine, filled up to the length of the others, runs backwards."""
    batch = drifting_tags()
    flow = Drift(0.0)(batch["images"], batch["times_ms"])
    assert photometric_loss(flow, batch).item() > 0.2
    batch["landmarks"][:, 0], batch["frame_valid"][:, 0] = 0.0, False
    assert photometric_loss(flow, batch).item() == 0


def test_consistency_measures_what_it_says() -> None:
    """A drift along x closes exactly; seen in a view turned by a quarter it points along y instead."""
    batch = drifting_tags()
    found = consistency(Drift(), [batch])  # type: ignore[arg-type]
    travelled_mm = SPEED_PX_PER_MS * batch["times_ms"][0] * 0.5
    assert found.closing_mm == pytest.approx(0, abs=1e-4)
    assert found.views_mm == pytest.approx(float(math.sqrt(2) * travelled_mm.mean()), rel=1e-3)
    assert found.teacher_mm == pytest.approx(0, abs=1e-4)
    assert found.tag_agreement > 0.98
    still = consistency(Drift(0.0), [batch])  # type: ignore[arg-type]
    assert still.tag_agreement < 0.9
    assert still.teacher_mm == pytest.approx(float(travelled_mm.mean()), rel=1e-3)


@pytest.fixture(scope="module")
def followed() -> list[FollowedSlice]:
    """Two short simulated slices with a teacher that knows the truth, less sure of one spoke."""
    n_frames = 10
    scene = stack_scenes(sample_scenes(PRESETS["default"], 2, 41))
    cines = render(scene, View(torch.zeros(2, 2), torch.full((2,), 130.0), 160))
    slices = []
    for k in range(2):
        pixel_mm = float(cines.pixel_mm[k])
        landmarks_px = cines.landmarks_px[k, :n_frames].double().numpy()
        sigma = np.full(landmarks_px.shape[:3], 0.01)
        sigma[:, 5] = 0.5 / pixel_mm
        cine = TaggedCine(
            cines.frames[k, :n_frames].numpy(),
            cines.frame_times_ms[k, :n_frames].double().numpy(),
            PixelSpacing(pixel_mm, pixel_mm),
        )
        tracks = LandmarkTracks(landmarks_px, sigma)
        slices.append(FollowedSlice(cine, tracks, tracks.points_px[0]))
    return slices


def test_examples_keep_points_and_weights_on_the_tissue(followed: list[FollowedSlice]) -> None:
    """Whatever the crop and the turn, the spoke that the teacher is unsure of keeps its place and its weight."""
    rng = np.random.default_rng(0)
    examples = CohortExamples(followed)
    for _ in range(4):
        batch = examples.draw(1, rng, CPU)
        doubted = int(batch["landmark_weight"][0, 3].mean(dim=-1).argmin())
        assert float(batch["landmark_weight"][0, 3, doubted, 0]) == pytest.approx(0.5, abs=1e-3)
        assert float(batch["landmark_weight"][0].sum(dim=1).min()) > 23
        # Chords of the doubted spoke are those of the slice it came from.
        lengths = [
            float(np.linalg.norm(each.tracks.points_px[3, 5, 0] - each.tracks.points_px[3, 5, 6]))
            * each.cine.pixel_spacing.row_mm
            for each in followed
        ]
        drawn = batch["landmarks"][0, 3, doubted]
        assert min(abs(float((drawn[0] - drawn[6]).norm() * batch["pixel_mm"]) - mm) for mm in lengths) < 1e-3


def test_a_cine_is_judged_in_the_frames_that_it_has(followed: list[FollowedSlice]) -> None:
    for slice_, example in zip(followed, CohortExamples(followed).upright(), strict=True):
        assert example["images"].shape[1] == slice_.cine.n_frames
        assert bool(example["frame_valid"].all())
        since_first_ms = slice_.cine.frame_times_ms - slice_.cine.frame_times_ms[0]
        torch.testing.assert_close(example["times_ms"][0], torch.tensor(since_first_ms, dtype=torch.float32))


def test_examples_travel_to_a_process_that_was_not_forked(followed: list[FollowedSlice]) -> None:
    """As those that make batches on a GPU."""
    stream = TrainingBatches(TrainingConfig(task="tracker", out=""), rows=CohortExamples(followed))
    arrived = pickle.loads(pickle.dumps(stream))
    drawn, expected = (s.rows.draw(1, np.random.default_rng(0), CPU) for s in (arrived, stream))
    torch.testing.assert_close(drawn, expected)


def settings(tmp_path: Path, **changes: object) -> TrainingConfig:
    small: dict[str, object] = {
        "task": "tracker",
        "out": str(tmp_path / "run"),
        "steps": 1,
        "batch_size": 2,
        "replay": 1,
        "workers": 0,
        "device": "cpu",
        "validation_scenes": 1,
        "validate_every": 1,
        "warmup_steps": 1,
        "learning_rate": 1e-6,
    }
    return TrainingConfig(**{**small, **changes})  # type: ignore[arg-type]


@pytest.fixture
def ever_better(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cohort that praises whatever it is asked about, more each time."""
    praise = iter(range(100, 0, -1))
    monkeypatch.setattr(
        tracker_adaptation, "consistency", lambda *_: TrackerConsistency(float(next(praise)), 0.0, 0.0, 1.0)
    )


@pytest.mark.usefixtures("small_examples")
@pytest.mark.usefixtures("ever_better")
def test_better_weights_are_exported_and_load(
    tmp_path: Path, followed: list[FollowedSlice], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tagstrain.training.run.validation_set", None)  # the cines that guard are made once
    result = adapt_tracker(settings(tmp_path), followed, tmp_path / "tracker.safetensors")
    assert result.weights == tmp_path / "tracker.safetensors"
    shipped, info = load_weights("tracker")
    adapted, adapted_info = load_weights("tracker", result.weights)
    assert adapted_info.settings["adapted_from"] == info.sha256
    moved = [(a - b).abs().max().item() for a, b in zip(adapted.parameters(), shipped.parameters(), strict=True)]
    assert 0 < max(moved) < 1e-5
    record = result.to_record()
    assert record["exported"]
    assert record["n_slices"] == 2


@pytest.mark.usefixtures("small_examples")
def test_agreement_with_oneself_that_leaves_the_teacher_is_not_exported(
    tmp_path: Path, followed: list[FollowedSlice], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Views agree better and better, ever further from where the teacher sees the points."""
    steps = iter(range(1, 100))
    monkeypatch.setattr(
        tracker_adaptation, "consistency", lambda *_: TrackerConsistency(9 - (k := next(steps) / 10), 0.0, k / 2, 1.0)
    )
    result = adapt_tracker(settings(tmp_path), followed, tmp_path / "tracker.safetensors")
    assert result.after.inconsistency_mm < result.before.inconsistency_mm
    assert result.weights is None


@pytest.mark.parametrize(
    ("after", "simulated_mm", "is_kept"),
    [
        (TrackerConsistency(0.2, 0.6, 0.1, 0.60), 0.41, True),
        (TrackerConsistency(0.3, 0.1, 0.1, 0.60), 0.40, False),  # views differ more, however much better it closes
        (TrackerConsistency(0.1, 0.1, 0.2, 0.60), 0.40, False),  # leaves the teacher
        (TrackerConsistency(0.1, 0.1, 0.1, 0.58), 0.40, False),  # follows the tags worse
        (TrackerConsistency(0.1, 0.1, 0.1, 0.60), 0.42, False),  # forgets
    ],
)
def test_the_guard_of_the_tracker(
    after: TrackerConsistency, simulated_mm: float, is_kept: bool, tmp_path: Path, followed: list[FollowedSlice]
) -> None:
    module = TrackerAdaptation(settings(tmp_path), CohortExamples(followed), 1.0)
    module.before, module.simulated_rmse_mm_before = TrackerConsistency(0.2, 0.7, 0.1, 0.60), 0.40
    assert module.keeps_what_it_could(after, simulated_mm) == is_kept


@pytest.mark.usefixtures("small_examples")
@pytest.mark.usefixtures("ever_better")
def test_guard_refuses_a_tracker_that_forgets(tmp_path: Path, followed: list[FollowedSlice]) -> None:
    """The cohort may praise it: what got worse on simulated cines is not exported."""
    weights = tmp_path / "tracker.safetensors"
    result = adapt_tracker(settings(tmp_path, learning_rate=0.004), followed, weights)
    assert result.simulated_rmse_mm_after > 1.03 * result.simulated_rmse_mm_before
    assert result.weights is None
    assert not weights.exists()
    assert not result.to_record()["exported"]


class Dial(torch.nn.Module):
    """A network of one weight, which says how much of it is adapted."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = torch.nn.Parameter(torch.tensor(share))
        self.register_buffer("n_seen", torch.tensor(7))


class Weighed:
    """Agrees better the more of it is adapted, and forgets beyond a share."""

    def __init__(self, largest_share: float) -> None:
        self.network = Dial(1.0)
        self.largest_share = largest_share

    def consistency(self) -> PlacerConsistency:
        return PlacerConsistency(1 - self.network.share.item(), 0.0)

    def simulated_rmse_mm(self, _: object) -> float:
        return self.network.share.item()

    def keeps_what_it_could(self, _: PlacerConsistency, simulated_rmse_mm: float) -> bool:
        return simulated_rmse_mm <= self.largest_share


@pytest.mark.parametrize(
    ("largest_share", "share"), [(1.0, 1.0), (0.9, 0.875), (0.4, 0.375), (0.07, 0.0625), (0.05, 0.0), (-1.0, 0.0)]
)
def test_as_much_is_adapted_as_the_guard_lets_pass(largest_share: float, share: float) -> None:
    module = Weighed(largest_share)
    kept, found, simulated_mm = _mix(module, Dial(0.0).state_dict(), {})  # type: ignore[arg-type]
    assert kept == share
    assert module.network.share.item() == pytest.approx(share)
    assert module.network.n_seen.item() == 7
    measured = share or 0.0625  # the smallest that was tried
    assert simulated_mm == pytest.approx(measured)
    assert found.inconsistency_mm == pytest.approx((1 - measured) / 2)


def placing(tmp_path: Path, **changes: object) -> TrainingConfig:
    return settings(tmp_path, **{"task": "placer", "batch_size": 8, "replay": 4, "validation_scenes": 2, **changes})


def test_walls_are_drawn_where_the_heart_is_seen(tmp_path: Path, followed: list[FollowedSlice]) -> None:
    """The shipped placer finds the teacher's wall in what is drawn; a slice without one is never drawn."""
    without = FollowedSlice(followed[0].cine, followed[0].tracks)
    walls = CohortWalls([without, followed[1]], placing(tmp_path))
    assert len(walls.slices) == 1
    batch = walls.draw(6, np.random.default_rng(0), CPU)
    assert batch["images"].shape[0] == 6
    (crops,) = walls.crops()
    assert len(crops["images"]) == CROPS_PER_SLICE
    module = PlacerAdaptation(placing(tmp_path), walls)
    module.network.load_state_dict(load_weights("placer")[0].state_dict())
    module.eval()
    with torch.inference_mode():
        # Turned as they are, the spokes of the two begin elsewhere; their centers are comparable.
        off_px = module.landmarks_px(batch).mean(dim=(1, 2)) - batch["landmarks"].mean(dim=(1, 2))
        assert float((off_px.norm(dim=-1) * batch["pixel_mm"]).median()) < 2
        assert module.consistency().teacher_mm < 2


@pytest.mark.parametrize(
    ("doubt", "n_known", "is_misled"),
    [
        (GreyDoubt(3.0, 0.4), 5, True),
        (GreyDoubt(1.5, 0.1), 5, False),  # they say the same
        (GreyDoubt(3.0, 2.0), 5, False),  # motion does not know
        (GreyDoubt(3.0, 0.4), 3, False),  # too few to tell
    ],
)
def test_grey_levels_that_contradict_all_else_teach_nothing(
    followed: list[FollowedSlice], doubt: GreyDoubt, n_known: int, is_misled: bool
) -> None:
    """In `n_known` of seven slices; in one of the others no crops agree at all."""
    one = followed[0]
    assert one.wall_px is not None
    known = replace(one, wall_without_grey_px=one.wall_px + 1.0, grey_doubt=doubt)
    teaching, left_out = taught([known] * n_known + [one] * (6 - n_known) + [replace(one, wall_px=None)])
    if is_misled:
        assert left_out == ("grey levels",)
        assert [each.wall_px is known.wall_without_grey_px for each in teaching] == [True] * n_known
    else:
        assert left_out == ()
        assert [each.wall_px is one.wall_px for each in teaching] == [True] * 6


def test_a_placer_agrees_with_crops_that_are_equal(tmp_path: Path, followed: list[FollowedSlice]) -> None:
    """Equal crops differ in nothing, however far what is placed lies from the teacher."""
    module = PlacerAdaptation(placing(tmp_path), CohortWalls(followed[:1], placing(tmp_path))).eval()
    (crops,) = module.held_out
    equal = {key: value[:1].repeat(3, *([1] * (value.dim() - 1))) for key, value in crops.items()}
    moved = {**equal, "landmarks": equal["landmarks"] + torch.tensor([3.0, 4.0])}
    module.held_out = [equal]
    first = module.consistency()
    module.held_out = [moved]
    second = module.consistency()
    assert first.crops_mm == pytest.approx(0, abs=1e-5)
    assert second.crops_mm == pytest.approx(0, abs=1e-5)
    assert abs(second.teacher_mm - first.teacher_mm) <= 5 * float(equal["pixel_mm"][0]) + 1e-4
    assert second.teacher_mm != pytest.approx(first.teacher_mm, abs=1e-3)


@pytest.mark.usefixtures("small_examples")
def test_an_adapted_placer_loads_and_one_that_forgets_is_refused(
    tmp_path: Path, followed: list[FollowedSlice], monkeypatch: pytest.MonkeyPatch
) -> None:
    praise = iter(range(100, 0, -1))
    monkeypatch.setattr(PlacerAdaptation, "consistency", lambda _: PlacerConsistency(float(next(praise)), 0.0))
    weights = tmp_path / "placer.safetensors"
    doubt = GreyDoubt(3.0, 0.4)
    misled = [replace(each, wall_without_grey_px=each.wall_px, grey_doubt=doubt) for each in 2 * followed]
    result = adapt_placer(placing(tmp_path), misled, weights)
    assert result.weights == weights
    assert result.to_record()["after"]["teacher_mm"] == 0
    assert result.to_record()["teacher_left_out"] == ["grey levels"]
    assert result.to_record()["share"] == 1
    assert load_weights("placer", weights)[1].settings["adapted_from"] == load_weights("placer")[1].sha256
    other = tmp_path / "other.safetensors"
    refused = adapt_placer(placing(tmp_path, learning_rate=0.05), followed, other)
    assert refused.simulated_rmse_mm_after > 1.03 * refused.simulated_rmse_mm_before
    assert refused.weights is None
    assert refused.to_record()["share"] == 0
    assert refused.to_record()["teacher_left_out"] == []
    assert not other.exists()


def test_the_record_of_a_tracker_that_broke_down_is_json(tmp_path: Path) -> None:
    nan = float("nan")
    before, after = TrackerConsistency(0.3, 0.2, 0.1, 0.9), TrackerConsistency(nan, 0.2, nan, 0.9)
    outcome = Adaptation("tracker", None, 2, 2, before, after, 0.7, nan)
    save_adaptations([outcome], tmp_path / "adaptation.json")

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    record = json.loads((tmp_path / "adaptation.json").read_text(), parse_constant=refuse)["tracker"]
    assert record["before"]["simulated_rmse_mm"] == 0.7
    assert [name for name, value in record["after"].items() if value is None] == [
        "views_mm",
        "teacher_mm",
        "simulated_rmse_mm",
    ]


def test_slices_start_at_ed() -> None:
    cine = TaggedCine(np.ones((3, 8, 8), np.float32), np.arange(3.0), PixelSpacing(1, 1))
    tracks = LandmarkTracks(np.zeros((2, 24, 7, 2)), np.zeros((2, 24, 7)))
    with pytest.raises(ValueError, match="expected 3 frames, got 2"):
        FollowedSlice(cine, tracks)
