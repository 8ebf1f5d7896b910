"""The same study as every vendor stores it gives the same cines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import vendor_dicom as vendors
from highdicom.legacy import LegacyConvertedEnhancedMRImage
from io_examples import by_name, edit_dicom, zip_folder
from pydicom import FileDataset, dcmread
from pydicom.uid import (
    EnhancedMRImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
    MRImageStorage,
    generate_uid,
)

from tagstrain.data import Study, TaggedCine
from tagstrain.errors import InputError
from tagstrain.io import read_study

N_FRAMES = 5


def write_legacy_converted(folder: Path, cines: list[TaggedCine]) -> None:
    """Classic images of a GE series, converted by highdicom."""
    vendors.write_ge(folder / "classic", cines)
    classic = [dcmread(file) for file in sorted((folder / "classic").iterdir())]
    for dataset in classic:
        dataset.PatientSex = dataset.PatientBirthDate = dataset.AccessionNumber = ""
    converted = LegacyConvertedEnhancedMRImage(classic, "1.2.3.4", 9, "1.2.3.4.5", 1)
    for file in (folder / "classic").iterdir():
        file.unlink()
    converted.save_as(folder / "converted.dcm")


def unchanged(cine: TaggedCine) -> TaggedCine:
    return cine


STYLES: dict[str, tuple[Callable[[Path, list[TaggedCine]], object], Callable[[TaggedCine], TaggedCine], str]] = {
    "siemens classic": (vendors.write_siemens_classic, unchanged, MRImageStorage),
    "ge": (vendors.write_ge, unchanged, MRImageStorage),
    "philips classic": (vendors.write_philips_classic, vendors.philips_rescaled, MRImageStorage),
    "siemens enhanced": (
        lambda folder, cines: vendors.write_siemens_enhanced(folder / "a.dcm", cines),
        unchanged,
        EnhancedMRImageStorage,
    ),
    "philips enhanced": (
        lambda folder, cines: vendors.write_philips_enhanced(folder / "a.dcm", cines),
        vendors.philips_rescaled,
        EnhancedMRImageStorage,
    ),
    "legacy converted": (write_legacy_converted, unchanged, LegacyConvertedEnhancedMRImageStorage),
}


@pytest.fixture(scope="module", params=list(STYLES))
def stored(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A study on disk, written once per style."""
    folder = tmp_path_factory.mktemp("vendor") / request.param.replace(" ", "_")
    if "enhanced" in request.param or "converted" in request.param:
        folder.mkdir()
    STYLES[request.param][0](folder, vendors.tagged_study()[::-1])
    return request.param, folder


@pytest.fixture(scope="module")
def study(stored: tuple[str, Path]) -> Study:
    return read_study(stored[1])


def test_pixels_times_spacing_and_levels_are_those_that_went_in(stored: tuple[str, Path], study: Study) -> None:
    found = by_name(study)
    assert list(found) == ["basal", "mid", "apical"]
    for cine in vendors.tagged_study():
        expected = STYLES[stored[0]][1](cine)
        got = found[cine.name]
        np.testing.assert_array_equal(got.frames, expected.frames)
        np.testing.assert_allclose(got.frame_times_ms, cine.frame_times_ms, atol=1e-6)
        np.testing.assert_allclose(got.pixel_spacing, cine.pixel_spacing)
        assert got.level is cine.level


def test_the_plane_is_the_one_that_went_in(study: Study) -> None:
    for source, cine in zip(study.slices, vendors.tagged_study(), strict=True):
        np.testing.assert_allclose(source.load().affine, cine.affine, atol=1e-5)


def test_the_rr_interval_is_found_wherever_it_stands(study: Study) -> None:
    for source in study.slices:
        assert source.load().rr_interval_ms == pytest.approx(vendors.RR_INTERVAL_MS, rel=0.01)


