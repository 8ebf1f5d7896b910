"""DICOM whose attributes are missing, empty, of the wrong type or absurd; alone, multi-frame or in a zip."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping

import numpy as np
from pydicom import config, dcmread
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import UID, ExplicitVRBigEndian, ImplicitVRLittleEndian, JPEGLosslessSV1, RLELossless

from benchmarks.robustness.containers import Files
from benchmarks.robustness.values import any_value

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


def falsify_dicom(files: Files, rng: np.random.Generator) -> tuple[str, Files]:
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
    tag, value = Tag(keyword), any_value(rng)
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


def falsify_enhanced(files: Files, rng: np.random.Generator) -> tuple[str, Files]:
    """Falsify an attribute of a frame's functional groups, or one of the object."""
    if rng.random() < 0.3:
        return falsify_dicom(files, rng)
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


def falsify_zip(files: Files, rng: np.random.Generator) -> tuple[str, Files]:
    """Falsify the images of a zip, put it into another zip, or repeat or rename its members."""
    ((name, content),) = files.items()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    match int(rng.integers(6)):
        case 0:
            done = "put into another zip"
            members = {"inner.zip": content, **(members if rng.random() < 0.5 else {})}
        case 1:
            paths = ["../x.dcm", "/x.dcm", "C:\\x.dcm", "a" * 300, "x/" * 100, "DICOMDIR"]
            path = str(rng.choice(paths))
            done, members[path] = f"itself added as {path[:20]}", content
        case 2:
            done, members["zeros.dcm"] = "zeros added", bytes(int(rng.integers(1, 2**24)))
        case _:
            done, images = falsify_dicom({key: data for key, data in members.items() if key.endswith(".dcm")}, rng)
            members.update(images)
    return done, {name: zipped(members)}


def zipped(members: Mapping[str, bytes]) -> bytes:
    """A zip of files."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in members.items():
            archive.writestr(path, content)
    return stream.getvalue()
