"""NIfTI, HDF5 and NumPy files whose headers lie about what they hold."""

from __future__ import annotations

import gzip
import io
import json
import struct
import zipfile

import h5py
import nibabel as nib
import numpy as np

from benchmarks.robustness.containers import Files
from benchmarks.robustness.dicom_mutations import zipped
from benchmarks.robustness.values import NUMBERS, SPECIAL, any_value

_HDF5_FAULTS = (
    "removed",
    "a group in its place",
    "another shape, never written",
    "huge chunks",
    "another type",
    "one value everywhere",
    "no array",
    "a broken link",
)
_NPZ_FAULTS = (
    "removed",
    "another shape announced",
    "another type",
    "a header that is none",
    "one value everywhere",
    "another length",
)


def falsify_nifti(files: Files, rng: np.random.Generator) -> tuple[str, Files]:
    """Falsify a field of a header, or a value of a sidecar."""
    name = str(rng.choice(sorted(files)))
    if name.endswith(".json"):
        sidecar = json.loads(files[name])
        key = str(rng.choice([*sidecar, "TriggerTime", "FrameTimesStart", "NominalInterval"]))
        sidecar[key] = any_value(rng)
        files[name] = json.dumps(sidecar).encode()
        return f"{name}: {key} = {str(sidecar[key])[:40]}", files
    header = nib.Nifti1Header(files[name][:348], check=False)
    field = str(rng.choice(list(header.keys())))
    stored = header[field]
    value = stored
    if stored.dtype.kind in "iuf":
        number = float(rng.choice([*NUMBERS, *SPECIAL]))
        if stored.dtype.kind in "iu":
            limits = np.iinfo(stored.dtype)
            number = int(min(max(np.nan_to_num(number), limits.min), limits.max))
        value = np.array(stored)
        with np.errstate(over="ignore"):
            value[... if rng.random() < 0.3 or not value.shape else int(rng.integers(value.size))] = number
        header[field] = value
    files[name] = header.binaryblock + files[name][348:]
    return f"{name}: {field} = {value}", files


def falsify_hdf5(files: Files, rng: np.random.Generator) -> tuple[str, Files]:
    """Remove a dataset, or put another one or a group in its place."""
    (name, content), *_ = files.items()
    stream = io.BytesIO(content)
    with h5py.File(stream, "r+") as file:
        dataset = str(rng.choice(sorted(file)))
        stored = file[dataset][...]
        del file[dataset]
        fault = _HDF5_FAULTS[int(rng.integers(len(_HDF5_FAULTS)))]
        match fault:
            case "a group in its place":
                file.create_group(dataset)
            case "another shape, never written":
                shape = tuple(int(n) for n in rng.choice([0, 1, 2, 4, 1000, 2**20, 2**33], int(rng.integers(0, 6))))
                file.create_dataset(dataset, shape, stored.dtype, chunks=None if 0 in shape or not shape else True)
            case "huge chunks":
                chunks = (1,) * (stored.ndim - 1) + (2**29,)
                file.create_dataset(dataset, stored.shape, "u1", chunks=chunks, maxshape=(None,) * stored.ndim)
            case "another type":
                file[dataset] = stored.astype(str(rng.choice(["S7", "?", "c16", "i8", "f2"])))
            case "one value everywhere":
                file[dataset] = np.full_like(stored, 1, np.float64) * float(rng.choice([*NUMBERS, *SPECIAL]))
            case "no array":
                file[dataset] = h5py.Empty("f4") if rng.random() < 0.5 else "some text"
            case "a broken link":
                is_soft = rng.random() < 0.5
                file[dataset] = h5py.SoftLink("/absent") if is_soft else h5py.ExternalLink("absent.h5", "/x")
    files[name] = stream.getvalue()
    return f"{dataset}: {fault}", files


def falsify_npz(files: Files, rng: np.random.Generator) -> tuple[str, Files]:
    """Remove an array, change its type, or let its header announce another shape."""
    name = str(rng.choice(sorted(files)))
    with zipfile.ZipFile(io.BytesIO(files[name])) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    member = str(rng.choice(sorted(members)))
    array = np.load(io.BytesIO(members[member]))
    fault = _NPZ_FAULTS[int(rng.integers(len(_NPZ_FAULTS)))]
    match fault:
        case "removed":
            del members[member]
        case "another shape announced":
            shape = tuple(int(n) for n in rng.choice([-1, 0, 1, 2, 1000, 2**31, 2**62], int(rng.integers(0, 5))))
            members[member] = _npy(f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}", array.tobytes())
        case "another type":
            members[member] = _saved(array.astype(str(rng.choice(["O", "S7", "U3", "?", "c16", ">f4", "i1"]))))
        case "a header that is none":
            texts = ["{", "(1,", "[]" * 3, "{'descr': 5}", "lambda: 0", "\0", "{'shape': (" * 50, "é"]
            members[member] = _npy(str(rng.choice(texts)), array.tobytes())
        case "one value everywhere":
            members[member] = _saved(np.full(array.shape, float(rng.choice([*NUMBERS, *SPECIAL]))))
        case "another length":
            members[member] = _saved(np.resize(array, int(rng.integers(0, 9))))
    files[name] = zipped(members)
    return f"{name}, {member}: {fault}", files


def _npy(header: str, data: bytes) -> bytes:
    """A ``.npy`` file with any header."""
    text = header.encode("latin-1") + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def _saved(array: np.ndarray) -> bytes:
    """A ``.npy`` file."""
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def falsify_packed_nifti(files: Files, rng: np.random.Generator) -> tuple[str, Files]:
    """Falsify a field of the header within a compressed image."""
    plain = {name: gzip.decompress(data) if name.endswith(".gz") else data for name, data in files.items()}
    done, plain = falsify_nifti(plain, rng)
    return done, {name: gzip.compress(data) if name.endswith(".gz") else data for name, data in plain.items()}
