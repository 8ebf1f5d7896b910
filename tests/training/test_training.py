"""Training: reproducible batches, exact resume, a clear stop at a non-finite loss, and files in the user's layout."""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

from tagstrain.errors import InputError, OutputError
from tagstrain.networks.localizer import LocalizationCNN
from tagstrain.networks.weights import load_weights, save_weights
from tagstrain.training import stream
from tagstrain.training.checkpoint import check_same_run
from tagstrain.training.config import Task, TrainingConfig
from tagstrain.training.examples import VIEWS, LandmarkExamples, LocalizerExamples
from tagstrain.training.files import FileExamples
from tagstrain.training.localizer_modules import LocalizationUNetTraining, LocalizerTraining, box_iou
from tagstrain.training.makers import training_module
from tagstrain.training.masks import contour_masks
from tagstrain.training.modules import NetworkTraining, TrainingError
from tagstrain.training.run import _Batches, export, train
from tagstrain.training.stream import TrainingBatches


def config(tmp_path: Path, **changes: object) -> TrainingConfig:
    small = TrainingConfig(
        task="localizer",
        out=str(tmp_path / "run"),
        steps=4,
        batch_size=2,
        replay=1,
        workers=0,
        device="cpu",
        validation_scenes=2,
        validate_every=2,
    )
    return replace(small, **changes)  # type: ignore[arg-type]


@pytest.mark.usefixtures("small_examples")
def test_batches_depend_on_seed_and_number_alone(tmp_path: Path) -> None:
    settings = config(tmp_path, batch_size=2, replay=2)
    from_start = list(islice(TrainingBatches(settings), 3))
    resumed = next(iter(TrainingBatches(settings, first_step=2)))
    other_seed = next(iter(TrainingBatches(replace(settings, seed=2), first_step=2)))
    for key, value in resumed.items():
        assert torch.equal(value, from_start[2][key]), key
    assert not torch.equal(other_seed["images"], resumed["images"])


def _write_checkpoint(path: Path, task: str = "localizer", **parts: object) -> None:
    """As much of Lightning's checkpoint of a run as tells whether another can go on from it."""
    module = training_module(TrainingConfig(task=task, out="unused"))  # type: ignore[arg-type]
    whole = {"state_dict": module.state_dict(), "optimizer_states": [], "lr_schedulers": [], "loops": {}}
    torch.save({**whole, **parts}, path)


