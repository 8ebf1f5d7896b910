"""What the networks see: one home for training and inference, so that the two cannot drift apart."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F

LOCALIZER_FIELD_OF_VIEW_MM = 350.0
LOCALIZER_ZOOM = 0.5
"""Field of view of the localiser's second, closer look over that of its first."""
LOCALIZER_CHANNELS = 3
LOCALIZER_FRAMES = 6
"""Frames of the cine that the localiser looks at, spread evenly, the first and the last among them."""
LANDMARK_CROP_SCALE = 1.0
"""Side of the landmark network's crop over the longer side of the LV box."""
TRACKER_CROP_SIZE = 128
TRACKER_CROP_SCALE = 1.5
"""Side of the tracker's crop over the longer extent of the points. Of 1.35 to 1.75, 1.45 and 1.5 follow simulated walls
best; where all points lie in the middle of the wall, 1.6 does better."""

_LEAST_CONTRAST = 1e-4
"""Mean absolute deviation of a cine over its mean below which there is nothing to see in it."""


def localizer_frame_indices(n_frames: int) -> list[int]:
    """Frames the localiser sees."""
    return [round(float(i)) for i in torch.linspace(0, n_frames - 1, LOCALIZER_FRAMES)]


def blur(images: torch.Tensor, width_px: float) -> torch.Tensor:
    """Gaussian blur of images ``(..., row, column)``; edges repeat."""
    rows, columns = (_blurring(size, width_px, images.device, images.dtype) for size in images.shape[-2:])
    # Half precision is for the networks: differences from a blurred image would drown in its rounding.
    with torch.autocast(images.device.type, enabled=False):
        return rows @ images @ columns.T


@lru_cache(maxsize=64)
@torch.inference_mode(mode=False)  # training may use the same one
def _blurring(size: int, width_px: float, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """Matrix ``(size, size)`` that blurs a line of pixels whose ends repeat."""
    reach = max(1, int(2.5 * width_px))
    offsets = torch.arange(-reach, reach + 1, device=device, dtype=dtype)
    kernel = torch.exp(-0.5 * (offsets / width_px) ** 2)
    each_pixel = torch.eye(size, device=device, dtype=dtype)
    padded = F.pad(each_pixel[None], (reach, reach), mode="replicate")[0]
    with torch.autocast(device.type, enabled=False):
        return (padded.unfold(1, len(kernel), 1) @ (kernel / kernel.sum())).T


def standardized(frames: torch.Tensor, valid: torch.Tensor | None = None) -> torch.Tensor:
    """Cines ``(batch, time, row, column)`` to zero mean and unit mean absolute deviation, clamped to -3..5.

    The mean absolute deviation of the whole cine, unlike its standard deviation, is not ruled by a little bright fat.
    Pixels where ``valid`` ``(batch, row, column)`` is False do not count and come out as 0.
    """
    weight = torch.ones_like(frames[:, :1]) if valid is None else valid[:, None].to(frames.dtype)
    count = (weight.sum(dim=(1, 2, 3), keepdim=True) * frames.shape[1]).clamp_min(1)
    mean = (frames * weight).sum(dim=(1, 2, 3), keepdim=True) / count
    deviation = ((frames - mean).abs() * weight).sum(dim=(1, 2, 3), keepdim=True) / count
    # An image without contrast has none to be made of the rounding of its grey levels.
    least = (_LEAST_CONTRAST * mean.abs()).clamp_min(torch.finfo(frames.dtype).tiny)
    return ((frames - mean) / torch.maximum(deviation, least)).clamp(-3, 5) * weight


def locally_normalized(frames: torch.Tensor, width_px: float, floor: float) -> torch.Tensor:
    """Subtract a local mean and divide by a local deviation: tags keep their contrast as they fade.

    Parameters
    ----------
    frames
        Standardised images ``(..., row, column)`` of even size.
    width_px
        Standard deviation of the Gaussian neighbourhood.
    floor
        Deviation, in units of the whole cine's, below which contrast counts as noise and is not amplified.
    """
    rows, columns = frames.shape[-2:]
    images = frames.reshape(-1, 1, rows, columns)

    def local_mean(x: torch.Tensor) -> torch.Tensor:
        # Statistics are smooth: half the resolution gives the same at a quarter of the cost.
        coarse = blur(F.avg_pool2d(x, 2), width_px / 2)
        return F.interpolate(coarse, size=(rows, columns), mode="bilinear", align_corners=False)

    contrast = images - local_mean(images)
    deviation = (local_mean(contrast.square()) + floor**2).sqrt()
    return (contrast / deviation).clamp(-4, 4).reshape(frames.shape)


def localizer_channels(frames: torch.Tensor, valid: torch.Tensor | None = None) -> torch.Tensor:
    """Channels ``(batch, 3, 256, 256)`` for our localiser.

    ``frames`` are those of `localizer_frame_indices`, shape ``(batch, 6, 256, 256)``.

    First frame; movement of the tag pattern (a beating heart changes it, the chest does not); last frames, where tags
    have faded and the wall shows. Grey levels alone do not carry over from simulation to real images; movement does.
    """
    images = standardized(frames, valid)
    pattern = locally_normalized(images, width_px=4.0, floor=0.15)
    change = (pattern[:, 1:] - pattern[:, :-1]).abs().mean(dim=1)
    movement = standard_movement(blur(change, 3.0))
    if valid is not None:
        movement = movement * valid
    return torch.stack([images[:, 0], movement, images[:, -2:].mean(dim=1)], dim=1)


def standard_movement(movement: torch.Tensor) -> torch.Tensor:
    """Movement ``(batch, row, column)`` to zero mean and unit standard deviation over the view, clamped to -3..5."""
    mean, spread = movement.mean(dim=(1, 2), keepdim=True), movement.std(dim=(1, 2), keepdim=True)
    return ((movement - mean) / spread.clamp_min(1e-6)).clamp(-3, 5)


def landmark_input(crops: torch.Tensor, valid: torch.Tensor | None = None) -> torch.Tensor:
    """Crops ``(batch, time, 128, 128)`` in grey levels to what our RNN-CNN reads, the same shape."""
    return locally_normalized(standardized(crops, valid), width_px=8.0, floor=0.15)
