"""DICOM objects: that a validator finds no fault, and that other software reads from them what was measured."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest
from archived_slice import FRAME_OF_REFERENCE_UID, STUDY_UID, archived_slice
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.sr.codedict import codes as standard
from pydicom.sr.coding import Code
from pydicom.uid import MRImageStorage

from contracting_slice import contracting_slice
from tagstrain.data import (
    ArchiveIdentity,
    Box,
    LandmarkTracks,
    Provenance,
    SliceFailure,
    SliceLevel,
    SliceResult,
    SourceImage,
)
from tagstrain.report import dicom_codes as codes
from tagstrain.report.animation import draw_frames
from tagstrain.report.curves import peak_strains
from tagstrain.report.dicom_segmentation import write_segmentation
from tagstrain.report.dicom_study import DicomStudy
from tagstrain.report.results_dicom import ResultsDicom

PROVENANCE = Provenance("1.2.3", "flow", {"tracker": "4 sha256:ab"}, "cpu")
IDENTITY = ArchiveIdentity("ID-17", "Müller^Änne", "19500131", "F", "S1", "20200229", "101112.5", "ACC1", "Doe^Jo")
MID = archived_slice("mid", SliceLevel.MID)
SHORT = archived_slice(n_frames=2)
ELSEWHERE = archived_slice("slice_2", SliceLevel.UNKNOWN, n_frames=4, multi_frame=True)


def polygon_area(corners: np.ndarray) -> float:
    x, y = corners.T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Objects of two slices, one from single-frame and one from multi-frame images, and of one that failed."""
    path = tmp_path_factory.mktemp("study") / "dicom"
    writer = ResultsDicom(path, DicomStudy("case", PROVENANCE, IDENTITY))
    assert writer.add(MID) == []
    assert writer.add(ELSEWHERE) == []
    writer.fail(SliceFailure("apical", "No left ventricle found."))
    writer.warn("slice levels may be mixed up")
    writer.close()
    return path


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy (Debian: dicom3tools)")
@pytest.mark.parametrize(
    "name", ["strain_report", "mid_segmentation", "slice_2_segmentation", "mid_movie", "slice_2_movie"]
)
def test_a_validator_finds_no_error(folder: Path, name: str) -> None:
    said = subprocess.run(["dciodvfy", folder / f"{name}.dcm"], capture_output=True, text=True, check=False)
    assert "Error" not in said.stdout + said.stderr


def test_report_holds_the_peaks_of_the_results(folder: Path) -> None:
    report = hd.sr.srread(folder / "strain_report.dcm")
    groups = report.content.get_image_measurement_groups()
    for group, result in zip(groups, (MID, ELSEWHERE), strict=True):
        assert group.tracking_identifier == result.name
        peaks = peak_strains(result.strain)
        mean, radial = peaks["circumferential_mean"], peaks["radial"]
        midwall = peaks["circumferential_midwall"].green_lagrange
        assert midwall is not None
        expected = {
            codes.CIRCUMFERENTIAL_MEAN: 100 * mean.green_lagrange.value,
            codes.CIRCUMFERENTIAL_MIDWALL: 100 * midwall.value,
            codes.RADIAL_WALL: 100 * radial.green_lagrange.value,
            Code("130677", "DCM", "Circumferential Lagrangian Strain"): 100 * mean.linear.value,
            Code("130675", "DCM", "Radial Lagrangian Strain"): 100 * radial.linear.value,
            codes.END_SYSTOLE_TIME: result.strain.frame_times_ms[result.strain.es_frame],
            codes.END_DIASTOLE_FRAME: 1,
            codes.END_SYSTOLE_FRAME: result.strain.es_frame + 1,
        }
        found = {measurement.name: measurement for measurement in group.get_measurements()}
        assert set(found) == set(expected)
        for name, value in expected.items():
            assert found[name].value == pytest.approx(value, abs=1e-4)
        assert found[codes.RADIAL_WALL].unit == Code("%", "UCUM", "Percent")
        assert found[codes.RADIAL_WALL].derivation == codes.MAXIMUM
        assert found[codes.CIRCUMFERENTIAL_LINEAR].derivation == codes.MINIMUM
        assert found[codes.END_SYSTOLE_TIME].unit == Code("ms", "UCUM", "ms")