def _flip_a_bit_of_a_number(path: Path) -> None:
    _write_checkpoint(path)
    stored = bytearray(path.read_bytes())
    stored[len(stored) // 2] ^= 1
    path.write_bytes(stored)


def _cut_short(path: Path) -> None:
    _write_checkpoint(path)
    path.write_bytes(path.read_bytes()[:-1000])


def _zip_something_else(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "no checkpoint")


@pytest.mark.parametrize(
    ("write", "problem"),
    [
        (Path.touch, "is no checkpoint, or a damaged one"),
        (lambda path: path.write_text("not a checkpoint"), "is no checkpoint, or a damaged one"),
        (_zip_something_else, "is no checkpoint, or a damaged one"),
        (_cut_short, "is no checkpoint, or a damaged one"),
        (_flip_a_bit_of_a_number, "is a damaged checkpoint"),
        (lambda path: torch.save({"state_dict": {}}, path), "is not the checkpoint of a training run"),
        (lambda path: _write_checkpoint(path, "rnncnn"), "holds another network than the run trains"),
    ],
    ids=["empty", "text", "zip", "cut short", "flipped bit", "weights alone", "another network"],
)
def test_what_a_run_cannot_go_on_from_is_said_before_anything_is_written(
    tmp_path: Path, write: Callable[[Path], object], problem: str
) -> None:
    checkpoint = tmp_path / "last.ckpt"
    write(checkpoint)
    with pytest.raises(InputError, match=f"last.ckpt: {problem}"):
        train(config(tmp_path), checkpoint)
    assert list(tmp_path.iterdir()) == [checkpoint]


@pytest.mark.usefixtures("small_examples")
def test_run_resumes_exactly(tmp_path: Path) -> None:
    straight = train(config(tmp_path, out=str(tmp_path / "straight"), ema_decay=0.6))
    # The schedule belongs to the whole run, so the first half stops by its own checkpoint, not by fewer steps.
    half = tmp_path / "straight" / "checkpoints"
    checkpoints = {p.name for p in half.iterdir()}
    assert {"best.ckpt", "last.ckpt"} <= checkpoints
    interrupted = _StopAfter(2)
    first = config(tmp_path, out=str(tmp_path / "resumed"), ema_decay=0.6)
    with pytest.raises(SystemExit), interrupted:  # how Lightning ends an interrupted run
        train(first)
    resumed = train(first, resume=tmp_path / "resumed" / "checkpoints" / "last.ckpt")
    a, b = (load_weights("localizer", path)[0].state_dict() for path in (straight, resumed))
    for key in a:
        torch.testing.assert_close(a[key], b[key], atol=1e-6, rtol=1e-5, msg=key)


@pytest.mark.usefixtures("small_examples")
def test_a_run_that_goes_on_elsewhere_keeps_its_best_checkpoint(tmp_path: Path) -> None:
    """Its folder was moved, and what it does then is no better."""
    settings = config(tmp_path, steps=1, validate_every=1, learning_rate=1e-9, out=str(tmp_path / "first"))
    train(settings)
    # A copy of a run's own checkpoint, wherever it lies, knows the best one that is there.
    own = tmp_path / "first" / "checkpoints"
    snapshot, found = tmp_path / "snapshot.ckpt", (own / "best.ckpt").read_bytes()
    snapshot.write_bytes((own / "last.ckpt").read_bytes())
    assert train(settings, resume=snapshot).is_file()
    assert (own / "best.ckpt").read_bytes() == found
    (tmp_path / "first").rename(tmp_path / "moved")
    best, last = (tmp_path / "moved" / "checkpoints" / f"{name}.ckpt" for name in ("best", "last"))
    weights = train(replace(settings, out=str(tmp_path / "other")), resume=last)
    assert weights.is_file()
    assert (tmp_path / "other" / "checkpoints" / "best.ckpt").read_bytes() == best.read_bytes()
    # Without it nothing is known to be best, and what another run left there is not this one's.
    best.unlink()
    (tmp_path / "other" / "checkpoints" / "best.ckpt").write_bytes(b"of another run")
    assert train(replace(settings, steps=2, out=str(tmp_path / "other")), resume=last).is_file()


@pytest.mark.usefixtures("small_examples")
def test_checkpoints_are_those_of_lightning(tmp_path: Path) -> None:
    """By the name of their class in what is stored: runs of earlier versions go on."""
    train(config(tmp_path, steps=1))
    stored = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=False)
    assert sum(key.startswith("ModelCheckpoint{") for key in stored["callbacks"]) == 2


@pytest.mark.parametrize("n_workers", [2, 3])
def test_resumed_workers_give_the_batches_in_the_same_order(
    tmp_path: Path, n_workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TrainingBatches, "_batch", lambda self, step, *_: {"step": torch.tensor(step)})

    def order(first_step: int) -> list[int]:
        """What a loader hands out that asks its workers in turn."""
        turns = []
        for k in range(n_workers):
            monkeypatch.setattr(stream, "get_worker_info", lambda k=k: SimpleNamespace(num_workers=n_workers, id=k))
            turns.append([int(batch["step"]) for batch in islice(TrainingBatches(config(tmp_path), first_step), 3)])
        return [step for turn in zip(*turns, strict=True) for step in turn]

    for first_step in (0, 2, 3, 4, 5):
        assert order(first_step) == list(range(first_step, first_step + 3 * n_workers))


def test_labels_that_cannot_be_trained_on_are_named_before_any_work(tmp_path: Path, simulated_file: Path) -> None:
    without_boxes = tmp_path / "boxless.h5"
    with h5py.File(simulated_file) as source, h5py.File(without_boxes, "w") as file:
        for name in source:
            file[name] = source[name][:]
        file["bbox_corners"][1] = np.nan
    with pytest.raises(InputError, match=r"boxless.h5: row 1 has no box"):
        train(config(tmp_path, data=(str(without_boxes),)))
    assert not (tmp_path / "run").exists()


def _lose_a_pixel(rows: dict[str, np.ndarray]) -> None:
    rows["image_seqs"][1, 3, 5, 5] = np.nan


