"""Training of our own networks: examples that say the truth, losses that vanish on it, and runs that export weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from tagstrain.errors import InputError
from tagstrain.inference import flow as flow_tracker
from tagstrain.inference.flow import FlowTracker, crop_around
from tagstrain.inference.models import load_models
from tagstrain.io import read_study
from tagstrain.io.landmark_file import LandmarkFile
from tagstrain.networks.flow import FIELD_STRIDE, Flow, FlowNet, sample_field
from tagstrain.networks.placer import N_VECTOR_CHANNELS, PLACER_CHANNELS, PlacerNet
from tagstrain.networks.preprocessing import TRACKER_CROP_SCALE
from tagstrain.networks.weights import load_weights, save_weights
from tagstrain.simulation.config import PRESETS
from tagstrain.simulation.render import ed_landmarks_mm
from tagstrain.training import placer_module, tracker_module
from tagstrain.training.config import Task, TrainingConfig
from tagstrain.training.examples import TrackerExamples
from tagstrain.training.files import HELD_BACK, FileExamples
from tagstrain.training.placer_examples import PlacerExamples
from tagstrain.training.placer_module import PlacerTraining
from tagstrain.training.run import train, validation_set
from tagstrain.training.tracker_loss import slips_px
from tagstrain.training.tracker_module import TrackerTraining
from tagstrain.training.wall_files import tracker_example

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def tracker_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "tracker.safetensors"
    save_weights(path, "tracker", FlowNet(), "test", {"network": {}, "preprocessing": "tagstrain"})
    return path


def settings_of(tmp_path: Path, **changes: object) -> TrainingConfig:
    small: dict[str, object] = {
        "out": str(tmp_path / "run"),
        "steps": 2,
        "batch_size": 2,
        "replay": 2,
        "workers": 0,
        "device": "cpu",
        "validation_scenes": 1,
        "validate_every": 2,
        "ema_decay": 0.5,
    }
    return TrainingConfig(**{**small, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("task", ["tracker", "placer"])
def test_run_exports_weights_that_load(task: str, tmp_path: Path, tracker_weights: Path) -> None:
    weights = train(settings_of(tmp_path, task=task, tracker_weights=str(tracker_weights)))
    network, info = load_weights(task, weights)
    assert isinstance(network, FlowNet if task == "tracker" else PlacerNet)
    assert info.settings["preprocessing"] == "tagstrain"
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").is_file()


@pytest.mark.usefixtures("small_examples")
@pytest.mark.parametrize("task", ["placer", "insertion"])
def test_an_analysis_runs_with_what_was_trained(task: str, tmp_path: Path, tracker_weights: Path) -> None:
    weights = train(settings_of(tmp_path, task=task, tracker_weights=str(tracker_weights)))
    models = load_models("flow", "cpu", **{f"{task}_weights": weights})  # type: ignore[arg-type]
    network = models.placer.network if task == "placer" else models.insertion.network  # type: ignore[union-attr]
    trained, info = load_weights(task, weights)
    for key, value in trained.state_dict().items():
        np.testing.assert_allclose(network.state_dict()[key].float(), value, rtol=0.01, atol=1e-6)  # bfloat16
    shipped = load_models("flow", "cpu").provenance.weights
    assert models.provenance.weights == {**shipped, task: str(info)}


@pytest.mark.usefixtures("small_examples")
@pytest.mark.parametrize("task", ["tracker", "placer"])
def test_labelled_files_train_too_from_given_weights(
    task: str, tmp_path: Path, tracker_weights: Path, simulated_file: Path
) -> None:
    first = train(settings_of(tmp_path, task=task, tracker_weights=str(tracker_weights)))
    second = settings_of(
        tmp_path,
        task=task,
        out=str(tmp_path / "second"),
        data=(str(simulated_file),),
        simulation_share=0.0,
        learning_rate=1e-12,
        weight_decay=0.0,
        init=str(first),
        tracker_weights=str(tracker_weights),
    )
    before, after = (load_weights(task, path)[0].state_dict() for path in (first, train(second)))
    for key, value in before.items():
        torch.testing.assert_close(after[key], value, atol=1e-6, rtol=0, msg=key)


@pytest.mark.usefixtures("small_examples")
def test_rows_held_back_are_validated_beside_simulated_ones_and_never_trained_on(
    tmp_path: Path, simulated_file: Path
) -> None:
    path = tmp_path / "labelled.h5"
    with h5py.File(simulated_file) as two, h5py.File(path, "w") as many:
        for name in two:
            many[name] = two[name][:][[0] * HELD_BACK + [1]]
    settings = settings_of(tmp_path, task="tracker", data=(str(path),), replay=1, validation_scenes=2)
    rows = FileExamples("tracker", [path])
    assert [row for _, row in rows.held_back] == [HELD_BACK]
    assert not FileExamples("tracker", [simulated_file]).held_back
    few = replace(settings, data=(str(simulated_file),))
    torch.testing.assert_close(validation_set(few), validation_set(replace(settings, data=())))
    assert rows.rows == [(path, row) for row in range(HELD_BACK)]
    both = validation_set(settings)["images"]
    only = validation_set(replace(settings, simulation_share=0.0))["images"]
    simulated = validation_set(replace(settings, data=()))["images"]
    torch.testing.assert_close(both, torch.cat([simulated, only, only]), msg="the one row counts as much as two cines")
    torch.testing.assert_close(only, rows.validation(2, CPU)["images"].float())


def test_every_file_keeps_rows_back_of_its_own(tmp_path: Path, simulated_file: Path) -> None:
    many = tmp_path / "many.h5"
    with h5py.File(simulated_file) as two, h5py.File(many, "w") as file:
        for name in two:
            file[name] = two[name][:][[0, 1] * HELD_BACK]
    for paths in ([many, simulated_file], [simulated_file, many]):
        rows = FileExamples("tracker", paths)
        assert rows.held_back == [(many, 8), (many, 9)]
        assert sorted(rows.rows) == sorted([*((many, k) for k in range(8)), (simulated_file, 0), (simulated_file, 1)])


@pytest.mark.parametrize(
    ("sizes", "n_held_back"),
    [([3] * 10, [0] * 8 + [3] * 2), ([10, 5], [2, 1]), ([8, 2], [1, 0]), ([4], [0]), ([3, 20, 1], [0, 4, 0])],
)
def test_a_fifth_is_held_back_and_no_file_has_all_the_say(
    sizes: list[int], n_held_back: list[int], tmp_path: Path, simulated_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / f"{k:02d}.h5" for k in range(len(sizes))]
    for path, n in zip(paths, sizes, strict=True):
        with h5py.File(simulated_file) as source, h5py.File(path, "w") as file:
            file["landmark_coords"] = np.repeat(source["landmark_coords"][:1], n, axis=0)
            file["px_spaces"] = np.ones(n)
    examples = FileExamples("tracker", paths)
    assert [sum(path == each for each, _ in examples.held_back) for path in paths] == n_held_back
    assert sorted(examples.rows + examples.held_back) == [
        (path, k) for path, n in zip(paths, sizes, strict=True) for k in range(n)
    ]
    validated: list[Path] = []
    monkeypatch.setattr(
        examples, "_example", lambda path, row, rng: validated.append(path) or {"row": torch.tensor(row)}
    )
    examples.validation(2, CPU)
    held_from = [path for path, n in zip(paths, n_held_back, strict=True) if n] or paths
    assert len(set(validated)) == min(2, len(held_from))


def test_chance_in_a_step_is_that_of_its_batch(tmp_path: Path) -> None:
    """However often it was asked for before: a resumed run takes the same slips."""
    module = TrackerTraining(settings_of(tmp_path, task="tracker"))
    module.loss = lambda batch: slips_px(batch).square().sum()  # type: ignore[method-assign]
    module.log = lambda *_, **__: None  # type: ignore[method-assign]
    batch = {"images": torch.zeros(4, 20, 16, 16), "pixel_mm": torch.ones(4), "seed": torch.tensor([1, 0, 0, 5])}
    first, again, other = (
        float(module.training_step({**batch, "seed": torch.tensor([1, 0, 0, turn])}, 0)) for turn in (5, 5, 6)
    )
    assert first == again != other


def test_rows_of_files_keep_points_on_the_tissue(simulated_file: Path, tracker_weights: Path) -> None:
    """The same landmarks in millimeters whatever the crop, and the wall of the placer turned to +x."""
    maker = PlacerExamples("default", tracker_weights)
    tracker = FileExamples("tracker", [simulated_file])
    still, jittered = tracker.validation(2, CPU), tracker.draw(1, np.random.default_rng(4), CPU)
    spans = []
    for batch in (still, jittered):
        ed = batch["landmarks"][:, 0].flatten(1, 2)
        spans.append((ed.amax(dim=1) - ed.amin(dim=1)) * batch["pixel_mm"][:, None])
        assert bool(batch["frame_valid"].all())
        assert float(batch["times_ms"][0, 0]) == 0
    assert float((spans[0] - spans[1]).abs().amax(dim=1).min()) < 0.05
    assert float((still["pixel_mm"] - jittered["pixel_mm"]).abs().min()) > 0.001
    extent = (still["landmarks"][0, 0].flatten(0, 1).amax(0) - still["landmarks"][0, 0].flatten(0, 1).amin(0)).max()
    assert float(extent) == pytest.approx(128 / TRACKER_CROP_SCALE, abs=0.5)
    placer = FileExamples("placer", [simulated_file], maker).validation(1, CPU)
    assert placer["images"].shape == (1, PLACER_CHANNELS, 64, 64)
    spoke = placer["landmarks"][0, 0, -1] - placer["landmarks"][0, :, -1].mean(dim=0)
    assert float(spoke[0]) > 0
    assert abs(float(spoke[1] / spoke[0])) < 0.15


@pytest.mark.parametrize("task", ["tracker", "rnncnn"])
@pytest.mark.parametrize("stored_frames", [15, 25])
def test_rows_with_padding_give_whole_examples(task: Task, stored_frames: int, tmp_path: Path) -> None:
    """Rows are stored as long as the longest one; what is beyond a row's own frames is not valid."""
    path = tmp_path / "padded.h5"
    generator = np.random.default_rng(0)
    angle = 2 * np.pi * np.arange(24) / 24
    radius = np.linspace(12, 24, 7)
    wall = 48 + radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)[:, None]
    points = np.repeat(wall.reshape(1, -1, 2), stored_frames, axis=0)
    points[12:] = np.nan
    with h5py.File(path, "w") as file:
        file["image_seqs"] = generator.random((1, stored_frames, 96, 96)).astype("f4")
        file["landmark_coords"] = np.moveaxis(points, 2, 1)[None]
        file["bbox_corners"] = [[10.0, 10.0, 86.0, 86.0]]
        file["px_spaces"], file["n_frames"], file["ed_frame_idx"] = [1.4], [12], [0]
    batch = FileExamples(task, [path]).validation(1, CPU)
    assert {value.shape[1] for key, value in batch.items() if key != "pixel_mm"} == {20}
    assert batch["frame_valid"][0].tolist() == [True] * 12 + [False] * 8


