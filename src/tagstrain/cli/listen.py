"""``tagstrain listen``: a DICOM node that takes studies, analyzes them and sends the results back."""

from __future__ import annotations

import logging
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from tagstrain.cli.analysis_run import AnalysisRun, progress_bar
from tagstrain.cli.exits import options_not_input
from tagstrain.cli.options import WeightsOption
from tagstrain.cli.run_record import RunRecord, StudyStatus
from tagstrain.errors import TagstrainError
from tagstrain.inference.analyze import AnalysisConfig
from tagstrain.inference.models import DEFAULT_TRACKER, Device, Models, TrackerName, load_models
from tagstrain.io import remove_leftovers
from tagstrain.report.exports import ExportFormat, require_export_packages

if TYPE_CHECKING:  # the extra may not be installed
    from tagstrain.link import Destination

_log = logging.getLogger(__name__)


def listen(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="Folder for the results.")],
    aet: Annotated[str, typer.Option(help="Our AE title, by which senders must call us.")] = "TAGSTRAIN",
    port: Annotated[int, typer.Option(help="TCP port; 0 takes a free one.")] = 11112,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in.")] = "127.0.0.1",
    calling_aets: Annotated[
        list[str] | None,
        typer.Option("--from", metavar="AET", help="AE title that may send; may be repeated.  [default: any]"),
    ] = None,
    any_aet: Annotated[bool, typer.Option("--any-aet", help="Let senders call us by any AE title.")] = False,
    send_to: Annotated[
        str | None, typer.Option(metavar="AET@HOST:PORT", help="Archive that gets the results by C-STORE.")
    ] = None,
    stow: Annotated[
        str | None, typer.Option(metavar="URL", help="DICOMweb service that gets the results by STOW-RS.")
    ] = None,
    idle_s: Annotated[
        float, typer.Option(min=0, help="A study to which no image came for so many seconds is complete.")
    ] = 30.0,
    on_release: Annotated[
        bool, typer.Option("--on-release", help="A study is complete, too, when its sender ends the association.")
    ] = False,
    spool: Annotated[
        Path | None, typer.Option(help="Folder for studies on their way.  [default: OUT/spool]", show_default=False)
    ] = None,
    keep_days: Annotated[
        float, typer.Option(min=0, help="Days that the images of a study that is done stay in the spool.")
    ] = 7.0,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Analyze the studies that failed earlier once more.")
    ] = False,
    tracker: Annotated[TrackerName, typer.Option(help="What follows the landmarks.")] = DEFAULT_TRACKER,
    device: Annotated[
        Device, typer.Option(help="Where the networks run; auto takes a GPU if there is one.")
    ] = Device.AUTO,
    figures: Annotated[bool, typer.Option(help="Write a GIF and a PNG per slice, and a report per study.")] = True,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Log errors only.")] = False,
    localizer_weights: WeightsOption = None,
    tracker_weights: WeightsOption = None,
    placer_weights: WeightsOption = None,
    insertion_weights: WeightsOption = None,
) -> None:
    """Receive studies from an archive, analyze them, send the results back.

    Runs until it is interrupted. Every image is on the disk before it is acknowledged; what was not finished goes on
    with the next start.
    """
    try:
        from tagstrain.link import Listener, ListenerConfig, Spool, Stage
        from tagstrain.link.config import DAY_S
    except ModuleNotFoundError as error:
        raise TagstrainError(f"{error.name} is not installed. Run pip install 'tagstrain[dicom]'") from error

    require_export_packages((ExportFormat.DICOM,))
    try:
        config = ListenerConfig(
            aet, port, host, tuple(calling_aets or ()), any_aet, idle_s, on_release, keep_s=keep_days * DAY_S
        )
        destinations = _destinations(send_to, stow, aet)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    with options_not_input():
        weights = (localizer_weights, tracker_weights, None, placer_weights, insertion_weights)
        models = load_models(tracker.value, device.value, *weights)
    analysis = StudyAnalysis(output, models, figures)
    with _log_on_screen(quiet), _stop_signal() as stopped, Spool(spool or output / "spool") as studies:
        for study in studies.in_stage(*Stage):
            remove_leftovers(output, study.key)
        if retry_failed:
            studies.queue_failed()
        with Listener(studies, output, analysis, destinations, config) as listener:
            _log.info("Listening as %s on %s, port %d", aet, host, listener.port)
            stopped.wait()
            _log.info("Stopping; what is under way is finished")


@dataclass(frozen=True, slots=True)
class StudyAnalysis:
    """Analyzes one study at a time as ``analyze`` does; `tagstrain.link.Listener` calls it."""

    root: Path
    models: Models
    figures: bool

    def __call__(self, images: Path, key: str) -> None:
        """Analyze the images of a folder and write ``root/key``.

        Raises
        ------
        TagstrainError
            If the study cannot be read, or none of its slices could be analyzed.
        """
        record = RunRecord(["tagstrain", "listen"], {})
        run = AnalysisRun(
            root=self.root,
            load_models=lambda: self.models,
            config=AnalysisConfig(),
            record=record,
            pixel_spacing_mm=None,
            keep_ids=True,
            figures=self.figures,
            exports=(ExportFormat.DICOM,),
            print_error=_is_logged,
            print_warning=_is_logged,
            progress=progress_bar(quiet=True),
        )
        run.add(images, key)
        (study,) = record.studies
        if study.error is not None:
            raise TagstrainError(study.error)
        if study.status is StudyStatus.ALL_SLICES_FAILED:
            raise TagstrainError(f"all slices failed; {study.failures[0].name}: {study.failures[0].reason}")


def _is_logged(_message: str) -> None:
    """What the analysis would print goes to the log already."""


def _destinations(send_to: str | None, stow: str | None, aet: str) -> list[Destination]:
    """Archives that the results go to."""
    from tagstrain.link import DicomNode, DicomWeb

    destinations: list[Destination] = []
    if send_to is not None:
        destinations.append(DicomNode.parse(send_to, aet))
    if stow is not None:
        destinations.append(DicomWeb(stow))
    return destinations


@contextmanager
def _stop_signal() -> Iterator[Event]:
    """Set the event at SIGTERM or SIGINT; a second one interrupts at once."""
    stopped = Event()
    numbers = (signal.SIGTERM, signal.SIGINT)

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopped.set()
        for number in numbers:
            signal.signal(number, signal.default_int_handler)

    earlier = [signal.signal(number, stop) for number in numbers]
    try:
        yield stopped
    finally:
        for number, handler in zip(numbers, earlier, strict=True):
            signal.signal(number, handler)


@contextmanager
def _log_on_screen(quiet: bool) -> Iterator[None]:
    """Show on stderr what the package logs, and none of pydicom's warnings, which quote what a header says."""
    logger = logging.getLogger("tagstrain")
    level = logger.level
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.ERROR if quiet else logging.INFO)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"pydicom\.")
            yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
