"""``examples/replace_predecessor.py``: its formulas against closed forms, its tables against the names expected."""

from __future__ import annotations

import csv
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline_fakes import make_cine
from tagstrain.inference.models import Models

EXAMPLE = Path(__file__).parents[1] / "examples" / "replace_predecessor.py"
STEP_MS = 40.0
DEPTH = 0.2

COLUMNS = [
    "Strain-SAX: Peak Systolic Circumferential Strain (Absolute Value) [%]",
    "Strain-Tagged: Circumferential strain (apical) [%]",
    "Strain-Tagged: Circumferential strain (basal) [%]",
    "Strain-Tagged: Circumferential strain (global) [%]",
    "Strain-Tagged: Circumferential strain (mid) [%]",
    "Strain-Tagged: Early Diastolic Circumferential Strain Rate [1/s]",
    "Strain-Tagged: Early Diastolic Radial Strain Rate [1/s]",
    "Strain-Tagged: Peak Systolic Circumferential Strain Rate [1/s]",
    "Strain-Tagged: Peak Systolic Radial Strain (Absolute Value) [%]",
    "Strain-Tagged: Peak Systolic Radial Strain Rate [1/s]",
    "Strain-Tagged: Radial strain (apical) [%]",
    "Strain-Tagged: Radial strain (basal) [%]",
    "Strain-Tagged: Radial strain (global) [%]",
    "Strain-Tagged: Radial strain (mid) [%]",
    "Strain-Tagged: Time to Peak Circumferential Strain [ms]",
    "Strain-Tagged: Time to Peak Radial Strain [ms]",
    "eid",
]
KEYS = {
    f"Strain-Tagged: {level} {component} strain [%]"
    for level in ("Basal", "Mid", "Apical", "Global")
    for component in ("Circumferential", "Radial")
}


@pytest.fixture(scope="module")
def example() -> ModuleType:
    """The script as a module; dataclasses look theirs up by name."""
    specification = importlib.util.spec_from_file_location("replace_predecessor", EXAMPLE)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["replace_predecessor"] = module
    specification.loader.exec_module(module)
    return module


def beat(n_frames: int, step_ms: float = STEP_MS, period_ms: float = 20 * STEP_MS) -> tuple[NDArray, NDArray]:
    """Times and a curve that falls to -DEPTH in the middle of a beat and comes back: ``-DEPTH sin(pi t / T)**2``."""
    times_ms = 17.0 + step_ms * np.arange(n_frames)
    return times_ms, -DEPTH * np.sin(np.pi * (times_ms - 17.0) / period_ms) ** 2


def test_strain_rates_of_a_sine_are_those_of_its_secants(example: ModuleType) -> None:
    times_ms, strain = beat(20)
    positive, negative = example.strain_rate_peaks(times_ms, strain)
    # Averaging over 3 frames, pi / 10 apart, shrinks the sine; its steepest points are frames 5 and 15 of 20.
    shrink = (1 + 2 * np.cos(np.pi / 10)) / 3
    swing = DEPTH / 2 * shrink
    step_s = STEP_MS / 1000
    assert negative == pytest.approx(swing * (np.cos(0.7 * np.pi) - np.cos(0.3 * np.pi)) / (4 * step_s))
    assert positive == pytest.approx(swing * (np.cos(1.7 * np.pi) - np.cos(1.4 * np.pi)) / (3 * step_s))
    radial = example.strain_rate_peaks(times_ms, -strain)
    assert radial[0] == pytest.approx(swing * (np.cos(0.4 * np.pi) - np.cos(0.7 * np.pi)) / (3 * step_s))


def test_finely_sampled_rates_approach_the_derivative(example: ModuleType) -> None:
    times_ms, strain = beat(801, step_ms=1.0)
    positive, negative = example.strain_rate_peaks(times_ms, strain)
    assert (positive, -negative) == pytest.approx((DEPTH * np.pi / 0.8,) * 2, rel=1e-3)


def test_a_rate_too_near_the_end_is_missing_and_the_other_stays(example: ModuleType) -> None:
    whole = example.strain_rate_peaks(*beat(20))
    positive, negative = example.strain_rate_peaks(*beat(19))
    assert np.isnan(positive)
    assert negative == whole[1]


@pytest.mark.parametrize("n_frames", range(2, 9))
def test_short_and_straight_curves_have_no_rates(example: ModuleType, n_frames: int) -> None:
    times_ms = STEP_MS * np.arange(n_frames)
    assert np.isnan(example.strain_rate_peaks(times_ms, -0.001 * times_ms)).all()


@given(stretch=st.floats(0.2, 5), start_ms=st.floats(0, 100), n_frames=st.integers(20, 40))
def test_rates_go_with_one_over_time(example: ModuleType, stretch: float, start_ms: float, n_frames: int) -> None:
    times_ms = STEP_MS * np.arange(n_frames)
    # Early diastole is steeper than systole, and no two samples of the rate are equal.
    strain = -DEPTH * np.sin(np.pi * np.linspace(0, 1, n_frames) ** 1.3) ** 2
    slower = example.strain_rate_peaks(start_ms + stretch * times_ms, strain)
    np.testing.assert_allclose(np.array(slower) * stretch, example.strain_rate_peaks(times_ms, strain), rtol=1e-6)


