"""``tagstrain analyze``: studies in, a folder of strain results out."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from tagstrain.cli.analysis_run import AnalysisRun, progress_bar
from tagstrain.cli.earlier_run import EarlierRun
from tagstrain.cli.exits import finish, options_not_input
from tagstrain.cli.messages import print_error, print_warning
from tagstrain.cli.options import KeepIdsOption, PixelSpacingOption, PreprocessingOption, WeightsOption
from tagstrain.cli.results_folder import results_folder, written_files
from tagstrain.cli.run_record import RunRecord
from tagstrain.cli.tables import MAX_ROWS, timings_table
from tagstrain.data import Box, Point
from tagstrain.inference.analyze import LOW_CONFIDENCE, AnalysisConfig
from tagstrain.inference.models import DEFAULT_TRACKER, Device, TrackerName, load_models
from tagstrain.io.contours import read_contours
from tagstrain.io.fingerprint import input_sha256
from tagstrain.io.input_folder import RUN_RECORD
from tagstrain.io.study import find_studies
from tagstrain.report.exports import ExportFormat, require_export_packages

_log = logging.getLogger(__name__)


def parse_box(text: str) -> Box:
    """Read ``X1,Y1,X2,Y2``."""
    try:
        box = Box(*(float(number) for number in text.split(",")))
        AnalysisConfig(box=box)
    except (TypeError, ValueError):
        raise typer.BadParameter(f"expected X1,Y1,X2,Y2 in pixels with X1 < X2 and Y1 < Y2, got {text!r}") from None
    return box


def parse_point(text: str) -> Point:
    """Read ``X,Y``."""
    try:
        point = Point(*(float(number) for number in text.split(",")))
        AnalysisConfig(rv_insertion_px=point)
    except (TypeError, ValueError):
        raise typer.BadParameter(f"expected X,Y in pixels, got {text!r}") from None
    return point


def analyze(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="INPUT",
            readable=False,
            help="DICOM files, folders or zips, NIfTI, HDF5 or npz files; a folder of zips or studies gives several.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="Folder for the results.")],
    tracker: Annotated[TrackerName, typer.Option(help="What follows the landmarks.")] = DEFAULT_TRACKER,
    device: Annotated[
        Device, typer.Option(help="Where the networks run; auto takes a GPU if there is one.")
    ] = Device.AUTO,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace these studies' results of an earlier run in OUT.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted run into OUT; what is done stays.")
    ] = False,
    timings: Annotated[bool, typer.Option("--timings", help="Print the time per stage.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
    figures: Annotated[bool, typer.Option(help="Write a GIF and a PNG per slice, and a report per study.")] = True,
    export: Annotated[
        list[ExportFormat] | None,
        typer.Option(help="Further formats of the results; may be given several times.", show_default=False),
    ] = None,
    min_confidence: Annotated[
        float, typer.Option(min=0, max=1, help="Localizations less certain than this fail the slice.")
    ] = LOW_CONFIDENCE,
    box: Annotated[
        Box | None,
        typer.Option(
            parser=parse_box,
            metavar="X1,Y1,X2,Y2",
            help="Box around the left ventricle in pixels, for every slice, in place of the localizer's.",
        ),
    ] = None,
    contours: Annotated[
        Path | None,
        typer.Option(
            readable=False,
            help="JSON with endo and epi contours or landmarks at ED, by slice name, in place of placing them.",
        ),
    ] = None,
    rv_insertion: Annotated[
        Point | None,
        typer.Option(
            parser=parse_point,
            metavar="X,Y",
            help="Anterior insertion of the right ventricle in pixels, for every slice, in place of the network's.",
        ),
    ] = None,
    pixel_spacing_mm: PixelSpacingOption = None,
    keep_ids: KeepIdsOption = False,
    localizer_weights: WeightsOption = None,
    tracker_weights: WeightsOption = None,
    placer_weights: WeightsOption = None,
    insertion_weights: WeightsOption = None,
    preprocessing: PreprocessingOption = None,
) -> None:
    """Measure strain in tagged cardiac MRI.

    Finds the left ventricle in every slice, places landmarks on its wall, follows them through the cycle, and writes
    numbers and pictures.
    """
    require_export_packages(export or ())
    settings: dict[str, Any] = {
        "tracker": tracker.value,
        "device": device.value,
        "overwrite": overwrite,
        "resume": resume,
        "figures": figures,
        "export": sorted({form.value for form in export or ()}),
        "min_confidence": min_confidence,
        "box": None if box is None else list(box),
        "contours": None if contours is None else contours.name,
        "contours_sha256": None if contours is None else input_sha256(contours),
        "rv_insertion": None if rv_insertion is None else list(rv_insertion),
        "pixel_spacing_mm": None if pixel_spacing_mm is None else list(pixel_spacing_mm),
        "keep_ids": keep_ids,
        "localizer_weights": None if localizer_weights is None else localizer_weights.name,
        "tracker_weights": None if tracker_weights is None else tracker_weights.name,
        "placer_weights": None if placer_weights is None else placer_weights.name,
        "insertion_weights": None if insertion_weights is None else insertion_weights.name,
        "preprocessing": None if preprocessing is None else preprocessing.value,
    }
    weights = (localizer_weights, tracker_weights, preprocessing, placer_weights, insertion_weights)
    loader = partial(load_models, tracker.value, device.value, *weights)
    found = [find_studies(path) for path in inputs]
    studies = [(index, path) for index, entry in enumerate(found) for path in entry.paths]
    record = RunRecord(_command(inputs, output, settings), settings, len(studies))
    if resume and (overwrite or contours is not None):
        raise typer.BadParameter("goes neither with --overwrite nor with --contours", param_hint="--resume")
    if contours is not None and len(studies) > 1:
        raise typer.BadParameter("holds the walls of one study; give one study with it", param_hint="--contours")
    with options_not_input():
        walls = None if contours is None else read_contours(contours)
    config = AnalysisConfig(min_confidence, box, walls, rv_insertion)
    with results_folder(output, overwrite or resume), progress_bar(quiet) as progress:
        warn = _say_nothing if quiet else print_warning
        run = AnalysisRun(
            root=output,
            load_models=loader,
            config=config,
            record=record,
            pixel_spacing_mm=pixel_spacing_mm,
            keep_ids=keep_ids,
            figures=figures,
            exports=export or (),
            print_error=print_error,
            print_warning=warn,
            progress=progress,
            earlier=EarlierRun.read(output / RUN_RECORD),
            resume=resume,
        )
        for note in filter(None, (entry.note for entry in found)):
            _log.warning("%s", note)
            warn(note)
        run.add_all(studies)
    console = Console()
    if not quiet:
        _print_results(console, run, output)
    if timings and record.times.n_slices:
        console.print(timings_table(record.times.mean_s(), record.times.n_slices))
    finish(record.exit_code)


def _say_nothing(_message: str) -> None:
    """With ``--quiet``, warnings stand in the log and the results alone."""


def _print_results(console: Console, run: AnalysisRun, output: Path) -> None:
    """Print what was measured and where it was written."""
    if len(run.table):
        console.print(run.table.render())
    names = written_files(output, [study.folder for study in run.record.studies if study.folder is not None])
    console.print(f"Written to {output}:", highlight=False, markup=False, soft_wrap=True)
    for name in names[:MAX_ROWS]:
        console.print(f"  {name}", highlight=False, markup=False, soft_wrap=True)
    if len(names) > MAX_ROWS:
        console.print(f"  and {len(names) - MAX_ROWS} more", highlight=False)
    console.print("Research software: not for diagnostic use.", style="dim")


def _command(inputs: Sequence[Path], output: Path, settings: Mapping[str, Any]) -> list[str]:
    """The command as it could be typed beside the inputs; folder names are left out: they can name a patient."""
    command = ["tagstrain", "analyze", *(path.name for path in inputs), "--output", output.name]
    for name, value in settings.items():
        option = "--" + name.replace("_", "-")
        if value is False:
            command += ["--no-figures"] if name == "figures" else []
        elif value is True:
            command += [option]
        elif name == "export":
            command += [word for form in value for word in (option, form)]
        elif name in {"box", "rv_insertion"} and value is not None:
            command += [option, ",".join(f"{number:g}" for number in value)]
        elif isinstance(value, list):
            command += [option, *(f"{number:g}" for number in value)]
        elif value is not None:
            command += [option, str(value)]
    return command
