"""Ways in: DICOMDIR, compressed pixels, UK Biobank zips, sample files of other libraries, identities on request."""

from __future__ import annotations

import shutil
import struct
import zlib
from pathlib import Path
from unittest.mock import patch

import gdcm
import highdicom
import numpy as np
import pydicom
import pytest
import vendor_dicom as vendors
from io_examples import assert_same_cine, by_name, edit_dicom, example_cines, set_study, write_study, zip_folder
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
    generate_uid,
)

from tagstrain.data import ArchiveIdentity, Study
from tagstrain.errors import InputError
from tagstrain.io import read_study
from tagstrain.io.dicom import read_dicom_file, read_dicom_folder, read_dicom_zip

SAMPLES = Path(pydicom.__file__).parent / "data" / "test_files"
SAMPLE_FILES = sorted(
    file
    for folder in (SAMPLES, Path(highdicom.__file__).parent)
    for file in folder.rglob("*")
    if file.is_file() and file.suffix not in (".py", ".pyc", ".typed", ".icc", ".json", ".txt", ".dump")
)


@pytest.fixture
def medium(tmp_path: Path) -> Path:
    """Folder with the three example slices and a DICOMDIR that lists them."""
    folder = tmp_path / "disc 1"
    for k, file in enumerate(write_study(folder / "IMAGES")):
        file.rename(folder / "IMAGES" / f"IM{k:04d}")
    write_dicomdir(folder, [["IMAGES", file.name] for file in sorted((folder / "IMAGES").iterdir())])
    return folder


def write_dicomdir(folder: Path, file_ids: list[list[str]]) -> None:
    """Directory with a patient and the images."""
    records = [Dataset()]
    records[0].DirectoryRecordType, records[0].PatientName = "PATIENT", "Sekret^Jo"
    for file_id in file_ids:
        records.append(Dataset())
        records[-1].DirectoryRecordType, records[-1].ReferencedFileID = "IMAGE", file_id
    dataset = Dataset()
    dataset.DirectoryRecordSequence = records
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = MediaStorageDirectoryStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    FileDataset(None, dataset, b"\0" * 128, meta).save_as(folder / "DICOMDIR", enforce_file_format=True)


@pytest.mark.parametrize("name", ["", "DICOMDIR"])
def test_a_dicomdir_is_a_way_in_and_no_complaint(medium: Path, name: str) -> None:
    study = read_study(medium / name)
    assert (study.key, study.skipped) == ("disc_1", ())
    for cine in example_cines():
        assert_same_cine(by_name(study)[cine.name], cine)


def test_files_that_a_dicomdir_lists_in_vain_are_named(medium: Path) -> None:
    lost = sorted(file for file in medium.rglob("*") if file.is_file() and file.name != "DICOMDIR")[0]
    lost.unlink()
    study = read_study(medium / "DICOMDIR")
    assert study.skipped == (f"{lost.name}: cannot be read (No such file or directory)",)
    assert len(study.slices) == 3


def test_a_medium_copied_in_lower_case_is_found(medium: Path) -> None:
    for path in sorted(medium.rglob("*"), key=lambda path: -len(path.parts)):
        path.rename(path.with_name(path.name.lower()))
    assert len(read_study(medium / "dicomdir").slices) == 3


@pytest.mark.filterwarnings("ignore:Invalid value")
@pytest.mark.parametrize("file_id", [["..", "OTHER"], ["/ETC"], ["C:", "A"], ["A/../.."], ["A", "", "B"]])
def test_a_dicomdir_that_leads_out_of_its_folder_is_refused(medium: Path, file_id: list[str]) -> None:
    write_dicomdir(medium, [file_id])
    with pytest.raises(InputError, match="lists a file outside its folder"):
        read_study(medium / "DICOMDIR")


