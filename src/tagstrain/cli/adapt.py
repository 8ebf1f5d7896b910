"""``tagstrain adapt``: fine-tune the tracker on one's own cines, without labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tagstrain.cli.analysis_run import progress_bar
from tagstrain.cli.exits import ExitCode, finish, options_not_input
from tagstrain.cli.messages import print_error, print_warning
from tagstrain.cli.options import PixelSpacingOption
from tagstrain.errors import InputError
from tagstrain.inference.models import Device

if TYPE_CHECKING:  # they load torch
    from tagstrain.data import FollowedSlice
    from tagstrain.inference.models import Models
    from tagstrain.training.adaptation import Adaptation

MIN_SLICES = 2
DEFAULTS: dict[str, Any] = {
    "steps": 100,
    "batch_size": 4,
    "replay": 2,
    "learning_rate": 3e-4,
    "warmup_steps": 10,
    "weight_decay": 1e-3,
    "ema_decay": 0.95,
    "validation_scenes": 32,
    "validate_every": 20,
}


def adapt(
    data: Annotated[list[Path], typer.Option(help="Study that analyze reads, or a folder of zips; may be repeated.")],
    out: Annotated[Path, typer.Option(help="Folder of the run.")] = Path("runs/adapt"),
    init: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Tracker to start from, in place of the shipped.")
    ] = None,
    simulation_share: Annotated[float, typer.Option(help="Share of every batch that is simulated, 0 to 1.")] = 0.5,
    preset: Annotated[str, typer.Option(help="Simulator preset.")] = "default",
    max_slices: Annotated[int, typer.Option(min=MIN_SLICES, help="Slices to learn from at most.")] = 400,
    pixel_spacing_mm: PixelSpacingOption = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 1,
    steps: Annotated[int, typer.Option(min=1, help="Optimizer steps.")] = DEFAULTS["steps"],
    batch_size: Annotated[int, typer.Option(min=4, help="Cines per step.")] = DEFAULTS["batch_size"],
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate.")] = DEFAULTS["learning_rate"],
    validation_scenes: Annotated[
        int, typer.Option(min=1, help="Simulated cines that guard against forgetting.")
    ] = DEFAULTS["validation_scenes"],
    validate_every: Annotated[int, typer.Option(min=1, help="Steps between validations.")] = DEFAULTS["validate_every"],
    device: Annotated[Device, typer.Option(help="auto takes a GPU if there is one.")] = Device.AUTO,
    workers: Annotated[int, typer.Option(min=0, help="Processes that make batches; 0 makes them in this one.")] = 1,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Fine-tune the tracker on your own cines without labels; it is exported only where it got better."""
    from tagstrain.inference.models import load_models
    from tagstrain.inference.teacher import teaching_models
    from tagstrain.networks.weights import stored_settings
    from tagstrain.training.config import TrainingConfig

    try:
        config = TrainingConfig(
            task="tracker",
            out=str(out),
            init=str(init) if init else "shipped",
            simulation_share=simulation_share,
            preset=preset,
            seed=seed,
            device=device.value,
            workers=workers,
            **{
                **DEFAULTS,
                "steps": steps,
                "batch_size": batch_size,
                "learning_rate": learning_rate,
                "validation_scenes": validation_scenes,
                "validate_every": validate_every,
            },
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    with options_not_input():
        stored_settings("tracker", init)
    models = teaching_models(load_models(device=device.value, tracker_weights=init))
    slices, n_unreadable = _follow(data, models, pixel_spacing_mm, max_slices, quiet)
    if n_unreadable and not slices:
        finish(ExitCode.UNREADABLE)
    if len(slices) < MIN_SLICES:
        whose = "its slices" if len(data) == 1 else f"the slices of it and {len(data) - 1} more"
        remedy = "Give more, or look at them with tagstrain analyze"
        raise InputError(data[0], f"{len(slices)} of {whose} can be learned from, {MIN_SLICES} are needed", remedy)
    from tagstrain.training.adaptation import adapt as run_adaptation

    _report(run_adaptation(config, slices), quiet)
    finish(ExitCode.SOME_FAILED if n_unreadable else ExitCode.DONE)


def _follow(
    data: list[Path], models: Models, pixel_spacing_mm: tuple[float, float] | None, max_slices: int, quiet: bool
) -> tuple[list[FollowedSlice], int]:
    """Read the cohort and have its slices followed; what cannot be used is said and left out.

    Returns
    -------
        Slices to learn from, and how many studies could not be read.
    """
    from tagstrain.data import SliceFailure
    from tagstrain.inference.teacher import follow_cohort
    from tagstrain.io import read_study
    from tagstrain.io.study import find_studies

    slices: list[FollowedSlice] = []
    n_unreadable = 0
    found = [find_studies(path) for path in data]
    for each in found:
        if each.note:
            print_warning(each.note)
    with progress_bar(quiet) as progress:
        for path in [path for each in found for path in each.paths]:
            try:
                study = read_study(path, pixel_spacing_mm)
            except InputError as error:
                print_error(str(error))
                n_unreadable += 1
                continue
            task = progress.add_task(study.key, total=len(study.slices))
            for outcome in follow_cohort(study, models):
                progress.advance(task)
                if isinstance(outcome, SliceFailure):
                    print_warning(f"{study.key}, {outcome.name}: left out: {outcome.reason}")
                else:
                    slices.append(outcome)
                if len(slices) == max_slices:
                    print_warning(f"stopped reading at {max_slices} slices; see --max-slices")
                    return slices, n_unreadable
    return slices, n_unreadable


def _report(result: Adaptation, quiet: bool) -> None:
    """Say what the cohort and the simulator think of the best step."""
    from tagstrain.training.adaptation import CONSISTENCY_LABELS

    lines = [
        f"{result.n_slices} slices, measured on {result.n_held_out} of them",
        *(
            f"{name}: {was:.3f} -> {now:.3f}"
            for name, was, now in zip(CONSISTENCY_LABELS, result.before, result.after, strict=True)
        ),
        f"simulated cines: {result.simulated_rmse_mm_before:.3f} -> {result.simulated_rmse_mm_after:.3f} mm RMSE",
        f"Weights: {result.weights}"
        if result.weights
        else "Nothing was better without forgetting: no weights written, keep the tracker as it is.",
    ]
    if not quiet:
        typer.echo("\n".join(lines))
