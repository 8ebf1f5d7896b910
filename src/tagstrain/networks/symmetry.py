"""The eight symmetries of the square, for images, points, boxes and the landmark grid."""

from __future__ import annotations

from collections.abc import Sequence

import torch

N_SYMMETRIES = 8


def turn_images(images: torch.Tensor, symmetry: int) -> torch.Tensor:
    """Images ``(..., n, n)``: bit 0 mirrors x, bit 1 mirrors y, bit 2 swaps the axes, in this order."""
    if symmetry & 1:
        images = images.flip(-1)
    if symmetry & 2:
        images = images.flip(-2)
    if symmetry & 4:
        images = images.transpose(-1, -2)
    return images


def turned_views(images: torch.Tensor, symmetries: Sequence[int]) -> torch.Tensor:
    """Views of a batch of images ``(batch, ..., n, n)``, one batch per symmetry after the other."""
    return torch.cat([turn_images(images, symmetry) for symmetry in symmetries])


def unturn_images(images: torch.Tensor, symmetry: int) -> torch.Tensor:
    """Inverse of `turn_images`."""
    if symmetry & 4:
        images = images.transpose(-1, -2)
    return turn_images(images, symmetry & 3)


def turn_points(points_px: torch.Tensor, symmetry: int, size: int) -> torch.Tensor:
    """Points ``(..., 2)`` of a square image of ``size`` pixels, as `turn_images` moves what lies under them."""
    x, y = points_px[..., 0], points_px[..., 1]
    if symmetry & 1:
        x = size - 1 - x
    if symmetry & 2:
        y = size - 1 - y
    if symmetry & 4:
        x, y = y, x
    return torch.stack([x, y], dim=-1)


def unturn_points(points_px: torch.Tensor, symmetry: int, size: int) -> torch.Tensor:
    """Inverse of `turn_points`."""
    if symmetry & 4:
        points_px = points_px.flip(-1)
    return turn_points(points_px, symmetry & 3, size)


def unturn_vectors(vectors: torch.Tensor, symmetry: int) -> torch.Tensor:
    """Vectors ``(..., 2)`` seen in a turned image, back in the upright one."""
    if symmetry & 4:
        vectors = vectors.flip(-1)
    return vectors * _signs(vectors, symmetry)


def turn_field(field: torch.Tensor, symmetry: int) -> torch.Tensor:
    """A field of vectors ``(..., 2, n, n)``, as it is seen in the turned image."""
    turned = turn_images(field * _signs(field, symmetry)[:, None, None], symmetry)
    return turned.flip(-3) if symmetry & 4 else turned


def unturn_field(field: torch.Tensor, symmetry: int) -> torch.Tensor:
    """Inverse of `turn_field`."""
    return unturn_vectors(unturn_images(field, symmetry).movedim(-3, -1), symmetry).movedim(-1, -3)


def turn_spokes(grid: torch.Tensor, symmetry: int) -> torch.Tensor:
    """Renumber spokes ``(..., spoke, ring, 2)`` of turned points: spoke 0 points along +x, spokes turn towards +y."""
    n = grid.shape[-3]
    spoke = torch.arange(n, device=grid.device)
    # Where the new spoke k was before turning: undo the steps in reverse order.
    if symmetry & 4:
        spoke = n // 4 - spoke
    if symmetry & 2:
        spoke = -spoke
    if symmetry & 1:
        spoke = n // 2 - spoke
    return grid.index_select(-3, spoke % n)


def turn_boxes(boxes_px: torch.Tensor, symmetry: int, size: int) -> torch.Tensor:
    """Boxes ``(..., 4)`` x1, y1, x2, y2, kept in order after turning."""
    return _ordered(turn_points(_corners(boxes_px), symmetry, size))


def unturn_boxes(boxes_px: torch.Tensor, symmetry: int, size: int) -> torch.Tensor:
    """Inverse of `turn_boxes`."""
    return _ordered(unturn_points(_corners(boxes_px), symmetry, size))


def _signs(vectors: torch.Tensor, symmetry: int) -> torch.Tensor:
    """Of x and y of vectors, as mirroring leaves or turns them."""
    return vectors.new_tensor([-1.0 if symmetry & 1 else 1.0, -1.0 if symmetry & 2 else 1.0])


def _corners(boxes_px: torch.Tensor) -> torch.Tensor:
    return boxes_px.reshape(*boxes_px.shape[:-1], 2, 2)


def _ordered(corners: torch.Tensor) -> torch.Tensor:
    return torch.cat([corners.amin(dim=-2), corners.amax(dim=-2)], dim=-1)
