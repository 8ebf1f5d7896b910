"""Tagged series are told from others, and line tags acquired apart become one grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from io_examples import by_name, edit_dicom, example_cine, set_study
from pydicom.dataset import FileDataset
from vendor_dicom import tagged_cine, tagged_study

from tagstrain.data import PixelSpacing, TaggedCine
from tagstrain.errors import InputError
from tagstrain.geometry.tag_spectrum import measure_tags
from tagstrain.io import read_study, write_dicom_study
from tagstrain.io.dicom_lines import breath_holds_apart_mm, heart_shift_mm


def write_series(
    folder: Path,
    cines: Sequence[TaggedCine],
    description: str = "HLA_03",
    seed: int = 1,
    edit: Callable[[FileDataset], object] = lambda _: None,
) -> list[Path]:
    """One series per cine; those of all seeds are of one study."""
    files = write_dicom_study(folder, cines, seed, [description] * len(cines))
    edit_dicom(files, lambda d: (setattr(d, "SeriesNumber", seed), edit(d))[0])
    set_study(files)
    return files


def plain_cine() -> TaggedCine:
    """The same tissue without tags."""
    return tagged_cine(angles_deg=())


def setting(**attributes: object) -> Callable[[FileDataset], object]:
    """Edit that sets attributes."""
    return lambda dataset: [setattr(dataset, keyword, value) for keyword, value in attributes.items()]


def test_a_cine_beside_the_tagged_slices_is_skipped_for_what_it_shows(tmp_path: Path) -> None:
    write_series(tmp_path / "tagged", tagged_study(), seed=1)
    write_series(tmp_path / "cine", [plain_cine()], seed=2)
    study = read_study(tmp_path)
    assert [source.name for source in study.slices] == ["basal", "mid", "apical"]
    assert study.skipped == ("series 2 (1 slice, 5 frames): not tagged, an early frame shows no tag lines",)


def test_the_scanners_word_counts_before_the_pixels(tmp_path: Path) -> None:
    write_series(tmp_path / "a", [tagged_cine()], seed=1, edit=setting(Tagging="NONE"))
    write_series(tmp_path / "b", [plain_cine()], seed=2, edit=setting(Tagging="GRID"))
    study = read_study(tmp_path)
    np.testing.assert_array_equal(study.slices[0].load().frames, plain_cine().frames)
    assert study.skipped == ("series 1 (1 slice, 5 frames): not tagged, Tagging (0018,9028) is NONE",)


@pytest.mark.parametrize(
    ("description", "is_kept"),
    [
        ("cine_tagging_3sl_SAX_b2s", True),
        ("SAX tagged mid", True),
        ("GRIDTAGGING", True),
        ("tags", True),
        ("CSPAMM_4ch", True),
        ("cine_sa_stage_2", False),
        ("vintage cine", False),
        ("Cartagena", False),
    ],
)
def test_a_name_that_says_tags_keeps_a_series_in_which_none_are_seen(
    tmp_path: Path, description: str, is_kept: bool
) -> None:
    write_series(tmp_path / "a", [plain_cine()], description, edit=setting(Tagging="NONE") if is_kept else setting())
    if is_kept:
        assert len(read_study(tmp_path).slices) == 1
    else:
        with pytest.raises(InputError, match=r"holds no tagged series \(series 1 .*no tag lines\)"):
            read_study(tmp_path)


def test_images_that_cannot_be_judged_are_kept(tmp_path: Path) -> None:
    write_series(tmp_path / "narrow", [example_cine()], seed=1)
    files = write_series(tmp_path / "damaged", [plain_cine()], seed=2)
    edit_dicom(files[:1], lambda d: setattr(d, "PixelData", d.PixelData[:-14]))
    study = read_study(tmp_path)
    assert len(study.slices) == 2
    assert study.skipped == ()


def test_scouts_and_volumes_are_named_once_per_series(tmp_path: Path) -> None:
    write_series(tmp_path / "tagged", [tagged_cine()], seed=1)
    volume = write_series(tmp_path / "volume", [plain_cine()], seed=2)
    edit_dicom(volume, lambda d: setattr(d, "ImagePositionPatient", [0, 0, 9 * d.InstanceNumber]))
    study = read_study(tmp_path)
    assert len(study.slices) == 1
    assert [reason.split(": ")[1] for reason in study.skipped] == [
        "5 planes with a single frame each, at least 2 are needed to measure motion"
    ]


def read_lines(folder: Path) -> TaggedCine:
    (source,) = read_study(folder).slices
    return source.load()


def test_line_tags_of_two_series_become_one_grid(tmp_path: Path) -> None:
    first, second = tagged_cine(angles_deg=[10.0]), tagged_cine(angles_deg=[100.0])
    second = replace(second, frame_times_ms=second.frame_times_ms + 6)
    write_series(tmp_path / "h", [first], seed=1)
    write_series(tmp_path / "v", [second], seed=2)
    cine = read_lines(tmp_path)
    np.testing.assert_allclose(cine.frames, np.sqrt(first.frames * second.frames), rtol=1e-6)
    np.testing.assert_allclose(cine.frame_times_ms, first.frame_times_ms + 3)
    assert "line tags of series 1 and 2, whose frames are up to 6 ms apart" in cine.warnings[0]
    assert cine.source.startswith("DICOM, 10 files")
    assert cine.source_series is not None
    pattern = measure_tags(cine.frames[:1], cine.spacing_xy_mm, np.array([29.5, 35.5]), 40.0)
    angles = sorted(direction.tag_angle_deg % 180 for direction in pattern.directions)
    np.testing.assert_allclose(angles, [10, 100], atol=2)


def breath_hold(angle_deg: float, heart_mm: tuple[float, float], seed: int) -> TaggedCine:
    """A ring that beats, somewhere before a chest that stays, under line tags that fade."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:90, :100] * 1.5
    tags = np.cos(2 * np.pi * (x * np.cos(np.deg2rad(angle_deg)) + y * np.sin(np.deg2rad(angle_deg))) / 7)
    chest = 600 + 300 * np.sin(x / 17) * np.cos(y / 23)
    frames = []
    for k in range(10):
        radius = np.hypot(x - 75 - heart_mm[0], y - 68 - heart_mm[1])
        beat = 5 * np.sin(np.pi * k / 9)
        heart = 500 * ((radius < 30 - beat / 3) & (radius > 20 - beat)) - 300 * (radius < 20 - beat)
        frames.append((chest + heart) * (1 - 0.05 * k) * (1 + 0.6 * np.exp(-k / 8) * tags) + rng.normal(0, 20, x.shape))
    affine = tagged_cine().affine
    stored = np.rint(np.clip(frames, 0, 4095)).astype(np.float32)
    return TaggedCine(stored, 20 + 40.0 * np.arange(10), PixelSpacing(1.5, 1.5), name="x", affine=affine)


