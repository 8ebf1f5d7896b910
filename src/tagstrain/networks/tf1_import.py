"""The predecessor's weights: TensorFlow 1 checkpoints to our weights files, and back to ``.npz``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tagstrain
from tagstrain.errors import InputError
from tagstrain.io import atomic_file
from tagstrain.io.tf1_checkpoint import Tf1Variable, Tf1Variables, open_tf1_variables
from tagstrain.networks.tf1_variables import (
    ORIGINAL_SETTINGS,
    OTHER_SPELLINGS,
    expected_shapes,
    network_from_tf1,
    tf1_variables,
)
from tagstrain.networks.weights import load_weights, save_weights, stored_network

_SHOWN = 6
"""How many names or problems a message lists."""


@dataclass(frozen=True, slots=True)
class ImportSummary:
    """What an import found."""

    network: str
    n_variables: int
    n_ignored: int
    """Optimizer slots and scalars."""
    source_sha256: str


def import_tf1(source: Path, output: Path, eight_bits: bool = False, overwrite: bool = False) -> ImportSummary:
    """Write a TensorFlow 1 checkpoint, or an ``.npz`` of its variables, as weights of the network it belongs to.

    Parameters
    ----------
    source
        As `tagstrain.io.tf1_checkpoint.open_tf1_variables` takes it.
    output
        safetensors file.
    eight_bits
        As in `tagstrain.networks.weights.save_weights`; the weights are exact only without.
    overwrite
        Replace ``output``.

    Raises
    ------
    OutputError
        If ``output`` cannot be written.
    InputError
        If the source cannot be read, or does not hold exactly the variables of one of the two networks, apart from
        optimizer slots and scalars.
    """
    with atomic_file(output, overwrite) as temporary:
        stored = open_tf1_variables(source)
        name, values, n_ignored = _checked(stored)
        digest = stored.sha256()
        version = f"{tagstrain.__version__}+tf1.{digest[:16]}"
        save_weights(temporary, name, network_from_tf1(name, values), version, ORIGINAL_SETTINGS[name], eight_bits)
    return ImportSummary(name, len(values), n_ignored, digest)


def export_tf1(weights: Path, output: Path, overwrite: bool = False) -> int:
    """Write imported weights as ``.npz`` of TensorFlow's variables; returns how many.

    Raises
    ------
    InputError
        If the weights cannot be read, or their network does not see what the original saw.
    OutputError
        If ``output`` cannot be written.
    """
    with atomic_file(output, overwrite) as temporary:
        name = stored_network(weights)
        if name not in ORIGINAL_SETTINGS:
            raise InputError(weights, f"is no original network: it is '{name}'", "Give weights that import-tf1 wrote")
        network, info = load_weights(name, weights)
        if info.settings != ORIGINAL_SETTINGS[info.name]:
            problem = f"is no original network: its settings are {info.settings}"
            raise InputError(weights, problem, "Give weights that import-tf1 wrote")
        variables: dict[str, Any] = dict(tf1_variables(network))
        with temporary.open("wb") as file:  # numpy adds .npz to a name that lacks it
            np.savez(file, **variables)
    return len(variables)


def _checked(stored: Tf1Variables) -> tuple[str, dict[str, NDArray[np.float32]], int]:
    """Name of the network, its variables by their usual names, and how many others were ignored."""
    # Where both spellings of a name are there, the second counts and the first is found to be one too many.
    spelled = {OTHER_SPELLINGS.get(name, name): name for name in stored.variables}
    shapes_of = {name: expected_shapes(name) for name in ORIGINAL_SETTINGS}
    name = max(shapes_of, key=lambda network: len(shapes_of[network].keys() & spelled.keys()))
    shapes = shapes_of[name]
    known = {spelled[variable] for variable in shapes.keys() & spelled.keys()}
    if not known:
        held = f"but {_quoted(stored.variables)}" if stored.variables else "nothing at all"
        problem = f"holds no variable of the localizer or the rnncnn, {held}"
        raise InputError(stored.path, problem, "Give the checkpoint of one of these networks")
    others = stored.variables.keys() - known
    problems = []
    if missing := shapes.keys() - spelled.keys():
        problems.append(f"lacks {_quoted(missing)}")
    if extra := [other for other in others if not _is_ignored(other, stored.variables[other].shape, shapes)]:
        problems.append(f"also holds {_quoted(extra)}")
    problems += _misfits(
        {variable: stored.variables[spelled[variable]] for variable in shapes if variable in spelled}, shapes
    )
    if problems:
        problem = f"does not fit the {name}: {_first_few(problems, '; ')}"
        raise InputError(stored.path, problem, "Give a checkpoint of the original localizer or rnncnn")
    values = {variable: stored.variables[spelled[variable]].read() for variable in shapes}
    if broken := [variable for variable, array in values.items() if not np.isfinite(array).all()]:
        raise InputError(stored.path, f"has NaN or infinity in {_quoted(broken)}", "Give a checkpoint saved earlier")
    return name, values, len(others)


def _misfits(found: Mapping[str, Tf1Variable], shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """What is wrong with variables that should have these shapes."""
    problems = []
    for name, variable in found.items():
        if variable.shape != shapes[name]:
            problems.append(f"'{name}' has shape {variable.shape}, not {shapes[name]}")
        elif variable.dtype != "float32":
            problems.append(f"'{name}' is {variable.dtype}, not float32")
    return problems


def _is_ignored(name: str, shape: tuple[int, ...], shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether a variable only served training: a scalar, or an optimizer's slot below a variable of the network."""
    parent = name.rpartition("/")[0]
    return shape == () or OTHER_SPELLINGS.get(parent, parent) in shapes


def _quoted(names: Iterable[str]) -> str:
    """The first few of some names."""
    return _first_few([f"'{name}'" for name in sorted(names)], ", ")


def _first_few(items: Sequence[str], separator: str) -> str:
    """The first few of some items, and how many more there are."""
    n_more = len(items) - _SHOWN
    return separator.join([*items[:_SHOWN], *([f"and {n_more} more"] if n_more > 0 else [])])