def grown_points() -> np.ndarray:
    """A wall in one frame as files store it, ``(row, time, 2, point)``."""
    angle = 2 * np.pi * np.arange(24) / 24
    wall = 60 + np.linspace(12, 24, 7)[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)[:, None]
    return np.moveaxis(wall.reshape(1, 1, -1, 2), 3, 2)


def grown(path: Path, **changes: Any) -> Path:
    """A labelled row of 20 frames, changed as asked."""
    datasets: dict[str, Any] = {
        "image_seqs": np.random.default_rng(0).random((1, 20, 128, 128)).astype("f4"),
        "landmark_coords": np.repeat(grown_points(), 20, axis=1),
        "bbox_corners": [[21.5, 21.5, 98.5, 98.5]],
        "px_spaces": [1.4],
        "ed_frame_idx": [0],
    }
    with h5py.File(path, "w") as file:
        for name, values in (datasets | changes).items():
            file[name] = values(datasets[name]) if callable(values) else values
    return path


OTHER_ORDER = np.arange(168).reshape(24, 7)[np.random.default_rng(3).permutation(24)].ravel()
"""Of landmarks, their spokes exchanged."""


@pytest.mark.parametrize(
    ("task", "changes", "problem"),
    [
        ("tracker", {"landmark_coords": lambda points: points - 21.0}, "count from its corner"),
        ("localizer", {"landmark_coords": lambda points: points - 21.0}, "count from its corner"),
        (
            "tracker",
            {"landmark_coords": lambda points: points.reshape(1, 20, 2, 24, 7).swapaxes(3, 4).reshape(1, 20, 2, 168)},
            "do not run spoke by spoke",
        ),
        (
            "tracker",
            {"landmark_coords": lambda points: points.reshape(1, 20, 2, 24, 7)[..., ::-1].reshape(1, 20, 2, 168)},
            "do not run spoke by spoke",
        ),
        (
            "placer",
            {"landmark_coords": lambda points: points.reshape(1, 20, 2, 24, 7)[..., ::-1].reshape(1, 20, 2, 168)},
            "do not run spoke by spoke",
        ),
        ("placer", {"landmark_coords": lambda points: points[..., OTHER_ORDER]}, "do not run spoke by spoke"),
        ("tracker", {"landmark_coords": lambda points: points[:, :1]}, "no frame after the first with all landmarks"),
        ("localizer", {"bbox_corners": [[98.5, 21.5, 21.5, 98.5]]}, "enclose nothing"),
        ("rnncnn", {"bbox_corners": [[0.0, 0.0, 0.0, 0.0]]}, "enclose nothing"),
        ("rnncnn", {"px_spaces": [np.nan]}, "no pixel spacing"),
        ("localizer", {"px_spaces": [0.0]}, "no pixel spacing"),
        ("tracker", {"px_spaces": [0.14]}, "no pixel spacing, or none of 0.2 to 10 mm"),
        (
            "rnncnn",
            {"landmark_coords": lambda points: np.where(np.arange(20)[:, None, None], points, 0)},
            "first frame",
        ),
    ],
)
def test_labels_that_teach_something_else_are_refused(
    task: Task, changes: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=rf"rows\.h5: row 0.*{problem}"):
        FileExamples(task, [grown(tmp_path / "rows.h5", **changes)])
    FileExamples(task, [grown(tmp_path / "sound.h5")])


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda images, box: images[0].__setitem__((slice(None), slice(56, 65), slice(56, 65)), 1), None),
        (lambda images, box: images.__setitem__(slice(None), 1), "show nothing where its labels lie"),
        (lambda images, box: box.__setitem__(slice(None), box + 90), "most of its labels lie outside"),
    ],
    ids=["a pool of one grey level", "blank", "elsewhere"],
)
def test_images_are_looked_at_where_boxes_lie(change: Callable[..., None], problem: str | None, tmp_path: Path) -> None:
    images = np.random.default_rng(0).random((1, 20, 128, 128)).astype("f4")
    box = np.array([[21.5, 21.5, 98.5, 98.5]])
    change(images, box)
    path = grown(tmp_path / "rows.h5", image_seqs=images, bbox_corners=box)
    with h5py.File(path, "r+") as file:
        del file["landmark_coords"]
    examples = FileExamples("localizer", [path])
    if problem is None:
        examples.check_images()
        return
    with pytest.raises(InputError, match=problem):
        examples.check_images()


