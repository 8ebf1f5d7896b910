"""Harmonic-phase (HARP) tracking, the classical way to follow tags: `HarpTracker`."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates, spline_filter

from tagstrain.data import PointTracks, TaggedCine
from tagstrain.geometry import CropTransform
from tagstrain.inference.harmonic_phase import HarmonicFilter, relative_contrast, unwrap_phase
from tagstrain.inference.tag_spectrum import measure_tags


@dataclass(frozen=True, slots=True)
class HarpConfig:
    pixel_mm: float = 1.0
    margin_mm: float = 16.0
    relative_bandwidth: float = 0.5
    smoothing_mm: tuple[float, ...] = (4.0, 3.0, 2.5, 2.5)
    momentum: float = 0.5
    ref_rate: float = 0.0
    window: float = 0.6
    cpow: float = 4.0
    csig: float = 2.0
    scale: float = 0.25
    robust: int = 2
    unwrap: bool = True
    prior: float = 0.1
    order: int = 3
    radial: tuple[float, ...] = (-1, 0, 1)
    gridge: float = 0.01
    gscale: float = 0.25
    pre: float = 1.0
    wfloor: float = 0.02
    nquad: int = 2
    quad: float = 3.5
    qridge: float = 0.02
    soft: float = 0.5
    alpha: float = 7.0
    floors: tuple[float, ...] = (0.0,)


class AffineSmoother:
    def __init__(self, n, sigma):
        o = np.arange(n)[None] - np.arange(n)[:, None]
        g = np.exp(-(o**2) / (2 * sigma**2))
        self.g = [g, g * o / sigma, g * (o / sigma) ** 2]

    def __call__(self, values, weights, ridge=0.02):
        """values, weights (..., n, n) ; fit value"""
        g = self.g
        m = lambda f, p, q: g[q] @ f @ g[p].T
        w = weights
        S = m(w, 0, 0)
        sx, sy, sxx, sxy, syy = m(w, 1, 0), m(w, 0, 1), m(w, 2, 0), m(w, 1, 1), m(w, 0, 2)
        f = w * values
        b0, bx, by = m(f, 0, 0), m(f, 1, 0), m(f, 0, 1)
        eps = 1e-12
        S = S + eps
        # centred second moments -> solve slopes 2x2
        mx, my = sx / S, sy / S
        cxx, cxy, cyy = sxx - mx * sx + ridge * S, sxy - mx * sy, syy - my * sy + ridge * S
        rx, ry = bx - mx * b0, by - my * b0
        det = cxx * cyy - cxy**2 + eps**2
        ax, ay = (cyy * rx - cxy * ry) / det, (cxx * ry - cxy * rx) / det
        return b0 / S - ax * mx - ay * my


class GlobalModel:
    def __init__(self, pts, mask, cfg):
        n = len(mask)
        self.shape = mask.shape
        yy, xx = np.mgrid[:n, :n].astype(float)
        pts = pts[np.isfinite(pts).all(1)]
        c = pts.mean(0)
        R = np.hypot(*(pts - c).T).mean()
        rho = np.hypot(xx - c[0], yy - c[1]) / R
        th = np.arctan2(yy - c[1], xx - c[0])
        rho = np.clip(rho, 0.15, 2.0)
        rad = [rho**p for p in cfg.radial]
        ang = [np.ones_like(th)] + [f(m * th) for m in range(1, cfg.order + 1) for f in (np.cos, np.sin)]
        pen = [0] + [m for m in range(1, cfg.order + 1) for _ in (0, 1)]
        self.B = np.stack([(r * a).ravel() for a in ang for r in rad], -1)
        self.pen = np.diag(np.repeat(np.array(pen, float) ** 2, len(rad))) * cfg.gridge + 1e-6 * np.eye(self.B.shape[1])
        self.use = mask.ravel() > 0.3

    def __call__(self, values, weights):
        out = np.empty_like(values)
        Bu = self.B[self.use]
        for d in range(len(values)):
            v, w = values[d].ravel()[self.use], weights[d].ravel()[self.use]
            A = (Bu * w[:, None]).T @ Bu + self.pen * w.sum()
            out[d] = (self.B @ np.linalg.solve(A, (Bu * w[:, None]).T @ v)).reshape(self.shape)
        return out


class QuadraticSmoother:
    def __init__(self, n, sigma, where, ridge):
        o = (np.arange(n)[None] - np.arange(n)[:, None]) / sigma
        g = np.exp(-(o**2) / 2)
        self.g = [g * o**p for p in range(5)]
        self.powers = [(0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2)]
        self.where = where
        self.ridge = ridge
        self.affine = AffineSmoother(n, sigma)

    def __call__(self, values, weights):
        g, wh, pw = self.g, self.where, self.powers
        m = lambda f, p, q: (g[q] @ f @ g[p].T)[:, wh]
        sums = {k: m(weights, *k) for k in {(a[0] + b[0], a[1] + b[1]) for a in pw for b in pw}}
        A = np.empty((*sums[0, 0].shape, 6, 6))
        for i, a in enumerate(pw):
            for j, b in enumerate(pw):
                A[..., i, j] = sums[a[0] + b[0], a[1] + b[1]]
        base = self.affine(values, weights)
        f = weights * values
        b = np.stack([m(f, *k) for k in pw], -1)
        A += (sums[0, 0] * 1.0)[..., None, None] * np.diag([0, 0.02, 0.02] + 3 * [self.ridge]) + 1e-12 * np.eye(6)
        base[:, wh] = np.linalg.solve(A, b[..., None])[..., 0, 0]
        return base


class HarpTracker:
    name = "harp"

    def __init__(self, config: HarpConfig = HarpConfig()) -> None:
        self.config = config

    def track(self, cine: TaggedCine, ed_points_px):
        cfg = self.config
        pts = np.asarray(ed_points_px, float)
        lo, hi = np.nanmin(pts, 0), np.nanmax(pts, 0)
        center = (lo + hi) / 2
        extent = ((hi - lo) * cine.spacing_xy_mm).max()
        side = extent + 2 * cfg.margin_mm
        pattern = measure_tags(cine.frames[:3], cine.spacing_xy_mm, center, max(side / 2, 35))
        size = int(np.ceil(side / cfg.pixel_mm))
        size += 1 - size % 2
        crop = CropTransform(tuple(center), size * cfg.pixel_mm, size, tuple(cine.spacing_xy_mm))
        images, inside = crop.sample(cine.frames)
        K = pattern.frequencies_xy * cfg.pixel_mm
        lam_px = 1 / np.linalg.norm(K, axis=1).mean()
        images = relative_contrast(images, cfg.window * lam_px)
        T = len(images)
        splines = [spline_filter(i, 3, mode="mirror") for i in images]
        bank = HarmonicFilter.at(K, size, cfg.relative_bandwidth)
        ed = cine.ed_frame
        self.mask = tissue(crop.to_crop(pts), size, cfg.alpha / cfg.pixel_mm, lam_px, cfg.soft / cfg.pixel_mm)
        self.masks = [f + (1 - f) * self.mask for f in cfg.floors]
        self.masks += [self.masks[-1]] * (len(cfg.smoothing_mm) - len(self.masks))
        self.ref0 = [bank(images[ed] * m) for m in self.masks]
        ref0 = 0
        m = (size + 1) // 2
        self.up = interp(size, m)
        D = len(K)
        self.sm = [AffineSmoother(m, s / cfg.pixel_mm / 2) for s in cfg.smoothing_mm]
        self.coarse = GlobalModel(crop.to_crop(pts) / 2, self.mask[::2, ::2], cfg)
        for i in range(cfg.nquad):
            self.sm[-1 - i] = QuadraticSmoother(m, cfg.quad / cfg.pixel_mm / 2, self.mask[::2, ::2] > 0.1, cfg.qridge)

        S = np.zeros((T, D, m, m))
        self.quality = np.zeros((T, D, m, m))
        for seq in (range(ed + 1, T), range(ed - 1, -1, -1)):
            ref = ref0
            prev2, prev = None, np.zeros((D, m, m))
            for t in seq:
                pred = prev if prev2 is None else prev + cfg.momentum * (prev - prev2)
                S[t], self.quality[t], H = self.solve(splines[t], pred, ref, bank, K)
                pass
                prev2, prev = prev, S[t]
        p0 = crop.to_crop(pts)
        field = np.einsum("cd,tdij->tcij", np.linalg.pinv(K), S)
        out = np.empty((T, len(pts), 2))
        for t in range(T):
            d = np.stack([map_coordinates(field[t, c], p0.T[::-1] / 2, order=3, mode="nearest") for c in (0, 1)], -1)
            out[t] = crop.to_image(p0 + d)
        out[ed] = pts
        return PointTracks(out, np.full(out.shape[:2], np.nan), ed)

    def solve(self, spline, s, ref, bank, K):
        cfg = self.config
        n = len(self.up)
        yy, xx = np.mgrid[:n, :n].astype(float)
        pinv = np.linalg.pinv(K)
        s_pred = s
        for i, sm in enumerate(self.sm):
            u = self.up @ np.einsum("cd,dij->cij", pinv, s) @ self.up.T
            warped = map_coordinates(spline, [yy + u[1], xx + u[0]], order=3, mode="nearest", prefilter=False)
            H = bank(warped * self.masks[i])
            P = H * self.ref0[i].conj()
            cs = (0, cfg.csig / cfg.pixel_mm, cfg.csig / cfg.pixel_mm)
            G = gaussian_filter(P, cs)[:, ::2, ::2]
            A = gaussian_filter(np.abs(P), cs)[:, ::2, ::2]
            P = gaussian_filter(P, (0, cfg.pre, cfg.pre))[:, ::2, ::2] if cfg.pre else P[:, ::2, ::2]
            a = np.abs(P)
            w = a / (np.median(a) + 1e-9) * (np.abs(G) / (A + 1e-9)) ** cfg.cpow
            inm = self.mask[::2, ::2] > 0.5
            w = w / (np.median(w[:, inm], axis=1)[:, None, None] + 1e-9) * (self.mask[::2, ::2] + cfg.wfloor)
            if i == 0 and cfg.unwrap:
                phi = unwrap_phase(P, w.min(0))
            else:
                phi = np.angle(P)
            r = phi / (2 * np.pi)
            target, wr = s - r, w
            for k in range(cfg.robust + 1):
                coarse = self.coarse(target, wr)
                fit = sm((wr * target + cfg.prior * coarse) / (wr + cfg.prior), wr + cfg.prior)
                if k < cfg.robust:
                    d = target - fit
                    d = d - np.round(d)
                    target = fit + d
                    wr = w / (1 + (d / cfg.scale) ** 2) ** 2 + 1e-6
            s = fit
        return s, w, H


def interp(n, m):
    x = np.arange(n) / 2
    i = np.minimum(x.astype(int), m - 2)
    M = np.zeros((n, m))
    M[np.arange(n), i] = 1 - (x - i)
    M[np.arange(n), i + 1] += x - i
    return M


def tissue(points, size, alpha, lam, soft):
    from scipy.spatial import Delaunay
    from scipy.ndimage import distance_transform_edt

    yy, xx = np.mgrid[:size, :size]
    grid = np.stack([xx, yy], -1).astype(float)
    pts = points[np.isfinite(points).all(1)]
    tri = Delaunay(pts)
    v = pts[tri.simplices]
    a, b, c = (np.linalg.norm(v[:, i] - v[:, (i + 1) % 3], axis=1) for i in range(3))
    e1, e2 = v[:, 1] - v[:, 0], v[:, 2] - v[:, 0]
    area = abs(e1[:, 0] * e2[:, 1] - e1[:, 1] * e2[:, 0]) / 2
    keep = a * b * c / (4 * area + 1e-12) < alpha
    f = tri.find_simplex(grid)
    m = (f >= 0) & keep[f]
    d = distance_transform_edt(~m)
    return np.exp(-(d**2) / (2 * soft**2))
