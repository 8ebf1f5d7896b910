"""Checkpoints that TensorFlow itself wrote; only ``make test-tf`` runs this, with TensorFlow in a place of its own."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

from tagstrain.networks.tf1_import import export_tf1, import_tf1
from tagstrain.networks.weights import load_weights

pytestmark = pytest.mark.tf


@pytest.mark.parametrize(
    ("network", "published"), [("localizer", False), ("localizer", True), ("rnncnn", False), ("rnncnn", True)]
)
def test_what_tensorflow_saved_computes_what_tensorflow_computed(network: str, published: bool) -> None:
    # Not tmp_path: half a gigabyte each, which pytest would keep.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        truth = written_by_tensorflow(network, folder, published)
        digests = json.loads(str(truth["digests"]))
        summary = import_tf1(folder / network, folder / "w.safetensors")
        assert (summary.network, summary.n_variables) == (network, len(digests))
        assert summary.n_ignored == int(truth["n_saved"]) - len(digests)
        loaded, _ = load_weights(network, folder / "w.safetensors")
        with torch.no_grad():
            inputs = torch.from_numpy(truth["inputs"])
            outputs = loaded(inputs[:, None]) if network == "localizer" else loaded(inputs[None])[0].flatten(1)
        error = np.abs(outputs.numpy() - truth["outputs"]).max() / np.abs(truth["outputs"]).max()
        assert error < 1e-4

        export_tf1(folder / "w.safetensors", folder / "back.npz")
        with np.load(folder / "back.npz") as back:
            stored = {hashlib.sha256(back[variable].tobytes()).hexdigest() for variable in back.files}
        assert stored == set(digests.values())


def written_by_tensorflow(network: str, folder: Path, published: bool) -> dict[str, np.ndarray]:
    """Let TensorFlow write a checkpoint named for the network into the folder; returns the truth."""
    python = os.environ.get("TAGSTRAIN_TF_PYTHON")
    if python is None:
        pytest.fail("TAGSTRAIN_TF_PYTHON names no Python with TensorFlow: run `make test-tf`")
    script = Path(__file__).with_name("write_tf1_checkpoint.py")
    command = [python, str(script), network, str(folder / network), str(folder / "truth.npz")]
    done = subprocess.run([*command, *(["--published"] if published else [])], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with np.load(folder / "truth.npz") as file:
        return dict(file)
