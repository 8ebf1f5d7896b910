"""``tagstrain adapt``: fine-tune tracker and placer on one's own cines, without labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tagstrain.cli.analysis_run import progress_bar
from tagstrain.cli.exits import ExitCode, finish, options_not_input, require_training
from tagstrain.cli.messages import print_error, print_warning
from tagstrain.cli.options import PixelSpacingOption
from tagstrain.errors import InputError
from tagstrain.inference.models import Device

if TYPE_CHECKING:  # they load torch
    from tagstrain.data import FollowedSlice
    from tagstrain.inference.models import Models
    from tagstrain.training.adaptation import Adaptation
    from tagstrain.training.config import Task, TrainingConfig

MIN_SLICES = 2
DEFAULTS: dict[str, dict[str, Any]] = {
    "tracker": {
        "steps": 100,
        "batch_size": 4,
        "replay": 2,
        "learning_rate": 1e-4,
        "warmup_steps": 10,
        "weight_decay": 1e-3,
        "ema_decay": 0.95,
        "validation_scenes": 32,
        "validate_every": 20,
    },
    "placer": {
        "steps": 360,
        "batch_size": 16,
        "replay": 4,
        "learning_rate": 3e-4,
        "warmup_steps": 10,
        "weight_decay": 1e-3,
        "ema_decay": 0.97,
        "validation_scenes": 48,
        "validate_every": 40,
    },
}
"""Settings of each network's run, in the order in which they adapt: the placer reads the motion that the adapted
tracker follows."""


def adapt(
    data: Annotated[list[Path], typer.Option(help="Study that analyze reads, or a folder of zips; may be repeated.")],
    out: Annotated[Path, typer.Option(help="Folder of the run.")] = Path("runs/adapt"),
    only: Annotated[
        Literal["tracker", "placer"] | None,
        typer.Option(help="The one network to adapt.  [default: the tracker, then the placer]"),
    ] = None,
    init: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Tracker to start from, in place of the shipped.")
    ] = None,
    placer_init: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Placer to start from, in place of the shipped.")
    ] = None,
    simulation_share: Annotated[
        float, typer.Option(help="Share of every batch that is simulated, 0 to below 1.")
    ] = 0.5,
    preset: Annotated[str, typer.Option(help="Simulator preset.")] = "default",
    max_slices: Annotated[int, typer.Option(min=MIN_SLICES, help="Slices to learn from at most.")] = 400,
    pixel_spacing_mm: PixelSpacingOption = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 1,
    steps: Annotated[int | None, typer.Option(min=1, help="Optimizer steps.  [default: 100, placer 360]")] = None,
    batch_size: Annotated[int | None, typer.Option(min=4, help="Cines per step.  [default: 4, placer 16]")] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Peak learning rate.  [default: 1e-4, placer 3e-4]")
    ] = None,
    validation_scenes: Annotated[
        int | None, typer.Option(min=1, help="Simulated cines that guard against forgetting.  [default: 32, placer 48]")
    ] = None,
    validate_every: Annotated[
        int | None, typer.Option(min=1, help="Steps between validations.  [default: 20, placer 40]")
    ] = None,
    device: Annotated[Device, typer.Option(help="auto takes a GPU if there is one.")] = Device.AUTO,
    workers: Annotated[int, typer.Option(min=0, help="Processes that make batches; 0 makes them in this one.")] = 1,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Fine-tune tracker and placer on your own cines without labels; each is exported only where it got better."""
    from tagstrain.inference.models import load_models
    from tagstrain.inference.teacher import teaching_models
    from tagstrain.io.atomic import may_be_folder
    from tagstrain.networks.weights import stored_settings
    from tagstrain.training.config import TrainingConfig, check_start

    require_training()
    given = {
        "steps": steps,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "validation_scenes": validation_scenes,
        "validate_every": validate_every,
    }
    tasks: tuple[Task, ...] = ("tracker", "placer") if only is None else (only,)
    starts = {"tracker": init, "placer": placer_init}
    try:
        configs = [
            TrainingConfig(
                task=task,
                out=str(out / "training" / task),
                init=str(starts[task]) if starts[task] else "shipped",
                tracker_weights=str(init) if init else None,
                simulation_share=simulation_share,
                preset=preset,
                seed=seed,
                device=device.value,
                workers=workers,
                **{**DEFAULTS[task], **{name: value for name, value in given.items() if value is not None}},
            )
            for task in tasks
        ]
        for config in configs:
            config.check_simulation_share()
            for start in starts.values():
                check_start(start, _weights(out, config.task))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    may_be_folder(out)
    with options_not_input():
        for task, start in starts.items():
            stored_settings(task, start)
    models = teaching_models(load_models(device=device.value, tracker_weights=init, placer_weights=placer_init))
    slices, n_unreadable = _follow(data, models, "placer" in tasks, pixel_spacing_mm, max_slices, quiet)
    if n_unreadable and not slices:
        finish(ExitCode.UNREADABLE)
    if len(slices) < MIN_SLICES:
        whose = "its slices" if len(data) == 1 else f"the slices of it and {len(data) - 1} more"
        remedy = "Give more, or look at them with tagstrain analyze"
        raise InputError(data[0], f"{len(slices)} of {whose} can be learned from, {MIN_SLICES} are needed", remedy)
    _adapt(configs, slices, out, quiet)
    finish(ExitCode.SOME_FAILED if n_unreadable else ExitCode.DONE)