def test_boxes_will_do_for_the_localizer(tmp_path: Path) -> None:
    path = grown(tmp_path / "rows.h5")
    with h5py.File(path, "r+") as file:
        del file["landmark_coords"]
    batch = FileExamples("localizer", [path]).validation(1, CPU)
    assert batch["contours"][0, 0].isnan().all()
    assert batch["contours"][0, 1].isfinite().all()
    with pytest.raises(InputError, match="landmark_coords is missing"):
        FileExamples("rnncnn", [path])


@pytest.mark.parametrize("task", ["tracker", "rnncnn"])
def test_labels_may_end_before_the_images(task: Task, tmp_path: Path) -> None:
    path = grown(tmp_path / "rows.h5", landmark_coords=lambda points: points[:, :10])
    batch = FileExamples(task, [path]).validation(1, CPU)
    assert {value.shape[1] for key, value in batch.items() if key != "pixel_mm"} == {20}
    assert batch["frame_valid"][0].tolist() == [True] * 10 + [False] * 10


@pytest.mark.parametrize("rng", [None, np.random.default_rng(0)], ids=["evenly", "drawn"])
def test_long_rows_are_shown_from_beginning_to_end(rng: np.random.Generator | None, tmp_path: Path) -> None:
    """Of 50 frames 20 are, among them all that have labels; where all have, late ones too."""
    images = np.random.default_rng(0).random((1, 50, 128, 128)).astype("f4")
    times_ms = 16.0 * np.arange(50)[None]
    every = np.repeat(grown_points(), 50, axis=1) + 0.1 * np.arange(50)[:, None, None]
    weight = np.broadcast_to(np.arange(50.0)[:, None, None], (50, 24, 7))
    few = np.where(np.isin(np.arange(50), [0, 25, 31])[:, None, None], every, np.nan)
    for points, n_labelled in ((every, 20), (few, 3)):
        rows = {"image_seqs": images, "landmark_coords": points, "frame_times_ms": times_ms}
        path = grown(tmp_path / f"{n_labelled}.h5", **rows)
        with h5py.File(path) as file:
            assert file["image_seqs"].shape[1] == 50
        cine, labels = read_study(path).slices[0].load(), LandmarkFile(path).row(0)
        example = tracker_example(cine, labels, path, 0, 20, rng, weight)
        frames = (example["times_ms"] / 16).round().long()
        assert len(frames) == 20
        assert frames[0] == 0
        assert (frames.diff() > 0).all()
        assert frames[-1] > 35
        is_labelled = example["frame_valid"]
        assert is_labelled.sum() == n_labelled
        if n_labelled == 3:
            assert frames[is_labelled].tolist() == [0, 25, 31]
        moved_px = (example["landmarks"] - example["landmarks"][0])[is_labelled, 0, 0, 0] * example["pixel_mm"] / 1.4
        torch.testing.assert_close(moved_px, 0.1 * frames[is_labelled].float(), atol=1e-3, rtol=0)
        torch.testing.assert_close(example["landmark_weight"][:, 0, 0], frames.float())
        if rng is None:
            whole = tracker_example(cine, labels, path, 0, 50, None)
            torch.testing.assert_close(example["images"], whole["images"][frames])


