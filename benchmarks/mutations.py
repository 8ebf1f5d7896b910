"""Damage done to a study's files: headers that lie, and bytes that are cut, flipped or overwritten."""

from __future__ import annotations

import gzip
import io
import json
import struct
import warnings
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import h5py
import nibabel as nib
import numpy as np
from pydicom import config, dcmread
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import UID, ExplicitVRBigEndian, ImplicitVRLittleEndian, JPEGLosslessSV1, RLELossless

from benchmarks.containers import Files

_NUMBERS = (0, -1, 1, 2, 3, 255, 65535, 2**31 - 1, -(2**31), 2**32, 2**62, 0.5, -0.0, 1e-300, 1e300, -1e300)
_SPECIAL = (float("nan"), float("inf"), float("-inf"))
_TEXTS = ("", " ", "abc", "1\\2\\3", "1e999", "-", "NaN", "\0\0", "ü" * 40, "9" * 5000, "[]", "../../x")

_DICOM_KEYWORDS = (
    "SOPInstanceUID",
    "SOPClassUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SeriesDescription",
    "SeriesNumber",
    "InstanceNumber",
    "ImageType",
    "AcquisitionDate",
    "AcquisitionTime",
    "TriggerTime",
    "NominalInterval",
    "FrameTime",
    "TemporalResolution",
    "CardiacNumberOfImages",
    "NumberOfFrames",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "Rows",
    "Columns",
    "PixelSpacing",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "RescaleSlope",
    "RescaleIntercept",
    "PatientName",
    "PatientID",
    "SpecificCharacterSet",
    "FrameOfReferenceUID",
    "PixelData",
    "PixelPaddingValue",
    "SmallestImagePixelValue",
    "ModalityLUTSequence",
    "Tagging",
    "TagAngleFirstAxis",
    "PerFrameFunctionalGroupsSequence",
    "SharedFunctionalGroupsSequence",
    "ComplexImageComponent",
)
_FRAME_ATTRIBUTES = (
    "PixelMeasuresSequence.PixelSpacing",
    "PixelMeasuresSequence.PixelMeasuresSequence",
    "PlanePositionSequence.ImagePositionPatient",
    "PlanePositionSequence.PlanePositionSequence",
    "PlaneOrientationSequence.ImageOrientationPatient",
    "PlaneOrientationSequence.PlaneOrientationSequence",
    "CardiacSynchronizationSequence.NominalCardiacTriggerDelayTime",
    "CardiacSynchronizationSequence.RRIntervalTimeNominal",
    "CardiacSynchronizationSequence.CardiacSynchronizationSequence",
)
_SYNTAXES = (ImplicitVRLittleEndian, ExplicitVRBigEndian, JPEGLosslessSV1, RLELossless, "1.2.3", "", "x" * 70)


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
            value = int(rng.choice(np.array(_NUMBERS[:10], object))) & 0xFFFFFFFF
            return f"number {value} at {at}", content[:at] + struct.pack("<I", value) + content[at + 4 :]


def _any_value(rng: np.random.Generator) -> Any:
    """A number, text or list that a header should not hold."""
    kind = int(rng.integers(5))
    if kind == 0:
        return _TEXTS[int(rng.integers(len(_TEXTS)))]
    if kind == 1:
        return _SPECIAL[int(rng.integers(len(_SPECIAL)))]
    if kind == 2:
        return [_any_value(rng) for _ in range(int(rng.integers(0, 8)))]
    return _NUMBERS[int(rng.integers(len(_NUMBERS)))]


def _dicom_header(files: Files, rng: np.random.Generator) -> tuple[str, Files]:
    """Remove, empty or falsify an attribute of one or all files."""
    keyword = str(rng.choice(_DICOM_KEYWORDS))
    names = sorted(files)
    touched = names if rng.random() < 0.5 else [str(rng.choice(names))]
    if rng.random() < 0.1:
        syntax = str(rng.choice(_SYNTAXES))
        for name in touched:
            files[name] = _edited_dicom(files[name], lambda dataset: _claim_syntax(dataset, syntax))
        return f"transfer syntax claimed as {syntax[:20]!r} in {len(touched)} files", files
    element = None if rng.random() < 0.15 else _element(keyword, rng)
    for name in touched:
        files[name] = _edited_dicom(files[name], lambda dataset: _put(dataset, keyword, element))
    shown = "removed" if element is None else f"{element.VR} {str(element.value)[:30]!r}"
    return f"{keyword} {shown} in {len(touched)} files", files