def test_report_says_where_with_what_and_on_which_images(folder: Path) -> None:
    report = hd.sr.srread(folder / "strain_report.dcm")
    mid, elsewhere = report.content.get_image_measurement_groups()
    (site,) = mid.finding_sites
    assert (site.value, site.topographical_modifier) == (codes.LEFT_VENTRICLE_MYOCARDIUM, codes.LEVELS[SliceLevel.MID])
    assert elsewhere.finding_sites[0].topographical_modifier is None
    images = [image.referenced_sop_instance_uid for image in mid.source_images]
    assert images == [image.sop_instance_uid for image in MID.cine.source_series.images]
    (image,) = elsewhere.source_images
    assert image.referenced_frame_numbers == [1, 2, 3, 4]
    assert len(report.get_evidence(current_procedure_only=True)) == MID.cine.n_frames + 1
    (device,) = report.content.get_observer_contexts(standard.DCM.Device)
    assert device.observer_identifying_attributes.model_name == "tagstrain flow"
    texts = [item.value for item in report.content[0].ContentSequence if item.name == codes.COMMENT]
    assert texts[0] == "Research software: not for diagnostic use."
    assert "Slice mid: times assumed." in texts
    assert "Slice apical was not measured: No left ventricle found." in texts
    assert "Study: slice levels may be mixed up." in texts
    (weights,) = hd.sr.utils.find_content_items(mid[0], name=standard.DCM.AlgorithmParameters)
    assert weights.TextValue == "tracker weights 4 sha256:ab"


def test_segmentation_has_the_area_of_the_wall(folder: Path) -> None:
    for result in (MID, ELSEWHERE):
        segmentation = hd.seg.segread(folder / f"{result.name}_segmentation.dcm")
        pixels = segmentation.pixel_array
        assert pixels.shape == result.cine.frames.shape
        areas = [polygon_area(points[:, -1]) - polygon_area(points[:, 0]) for points in result.landmarks.points_px]
        np.testing.assert_allclose(pixels.sum(axis=(1, 2)), areas, rtol=0.01)


def test_segmentation_lies_on_its_source_frames(folder: Path) -> None:
    segmentation = hd.seg.segread(folder / "mid_segmentation.dcm")
    cine = MID.cine
    to_patient = hd.spatial.PixelToReferenceTransformer.for_image(segmentation, frame_number=2)
    corners = np.array([[0, 0], [119, 0], [0, 127], [119, 127]])
    expected = np.column_stack([corners, np.zeros(4), np.ones(4)]) @ cine.affine.T
    np.testing.assert_allclose(to_patient(corners), expected[:, :3], atol=1e-6)
    assert segmentation.FrameOfReferenceUID == FRAME_OF_REFERENCE_UID
    uids = [image.sop_instance_uid for image in cine.source_series.images]
    by_image = segmentation.get_pixels_by_source_instance(uids[::-1], segment_numbers=[1])
    np.testing.assert_array_equal(by_image[::-1, ..., 0], segmentation.pixel_array)
    by_frame = hd.seg.segread(folder / "slice_2_segmentation.dcm")
    (uid,) = {image.sop_instance_uid for image in ELSEWHERE.cine.source_series.images}
    last = by_frame.get_pixels_by_source_frame(uid, [4], segment_numbers=[1])
    np.testing.assert_array_equal(last[0, ..., 0], by_frame.pixel_array[3])


@pytest.mark.parametrize(("seen_box", "made_by"), [(Box(1, 2, 30, 40), "AUTOMATIC"), (None, "SEMIAUTOMATIC")])
def test_segmentation_says_whether_the_user_had_a_say(seen_box: Box | None, made_by: str, tmp_path: Path) -> None:
    write_segmentation(tmp_path / "s.dcm", replace(MID, seen_box=seen_box), DicomStudy("case", PROVENANCE), 1)
    (segment,) = pydicom.dcmread(tmp_path / "s.dcm").SegmentSequence
    assert segment.SegmentAlgorithmType == made_by


def test_segmentation_leaves_out_frames_without_landmarks(tmp_path: Path) -> None:
    points = MID.landmarks.points_px.copy()
    points[2] = np.nan
    points[3, 5] = np.nan  # one spoke: the wall is cut straight there
    lost = replace(MID, landmarks=LandmarkTracks(points, MID.landmarks.sigma_px))
    write_segmentation(tmp_path / "lost.dcm", lost, DicomStudy("case", PROVENANCE), 1)
    areas = hd.seg.segread(tmp_path / "lost.dcm").pixel_array.sum(axis=(1, 2))
    assert areas[2] == 0
    assert 0.97 * areas[0] < areas[3] < areas[0]


def test_movie_shows_the_pictures_at_the_speed_of_the_heart(folder: Path) -> None:
    movie = pydicom.dcmread(folder / "mid_movie.dcm")
    np.testing.assert_array_equal(movie.pixel_array, np.stack(draw_frames(MID)))
    times_ms = MID.cine.frame_times_ms
    np.testing.assert_allclose(np.cumsum(movie.FrameTimeVector), times_ms - times_ms[0], atol=0.01)
    assert movie.FrameIncrementPointer == pydicom.tag.Tag("FrameTimeVector")


