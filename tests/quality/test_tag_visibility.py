"""Visibility of the tags in tissue coordinates: there, gone, drowned, or not followed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from beating_annulus import CENTER_PX, beating_slice, contraction

from tagstrain.data import LandmarkTracks
from tagstrain.quality.flaws import LOWEST_SYSTOLIC_EVENNESS
from tagstrain.quality.tag_visibility import LEAST_VISIBILITY, tag_visibility

N_FRAMES = len(contraction())


def test_followed_tags_are_most_of_the_contrast_in_every_frame() -> None:
    result = beating_slice()
    tags = tag_visibility(result.cine, result.landmarks)
    assert tags.n_directions == 2
    assert tags.share.shape == (N_FRAMES,)
    assert tags.share.min() > 0.7
    assert tags.end_frame == N_FRAMES
    assert tags.evenness > 0.8


def test_line_tags_have_one_direction() -> None:
    result = beating_slice(directions_deg=(30.0,))
    assert tag_visibility(result.cine, result.landmarks).n_directions == 1


def test_landmarks_that_do_not_follow_lose_the_tags() -> None:
    followed, left = beating_slice(), beating_slice(follows=False)
    lost = tag_visibility(left.cine, left.landmarks).share
    seen = tag_visibility(followed.cine, followed.landmarks).share
    assert lost[0] == pytest.approx(seen[0])
    assert lost[N_FRAMES // 2] < 0.5 * seen[N_FRAMES // 2]


def test_tags_end_where_they_are_gone() -> None:
    depth = np.where(np.arange(N_FRAMES) < 7, 1.0, 0.0)
    result = beating_slice(tag_depth=depth)
    tags = tag_visibility(result.cine, result.landmarks)
    assert tags.end_frame == 7
    assert tags.share[7:].max() < LEAST_VISIBILITY


def test_frames_before_ed_are_not_the_end_of_the_tags() -> None:
    depth = np.where(np.arange(N_FRAMES) < 2, 0.0, 1.0)
    result = beating_slice(tag_depth=depth)
    landmarks = replace(result.landmarks, ed_frame=2)
    assert tag_visibility(replace(result.cine, ed_frame=2), landmarks).end_frame == N_FRAMES


def test_a_single_frame_without_tags_is_not_their_end() -> None:
    depth = np.ones(N_FRAMES)
    depth[4] = 0
    result = beating_slice(tag_depth=depth)
    assert tag_visibility(result.cine, result.landmarks).end_frame == N_FRAMES


def test_frames_that_do_not_belong_are_not_the_end_of_the_tags() -> None:
    """In a heart that stands still, so that frames can be told from noise."""
    result = beating_slice()
    frames = result.cine.frames[:1].repeat(N_FRAMES, axis=0)
    still = LandmarkTracks(result.landmarks.points_px[:1].repeat(N_FRAMES, axis=0), result.landmarks.sigma_px)
    frames[5:8] = np.random.default_rng(0).uniform(frames.min(), frames.max(), frames[5:8].shape)
    tags = tag_visibility(replace(result.cine, frames=frames), still)
    assert tags.end_frame == N_FRAMES
    assert tags.share.min() > 0.7
    assert tags.evenness > 0.8


def test_more_noise_means_less_visible() -> None:
    shares = []
    for noise in (2.0, 30.0, 80.0):
        result = beating_slice(noise=noise)
        shares.append(tag_visibility(result.cine, result.landmarks).share.mean())
    assert shares[0] > shares[1] > shares[2]


def test_without_tags_there_is_nothing_to_see() -> None:
    result = beating_slice(tag_depth=np.zeros(N_FRAMES), noise=10)
    tags = tag_visibility(result.cine, result.landmarks)
    assert (tags.n_directions, tags.end_frame) == (0, 0)
    np.testing.assert_array_equal(tags.share, 0)


def test_a_wall_that_reaches_into_the_blood_is_uneven() -> None:
    """Half of the ring lies where the tags are gone from the second frame on."""
    sound = beating_slice()
    frames = sound.cine.frames.copy()
    frames[1:, :, :40] = 100 + np.random.default_rng(4).normal(0, 5, frames[1:, :, :40].shape)
    tags = tag_visibility(replace(sound.cine, frames=frames), sound.landmarks)
    assert tags.evenness < 0.4
    assert tags.n_directions == 2


@pytest.mark.parametrize(("open_deg", "is_even"), [(0, True), (80, False)])
def test_an_open_ring_is_uneven_once_its_blood_has_left(open_deg: float, is_even: bool) -> None:
    """In a sector of the ring, tags are as everywhere at first, and gone from the fourth frame on."""
    sound = beating_slice()
    frames = sound.cine.frames.copy()
    y, x = np.mgrid[: frames.shape[1], : frames.shape[2]]
    is_open = np.abs(np.degrees(np.arctan2(y - CENTER_PX[1], x - CENTER_PX[0]))) < open_deg / 2
    frames[3:, is_open] = 100 + np.random.default_rng(4).normal(0, 5, frames[3:, is_open].shape)
    tags = tag_visibility(replace(sound.cine, frames=frames), sound.landmarks)
    assert (tags.systolic_evenness > 0.8) == is_even
    assert (tags.systolic_evenness < LOWEST_SYSTOLIC_EVENNESS) != is_even


def test_spokes_that_are_not_known_are_no_gap() -> None:
    result = beating_slice()
    points_px = result.landmarks.points_px.copy()
    points_px[:, 6:11] = np.nan
    tags = tag_visibility(result.cine, replace(result.landmarks, points_px=points_px))
    assert tags.systolic_evenness > 0.8


def test_tags_that_have_faded_all_around_do_not_make_an_open_ring() -> None:
    result = beating_slice(tag_depth=np.where(np.arange(N_FRAMES) < 3, 1.0, 0.03), noise=10)
    assert np.isnan(tag_visibility(result.cine, result.landmarks).systolic_evenness)
