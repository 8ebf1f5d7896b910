"""One training run from settings to weights: `train`."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import (
    Callback,
    EarlyStopping,
    LearningRateMonitor,
    ModelCheckpoint,
    WeightAveraging,
)
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from tagstrain import __version__
from tagstrain.errors import InputError
from tagstrain.io.atomic import may_be_folder
from tagstrain.networks.weights import load_weights, save_weights, stored_settings
from tagstrain.training.checkpoint import check_checkpoint, check_same_run
from tagstrain.training.config import READS_MOTION, TrainingConfig, check_start
from tagstrain.training.makers import MONITORED, example_maker, file_examples, training_module
from tagstrain.training.modules import NetworkTraining
from tagstrain.training.stream import RowExamples, TrainingBatches

VALIDATION_SEED = 990_001
"""Seeds from here on are never trained on."""
VALIDATION_BATCH = 16
logger = logging.getLogger(__name__)


class _Batches(L.LightningDataModule):
    """Training batches that start where the run stands, and a fixed validation set."""

    def __init__(
        self,
        config: TrainingConfig,
        rows: RowExamples | None = None,
        validation: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.rows = rows
        self._validation = validation

    def train_dataloader(self) -> DataLoader[dict[str, torch.Tensor]]:
        trainer = self.trainer
        assert trainer is not None
        in_process = self.config.workers == 0
        device = trainer.strategy.root_device  # with its index: a new process knows nothing of this one's GPU
        stream = TrainingBatches(
            self.config,
            first_step=trainer.global_step,
            rank=trainer.global_rank,
            device=device,
            rows=self.rows,
        )
        on_gpu = device.type == "cuda"
        return DataLoader(
            stream,
            batch_size=None,
            num_workers=self.config.workers,
            prefetch_factor=None if in_process else 4,
            persistent_workers=not in_process,
            # A process that was forked from this one cannot use the GPU. One that was spawned takes its interpreter
            # down at the end, which aborts it if a batch is on its way out; one of the fork server just ends.
            multiprocessing_context="forkserver" if on_gpu and not in_process else None,
            pin_memory=on_gpu and not in_process,
        )

    def val_dataloader(self) -> DataLoader[dict[str, torch.Tensor]]:
        if self._validation is None:
            self._validation = validation_set(self.config)
        tensors = self._validation
        starts = range(0, len(tensors["images"]), VALIDATION_BATCH)
        parts = [{k: v[s : s + VALIDATION_BATCH] for k, v in tensors.items()} for s in starts]
        return DataLoader(parts, batch_size=None)  # type: ignore[arg-type]


class _Checkpoint(ModelCheckpoint):
    """Knows what was best so far in a run that goes on in another folder, too, to which `train` has brought it."""

    was_brought = False
    """Whether the best checkpoint of the run to go on from lies in this one's folder, whatever folder that run had."""

    @property
    def state_key(self) -> str:
        """As Lightning's own, so that checkpoints of earlier versions are understood."""
        return super().state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__, 1)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        best = Path(str(self.dirpath)) / Path(state_dict["best_model_path"]).name
        if not best.is_file():
            return
        if state_dict["dirpath"] == self.dirpath:
            super().load_state_dict(state_dict)
        elif self.was_brought:
            paths = {name: str(best) for name in ("best_model_path", "kth_best_model_path")}
            ranked = {str(best): state_dict["best_model_score"]}
            super().load_state_dict({**state_dict, **paths, "dirpath": self.dirpath, "best_k_models": ranked})


class _ValidateLastStep(Callback):
    """Asks to stop at the last step: Lightning then validates there too, whatever the interval."""

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any, **__: Any) -> None:
        trainer.should_stop = trainer.should_stop or trainer.global_step >= trainer.max_steps


def validation_set(config: TrainingConfig) -> dict[str, torch.Tensor]:
    """Simulated cines of a seed never trained on and, where files are trained on, as many rows of them held back.

    The best checkpoint is thus one that learned from the files and did not forget the rest. A few rows count as much as
    many: they are taken several times. Files with too few rows to hold any back have no say beside simulated cines.
    """
    device = torch.device("cpu")
    n = config.validation_scenes
    parts = []
    if not config.data or config.simulation_share > 0:
        maker = example_maker(config)
        parts += [maker.simulate(min(8, n - k), VALIDATION_SEED + i, device) for i, k in enumerate(range(0, n, 8))]
    if config.data:
        files = file_examples(config)
        if files.held_back or not parts:
            rows = files.validation(n, device)
            again = torch.arange(n if parts else len(rows["images"])) % len(rows["images"])
            parts.append({key: value[again] for key, value in rows.items()})
    joined = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
    return {**joined, "images": joined["images"].float()}