def _adapt(configs: list[TrainingConfig], slices: list[FollowedSlice], out: Path, quiet: bool) -> None:
    """One network after the other; the record is written after each."""
    from tagstrain.training.adaptation import save_adaptations
    from tagstrain.training.placer_adaptation import adapt_placer, taught
    from tagstrain.training.tracker_adaptation import adapt_tracker

    record = out / "adaptation.json"
    earlier = {record, *(_weights(out, config.task) for config in configs)}
    done: list[Adaptation] = []
    for config in configs:
        weights = _weights(out, config.task)
        if config.task == "tracker":
            done.append(adapt_tracker(config, slices, weights))
        else:
            teaching, left_out = taught(slices)
            n_walls = len(teaching)
            if n_walls < MIN_SLICES:
                _remove(earlier, done)
                how = " without grey levels, which contradict all else" if left_out else ""
                print_warning(
                    f"placing agrees with itself on {n_walls} slices{how}, {MIN_SLICES} are needed: placer kept"
                )
                continue
            adapted = next((each.weights for each in done if each.weights), None)
            done.append(
                adapt_placer(replace(config, tracker_weights=str(adapted)) if adapted else config, slices, weights)
            )
        _remove(earlier, done)
        _report(done[-1], quiet)
        save_adaptations(done, record)


def _remove(earlier: set[Path], done: list[Adaptation]) -> None:
    """Remove what an earlier run left, once, when the first outcome is in: it would look like one of this run."""
    for path in earlier - {each.weights for each in done}:
        path.unlink(missing_ok=True)
    earlier.clear()


def _weights(out: Path, task: Task) -> Path:
    """File of a network's adapted weights."""
    return out / f"{task}.safetensors"


def _follow(
    data: list[Path],
    models: Models,
    with_walls: bool,
    pixel_spacing_mm: tuple[float, float] | None,
    max_slices: int,
    quiet: bool,
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
            for outcome in follow_cohort(study, models, with_walls):
                progress.advance(task)
                if isinstance(outcome, SliceFailure):
                    print_warning(f"{study.key}, {outcome.name}: left out: {outcome.reason}")
                else:
                    slices.append(outcome)
                if len(slices) == max_slices:
                    print_warning(f"stopped reading at {max_slices} slices; see --max-slices")
                    return slices, n_unreadable
            progress.remove_task(task)
    return slices, n_unreadable


def _report(result: Adaptation, quiet: bool) -> None:
    """Say what the cohort and the simulator think of what was learned."""
    before, after = (list(each._asdict().values()) for each in (result.before, result.after))
    lines = [
        f"{result.network}: {result.n_slices} slices, measured on {result.n_held_out} of them",
        *(
            f"{group} contradict all else in these slices: its teacher was not shown them"
            for group in result.teacher_left_out
        ),
        *(
            f"{name}: {was:.3f} -> {now:.3f}"
            for name, was, now in zip(result.before.labels, before, after, strict=True)
        ),
        f"simulated cines: {result.simulated_rmse_mm_before:.3f} -> {result.simulated_rmse_mm_after:.3f} mm RMSE",
        f"Weights: {result.weights}, {result.share:.0%} of them adapted, the rest as before"
        if result.weights
        else f"Nothing was better without forgetting: no weights written, keep the {result.network} as it is.",
    ]
    if not quiet:
        typer.echo("\n".join(lines))
