"""The original networks' variables in TensorFlow's names and layouts, to our networks and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tagstrain.networks.localizer import LocalizationCNN
from tagstrain.networks.rnncnn import LandmarkRnnCnn

_ORIGINALS: dict[str, type[nn.Module]] = {"localizer": LocalizationCNN, "rnncnn": LandmarkRnnCnn}
ORIGINAL_SETTINGS: dict[str, dict[str, Any]] = {
    "localizer": {"network": {"in_channels": 1, "batch_statistics": "original"}, "preprocessing": "original"},
    "rnncnn": {"network": {}, "preprocessing": "original"},
}
"""Settings of the original networks, as `save_weights` stores them."""

_N_BLOCKS = 5
_NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
_LAYERS = {
    "localizer": {
        **{f"layer{i + 1}/conv": f"convolutions.{i}" for i in range(_N_BLOCKS)},
        **{f"dense{i}/dense": f"dense{i}" for i in (1, 2)},
    },
    "rnncnn": {
        **{f"cnn_cell/conv{i}": f"conv{i}" for i in (1, 2, 4, 8)},
        "cnn_cell/dense": "features",
        "dense": "dense",
        "dense_1": "dense_1",
    },
}
"""Layers with a kernel and a bias: TensorFlow's name and ours."""
_TENSORS: dict[str, dict[str, str]] = {
    name: {
        f"{theirs}/{variable}": f"{ours}.{tensor}"
        for theirs, ours in layers.items()
        for variable, tensor in (("kernel", "weight"), ("bias", "bias"))
    }
    for name, layers in _LAYERS.items()
}
_TENSORS["localizer"] |= {
    f"layer{i + 1}/batch_normalization/{variable}": f"norms.{i}.{tensor}"
    for i in range(_N_BLOCKS)
    for variable, tensor in _NORM.items()
}
"""TensorFlow's name of each variable and the key of our state that holds the same numbers, the LSTM's apart."""
OTHER_SPELLINGS = {
    f"layer{i + 1}/conv_{letter}": f"layer{i + 1}/conv/{variable}"
    for i in range(_N_BLOCKS)
    for letter, variable in (("W", "kernel"), ("b", "bias"))
}
"""Names of the localizer's convolutions in the published weights."""
_LSTM_KERNEL, _LSTM_BIAS = "rnn/basic_lstm_cell/kernel", "rnn/basic_lstm_cell/bias"
_FORGET_BIAS = 1.0
"""What TensorFlow's BasicLSTMCell adds to the forget gate at run time."""

_State = dict[str, torch.Tensor]


def network_from_tf1(name: str, variables: Mapping[str, NDArray[np.float32]]) -> nn.Module:
    """Build a network from TensorFlow's variables, which must be all of them and of the right shapes."""
    network = _empty_network(name)
    network.load_state_dict(_from_tf1(name, variables), assign=True)
    return network.eval()


def tf1_variables(network: nn.Module) -> dict[str, NDArray[np.float32]]:
    """Variables that give the original network the weights of ours, in TensorFlow's names and layouts.

    What `network_from_tf1` built comes back bit for bit. In other networks the two biases of our LSTM become one,
    rounded once.
    """
    name = next(name for name, kind in _ORIGINALS.items() if isinstance(network, kind))
    state = {key: tensor.cpu() for key, tensor in network.state_dict().items()}
    return {variable: tensor.contiguous().numpy() for variable, tensor in _to_tf1(name, state).items()}


def expected_shapes(name: str) -> dict[str, tuple[int, ...]]:
    """Shapes of the variables of an original network in TensorFlow's layouts."""
    # One number seen as a whole tensor: joining tensors on the meta device would first load torch's compiler.
    state = {key: torch.zeros(()).expand(tensor.shape) for key, tensor in _empty_network(name).state_dict().items()}
    return {variable: tuple(tensor.shape) for variable, tensor in _to_tf1(name, state).items()}


def _empty_network(name: str) -> nn.Module:
    """The original network without memory for its numbers."""
    with torch.device("meta"):
        return _ORIGINALS[name](**ORIGINAL_SETTINGS[name]["network"])


def _to_tf1(name: str, state: _State) -> _State:
    """A network's state in TensorFlow's names and layouts."""
    variables = {theirs: _to_tf1_layout(state[ours]) for theirs, ours in _TENSORS[name].items()}
    if name == "localizer":
        return variables
    kernel = torch.cat([state["lstm.weight_ih_l0"], state["lstm.weight_hh_l0"]], dim=1)
    bias = state["lstm.bias_ih_l0"]
    rest = state["lstm.bias_hh_l0"].double() - _forget_bias(bias)
    # Adding 0 would turn -0 into 0.
    bias = torch.where(rest == 0, bias, (bias.double() + rest).float())
    return variables | {_LSTM_KERNEL: _gates_swapped(kernel).T, _LSTM_BIAS: _gates_swapped(bias)}


def _from_tf1(name: str, variables: Mapping[str, NDArray[np.float32]]) -> _State:
    """TensorFlow's variables as the state of our network."""
    given = {variable: torch.from_numpy(np.ascontiguousarray(array)) for variable, array in variables.items()}
    state = {ours: _to_our_layout(given[theirs]).contiguous() for theirs, ours in _TENSORS[name].items()}
    if name == "localizer":
        return state | {f"norms.{i}.num_batches_tracked": torch.tensor(0) for i in range(_N_BLOCKS)}
    of_input, of_state = _gates_swapped(given[_LSTM_KERNEL].T).chunk(2, dim=1)
    bias = _gates_swapped(given[_LSTM_BIAS])
    return state | {
        "lstm.weight_ih_l0": of_input.contiguous(),
        "lstm.weight_hh_l0": of_state.contiguous(),
        # PyTorch adds two biases: one keeps the stored numbers exactly, the other what TensorFlow adds at run time.
        "lstm.bias_ih_l0": bias,
        "lstm.bias_hh_l0": _forget_bias(bias),
    }


def _to_our_layout(tensor: torch.Tensor) -> torch.Tensor:
    """(height, width, in, out) to (out, in, height, width), (in, out) to (out, in); vectors stay."""
    return tensor.permute(3, 2, 0, 1) if tensor.dim() == 4 else tensor.T if tensor.dim() == 2 else tensor


def _to_tf1_layout(tensor: torch.Tensor) -> torch.Tensor:
    """Inverse of `_to_our_layout`."""
    return tensor.permute(2, 3, 1, 0) if tensor.dim() == 4 else tensor.T if tensor.dim() == 2 else tensor


def _gates_swapped(tensor: torch.Tensor) -> torch.Tensor:
    """Between TensorFlow's gates i, j, f, o and PyTorch's i, f, g, o along the first axis, where j is g."""
    first, second, third, fourth = tensor.chunk(4)
    return torch.cat([first, third, second, fourth])


def _forget_bias(like: torch.Tensor) -> torch.Tensor:
    """A bias that is 1 for the forget gate, in PyTorch's order of gates."""
    bias = torch.zeros_like(like)
    bias[len(bias) // 4 : len(bias) // 2] = _FORGET_BIAS
    return bias