def test_a_stretch_without_a_labelled_reference_teaches_nothing(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = TrackerTraining(settings_of(tmp_path, task="tracker"))
    module.log_dict = lambda *_, **__: None  # type: ignore[method-assign]
    batch = TrackerExamples("default").simulate(2, 3, CPU)
    batch["images"] = batch["images"].float()[:, :4]
    for name in ("landmarks", "frame_valid", "landmark_weight", "times_ms"):
        batch[name] = batch[name][:, :4].clone()
    labelled = float(module.loss({key: value[:1] for key, value in batch.items()}).detach())
    batch["landmarks"][1, 0], batch["frame_valid"][1, 0] = 0.0, False
    # The slips put on the start differ from call to call; landmarks at zero would give losses of millions.
    assert float(module.loss(batch).detach()) < labelled + 3


def test_weights_of_another_network_do_not_start_a_run(tmp_path: Path, tracker_weights: Path) -> None:
    with pytest.raises(InputError, match="holds weights for 'tracker'"):
        train(settings_of(tmp_path, task="localizer", init=str(tracker_weights)))
    with pytest.raises(InputError, match="holds a LocalizationUNet, the run trains a LocalizationCNN"):
        train(settings_of(tmp_path, task="localizer", architecture="original", init="shipped"))


@pytest.mark.parametrize(("refinements", "keep_following"), [(0, False), (1, False), (None, False), (None, True)])
def test_every_weight_that_is_trained_gets_a_gradient(
    refinements: int | None, keep_following: bool, tmp_path: Path
) -> None:
    """Several GPUs wait for one another until each weight has its own."""
    module = TrackerTraining(
        TrainingConfig(
            task="tracker",
            out=str(tmp_path),
            init="shipped",
            refinements=refinements,
            keep_following=keep_following,
        )
    )
    module.log_dict = lambda *_, **__: None  # type: ignore[method-assign]
    batch = TrackerExamples("default").simulate(1, 3, CPU)
    batch = {key: value if key == "pixel_mm" else value[:, :3] for key, value in batch.items()}
    module.loss({**batch, "images": batch["images"].float()}).backward()
    trained = {name for name, weights in module.named_parameters() if weights.requires_grad}
    assert trained == {name for name, weights in module.named_parameters() if weights.grad is not None}
    assert any("refiner" in name for name in trained) == (refinements != 0)
    assert all("refiner" in name for name in trained) == keep_following


def as_used(tmp_path: Path) -> TrackerTraining:
    settings = TrainingConfig(task="tracker", out=str(tmp_path), init="shipped", keep_following=True, as_used=True)
    module = TrackerTraining(settings)
    module.network.load_state_dict(load_weights("tracker")[0].state_dict())
    module.log_dict = lambda *_, **__: None  # type: ignore[method-assign]
    return module


@pytest.mark.parametrize("which", range(4))
def test_each_refinement_that_is_used_teaches_all_weights(
    which: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracker_module, "CHOSEN", np.eye(4)[which])
    module = as_used(tmp_path)
    batch = TrackerExamples("default").simulate(1, 3, CPU)
    batch = {key: value if key == "pixel_mm" else value[:, :4] for key, value in batch.items()}
    module.loss({**batch, "images": batch["images"].float(), "seed": torch.zeros(4, dtype=torch.int64)}).backward()
    untaught = [name for name, weights in module.named_parameters() if weights.requires_grad and weights.grad is None]
    assert not untaught
    assert all(bool(weights.grad.any()) for weights in module.network.refiner.head.parameters())


def test_what_is_trained_as_used_is_what_track_does_in_one_view(
    tmp_path: Path, simulated_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, plain in (("TURNS", (0, 0, 0)), ("SHIFTS_PX", (0, 0, 0)), ("LAST_STEP", 1.0), ("UNTRAINED_SPREAD", 1.0)):
        monkeypatch.setattr(flow_tracker, name, plain)
    cine = read_study(simulated_file).slices[0].load()
    cine = replace(cine, frames=cine.frames[:8], frame_times_ms=cine.frame_times_ms[:8])
    with LandmarkFile(simulated_file) as file:
        points_px = file.row(0).points_px[0]
    network, info = load_weights("tracker")  # not rounded, as training starts from them
    assert isinstance(network, FlowNet)
    tracker = FlowTracker(network, info, symmetries=(0,))
    crop = crop_around(points_px, cine)
    frames, times_ms = tracker.views(cine, crop, (0,), np.zeros((8, 2)))
    with torch.inference_mode():
        found = as_used(tmp_path)._validated({"images": frames, "times_ms": times_ms})
        places = torch.tensor(crop.to_crop(points_px), dtype=torch.float32)[None]
        moved = sample_field(found.displacement_px, places, frames.shape[-1])[0].numpy() * crop.scale_xy
    np.testing.assert_allclose(tracker.track(cine, points_px).points_px, points_px + moved, atol=1e-3)


@pytest.mark.usefixtures("small_examples")
@pytest.mark.parametrize("is_as_used", [False, True])
def test_what_is_not_trained_is_exported_to_the_last_bit(tmp_path: Path, is_as_used: bool) -> None:
    """Averaging of weights does not round it, nor does mixing."""
    settings = settings_of(
        tmp_path,
        task="tracker",
        init="shipped",
        keep_following=True,
        as_used=is_as_used,
        start_share=0.3,
        batch_size=1,
        replay=1,
        ema_decay=0.9,
    )
    exported = load_weights("tracker", train(settings))[0].state_dict()
    changed = {
        name for name, weight in load_weights("tracker")[0].state_dict().items() if not exported[name].equal(weight)
    }
    assert changed
    assert all(name.startswith("refiner") for name in changed)


def test_half_of_the_walls_are_solid_to_the_tracker() -> None:
    assert TrackerExamples("default").config.solid_wall_probability == 0.5


def test_loss_of_the_true_motion_is_that_of_no_error(tmp_path: Path) -> None:
    module = TrackerTraining(settings_of(tmp_path, task="tracker"))
    batch = TrackerExamples("default").simulate(1, 3, CPU)
    batch["images"] = batch["images"].float()
    # A motion that a linear field can state exactly, in place of the heart's.
    gradient = torch.tensor([[-0.1, 0.05], [0.0, -0.2]])
    ed = batch["landmarks"][:, :1]
    course = torch.linspace(0, 1, batch["images"].shape[1]).view(1, -1, 1, 1, 1)
    batch["landmarks"] = ed + course * (ed - 63.5) @ gradient.T
    nodes = FIELD_STRIDE * torch.arange(64) + 0.5 - 63.5
    y, x = torch.meshgrid(nodes, nodes, indexing="ij")
    motion = torch.einsum("ij,jyx->iyx", gradient, torch.stack([x, y]))
    spread = torch.zeros(1, batch["images"].shape[1], 64, 64)

    def loss_of(share: float) -> float:
        field = share * course.view(1, -1, 1, 1, 1) * motion
        module.network.passes = lambda *_: [Flow(field, spread)]  # type: ignore[method-assign]
        return float(module.loss(batch))

    module.log_dict = lambda *_, **__: None  # type: ignore[method-assign]
    exact, wrong = loss_of(1.0), loss_of(0.5)
    # What is left is the rounding of the robust distance and the log-likelihood of an exact answer.
    expected = 0.001**0.5 + 0.1 * float(batch["pixel_mm"].log())
    assert exact == pytest.approx(expected, abs=2e-3)
    assert wrong > exact + 0.1


def test_parts_of_a_cine_keep_images_points_and_times_together() -> None:
    maker = TrackerExamples("default")
    n_frames = 20
    stamps = torch.arange(float(n_frames))
    batch = {
        "images": stamps.view(1, -1, 1, 1).expand(1, n_frames, 4, 4),
        "landmarks": stamps.view(1, -1, 1, 1, 1).expand(1, n_frames, 2, 2, 2),
        "frame_valid": torch.ones(1, n_frames, dtype=torch.bool),
        "landmark_weight": stamps.view(1, -1, 1, 1).expand(1, n_frames, 2, 2),
        "times_ms": 40 * stamps[None],
    }
    lengths, jumps, late = set(), set(), 0
    for seed in range(80):
        short = maker.shorten(batch, np.random.default_rng(seed))
        kept = short["images"][0, :, 0, 0]
        lengths.add(len(kept))
        torch.testing.assert_close(short["landmarks"][0, :, 0, 0, 0], kept)
        torch.testing.assert_close(short["landmark_weight"][0, :, 0, 0], kept)
        assert short["frame_valid"].shape == (1, len(kept))
        steps = kept.diff()
        assert bool((steps > 0).all() or (steps < 0).all())
        jumps.add(float(steps.abs().max()))
        times = short["times_ms"][0]
        assert float(times[0]) == 0
        if not torch.equal(times, 40 * (kept - kept[0])):
            # The clock does not show that frames are missing.
            late += 1
            torch.testing.assert_close(times, 40 * torch.arange(float(len(kept))))
    assert 20 in lengths
    assert len(lengths) > 4
    assert max(jumps) > 2
    assert 0 < late < 40


def test_a_crop_may_end_anywhere_outside_the_wall_and_nowhere_in_it() -> None:
    maker = TrackerExamples("default")
    batch = maker.simulate(8, 3, torch.device("cpu"))
    shown = [maker.vary(batch, np.random.default_rng(seed)) for seed in range(3)]
    dark = torch.cat([(varied["images"] == 0).all(dim=1) for varied in shown])
    assert 0.05 < float(dark.flatten(1).any(dim=1).float().mean()) < 0.6
    for varied in shown:
        corners = varied["landmarks"][:, 0].flatten(1, 2).round().long()
        inside = (varied["images"] != 0).any(dim=1)
        for image, points in zip(inside, corners, strict=True):
            assert bool(image[points[:, 1], points[:, 0]].all())


def test_the_placer_sees_walls_thicker_than_the_preset_draws() -> None:
    scene, _ = PlacerExamples("default").drawn(200, 3, CPU)
    walls_mm = ed_landmarks_mm(scene)
    radius_mm = (walls_mm - walls_mm[:, :, -1:].mean(dim=1, keepdim=True)).norm(dim=-1).mean(dim=1)
    share = 1 - radius_mm[:, 0] / radius_mm[:, -1]
    usual = PRESETS["default"].wall_fraction[1]
    assert TrackerExamples("default").config.wall_fraction[1] == usual
    assert 0.1 < float((share > usual).float().mean()) < 0.4
    assert float(share.max()) == pytest.approx(PlacerExamples.thickest_wall, abs=0.05)


def test_turned_channels_still_point_at_the_turned_heart(tracker_weights: Path) -> None:
    maker = PlacerExamples("default", tracker_weights)
    nodes = FIELD_STRIDE * torch.arange(64) + 0.5
    y, x = torch.meshgrid(nodes, nodes, indexing="ij")
    center = torch.tensor([55.0, 70.0])
    channels = torch.zeros(1, PLACER_CHANNELS, 64, 64)
    channels[0, 0], channels[0, 1] = 0.1 * (center[0] - x), 0.1 * (center[1] - y)
    angle = 2 * torch.pi * torch.arange(24) / 24
    ring = center + 20 * torch.stack([torch.cos(angle), torch.sin(angle)], dim=-1)
    landmarks = ring[None, :, None].expand(1, -1, 7, 2)
    for seed in range(8):
        rng = np.random.default_rng(seed)
        turned = maker.vary({"images": channels, "landmarks": landmarks}, rng)
        points = turned["landmarks"][0, :, 0]
        moved = points.mean(dim=0)
        field = turned["images"][0, :N_VECTOR_CHANNELS]
        if float(field[:2].abs().max()) < 0.3:  # the group was dropped
            continue
        toward = moved[:, None, None] - torch.stack([x, y])
        distance = toward.norm(dim=0)
        inner = (distance > 12) & (distance < 25)
        cosine = (field[:2] * toward).sum(dim=0)[inner] / (field[:2].norm(dim=0) * distance)[inner]
        assert float(cosine.median()) > 0.97


class Answers(torch.nn.Module):
    """Maps that do not depend on what is seen."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, channels: torch.Tensor) -> torch.Tensor:
        return self.logits


def round_wall(middle_px: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Radii of seven rings and their landmarks, in a crop."""
    angle = 2 * np.pi * torch.arange(24) / 24
    direction = torch.stack([angle.cos(), angle.sin()], dim=-1)
    radii_px = torch.linspace(18.0, 45.0, 7)
    return radii_px, (middle_px + direction[:, None] * radii_px[:, None])[None]


def round_maps(middle_px: torch.Tensor, radii_px: torch.Tensor) -> torch.Tensor:
    """Logits of discs with a sharp edge."""
    nodes_px = FIELD_STRIDE * torch.arange(64) + (FIELD_STRIDE - 1) / 2
    distance_px = torch.hypot(nodes_px - middle_px[0], nodes_px[:, None] - middle_px[1])
    return ((radii_px[:, None, None] - distance_px) / FIELD_STRIDE + 0.5).clamp(1e-4, 1 - 1e-4).logit()[None]


@pytest.mark.parametrize("shift_px", [0.0, 40.0], ids=["whole", "cut off"])
def test_maps_of_true_size_cost_least(tmp_path: Path, shift_px: float) -> None:
    """The placer's loss asks for the true size: of sharp round maps, those of the very size of a round wall."""
    middle = torch.tensor([63.5 + shift_px, 63.5])
    radii_px, landmarks = round_wall(middle)
    training = PlacerTraining(settings_of(tmp_path, task="placer"))

    def cost(size: float) -> float:
        training.network = Answers(round_maps(middle, size * radii_px[[0, -1]]))  # type: ignore[assignment]
        return float(training.loss({"images": torch.zeros(1), "landmarks": landmarks}))

    sizes = np.arange(0.98, 1.02, 0.001)
    assert sizes[np.argmin([cost(size) for size in sizes])] == pytest.approx(1, abs=0.0025)


@pytest.mark.parametrize("shift_px", [0.0, 40.0], ids=["whole", "cut off"])
def test_contours_of_whole_walls_count_by_place_and_size(
    tmp_path: Path, shift_px: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    middle = torch.tensor([63.5 + shift_px, 63.5])
    radii_px, landmarks = round_wall(middle)
    training = PlacerTraining(settings_of(tmp_path, task="placer"))
    training.network = Answers(round_maps(middle - torch.tensor([3.0, 0.0]), radii_px[[0, -1]]))  # type: ignore[assignment]

    def cost() -> float:
        return float(training.loss({"images": torch.zeros(1), "landmarks": landmarks}))

    with_contours = cost()
    monkeypatch.setattr(placer_module, "_CONTOUR_WEIGHT_PER_PX", 0.0)
    # Off by 3 px along x, right along y and in size: smooth L1 takes half a pixel off.
    expected = 0.0 if shift_px else 0.02 * (3 - 0.5) / 3
    assert with_contours - cost() == pytest.approx(expected, abs=5e-4)