def compress(file: Path, syntax: int) -> str:
    """Compress the pixels in place with GDCM, the attributes left as they are; gives the transfer syntax's UID."""
    reader = gdcm.ImageReader()
    reader.SetFileName(str(file))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(file.with_suffix(".gdcm")))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    dataset, compressed = dcmread(file), dcmread(file.with_suffix(".gdcm"))
    file.with_suffix(".gdcm").unlink()
    dataset["PixelData"] = compressed["PixelData"]
    dataset.file_meta.TransferSyntaxUID = compressed.file_meta.TransferSyntaxUID
    dataset.save_as(file)
    return str(dataset.file_meta.TransferSyntaxUID)


@pytest.mark.parametrize(
    ("syntax", "uid", "is_enhanced"),
    [
        (gdcm.TransferSyntax.JPEGLosslessProcess14_1, "1.2.840.10008.1.2.4.70", False),
        (gdcm.TransferSyntax.JPEGLosslessProcess14_1, "1.2.840.10008.1.2.4.70", True),
        (gdcm.TransferSyntax.JPEG2000Lossless, "1.2.840.10008.1.2.4.90", False),
        (gdcm.TransferSyntax.JPEG2000Lossless, "1.2.840.10008.1.2.4.90", True),
        (gdcm.TransferSyntax.JPEGLSLossless, "1.2.840.10008.1.2.4.80", False),
        (gdcm.TransferSyntax.RLELossless, "1.2.840.10008.1.2.5", False),
        (gdcm.TransferSyntax.RLELossless, "1.2.840.10008.1.2.5", True),
        (gdcm.TransferSyntax.DeflatedExplicitVRLittleEndian, "1.2.840.10008.1.2.1.99", False),
    ],
)
def test_lossless_compression_gives_equal_pixels(tmp_path: Path, syntax: int, uid: str, is_enhanced: bool) -> None:
    folder, cines = tmp_path / "case", vendors.tagged_study(n_frames=2)
    if is_enhanced:
        folder.mkdir()
        vendors.write_siemens_enhanced(folder / "a.dcm", cines)
    else:
        vendors.write_siemens_classic(folder, cines)
    for file in list(folder.iterdir()):
        assert compress(file, syntax) == uid
    for cine in cines:
        np.testing.assert_array_equal(by_name(read_study(folder))[cine.name].frames, cine.frames)


def test_lossy_jpeg_2000_is_near(tmp_path: Path) -> None:
    (cine, *_) = cines = vendors.tagged_study(n_frames=2)
    vendors.write_siemens_classic(tmp_path / "case", cines)
    for file in list((tmp_path / "case").iterdir()):
        compress(file, gdcm.TransferSyntax.JPEG2000)
    found = by_name(read_study(tmp_path / "case"))[cine.name]
    assert 0 <= np.abs(found.frames - cine.frames).max() < 0.02 * np.ptp(cine.frames)


@pytest.mark.parametrize("n_manifests", [0, 1, 2])
def test_manifests_of_uk_biobank_decide_nothing(tmp_path: Path, n_manifests: int) -> None:
    """Unquoted commas, files that are absent, names of another visit: the headers are the truth."""
    write_study(tmp_path / "case")
    for name in ("manifest.cvs", "manifest.csv")[:n_manifests]:
        lines = [
            "filename,patientid,seriesid,series discription,date",
            "x.dcm,1,2,cine_tagging_3sl_SAX_b9s,Aug 30, 2015",
        ]
        (tmp_path / "case" / name).write_text("\n".join(lines))
    study = read_study(zip_folder(tmp_path / "case", tmp_path / "1234567_20211_2_0.zip"))
    assert [source.name for source in study.slices] == ["basal", "mid", "apical"]
    assert (study.key, study.skipped) == ("1234567_20211_2_0", ())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1234567_20211_2_0.zip", "case"]


Named = tuple[str, str]
"""StudyInstanceUID and PatientID."""


def two_parts(folder: Path, one: Named, other: Named) -> Path:
    """A basal slice that names one study and patient, the rest of a heart that names another."""
    set_study(write_study(folder / "a", example_cines()[:1], seed=1), *one)
    set_study(write_study(folder / "b", example_cines()[1:], seed=2), *other)
    return folder


