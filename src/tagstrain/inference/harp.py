"""Harmonic-phase (HARP) tracking, the classical way to follow tags: `HarpTracker`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates, spline_filter

from tagstrain.data import PointTracks, TaggedCine
from tagstrain.errors import TagsNotFoundError
from tagstrain.geometry import CropTransform
from tagstrain.geometry.tag_spectrum import TagPattern, measure_tags
from tagstrain.inference.given_points import can_be_followed
from tagstrain.inference.harmonic_phase import HarmonicFilter, relative_contrast, unwrap_phase
from tagstrain.inference.motion_fit import LocalPolynomialFit, MotionModel, tissue_around

NODE_STEP_PX = 2
"""Crop pixels between the nodes of the displacement field."""
N_FRAMES_WITH_STRONG_TAGS = 3
SCATTER_FLOOR_CYCLES = 0.02
SIGMA_FLOOR_MM = 0.1
SIGMA_SCALE = 2.9
"""Measured over simulated cines: neighboring measurements share noise, which the fits' formula does not know."""
UNSEEN_SIGMA_MM = 5.0
"""Spread of the motion along the lines of line tags, which leaves no trace in the image."""

Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True, slots=True)
class HarpConfig:
    """Settings of `HarpTracker`."""

    pixel_mm: float = 1.0
    """Pixel of the square grid that the images are sampled on."""
    margin_mm: float = 16.0
    """Width of the surroundings of the points that are sampled with them."""
    relative_bandwidth: float = 0.5
    """Standard deviation of the band-pass filters, as a fraction of the tag frequency."""
    contrast_window: float = 0.6
    """Neighborhood of the contrast normalization, as a fraction of the tag spacing."""
    linear_windows_mm: tuple[float, ...] = (4.0, 3.0)
    """Windows of the local fits, coarse to fine, one per round of warping and measuring the phase that is left."""
    quadratic_windows_mm: tuple[float, ...] = (3.5, 3.5)
    """The same for the last rounds, whose fits have curvature."""
    model_weight: float = 0.1
    """Weight of the tissue's common motion model beside a measurement in typical tissue."""
    outlier_cycles: float = 0.25
    """Disagreement with the neighbors at which a measurement counts a quarter [tag periods]."""
    momentum: float = 0.5
    """Share of the last velocity that the first guess for the next frame keeps."""
    max_gap_mm: float = 14.0
    """Points further apart than this have no tissue between them."""
    min_agreement: float = 0.8
    """Agreement of the tags with those at ED below which they count as gone: the points are held where they were."""
    max_speed_mm_per_ms: float = 0.1
    """Speed of the tissue (root mean square over the points) above which a frame counts as a slip."""
    held_drift_mm_per_ms: float = 0.02
    """Growth of the standard deviation of points that are held."""

    def __post_init__(self) -> None:
        positive = (self.pixel_mm, self.relative_bandwidth, self.contrast_window, self.outlier_cycles, self.max_gap_mm)
        if min(*positive, *self.linear_windows_mm, *self.quadratic_windows_mm) <= 0:
            raise ValueError(f"HarpConfig: expected positive lengths and fractions, got {self}")
        if min(self.margin_mm, self.model_weight, self.momentum) < 0:
            raise ValueError(f"HarpConfig: expected no negative value, got {self}")
        if not self.linear_windows_mm + self.quadratic_windows_mm:
            raise ValueError("HarpConfig: expected at least one window")


