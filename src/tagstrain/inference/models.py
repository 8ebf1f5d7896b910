"""The localizer, placer and tracker that an analysis runs with, and where they come from: `Models`, `load_models`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import tagstrain
from tagstrain.data import Provenance
from tagstrain.errors import TagstrainError
from tagstrain.inference.interfaces import Localizer, Placer, Tracker


class TrackerName(StrEnum):
    """Trackers that can be asked for by name."""

    RNNCNN = "rnncnn"
    HARP = "harp"


DEFAULT_TRACKER = TrackerName.HARP
"""The more accurate of the two where it was measured (benchmarks/spine.md)."""


class Device(StrEnum):
    """Where the networks run."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


@dataclass(frozen=True, slots=True)
class Models:
    """The three exchangeable parts of the pipeline and the record of what they are."""

    localizer: Localizer
    placer: Placer
    tracker: Tracker
    provenance: Provenance


def load_models(
    tracker: str = DEFAULT_TRACKER,
    device: str = Device.AUTO,
    localizer_weights: Path | None = None,
    tracker_weights: Path | None = None,
) -> Models:
    """Load the networks of a full analysis; the landmarks are placed by the RNN-CNN whichever tracker follows them.

    Parameters
    ----------
    tracker
        ``"rnncnn"`` (learned) or ``"harp"`` (harmonic phase, no network).
    device
        ``"auto"`` takes a CUDA GPU if there is one.
    localizer_weights, tracker_weights
        safetensors files; None for those shipped with the package.

    Raises
    ------
    TagstrainError
        If the tracker is not known or the device is not there.
    """
    name = _tracker_name(tracker)  # before torch is loaded for nothing
    from tagstrain.inference.localize import ViewLocalizer
    from tagstrain.inference.rnncnn import RnnCnn

    chosen = pick_device(device)
    localizer = ViewLocalizer.from_weights(localizer_weights, chosen)
    rnncnn = RnnCnn.from_weights(tracker_weights, chosen)
    weights = {"localizer": str(localizer.info), "rnncnn": str(rnncnn.info)}
    provenance = Provenance(tagstrain.__version__, name.value, weights, chosen)
    if name is TrackerName.HARP:
        from tagstrain.inference.harp import HarpTracker

        return Models(localizer, rnncnn, HarpTracker(), provenance)
    return Models(localizer, rnncnn, rnncnn, provenance)


def load_tracker(tracker: str = DEFAULT_TRACKER, device: str = Device.AUTO, weights: Path | None = None) -> Tracker:
    """Load a tracker alone, for points that are given; HARP loads no torch.

    Raises
    ------
    TagstrainError
        If the tracker is not known or the device is not there.
    """
    if _tracker_name(tracker) is TrackerName.HARP:
        from tagstrain.inference.harp import HarpTracker

        return HarpTracker()
    from tagstrain.inference.rnncnn import RnnCnn

    return RnnCnn.from_weights(weights, pick_device(device))


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
