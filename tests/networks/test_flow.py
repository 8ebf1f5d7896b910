"""The tracker's network: it warps as it says, follows without looking ahead, and refines with all frames in view."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tagstrain.networks import flow
from tagstrain.networks.flow import (
    FIELD_STRIDE,
    Flow,
    FlowNet,
    _local_correlation,
    _mean_of_others,
    _mixed_with_neighbors,
    carried_back,
    correlated,
    sample_field,
    share_of_others,
    shifted,
    tag_pattern,
    warp_back,
)
from tagstrain.networks.symmetry import N_SYMMETRIES, turn_points, unturn_vectors

SIZE = 32


@pytest.fixture(scope="module")
def network() -> FlowNet:
    torch.manual_seed(0)
    net = FlowNet((16, 16, 16), memory=8, refining_widths=(16, 16, 16))
    assert net.refiner is not None
    for head in (net.head, net.refiner.head):
        torch.nn.init.normal_(head.weight, std=0.02)
    for module in net.refiner.modules():
        # Frames start out deaf to each other.
        if isinstance(module, torch.nn.Conv2d) and module.kernel_size == (1, 1):
            torch.nn.init.normal_(module.weight, std=0.1)
    return net.eval()


def cine(n_frames: int, batch: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    frames = torch.randn(batch, n_frames, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    return frames, (40.0 * torch.arange(n_frames)).expand(batch, -1)


def test_untrained_network_sees_no_motion() -> None:
    flow = FlowNet()(*cine(3))
    assert float(flow.displacement_px.detach().abs().max()) == 0


@pytest.mark.parametrize("n_frames", [1, 2, 5, 31])
@pytest.mark.parametrize(("refinements", "stride"), [(0, FIELD_STRIDE), (1, 1), (None, 1)])
def test_first_frame_does_not_move_and_any_length_will_do(
    network: FlowNet, n_frames: int, refinements: int | None, stride: int
) -> None:
    with torch.inference_mode():
        flow = network(*cine(n_frames), refinements=refinements)
        further = network(*cine(n_frames), refinements=refinements, mixed=True, against_others=True)
    assert float(further.displacement_px[:, 0].abs().max()) == 0
    nodes = SIZE // stride
    assert flow.displacement_px.shape == further.displacement_px.shape == (1, n_frames, 2, nodes, nodes)
    assert flow.log_spread_px.shape == (1, n_frames, nodes, nodes)
    assert float(flow.displacement_px[:, 0].abs().max()) == 0
    assert bool((flow.displacement_px[:, 1:].abs().amax(dim=(2, 3, 4)) > 0).all())


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize(("against_others", "stretch"), [(False, 1.4), (True, 1.4), (True, 2.6)])
def test_following_does_not_look_ahead_and_no_cine_sees_another(
    network: FlowNet, mixed: bool, against_others: bool, stretch: float
) -> None:
    frames, times_ms = cine(6, batch=2)
    times_ms = times_ms * torch.tensor([[1.0], [stretch]])
    how = {"mixed": mixed, "against_others": against_others}
    with torch.inference_mode():
        whole = network(frames, times_ms, refinements=0).displacement_px
        begun = network(frames[:, :4], times_ms[:, :4], refinements=0).displacement_px
        refined = network(frames, times_ms, **how).displacement_px
        alone = [network(frames[k : k + 1], times_ms[k : k + 1], **how).displacement_px for k in range(2)]
    torch.testing.assert_close(whole[:, :4], begun, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(refined, torch.cat(alone), atol=1e-4, rtol=1e-4)


def test_late_frames_are_told_no_later_time(network: FlowNet, monkeypatch: pytest.MonkeyPatch) -> None:
    frames, times_ms = cine(8)

    def motion() -> torch.Tensor:
        with torch.inference_mode():
            return network(frames, times_ms, refinements=0).displacement_px

    told = motion()
    monkeypatch.setattr(flow, "_LATEST_MS", 160.0)
    torch.testing.assert_close(motion()[:, :5], told[:, :5])
    assert float((motion() - told)[:, 5].abs().max()) > 1e-4


def test_refining_looks_at_the_frames_around(network: FlowNet) -> None:
    frames, times_ms = cine(8)
    changed = frames.clone()
    changed[:, 7] = 0
    with torch.inference_mode():
        difference = (network(frames, times_ms)[0] - network(changed, times_ms)[0])[0].abs().amax(dim=(1, 2, 3))
    assert float(difference[6]) > 1e-4


def standing_tags(n_frames: int, noise: float, size: int = 128) -> torch.Tensor:
    """Tags, 9 pixels apart, that do not move, ``(1, time, size, size)``."""
    y, x = torch.meshgrid(*[torch.arange(size) * (2 * np.pi / 9)] * 2, indexing="ij")
    noises = torch.randn(1, n_frames, size, size, generator=torch.Generator().manual_seed(5))
    return torch.cos(x) + torch.cos(y) + noise * noises


def moved_by(along_x_px: torch.Tensor) -> Flow:
    """Tissue that moves as a whole, on the nodes of 128 pixels."""
    along_x = along_x_px[None, :, None, None].expand(1, len(along_x_px), 64, 64)
    return Flow(torch.stack([along_x, torch.zeros_like(along_x)], dim=2), torch.zeros_like(along_x))


def test_a_frame_has_no_part_in_the_mean_that_it_is_compared_with() -> None:
    frames, still = standing_tags(6, 0.8), moved_by(torch.zeros(6))
    changed = frames.clone()
    changed[:, 3] = frames[:, 3].flip(-1)
    carried = carried_back(frames, still)
    others, after = (_mean_of_others(carried_back(x, still), x[:, :1]) for x in (frames, changed))
    torch.testing.assert_close(carried, frames, atol=1e-4, rtol=0)
    torch.testing.assert_close(after[:, 3], others[:, 3])
    assert float((after[:, 2] - others[:, 2]).abs().max()) > 0.1
    # Noise of deviation 0.8 on tags of 1, and a fifth of its variance; as much contrast as at ED.
    tags = standing_tags(1, 0.0)
    alike = [float(_local_correlation(x, tags).mean()) for x in (frames[:, :1], others[:, 4:5])]
    np.testing.assert_allclose(alike, [1 / np.hypot(1, 0.8), 1 / np.hypot(1, 0.8 / np.sqrt(5))], atol=0.02)
    np.testing.assert_allclose(others[:, 4].std(), frames[:, 0].std(), rtol=0.03)


def test_frames_are_carried_back_to_ed_before_their_mean_is_taken() -> None:
    tags, steps = standing_tags(1, 0.0), torch.arange(5)
    moving = torch.cat([tags.roll(int(step), dims=-1) for step in steps], dim=1)
    carried = carried_back(moving, moved_by(steps.float()))
    others = _mean_of_others(carried, moving[:, :1])
    inside = (..., slice(24, -24), slice(24, -24))
    for patterns in (carried, others):
        torch.testing.assert_close(patterns[inside], tags.expand_as(moving)[inside], atol=1e-3, rtol=0)


def share_once_carried(frames: torch.Tensor, found: Flow) -> torch.Tensor:
    pattern = tag_pattern(frames)
    return share_of_others(carried_back(pattern, found), pattern[:, :1])


def test_others_count_where_they_show_the_same_and_the_first_frame_does_not() -> None:
    still = moved_by(torch.zeros(20))
    alike, noise = standing_tags(20, 0.05), standing_tags(20, 100.0)
    for same in (alike, noise):
        assert float(share_once_carried(same, still).max()) < 0.05
    later = torch.cat([alike[:, :1], alike[:, 1:].roll(4, dims=-1)], dim=1)
    shares = share_once_carried(later, still)
    assert shares.shape == later.shape
    assert float(shares[:, 0].max()) < 0.05
    inside = (slice(1, None), slice(8, -8), slice(8, -8))
    assert float(shares[0][inside].min()) > 0.95
    steps = torch.full((20,), 4.0)
    steps[0] = 0
    assert float(share_once_carried(later, moved_by(steps))[0][inside].max()) < 0.05, (
        "frames are alike once carried back"
    )


@pytest.mark.parametrize("mixed", [False, True])
def test_frames_are_refined_against_the_mean_of_all_others(network: FlowNet, mixed: bool) -> None:
    frames, times_ms = cine(5)
    pattern = tag_pattern(frames)
    with torch.inference_mode():
        start = network(frames, times_ms, refinements=1)
        others = _mean_of_others(carried_back(pattern, start), pattern[:, :1])
        assert network.refiner is not None
        expected = network.refiner(pattern, others, frames, times_ms, start, None, mixed)
        how = {"refinements": 1, "followed": start, "mixed": mixed}
        found = network(frames, times_ms, **how, against_others=True)
        against_first = network(frames, times_ms, **how)
    torch.testing.assert_close(found, expected)
    assert float((found.displacement_px - against_first.displacement_px).abs().max()) > 1e-3


def test_frames_are_mixed_with_their_neighbors_in_as_much_contrast_as_before() -> None:
    noisy, times_ms = standing_tags(7, 0.8), 40.0 * torch.arange(7)[None]
    mixed = _mixed_with_neighbors(noisy, times_ms)
    np.testing.assert_allclose(mixed.std(dim=(2, 3)), noisy.std(dim=(2, 3)), rtol=0.03)
    tags = standing_tags(1, 0.0).expand_as(noisy)
    alike = _local_correlation(mixed, tags).mean(dim=(2, 3))[0]
    # Noise of weights 1/4, 1/2, 1/4; of 2/3 and 1/3 at the ends.
    left = [np.sqrt(5) / 3, *5 * [np.sqrt(6) / 4], np.sqrt(5) / 3]
    np.testing.assert_allclose(alike, 1 / np.hypot(1, 0.8 * np.array(left)), atol=0.02)


@pytest.mark.parametrize(
    ("interval_ms", "weight"), [(15.0, 0.5), (-40.0, 0.5), (55.0, 0.25), (-62.5, 0.125), (70.0, 0.0), (1000.0, 0.0)]
)
def test_frames_count_the_less_in_a_mixture_the_further_they_lie_apart_in_time(
    interval_ms: float, weight: float
) -> None:
    noisy = standing_tags(3, 0.8)
    mixed = _mixed_with_neighbors(noisy, torch.tensor([[0.0, 1000.0, 1000.0 + interval_ms]]))
    torch.testing.assert_close(mixed[:, 0], noisy[:, 0])
    for frame, other in ((1, 2), (2, 1)):
        expected = noisy[:, frame] + weight * noisy[:, other]
        # The same but for the contrast around every place.
        alike = _local_correlation(mixed[:, frame : frame + 1], expected[:, None])
        assert float(alike.mean()) > 0.999


def test_mixing_frames_changes_what_is_refined(network: FlowNet) -> None:
    frames, times_ms = cine(5)
    with torch.inference_mode():
        start = network(frames, times_ms, refinements=1)
        found = [network(frames, times_ms, refinements=1, followed=start, mixed=mixed)[0] for mixed in (False, True)]
        at_rest = network(frames[:, :1].expand_as(frames), times_ms, refinements=1, mixed=True)[0]
        expected = network(frames[:, :1].expand_as(frames), times_ms, refinements=1)[0]
    assert float((found[0] - found[1]).abs().max()) > 1e-3
    torch.testing.assert_close(at_rest, expected, atol=0.05, rtol=0)


def test_views_are_shifted_each_by_its_own_and_back() -> None:
    images = torch.arange(2 * 3 * 8 * 8, dtype=torch.float32).view(2, 3, 8, 8)
    views = shifted(images, (1, 3))
    torch.testing.assert_close(views[0, :, 1:, 1:], images[0, :, :-1, :-1])
    torch.testing.assert_close(views[1, :, 3:, 3:], images[1, :, :-3, :-3])
    torch.testing.assert_close(views[1, :, :3, 3:], images[1, :, -3:, :-3])
    motion = Flow(torch.randn(2, 3, 2, 8, 8), torch.randn(2, 3, 8, 8))
    torch.testing.assert_close(motion.shifted((1, 3)).shifted((-1, -3)), motion)
    torch.testing.assert_close(motion.shifted((1, 3)).log_spread_px, shifted(motion.log_spread_px, (1, 3)))


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize(("reach", "patch"), [(2, 4), (3, 2), (3, 4)])
def test_agreement_is_the_mean_product_of_a_patch_with_what_lies_further(n: int, reach: int, patch: int) -> None:
    generator = np.random.default_rng(4)
    reference, moved = generator.standard_normal((2, n, SIZE, SIZE)).astype(np.float32)
    padded = np.pad(moved, ((0, 0), (reach, reach), (reach, reach)), mode="edge")
    steps, side = range(2 * reach + 1), SIZE // patch
    products = [reference * padded[:, dy : dy + SIZE, dx : dx + SIZE] for dy in steps for dx in steps]
    expected = np.stack(products, axis=1).reshape(n, -1, side, patch, side, patch).mean(axis=(3, 5))
    agreement = correlated(*(torch.from_numpy(x)[:, None] for x in (reference, moved)), reach, patch)
    np.testing.assert_allclose(agreement.numpy(), expected, atol=1e-5)


@given(shift=st.tuples(st.integers(-2, 2), st.integers(-2, 2)))
@settings(max_examples=10, deadline=None)
def test_patterns_agree_best_where_they_were_shifted_to(shift: tuple[int, int]) -> None:
    pattern = torch.randn(1, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(3))
    moved = pattern.roll((shift[1], shift[0]), dims=(-2, -1))
    agreement = correlated(pattern, moved, 2, 4)[0, :, 1:-1, 1:-1].mean(dim=(1, 2))
    assert int(agreement.argmax()) == (shift[1] + 2) * 5 + shift[0] + 2
    assert agreement.shape == (25,)


def test_slip_is_put_on_what_was_found_before(network: FlowNet) -> None:
    frames, times_ms = cine(3)
    silent = FlowNet((16, 16, 16), memory=8, refinements=0)
    slips = torch.zeros(1, 3, 2, SIZE // FIELD_STRIDE, SIZE // FIELD_STRIDE)
    slips[:, 1, 0] = 2.0
    moved = silent(frames, times_ms, slips).displacement_px.detach()
    torch.testing.assert_close(moved[:, 1:, 0], torch.full_like(moved[:, 1:, 0], 2.0))
    assert float(moved[:, :, 1].abs().max()) == 0


@given(shift=st.tuples(st.integers(-5, 5), st.integers(-5, 5)))
@settings(max_examples=20, deadline=None)
def test_warp_by_whole_pixels_is_a_shift(shift: tuple[int, int]) -> None:
    image = torch.rand(1, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(2))
    field = torch.tensor(shift, dtype=torch.float32).view(1, 2, 1, 1).expand(1, 2, SIZE // 2, SIZE // 2)
    warped = warp_back(image, field)
    expected = image.roll((-shift[1], -shift[0]), dims=(-2, -1))
    torch.testing.assert_close(warped[..., 6:-6, 6:-6], expected[..., 6:-6, 6:-6], atol=1e-4, rtol=0)


@given(
    stride=st.sampled_from([1, 2]),
    slope=st.lists(st.floats(-1, 1), min_size=6, max_size=6),
    point=st.tuples(st.floats(1, SIZE - 2), st.floats(1, SIZE - 2)),
)
@settings(max_examples=40, deadline=None)
def test_linear_field_is_sampled_exactly(stride: int, slope: list[float], point: tuple[float, float]) -> None:
    nodes = stride * torch.arange(SIZE // stride) + (stride - 1) / 2
    y, x = torch.meshgrid(nodes, nodes, indexing="ij")
    a, b, c, d, e, f = slope
    field = torch.stack([a + b * x + c * y, d + e * x + f * y])[None, None]
    value = sample_field(field, torch.tensor([[point]], dtype=torch.float32), SIZE)[0, 0, 0]
    px, py = point
    expected = torch.tensor([a + b * px + c * py, d + e * px + f * py])
    torch.testing.assert_close(value, expected, atol=1e-3, rtol=0)


@given(st.lists(st.integers(0, N_SYMMETRIES - 1), min_size=1, max_size=4), st.integers(0, 2**31))
@settings(max_examples=25, deadline=None)
def test_motion_turns_with_the_places_and_the_vectors_in_it(symmetries: list[int], seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    flow = Flow(torch.randn(1, 2, 2, 8, 8, generator=random), torch.randn(1, 2, 8, 8, generator=random))
    places = 4 + 8 * torch.rand(1, 5, 2, generator=random)
    turned = flow.turned(symmetries)
    expected = sample_field(flow.displacement_px, places, 16)[0]
    for moved, spread, symmetry in zip(*turned, symmetries, strict=True):
        there = turn_points(places, symmetry, 16)
        torch.testing.assert_close(unturn_vectors(sample_field(moved[None], there, 16)[0], symmetry), expected)
        sampled = sample_field(spread[None, :, None], there, 16)
        torch.testing.assert_close(sampled, sample_field(flow.log_spread_px[:, :, None], places, 16))
    upright = turned.upright(symmetries)
    for found, field in zip(upright, flow, strict=True):
        torch.testing.assert_close(found, field.expand_as(found))
    for mean, field in zip(upright.mean(), flow, strict=True):
        torch.testing.assert_close(mean, field)


@pytest.mark.parametrize("symmetry", range(N_SYMMETRIES))
def test_vectors_turn_like_differences_of_points(symmetry: int) -> None:
    start, vector = torch.tensor([3.0, 11.0]), torch.tensor([2.0, -5.0])
    turned = turn_points(start + vector, symmetry, SIZE) - turn_points(start, symmetry, SIZE)
    torch.testing.assert_close(unturn_vectors(turned, symmetry), vector)
