"""Whatever is done to a file, reading it gives a cine or an `InputError`, never another exception.

`benchmarks.robustness` does the same to thousands of inputs, each in a process of its own with limits.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from benchmarks.robustness.cases import Outcome, run_case
from benchmarks.robustness.containers import WRITERS
from tagstrain.errors import InputError
from tagstrain.io import read_study


@settings(max_examples=100, database=None)
@given(number=st.integers(0, 10**6))
@example(number=63_097)  # an affine of numbers whose product is beyond all floats
@example(number=116_808)  # infinite frame times
def test_damage_is_never_more_than_an_input_error(number: int) -> None:
    result = run_case(number, seed=20211)
    assert result.outcome in (Outcome.READ, Outcome.REFUSED), (
        f"case {number} ({result.container}): {result.damage}\n{result.detail}"
    )


def test_some_damage_is_noticed_and_some_survived() -> None:
    """The mutations neither miss what readers look at nor destroy every file outright."""
    outcomes = [run_case(number, seed=1).outcome for number in range(5 * len(WRITERS))]
    assert set(outcomes) == {Outcome.READ, Outcome.REFUSED}


@pytest.mark.parametrize(
    "content", [b"", b"x", b"hello world\n" * 50, b"\0" * 200, b"PK\x03\x04", b"\x89HDF\r\n\x1a\n"]
)
@pytest.mark.parametrize("name", ["a", "a.h5", "a.dcm", "a.nii", "a.nii.gz", "a.zip", "a.png"])
def test_files_that_are_no_images_are_refused_by_name(tmp_path: Path, content: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"^{name}: "):
        read_study(tmp_path / name)


def test_a_path_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_study(tmp_path / "nothing")
