"""Which of a frame's peaks are stars, where exactly, how bright and how sharp.

The frame is prepared by `field`; lines across it are the business of `streaks`. Written for many stars at once: every
test is one array operation over all peaks.

A peak is taken for a star when it stands STAR_SNR above the noise, spreads over more than one pixel (a hot pixel does not),
stands on ground that is flatter than itself (a cloud's rim, the moon and its glow are not) and is no part of the halo of a brighter one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cupola.darkroom.field import CORE_SIGMA_PX, Field, Floats, Indices, Peaks

STAR_SNR, EMPTY_SNR = 4.0, 5.25  # in a sky full of stars; in one without
NOISE_SHARE = 0.03
MOST = 20_000  # peaks that are looked at, the brightest first
REACH = 5  # pixels around a peak
SPIKE = 3.4  # brightest pixel over the filter's answer: a star of any sharpness stays below, a lone pixel is at 4.5
FLAT = 0.5  # of a peak's height that the ring around it may have
ALONE = 0.3  # of a star's height, in the brightest direction around it
HALO_PX, HALO_SHARE = 20.0, 0.02
MEASURED, APERTURE = 100, 9  # stars whose radius is measured, and pixels around them that are looked at
SHARP_SNR = 12.0  # stars whose radius can be trusted
SATURATING_SNR = 50.0  # stars above it grow
WIDE = 0.6  # skirt over height of the widest that may be a star, about 5 pixels across at half height
_CORE = 2.5  # pixels
_SKIRT = (2.0, 3.2)
_RING = (3.0, 5.5)


@dataclass(frozen=True, slots=True)
class Stars:
    """Stars by falling height, (N,) each: position in pixels, (0, 0) the centre of the top left one; light in ADU; signal to noise of the
    matched filter. `hfr`: median half-flux radius in pixels of those that are bright enough to tell, None when there is none."""

    x: Floats
    y: Floats
    flux: Floats
    snr: Floats
    alone: npt.NDArray[np.bool_]  # nothing near it that may be the rest of a line
    hfr: float | None

    def __len__(self) -> int:
        return len(self.x)

    def kept(self, good: npt.NDArray[np.bool_]) -> Stars:
        """Those for which `good` is True."""
        return Stars(self.x[good], self.y[good], self.flux[good], self.snr[good], self.alone[good], self.hfr)


def find_stars(field: Field) -> Stars:
    """All stars of the frame's open sky."""
    peaks, snr = _brightest(field)
    if not len(snr):
        return Stars(snr, snr, snr, snr, np.zeros(0, bool), None)
    sums, centre = _sums(field, peaks)
    skirt, sectors = sums[:, 0] / peaks.value, np.sort(sums[:, 1:9], axis=1)
    good = (centre < SPIKE * peaks.value) & (sectors[:, 5] < FLAT * peaks.value)
    sharp = good & (snr > SHARP_SNR)
    usual = float(np.median(skirt[sharp])) if sharp.any() else WIDE
    good &= skirt < np.minimum(usual + 0.2 + 1.5 / snr + 0.4 * (snr > SATURATING_SNR), WIDE)
    good[good] = ~_in_halo(Peaks(peaks.x[good], peaks.y[good], peaks.value[good]))
    ground = np.maximum((sectors[good, 3] + sectors[good, 4]) / 2, 0)
    alone = sectors[good, 7] < ALONE * peaks.value[good]
    x, y, snr = peaks.x[good], peaks.y[good], snr[good]
    flux = np.maximum(sums[good, 9] - ground * np.count_nonzero(_radius() <= _CORE), 1e-6)
    dx, dy = (np.clip(sums[good, moment] / flux, -1, 1).astype(np.float32) for moment in (10, 11))
    measured = np.flatnonzero((snr > SHARP_SNR) & alone)[:MEASURED]
    hfr = _half_flux_radius(field.patches(x[measured], y[measured], APERTURE), dx[measured], dy[measured]) if len(measured) else None
    stars = Stars((x + dx).astype(np.float32), (y + dy).astype(np.float32), flux.astype(np.float32), snr, alone, hfr)
    return stars.kept(snr > _limit(snr, float(field.sky.mean()) * field.pixels.size))


def _limit(snr: Floats, sky_px: float) -> float:
    """The least signal to noise above which what noise alone makes of so much sky is no more than NOISE_SHARE of all.

    Noise makes, of a Gaussian field whose correlation falls with the standard deviation s, about u exp(-u² / 2) / ((2 pi)^1.5 s²) peaks a pixel
    above u deviations (Adler, "The Geometry of Random Fields", 1981, ch. 6); s² is twice that of the filter; half of them pass for stars.
    """
    for limit in np.arange(STAR_SNR, EMPTY_SNR, 0.125):
        noise = 0.5 * sky_px * limit * np.exp(-(limit**2) / 2) / ((2 * np.pi) ** 1.5 * 2 * CORE_SIGMA_PX**2)
        if noise < NOISE_SHARE * np.count_nonzero(snr > limit):
            return float(limit)
    return EMPTY_SNR


