"""Phase of the tags: relative contrast, band-pass filters at the tag frequencies, unwrapping along shortest paths."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import gaussian_filter
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra


def relative_contrast(images: NDArray[np.floating], window_px: float) -> NDArray[np.float64]:
    """Images ``(..., row, column)`` less their local mean, over their local deviation.

    Tags multiply the tissue's signal, so this takes away tissue brightness, coil shading and the recovery of the
    unmodulated signal, all of which would leak into the band of the tags. Where hardly any contrast is left, the
    deviation is bounded from below, so that noise is not blown up to the size of tags.

    Parameters
    ----------
    window_px
        Standard deviation of the Gaussian neighborhood; about 0.6 of the tag spacing.
    """
    sigma = (0.0,) * (images.ndim - 2) + (window_px, window_px)
    values = np.asarray(images, np.float64)
    difference = values - gaussian_filter(values, sigma, mode="nearest")
    deviation = np.sqrt(gaussian_filter(difference**2, sigma, mode="nearest"))
    typical = np.median(deviation, axis=(-2, -1), keepdims=True)
    return np.asarray(difference / (deviation + 0.3 * typical + np.finfo(float).tiny))


@dataclass(frozen=True, eq=False, slots=True)
class HarmonicFilter:
    """Gaussian band-pass filters around the tag frequencies; what they give has the tags' phase and strength."""

    transfer: NDArray[np.float64]
    """Gain per frequency, shape ``(direction, row, column)``, on the padded grid."""
    size: int

    @classmethod
    def at(cls, frequencies_px: NDArray[np.floating], size: int, relative_bandwidth: float) -> HarmonicFilter:
        """Filters for images of ``size`` x ``size`` pixels.

        Parameters
        ----------
        frequencies_px
            Tag frequencies along ``(x, y)`` [cycles/pixel], shape ``(direction, 2)``.
        relative_bandwidth
            Standard deviation of each filter, as a fraction of its tag frequency.
        """
        n_fft = fft.next_fast_len(size + size // 4)
        grid = fft.fftfreq(n_fft)
        along_x, along_y = grid[None, None, :], grid[None, :, None]
        fx, fy = frequencies_px[:, 0, None, None], frequencies_px[:, 1, None, None]
        width = relative_bandwidth * np.hypot(fx, fy)
        return cls(np.exp(-((along_x - fx) ** 2 + (along_y - fy) ** 2) / (2 * width**2)), size)

    def __call__(self, image: NDArray[np.floating]) -> NDArray[np.complex128]:
        """Complex harmonic images ``(direction, row, column)`` of one image ``(row, column)``."""
        n_fft = self.transfer.shape[-1]
        spectrum = fft.fft2(image, s=(n_fft, n_fft))
        return np.asarray(fft.ifft2(spectrum * self.transfer)[:, : self.size, : self.size])


def unwrap_phase(products: NDArray[np.complex128], quality: NDArray[np.floating]) -> NDArray[np.float64]:
    """Phases without jumps of a full turn, each pixel's found along the most trustworthy path.

    From the best pixel outwards, a shortest path joins every pixel over steps that cost little where the quality is
    high and no phase changes much. All directions share the paths. Whole turns common to all pixels stay open; they
    are set so that the median phase, weighted by quality, is nearest to zero.

    Parameters
    ----------
    products
        Complex numbers that carry the phases, shape ``(direction, row, column)``.
    quality
        Positive weights, shape ``(row, column)``.

    References
    ----------
    Liu and Prince, IEEE Trans Med Imaging 2010;29(5):1114, doi:10.1109/TMI.2010.2040284
    """
    n_directions, rows, columns = products.shape
    n_nodes = rows * columns
    node = np.arange(n_nodes).reshape(rows, columns)
    first = np.concatenate([node[:, :-1].ravel(), node[:-1].ravel()])
    second = np.concatenate([node[:, 1:].ravel(), node[1:].ravel()])

    phases = np.angle(products).reshape(n_directions, n_nodes)
    weight = quality.ravel() / max(float(quality.max()), np.finfo(float).tiny) + 1e-3
    mismatch = (1 - np.cos(phases[:, second] - phases[:, first])).max(axis=0)
    cost = (0.02 + mismatch) / (weight[first] * weight[second])
    graph = csr_array((cost, (first, second)), shape=(n_nodes, n_nodes))
    root = int(weight.argmax())
    _, parent = dijkstra(graph, directed=False, indices=root, return_predecessors=True)
    parent[root] = root

    step = phases - phases[:, parent]
    unwrapped = step - 2 * np.pi * np.round(step / (2 * np.pi))
    # Doubling the length of the summed path in each round takes log2(path) rounds instead of a walk per pixel.
    while np.any(parent != root):
        unwrapped = unwrapped + unwrapped[:, parent]
        parent = parent[parent]
    unwrapped += phases[:, root, None]
    for phase in unwrapped:
        order = phase.argsort()
        total = np.cumsum(weight[order])
        median = phase[order][np.searchsorted(total, total[-1] / 2)]
        phase -= 2 * np.pi * np.round(median / (2 * np.pi))
    return unwrapped.reshape(n_directions, rows, columns)
