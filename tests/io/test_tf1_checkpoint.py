"""TensorFlow checkpoints put together by hand come back exactly; damaged ones are named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from test_crc32c import by_long_division

from tagstrain.errors import InputError
from tagstrain.io.tf1_checkpoint import open_tf1_variables
from tf1_files import bundle_entry, slice_field, table, write_checkpoint

IN_A_FOLDER = [HealthCheck.function_scoped_fixture]  # every example overwrites the files of the one before
NAMES = st.text(st.sampled_from("ab/_1é"), min_size=1, max_size=8)
ARRAYS = hnp.arrays(np.float32, hnp.array_shapes(min_dims=0, max_dims=4, max_side=5))


def some_variables() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    names = ("layer1/conv/kernel", "layer1/conv/bias", "layer1/conv/bias/Adam", "dense/kernel", "beta1_power")
    shapes = ((3, 3, 1, 4), (4,), (4,), (5, 2), ())
    return {name: np.asarray(rng.standard_normal(shape), np.float32) for name, shape in zip(names, shapes, strict=True)}


def written(folder: Path, **options: int) -> Path:
    write_checkpoint(folder / "net", some_variables(), by_long_division, **options)
    return folder / "net"


@settings(suppress_health_check=IN_A_FOLDER, max_examples=40)
@given(st.dictionaries(NAMES, ARRAYS, max_size=9), st.integers(1, 3), st.integers(1, 5))
def test_what_was_written_is_read(
    tmp_path: Path, variables: dict[str, np.ndarray], n_shards: int, entries_per_block: int
) -> None:
    write_checkpoint(tmp_path / "net", variables, by_long_division, n_shards, entries_per_block)
    opened = open_tf1_variables(tmp_path / "net")
    assert opened.variables.keys() == variables.keys()
    for name, array in variables.items():
        variable = opened.variables[name]
        assert (variable.shape, variable.dtype) == (array.shape, "float32")
        assert variable.read().tobytes() == array.tobytes()


@pytest.mark.parametrize("ending", ["", ".index", ".meta", ".data-00001-of-00002"])
def test_any_file_of_a_checkpoint_names_it(tmp_path: Path, ending: str) -> None:
    prefix = written(tmp_path, n_shards=2)
    opened = open_tf1_variables(prefix.with_name(prefix.name + ending))
    assert opened.variables.keys() == some_variables().keys()
    assert [path.name for path in opened.data_files] == ["net.data-00000-of-00002", "net.data-00001-of-00002"]


def test_prefixes_may_hold_dots(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "net.v1.ckpt-20", some_variables(), by_long_division)
    assert open_tf1_variables(tmp_path / "net.v1.ckpt-20").variables.keys() == some_variables().keys()


@pytest.mark.parametrize("compress", [False, True])
def test_npz_is_read_with_and_without_tensor_endings(tmp_path: Path, compress: bool) -> None:
    arrays = {name + (":0" if "conv" in name else ""): array for name, array in some_variables().items()}
    (np.savez_compressed if compress else np.savez)(tmp_path / "net.npz", **arrays)
    opened = open_tf1_variables(tmp_path / "net.npz")
    assert opened.variables.keys() == some_variables().keys()
    for name, array in some_variables().items():
        np.testing.assert_array_equal(opened.variables[name].read(), array)


def test_the_hash_is_that_of_the_data(tmp_path: Path) -> None:
    first = open_tf1_variables(written(tmp_path)).sha256()
    assert open_tf1_variables(written(tmp_path, entries_per_block=1)).sha256() == first
    write_checkpoint(tmp_path / "net", {"a": np.zeros(3, np.float32)}, by_long_division)
    assert open_tf1_variables(tmp_path / "net").sha256() != first


def test_types_and_partitions_are_told_without_reading(tmp_path: Path) -> None:
    variables = {"double": np.ones(2), "step": np.array(3)}
    write_checkpoint(tmp_path / "net", variables, by_long_division)
    opened = open_tf1_variables(tmp_path / "net").variables
    assert (opened["double"].dtype, opened["step"].dtype, opened["step"].shape) == ("float64", "int64", ())
    parts = np.ones((2, 2), np.float32)
    entries = {
        b"": b"\x08\x01",
        b"\x00split\x00\x01\xfe": bundle_entry(parts[:0], 0, 0, 0),
        b"split": bundle_entry(parts, 0, 0, 0, slice_field()),
    }
    (tmp_path / "net.index").write_bytes(table(entries, by_long_division))
    assert open_tf1_variables(tmp_path / "net").variables["split"].dtype == "partitioned"


@settings(suppress_health_check=IN_A_FOLDER, max_examples=60)
@given(st.data())
def test_no_flipped_bit_in_the_index_goes_unnoticed(tmp_path: Path, data: st.DataObject) -> None:
    prefix = written(tmp_path)
    index = prefix.with_name("net.index")
    content = bytearray(index.read_bytes())
    footer_padding = range(len(content) - 44, len(content) - 8)
    position = data.draw(st.integers(0, len(content) - 1).filter(lambda n: n not in footer_padding))
    content[position] ^= 1 << data.draw(st.integers(0, 7))
    index.write_bytes(content)
    try:
        opened = open_tf1_variables(prefix)
    except InputError:
        return
    # Only the handle of the metaindex, which nothing reads, may differ.
    assert opened.variables.keys() == some_variables().keys()


@settings(suppress_health_check=IN_A_FOLDER, max_examples=30)
@given(st.floats(0, 1, exclude_max=True))
def test_a_truncated_index_is_named(tmp_path: Path, share: float) -> None:
    prefix = written(tmp_path)
    index = prefix.with_name("net.index")
    content = index.read_bytes()
    index.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match=r"net\.index: is damaged"):
        open_tf1_variables(prefix)


def test_truncated_data_is_named_before_anything_is_read(tmp_path: Path) -> None:
    prefix = written(tmp_path)
    data = prefix.with_name("net.data-00000-of-00001")
    data.write_bytes(data.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"net\.data-00000-of-00001: is cut short: 'layer1/conv/kernel' ends at"):
        open_tf1_variables(prefix)


def test_damaged_data_is_named_when_read(tmp_path: Path) -> None:
    prefix = written(tmp_path)
    data = prefix.with_name("net.data-00000-of-00001")
    content = bytearray(data.read_bytes())
    content[-1] ^= 1
    data.write_bytes(content)
    opened = open_tf1_variables(prefix)
    opened.variables["dense/kernel"].read()
    with pytest.raises(InputError, match="is damaged: the checksum of 'layer1/conv/kernel' is wrong"):
        opened.variables["layer1/conv/kernel"].read()


def test_a_missing_data_file_is_named(tmp_path: Path) -> None:
    prefix = written(tmp_path, n_shards=3)
    prefix.with_name("net.data-00001-of-00003").unlink()
    with pytest.raises(InputError, match=r"net\.data-00001-of-00003: is missing"):
        open_tf1_variables(prefix)


def test_what_is_no_checkpoint_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.index: file not found"):
        open_tf1_variables(tmp_path / "gone")
    with pytest.raises(InputError, match=r"gone\.npz: file not found"):
        open_tf1_variables(tmp_path / "gone.npz")
    for folder in (tmp_path, Path()):
        with pytest.raises(InputError, match=r"is a folder\. Give the checkpoint's prefix"):
            open_tf1_variables(folder)
    (tmp_path / "old.ckpt").write_bytes(table({b"": b"\x0a\x00"}, by_long_division))
    with pytest.raises(InputError, match=r"old\.ckpt: is an old single-file \(V1\) checkpoint"):
        open_tf1_variables(tmp_path / "old.ckpt")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(InputError, match="is no TensorFlow checkpoint"):
        open_tf1_variables(tmp_path / "text")
    (tmp_path / "table.index").write_bytes(table({b"key": b"value"}, by_long_division))
    with pytest.raises(InputError, match=r"table\.index: is"):
        open_tf1_variables(tmp_path / "table")


def test_an_entry_that_contradicts_itself_is_named(tmp_path: Path) -> None:
    array = np.ones(3, np.float32)
    prefix = written(tmp_path)
    for entry in (bundle_entry(array, 5, 0, 0), bundle_entry(array, 0, 0, 0, b"\x28\x08")):
        prefix.with_name("net.index").write_bytes(table({b"": b"\x08\x01", b"a": entry}, by_long_division))
        with pytest.raises(InputError, match="the entry of 'a' contradicts itself"):
            open_tf1_variables(prefix)


def test_big_endian_and_compressed_files_are_refused(tmp_path: Path) -> None:
    prefix = written(tmp_path)
    index = prefix.with_name("net.index")
    index.write_bytes(table({b"": b"\x08\x01\x10\x01"}, by_long_division))
    with pytest.raises(InputError, match="big-endian"):
        open_tf1_variables(prefix)
    content = bytearray(table({b"": b"\x08\x01"}, by_long_division))
    length = content.index(b"\0\0\0\0\1\0\0\0") + 8
    content[length] = 1
    masked = by_long_division(bytes(content[: length + 1]))
    masked = ((masked >> 15 | masked << 17) + 0xA282EAD8) % 2**32
    content[length + 1 : length + 5] = masked.to_bytes(4, "little")
    index.write_bytes(content)
    with pytest.raises(InputError, match="compressed"):
        open_tf1_variables(prefix)


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 cut"])
def test_what_is_no_npz_is_said(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "net.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"net\.npz: is damaged or no \.npz"):
        open_tf1_variables(tmp_path / "net.npz")


def test_a_damaged_npz_and_pickles_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.npz"
    np.savez(path, a=np.arange(1000, dtype=np.float32))
    content = bytearray(path.read_bytes())
    content[2000] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="is damaged or no"):
        open_tf1_variables(path)
    np.savez(path, a=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match="is damaged or no"):
        open_tf1_variables(path)
    np.savez(path, **{"a": np.zeros(1, np.float32), "a:0": np.zeros(1, np.float32)})
    with pytest.raises(InputError, match="both with and without"):
        open_tf1_variables(path)