def _blank_a_row(rows: dict[str, np.ndarray]) -> None:
    rows["image_seqs"][1] = 7


def _move_labels_away(rows: dict[str, np.ndarray]) -> None:
    for name in ("landmark_coords", "bbox_corners"):
        rows[name][1] += 150


def _exchange_x_and_y(rows: dict[str, np.ndarray]) -> None:
    rows["landmark_coords"][1] = rows["landmark_coords"][1][:, ::-1]


def _begin_outside(rows: dict[str, np.ndarray]) -> None:
    grid = rows["landmark_coords"][1].reshape(-1, 2, 24, 7)
    rows["landmark_coords"][1] = grid[..., ::-1].reshape(-1, 2, 168)


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (_exchange_x_and_y, "fit into it with x and y exchanged"),
        (_begin_outside, "do not run spoke by spoke"),
        (_lose_a_pixel, "1 pixels are NaN"),
        (_blank_a_row, "its images show nothing where its labels lie"),
        (_move_labels_away, "most of its labels lie outside of its images"),
    ],
)
@pytest.mark.parametrize("task", ["localizer", "tracker"])
def test_images_that_cannot_be_trained_on_are_named_before_any_work(
    task: Task, spoil: Callable[[dict[str, np.ndarray]], None], problem: str, tmp_path: Path, simulated_file: Path
) -> None:
    with h5py.File(simulated_file) as source:
        rows = {name: source[name][:] for name in source}
    rows["image_seqs"] = rows["image_seqs"].astype(np.float32)
    spoil(rows)
    spoiled = tmp_path / "spoiled.h5"
    with h5py.File(spoiled, "w") as file:
        for name, values in rows.items():
            file[name] = values
    with pytest.raises(InputError, match=rf"spoiled.h5[:,] row 1: .*{problem}"):
        train(config(tmp_path, task=task, data=(str(spoiled),), simulation_share=0.0))
    assert not (tmp_path / "run").exists()


