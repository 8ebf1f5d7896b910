"""The localizer, placer and tracker that an analysis runs with, and where they come from: `Models`, `load_models`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import tagstrain
from tagstrain.data import Provenance
from tagstrain.errors import TagstrainError
from tagstrain.inference.interfaces import InsertionFinder, Localizer, Placer, PlacerAndTracker, Tracker

if TYPE_CHECKING:  # they load torch, which a command that runs no network must not wait for
    from tagstrain.inference.localize import ViewLocalizer
    from tagstrain.inference.original import OriginalLocalizer, OriginalRnnCnn
    from tagstrain.inference.rnncnn import RnnCnn
    from tagstrain.networks.weights import WeightsInfo


class TrackerName(StrEnum):
    """Trackers that can be asked for by name."""

    FLOW = "flow"
    HARP = "harp"
    RNNCNN = "rnncnn"


DEFAULT_TRACKER = TrackerName.FLOW
"""The most accurate of the three where it was measured (benchmarks/accuracy/results.md)."""


class Device(StrEnum):
    """Where the networks run."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class Preprocessing(StrEnum):
    """How images are cut and resampled for the networks."""

    TAGSTRAIN = "tagstrain"
    """A square grid in millimeters, x and y by their own scale, what lies outside the image known as missing."""
    ORIGINAL = "original"
    """The predecessor's: its 256 x 256 image, and crops with its roundings; see `tagstrain.geometry.OriginalCrop`."""


@dataclass(frozen=True, slots=True)
class Models:
    """The exchangeable parts of the pipeline and the record of what they are."""

    localizer: Localizer
    placer: Placer
    tracker: Tracker
    provenance: Provenance
    at_once: PlacerAndTracker | None = None
    """Gives the landmarks of all frames in place of ``placer`` and ``tracker``; the localizer's box is then kept."""
    insertion: InsertionFinder | None = None
    """Finds the anterior RV insertion; None in the predecessor's pipeline, which has none."""


def load_models(
    tracker: str = DEFAULT_TRACKER,
    device: str = Device.AUTO,
    localizer_weights: Path | None = None,
    tracker_weights: Path | None = None,
    preprocessing: str | None = None,
    placer_weights: Path | None = None,
    insertion_weights: Path | None = None,
) -> Models:
    """Load the networks of a full analysis.

    Whichever tracker of ours follows the landmarks, they are placed by the motion that the flow tracker sees, which
    also shows where the right ventricle inserts.

    With weights of the predecessor for both networks and ``"rnncnn"`` this is the predecessor's pipeline: frame 0 in
    raw grey levels gives the box, the crop around it the landmarks of all frames. Each network decides for itself, so
    that the predecessor's localizer goes with our landmark network and the other way round.

    Parameters
    ----------
    tracker
        ``"flow"`` (learned, dense), ``"harp"`` (harmonic phase, no network) or ``"rnncnn"`` (the predecessor's).
    device
        ``"auto"`` takes a CUDA GPU if there is one.
    localizer_weights, tracker_weights, placer_weights, insertion_weights
        safetensors files; None for those shipped with the package. HARP has no weights, the predecessor's pipeline no
        placer.
    preprocessing
        ``"tagstrain"`` or ``"original"`` for the crop that the landmark network sees, and for the image that a
        localizer of one channel sees; None for what each weights file says. A localizer of ours has no original
        preprocessing. Whether grey levels are normalized depends on the weights alone.

    Raises
    ------
    TagstrainError
        If the tracker or the preprocessing is not known, no network would get the original one or the weights that were
        asked for, or the device is not there.
    """
    name = _tracker_name(tracker)  # before torch is loaded for nothing
    asked = _preprocessing(preprocessing)
    _refuse_weights_for_harp(name, tracker_weights)
    from tagstrain.inference.flow import FlowTracker
    from tagstrain.inference.motion_insertion import MotionInsertionFinder
    from tagstrain.inference.original import OriginalRnnCnn
    from tagstrain.inference.placer import MotionPlacer

    chosen = pick_device(device)
    localizer = load_localizer(localizer_weights, chosen, asked)
    if name is not TrackerName.RNNCNN and localizer.preprocessing != Preprocessing.ORIGINAL:
        _refuse_original(asked)
    weights = {"localizer": str(localizer.info)}
    prepared = {"localizer": localizer.preprocessing}
    if name is TrackerName.RNNCNN:
        rnncnn = load_rnncnn(tracker_weights, chosen, asked)
        weights["rnncnn"], prepared["rnncnn"] = str(rnncnn.info), rnncnn.preprocessing
        if isinstance(rnncnn, OriginalRnnCnn):
            if placer_weights is not None or insertion_weights is not None:
                raise TagstrainError(
                    "The predecessor's network places the landmarks itself and finds no insertion. Leave out "
                    "--placer-weights and --insertion-weights, or choose another tracker."
                )
            precision = _precision(localizer.info, rnncnn.info)
            provenance = Provenance(tagstrain.__version__, name.value, weights, chosen, prepared, precision)
            return Models(localizer, rnncnn, rnncnn, provenance, rnncnn)
    flow = FlowTracker.from_weights(tracker_weights if name is TrackerName.FLOW else None, chosen)
    placer = MotionPlacer.from_weights(flow, placer_weights, chosen)
    insertion = MotionInsertionFinder.from_weights(flow, insertion_weights, chosen)
    weights |= {"tracker": str(flow.info), "placer": str(placer.info), "insertion": str(insertion.info)}
    precision = _precision(localizer.info, flow.info, placer.info)
    provenance = Provenance(tagstrain.__version__, name.value, weights, chosen, prepared, precision)
    if name is TrackerName.RNNCNN:
        return Models(localizer, placer, rnncnn, provenance, insertion=insertion)
    if name is TrackerName.HARP:
        from tagstrain.inference.harp import HarpTracker

        return Models(localizer, placer, HarpTracker(), provenance, insertion=insertion)
    return Models(localizer, placer, flow, provenance, insertion=insertion)


