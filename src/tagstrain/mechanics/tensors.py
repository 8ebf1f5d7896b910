"""Strain tensors from deformation gradients, and their components in the polar frame of the ventricle."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class PolarStrain(NamedTuple):
    """Components of a strain in the polar frame, as fractions; shortening is negative.

    The circumferential direction turns from +x towards +y of the image: the shear's sign depends on the side from
    which the heart is seen.
    """

    radial: NDArray[np.float64]
    circumferential: NDArray[np.float64]
    shear: NDArray[np.float64]
    """Between the radial and the circumferential direction."""


class PrincipalStrains(NamedTuple):
    """Strains in the two directions without shear."""

    greatest: NDArray[np.float64]
    least: NDArray[np.float64]
    angle_rad: NDArray[np.float64]
    """Direction of the greatest, from the radial towards the circumferential direction; -pi/2 to pi/2."""


def green_lagrange_tensor(gradients: NDArray[np.float64]) -> NDArray[np.float64]:
    """Green-Lagrange strain ``E = (F'F - I) / 2`` of gradients ``(..., 2, 2)``, a tensor of the ED configuration.

    References
    ----------
    Holzapfel, Nonlinear Solid Mechanics, 2000, eq. 2.69
    """
    return np.asarray((np.swapaxes(gradients, -1, -2) @ gradients - np.eye(2)) / 2)


def almansi_tensor(gradients: NDArray[np.float64]) -> NDArray[np.float64]:
    """Euler-Almansi strain ``e = (I - F^-T F^-1) / 2`` of gradients ``(..., 2, 2)``, a tensor of the frame now.

    Its polar components belong to the landmark's angle now, not at ED. NaN where ``det F`` is 0.

    References
    ----------
    Holzapfel, Nonlinear Solid Mechanics, 2000, eq. 2.83
    """
    f = gradients
    determinant = area_ratio(f)[..., None, None]
    adjugate = np.stack(
        [np.stack([f[..., 1, 1], -f[..., 0, 1]], axis=-1), np.stack([-f[..., 1, 0], f[..., 0, 0]], axis=-1)], axis=-2
    )
    inverse = np.divide(adjugate, determinant, out=np.full(f.shape, np.nan), where=determinant != 0)
    return np.asarray((np.eye(2) - np.swapaxes(inverse, -1, -2) @ inverse) / 2)


def polar_components(tensors: NDArray[np.float64], angle_rad: NDArray[np.float64]) -> PolarStrain:
    """Components of symmetric tensors ``(..., 2, 2)`` at the polar angle ``(...)`` of their place.

    For a Green-Lagrange tensor that is the angle at ED (the material direction), for an Euler-Almansi tensor the
    angle now.
    """
    cosine, sine = np.cos(angle_rad), np.sin(angle_rad)
    xx, yy, xy = tensors[..., 0, 0], tensors[..., 1, 1], tensors[..., 0, 1]
    return PolarStrain(
        radial=np.asarray(xx * cosine**2 + yy * sine**2 + 2 * xy * sine * cosine),
        circumferential=np.asarray(xx * sine**2 + yy * cosine**2 - 2 * xy * sine * cosine),
        shear=np.asarray((yy - xx) * sine * cosine + xy * (cosine**2 - sine**2)),
    )


def engineering_components(gradients: NDArray[np.float64], ed_angle_rad: NDArray[np.float64]) -> PolarStrain:
    """Engineering strains of the lines that were radial and circumferential at ED.

    ``l / L - 1`` of each line; the shear is the angle [rad] by which the right angle between the two has closed.

    Parameters
    ----------
    gradients
        Deformation gradients ``(..., 2, 2)``.
    ed_angle_rad
        Polar angle at ED, shape ``(...)``.
    """
    lagrange = polar_components(green_lagrange_tensor(gradients), ed_angle_rad)
    radial_stretch = np.sqrt(2 * lagrange.radial + 1)
    circumferential_stretch = np.sqrt(2 * lagrange.circumferential + 1)
    sine = 2 * lagrange.shear / (radial_stretch * circumferential_stretch)
    return PolarStrain(radial_stretch - 1, circumferential_stretch - 1, np.arcsin(np.clip(sine, -1, 1)))


def principal_strains(strain: PolarStrain) -> PrincipalStrains:
    """Principal strains of a tensor given by its polar components.

    References
    ----------
    Holzapfel, Nonlinear Solid Mechanics, 2000, section 2.5 (in two dimensions: Mohr's circle)
    """
    middle = (strain.radial + strain.circumferential) / 2
    half = (strain.radial - strain.circumferential) / 2
    reach = np.hypot(half, strain.shear)
    return PrincipalStrains(middle + reach, middle - reach, np.arctan2(strain.shear, half) / 2)


def area_ratio(gradients: NDArray[np.float64]) -> NDArray[np.float64]:
    """Area in the image plane now over area at ED, ``det F`` of gradients ``(..., 2, 2)``; 1 where it is kept."""
    return np.asarray(
        gradients[..., 0, 0] * gradients[..., 1, 1] - gradients[..., 0, 1] * gradients[..., 1, 0], np.float64
    )
