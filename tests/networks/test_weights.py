"""Weights files: round trip, eight-bit storage, the errors of wrong files, and those that ship."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tagstrain.errors import InputError
from tagstrain.networks.localization_unet import LocalizationUNet
from tagstrain.networks.localizer import LocalizationCNN
from tagstrain.networks.weights import load_weights, reads_raw, save_weights, shipped_weights, stored_settings


def test_weights_come_back_bit_for_bit(tmp_path: Path) -> None:
    network = LocalizationCNN(3, "moving")
    path = tmp_path / "w.safetensors"
    save_weights(path, "localizer", network, "9.9", {"network": {"in_channels": 3, "batch_statistics": "moving"}})
    loaded, info = load_weights("localizer", path)
    for key, value in network.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[key]), key
    assert isinstance(loaded, LocalizationCNN)
    assert (loaded.in_channels, loaded.batch_statistics, loaded.training) == (3, "moving", False)
    assert info.version == "9.9"
    assert info.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_equal_weights_are_equal_files(tmp_path: Path) -> None:
    network = LocalizationUNet(3, (8, 16))
    files = [tmp_path / f"{k}.safetensors" for k in range(8)]
    for path in files:
        save_weights(path, "localizer_unet", network, "1", {"network": {"widths": [8, 16]}, "run": "größer"})
    assert len({path.read_bytes() for path in files}) == 1
    assert load_weights("localizer", files[0])[1].settings["run"] == "größer"


def test_either_localizer_is_built_from_what_its_file_names(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(path, "localizer_unet", LocalizationUNet(3, (8, 16)), "1", {"network": {"widths": [8, 16]}})
    loaded, info = load_weights("localizer", path)
    assert isinstance(loaded, LocalizationUNet)
    assert info.name == "localizer_unet"
    with pytest.raises(InputError, match="holds weights for 'localizer_unet', not for 'rnncnn'"):
        load_weights("rnncnn", path)


def test_eight_bits_are_within_half_a_step_of_each_channel(tmp_path: Path) -> None:
    network = LocalizationCNN()
    path = tmp_path / "w.safetensors"
    save_weights(path, "localizer", network, "1", {}, eight_bits=True)
    loaded, _ = load_weights("localizer", path)
    for key, value in network.state_dict().items():
        error = (value - loaded.state_dict()[key]).abs()
        if value.dim() > 1:
            step = value.flatten(1).abs().amax(dim=1) / 127
            assert bool((error.flatten(1).amax(dim=1) <= 0.501 * step).all()), key
        else:
            assert float(error.float().max()) == 0, key
    assert path.stat().st_size < 4.2e6


@pytest.mark.parametrize("settings", ["{", "[]", '{"network": {"depth": 3}}', '{"network": 3}'])
def test_settings_of_another_version_are_told(tmp_path: Path, settings: str) -> None:
    path = tmp_path / "w.safetensors"
    metadata = {"network": "localizer", "version": "9", "settings": settings}
    save_file(LocalizationCNN().state_dict(), path, metadata=metadata)
    with pytest.raises(InputError, match="its settings are not those of a network of this version"):
        load_weights("localizer", path)


def test_wrong_files_are_named_and_explained(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    with pytest.raises(InputError, match="not found"):
        load_weights("localizer", path)
    path.write_bytes(b"this is no safetensors file")
    with pytest.raises(InputError, match="not a readable safetensors file"):
        load_weights("localizer", path)
    save_weights(path, "rnncnn", torch.nn.Linear(2, 2), "1", {})
    with pytest.raises(InputError, match="holds weights for 'rnncnn', not for 'localizer'"):
        load_weights("localizer", path)
    save_weights(path, "localizer", torch.nn.Linear(2, 2), "1", {})
    with pytest.raises(InputError, match="do not fit the network"):
        load_weights("localizer", path)


def test_settings_tell_whether_a_network_reads_raw_grey_levels(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    for settings, raw in (
        ({"network": {"in_channels": 3}, "preprocessing": "tagstrain"}, False),
        ({"network": {"in_channels": 1}, "preprocessing": "original"}, True),
        ({"network": {"in_channels": 1}}, True),
        ({"preprocessing": "original"}, True),
        ({}, False),
    ):
        save_weights(path, "localizer", torch.nn.Linear(2, 2), "1", settings)
        assert stored_settings("localizer", path) == settings
        assert reads_raw(settings) is raw
    with pytest.raises(InputError, match="holds weights for 'localizer', not for 'rnncnn'"):
        stored_settings("rnncnn", path)
    assert not reads_raw(stored_settings("rnncnn"))


@pytest.mark.parametrize("name", ["localizer", "tracker", "placer", "insertion", "rnncnn"])
def test_shipped_weights_load_and_have_a_model_card(name: str) -> None:
    _, info = load_weights(name)
    card = shipped_weights(name).with_suffix(".md").read_text()
    assert info.sha256 in card
    assert "tagstrain train" in card
