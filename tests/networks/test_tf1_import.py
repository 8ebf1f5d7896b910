"""TensorFlow's variables give the original's outputs, come back bit for bit, and are checked one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tf1_arithmetic
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

import tagstrain
from tagstrain.errors import InputError, OutputError
from tagstrain.io.crc32c import crc32c
from tagstrain.networks.localizer import LocalizationCNN
from tagstrain.networks.rnncnn import LandmarkRnnCnn
from tagstrain.networks.tf1_import import export_tf1, import_tf1
from tagstrain.networks.tf1_variables import expected_shapes, network_from_tf1, tf1_variables
from tagstrain.networks.weights import load_weights, save_weights, shipped_weights
from tf1_files import SHAPES, Variables, published_spelling, random_variables, write_checkpoint


@pytest.fixture(scope="module")
def localizer_variables() -> Variables:
    return random_variables("localizer", 1)


@pytest.fixture(scope="module")
def rnncnn_variables() -> Variables:
    return random_variables("rnncnn", 2)


def with_training_state(variables: Variables, slots: tuple[str, str]) -> Variables:
    """Add Adam's slots and scalars; the slots' shapes do not matter, so that files stay small."""
    slot_values = {f"{name}/{slot}": np.zeros(2, np.float32) for name in variables for slot in slots}
    scalars = {name: np.float32(0.9) for name in ("learning_rate", "beta1_power", "beta2_power")}
    return {**variables, **slot_values, **scalars, "global_step": np.array(7)}


def damaged(variables: Variables, **changes: np.ndarray | None) -> Variables:
    """Replace variables (``/`` written as ``__``), or leave them out."""
    changed = {**variables, **{name.replace("__", "/"): value for name, value in changes.items()}}
    return {name: value for name, value in changed.items() if value is not None}


@pytest.mark.parametrize("name", ["localizer", "rnncnn"])
def test_names_and_shapes_are_the_originals(name: str) -> None:
    assert expected_shapes(name) == SHAPES[name]


def test_imported_localizer_gives_the_originals_boxes(localizer_variables: Variables) -> None:
    images = np.random.default_rng(3).uniform(0, 255, (2, 256, 256)).astype(np.float32)
    network = network_from_tf1("localizer", localizer_variables)
    for batch in (images, images[:1]):
        boxes = network(torch.from_numpy(batch)[:, None]).detach().numpy()
        truth = tf1_arithmetic.localizer(localizer_variables, batch)
        np.testing.assert_allclose(boxes, truth, atol=1e-4 * np.abs(truth).max())


def test_imported_rnncnn_gives_the_originals_landmarks(rnncnn_variables: Variables) -> None:
    # Small grey levels, at which the LSTM's gates are far from saturated and the forget bias counts.
    crops = np.random.default_rng(4).uniform(0, 1, (4, 128, 128)).astype(np.float32)
    network = network_from_tf1("rnncnn", rnncnn_variables)
    landmarks = network(torch.from_numpy(crops)[None])[0].flatten(1).detach().numpy()
    truth = tf1_arithmetic.rnncnn(rnncnn_variables, crops)
    np.testing.assert_allclose(landmarks, truth, atol=1e-4 * np.abs(truth).max())


@pytest.mark.parametrize("name", ["localizer", "rnncnn"])
@settings(max_examples=2)
@given(seed=st.integers(0, 2**32 - 1))
def test_any_finite_numbers_come_back_bit_for_bit(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    variables = {}
    for variable, shape in SHAPES[name].items():
        bits = rng.integers(0, 2**32, shape, dtype=np.uint32)
        bits[bits & 0x7F800000 == 0x7F800000] = 0x80000000  # -0 in place of NaN and infinity
        variables[variable] = bits.view(np.float32)
    back = tf1_variables(network_from_tf1(name, variables))
    assert back.keys() == variables.keys()
    for variable, array in variables.items():
        assert np.array_equal(back[variable].view(np.uint32), array.view(np.uint32)), variable


def test_files_come_back_bit_for_bit(tmp_path: Path, localizer_variables: Variables) -> None:
    np.savez(tmp_path / "a.npz", **localizer_variables)
    summary = import_tf1(tmp_path / "a.npz", tmp_path / "a.safetensors")
    assert (summary.network, summary.n_variables, summary.n_ignored) == ("localizer", 34, 0)
    assert export_tf1(tmp_path / "a.safetensors", tmp_path / "b.npz") == 34
    with np.load(tmp_path / "b.npz") as file:
        assert set(file.files) == set(localizer_variables)
        for variable, array in localizer_variables.items():
            assert file[variable].tobytes() == array.tobytes(), variable
    import_tf1(tmp_path / "b.npz", tmp_path / "b.safetensors")
    first, second = load_file(tmp_path / "a.safetensors"), load_file(tmp_path / "b.safetensors")
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)
    _, info = load_weights("localizer", tmp_path / "a.safetensors")
    assert info.settings["preprocessing"] == "original"
    assert info.version == f"{tagstrain.__version__}+tf1.{summary.source_sha256[:16]}"


def test_a_network_that_was_not_imported_exports_what_it_computes() -> None:
    torch.manual_seed(5)
    network = LandmarkRnnCnn().eval()
    torch.nn.init.normal_(network.lstm.bias_hh_l0)
    crops = np.random.default_rng(6).uniform(0, 1, (2, 128, 128)).astype(np.float32)
    truth = network(torch.from_numpy(crops)[None])[0].flatten(1).detach().numpy()
    np.testing.assert_allclose(
        tf1_arithmetic.rnncnn(tf1_variables(network), crops), truth, atol=1e-5 * np.abs(truth).max()
    )


@pytest.mark.parametrize(("slots", "published"), [(("optimizer", "optimizer_1"), False), (("Adam", "Adam_1"), True)])
def test_checkpoints_of_both_spellings_are_read(
    tmp_path: Path, localizer_variables: Variables, slots: tuple[str, str], published: bool
) -> None:
    spelled = published_spelling(localizer_variables) if published else localizer_variables
    write_checkpoint(tmp_path / "localizer", with_training_state(spelled, slots), crc32c, n_shards=2)
    summary = import_tf1(tmp_path / "localizer", tmp_path / "w.safetensors")
    assert (summary.network, summary.n_variables, summary.n_ignored) == ("localizer", 34, 2 * 34 + 4)
    network, _ = load_weights("localizer", tmp_path / "w.safetensors")
    assert isinstance(network, LocalizationCNN)
    assert (network.in_channels, network.batch_statistics, network.training) == (1, "original", False)
    for name, array in tf1_variables(network).items():
        assert array.tobytes() == localizer_variables[name].tobytes(), name


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"dense1__dense__bias": None}, "does not fit the localizer: lacks 'dense1/dense/bias'. Give"),
        ({"layer6__conv__bias": np.zeros(3, np.float32)}, "also holds 'layer6/conv/bias'. Give"),
        ({"layer1__conv_W": np.zeros((3, 3, 1, 32), np.float32)}, "also holds 'layer1/conv/kernel'. Give"),
        (
            {"layer1__conv__kernel": np.zeros((5, 5, 1, 32), np.float32)},
            r"'layer1/conv/kernel' has shape \(5, 5, 1, 32\), not \(3, 3, 1, 32\). Give",
        ),
        ({"dense2__dense__bias": np.zeros(4)}, "'dense2/dense/bias' is float64, not float32. Give"),
        ({"dense2__dense__bias": np.float32([1, 2, np.nan, 4])}, "has NaN or infinity in 'dense2/dense/bias'"),
        (
            {"dense1__dense__bias": None, "dense2__dense__bias": np.zeros(5, np.float32), "x": np.zeros(1)},
            r"lacks 'dense1/dense/bias'; also holds 'x'; 'dense2/dense/bias' has shape \(5,\), not \(4,\)",
        ),
    ],
)
def test_what_does_not_fit_is_named(
    tmp_path: Path, localizer_variables: Variables, changes: dict[str, np.ndarray | None], problem: str
) -> None:
    np.savez(tmp_path / "w.npz", **damaged(localizer_variables, **changes))
    with pytest.raises(InputError, match=problem):
        import_tf1(tmp_path / "w.npz", tmp_path / "w.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["w.npz"]


def test_the_network_is_known_by_its_names(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", **{name: np.zeros(3, np.float32) for name in SHAPES["rnncnn"]})
    with pytest.raises(InputError, match=r"does not fit the rnncnn: .*has shape \(3,\), not .*and 10 more"):
        import_tf1(tmp_path / "w.npz", tmp_path / "w.safetensors")


def test_another_network_is_said_to_be_another(tmp_path: Path, localizer_variables: Variables) -> None:
    np.savez(tmp_path / "w.npz", **{f"resnet/{i}": np.zeros(1, np.float32) for i in range(9)})
    with pytest.raises(InputError, match=r"holds no variable of the localizer or the rnncnn, but 'resnet/0'.*3 more"):
        import_tf1(tmp_path / "w.npz", tmp_path / "w.safetensors")
    np.savez(tmp_path / "w.npz")
    with pytest.raises(InputError, match="holds no variable of the localizer or the rnncnn, nothing at all"):
        import_tf1(tmp_path / "w.npz", tmp_path / "w.safetensors")
    np.savez(tmp_path / "w.npz", **localizer_variables)
    import_tf1(tmp_path / "w.npz", tmp_path / "w.safetensors")
    with pytest.raises(InputError, match="holds weights for 'localizer', not for 'rnncnn'"):
        load_weights("rnncnn", tmp_path / "w.safetensors")


def test_a_truncated_checkpoint_leaves_no_weights(tmp_path: Path, localizer_variables: Variables) -> None:
    write_checkpoint(tmp_path / "net", localizer_variables, crc32c)
    data = tmp_path / "net.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-1000])
    with pytest.raises(InputError, match="is cut short"):
        import_tf1(tmp_path / "net", tmp_path / "w.safetensors")
    assert not (tmp_path / "w.safetensors").exists()


def test_weights_are_replaced_only_when_asked(tmp_path: Path, localizer_variables: Variables) -> None:
    np.savez(tmp_path / "w.npz", **localizer_variables)
    output = tmp_path / "w.safetensors"
    output.write_text("precious")
    with pytest.raises(OutputError, match="already exists"):
        import_tf1(tmp_path / "w.npz", output)
    import_tf1(tmp_path / "w.npz", output, eight_bits=True, overwrite=True)
    assert output.stat().st_size < 4.2e6
    assert load_weights("localizer", output)[1].settings["preprocessing"] == "original"


def test_only_original_networks_are_exported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is no original network: .*tagstrain.*Give weights that import-tf1 wrote"):
        export_tf1(shipped_weights("rnncnn"), tmp_path / "w.npz")
    with pytest.raises(InputError, match="is no original network: it is 'tracker'"):
        export_tf1(shipped_weights("tracker"), tmp_path / "w.npz")
    save_weights(tmp_path / "w.safetensors", "classifier", torch.nn.Linear(2, 2), "1", {})
    with pytest.raises(InputError, match="holds weights for 'classifier'"):
        export_tf1(tmp_path / "w.safetensors", tmp_path / "w.npz")
    with pytest.raises(InputError, match="not found"):
        export_tf1(tmp_path / "gone.safetensors", tmp_path / "w.npz")