def _half_flux_radius(cut: Floats, dx: Floats, dy: Floats) -> float:
    """Median over stars of the radius around the centroid that holds half of the light; between two pixels' radii, linearly."""
    around = np.arange(-APERTURE, APERTURE + 1, dtype=np.float32)
    radius = np.hypot(around[None, None, :] - dx[:, None, None], around[None, :, None] - dy[:, None, None]).reshape(len(cut), -1)
    cut = cut - np.median(cut[:, np.hypot(around[:, None], around) >= APERTURE - 0.5], axis=1)[:, None, None]
    order = np.argsort(radius, axis=1)
    radius = np.take_along_axis(radius, order, axis=1)
    light = np.take_along_axis(cut.reshape(len(cut), -1), order, axis=1)
    light = np.where(radius <= APERTURE - 1, light, 0)
    held = np.cumsum(light, axis=1)
    share = (held - light / 2) / np.maximum(held[:, -1:], 1e-6)  # half of a pixel lies within its centre's radius
    after = np.minimum((share < 0.5).sum(axis=1), share.shape[1] - 1)
    rows = np.arange(len(cut))
    before = np.maximum(after - 1, 0)
    low, high = share[rows, before], share[rows, after]
    part = np.clip((0.5 - low) / np.maximum(high - low, 1e-6), 0, 1)
    return float(np.median(radius[rows, before] * (1 - part) + radius[rows, after] * part))


def _brightest(field: Field) -> tuple[Peaks, Floats]:
    """Peaks above STAR_SNR by falling height, and their signal to noise; not those on the frame's very edge."""
    peaks = field.peaks
    snr = peaks.value / field.noise_at(peaks.x, peaks.y)
    height, width = field.pixels.shape
    inside = (np.minimum(peaks.x, width - 1 - peaks.x) >= APERTURE) & (np.minimum(peaks.y, height - 1 - peaks.y) >= APERTURE)
    chosen = np.flatnonzero((snr > STAR_SNR) & inside)
    chosen = chosen[np.argsort(-peaks.value[chosen], kind="stable")][:MOST]
    return Peaks(peaks.x[chosen], peaks.y[chosen], peaks.value[chosen]), snr[chosen]


def _radius() -> Floats:
    around = np.arange(-REACH, REACH + 1, dtype=np.float32)
    return np.hypot(around[:, None], around)


def _sums(field: Field, peaks: Peaks) -> tuple[Floats, Floats]:
    """What is asked of the pixels around each peak, above its background: (N, 12) sums with `_weights`, and (N,) its brightest pixel.

    All sums are one product of matrices, which also brings the colours to one level: no patch is ever turned into levels.
    """
    weights, around = _weights(), np.arange(-REACH, REACH + 1)
    ground, total = field.background_at(peaks.x, peaks.y), weights.sum(axis=0)
    sums, centre = np.empty((len(peaks.x), weights.shape[1]), np.float32), np.empty(len(peaks.x), np.float32)
    for site, chosen in enumerate(field.sites(peaks.x, peaks.y)):
        chosen = chosen[np.argsort(peaks.y[chosen])]  # so that pixels are near those of the peak before
        place = np.ix_((around + site // 2) & 1, (around + site % 2) & 1)
        gains, offsets = field.gains[place], field.offsets[place]
        raw = field.samples(peaks.x[chosen], peaks.y[chosen], REACH).astype(np.float32)
        sums[chosen] = (
            raw.reshape(-1, around.size**2) @ (weights * gains.reshape(-1, 1)) - offsets.reshape(-1) @ weights - ground[chosen, None] * total
        )
        middle = slice(REACH - 1, REACH + 2)
        levels = (raw[:, middle, middle] * gains[middle, middle] - offsets[middle, middle]).reshape(-1, 9)
        centre[chosen] = np.ascontiguousarray(levels.T).max(axis=0) - ground[chosen]  # along the peaks, not nine at a time
    return sums, centre


def _weights() -> Floats:
    """(pixels of a patch, 12): means of a star's skirt and of each eighth of the ring around it; sums over its core, of its light and of that times column and row."""
    around = np.arange(-REACH, REACH + 1)
    radius, angle = _radius(), np.arctan2(around[:, None], around)
    sector = np.floor((angle + np.pi) / (np.pi / 4)).astype(int) % 8
    inside = (radius >= _RING[0]) & (radius <= _RING[1])
    skirt = (radius >= _SKIRT[0]) & (radius <= _SKIRT[1])
    means = np.stack([skirt.ravel(), *((inside & (sector == i)).ravel() for i in range(8))], axis=1).astype(np.float32)
    core = (radius <= _CORE).astype(np.float32)
    moments = np.stack([core.ravel(), (core * around).ravel(), (core * around[:, None]).ravel()], axis=1)
    return np.concatenate([means / means.sum(axis=0), moments], axis=1).astype(np.float32)


def _in_halo(peaks: Peaks) -> npt.NDArray[np.bool_]:
    """Which peaks, by falling height, lie near another that is so bright that they are ripples of its light."""
    bad = np.zeros(len(peaks.x), bool)
    if not len(bad):
        return bad
    bright: Indices = np.flatnonzero(peaks.value > peaks.value[-1] / HALO_SHARE)[:200]
    x, y, value = peaks.x[bright], peaks.y[bright], peaks.value[bright]
    ripples = (np.hypot(x - x[:, None], y - y[:, None]) < HALO_PX) & (value < HALO_SHARE * value[:, None])
    for i in range(len(bright)):  # one that is itself a ripple has none
        if bad[bright[i]]:
            ripples[i] = False
        bad[bright[ripples[i]]] = True
    kept = bright[~bad[bright]]
    order = np.argsort(peaks.y, kind="stable")  # so that only a band of rows is looked at for each
    rows = peaks.y[order]
    begins, ends = np.searchsorted(rows, peaks.y[kept] - HALO_PX), np.searchsorted(rows, peaks.y[kept] + HALO_PX, "right")
    counts = ends - begins
    star = np.repeat(kept, counts)
    near = order[np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts - begins, counts)]
    close = (peaks.x[near] - peaks.x[star]) ** 2 + (peaks.y[near] - peaks.y[star]) ** 2 < HALO_PX**2
    bad[near[close & (peaks.value[near] < HALO_SHARE * peaks.value[star])]] = True
    return bad
