"""Weights on disk: safetensors with the network's name, settings and version beside the numbers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from tagstrain.errors import InputError
from tagstrain.networks.flow import FlowNet
from tagstrain.networks.half_precision import halve, has_native_bfloat16
from tagstrain.networks.insertion import InsertionNet
from tagstrain.networks.localization_unet import LocalizationUNet
from tagstrain.networks.localizer import LocalizationCNN
from tagstrain.networks.placer import PlacerNet
from tagstrain.networks.rnncnn import LandmarkRnnCnn

NETWORKS: dict[str, dict[str, type[nn.Module]]] = {
    "localizer": {"localizer_unet": LocalizationUNet, "localizer": LocalizationCNN},
    "rnncnn": {"rnncnn": LandmarkRnnCnn},
    "tracker": {"tracker": FlowNet},
    "placer": {"placer": PlacerNet},
    "insertion": {"insertion": InsertionNet},
}
"""What can do a task, ours first, by the name in its weights file."""
_SCALE = ".scale"


@dataclass(frozen=True, slots=True)
class WeightsInfo:
    """Which weights a network carries."""

    name: str
    version: str
    sha256: str
    settings: dict[str, Any]
    """Arguments of the network and how its input is prepared (``preprocessing``: ``"tagstrain"`` or ``"original"``)."""
    precision: str = "float32"
    """In which its body computes, ``"bfloat16"`` or ``"float32"``."""

    @property
    def reads_raw(self) -> bool:
        """Whether the network reads grey levels as they are, as the predecessor's networks do; see `reads_raw`."""
        return reads_raw(self.settings)

    def __str__(self) -> str:
        return f"{self.version} sha256:{self.sha256[:16]}"


def reads_raw(settings: Mapping[str, Any]) -> bool:
    """Whether a network reads grey levels as they are: its settings say so, or it is a localizer of one channel."""
    return settings.get("preprocessing") == "original" or settings.get("network", {}).get("in_channels") == 1


def shipped_weights(name: str) -> Path:
    """Path of the weights that come with the package."""
    return Path(str(files("tagstrain.networks"))) / "assets" / f"{name}.safetensors"


def save_weights(
    path: Path, name: str, network: nn.Module, version: str, settings: dict[str, Any], eight_bits: bool = False
) -> None:
    """Write a network's weights.

    With ``eight_bits`` every matrix is stored as int8 with one float32 scale per output channel (symmetric rounding to
    127 steps); vectors stay float32.
    """
    tensors: dict[str, torch.Tensor] = {}
    for key, value in network.state_dict().items():
        value = value.detach().cpu().contiguous()
        if eight_bits and value.dim() > 1:
            scale = value.flatten(1).abs().amax(dim=1).clamp_min(1e-12) / 127
            shape = (-1, *([1] * (value.dim() - 1)))
            tensors[key] = torch.round(value / scale.view(shape)).to(torch.int8)
            tensors[key + _SCALE] = scale
        else:
            tensors[key] = value
    metadata = {"network": name, "version": version, "settings": json.dumps(settings)}
    path.write_bytes(_in_one_order(save(tensors, metadata)))


def _in_one_order(stored: bytes) -> bytes:
    """The same weights file with its metadata in order: equal weights have equal hashes, by which results name them."""
    end = 8 + int.from_bytes(stored[:8], "little")
    described = json.loads(stored[8:end])
    ordered = {"__metadata__": dict(sorted(described.pop("__metadata__").items())), **described}
    header = json.dumps(ordered, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + stored[end:]


def stored_network(path: Path) -> str:
    """Name of the network whose weights a file holds.

    Raises
    ------
    InputError
        As `load_weights` does, or if the file names no network that we have.
    """
    with _opened(path) as file:
        name = (file.metadata() or {}).get("network", "no network named")
    known = [network for networks in NETWORKS.values() for network in networks]
    if name not in known:
        raise InputError(path, f"holds weights for '{name}'", f"Give weights for one of {', '.join(known)}")
    return str(name)


def load_weights(
    name: str, path: str | Path | None = None, device: torch.device | str = "cpu", half_precision: bool = False
) -> tuple[nn.Module, WeightsInfo]:
    """Build the network of a task from a weights file (None: the shipped one), ready for inference.

    Parameters
    ----------
    half_precision
        Let its body compute in bfloat16 if the device does so faster: for inference alone.

    Raises
    ------
    InputError
        If the file is missing, is no safetensors file, is for another network, or lacks a tensor.
    """
    file = shipped_weights(name) if path is None else Path(path)
    with _opened(file) as opened:
        found, metadata = _metadata(opened, name, file)
        stored = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 - no iteration otherwise
    try:
        settings = json.loads(metadata.get("settings", "{}"))
        network = NETWORKS[name][found](**settings.get("network", {}))
    except (ValueError, TypeError, AttributeError) as error:
        problem = f"its settings are not those of a network of this version ({error})"
        raise InputError(file, problem, "Give weights made by this version of tagstrain, or update it") from None
    state = {key: _expanded(stored, key) for key in stored if not key.endswith(_SCALE)}
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(file, f"tensors do not fit the network: {error}", "Give weights made by tagstrain") from None
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    # Kernels in the order in which convolutions read them fastest; results are the same to rounding.
    network = network.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    is_halved = half_precision and has_native_bfloat16(device) and halve(network)
    precision = "bfloat16" if is_halved else "float32"
    return network, WeightsInfo(found, metadata.get("version", "unknown"), digest, settings, precision)


def stored_settings(name: str, path: str | Path | None = None) -> dict[str, Any]:
    """Settings in a task's weights file (None: the shipped one), without reading its numbers.

    Raises
    ------
    InputError
        If the file is missing, is no safetensors file or is for another network.
    """
    file = shipped_weights(name) if path is None else Path(path)
    with _opened(file) as opened:
        _, metadata = _metadata(opened, name, file)
    settings: dict[str, Any] = json.loads(metadata.get("settings", "{}"))
    return settings


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    """Open a safetensors file; what is wrong with it becomes an `InputError`."""
    if not file.is_file():
        raise InputError(file, "weights file not found", "Check the path, or leave it out to use the shipped weights")
    try:
        with safe_open(file, framework="pt") as opened:
            yield opened
    except (SafetensorError, OSError) as error:
        raise InputError(file, f"not a readable safetensors file ({error})", "Give weights made by tagstrain") from None


def _metadata(opened: Any, name: str, file: Path) -> tuple[str, dict[str, str]]:
    """The network of a file, checked to be one for the task, and all that stands beside the numbers."""
    metadata: dict[str, str] = opened.metadata() or {}
    found = metadata.get("network", "no network named")
    if found not in NETWORKS[name]:
        raise InputError(file, f"holds weights for '{found}', not for '{name}'", "Give the matching weights file")
    return found, metadata


def _expanded(stored: dict[str, torch.Tensor], key: str) -> torch.Tensor:
    value = stored[key]
    if key + _SCALE not in stored:
        return value
    return value.float() * stored[key + _SCALE].view(-1, *([1] * (value.dim() - 1)))