def _element(keyword: str, rng: np.random.Generator) -> DataElement:
    """A value under a type of its own choice, which files in explicit transfer syntax may claim."""
    tag, value = Tag(keyword), _any_value(rng)
    values = value if isinstance(value, list) else [value]
    kind = str(rng.choice(["LO", "OB", "FD", "US", "SS", "SQ", "DS", "empty"]))
    if kind == "SQ":
        return DataElement(tag, "SQ", [Dataset() for _ in range(len(values) % 3)])
    if kind == "empty":
        return DataElement(tag, "LO", "")
    if kind == "OB":
        return DataElement(tag, "OB", rng.bytes(int(rng.integers(0, 40))))
    numbers = [value for value in values if isinstance(value, int | float)] or [7]
    if kind == "FD":
        return DataElement(tag, "FD", [float(number) for number in numbers])
    if kind in ("US", "SS"):
        low, high = (0, 65535) if kind == "US" else (-32768, 32767)
        return DataElement(tag, kind, [int(np.clip(np.nan_to_num(number), low, high)) for number in numbers])
    # pydicom checks decimal strings when they are made: text that is relabeled passes.
    text = DataElement(tag, "LO", [str(value)[:200] for value in values])
    text.VR = kind
    return text


def _enhanced_header(files: Files, rng: np.random.Generator) -> tuple[str, Files]:
    """Falsify an attribute of a frame's functional groups, or one of the object."""
    if rng.random() < 0.3:
        return _dicom_header(files, rng)
    group, keyword = str(rng.choice(_FRAME_ATTRIBUTES)).split(".")
    element = None if rng.random() < 0.15 else _element(keyword, rng)
    n_touched = 1 if rng.random() < 0.5 else 1000

    def edit(dataset: Dataset) -> None:
        for item in dataset.PerFrameFunctionalGroupsSequence[:n_touched]:
            if keyword == group:
                _put(item, keyword, element)
            else:
                _put(item[group].value[0], keyword, element)

    ((name, content),) = files.items()
    shown = "removed" if element is None else f"{element.VR} {str(element.value)[:30]!r}"
    return f"{group}.{keyword} {shown} in up to {n_touched} frames", {name: _edited_dicom(content, edit)}


def _put(dataset: Dataset, keyword: str, element: DataElement | None) -> None:
    """Set or remove an attribute."""
    if element is not None:
        dataset[element.tag] = element
    elif keyword in dataset:
        delattr(dataset, keyword)


def _claim_syntax(dataset: Dataset, syntax: str) -> None:
    """Announce another encoding than that of the pixels."""
    dataset.file_meta.TransferSyntaxUID = UID(syntax)


def _edited_dicom(content: bytes, edit: Callable[[Dataset], None]) -> bytes:
    """Change a data set and write it in the encoding that it had, whatever it claims."""
    dataset = dcmread(io.BytesIO(content))
    mode = config.settings.writing_validation_mode
    config.settings.writing_validation_mode = config.IGNORE
    try:
        edit(dataset)
        stream = io.BytesIO()
        dataset.save_as(stream, implicit_vr=False, little_endian=True, enforce_file_format=False)
    except Exception:  # what pydicom itself refuses to write is no file that a reader will meet
        return content
    finally:
        config.settings.writing_validation_mode = mode
    return stream.getvalue()


def _nifti_header(files: Files, rng: np.random.Generator) -> tuple[str, Files]:
    """Falsify a field of a header, or a value of a sidecar."""
    name = str(rng.choice(sorted(files)))
    if name.endswith(".json"):
        sidecar = json.loads(files[name])
        key = str(rng.choice([*sidecar, "TriggerTime", "FrameTimesStart", "NominalInterval"]))
        sidecar[key] = _any_value(rng)
        files[name] = json.dumps(sidecar).encode()
        return f"{name}: {key} = {str(sidecar[key])[:40]}", files
    header = nib.Nifti1Header(files[name][:348], check=False)
    field = str(rng.choice(list(header.keys())))
    stored = header[field]
    value = stored
    if stored.dtype.kind in "iuf":
        number = float(rng.choice([*_NUMBERS, *_SPECIAL]))
        if stored.dtype.kind in "iu":
            limits = np.iinfo(stored.dtype)
            number = int(min(max(np.nan_to_num(number), limits.min), limits.max))
        value = np.array(stored)
        with np.errstate(over="ignore"):
            value[... if rng.random() < 0.3 or not value.shape else int(rng.integers(value.size))] = number
        header[field] = value
    files[name] = header.binaryblock + files[name][348:]
    return f"{name}: {field} = {value}", files