@pytest.mark.parametrize("keep_ids", [False, True])
@pytest.mark.parametrize(
    ("one", "other", "what"),
    [
        (("1.2", "Sekret1"), ("1.3", "Sekret2"), "2 patients"),
        (("1.2", "Sekret1"), ("1.2", "Sekret2"), "2 patients"),
        (("", "Sekret1"), ("", "Sekret2"), "2 patients"),
        (("1.2", "Sekret1"), ("1.3", "Sekret1"), "2 DICOM studies"),
        (("1.2", ""), ("1.3", ""), "2 DICOM studies"),
        (("1.2", "Sekret1"), ("1.3", ""), "2 DICOM studies"),
    ],
)
def test_two_patients_or_studies_never_make_one_heart(
    tmp_path: Path, one: Named, other: Named, what: str, keep_ids: bool
) -> None:
    folder = two_parts(tmp_path / "case", one, other)
    for path in (folder, zip_folder(folder, tmp_path / "case.zip")):
        with pytest.raises(InputError, match=f"holds slices of {what}, which must not be mixed") as refused:
            read_study(path, keep_ids=keep_ids)
        assert "Sekret" not in str(refused.value)


def test_a_dicomdir_of_two_patients_is_refused(medium: Path) -> None:
    set_study(sorted((medium / "IMAGES").iterdir())[:4], "1.3", "P2")
    with pytest.raises(InputError, match="DICOMDIR: holds slices of 2 patients"):
        read_study(medium / "DICOMDIR")


def test_enhanced_objects_of_two_patients_are_refused(tmp_path: Path) -> None:
    for k, cine in enumerate(vendors.tagged_study()[:2]):
        file = vendors.write_siemens_enhanced(tmp_path / f"{k}.dcm", [cine])
        set_study([file], "1.2", f"P{k}")
        edit_dicom([file], lambda d, k=k: setattr(d, "SOPInstanceUID", f"1.2.{k}"))
    with pytest.raises(InputError, match="2 patients"):
        read_study(tmp_path)


def test_frames_of_two_patients_that_share_their_uids_are_refused(tmp_path: Path) -> None:
    """As after an anonymizer that writes one series UID into everything."""
    files = write_study(tmp_path / "case", example_cines()[:1])
    set_study(files[:2], "1.2", "P1")
    set_study(files[2:], "1.2", "P2")
    with pytest.raises(InputError, match="2 patients"):
        read_study(tmp_path / "case")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("1.2", "P1"), ("1.2", "P1")),
        (("1.2", "P1"), ("1.2", "")),
        (("1.2", ""), ("1.2", "")),
        (("", "P1"), ("1.2", "P1")),
        (("", ""), ("", "")),
    ],
)
def test_series_of_one_study_or_of_none_named_are_one_heart(tmp_path: Path, one: Named, other: Named) -> None:
    study = read_study(two_parts(tmp_path, one, other))
    assert [source.name for source in study.slices] == ["basal", "mid", "apical"]
    assert all(cine.warnings == () for cine in by_name(study).values())


@pytest.mark.parametrize(("one", "other"), [(("1.2", "P1"), ("", "")), (("1.2", ""), ("", "P1"))])
def test_slices_that_name_nobody_beside_others_that_do_are_told(tmp_path: Path, one: Named, other: Named) -> None:
    two_parts(tmp_path, one, other)
    for cine in by_name(read_study(tmp_path)).values():
        assert "make sure that all are of one patient" in cine.warnings[0]
    with pytest.raises(InputError, match="leave out --keep-ids"):
        read_study(tmp_path, keep_ids=True)


def test_a_deflated_file_that_grows_too_large_is_refused(tmp_path: Path) -> None:
    (file, *_) = write_study(tmp_path / "case")
    dataset = dcmread(file)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(file)
    assert_same_cine(by_name(read_study(tmp_path / "case"))["basal"], example_cines()[0])
    with (
        patch("tagstrain.io.dicom_header.MAX_OBJECT_BYTES", 1000),
        pytest.raises(InputError, match="would unpack to"),
    ):
        read_study(file)