@dataclass(frozen=True, slots=True)
class HarpTracker:
    """Follows points by the phase of the tags, which moves with the tissue.

    The motion is sought on the ED grid. Each frame is warped back by the best guess so far, which leaves the tags
    almost as they were at ED; what is left of their phase against ED gives the rest of the displacement. Both
    images are cut to the tissue between the points before they are filtered, so that blood and surroundings stay
    out. Where the first phase of a frame may have turned by more than half a period, both readings are followed, as
    it stands and unwrapped along shortest paths, and the one that lays the tags better on those at ED is kept.
    Every round fits the phase robustly with local polynomials, and where tags are faint with a model of the common
    motion.

    Where tags have faded away the points stay where they were seen last, with a growing standard deviation.

    Only the displacement across tag lines can be seen. With line tags (one direction) the displacement along the
    lines comes back as zero and the standard deviation says that it is not known.

    References
    ----------
    Osman, Kerwin, McVeigh and Prince, Magn Reson Med 1999;42(6):1048
    Liu and Prince, IEEE Trans Med Imaging 2010;29(5):1114, doi:10.1109/TMI.2010.2040284
    """

    config: HarpConfig = HarpConfig()

    @property
    def name(self) -> str:
        """Name on the command line."""
        return "harp"

    def track(self, cine: TaggedCine, ed_points_px: NDArray[np.floating]) -> PointTracks:
        """Trajectories of the ED points ``(point, 2)``, which come back unchanged in the ED frame.

        Points that cannot be followed (`can_be_followed`) come back as NaN.

        Raises
        ------
        TagsNotFoundError
            If there are no tags around the points.
        """
        points = np.asarray(ed_points_px, np.float64)
        tracks = np.full((cine.n_frames, *points.shape), np.nan)
        sigma = np.full(tracks.shape[:2], np.nan)
        known = can_be_followed(points, cine)
        if known.any():
            field = _PhaseField(self.config, cine, points[known])
            tracks[:, known], sigma[:, known] = field.follow(cine)
        return PointTracks(tracks, sigma, cine.ed_frame)