def test_objects_join_the_study_of_their_images(folder: Path) -> None:
    objects = [pydicom.dcmread(path, stop_before_pixels=True) for path in sorted(folder.iterdir())]
    assert len(objects) == 5
    assert {str(found.PatientName) for found in objects} == {"Müller^Änne"}
    assert {found.PatientID for found in objects} == {"ID-17"}
    assert {found.PatientBirthDate for found in objects} == {"19500131"}
    assert {found.AccessionNumber for found in objects} == {"ACC1"}
    assert {found.StudyInstanceUID for found in objects} == {STUDY_UID}
    assert {found.StudyDate for found in objects} == {"20200229"}
    assert len({found.SeriesInstanceUID for found in objects}) == len({found.Modality for found in objects}) == 3
    assert len({found.SOPInstanceUID for found in objects}) == 5


def study_written_without_identity(folder: Path, result: SliceResult) -> list[str]:
    writer = ResultsDicom(folder, DicomStudy("case", PROVENANCE))
    warnings = writer.add(result)
    writer.close()
    return warnings


def test_without_identity_the_patient_is_the_study_key_and_the_study_new(tmp_path: Path) -> None:
    study_written_without_identity(tmp_path / "dicom", SHORT)
    studies = set()
    for path in (tmp_path / "dicom").iterdir():
        found = pydicom.dcmread(path, stop_before_pixels=True)
        assert found.PatientID == "case"
        assert not any(found.get(keyword) for keyword in ("PatientName", "PatientBirthDate", "AccessionNumber"))
        studies.add(found.StudyInstanceUID)
    assert len(studies) == 1
    assert STUDY_UID not in studies
    segmentation = pydicom.dcmread(tmp_path / "dicom" / "mid_segmentation.dcm")
    (referred,) = segmentation.StudiesContainingOtherReferencedInstancesSequence
    assert referred.StudyInstanceUID == STUDY_UID
    report = pydicom.dcmread(tmp_path / "dicom" / "strain_report.dcm")
    evidence = [
        *report.get("CurrentRequestedProcedureEvidenceSequence", ()),
        *report.get("PertinentOtherEvidenceSequence", ()),
    ]
    assert {item.StudyInstanceUID for item in evidence} == {STUDY_UID}


def test_images_of_other_formats_get_a_movie_alone(tmp_path: Path) -> None:
    (warning,) = study_written_without_identity(tmp_path / "dicom", contracting_slice(2))
    assert "only the movie" in warning
    assert [path.name for path in (tmp_path / "dicom").iterdir()] == ["mid_movie.dcm"]


@pytest.mark.parametrize(
    "damage",
    [
        {"study_uid": "not a uid"},
        {"frame_of_reference_uid": "1.02.3"},
        {"images": (SourceImage("1.2.3", "1.2.4"), SourceImage("1.2.3", "1.2.5"))},
        {"images": (SourceImage(MRImageStorage, "9" * 65), SourceImage(MRImageStorage, "1.2.5"))},
    ],
    ids=["study", "frame of reference", "private class", "too long"],
)
def test_images_that_cannot_be_referred_to_get_a_movie_alone(
    tmp_path: Path, damage: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tagstrain.report.dicom_movie.draw_frames", lambda result: [np.zeros((8, 8, 3), np.uint8)] * 2)
    source = replace(SHORT.cine.source_series, **damage)
    damaged = replace(SHORT, cine=replace(SHORT.cine, source_series=source))
    (warning,) = study_written_without_identity(tmp_path / "dicom", damaged)
    assert "only the movie" in warning
    assert [path.name for path in (tmp_path / "dicom").iterdir()] == ["mid_movie.dcm"]


def test_images_without_a_place_get_no_segmentation(tmp_path: Path) -> None:
    nowhere = replace(SHORT, cine=replace(SHORT.cine, affine=None))
    (warning,) = study_written_without_identity(tmp_path / "dicom", nowhere)
    assert "segmentation" in warning
    assert sorted(path.name for path in (tmp_path / "dicom").iterdir()) == ["mid_movie.dcm", "strain_report.dcm"]


@settings(max_examples=50)
@given(st.lists(st.text(max_size=80), min_size=9, max_size=9))
def test_any_text_of_a_header_gives_an_object_that_can_be_written_and_read(values: list[str]) -> None:
    header = DicomStudy("case", PROVENANCE, ArchiveIdentity(*values)).patient_and_study(MID.cine)
    stream = BytesIO()
    header.save_as(stream, implicit_vr=False, little_endian=True)
    stream.seek(0)
    found = pydicom.dcmread(stream, force=True)
    assert found.StudyInstanceUID == STUDY_UID
    assert found.PatientSex in (None, "", "M", "F", "O")
    for element in found:
        pydicom.valuerep.validate_value(element.VR, str(element.value or ""), pydicom.config.RAISE)