def test_every_frame_refers_to_its_archived_image(stored: tuple[str, Path], study: Study) -> None:
    """The image that the reference names holds the frame's pixels."""
    style, folder = stored
    files = {d.SOPInstanceUID: d for d in (dcmread(f) for f in folder.rglob("*") if f.is_file())}
    for source in study.slices:
        cine = source.load()
        assert cine.source_series is not None
        assert len({(i.sop_instance_uid, i.frame_number) for i in cine.source_series.images}) == N_FRAMES
        for t, image in enumerate(cine.source_series.images):
            dataset = files[image.sop_instance_uid]
            assert image.sop_class_uid == dataset.SOPClassUID == STYLES[style][2]
            assert cine.source_series.series_uid == dataset.SeriesInstanceUID
            assert cine.source_series.study_uid == dataset.StudyInstanceUID
            assert cine.source_series.frame_of_reference_uid == dataset.FrameOfReferenceUID
            pixels = dataset.pixel_array
            if image.frame_number is not None:
                pixels = pixels[image.frame_number - 1]
            assert np.corrcoef(pixels.ravel(), cine.frames[t].ravel())[0, 1] > 0.9999


def test_only_what_is_assumed_is_told(stored: tuple[str, Path], study: Study) -> None:
    for source in study.slices:
        (warning,) = source.load().warnings
        assert "positions" in warning
    n_phase = 3 * N_FRAMES if "philips" in stored[0] else 0
    assert len(study.skipped) == (1 if n_phase else 0)
    assert all(f"{n_phase} phase images left out" in reason for reason in study.skipped)


def test_a_zip_gives_the_same_cines(stored: tuple[str, Path], study: Study, tmp_path: Path) -> None:
    zipped = read_study(zip_folder(stored[1], tmp_path / "a.zip"))
    assert zipped.skipped == study.skipped
    for one, other in zip(zipped.slices, study.slices, strict=True):
        np.testing.assert_array_equal(one.load().frames, other.load().frames)


def test_an_enhanced_file_is_read_by_itself(tmp_path: Path) -> None:
    path = vendors.write_siemens_enhanced(tmp_path / "case 3.dcm", vendors.tagged_study())
    study = read_study(path)
    assert study.key == "case_3"
    assert [source.name for source in study.slices] == ["basal", "mid", "apical"]
    assert "Sekret" not in repr(study)


def test_phase_alone_is_refused_with_the_reason(tmp_path: Path) -> None:
    path = vendors.write_philips_enhanced(tmp_path / "a.dcm", vendors.tagged_study())
    dataset = dcmread(path)
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        frame.MRImageFrameTypeSequence[0].ComplexImageComponent = "PHASE"
    dataset.save_as(path)
    with pytest.raises(InputError, match=r"no magnitude image \(series 5: 30 phase images"):
        read_study(path)


def test_objects_whose_frames_are_not_described_are_refused(tmp_path: Path) -> None:
    path = vendors.write_siemens_enhanced(tmp_path / "a.dcm", vendors.tagged_study())
    dataset = dcmread(path)
    del dataset.PerFrameFunctionalGroupsSequence[3:]
    dataset.save_as(path)
    with pytest.raises(InputError, match="describes 3 frames and announces 15"):
        read_study(path)
    del dataset.PerFrameFunctionalGroupsSequence
    dataset.save_as(path)
    with pytest.raises(InputError, match="multi-frame object without functional groups"):
        read_study(path)


def test_ge_phase_images_are_known_by_its_own_attribute(tmp_path: Path) -> None:
    """Same trigger times, ImageType and description: only the private attribute tells magnitude from phase."""
    cine = vendors.tagged_cine()
    for kind, folder in enumerate(("magnitude", "phase")):
        vendors.write_ge(tmp_path / folder, [cine])
        files = sorted((tmp_path / folder).iterdir())

        def edit(dataset: FileDataset, kind: int = kind) -> None:
            dataset.private_block(0x0043, "GEMS_PARM_01", create=True).add_new(0x2F, "SS", kind)
            if kind:
                dataset.SOPInstanceUID = generate_uid(entropy_srcs=[dataset.SOPInstanceUID, "phase"])
                dataset.PixelData = (4095 - dataset.pixel_array).astype("<u2").tobytes()

        edit_dicom(files, edit)
    study = read_study(tmp_path)
    (source,) = study.slices
    np.testing.assert_array_equal(source.load().frames, cine.frames)
    assert any("5 phase images left out" in reason for reason in study.skipped)