@pytest.mark.parametrize(
    ("shift_mm", "is_said"), [((0.0, 0.0), False), ((0.0, 1.5), False), ((0.0, 9.0), True), ((-6.0, 8.0), True)]
)
def test_a_heart_that_lies_elsewhere_in_the_other_breath_hold_is_said(
    tmp_path: Path, shift_mm: tuple[float, float], is_said: bool
) -> None:
    for place, (angle_deg, heart_mm) in enumerate(((10.0, (0.0, 0.0)), (100.0, shift_mm))):
        write_series(tmp_path / str(place), [breath_hold(angle_deg, heart_mm, place)], seed=place + 1)
    cine = read_lines(tmp_path)
    told = [warning for warning in cine.warnings if "in the two breath-holds" in warning]
    assert bool(told) == is_said
    if told:
        assert cine.breath_holds_apart_mm == pytest.approx(np.hypot(*shift_mm), abs=2)
        assert f"lie {cine.breath_holds_apart_mm:.0f} mm apart" in told[0]
    else:
        assert cine.breath_holds_apart_mm is None


@pytest.mark.parametrize(("rows", "apart_mm"), [(3, None), (4, 4.0), (5, 5.0)])
def test_a_heart_is_told_apart_from_four_millimeters_on(rows: int, apart_mm: float | None) -> None:
    y, x = np.mgrid[:90, :100]
    inner_px = 20 - 5 * np.sin(np.pi * np.arange(10) / 9)[:, None, None]
    heart = ((np.hypot(x - 50, y - 42) < 28) & (np.hypot(x - 50, y - 42) > inner_px)).astype(np.float32)
    assert breath_holds_apart_mm(heart, np.roll(heart, rows, axis=1), PixelSpacing(1, 1)) == apart_mm


def test_where_nothing_beats_nobody_knows_where_the_heart_is() -> None:
    still = np.ones((5, 40, 30), np.float32)
    spacing = np.array([1.5, 1.2])
    assert np.isnan(heart_shift_mm(still, still, spacing))
    rng = np.random.default_rng(0)
    first, second = (rng.normal(size=(8, 60, 50)).astype(np.float32) for _ in range(2))
    assert np.isnan(heart_shift_mm(first, second, spacing))


def test_the_attributes_direction_makes_a_pair_where_pixels_are_not_asked(tmp_path: Path) -> None:
    for seed, angle_deg in ((1, 0.0), (2, 90.0)):
        write_series(
            tmp_path / f"{seed}", [plain_cine()], seed=seed, edit=setting(Tagging="LINE", TagAngleFirstAxis=angle_deg)
        )
    assert "a grid was made" in read_lines(tmp_path).warnings[0]


