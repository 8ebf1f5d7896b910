"""What the scanner makes of the magnetisation: coil shading, k-space truncation, ghosts, Rician noise."""

from __future__ import annotations

import math

import torch

from tagstrain.simulation.scene import AcquisitionScene


def kspace_window(
    n_pixels: int, pixel_mm: torch.Tensor, resolution_mm: torch.Tensor, apodization: torch.Tensor
) -> torch.Tensor:
    """Share of every spatial frequency that is acquired along one axis, ``(scene, n_pixels)`` in FFT order.

    Frequencies above ``1 / (2 resolution)`` are missing and zero-filled; the edge is a sigmoid of relative width
    ``apodization``.
    """
    frequency = torch.fft.fftfreq(n_pixels, device=pixel_mm.device)[None].abs() / pixel_mm[:, None]
    cutoff = (0.5 / resolution_mm)[:, None]
    return torch.sigmoid((cutoff - frequency) / (apodization[:, None] * cutoff))


def acquire(
    signal: torch.Tensor,
    pixel_mm: torch.Tensor,
    acquisition: AcquisitionScene,
    noise_sd: torch.Tensor,
    generators: list[torch.Generator],
    oversampling: int = 1,
) -> torch.Tensor:
    """Magnitude images of a signal.

    Parameters
    ----------
    signal
        Real transverse magnetisation, shape ``(scene, time, oversampling * row, oversampling * column)``.
    pixel_mm
        Side of the square pixels of the images, shape ``(scene,)``.
    noise_sd
        Standard deviation of the noise in the real and the imaginary part of the final image, ``(scene,)``.

    Returns
    -------
        Non-negative images ``(scene, time, row, column)``; where there is no signal they are Rayleigh-distributed with
        mean ``noise_sd * sqrt(pi / 2)`` (Gudbjartsson and Patz, Magn Reson Med 1995;34(6):910).
    """
    rows, columns = (n // oversampling for n in signal.shape[-2:])
    along_x = kspace_window(columns, pixel_mm, acquisition.resolution_mm[:, 0], acquisition.apodization)
    along_y = kspace_window(rows, pixel_mm, acquisition.resolution_mm[:, 1], acquisition.apodization)
    window = (along_y[:, :, None] * along_x[:, None, :])[:, None]
    kept = (window**2).mean(dim=(-1, -2), keepdim=True).sqrt()
    noise = torch.stack(
        [torch.randn((signal.shape[1], rows, columns, 2), generator=g, device=g.device) for g in generators]
    ).to(signal.device)
    white = torch.view_as_complex(noise.contiguous()) * (rows * columns) ** 0.5
    spectrum = _spectrum(signal, oversampling) + white * noise_sd[:, None, None, None] / kept
    image = torch.fft.ifft2(spectrum * window)
    half_shift_y = torch.roll(image, rows // 2, dims=-2)
    half_shift_x = torch.roll(image, columns // 2, dims=-1)
    along = acquisition.ghost_axis[:, None, None, None]
    ghost = half_shift_y * along + half_shift_x * (1 - along)
    magnitude: torch.Tensor = (image + acquisition.ghost[:, None, None, None] * ghost).abs()
    return magnitude


def _spectrum(signal: torch.Tensor, oversampling: int) -> torch.Tensor:
    """Frequencies of images whose pixels are ``oversampling`` times as wide as those of the signal, in FFT order."""
    spectrum: torch.Tensor = torch.fft.fft2(signal)
    if oversampling == 1:
        return spectrum
    for axis in (-2, -1):
        n = signal.shape[axis] // oversampling
        frequency = torch.fft.fftfreq(n, 1 / n, device=signal.device)
        spectrum = spectrum.index_select(axis, frequency.round().long() % signal.shape[axis])
        # The first pixel's centre lies half a pixel from the edge, that of the signal's first sample less.
        shift = (oversampling - 1) / 2 / signal.shape[axis]
        phase = torch.polar(torch.full_like(frequency, 1 / oversampling), 2 * math.pi * frequency * shift)
        spectrum = spectrum * (phase[:, None] if axis == -2 else phase)
    return spectrum


def coil_shading(points_mm: torch.Tensor, acquisition: AcquisitionScene, field: torch.Tensor) -> torch.Tensor:
    """Sensitivity over the image: a ramp away from the coil times a slow random field; ``(scene, row, column)``."""
    direction = torch.stack(
        [torch.cos(acquisition.shading_angle_rad), torch.sin(acquisition.shading_angle_rad)], dim=-1
    )
    ramp = torch.einsum("bhwd,bd->bhw", points_mm, direction) / 100
    strength = acquisition.shading[:, :, None, None]
    return torch.exp(strength[:, 0] * field + strength[:, 1] * ramp.clamp(-2, 2))
