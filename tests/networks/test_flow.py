"""The tracker's network: it warps as it says, follows without looking ahead, and refines with all frames in view."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tagstrain.networks.flow import FIELD_STRIDE, FlowNet, correlated, sample_field, warp_back
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
    nodes = SIZE // stride
    assert flow.displacement_px.shape == (1, n_frames, 2, nodes, nodes)
    assert flow.log_spread_px.shape == (1, n_frames, nodes, nodes)
    assert float(flow.displacement_px[:, 0].abs().max()) == 0
    assert bool((flow.displacement_px[:, 1:].abs().amax(dim=(2, 3, 4)) > 0).all())


def test_following_does_not_look_ahead_and_no_cine_sees_another(network: FlowNet) -> None:
    frames, times_ms = cine(6, batch=2)
    with torch.inference_mode():
        whole = network(frames, times_ms, refinements=0).displacement_px
        begun = network(frames[:, :4], times_ms[:, :4], refinements=0).displacement_px
        refined = network(frames, times_ms).displacement_px
        alone = network(frames[1:], times_ms[1:]).displacement_px
    torch.testing.assert_close(whole[:, :4], begun, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(refined[1:], alone, atol=1e-4, rtol=1e-4)


def test_refining_looks_at_the_frames_around(network: FlowNet) -> None:
    frames, times_ms = cine(8)
    changed = frames.clone()
    changed[:, 7] = 0
    with torch.inference_mode():
        difference = (network(frames, times_ms)[0] - network(changed, times_ms)[0])[0].abs().amax(dim=(1, 2, 3))
    assert float(difference[6]) > 1e-4


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


@pytest.mark.parametrize("symmetry", range(N_SYMMETRIES))
def test_vectors_turn_like_differences_of_points(symmetry: int) -> None:
    start, vector = torch.tensor([3.0, 11.0]), torch.tensor([2.0, -5.0])
    turned = turn_points(start + vector, symmetry, SIZE) - turn_points(start, symmetry, SIZE)
    torch.testing.assert_close(unturn_vectors(turned, symmetry), vector)