@given(offset=st.floats(-30, 30), slope=st.floats(-1, 1), n_frames=st.integers(2, 40))
def test_smoothing_keeps_straight_lines(example: ModuleType, offset: float, slope: float, n_frames: int) -> None:
    times_ms = STEP_MS * np.arange(n_frames)
    line = offset + slope * times_ms
    np.testing.assert_allclose(example.smoothed(times_ms, line), line, atol=1e-6)


def test_smoothing_keeps_the_curve_and_drops_the_noise(example: ModuleType) -> None:
    times_ms, strain = beat(20)
    np.testing.assert_allclose(example.smoothed(times_ms, 100 * strain), 100 * strain, atol=0.1)
    noise = np.random.default_rng(3).normal(0, 2, (50, 20))
    left = np.array([example.smoothed(times_ms, 100 * strain + n) for n in noise]) - 100 * strain
    assert np.sqrt(np.mean(left**2)) < 0.85 * 2


def test_smoothing_does_not_depend_on_the_unit_of_time(example: ModuleType) -> None:
    times_ms, strain = beat(20)
    noisy = strain + np.random.default_rng(1).normal(0, 0.02, 20)
    in_seconds = example.smoothed(times_ms / 1000, noisy)
    np.testing.assert_allclose(in_seconds, example.smoothed(times_ms, noisy), atol=1e-6)


def test_the_global_curve_is_the_plain_mean_where_slices_share_their_times(example: ModuleType) -> None:
    times_ms, strain = beat(20)
    slices = [example.Curves(times_ms, k * strain, -k * strain) for k in (1.0, 2.0, 6.0)]
    whole = example.mean_of_slices(slices)
    np.testing.assert_allclose(whole.circumferential_percent, 3 * strain, atol=1e-12)
    np.testing.assert_allclose(whole.radial_percent, -3 * strain, atol=1e-12)
    np.testing.assert_array_equal(whole.times_ms, times_ms)


def test_slices_of_other_timing_are_met_at_the_first_ones_times(example: ModuleType) -> None:
    def line(times_ms: NDArray) -> object:
        return example.Curves(times_ms, (times_ms - times_ms[0]) * -0.01, (times_ms - times_ms[0]) * 0.02)

    whole = example.mean_of_slices(
        [line(np.arange(25) * 40.0), line(5 + np.arange(20) * 37.0), line(np.arange(30) * 33.0)]
    )
    np.testing.assert_allclose(whole.times_ms, np.arange(18) * 40.0)
    np.testing.assert_allclose(whole.circumferential_percent, whole.times_ms * -0.01)
    np.testing.assert_allclose(whole.radial_percent, whole.times_ms * 0.02)


def test_numbers_of_a_beat(example: ModuleType) -> None:
    times_ms, strain = beat(20)
    sizes = {"basal": 0.5, "mid": 1.0, "apical": 1.5}
    slices = {level: example.Curves(times_ms, 100 * k * strain, -300 * k * strain) for level, k in sizes.items()}
    slices["global"] = example.mean_of_slices(list(slices.values()))
    row = example.features(slices, rr_interval_ms=800.0)
    assert row["Strain-Tagged: Circumferential strain (apical) [%]"] == pytest.approx(-30)
    assert row["Strain-Tagged: Circumferential strain (global) [%]"] == pytest.approx(-20)
    assert row["Strain-Tagged: Radial strain (basal) [%]"] == pytest.approx(30)
    assert row["Strain-SAX: Peak Systolic Circumferential Strain (Absolute Value) [%]"] == pytest.approx(20, abs=0.1)
    assert row["Strain-Tagged: Peak Systolic Radial Strain (Absolute Value) [%]"] == pytest.approx(60, abs=0.3)
    assert row["Strain-Tagged: Time to Peak Radial Strain [ms]"] == 400
    assert row["Strain-Tagged: Time to Peak Circumferential Strain Index"] == 0.5
    assert row["Strain-Tagged: Peak Systolic Circumferential Strain Rate [1/s]"] < 0
    assert row["Strain-Tagged: Early Diastolic Radial Strain Rate [1/s]"] < 0
    assert sorted(set(row) - {name for name in row if name.endswith("Index")}) == COLUMNS[:-1]


def write_subject(folder: Path, n_frames: int, levels: int = 3, empty: int | None = None) -> Path:
    """Folder with the NIfTI files of a subject, as converters write them: x, y, 1, t."""
    folder.mkdir()
    for k in range(levels):
        cine = make_cine(n_frames=n_frames, empty=k == empty)
        image = nib.Nifti1Image(cine.frames.transpose(2, 1, 0)[:, :, None], None)
        image.header["pixdim"][1:5] = [cine.pixel_spacing.column_mm, cine.pixel_spacing.row_mm, 8, STEP_MS]
        image.header.set_xyzt_units("mm", "msec")
        nib.save(image, folder / f"tag_{k + 1}.nii.gz")
    return folder