def _precision(*networks: WeightsInfo) -> str:
    """The lowest in which any of some networks computes."""
    return "bfloat16" if any(info.precision == "bfloat16" for info in networks) else "float32"


def load_localizer(
    weights: Path | None = None, device: str = "cpu", preprocessing: Preprocessing | None = None
) -> ViewLocalizer | OriginalLocalizer:
    """Load a localizer that fits the weights: the predecessor's for a network that reads raw grey levels, else ours."""
    from tagstrain.inference.localize import ViewLocalizer
    from tagstrain.inference.original import OriginalLocalizer
    from tagstrain.networks.weights import reads_raw, stored_settings

    if reads_raw(stored_settings("localizer", weights)):
        return OriginalLocalizer.from_weights(weights, device, preprocessing or Preprocessing.ORIGINAL)
    return ViewLocalizer.from_weights(weights, device)


def load_rnncnn(
    weights: Path | None = None, device: str = "cpu", preprocessing: Preprocessing | None = None
) -> RnnCnn | OriginalRnnCnn:
    """Load the landmark network: run our way if weights and preprocessing are ours, else the predecessor's way."""
    from tagstrain.inference.original import OriginalRnnCnn
    from tagstrain.inference.rnncnn import RnnCnn
    from tagstrain.networks.weights import reads_raw, stored_settings

    is_original = reads_raw(stored_settings("rnncnn", weights))
    chosen = preprocessing or (Preprocessing.ORIGINAL if is_original else Preprocessing.TAGSTRAIN)
    if is_original or chosen is Preprocessing.ORIGINAL:
        return OriginalRnnCnn.from_weights(weights, device, chosen)
    return RnnCnn.from_weights(weights, device)


def load_tracker(
    tracker: str = DEFAULT_TRACKER,
    device: str = Device.AUTO,
    weights: Path | None = None,
    preprocessing: str | None = None,
) -> Tracker:
    """Load a tracker alone, for points that are given; HARP loads no torch.

    Raises
    ------
    TagstrainError
        If the tracker or the preprocessing is not known, the tracker has no original one that was asked for, or the
        device is not there.
    """
    name, asked = _tracker_name(tracker), _preprocessing(preprocessing)
    _refuse_weights_for_harp(name, weights)
    if name is TrackerName.RNNCNN:
        return load_rnncnn(weights, pick_device(device), asked)
    _refuse_original(asked)
    if name is TrackerName.HARP:
        from tagstrain.inference.harp import HarpTracker

        return HarpTracker()
    from tagstrain.inference.flow import FlowTracker

    return FlowTracker.from_weights(weights, pick_device(device))


def pick_device(device: str) -> str:
    """Name of the torch device that ``auto``, ``cpu`` or ``cuda`` stands for on this machine.

    Raises
    ------
    TagstrainError
        If the name is not one of the three, or is ``cuda`` where no GPU can be used.
    """
    if device not in list(Device):
        raise TagstrainError(f"Device {device!r} is not known. Choose one of {', '.join(Device)}.")
    import torch

    usable = torch.cuda.is_available()
    if device == Device.CUDA and not usable:
        raise TagstrainError("Device cuda was asked for, but PyTorch sees no CUDA GPU here. Use --device cpu or auto.")
    return "cuda" if usable and device != Device.CPU else "cpu"


def _tracker_name(tracker: str) -> TrackerName:
    """Check a tracker's name."""
    try:
        return TrackerName(tracker)
    except ValueError:
        raise TagstrainError(f"Tracker {tracker!r} is not known. Choose one of {', '.join(TrackerName)}.") from None


def _refuse_weights_for_harp(tracker: TrackerName, weights: Path | None) -> None:
    """Weights that nothing would read are a mistake."""
    if tracker is TrackerName.HARP and weights is not None:
        raise TagstrainError("Tracker harp has no weights. Leave out --tracker-weights, or choose flow or rnncnn.")


def _refuse_original(asked: Preprocessing | None) -> None:
    """The predecessor's preprocessing where no network would get it is a mistake."""
    if asked is Preprocessing.ORIGINAL:
        raise TagstrainError(
            "--preprocessing original changes nothing here: trackers flow and harp and our localizer have their own. "
            "Leave it out, or give --tracker rnncnn or the predecessor's --localizer-weights."
        )


def _preprocessing(preprocessing: str | None) -> Preprocessing | None:
    """Check the name of a preprocessing; None leaves the choice to the weights."""
    try:
        return None if preprocessing is None else Preprocessing(preprocessing)
    except ValueError:
        names = ", ".join(Preprocessing)
        raise TagstrainError(f"Preprocessing {preprocessing!r} is not known. Choose one of {names}.") from None
