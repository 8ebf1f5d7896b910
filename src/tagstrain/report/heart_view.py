"""Which part of the image shows the heart, and in which range of grays: `heart_view`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tagstrain.data import Box, SliceResult

_WINDOW_MARGIN = 1.3
_GRAY_PERCENTILES = (1.0, 99.7)


class View(NamedTuple):
    """The part of the image that is shown and how."""

    rows: slice
    columns: slice
    xlim: tuple[float, float]
    ylim: tuple[float, float]
    gray_range: tuple[float, float]


def heart_view(result: SliceResult, box: Box | None = None) -> View:
    """A square (in mm) around everything the landmarks visit, and around ``box`` where one is given.

    Where none of that lies in the image, pixels and grays are those of all of it.
    """
    spacing = result.cine.spacing_xy_mm
    points = result.landmarks.points_px.reshape(-1, 2)
    points = points[np.isfinite(points).all(axis=1)]
    corners = np.reshape(result.localization.box if box is None else box, (2, 2))
    if len(points) == 0 or box is not None:
        points = np.concatenate([points, corners])
    low, high = points.min(axis=0), points.max(axis=0)
    margin = _WINDOW_MARGIN if box is None else 1.06
    half_xy = np.max((high - low) * spacing) / 2 * margin / spacing
    center = (low + high) / 2
    (left, top), (right, bottom) = center - half_xy, center + half_xy
    n_rows, n_columns = result.cine.frames.shape[1:]
    # A pixel more on each side, so that interpolation does not end inside the panel.
    rows = slice(max(0, int(np.floor(top)) - 1), min(n_rows, int(np.ceil(bottom)) + 2))
    columns = slice(max(0, int(np.floor(left)) - 1), min(n_columns, int(np.ceil(right)) + 2))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        rows, columns = slice(0, n_rows), slice(0, n_columns)
    dark, bright = map(float, np.percentile(result.cine.frames[:, rows, columns], _GRAY_PERCENTILES))
    return View(rows, columns, (left, right), (bottom, top), (dark, bright if bright > dark else dark + 1.0))
