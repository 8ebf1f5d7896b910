"""The two original networks computed with NumPy from TensorFlow's variables, in TensorFlow's layouts throughout."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Array = NDArray[np.floating]
Variables = Mapping[str, Array]


def localizer(variables: Variables, images: Array) -> Array:
    """Boxes ``(batch, 4)`` of images ``(batch, row, column)``; batch normalization by the batch's own statistics."""
    x = images[..., None]
    for i in range(1, 6):
        x = _convolved(x, variables[f"layer{i}/conv/kernel"]) + variables[f"layer{i}/conv/bias"]
        norm = f"layer{i}/batch_normalization"
        x = (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-3)
        x = _pooled(np.maximum(x * variables[f"{norm}/gamma"] + variables[f"{norm}/beta"], 0), 3)
    hidden = np.maximum(_dense(x.reshape(len(x), -1), variables, "dense1/dense"), 0)
    return _dense(hidden, variables, "dense2/dense")


def rnncnn(variables: Variables, crops: Array) -> Array:
    """Landmarks ``(time, 336)`` of one cine's crops ``(time, row, column)``."""
    x = crops[..., None]
    for layer in ("conv1", "conv2", "conv4"):
        x = _convolved(x, variables[f"cnn_cell/{layer}/kernel"]) + variables[f"cnn_cell/{layer}/bias"]
        x = _pooled(_leaky(x), 2)
    x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    x = _leaky(_convolved(x, variables["cnn_cell/conv8/kernel"]) + variables["cnn_cell/conv8/bias"])
    features = _leaky(_dense(x.transpose(0, 3, 1, 2).reshape(len(x), -1), variables, "cnn_cell/dense"))
    cell, state, states = np.zeros(1024), np.zeros(1024), []
    for feature in features:
        gates = _dense(np.concatenate([feature, state]), variables, "rnn/basic_lstm_cell")
        write, candidate, forget, output = np.split(gates, 4)
        cell = cell * _sigmoid(forget + 1) + _sigmoid(write) * np.tanh(candidate)
        state = np.tanh(cell) * _sigmoid(output)
        states.append(state)
    return _dense(np.maximum(_dense(np.stack(states), variables, "dense"), 0), variables, "dense_1")


def _convolved(x: Array, kernel: Array) -> Array:
    rows, columns = x.shape[1] - 2, x.shape[2] - 2
    return sum(x[:, r : r + rows, c : c + columns] @ kernel[r, c] for r in range(3) for c in range(3))


def _pooled(x: Array, size: int) -> Array:
    return sliding_window_view(x, (size, size), (1, 2))[:, ::2, ::2].max((-2, -1))


def _dense(x: Array, variables: Variables, layer: str) -> Array:
    return x @ variables[f"{layer}/kernel"] + variables[f"{layer}/bias"]


def _leaky(x: Array) -> Array:
    return np.maximum(x, 0.1 * x)


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))