def train(config: TrainingConfig, resume: Path | None = None) -> Path:
    """Train a network and export its best weights.

    Writes to ``config.out``: ``config.json``, ``checkpoints/best.ckpt`` and ``last.ckpt``, CSV and TensorBoard logs,
    and ``<task>.safetensors``.

    Parameters
    ----------
    resume
        Checkpoint to go on from, exactly as if the run had not stopped.

    Returns
    -------
        Path of the exported weights.

    Raises
    ------
    ValueError
        If the weights to start from would be replaced by what is exported.
    TrainingError
        If the loss is no longer finite; names the batch's seed.
    InputError
        If a data file or the checkpoint cannot be used, or the weights to start from are those of another network.
    """
    check_start(config.init_path, config.weights_path)
    may_be_folder(Path(config.out))
    torch.manual_seed(config.seed)
    module = training_module(config)
    # Before the run's folder is made, or a worker finds out that they are missing.
    if resume is not None:
        check_checkpoint(resume, module)
        check_same_run(resume, config)
    rows = file_examples(config) if config.data else None
    if config.task in READS_MOTION:
        stored_settings("tracker", config.tracker_weights)
    start = None
    if config.init is not None:
        network, info = load_weights(config.task, config.init_path)
        if type(network) is not type(module.network):
            found, asked = type(network).__name__, type(module.network).__name__
            raise InputError(
                config.init, f"holds a {found}, the run trains a {asked}", "Give weights of the same network"
            )
        if info.reads_raw:
            problem = "reads grey levels as they are, the run trains on prepared images"
            raise InputError(config.init, problem, "Give weights that 'tagstrain train' wrote")
        start = network.state_dict()
        try:
            module.network.load_state_dict(start)
        except RuntimeError as error:
            raise InputError(
                config.init, "holds a network of another size", "Give weights that this version exported"
            ) from error
    if rows is not None:
        rows.check_images()  # reads all of them: last, after what is told at once
    best = fit(module, config, MONITORED[config.task], resume, rows)
    return export(config, best, config.weights_path, start)


def _bring_best(source: Path, folder: Path) -> bool:
    """Copy the best checkpoint so far from the folder of the one to go on from, if it is another than the run's.

    Returns
    -------
        Whether it is there now; one of another run may be, where it is not.
    """
    best = source / "best.ckpt"
    if best.is_file() and source.resolve() != folder.resolve():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy2(best, folder / best.name)
    return best.is_file()


def fit(
    module: NetworkTraining,
    config: TrainingConfig,
    monitored: str,
    resume: Path | None = None,
    rows: RowExamples | None = None,
    validation: Mapping[str, torch.Tensor] | None = None,
) -> Path:
    """Train a module by a run's settings, on ``rows`` in place of its data files where they are given.

    Parameters
    ----------
    validation
        The run's `validation_set`, where there is one already.

    Returns
    -------
        The checkpoint with the least of what is ``monitored``.
    """
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    if resume is None:
        for replaced in config.earlier_run():
            replaced.unlink(missing_ok=True)  # they would be taken for this run's
    config.save(out / "config.json")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # its notes on devices and products
    use_cuda = config.device == "cuda" or (config.device == "auto" and torch.cuda.is_available())
    best = _Checkpoint(out / "checkpoints", "best", monitor=monitored, enable_version_counter=False)
    best.was_brought = resume is not None and _bring_best(resume.parent, out / "checkpoints")
    # After validation and after `best`, so that a resumed run knows what was best so far.
    last = _Checkpoint(out / "checkpoints", "last", enable_version_counter=False)
    callbacks: list[Callback] = [
        best,
        last,
        EarlyStopping(monitored, patience=config.patience, check_finite=True),
        LearningRateMonitor("step"),
        _ValidateLastStep(),
    ]
    if config.ema_decay:
        # By interpolation: what is not trained stays as it is to the last bit.
        average = get_ema_multi_avg_fn(config.ema_decay)  # type: ignore[no-untyped-call]
        callbacks.append(WeightAveraging(multi_avg_fn=average))
    trainer = L.Trainer(
        default_root_dir=out,
        accelerator="cuda" if use_cuda else "cpu",
        devices=config.devices,
        strategy="ddp" if config.devices > 1 else "auto",
        use_distributed_sampler=False,  # every rank validates on all cines, so that they agree on what is best
        precision=config.precision,  # type: ignore[arg-type]
        max_steps=config.steps,
        gradient_clip_val=config.gradient_clip,
        val_check_interval=config.validate_every,
        check_val_every_n_epoch=None,
        callbacks=callbacks,
        logger=[CSVLogger(out, "csv"), TensorBoardLogger(out, "tensorboard")],  # a resumed run logs beside the first
        log_every_n_steps=25,
        num_sanity_val_steps=0,
        enable_model_summary=False,
    )
    trainer.fit(module, datamodule=_Batches(config, rows, validation), ckpt_path=resume, weights_only=False)
    return Path(best.best_model_path or last.best_model_path)


def export(
    config: TrainingConfig, checkpoint: Path, path: Path, start: Mapping[str, torch.Tensor] | None = None
) -> Path:
    """Write the network of a checkpoint as safetensors, mixed with what the run started from if asked for."""
    module = training_module(config)
    module.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=False)["state_dict"])
    assert start is not None or config.init is None, "the run's settings name weights to start from"
    if start is not None:
        module.network.load_state_dict(mixed(module.network.state_dict(), start, config.start_share))
    settings = {"network": module.network_settings, "preprocessing": "tagstrain"}
    save_weights(path, module.weights_name, module.network, __version__, settings, config.eight_bits)
    logger.info("wrote %s", path)
    return path


def mixed(
    learned: Mapping[str, torch.Tensor], start: Mapping[str, torch.Tensor], start_share: float
) -> dict[str, torch.Tensor]:
    """Weights of a network with a share of those that it started from; what is no fraction is as learned."""
    return {
        name: torch.lerp(weight, start[name].to(weight), start_share) if weight.is_floating_point() else weight
        for name, weight in learned.items()
    }