@pytest.mark.parametrize("group_length_error", [0, 50_000])
def test_a_deflated_bomb_is_refused_before_anything_of_it_is_parsed(tmp_path: Path, group_length_error: int) -> None:
    """In a single file as in a folder, and where a wrong group length points behind it."""
    (file, *others) = write_study(tmp_path / "case", example_cines()[:1])
    for other in others:
        other.unlink()
    dataset = dcmread(file, stop_before_pixels=True)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(file)
    data = bytearray(file.read_bytes())
    (group_length,) = struct.unpack("<I", data[140:144])
    data[140:144] = struct.pack("<I", group_length + group_length_error)
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    bomb = deflater.compress(bytes(50_000_000)) + deflater.flush()
    file.write_bytes(data[: 144 + group_length] + bomb + b"\x03\0")
    for path in (file, tmp_path / "case"):
        with pytest.raises(InputError, match="times its size") as refused:
            read_study(path)
        assert file.name in str(refused.value)


def test_a_slice_too_large_for_memory_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    write_study(tmp_path / "case", example_cines()[:1])
    (source,) = read_study(tmp_path / "case").slices
    with (
        patch("tagstrain.io.limits.MAX_CINE_PIXELS", 200),
        pytest.raises(InputError, match=r"a slice of 252 pixels \(shape \(4, 9, 7\)\)"),
    ):
        source.load()


def read_and_load(path: Path) -> Study:
    """Read a study and every slice of it."""
    study = read_study(path)
    for source in study.slices:
        source.load()
    return study


@pytest.mark.filterwarnings("ignore")  # pydicom's, about its own broken files
@pytest.mark.parametrize("file", SAMPLE_FILES, ids=lambda file: file.name)
def test_samples_of_other_libraries_are_refused_with_a_reason(file: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_and_load(file)
    assert caught.value.problem
    assert caught.value.remedy
    assert "while decoding" not in caught.value.problem  # told apart by their headers, not by what breaks on them


@pytest.mark.filterwarnings("ignore")
def test_a_study_among_samples_is_found_and_they_are_named(tmp_path: Path) -> None:
    shutil.copytree(SAMPLES, tmp_path / "samples")
    vendors.write_siemens_classic(tmp_path / "case", vendors.tagged_study())
    study = read_study(tmp_path)
    found = {source.name: source for source in study.slices}
    for cine in vendors.tagged_study():
        np.testing.assert_array_equal(found[cine.name].load().frames, cine.frames)
    told = " ".join(study.skipped)
    assert all(reason in told for reason in ("no pixel data", "no MR image", "color image", "single frame"))


def test_identities_are_read_only_where_they_are_to_be_kept(tmp_path: Path) -> None:
    def edit(dataset: FileDataset) -> None:
        dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = "Sekret^Jo", "S1", "19500203"
        dataset.PatientSex, dataset.StudyID, dataset.AccessionNumber = "F", "7", "A9"
        dataset.StudyDate, dataset.StudyTime, dataset.ReferringPhysicianName = "20200304", "101112", "Ref^Erral"

    files = write_study(tmp_path / "case")
    edit_dicom(files, edit)
    zipped = zip_folder(tmp_path / "case", tmp_path / "a.zip")
    enhanced = vendors.write_siemens_enhanced(tmp_path / "b.dcm", vendors.tagged_study())
    expected = ArchiveIdentity("S1", "Sekret^Jo", "19500203", "F", "7", "20200304", "101112", "A9", "Ref^Erral")
    for read, path in ((read_dicom_folder, tmp_path / "case"), (read_dicom_zip, zipped)):
        assert read(path).identity is None
        assert read(path, keep_ids=True).identity == expected
    assert read_dicom_file(enhanced, keep_ids=True).identity == ArchiveIdentity("Sekret1", "Sekret^Jo")
