"""Image formation of the second generator: Bloch simulation of tagging and imaging pulses, then k-space."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

TRAINS = {"1-1": (1, 1), "1-2-1": (1, 2, 1), "1-3-3-1": (1, 3, 3, 1)}
"""Binomial weights of the pulses of a SPAMM train (Axel and Dougherty, Radiology 1989;172:349)."""
PULSE_GAP_MS = 1.0
TRAIN_T1_MS, TRAIN_T2_MS = 1000.0, 50.0


def spamm_train(longitudinal: Array, phase_rad: Array, total_flip_rad: Array, weights: tuple[int, ...]) -> Array:
    """Longitudinal magnetization after one train of pulses and a crusher gradient.

    Parameters
    ----------
    longitudinal
        Magnetization before the train, over its equilibrium; any shape.
    phase_rad
        Phase that the gradient (and the field's imperfection) adds between two pulses; same shape.
    total_flip_rad
        Sum of the flip angles; same shape.
    weights
        Share of each pulse.
    """
    decay, recovery = np.exp(-PULSE_GAP_MS / TRAIN_T2_MS), np.exp(-PULSE_GAP_MS / TRAIN_T1_MS)
    precession = np.exp(1j * phase_rad) * decay
    transverse = np.zeros(longitudinal.shape, np.complex128)
    for index, weight in enumerate(weights):
        if index:
            transverse = transverse * precession
            longitudinal = 1 + (longitudinal - 1) * recovery
        flip = total_flip_rad * weight / sum(weights)
        c, s = np.cos(flip), np.sin(flip)
        along = transverse.imag
        transverse = transverse.real + 1j * (c * along - s * longitudinal)
        longitudinal = s * along + c * longitudinal
    return np.asarray(longitudinal, np.float64)


@dataclass(frozen=True, slots=True)
class ImagingPulses:
    """Spoiled gradient-echo readout, ``n_views`` pulses per frame, repeated every heartbeat."""

    flip_rad: float
    repetition_ms: float
    n_views: int
    n_frames: int
    delay_ms: float
    """From the tags to the first pulse."""
    heartbeat_ms: float
    n_dummy_beats: int = 4

    @property
    def frame_times_ms(self) -> Array:
        """Middle of every frame's pulses, counted from the tags."""
        interval_ms = self.repetition_ms * self.n_views
        return np.asarray(self.delay_ms + (np.arange(self.n_frames) + 0.5) * interval_ms)

    def history(self, t1_ms: Array, mean_tagging: float) -> Array:
        """How much of the tagged and of recovered magnetization each pulse finds, pulse by pulse.

        At a pulse the longitudinal magnetization is ``tagged * P + fresh``, where ``P`` is what tagging left of it at
        a place.

        Returns
        -------
            Shape ``(frame, view, 2, tissue)``; index 0 of the third axis is ``tagged``, 1 ``fresh``.
        """
        before_tags = np.ones_like(t1_ms)
        history = np.empty((self.n_frames, self.n_views, 2, len(t1_ms)))
        pulse, recovery = np.cos(self.flip_rad), np.exp(-self.repetition_ms / t1_ms)
        rest_ms = self.heartbeat_ms - self.delay_ms - self.n_frames * self.n_views * self.repetition_ms
        for _ in range(self.n_dummy_beats + 1):
            wait = np.exp(-self.delay_ms / t1_ms)
            tagged, fresh = before_tags * wait, 1 - wait
            for frame in range(self.n_frames):
                for view in range(self.n_views):
                    history[frame, view] = tagged, fresh
                    tagged = tagged * pulse * recovery
                    fresh = 1 + (fresh * pulse - 1) * recovery
            before_tags = 1 + (tagged * mean_tagging + fresh - 1) * np.exp(-max(rest_ms, 0.0) / t1_ms)
        return history


@dataclass(frozen=True, slots=True)
class KSpace:
    """Cartesian sampling, one phase-encoding line per pulse, zero-filled to the image's matrix."""

    n_readout: int
    n_phase: int
    n_pixels: int
    phase_along_y: bool
    filter_floor: float
    """Weight of the outermost sample; 1 is no filter."""
    line_error_rad: float
    """Phase between odd and even lines, which makes a faint ghost half an image away."""

    def sample(
        self, first: NDArray[np.number], last: NDArray[np.number], noise: NDArray[np.complex128]
    ) -> NDArray[np.complex128]:
        """Complex image of an object that changes from ``first`` to ``last`` while a frame's lines are read.

        Parameters
        ----------
        first, last
            Complex transverse magnetization at the frame's first and last pulse on a fine square grid ``(y, x)`` over
            the same field of view; lines are read in order, so line ``k`` of ``n`` sees the mixture ``k / (n - 1)``.
        noise
            Complex white noise of unit deviation, shape `shape`, scaled to the deviation wanted in the image.
        """
        rows, columns = self.shape
        late = np.linspace(0, 1, self.n_phase)
        error = np.exp(1j * self.line_error_rad * (np.arange(self.n_phase) % 2 - 0.5))
        taper = self._taper(rows)[:, None] * self._taper(columns)[None]
        late, error = (late[:, None], error[:, None]) if self.phase_along_y else (late[None], error[None])
        lines = (_spectrum(first, rows, columns) * (1 - late) + _spectrum(last, rows, columns) * late) * error * taper
        # White noise in k-space goes through the same filter; this makes its deviation in the image that of `noise`.
        power = np.sqrt((taper**2).sum())
        lines = lines + noise * taper / power
        filled = np.zeros((self.n_pixels, self.n_pixels), np.complex128)
        filled[_middle(self.n_pixels, rows), _middle(self.n_pixels, columns)] = lines
        return np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(filled))) * self.n_pixels**2

    @property
    def shape(self) -> tuple[int, int]:
        """Samples along y and x."""
        return (self.n_phase, self.n_readout) if self.phase_along_y else (self.n_readout, self.n_phase)

    def _taper(self, n: int) -> Array:
        place = np.abs(np.arange(n) - n / 2) / (n / 2)
        return np.asarray(self.filter_floor + (1 - self.filter_floor) * np.cos(np.pi / 2 * place) ** 2)


def _spectrum(image: NDArray[np.number], rows: int, columns: int) -> NDArray[np.complex128]:
    """Middle of the centered spectrum, scaled so that a constant image of 1 has a DC sample of 1."""
    full = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(image))) / image.size
    return np.asarray(full[_middle(image.shape[0], rows), _middle(image.shape[1], columns)])


def _middle(n: int, kept: int) -> slice:
    return slice(n // 2 - kept // 2, n // 2 - kept // 2 + kept)
