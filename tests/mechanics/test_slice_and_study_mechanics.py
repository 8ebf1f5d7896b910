"""Whole slices and ventricles that beat in a known way."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from beating_ventricle import ES_MS, RR_MS, TIMES_MS, beating_landmarks, contraction, motion
from numpy.testing import assert_allclose
from wall_motion import Cylinder, wall

from tagstrain.mechanics import SliceMotion, slice_mechanics, study_mechanics
from tagstrain.mechanics.slice_deformation import deform_slice

RADII_MM = np.linspace(22.0, 32.0, 7)
AT_ES = int(np.argmin(np.abs(TIMES_MS - ES_MS)))


def ventricle(**changes: object) -> list[SliceMotion]:
    """Base, middle and apex, which turn by -4, 3 and 10 degrees as seen from the apex, 17.5 mm apart."""
    return [
        motion(landmarks_mm=beating_landmarks(turn_deg=-turn), level=level, depth_mm=depth, **changes)
        for level, turn, depth in (("basal", -4.0, 0.0), ("mid", 3.0, 17.5), ("apical", 10.0, 35.0))
    ]


def test_a_slice_has_the_strain_of_the_cylinder_in_every_region() -> None:
    slice_ = slice_mechanics(motion())
    truth = Cylinder(228 * contraction(TIMES_MS)[AT_ES], 1 - 0.1 * contraction(TIMES_MS)[AT_ES], 0, 0).strain(RADII_MM)
    found = slice_.deformation
    assert slice_.es_frame == AT_ES
    assert_allclose(found.circumferential.rings[AT_ES], truth.circumferential, rtol=1e-6)
    assert_allclose(found.radial.rings[AT_ES], truth.radial, rtol=1e-6)
    assert_allclose(found.shear.slice_mean, 0, atol=1e-9)
    assert_allclose(found.area_ratio.slice_mean, 1 / (1 - 0.1 * contraction(TIMES_MS)), rtol=1e-6)
    assert found.segments == (7, 8, 9, 10, 11, 12)
    assert_allclose(found.circumferential.segments[AT_ES], truth.circumferential.mean(), rtol=1e-6)
    assert_allclose(found.circumferential.layers[AT_ES, 0], truth.circumferential[:2].mean(), rtol=1e-6)
    assert_allclose(found.principal.greatest[AT_ES, 0], truth.radial, rtol=1e-6)
    assert_allclose(slice_.circumferential.slice_mean.peak, truth.circumferential.mean(), rtol=0.02)
    assert_allclose(slice_.circumferential.layers["endo"].time_to_peak_ms, ES_MS, atol=8)
    assert_allclose(slice_.phases.es_ms, ES_MS, atol=8)
    assert slice_.dyssynchrony.time_to_peak_sd_ms < 1
    assert_allclose(slice_.dyssynchrony.circumferential_uniformity, 1)
    assert_allclose(slice_.dyssynchrony.radial_uniformity, 1)
    assert_allclose(slice_.dyssynchrony.internal_stretch_fraction, 0, atol=0.01)


@pytest.mark.parametrize("turn_rad", [0.4, -2.0])
def test_a_mirrored_and_turned_image_of_the_same_heart_says_the_same(turn_rad: float) -> None:
    """Segment by segment, with a weak septum, shear and rotation."""
    angle = np.arctan2(wall()[:, 0, 1], wall()[:, 0, 0])
    landmarks = np.stack(
        [Cylinder(228 * c, 1 - 0.1 * c, -0.2 * c, 0.01 * c).move(wall()) for c in contraction(TIMES_MS)]
    )
    landmarks[1:, np.abs(angle) > 2.6] += 0.3
    one = slice_mechanics(motion(landmarks_mm=landmarks))
    turn = np.array([[np.cos(turn_rad), -np.sin(turn_rad)], [np.sin(turn_rad), np.cos(turn_rad)]])
    mirrored = landmarks * [-1, 1] @ turn.T
    insertion = np.pi + 2 * np.pi / 3 + turn_rad
    other = slice_mechanics(motion(landmarks_mm=mirrored, is_seen_from_apex=False, insertion_angle_rad=insertion))
    for name in ("radial", "circumferential", "shear", "area_ratio"):
        first, second = getattr(one.deformation, name), getattr(other.deformation, name)
        for region, values in first._asdict().items():
            assert_allclose(getattr(second, region), values, atol=1e-9, err_msg=f"{name} {region}")
    assert_allclose(other.deformation.rotation_deg, one.deformation.rotation_deg, atol=1e-9)
    assert_allclose(other.deformation.principal.angle_rad[5:], one.deformation.principal.angle_rad[5:], atol=1e-6)
    assert one.deformation.rotation_deg[AT_ES].min() > 5
    assert np.ptp(one.deformation.circumferential.segments[AT_ES]) > 0.005


def test_an_unknown_insertion_is_assumed_upper_left() -> None:
    given, assumed = deform_slice(motion()), deform_slice(motion(insertion_angle_rad=None))
    assert (given.segment_of_spoke == assumed.segment_of_spoke).all()


def test_an_unknown_level_keeps_everything_but_segments() -> None:
    slice_ = slice_mechanics(motion(level="unknown"))
    assert slice_.deformation.segments == ()
    assert slice_.circumferential.segments == {}
    assert slice_.circumferential.slice_mean.peak < -0.1
    assert np.isnan(slice_.dyssynchrony.time_to_peak_sd_ms)


def test_missing_landmarks_are_missed_only_in_their_regions() -> None:
    whole = slice_mechanics(motion())
    landmarks = beating_landmarks()
    is_septal = deform_slice(motion()).segment_of_spoke == 8
    landmarks[5:, is_septal] = np.nan
    part = slice_mechanics(motion(landmarks_mm=landmarks)).deformation.circumferential
    assert np.isnan(part.segments[5:, 1]).all()
    assert_allclose(
        np.delete(part.segments, 1, axis=1),
        np.delete(part.segments * 0, 1, axis=1) + whole.deformation.circumferential.slice_mean[:, None],
        atol=1e-6,
    )
    assert_allclose(part.slice_mean, whole.deformation.circumferential.slice_mean, atol=1e-6)


@pytest.mark.parametrize("n_frames", [2, 3, 19, 35])
@pytest.mark.parametrize("ed_frame", [0, 1])
def test_any_number_of_frames_is_measured(n_frames: int, ed_frame: int) -> None:
    times = np.linspace(10, 600, n_frames)
    slice_ = slice_mechanics(motion(landmarks_mm=beating_landmarks(times), frame_times_ms=times, ed_frame=ed_frame))
    assert_allclose(slice_.deformation.circumferential.slice_mean[ed_frame], 0, atol=1e-12)


def test_a_ventricle_has_global_strain_all_segments_and_twist() -> None:
    study = study_mechanics(ventricle())
    assert_allclose(study.circumferential.global_mean, study.slices[0].deformation.circumferential.slice_mean)
    assert_allclose(study.circumferential.global_measures.time_to_peak_ms, ES_MS, atol=8)
    assert_allclose(study.circumferential.layers, study.slices[0].deformation.circumferential.layers)
    peaks = [study.circumferential.layer_measures[name].peak for name in ("endo", "mid", "epi")]
    assert peaks == sorted(peaks)
    assert sorted(study.radial.segment_measures) == list(range(1, 17))
    assert np.isfinite(study.circumferential.segments[:, :16]).all()
    assert np.isnan(study.circumferential.segments[:, 16]).all()
    assert study.twist_missing == ""
    assert study.twist is not None
    assert_allclose(study.twist.twist_deg, 14 * contraction(TIMES_MS), atol=1e-6)
    assert_allclose(study.twist.torsion_deg_per_cm, 4 * contraction(TIMES_MS), atol=1e-6)
    assert_allclose(study.twist.shear_angle_deg, 14 * 32 / 35 * contraction(TIMES_MS), atol=1e-6)
    assert study.phases.rr_interval_ms == RR_MS
    assert study.dyssynchrony.circumferential_uniformity > 0.999


def test_slices_share_the_end_systole_of_the_ventricle() -> None:
    slices = ventricle()
    slices[2] = replace(slices[2], landmarks_mm=beating_landmarks(es_ms=440.0))
    study = study_mechanics(slices)
    assert ES_MS < study.phases.es_ms < 440
    assert {slice_.phases.es_ms for slice_ in study.slices} == {study.phases.es_ms}
    assert study.slices[2].circumferential.slice_mean.post_systolic_index > 0.02
    assert study.dyssynchrony.time_to_peak_sd_ms > 30


def test_slices_with_other_frame_times_are_brought_to_common_ones() -> None:
    slices = ventricle()
    times = np.arange(5.0, 650.0, 20.0)
    slices[1] = replace(slices[1], landmarks_mm=beating_landmarks(times), frame_times_ms=times)
    study = study_mechanics(slices)
    assert study.frame_times_ms.tolist() == times.tolist()
    expected = study.slices[1].deformation.circumferential.slice_mean
    assert_allclose(study.circumferential.global_mean, expected, atol=2e-3)


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("shift_ms", [-1.0, 1.0, 14.0, -29.0])
def test_a_trigger_that_is_a_little_off_costs_neither_ed_nor_the_order(place: int, shift_ms: float) -> None:
    """Of one slice; all contract as fast as ever, and nobody knows which series comes first."""
    whole = study_mechanics(ventricle())
    slices = ventricle()
    slices[place] = replace(slices[place], frame_times_ms=TIMES_MS + shift_ms)
    study, turned = study_mechanics(slices), study_mechanics(slices[::-1])
    assert study.circumferential.global_mean[0] == pytest.approx(0, abs=1e-12)
    assert len(study.frame_times_ms) == len(TIMES_MS)
    assert np.isfinite(study.circumferential.global_mean).all()
    assert study.phases.es_ms == pytest.approx(ES_MS + shift_ms / 3, abs=12)
    found, before = study.circumferential.global_measures, whole.circumferential.global_measures
    assert found.peak == pytest.approx(before.peak, rel=0.01)
    assert found.systolic_rate_per_s == pytest.approx(before.systolic_rate_per_s, rel=0.03)
    assert_allclose(turned.circumferential.global_mean, study.circumferential.global_mean, atol=1e-12)


def test_without_base_or_apex_there_is_no_twist_and_a_reason() -> None:
    study = study_mechanics(ventricle()[:2])
    assert study.twist is None
    assert study.twist_missing == "twist needs a basal and an apical slice; there is no apical one"
    assert sorted(study.circumferential.segment_measures) == list(range(1, 13))
    alone = study_mechanics([motion(level="unknown", rr_interval_ms=None)])
    assert alone.twist_missing.endswith("there is no basal and apical one")
    assert alone.circumferential.global_measures.diastolic_recovery.fraction is None


def test_the_ventricle_has_its_ed_where_the_last_slice_has_it() -> None:
    slices = ventricle()
    slices[1] = replace(slices[1], ed_frame=2, frame_times_ms=TIMES_MS + 1)
    study = study_mechanics(slices)
    assert study.phases.ed_ms == TIMES_MS[2]
    assert study.phases.ed_ms in study.frame_times_ms


def test_an_end_systole_after_the_last_frame_of_a_slice_is_that_frame() -> None:
    """All end before they are shortest, one of them 2 ms before the others."""
    slices = [
        replace(slice_, landmarks_mm=slice_.landmarks_mm[:9], frame_times_ms=TIMES_MS[:9]) for slice_ in ventricle()
    ]
    slices[2] = replace(slices[2], frame_times_ms=np.append(TIMES_MS[:8], TIMES_MS[8] - 2))
    study = study_mechanics(slices)
    assert len(study.frame_times_ms) == 9
    assert study.phases.es_ms == TIMES_MS[8] - 2
    for slice_ in study.slices:
        assert slice_.circumferential.slice_mean.end_systolic < -0.05


def test_the_finest_frames_are_the_clock_whatever_their_place() -> None:
    slices = ventricle()
    slices[0] = replace(slices[0], landmarks_mm=slices[0].landmarks_mm[::4], frame_times_ms=TIMES_MS[::4] - 1)
    one, other = study_mechanics(slices), study_mechanics(slices[::-1])
    assert_allclose(one.frame_times_ms, TIMES_MS[:21])
    assert_allclose(other.frame_times_ms, one.frame_times_ms)
    assert_allclose(other.circumferential.global_mean, one.circumferential.global_mean)


@pytest.mark.parametrize("second", [0.6, 1.0, 1.3])
def test_the_next_beat_of_a_long_cine_is_not_looked_at(second: float) -> None:
    """Scanners that trigger every other R wave go on without new tags; the second beat does not count."""
    rr_ms = TIMES_MS[-1] + 30 - TIMES_MS[0]
    times_ms = np.concatenate([TIMES_MS, TIMES_MS + rr_ms])

    def long(slice_: SliceMotion) -> SliceMotion:
        ed = slice_.landmarks_mm[:1]
        again = ed + second * (slice_.landmarks_mm - ed)
        landmarks_mm = np.concatenate([slice_.landmarks_mm, again])
        return replace(slice_, landmarks_mm=landmarks_mm, frame_times_ms=times_ms, rr_interval_ms=rr_ms)

    one = study_mechanics(ventricle(rr_interval_ms=rr_ms))
    both = study_mechanics([long(slice_) for slice_ in ventricle()])
    assert both.phases.es_ms == pytest.approx(one.phases.es_ms, abs=3)
    assert both.dyssynchrony.time_to_peak_sd_ms == pytest.approx(one.dyssynchrony.time_to_peak_sd_ms, abs=3)
    for found, expected in (
        (both.circumferential.global_measures, one.circumferential.global_measures),
        (both.slices[1].radial.slice_mean, one.slices[1].radial.slice_mean),
    ):
        assert found.peak == pytest.approx(expected.peak, rel=0.01)
        assert found.time_to_peak_ms == pytest.approx(expected.time_to_peak_ms, abs=3)
        assert found.post_systolic == pytest.approx(expected.post_systolic, rel=0.02)
    assert both.twist is not None
    assert one.twist is not None
    assert both.twist.peak_twist_deg == pytest.approx(one.twist.peak_twist_deg, rel=0.01)
    assert both.twist.peak_untwist_rate_deg_per_s == pytest.approx(one.twist.peak_untwist_rate_deg_per_s, rel=0.02)


def test_an_impossible_rr_interval_of_a_slice_does_not_end_the_beat_of_the_ventricle() -> None:
    basal, mid, apical = ventricle()
    slices = [basal, replace(mid, rr_interval_ms=None), replace(apical, rr_interval_ms=60.0)]
    assert study_mechanics(slices).phases.rr_interval_ms == RR_MS


def test_twist_is_that_of_the_outermost_slices_of_a_level() -> None:
    basal, mid, apical = ventricle()
    inner = replace(basal, landmarks_mm=beating_landmarks(turn_deg=1.0), depth_mm=9.0)
    expected = study_mechanics([basal, mid, apical]).twist
    for slices in ([inner, basal, mid, apical], [apical, basal, inner, mid]):
        found = study_mechanics(slices).twist
        assert found is not None
        assert expected is not None
        assert_allclose(found.torsion_deg_per_cm, expected.torsion_deg_per_cm)


def test_without_depths_there_is_twist_but_no_torsion() -> None:
    study = study_mechanics([replace(slice_, depth_mm=None) for slice_ in ventricle()])
    assert study.twist is not None
    assert np.isnan(study.twist.torsion_deg_per_cm).all()
    assert_allclose(study.twist.peak_twist_deg, 14, rtol=0.03)


def test_slices_that_share_no_time_and_no_slices_are_refused() -> None:
    early, late = motion(), motion(frame_times_ms=TIMES_MS + 5000)
    with pytest.raises(ValueError, match="share 0 ms"):
        study_mechanics([early, late])
    hardly = motion(frame_times_ms=TIMES_MS + TIMES_MS[-1] - TIMES_MS[0] - 10)
    with pytest.raises(ValueError, match="share 10 ms"):
        study_mechanics([early, hardly])
    with pytest.raises(ValueError, match="at least one slice"):
        study_mechanics([])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"landmarks_mm": np.zeros((24, 2, 7, 2))}, "landmarks_mm"),
        ({"landmarks_mm": motion().landmarks_mm[:, :, ::-1]}, "ring 0, the endocardium, is no smaller"),
        ({"frame_times_ms": TIMES_MS[1:]}, "frame_times_ms: expected shape"),
        ({"frame_times_ms": TIMES_MS[::-1]}, "strictly increasing"),
        ({"ed_frame": 24}, "ed_frame: expected 0 to 23"),
    ],
)
def test_motion_that_makes_no_sense_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        motion(**changes)