@pytest.mark.parametrize("jitter_mm", [0.0, 1e-4])
def test_both_sets_of_lines_in_one_series_are_told_apart_by_acquisition(tmp_path: Path, jitter_mm: float) -> None:
    """CSPAMM-like: the same trigger times twice in one series, one acquisition per direction."""
    for seed, angle in ((1, 0.0), (2, 90.0)):

        def edit(dataset: FileDataset, seed: int = seed) -> None:
            setting(SeriesInstanceUID="1.2.3", AcquisitionNumber=seed)(dataset)
            x, *rest = dataset.ImagePositionPatient
            dataset.ImagePositionPatient = [float(x) + seed * jitter_mm, *rest]

        write_series(tmp_path / f"{seed}", [tagged_cine(angles_deg=[angle])], seed=seed, edit=edit)
    cine = read_lines(tmp_path)
    assert cine.n_frames == 5
    assert "a grid was made" in cine.warnings[0]


@pytest.mark.parametrize(
    "change",
    [
        lambda cine: replace(cine, frame_times_ms=cine.frame_times_ms + 25),
        lambda cine: replace(cine, frame_times_ms=cine.frame_times_ms * 0.4),
    ],
)
def test_lines_that_do_not_match_in_time_are_refused(
    tmp_path: Path, change: Callable[[TaggedCine], TaggedCine]
) -> None:
    write_series(tmp_path / "h", [tagged_cine(angles_deg=[0.0])], seed=1)
    write_series(tmp_path / "v", [change(tagged_cine(angles_deg=[90.0]))], seed=2)
    with pytest.raises(InputError, match="line tags do not match in time"):
        read_study(tmp_path)


def test_frames_that_one_set_of_lines_lacks_are_left_out_and_told(tmp_path: Path) -> None:
    write_series(tmp_path / "h", [tagged_cine(angles_deg=[0.0], n_frames=7)], seed=1)
    write_series(tmp_path / "v", [tagged_cine(angles_deg=[90.0])], seed=2)
    cine = read_lines(tmp_path)
    assert cine.n_frames == 5
    assert cine.warnings[0].endswith("2 frames without a partner are not used")


def test_lines_of_a_slightly_faster_heart_are_matched_as_far_as_they_go(tmp_path: Path) -> None:
    """Two breath-holds of 25 phases each, gated afterwards, at RR intervals of 900 and 920 ms."""
    for seed, rr_interval_ms in ((1, 900.0), (2, 920.0)):
        cine = tagged_cine(angles_deg=[90.0 * seed], n_frames=25)
        write_series(
            tmp_path / f"{seed}", [replace(cine, frame_times_ms=rr_interval_ms / 25 * np.arange(25))], seed=seed
        )
    cine = read_lines(tmp_path)
    # Frame 23 of the slower has frame 24 of the faster for its nearest, and frame 24 none.
    np.testing.assert_allclose(cine.frame_times_ms, [*(910 / 25 * np.arange(23)), (24 * 900 + 23 * 920) / 50])
    assert "whose frames are up to 18 ms apart; 2 frames without a partner" in cine.warnings[0]


@pytest.mark.parametrize(
    "edit",
    [
        setting(ImagePositionPatient=[9, 9, 9]),
        setting(PixelSpacing=[1.6, 1.25]),
    ],
)
def test_crossing_lines_of_other_places_or_spacings_stay_apart(
    tmp_path: Path, edit: Callable[[FileDataset], object]
) -> None:
    write_series(tmp_path / "h", [tagged_cine(angles_deg=[0.0])], seed=1)
    write_series(tmp_path / "v", [tagged_cine(angles_deg=[90.0])], seed=2, edit=edit)
    cines = by_name(read_study(tmp_path))
    assert len(cines) == 2
    assert all(any("one direction" in warning for warning in cine.warnings) for cine in cines.values())


def test_crossing_lines_whose_spacings_differ_by_rounding_become_one_grid(tmp_path: Path) -> None:
    write_series(tmp_path / "h", [tagged_cine(angles_deg=[0.0])], seed=1)
    write_series(tmp_path / "v", [tagged_cine(angles_deg=[90.0])], seed=2, edit=setting(PixelSpacing=[1.50001, 1.25]))
    assert "line tags of series 1 and 2" in read_lines(tmp_path).warnings[0]


def test_a_repeated_set_of_lines_is_used_once(tmp_path: Path) -> None:
    """Horizontal, horizontal again, vertical: the second horizontal one and the vertical one make the grid."""
    runs = [
        tagged_cine(angles_deg=[angle], start_ms=start) for angle, start in ((0.0, 20.0), (0.0, 21.0), (90.0, 20.0))
    ]
    for k, cine in enumerate(runs):
        write_series(tmp_path / f"{k}", [cine], seed=k + 1)
    study = read_study(tmp_path)
    (source,) = study.slices
    np.testing.assert_allclose(source.load().frames, np.sqrt(runs[1].frames * runs[2].frames), rtol=1e-6)
    assert len(study.skipped) == 1
    assert "repeated" in study.skipped[0]


def test_given_spacing_serves_to_judge_images_without_one(tmp_path: Path) -> None:
    write_series(tmp_path / "a", tagged_study(), edit=lambda d: delattr(d, "PixelSpacing"))
    cines = by_name(read_study(tmp_path, (1.5, 1.25)))
    assert [cine.pixel_spacing for cine in cines.values()] == [PixelSpacing(1.5, 1.25)] * 3
