"""What a segmenting network should say, masks of closed contours, and how far it is from saying so."""

from __future__ import annotations

import torch
import torch.nn.functional as F

_POINTS_PER_CORNER = 4


def smooth_contours(contours_px: torch.Tensor) -> torch.Tensor:
    """Closed smooth curves through corners ``(..., point, 2)``: every fourth point is a corner.

    The curve is the trigonometric polynomial through the corners. Between 24 spokes the chords of a ventricle cut off
    0.6 % of its radius, 0.15 mm of a large one.
    """
    n = contours_px.shape[-2]
    spectrum = torch.fft.rfft(contours_px, dim=-2, norm="forward")
    if n % 2 == 0:
        # What was counted once in n points stands for two frequencies, one up and one down, in more.
        spectrum[..., -1, :] /= 2
    curves: torch.Tensor = torch.fft.irfft(spectrum, n=_POINTS_PER_CORNER * n, dim=-2, norm="forward")
    return curves


def contour_masks(contours_px: torch.Tensor, size: int) -> torch.Tensor:
    """Share of every pixel inside closed contours, ``(..., size, size)``.

    Each contour is a polygon that its centroid sees whole, as the rings of a ventricle are. Pixels whose centre lies
    within half a pixel of the border, along the ray from the centroid, have a share between 0 and 1.

    Parameters
    ----------
    contours_px
        Corners in pixels of the mask, shape ``(..., point, 2)``, last axis ``(x, y)``, in order, either way around.
        A contour with NaN gives NaN.
    """
    shape = contours_px.shape[:-2]
    corners = contours_px.reshape(-1, *contours_px.shape[-2:])
    center = corners.mean(dim=1)
    spokes = corners - center[:, None]
    angle, order = torch.atan2(spokes[..., 1], spokes[..., 0]).sort(dim=1)
    spokes = spokes.gather(1, order[..., None].expand_as(spokes))
    steps = torch.arange(size, dtype=corners.dtype, device=corners.device)
    x = (steps - center[:, :1])[:, None, :].expand(-1, size, size).flatten(1)
    y = (steps - center[:, 1:])[:, :, None].expand(-1, size, size).flatten(1)
    after = torch.searchsorted(angle.contiguous(), torch.atan2(y, x)) % angle.shape[1]
    a = spokes.gather(1, ((after - 1) % angle.shape[1])[..., None].expand(-1, -1, 2))
    b = spokes.gather(1, after[..., None].expand(-1, -1, 2))
    radius = torch.hypot(x, y)
    # The ray (x, y) meets the side from a to b at a x b / ((x, y) x (b - a)) of its length.
    side = b - a
    across = x * side[..., 1] - y * side[..., 0]
    border = (a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]) / across.clamp_min(1e-6) * radius
    masks = (border - radius + 0.5).clamp(0, 1)
    # At the centroid itself no ray is defined.
    masks = torch.where(radius < 1e-3, torch.ones_like(masks), masks)
    known = corners.isfinite().all(dim=-1).all(dim=-1)
    masks = torch.where(known[:, None], masks, torch.full_like(masks, torch.nan))
    return masks.reshape(*shape, size, size)


def segmentation_loss(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy plus one less the soft Dice overlap, both per map and averaged over maps.

    Cross-entropy makes the maps probabilities; Dice counts a small heart as much as a large one.

    Parameters
    ----------
    logits, masks
        Shape ``(map, row, column)``; masks from 0 to 1.
    """
    probabilities = logits.sigmoid()
    overlap = 2 * (probabilities * masks).sum(dim=(-1, -2)) + 1
    dice = overlap / (probabilities.square().sum(dim=(-1, -2)) + masks.square().sum(dim=(-1, -2)) + 1)
    return F.binary_cross_entropy_with_logits(logits, masks) + (1 - dice).mean()
