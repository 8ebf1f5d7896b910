"""Run with TensorFlow's Python: build an original network, save it, and write down what it computes.

``python write_tf1_checkpoint.py localizer|rnncnn PREFIX TRUTH.npz [--published]``
"""

from __future__ import annotations

import hashlib
import json
import sys
from typing import Any

import numpy as np
import tensorflow as tf

v1 = tf.compat.v1


def variable(name: str, shape: tuple[int, ...], deviation: float, mean: float = 0.0, trainable: bool = True) -> Any:
    """A variable filled with noise."""
    initializer = v1.random_normal_initializer(mean, deviation, seed=len(name) + sum(shape))
    return v1.get_variable(name, shape, tf.float32, initializer, trainable=trainable)


def kernel_and_bias(kernel: str, bias: str, shape: tuple[int, ...]) -> tuple[Any, Any]:
    """A layer's two variables."""
    return variable(kernel, shape, float(np.prod(shape[:-1])) ** -0.5), variable(bias, shape[-1:], 0.1)


def dense(x: Any, scope: str, n_out: int) -> Any:
    kernel, bias = kernel_and_bias(f"{scope}/kernel", f"{scope}/bias", (int(x.shape[-1]), n_out))
    return tf.matmul(x, kernel) + bias


def localizer(published: bool) -> tuple[Any, Any]:
    """Images and boxes; batch normalization by the statistics of the batch."""
    images = v1.placeholder(tf.float32, (None, 256, 256))
    x = images[..., None]
    for i, width in enumerate((32, 128, 128, 128, 128), start=1):
        names = ("conv_W", "conv_b") if published else ("conv/kernel", "conv/bias")
        kernel, bias = kernel_and_bias(*(f"layer{i}/{name}" for name in names), (3, 3, int(x.shape[-1]), width))
        x = tf.nn.conv2d(x, kernel, 1, "VALID") + bias
        norm = f"layer{i}/batch_normalization"
        gamma, beta = variable(f"{norm}/gamma", (width,), 0.1, 1.0), variable(f"{norm}/beta", (width,), 0.1)
        variable(f"{norm}/moving_mean", (width,), 0.1, trainable=False)
        variable(f"{norm}/moving_variance", (width,), 0.1, 1.0, trainable=False)
        mean, variance = tf.nn.moments(x, (0, 1, 2))
        x = tf.nn.relu(tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-3))
        x = tf.nn.max_pool2d(x, 3, 2, "VALID")
    hidden = tf.nn.relu(dense(tf.reshape(x, (-1, 3200)), "dense1/dense", 1024))
    return images, dense(hidden, "dense2/dense", 4)


def rnncnn(n_frames: int) -> tuple[Any, Any]:
    """Crops of one cine and landmarks ``(time, 336)``."""
    crops = v1.placeholder(tf.float32, (n_frames, 128, 128))
    x = crops[..., None]
    for layer, width in (("conv1", 32), ("conv2", 64), ("conv4", 64), ("conv8", 128)):
        scope = f"cnn_cell/{layer}"
        kernel, bias = kernel_and_bias(f"{scope}/kernel", f"{scope}/bias", (3, 3, int(x.shape[-1]), width))
        x = tf.nn.leaky_relu(tf.nn.conv2d(x, kernel, 1, "SAME" if layer == "conv8" else "VALID") + bias, 0.1)
        if layer != "conv8":
            x = tf.nn.max_pool2d(x, 2, 2, "VALID")
    flat = tf.reshape(tf.transpose(x, (0, 3, 1, 2)), (n_frames, 25088))
    features = tf.nn.leaky_relu(dense(flat, "cnn_cell/dense", 1024), 0.1)
    scope = "rnn/basic_lstm_cell"
    kernel, bias = kernel_and_bias(f"{scope}/kernel", f"{scope}/bias", (2048, 4096))
    cell = state = tf.zeros((1, 1024))
    states = []
    for frame in range(n_frames):
        gates = tf.matmul(tf.concat([features[frame : frame + 1], state], 1), kernel) + bias
        write, candidate, forget, output = tf.split(gates, 4, 1)
        cell = cell * tf.sigmoid(forget + 1.0) + tf.sigmoid(write) * tf.tanh(candidate)
        state = tf.tanh(cell) * tf.sigmoid(output)
        states.append(state)
    return crops, dense(tf.nn.relu(dense(tf.concat(states, 0), "dense", 1024)), "dense_1", 336)


def main(network: str, prefix: str, truth: str, published: bool) -> None:
    """Write checkpoint and truth."""
    v1.disable_eager_execution()
    rng = np.random.default_rng(0)
    if network == "localizer":
        inputs, outputs = localizer(published)
        values = rng.uniform(0, 255, (2, 256, 256)).astype(np.float32)
    else:
        inputs, outputs = rnncnn(n_frames=4)
        values = rng.uniform(0, 1, (4, 128, 128)).astype(np.float32)
    model = v1.global_variables()
    v1.get_variable("learning_rate", initializer=1e-3, trainable=False)
    step = v1.train.get_or_create_global_step()
    optimizer = v1.train.AdamOptimizer(name="Adam" if published else "optimizer")
    optimizer.minimize(tf.reduce_mean(outputs**2), global_step=step)
    with v1.Session() as session:
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, prefix)
        digests = {v.op.name: hashlib.sha256(session.run(v).tobytes()).hexdigest() for v in model}
        n_saved = len(v1.global_variables())
        np.savez(
            truth,
            inputs=values,
            outputs=session.run(outputs, {inputs: values}),
            digests=json.dumps(digests),
            n_saved=n_saved,
        )


if __name__ == "__main__":
    main(*sys.argv[1:4], published="--published" in sys.argv[4:])
