"""``tagstrain train``: train a network on the simulator, on files, or both."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from tagstrain.cli.exits import require_training
from tagstrain.errors import TagstrainError


def train(
    task: Annotated[str, typer.Argument(help="Network to train: localizer, rnncnn, tracker, placer or insertion.")],
    architecture: Annotated[
        str, typer.Option(help="Network of the localizer: unet (ours) or original (the predecessor's).")
    ] = "unet",
    data: Annotated[
        list[Path] | None, typer.Option(help="HDF5 file in the predecessor's layout; may be repeated.")
    ] = None,
    simulation_share: Annotated[
        float, typer.Option(help="With --data: share of every batch that is simulated, 0 to below 1.")
    ] = 0.5,
    out: Annotated[Path | None, typer.Option(help="Folder of the run.  [default: runs/<task>]")] = None,
    resume: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="Checkpoint to go on from.")] = None,
    preset: Annotated[str, typer.Option(help="Simulator preset.")] = "default",
    init: Annotated[
        str | None, typer.Option(help="Weights to start from: a safetensors file, or 'shipped'.  [default: random]")
    ] = None,
    start_share: Annotated[
        float, typer.Option(help="With --init: share of the weights it started from in those exported, 0 to 1.")
    ] = 0.0,
    tracker_weights: Annotated[
        Path | None, typer.Option(help="Tracker whose motion placer and insertion read.  [default: the shipped one]")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 1,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Cines per step.")] = None,
    replay: Annotated[int | None, typer.Option(help="How often a simulated cine is used.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="AdamW weight decay.")] = None,
    ema_decay: Annotated[float | None, typer.Option(help="Decay per step of averaged weights; 0 for none.")] = None,
    dropout: Annotated[float | None, typer.Option(help="rnncnn: dropout on the LSTM's outputs.")] = None,
    refinements: Annotated[int | None, typer.Option(help="tracker: refinements to train; 0: following alone.")] = None,
    keep_following: Annotated[
        bool, typer.Option("--keep-following", help="tracker: train the refinements alone; placing sees what it saw.")
    ] = False,
    as_used: Annotated[
        bool, typer.Option("--as-used", help="With --keep-following: refinements learn from what they see in use.")
    ] = False,
    precision: Annotated[str | None, typer.Option(help="Lightning precision: 32-true or bf16-mixed.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    devices: Annotated[int | None, typer.Option(help="Number of GPUs (DDP).")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that simulate; 0: the one that trains.")] = None,
    validation_scenes: Annotated[int | None, typer.Option(help="Cines of the validation set.")] = None,
    validate_every: Annotated[int | None, typer.Option(help="Steps between validations and checkpoints.")] = None,
    eight_bits: Annotated[bool, typer.Option("--eight-bits", help="Store the weights in 8 bits.")] = False,
    patience: Annotated[int | None, typer.Option(help="Validations without improvement before stopping.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run that the folder holds.")] = False,
) -> None:
    """Train a network; writes checkpoints, logs, settings and weights to the run's folder."""
    given: dict[str, Any] = {
        "steps": steps,
        "batch_size": batch_size,
        "replay": replay,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "ema_decay": ema_decay,
        "dropout": dropout,
        "refinements": refinements,
        "precision": precision,
        "devices": devices,
        "workers": workers,
        "validation_scenes": validation_scenes,
        "validate_every": validate_every,
        "patience": patience,
    }
    from tagstrain.training.config import TASKS, TrainingConfig, check_start

    require_training()
    if task not in TASKS:
        raise typer.BadParameter(f"expected one of {', '.join(TASKS)}, got {task!r}", param_hint="task")
    try:
        config = TrainingConfig(
            task=task,
            out=str(out or Path("runs") / task),
            architecture=architecture,  # type: ignore[arg-type]
            data=tuple(str(path) for path in data or ()),
            simulation_share=simulation_share,
            preset=preset,
            init=init,
            start_share=start_share,
            tracker_weights=str(tracker_weights) if tracker_weights else None,
            seed=seed,
            device=device,  # type: ignore[arg-type]
            eight_bits=eight_bits,
            keep_following=keep_following,
            as_used=as_used,
        )
        config = replace(config, **{key: value for key, value in given.items() if value is not None})
        check_start(config.init_path, config.weights_path)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    is_first = os.environ.get("LOCAL_RANK", "0") == "0"  # the others of a run on several GPUs come later
    if is_first and not overwrite and config.earlier_run(resume):
        raise TagstrainError(
            f"{config.out}: holds a run already. Choose another --out, go on with it by --resume and a checkpoint of "
            "its own, or replace it with --overwrite"
        )
    from tagstrain.inference.models import pick_device
    from tagstrain.training.run import train as run_training

    pick_device(config.device)  # says so where there is no GPU
    weights = run_training(config, resume)
    typer.echo(f"Weights: {weights}")