def _hdf5_header(files: Files, rng: np.random.Generator) -> tuple[str, Files]:
    """Remove a dataset, or put another one or a group in its place."""
    (name, content), *_ = files.items()
    stream = io.BytesIO(content)
    with h5py.File(stream, "r+") as file:
        dataset = str(rng.choice(sorted(file)))
        stored = file[dataset][...]
        del file[dataset]
        kind = int(rng.integers(8))
        if kind == 1:
            file.create_group(dataset)
        elif kind == 2:
            shape = tuple(int(n) for n in rng.choice([0, 1, 2, 4, 1000, 2**20, 2**33], int(rng.integers(0, 6))))
            file.create_dataset(dataset, shape, stored.dtype, chunks=None if 0 in shape or not shape else True)
        elif kind == 3:
            chunks = (1,) * (stored.ndim - 1) + (2**29,)
            file.create_dataset(dataset, stored.shape, "u1", chunks=chunks, maxshape=(None,) * stored.ndim)
        elif kind == 4:
            file[dataset] = stored.astype(str(rng.choice(["S7", "?", "c16", "i8", "f2"])))
        elif kind == 5:
            file[dataset] = np.full_like(stored, 1, np.float64) * float(rng.choice([*_NUMBERS, *_SPECIAL]))
        elif kind == 6:
            file[dataset] = h5py.Empty("f4") if rng.random() < 0.5 else "some text"
        elif kind == 7:
            file[dataset] = h5py.SoftLink("/absent") if rng.random() < 0.5 else h5py.ExternalLink("absent.h5", "/x")
    files[name] = stream.getvalue()
    return f"{dataset}: replaced by kind {kind}", files


def _npz_header(files: Files, rng: np.random.Generator) -> tuple[str, Files]:
    """Remove an array, change its type, or let its header announce another shape."""
    name = str(rng.choice(sorted(files)))
    with zipfile.ZipFile(io.BytesIO(files[name])) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    member = str(rng.choice(sorted(members)))
    array = np.load(io.BytesIO(members[member]))
    kind = int(rng.integers(6))
    done = f"{member}: kind {kind}"
    if kind == 0:
        del members[member]
    elif kind == 1:
        shape = tuple(int(n) for n in rng.choice([-1, 0, 1, 2, 1000, 2**31, 2**62], int(rng.integers(0, 5))))
        members[member] = _npy(f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}", array.tobytes())
    elif kind == 2:
        members[member] = _saved(array.astype(str(rng.choice(["O", "S7", "U3", "?", "c16", ">f4", "i1"]))))
    elif kind == 3:
        header = str(rng.choice(["{", "(1,", "[]" * 3, "{'descr': 5}", "lambda: 0", "\0", "{'shape': (" * 50, "é"]))
        members[member] = _npy(header, array.tobytes())
    elif kind == 4:
        value = float(rng.choice([*_NUMBERS, *_SPECIAL]))
        members[member] = _saved(np.full(array.shape, value))
    else:
        members[member] = _saved(np.resize(array, int(rng.integers(0, 9))))
    files[name] = _zipped(members)
    return f"{name}, {done}", files


def _npy(header: str, data: bytes) -> bytes:
    """A ``.npy`` file with any header."""
    text = header.encode("latin-1") + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def _saved(array: np.ndarray) -> bytes:
    """A ``.npy`` file."""
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def _packed_nifti_header(files: Files, rng: np.random.Generator) -> tuple[str, Files]:
    """Falsify a field of the header within a compressed image."""
    plain = {name: gzip.decompress(data) if name.endswith(".gz") else data for name, data in files.items()}
    done, plain = _nifti_header(plain, rng)
    return done, {name: gzip.compress(data) if name.endswith(".gz") else data for name, data in plain.items()}


def _zip_header(files: Files, rng: np.random.Generator) -> tuple[str, Files]:
    """Falsify the images of a zip, put it into another zip, or repeat or rename its members."""
    ((name, content),) = files.items()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    kind = int(rng.integers(6))
    done = f"kind {kind}"
    if kind == 0:
        members = {"inner.zip": content, **(members if rng.random() < 0.5 else {})}
    elif kind == 1:
        members[str(rng.choice(["../x.dcm", "/x.dcm", "C:\\x.dcm", "a" * 300, "x/" * 100, "DICOMDIR"]))] = content
    elif kind == 2:
        members["zeros.dcm"] = bytes(int(rng.integers(1, 2**24)))
    else:
        done, images = _dicom_header({key: data for key, data in members.items() if key.endswith(".dcm")}, rng)
        members.update(images)
    return done, {name: _zipped(members)}


def _zipped(members: Mapping[str, bytes]) -> bytes:
    """A zip of files."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in members.items():
            archive.writestr(path, content)
    return stream.getvalue()


_HEADERS: Mapping[str, Callable[[Files, np.random.Generator], tuple[str, Files]]] = {
    "dicom": _dicom_header,
    "enhanced": _enhanced_header,
    "zip": _zip_header,
    "nifti": _nifti_header,
    "nifti.gz": _packed_nifti_header,
    "hdf5": _hdf5_header,
    "npz": _npz_header,
}
