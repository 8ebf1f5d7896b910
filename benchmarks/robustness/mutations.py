"""Damage done to a study's files: headers that lie, and bytes that are cut, flipped or overwritten."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable, Mapping

import numpy as np

from benchmarks.robustness.array_mutations import falsify_hdf5, falsify_nifti, falsify_npz, falsify_packed_nifti
from benchmarks.robustness.containers import Files
from benchmarks.robustness.dicom_mutations import falsify_dicom, falsify_enhanced, falsify_zip
from benchmarks.robustness.values import NUMBERS

_HEADERS: Mapping[str, Callable[[Files, np.random.Generator], tuple[str, Files]]] = {
    "dicom": falsify_dicom,
    "enhanced": falsify_enhanced,
    "zip": falsify_zip,
    "nifti": falsify_nifti,
    "nifti.gz": falsify_packed_nifti,
    "hdf5": falsify_hdf5,
    "npz": falsify_npz,
}


def mutate(container: str, files: Files, rng: np.random.Generator) -> tuple[str, Files]:
    """Damage one file of a study, or several where its header lies; half of the cases each way.

    Returns
    -------
        What was done, in words, and the files.
    """
    header = _HEADERS.get(container)
    if header is not None and rng.random() < 0.5:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return header(dict(files), rng)
    name = str(rng.choice(sorted(files)))
    done, content = damage_bytes(files[name], rng)
    return f"{name}: {done}", {**files, name: content}


def damage_bytes(content: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    """Truncate, flip bits, overwrite, insert, remove or repeat bytes, mostly near either end, where structure is."""
    reach = len(content) if rng.random() < 0.3 else min(len(content), 2048)
    at = int(rng.integers(reach))
    if rng.random() < 0.3:
        at = len(content) - 1 - at  # a zip's directory stands at its end
    length = int(rng.integers(1, 64))
    match int(rng.integers(7)):
        case 0:
            return f"cut at {at}", content[:at]
        case 1:
            damaged = bytearray(content)
            places = rng.integers(max(at - 512, 0), min(at + 512, len(content)), int(rng.integers(1, 12)))
            for place in places:
                damaged[place] ^= 1 << int(rng.integers(8))
            return f"{len(places)} bits flipped near {at}", bytes(damaged)
        case 2:
            return f"{length} random bytes at {at}", content[:at] + rng.bytes(length) + content[at + length :]
        case 3:
            filler = bytes([int(rng.choice([0, 0x7F, 0xFF]))]) * length
            return f"{length} bytes of {filler[0]} at {at}", content[:at] + filler + content[at + length :]
        case 4:
            return f"{length} bytes inserted at {at}", content[:at] + rng.bytes(length) + content[at:]
        case 5:
            return f"{length} bytes removed at {at}", content[:at] + content[at + length :]
        case _:
            value = int(rng.choice(np.array(NUMBERS[:10], object))) & 0xFFFFFFFF
            return f"number {value} at {at}", content[:at] + struct.pack("<I", value) + content[at + 4 :]