def test_every_subject_has_a_line_and_its_curves_whatever_fails(
    example: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fake_models: Models,
) -> None:
    monkeypatch.setattr(example, "load_models", lambda *arguments: fake_models)
    subjects = [
        write_subject(tmp_path / "1000003", n_frames=30),
        write_subject(tmp_path / "1000001", n_frames=6),
        write_subject(tmp_path / "1000002", n_frames=8, levels=2),
        write_subject(tmp_path / "900", n_frames=8, empty=1),
        tmp_path / "absent",
    ]
    out = tmp_path / "out"
    assert example.main([*map(str, subjects), "-o", str(out)]) == 3
    with (out / "strain_tagged.csv").open(newline="") as stream:
        header, *lines = csv.reader(stream)
    assert header == COLUMNS
    assert [line[-1] for line in lines] == ["absent", "900", "1000001", "1000002", "1000003"]
    rows = {line[-1]: dict(zip(header, line, strict=True)) for line in lines}
    # The fake heart shrinks by 20 % in the middle of the cine.
    basal, apical, whole = (f"Strain-Tagged: Circumferential strain ({k}) [%]" for k in ("basal", "apical", "global"))
    assert float(rows["1000003"][whole]) == pytest.approx(-20)
    assert float(rows["1000002"][basal]) == pytest.approx(-20)
    assert rows["1000002"][apical] == rows["1000002"][whole] == rows["900"][whole] == ""
    assert float(rows["900"][apical]) == pytest.approx(-20)
    assert set(rows["absent"].values()) == {"", "absent"}
    rate = "Strain-Tagged: Peak Systolic Circumferential Strain Rate [1/s]"
    assert rows["1000001"][rate] == ""
    assert float(rows["1000003"][rate]) < 0
    errors = capsys.readouterr().err
    assert "1000002, apical: tag_3.nii.gz: does not exist" in errors
    assert "900, mid: No left ventricle found" in errors
    for subject, n_frames in (("1000003", 30), ("1000001", 6), ("1000002", 8), ("absent", 0)):
        with np.load(out / subject / "timeseries" / "strain_tagged.npz") as series:
            assert set(series) == KEYS
            assert {series[key].shape for key in series} == {(n_frames,)}


def test_a_second_run_over_the_same_folder_writes_the_same(
    example: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fake_models: Models,
) -> None:
    monkeypatch.setattr(example, "load_models", lambda *arguments: fake_models)
    write_subject(tmp_path / "1", n_frames=8)
    tables = []
    for _ in range(2):
        assert example.main([*map(str, sorted(tmp_path.glob("*"))), "-o", str(tmp_path)]) == 0
        tables.append((tmp_path / "strain_tagged.csv").read_text())
    assert tables[0] == tables[1]
    assert "Skipped: strain_tagged.csv" in capsys.readouterr().err


def test_without_a_subject_nothing_is_written(
    example: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.csv").write_text("x")
    assert example.main([str(tmp_path / "a.csv"), "-o", str(tmp_path / "out")]) == 1
    assert "No SUBJECT is a folder" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_a_file_is_named(
    example: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fake_models: Models,
) -> None:
    monkeypatch.setattr(example, "load_models", lambda *arguments: fake_models)
    (tmp_path / "out").write_text("x")
    assert example.main([str(tmp_path / "absent"), "-o", str(tmp_path / "out")]) == 1
    assert "its folder cannot be made" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "rr.csv: does not exist"),
        ("id,rr_interval_ms\n1,800\n", "rr.csv: column eid is missing (found: id, rr_interval_ms)"),
        ("eid\n1\n", "rr.csv: column rr_interval_ms is missing"),
        ("", "rr.csv: column eid is missing (found: nothing)"),
        ("eid,rr_interval_ms\n1,soon\n", "rr.csv: cannot be read (could not convert string to float: 'soon')"),
    ],
)
def test_a_table_of_rr_intervals_that_cannot_be_used_is_named(
    example: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "rr.csv").write_text(content)
    assert example.main([str(tmp_path), "-o", str(tmp_path / "out"), "--rr-intervals", str(tmp_path / "rr.csv")]) == 1
    assert message in capsys.readouterr().err


def test_indices_come_with_rr_intervals(
    example: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_models: Models
) -> None:
    monkeypatch.setattr(example, "load_models", lambda *arguments: fake_models)
    (tmp_path / "rr.csv").write_text("\ufeffeid,rr_interval_ms\n1,800\n2,\n", encoding="utf-8")
    subjects = [str(write_subject(tmp_path / eid, n_frames=20)) for eid in ("1", "2")]
    assert example.main([*subjects, "-o", str(tmp_path), "--rr-intervals", str(tmp_path / "rr.csv")]) == 0
    with (tmp_path / "strain_tagged.csv").open(newline="") as stream:
        first, second = csv.DictReader(stream)
    name = "Strain-Tagged: Time to Peak Circumferential Strain Index"
    assert float(first[name]) == pytest.approx(400 / 800)
    assert second[name] == ""
    assert list(first) == [*sorted(set(first) - {"eid"}), "eid"]