class _PhaseField:
    """The displacement of the tissue around some points, one tag direction at a time, in tag periods."""

    def __init__(self, config: HarpConfig, cine: TaggedCine, points_px: NDArray[np.float64]) -> None:
        self.config = config
        self.points_px = points_px
        spacing_xy_mm = cine.spacing_xy_mm
        low, high = points_px.min(axis=0), points_px.max(axis=0)
        center = (low + high) / 2
        side_mm = float(((high - low) * spacing_xy_mm).max()) + 2 * config.margin_mm
        self.pattern = _strongest_tags(cine, center, max(side_mm / 2, 35.0))
        n_nodes = int(np.ceil(side_mm / config.pixel_mm / NODE_STEP_PX)) + 1
        size = (n_nodes - 1) * NODE_STEP_PX + 1
        spacing = (float(spacing_xy_mm[0]), float(spacing_xy_mm[1]))
        self.crop = CropTransform((float(center[0]), float(center[1])), size * config.pixel_mm, size, spacing)
        self.image_pixel_mm = cine.pixel_mm
        frequencies_px = self.pattern.frequencies_xy * config.pixel_mm
        self.from_periods = np.linalg.pinv(frequencies_px)
        period_px = float(1 / np.linalg.norm(frequencies_px, axis=1).mean())
        images, inside = self.crop.sample(cine.frames)
        contrast = relative_contrast(images, config.contrast_window * period_px)
        self.splines = [spline_filter(image, 3, mode="mirror") for image in contrast]

        self.points_crop = self.crop.to_crop(points_px)
        gap_px = config.max_gap_mm / config.pixel_mm
        self.tissue = tissue_around(self.points_crop, size, gap_px, 1.5 * period_px, 0.5 / config.pixel_mm) * inside
        self.filter = HarmonicFilter.at(frequencies_px, size, config.relative_bandwidth)
        self.reference = self.filter(contrast[cine.ed_frame] * self.tissue)

        self.node_tissue = _at_nodes(self.tissue)
        if not (self.node_tissue > 0.5).any():
            raise TagsNotFoundError("the points span no tissue inside the image whose tags could be followed")
        # Two nodes further than the tissue, so that the field can be interpolated up to its rim.
        self.near = gaussian_filter(self.node_tissue, 1.0) > 1e-3
        node_mm = config.pixel_mm * NODE_STEP_PX
        windows = [(mm, 1) for mm in config.linear_windows_mm] + [(mm, 2) for mm in config.quadratic_windows_mm]
        self.fits = [LocalPolynomialFit(self.near, mm / node_mm, degree) for mm, degree in windows]
        self.model = MotionModel.of(self.node_tissue)
        self.rows, self.columns = np.mgrid[:size, :size].astype(float)

    def follow(self, cine: TaggedCine) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Positions [px of the original image] ``(time, point, 2)`` and their standard deviations."""
        n_frames, ed_frame, times_ms = cine.n_frames, cine.ed_frame, cine.frame_times_ms
        shape = (len(self.pattern.directions), *self.near.shape)
        tracks = np.repeat(self.points_px[None], n_frames, axis=0)
        sigma = np.zeros((n_frames, len(self.points_px)))
        for frames in (range(ed_frame + 1, n_frames), range(ed_frame - 1, -1, -1)):
            here, velocity, seen = np.zeros(shape), np.zeros(shape), ed_frame
            for frame in frames:
                interval_ms = times_ms[frame] - times_ms[seen]
                guess = here + self.config.momentum * velocity * interval_ms
                found, deviation = self._solve(self.splines[frame], guess)
                if self._is_credible(self.splines[frame], found, here, interval_ms):
                    here, velocity, seen = found, (found - here) / interval_ms, frame
                    tracks[frame] = self.crop.to_image(self.points_crop + self._at_points(self._displacement(here)).T)
                    sigma[frame] = self._sigma_px(self._at_points(deviation, order=1))
                else:
                    velocity = np.zeros(shape)
                    drift_px = self.config.held_drift_mm_per_ms * abs(interval_ms) / self.image_pixel_mm
                    tracks[frame], sigma[frame] = tracks[seen], np.hypot(sigma[seen], drift_px)
        return tracks, sigma

    def _is_credible(
        self, spline: NDArray[np.float64], found: NDArray[np.float64], before: NDArray[np.float64], interval_ms: float
    ) -> bool:
        """Whether tags were there to be followed, and tissue could have moved so far."""
        moved = self._at_points(self._displacement(found - before))
        speed = np.sqrt((moved**2).sum(axis=0).mean()) * self.config.pixel_mm / abs(interval_ms)
        is_possible = bool(speed <= self.config.max_speed_mm_per_ms)
        return is_possible and self._agreement(spline, found) >= self.config.min_agreement

    def _solve(
        self, spline: NDArray[np.float64], guess: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Displacement across the tags from a first guess, and its standard deviation, in tag periods."""
        product, quality = self._compare(spline, guess)
        wrapped = np.angle(product) / (2 * np.pi)
        found = self._refine(spline, guess, wrapped, quality)
        unwrapped = unwrap_phase(product, quality.min(axis=0)) / (2 * np.pi)
        if (quality * (np.abs(unwrapped - wrapped) > 0.5)).sum() < 0.01 * quality.sum():
            return found
        # Motion of more than half a period, or paths led astray by noise: the images decide.
        other = self._refine(spline, guess, unwrapped, quality)
        is_better = self._agreement(spline, other[0]) > self._agreement(spline, found[0])
        return other if is_better else found

    def _agreement(self, spline: NDArray[np.float64], periods: NDArray[np.float64]) -> float:
        """How well the tags lie on those at ED after warping back, weighted by their strength: -1 to 1."""
        product, _ = self._compare(spline, periods)
        strength = np.abs(product) * self.node_tissue
        return float((product.real * self.node_tissue).sum() / (strength.sum() + np.finfo(float).tiny))

    def _refine(
        self,
        spline: NDArray[np.float64],
        periods: NDArray[np.float64],
        left_over: NDArray[np.float64],
        quality: NDArray[np.float64],
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Rounds of fitting and measuring what is left, starting from the phase left by ``periods``."""
        deviation = np.zeros_like(periods)
        for n_rounds, fit in enumerate(self.fits):
            if n_rounds > 0:
                product, quality = self._compare(spline, periods)
                left_over = np.angle(product) / (2 * np.pi)
            measured, weights = periods - left_over, quality
            for _ in range(3):
                periods, deviation = self._regularize(fit, measured, weights)
                disagreement = measured - periods
                disagreement -= np.round(disagreement)
                measured = periods + disagreement
                weights = quality / (1 + (disagreement / self.config.outlier_cycles) ** 2) ** 2
        return periods, deviation

    def _compare(
        self, spline: NDArray[np.float64], periods: NDArray[np.float64]
    ) -> tuple[NDArray[np.complex128], NDArray[np.float64]]:
        """Harmonics after warping back by ``periods`` times ED's conjugate; weights, about 1 in typical tissue."""
        along_x, along_y = (_between_nodes(part) for part in self._displacement(periods))
        coordinates = [self.rows + along_y, self.columns + along_x]
        warped = map_coordinates(spline, coordinates, order=3, mode="nearest", prefilter=False)
        product = self.filter(warped * self.tissue) * self.reference.conj()
        tiny = 1e-9 * float(np.abs(self.reference).max()) ** 2 + np.finfo(float).tiny

        window = (0, 2 / self.config.pixel_mm, 2 / self.config.pixel_mm)
        total = _at_nodes(gaussian_filter(np.abs(product), window))
        coherence = np.abs(_at_nodes(gaussian_filter(product, window))) / (total + tiny)
        product = _at_nodes(gaussian_filter(product, (0, 1, 1)))
        quality = np.abs(product) * coherence**4
        typical = np.median(quality[:, self.node_tissue > 0.5], axis=1) if (self.node_tissue > 0.5).any() else 0.0
        quality /= np.reshape(typical, (-1, 1, 1)) + tiny
        return product, np.minimum(quality, 5) * (self.node_tissue + 1e-3) + 1e-9

    def _regularize(
        self, fit: LocalPolynomialFit, measured: NDArray[np.float64], weights: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Local fits to the measurements near the tissue, the common motion elsewhere; and standard deviations."""
        common = self.model(measured, weights)
        with_model = weights + self.config.model_weight
        values = (weights * measured + self.config.model_weight * common) / with_model
        smooth = common.copy()
        smooth[:, self.near], variance = fit(values, with_model)
        spread = weights * (measured - smooth) ** 2
        scatter = spread.sum(axis=(1, 2)) / (weights.sum(axis=(1, 2)) + np.finfo(float).tiny)
        deviation = np.full_like(smooth, 0.5)
        deviation[:, self.near] = np.sqrt(np.maximum(variance, 0) * (scatter[:, None] + SCATTER_FLOOR_CYCLES**2))
        return smooth, deviation

    def _displacement(self, periods: NDArray[np.float64]) -> NDArray[np.float64]:
        """Displacement along ``(x, y)`` [crop pixels] from tag periods; zero along the lines of line tags."""
        return np.asarray(np.tensordot(self.from_periods, periods, axes=1))

    def _at_points(self, field: NDArray[np.float64], order: int = 3) -> NDArray[np.float64]:
        """Interpolate a field ``(channel, row, column)`` on the nodes at the tracked points."""
        coordinates = self.points_crop.T[::-1] / NODE_STEP_PX
        return np.stack([map_coordinates(channel, coordinates, order=order, mode="nearest") for channel in field])

    def _sigma_px(self, deviation: NDArray[np.float64]) -> NDArray[np.float64]:
        """Standard deviation along one axis [px of the original image] from that across each set of tag lines."""
        spacing_mm = np.array([direction.tag_spacing_mm for direction in self.pattern.directions])
        variance_mm2 = ((SIGMA_SCALE * deviation * spacing_mm[:, None]) ** 2 + SIGMA_FLOOR_MM**2).sum(axis=0)
        variance_mm2 += UNSEEN_SIGMA_MM**2 * (2 - len(spacing_mm))
        return np.asarray(np.sqrt(variance_mm2 / 2) / self.image_pixel_mm)


def _strongest_tags(cine: TaggedCine, center_px: NDArray[np.floating], radius_mm: float) -> TagPattern:
    """Tags of the first frames or of those around ED, whichever show them better: a cine may begin with faded tags, and
    may be followed back from where they have faded."""
    by_distance = np.argsort(np.abs(np.arange(cine.n_frames) - cine.ed_frame), kind="stable")
    choices = [np.arange(cine.n_frames)[:N_FRAMES_WITH_STRONG_TAGS], by_distance[:N_FRAMES_WITH_STRONG_TAGS]]
    found = []
    for frames in choices[: 1 if cine.ed_frame == 0 else 2]:
        try:
            found.append(measure_tags(cine.frames[frames], cine.spacing_xy_mm, center_px, radius_mm))
        except TagsNotFoundError as error:
            missing = error
    if not found:
        raise missing
    return max(found, key=lambda pattern: pattern.directions[0].strength)


def _at_nodes(images: NDArray[Scalar]) -> NDArray[Scalar]:
    """Every second pixel, where the nodes lie."""
    return images[..., ::NODE_STEP_PX, ::NODE_STEP_PX]


def _between_nodes(field: NDArray[np.float64]) -> NDArray[np.float64]:
    """Linear interpolation of a node field ``(row, column)`` to the pixels of the crop."""
    for _ in range(2):
        finer = np.empty((NODE_STEP_PX * len(field) - 1, field.shape[1]))
        finer[::2], finer[1::2] = field, (field[:-1] + field[1:]) / 2
        field = finer.T
    return field
