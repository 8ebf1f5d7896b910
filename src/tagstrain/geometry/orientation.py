"""How a short-axis image lies in the patient: its normal, where the apex is, and from which side it is seen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_TOWARDS_APEX = np.array([1.0, -1.0, -0.8]) / np.linalg.norm([1.0, -1.0, -0.8])  # left, anterior, inferior in LPS
FRONT_AND_UP = np.array([0.0, -1.0, 1.0]) / np.sqrt(2)
"""In the patient (LPS), about the way from the inferior insertion of the right ventricle to the anterior one."""
_LEAST_COSINE = 0.5
"""A normal further than 60 degrees from the usual long axis does not tell where the apex is."""


def slice_normal(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit normal of the image plane, x direction cross y direction: it points away from whoever sees the image.

    Parameters
    ----------
    affine
        ``(4, 4)`` map from ``(column, row, 0, 1)`` to patient coordinates [mm], DICOM's LPS.
    """
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    length = float(np.linalg.norm(normal))
    return normal / length if length > 0 else np.array([0.0, 0.0, 1.0])


def apex_direction(affine: NDArray[np.float64]) -> tuple[NDArray[np.float64], bool]:
    """End of a short-axis slice's normal that points to the apex, and whether that is certain.

    The left ventricle points left, forward and down; the end nearer to that direction is taken.

    Returns
    -------
        Unit vector in DICOM's LPS, and False where the normal is too far from the usual long axis to tell.
    """
    normal = slice_normal(affine)
    cosine = float(normal @ _TOWARDS_APEX)
    return (normal if cosine >= 0 else -normal), abs(cosine) > _LEAST_COSINE


def is_seen_from_apex(affine: NDArray[np.float64]) -> bool | None:
    """Whether a short-axis image shows the heart as seen from the apex, as radiologists display it.

    Rows or columns stored in the other direction, or exchanged, mirror the image and with it the answer. None where
    the slice's orientation does not tell.
    """
    towards_apex, is_certain = apex_direction(affine)
    return bool(slice_normal(affine) @ towards_apex < 0) if is_certain else None


def is_side_known(affine: NDArray[np.float64] | None) -> bool:
    """Whether a slice's orientation tells if it is seen from the apex or from the base; None has no orientation."""
    return affine is not None and is_seen_from_apex(affine) is not None