def test_a_damaged_private_attribute_counts_as_missing(tmp_path: Path) -> None:
    cine = vendors.tagged_cine()
    vendors.write_ge(tmp_path, [cine])

    files = sorted(tmp_path.iterdir())
    edit_dicom(files, lambda d: d.private_block(0x0043, "GEMS_PARM_01", create=True).add_new(0x2F, "SS", [7, 8]))
    for file in files:
        whole = b"\x43\x00\x2f\x10SS\x04\x00\x07\x00\x08\x00"
        content = file.read_bytes()
        assert content.count(whole) == 1
        file.write_bytes(content.replace(whole, b"\x43\x00\x2f\x10SS\x03\x00\x07\x00\x08"))
    (source,) = read_study(tmp_path).slices
    np.testing.assert_array_equal(source.load().frames, cine.frames)


@pytest.mark.parametrize("nominal_ms", [0.0, None])
def test_a_nominal_clock_that_stands_still_gives_way_to_the_actual_one(
    tmp_path: Path, nominal_ms: float | None
) -> None:
    cines = vendors.tagged_study()
    path = vendors.write_siemens_enhanced(tmp_path / "a.dcm", cines)
    dataset = dcmread(path)
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        clock = frame.CardiacSynchronizationSequence[0]
        clock.ActualCardiacTriggerDelayTime = clock.NominalCardiacTriggerDelayTime
        if nominal_ms is None:
            del clock.NominalCardiacTriggerDelayTime
        else:
            clock.NominalCardiacTriggerDelayTime = nominal_ms
    dataset.save_as(path)
    for source, cine in zip(read_study(path).slices, cines, strict=True):
        np.testing.assert_allclose(source.load().frame_times_ms, cine.frame_times_ms)


def test_a_clock_is_not_judged_by_frames_of_several_planes(tmp_path: Path) -> None:
    """One object per phase with all planes in it: the nominal time is the same in all of its frames."""
    cines = vendors.tagged_study()
    whole = dcmread(vendors.write_siemens_enhanced(tmp_path / "a.dcm", cines))
    (tmp_path / "a.dcm").unlink()
    pixels, frames = whole.pixel_array, list(whole.PerFrameFunctionalGroupsSequence)
    for phase in range(N_FRAMES):
        places = [k for k, f in enumerate(frames) if f.FrameContentSequence[0].TemporalPositionIndex == phase + 1]
        for delay_ms, k in enumerate(places):
            frames[k].CardiacSynchronizationSequence[0].ActualCardiacTriggerDelayTime = float(delay_ms)
        whole.PerFrameFunctionalGroupsSequence, whole.NumberOfFrames = [frames[k] for k in places], len(places)
        whole.SOPInstanceUID = whole.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(phase)])
        whole.PixelData = pixels[places].tobytes()
        whole.save_as(tmp_path / f"{phase}.dcm")
    for source, cine in zip(read_study(tmp_path).slices, cines, strict=True):
        np.testing.assert_allclose(source.load().frame_times_ms, cine.frame_times_ms)


def test_enhanced_objects_of_one_frame_each_go_by_their_instance_numbers(tmp_path: Path) -> None:
    """Nothing else orders them: no clock, no temporal position, file names the other way around."""
    cine = vendors.tagged_cine()
    whole = dcmread(vendors.write_siemens_enhanced(tmp_path / "a.dcm", [cine]))
    (tmp_path / "a.dcm").unlink()
    pixels, frames = whole.pixel_array, list(whole.PerFrameFunctionalGroupsSequence)
    for k, frame in enumerate(frames):
        t = int(frame.FrameContentSequence[0].TemporalPositionIndex) - 1
        del frame.FrameContentSequence[0].TemporalPositionIndex
        del frame.CardiacSynchronizationSequence[0].NominalCardiacTriggerDelayTime
        whole.PerFrameFunctionalGroupsSequence = [frame]
        whole.NumberOfFrames, whole.InstanceNumber = 1, t + 1
        whole.SOPInstanceUID = whole.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(t)])
        whole.PixelData = pixels[k].tobytes()
        whole.save_as(tmp_path / f"{9 - t}.dcm")
    (source,) = read_study(tmp_path).slices
    found = source.load()
    np.testing.assert_array_equal(found.frames, cine.frames)
    assert any("order of their instance numbers" in warning for warning in found.warnings)
