"""Whether a run can go on from a checkpoint: `check_checkpoint`, `check_same_run`."""

from __future__ import annotations

import zipfile
from dataclasses import asdict
from pathlib import Path
from pickle import UnpicklingError

import torch

from tagstrain.errors import InputError
from tagstrain.training.config import TrainingConfig
from tagstrain.training.modules import NetworkTraining

_PARTS = {"state_dict", "optimizer_states", "lr_schedulers", "loops"}
"""What Lightning goes on from."""
MAY_CHANGE = frozenset({"out", "steps", "device", "validate_every", "patience", "eight_bits", "start_share"})
"""Settings with which a run may go on otherwise: where, how long, how often it is looked at and how it is exported."""
# What zipfile and torch raise on damaged archives and on those of something else.
_DAMAGE = (
    zipfile.BadZipFile,
    UnpicklingError,
    RuntimeError,
    ValueError,
    ImportError,
    AttributeError,
    EOFError,
    OSError,
)


def check_checkpoint(path: Path, module: NetworkTraining) -> None:
    """Refuse what a run that trains ``module`` cannot go on from, before it has rendered or written anything.

    Raises
    ------
    InputError
        If the file is damaged, is no checkpoint of a training run, or one of another network.
    """
    remedy = "Give checkpoints/last.ckpt or best.ckpt of a run, or start anew without --resume"
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # torch reads numbers without a look at their checksums
        stored = None if damaged else torch.load(path, map_location="cpu", weights_only=False, mmap=True)
    except _DAMAGE as error:
        raise InputError(path, "is no checkpoint, or a damaged one", remedy) from error
    if damaged:
        raise InputError(path, f"is a damaged checkpoint (checksum of {damaged})", remedy)
    if not isinstance(stored, dict) or not stored.keys() >= _PARTS:
        raise InputError(path, "is not the checkpoint of a training run", remedy)
    if _shapes(stored["state_dict"]) != _shapes(module.state_dict()):
        raise InputError(
            path, "holds another network than the run trains", "Give task and options as in the config.json of its run"
        )


def check_same_run(path: Path, config: TrainingConfig) -> None:
    """Refuse to go on from a checkpoint with settings that would make another run of it.

    They are told by the ``config.json`` of its run; a checkpoint that lies elsewhere is taken at its word.

    Raises
    ------
    InputError
        Which names what differs.
    """
    try:
        earlier = asdict(TrainingConfig.load(path.resolve().parent.parent / "config.json"))
    except (OSError, ValueError, TypeError, KeyError):
        return
    now = asdict(config)
    for settings in (earlier, now):
        settings["data"] = [str(Path(each).resolve()) for each in settings["data"]]
    differing = [name for name in now if earlier[name] != now[name] and name not in MAY_CHANGE]
    if differing:
        told = ", ".join(f"{name} was {earlier[name]}, is {now[name]}" for name in differing)
        raise InputError(path, f"is of a run with other settings ({told})", "Give the same, or start from its weights")


def _shapes(state: dict[str, torch.Tensor]) -> dict[str, torch.Size]:
    """Shape of every tensor, by name."""
    return {name: tensor.shape for name, tensor in state.items()}
