"""Attributes of a DICOM data set as numbers and text, and damage told as an `InputError`."""

from __future__ import annotations

import logging
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.multival import MultiValue

from tagstrain.errors import InputError
from tagstrain.io.archive import ByteSource
from tagstrain.io.silence import silenced

# What pydicom and its plug-ins raise on damaged files.
DAMAGE = (
    InvalidDicomError,
    BytesLengthException,
    struct.error,
    zlib.error,
    EOFError,
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    NotImplementedError,
    RuntimeError,
    OverflowError,
    MemoryError,
    AssertionError,
)


@contextmanager
def damage_told(source: ByteSource) -> Iterator[None]:
    """Turn what pydicom raises into an `InputError`; what it says and logs stays out, since it quotes the file."""
    try:
        with silenced(logging.getLogger("pydicom")):
            yield
    except InvalidDicomError as error:
        raise InputError(source.shown, "is not a DICOM file", "Give DICOM, NIfTI, NumPy or HDF5") from error
    except DAMAGE as error:
        problem = f"is truncated or damaged ({type(error).__name__} while decoding)"
        raise InputError(source.shown, problem, "Copy or export it again") from error


def numbers(dataset: Dataset, keyword: str, count: int) -> NDArray[np.float64] | None:
    """Finite numbers of an attribute; None where it is missing, has another count or is no number."""
    try:
        value: Any = dataset.get(keyword)
        found = np.asarray(value, np.float64).ravel()
    except (ValueError, TypeError, OverflowError, BytesLengthException, NotImplementedError):
        return None
    return found if found.size == count and np.isfinite(found).all() else None


def number(dataset: Dataset, keyword: str) -> float | None:
    """Single finite number of an attribute; None where it is missing or no number."""
    found = numbers(dataset, keyword, 1)
    return None if found is None else float(found[0])


def positive(dataset: Dataset, keyword: str) -> float | None:
    """Single number above 0; None where there is none, since scanners write 0 for what they do not know."""
    found = number(dataset, keyword)
    return found if found is not None and found > 0 else None


def text(dataset: Dataset, keyword: str) -> str:
    """Text of an attribute; empty where it is missing."""
    value = dataset.get(keyword)
    return "" if value is None else str(value)


def words(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """Values of an attribute that may have several, in upper case; empty where it is missing."""
    value = dataset.get(keyword)
    if value is None:
        return ()
    values = value if isinstance(value, MultiValue | list | tuple) else [value]
    return tuple(str(word).strip().upper() for word in values)


def sequence(dataset: Dataset, keyword: str) -> list[Dataset]:
    """Items of a sequence; empty where it is missing or none."""
    value = dataset.get(keyword)
    return list(value) if value is not None and all(isinstance(item, Dataset) for item in value) else []
