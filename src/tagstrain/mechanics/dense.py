"""Strain of a dense displacement field: `dense_strain`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tagstrain.mechanics.tensors import PolarStrain, green_lagrange_tensor, polar_components


def dense_strain(
    displacement_mm: NDArray[np.floating], spacing_xy_mm: NDArray[np.floating], center_xy_px: NDArray[np.floating]
) -> PolarStrain:
    """Green-Lagrange strain at every pixel of the ED frame, in the polar frame of the ventricle.

    Parameters
    ----------
    displacement_mm
        Displacement ``(x, y)`` [mm] at time ``t`` of the material that lay at each pixel at ED, shape
        ``(time, 2, row, column)``, at least 3 x 3 pixels; NaN where not known.
    spacing_xy_mm
        Pixel spacing [mm] along ``(x, y)``.
    center_xy_px
        Center of the ventricle at ED [px], ``(x, y)``; radial is away from it.

    Returns
    -------
        Radial, circumferential and shear strain as fractions, each ``(time, row, column)``. NaN where the pixel or a
        neighbor along its row or column is not known.
    """
    gradients = dense_gradients(displacement_mm, spacing_xy_mm)
    rows, columns = gradients.shape[1:3]
    x_mm = (np.arange(columns) - center_xy_px[0]) * spacing_xy_mm[0]
    y_mm = (np.arange(rows) - center_xy_px[1]) * spacing_xy_mm[1]
    return polar_components(green_lagrange_tensor(gradients), np.arctan2(y_mm[:, None], x_mm))


def dense_gradients(displacement_mm: NDArray[np.floating], spacing_xy_mm: NDArray[np.floating]) -> NDArray[np.float64]:
    """Deformation gradient ``F = I + du/dX`` of a displacement field; parameters as `dense_strain`.

    Returns
    -------
        Shape ``(time, row, column, 2, 2)``, ``F[..., i, j]`` the derivative of place ``i`` now by place ``j`` at ED.
    """
    displacement = np.asarray(displacement_mm, np.float64)
    along_x = _derivative(displacement, -1) / spacing_xy_mm[0]
    along_y = _derivative(displacement, -2) / spacing_xy_mm[1]
    return np.asarray(np.moveaxis(np.stack([along_x, along_y], axis=2), (1, 2), (-2, -1)) + np.eye(2))


def _derivative(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Derivative per pixel along one axis: fourth-order central differences, second-order ones at the edges.

    At 1.4 mm per pixel second-order differences miss the radial strain of the endocardium by 1 to 2 %.
    """
    lines = np.moveaxis(values, axis, -1)
    slopes = np.gradient(lines, axis=-1, edge_order=2)
    central = (lines[..., :-4] - 8 * lines[..., 1:-3] + 8 * lines[..., 3:-1] - lines[..., 4:]) / 12
    slopes[..., 2:-2] = np.where(np.isnan(central), slopes[..., 2:-2], central)
    slopes[np.isnan(lines)] = np.nan
    return np.moveaxis(slopes, -1, axis)