def test_a_file_that_a_worker_cannot_read_is_named_in_a_line(
    tmp_path: Path, simulated_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoiled = tmp_path / "spoiled.h5"
    with h5py.File(simulated_file) as source, h5py.File(spoiled, "w") as file:
        for name in source:
            file[name] = source[name][:]
        file["frame_times_ms"][:] = 0.0
    monkeypatch.setattr(FileExamples, "check_images", lambda _: None)  # it was sound when the run began
    with pytest.raises(InputError, match=r"^spoiled.h5, row \d: .*strictly increasing"):
        train(config(tmp_path, data=(str(spoiled),), simulation_share=0.0, workers=1))


def test_weights_of_another_size_and_a_file_in_the_way_are_refused(tmp_path: Path) -> None:
    other = tmp_path / "two_channels.safetensors"
    save_weights(other, "localizer", LocalizationCNN(in_channels=2), "test", {"network": {"in_channels": 2}})
    with pytest.raises(InputError, match="holds a network of another size"):
        train(config(tmp_path, architecture="original", init=str(other)))
    with pytest.raises(OutputError, match=r"two_channels.safetensors: is not a folder"):
        train(config(tmp_path, out=str(other / "run")))
    assert list(tmp_path.iterdir()) == [other]


def test_weights_that_read_raw_grey_levels_are_no_start(tmp_path: Path) -> None:
    raw = tmp_path / "raw.safetensors"
    settings = config(tmp_path, task="rnncnn", init=str(raw))
    save_weights(raw, "rnncnn", training_module(settings).network, "test", {"network": {}, "preprocessing": "original"})
    with pytest.raises(InputError, match=r"raw.safetensors: reads grey levels as they are"):
        train(settings)


def test_where_a_crop_lies_tells_nothing_about_its_scene() -> None:
    for seed in range(3):
        where = np.random.default_rng([seed, 1, VIEWS]).random()
        assert where not in [np.random.default_rng([seed, k]).random() for k in range(8)]


class _StopAfter:
    """Interrupts training after some steps, as a user or a cluster would."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def __enter__(self) -> None:
        self.original = NetworkTraining.training_step
        limit, original = self.steps, self.original

        def step(module: NetworkTraining, batch: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
            if module.global_step >= limit:
                raise KeyboardInterrupt
            return original(module, batch, batch_idx)

        NetworkTraining.training_step = step  # type: ignore[method-assign]

    def __exit__(self, *_: object) -> None:
        NetworkTraining.training_step = self.original  # type: ignore[method-assign]


@pytest.mark.usefixtures("small_examples")
@pytest.mark.parametrize(("steps", "validate_every", "validated"), [(1, 2, [1]), (3, 2, [2, 3])])
def test_the_last_step_is_validated(tmp_path: Path, steps: int, validate_every: int, validated: list[int]) -> None:
    assert train(config(tmp_path, steps=steps, validate_every=validate_every)).is_file()
    with next((tmp_path / "run").glob("csv/**/metrics.csv")).open(newline="") as file:
        assert [int(row["step"]) + 1 for row in csv.DictReader(file) if row["val_iou_loss"]] == validated


class _LargeBatches(IterableDataset[torch.Tensor]):
    """Batches that take a while to hand over."""

    def __iter__(self) -> Iterator[torch.Tensor]:
        while True:
            yield torch.zeros(60_000_000)


def test_a_process_that_makes_batches_on_a_gpu_ends_cleanly_while_it_hands_one_over(tmp_path: Path) -> None:
    batches = _Batches(config(tmp_path, workers=1))
    strategy = SimpleNamespace(root_device=torch.device("cuda", 0))
    batches.trainer = SimpleNamespace(strategy=strategy, global_step=0, global_rank=0)  # type: ignore[assignment]
    context = batches.train_dataloader().multiprocessing_context
    loader = DataLoader(_LargeBatches(), batch_size=None, num_workers=1, multiprocessing_context=context)
    iterator = iter(loader)
    next(iterator)
    (worker,) = iterator._workers  # type: ignore[attr-defined]
    iterator._shutdown_workers()  # type: ignore[attr-defined]
    assert worker.exitcode == 0


@pytest.mark.usefixtures("small_examples")
def test_half_precision_and_processes_that_make_batches_work(tmp_path: Path) -> None:
    weights = train(config(tmp_path, precision="bf16-mixed", workers=1, steps=2))
    network, _ = load_weights("localizer", weights)
    assert all(bool(value.isfinite().all()) for value in network.state_dict().values())


@pytest.mark.usefixtures("small_examples")
def test_non_finite_loss_stops_with_the_seed(tmp_path: Path) -> None:
    module = training_module(config(tmp_path))
    batch = next(iter(TrainingBatches(config(tmp_path))))
    batch["images"] = torch.full_like(batch["images"], float("nan"))
    module.trainer = _NoTrainer()  # type: ignore[assignment]
    with pytest.raises(TrainingError, match=r"batch with seed \[1, 0, 0, 0\]"):
        module.training_step(batch, 0)


class _NoTrainer:
    global_step = 7
    strategy = None


def test_examples_are_where_they_say() -> None:
    """The mean wall point of the landmarks lies in the crop, and boxes hold the middle of the landmarks' image."""
    rng = np.random.default_rng(0)
    maker = LandmarkExamples("default")
    batch = maker.vary(maker.simulate(2, 5, torch.device("cpu")), rng)
    assert batch["images"].shape == (2, 20, 128, 128)
    inside = (batch["landmarks"] > -10) & (batch["landmarks"] < 138)
    assert bool(inside.all())
    boxes = LocalizerExamples("default").simulate(4, 5, torch.device("cpu"))["boxes"]
    assert bool(((boxes[:, 2:] - boxes[:, :2]) > 20).all())
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    assert bool(((middle > 0) & (middle < 255)).all())


def test_files_give_the_same_crop_and_landmarks_as_the_simulation(simulated_file: Path) -> None:
    batch = FileExamples("rnncnn", [simulated_file]).validation(2, torch.device("cpu"))
    assert batch["images"].shape == (2, 20, 128, 128)
    assert batch["landmarks"].shape == (2, 20, 24, 7, 2)
    assert bool(batch["frame_valid"].all())
    # The box rule puts the landmarks' extent at 1 / 1.6 of the crop along its longer side.
    ed = batch["landmarks"][:, 0].flatten(1, 2)
    extent = (ed.amax(dim=1) - ed.amin(dim=1)).amax(dim=1)
    torch.testing.assert_close(extent, torch.full((2,), 128 / 1.6), atol=0.5, rtol=0)


def test_training_mixes_files_and_simulation(tmp_path: Path, simulated_file: Path) -> None:
    settings = config(tmp_path, data=(str(simulated_file),), simulation_share=0.5, batch_size=4)
    batch = next(iter(TrainingBatches(settings)))
    assert batch["images"].shape == (4, 3, 256, 256)
    assert batch["boxes"].shape == (4, 4)
    assert batch["contours"].shape == (4, 2, 24, 2)


def localizer_examples(
    without_heart: float = 0.0, cut_heart: float = 0.0, only_noise: float = 0.0
) -> LocalizerExamples:
    """Examples of which these shares, none unless said, show no whole heart; no channel is missing."""
    maker = LocalizerExamples("default")
    maker.without_heart, maker.cut_heart, maker.only_noise = without_heart, cut_heart, only_noise
    maker.missing_channel = 0.0
    return maker


def is_empty(batch: Mapping[str, torch.Tensor]) -> bool:
    """Whether no example of a batch has a ventricle to mark."""
    return bool(batch["boxes"].isnan().all()) and float(contour_masks(batch["contours"], 128).max()) == 0.0


def test_boxes_and_contours_move_with_the_varied_images() -> None:
    """The box rule holds for the contours however they were turned, shifted and scaled; so do the images."""
    maker = localizer_examples()
    batch = maker.simulate(2, 5, torch.device("cpu"))
    blobs = contour_masks(batch["contours"][:, 1], 256)[:, None].expand(-1, 3, -1, -1)
    for seed in range(4):
        varied = maker.vary({**batch, "images": blobs}, np.random.default_rng(seed))
        epicardium = varied["contours"][:, 1]
        low, high = epicardium.amin(dim=1), epicardium.amax(dim=1)
        margin = 0.3 * (high - low)
        torch.testing.assert_close(varied["boxes"], torch.cat([low - margin, high + margin], dim=1), atol=0.5, rtol=0)
        shown = varied["images"].amax(dim=1) > 0.5
        expected = contour_masks(epicardium, 256) > 0.5
        assert float((shown & expected).sum() / (shown | expected).sum()) > 0.97


@pytest.mark.parametrize("architecture", ["unet", "original"])
def test_where_the_image_ends_before_the_ventricle_there_is_nothing_to_mark(architecture: str, tmp_path: Path) -> None:
    maker = localizer_examples(without_heart=1.0)
    batch = maker.simulate(2, 5, torch.device("cpu"))
    for seed in range(8):
        varied = maker.vary(batch, np.random.default_rng(seed))
        assert is_empty(varied)
        hearts = contour_masks(varied["contours"][:, 1] - 10 * maker.size, maker.size) > 0.5
        shown = (varied["images"] != 0).any(dim=1)
        assert not bool((shown & hearts).any())
        assert float(shown.float().mean(dim=(1, 2)).min()) > 0.05
    module = training_module(config(tmp_path, architecture=architecture))
    assert bool(torch.isfinite(module.loss(varied)))


def test_a_ventricle_that_the_image_cuts_is_to_be_marked_whole() -> None:
    whole, cut = localizer_examples(), localizer_examples(cut_heart=1.0)
    batch = whole.simulate(2, 5, torch.device("cpu"))
    shares_left: list[float] = []
    for seed in range(8):
        expected, varied = (maker.vary(batch, np.random.default_rng(seed)) for maker in (whole, cut))
        for name in ("boxes", "contours"):
            torch.testing.assert_close(varied[name], expected[name])
        hearts = contour_masks(varied["contours"][:, 1], cut.size) > 0.5
        shown, had = ((images != 0).any(dim=1) for images in (varied["images"], expected["images"]))
        assert not bool((shown & ~had).any())
        shares_left += ((shown & hearts).sum(dim=(1, 2)) / (had & hearts).sum(dim=(1, 2))).tolist()
        # Contrast and movement are those of an image that ends there.
        movement = varied["images"][:, 1].flatten(1)
        assert bool(((movement.std(dim=1) > 0.5) & (movement.std(dim=1) < 1.3)).all())
    assert min(shares_left) > 0.4
    assert np.mean(np.array(shares_left) < 0.95) > 0.8


def test_noise_alone_has_nothing_to_mark_and_looks_the_same_all_over() -> None:
    maker = localizer_examples(only_noise=1.0)
    varied = maker.vary(maker.simulate(2, 5, torch.device("cpu")), np.random.default_rng(3))
    assert is_empty(varied)
    quarters = varied["images"].unfold(2, 128, 128).unfold(3, 128, 128).std(dim=(-1, -2)).flatten(2)
    assert float((quarters.amax(dim=2) / quarters.amin(dim=2)).max()) < 1.2


def test_contours_of_a_file_are_its_landmarks_or_the_ellipse_of_its_box(tmp_path: Path, simulated_file: Path) -> None:
    with_landmarks = FileExamples("localizer", [simulated_file]).validation(1, torch.device("cpu"))
    boxes_only = tmp_path / "boxes.h5"
    with h5py.File(simulated_file) as source, h5py.File(boxes_only, "w") as file:
        for name in source:
            file[name] = source[name][:]
        file["landmark_coords"][:] = np.nan
    without = FileExamples("localizer", [boxes_only]).validation(1, torch.device("cpu"))
    torch.testing.assert_close(with_landmarks["boxes"], without["boxes"])
    assert bool(with_landmarks["contours"].isfinite().all())
    assert bool(without["contours"][:, 0].isnan().all())
    a, b = (contour_masks(batch["contours"][:, 1], 256) > 0.5 for batch in (with_landmarks, without))
    assert float((a & b).sum() / (a | b).sum()) > 0.85
    module = LocalizationUNetTraining(config(tmp_path))
    assert bool(torch.isfinite(module.loss(without)))


def test_the_original_localizer_can_still_be_trained(tmp_path: Path) -> None:
    settings = config(tmp_path, architecture="original")
    module = training_module(settings)
    assert isinstance(module, LocalizerTraining)
    assert bool(torch.isfinite(module.loss(next(iter(TrainingBatches(settings))))))
    (tmp_path / "run").mkdir()
    checkpoint = tmp_path / "original.ckpt"
    torch.save({"state_dict": module.state_dict()}, checkpoint)
    network, info = load_weights("localizer", export(settings, checkpoint, tmp_path / "w.safetensors"))
    assert isinstance(network, LocalizationCNN)
    assert info.name == "localizer"


@pytest.mark.parametrize("architecture", ["unet", "original"])
def test_a_share_of_the_start_stays_in_what_is_exported(architecture: str, tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.safetensors" for name in ("start", "trained", "mixed")]
    settings = config(tmp_path, architecture=architecture)
    checkpoint = tmp_path / "some.ckpt"
    for path in paths[:2]:
        torch.save({"state_dict": training_module(settings).state_dict()}, checkpoint)
        export(settings, checkpoint, path)
    start, trained = (load_weights("localizer", path)[0].state_dict() for path in paths[:2])
    export(replace(settings, init=str(paths[0]), start_share=0.25), checkpoint, paths[2], start)
    mixed = load_weights("localizer", paths[2])[0].state_dict()
    for name, weight in mixed.items():
        expected = 0.25 * start[name] + 0.75 * trained[name] if weight.is_floating_point() else trained[name]
        torch.testing.assert_close(weight, expected, msg=name)
    assert any(not torch.equal(start[name], trained[name]) for name in start)


@pytest.mark.usefixtures("small_examples")
def test_weights_to_start_from_are_not_replaced_by_the_run(tmp_path: Path) -> None:
    first = train(config(tmp_path, steps=1))
    before = first.read_bytes()
    with pytest.raises(ValueError, match="would be replaced by this run"):
        train(config(tmp_path, steps=1, init=str(first)))
    assert first.read_bytes() == before
    mixed = train(config(tmp_path, steps=1, out=str(tmp_path / "second"), init=str(first), start_share=1.0))
    for name, weight in load_weights("localizer", first)[0].state_dict().items():
        torch.testing.assert_close(load_weights("localizer", mixed)[0].state_dict()[name], weight, msg=name)


def test_what_a_replaced_run_left_is_not_taken_for_the_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted before its first checkpoint, a run has none."""
    settings = config(tmp_path)
    kept = [settings.weights_path, *(Path(settings.out) / "checkpoints" / name for name in ("best.ckpt", "last.ckpt"))]
    for path in kept:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert settings.earlier_run() == kept
    assert settings.earlier_run(resume=kept[2]) == []
    assert settings.earlier_run(resume=tmp_path / "elsewhere" / "last.ckpt") == kept

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tagstrain.training.run.L.Trainer.fit", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(settings)
    assert settings.earlier_run() == []


def test_file_without_rows_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty.h5"
    with h5py.File(path, "w") as file:
        file["landmark_coords"] = np.zeros((0, 20, 2, 168))
        file["image_seqs"] = np.zeros((0, 20, 64, 64))
    with pytest.raises(InputError, match=r"empty\.h5"):
        FileExamples("rnncnn", [path])


@pytest.mark.parametrize(
    "bad",
    [
        {"replay": 3},
        {"steps": 0},
        {"simulation_share": 1.5},
        {"task": "strain"},
        {"architecture": "x"},
        {"refinements": -1},
        {"task": "tracker", "init": "shipped", "refinements": 0, "keep_following": True},
        {"init": "shipped", "start_share": 1.5},
        {"start_share": 0.5},
        {"task": "tracker", "keep_following": True},
        {"init": "shipped", "keep_following": True},
        {"task": "tracker", "init": "shipped", "keep_following": True, "eight_bits": True},
        {"task": "tracker", "init": "shipped", "as_used": True},
        {"task": "tracker", "init": "shipped", "keep_following": True, "as_used": True, "refinements": 1},
        {"preset": "nope"},
        {"device": "gpu"},
        {"ema_decay": 1.0},
        {"dropout": 1.5},
        {"workers": -1},
        {"learning_rate": 0.0},
        {"learning_rate": float("inf")},
        {"weight_decay": -1.0},
        {"seed": -1},
        {"precision": "half"},
        {"data": ("a.h5",), "simulation_share": 0.9},
        {"data": ("a.h5",), "simulation_share": 1.0},
    ],
)
def test_impossible_settings_are_refused(tmp_path: Path, bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="expected"):
        config(tmp_path, **bad)


def test_a_run_goes_on_with_its_own_settings_alone(tmp_path: Path) -> None:
    settings = config(tmp_path, data=("labelled.h5",), batch_size=4, replay=1)
    checkpoint = tmp_path / "checkpoints" / "last.ckpt"
    check_same_run(checkpoint, settings)  # nothing says what run it is of
    settings.save(tmp_path / "config.json")
    for changes in ({"steps": 7, "out": "elsewhere", "patience": 9}, {"data": (str(Path("labelled.h5").resolve()),)}):
        check_same_run(checkpoint, replace(settings, **changes))  # type: ignore[arg-type]
    for name, value in (("seed", 8), ("workers", 3), ("ema_decay", 0.5), ("validation_scenes", 3), ("data", ("b.h5",))):
        with pytest.raises(InputError, match=rf"is of a run with other settings \({name} was "):
            check_same_run(checkpoint, replace(settings, **{name: value}))  # type: ignore[arg-type]
    (tmp_path / "config.json").write_text("null")
    check_same_run(checkpoint, settings)


def test_ranks_see_other_cines_of_equal_length(tmp_path: Path) -> None:
    """They wait for each other, and few frames take less time than many."""
    settings = TrainingConfig(task="tracker", out=str(tmp_path), batch_size=1, replay=1)
    ranks = [list(islice(TrainingBatches(settings, rank=rank), 4)) for rank in range(2)]
    lengths = [[batch["images"].shape[1] for batch in batches] for batches in ranks]
    assert lengths[0] == lengths[1]
    assert len(set(lengths[0])) > 1
    assert not torch.equal(ranks[0][0]["landmarks"], ranks[1][0]["landmarks"])


def test_settings_come_back_from_json(tmp_path: Path) -> None:
    settings = config(tmp_path, data=("a.h5", "b.h5"))
    settings.save(tmp_path / "config.json")
    assert TrainingConfig.load(tmp_path / "config.json") == settings


def test_box_overlap_is_clamped() -> None:
    a = torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 1.0, 1.0]])
    b = torch.tensor([[1.0, 1.0, 3.0, 3.0], [5.0, 5.0, 6.0, 6.0]])
    assert box_iou(a, b).tolist() == pytest.approx([1 / 7, 0])
