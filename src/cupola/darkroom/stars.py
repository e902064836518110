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

from cupola.darkroom.field import Field, Floats, Indices, Peaks

STAR_SNR = 4.0
MOST = 20_000  # peaks that are looked at, the brightest first
REACH = 5  # pixels around a peak
SPIKE = 3.4  # brightest pixel over the filter's answer: a star of any sharpness stays below, a lone pixel is at 4.5
FLAT = 0.5  # of a peak's height that the ring around it may have
ALONE = 0.3  # of a star's height, in the brightest direction around it
HALO_PX, HALO_SHARE = 20.0, 0.02
SHARP_SNR = 12.0  # stars whose radius can be trusted
SATURATING_SNR = 50.0  # stars above it grow
WIDE = 0.6  # skirt over height of the widest that may be a star, about 5 pixels across at half height
_SKIRT = (2.0, 3.2)  # pixels
_RING = (3.0, 5.5)


@dataclass(frozen=True, slots=True)
class Stars:
    """Stars by falling brightness, (N,) each: position in pixels, (0, 0) the centre of the top left one; `flux` in ADU; signal to noise
    of the matched filter; half-flux radius in pixels."""

    x: Floats
    y: Floats
    flux: Floats
    snr: Floats
    hfr: Floats
    alone: npt.NDArray[np.bool_]  # nothing near it that may be the rest of a line

    def __len__(self) -> int:
        return len(self.x)

    def without(self, bad: npt.NDArray[np.bool_]) -> Stars:
        """Those for which `bad` is False."""
        return Stars(*(values[~bad] for values in (self.x, self.y, self.flux, self.snr, self.hfr, self.alone)))

    @property
    def median_hfr(self) -> float | None:
        """Of the stars that are bright enough to tell; None when there is none."""
        known = self.hfr[self.snr > SHARP_SNR]
        return float(np.median(known)) if len(known) else None


def find_stars(field: Field) -> Stars:
    """All stars of the frame's open sky."""
    peaks, snr = _brightest(field)
    cut = field.patches(peaks.x, peaks.y, REACH) - field.background_at(peaks.x, peaks.y)[:, None, None]
    around = np.arange(-REACH, REACH + 1, dtype=np.float32)
    radius = np.hypot(around[:, None], around)
    means = cut.reshape(len(cut), -1) @ _means()
    skirt, sectors = means[:, 0] / peaks.value, np.sort(means[:, 1:], axis=1)
    ring = (sectors[:, 3] + sectors[:, 4]) / 2
    centre = cut[:, REACH - 1 : REACH + 2, REACH - 1 : REACH + 2].max(axis=(1, 2))
    good = (centre < SPIKE * peaks.value) & (sectors[:, 5] < FLAT * peaks.value)
    sharp = good & (snr > SHARP_SNR)
    usual = float(np.median(skirt[sharp])) if sharp.any() else WIDE
    good &= skirt < np.minimum(usual + 0.2 + 1.5 / snr + 0.4 * (snr > SATURATING_SNR), WIDE)
    good[good] = ~_in_halo(Peaks(peaks.x[good], peaks.y[good], peaks.value[good]))
    alone = (sectors[:, 7] < ALONE * peaks.value)[good]
    peaks, snr, cut, ring = Peaks(peaks.x[good], peaks.y[good], peaks.value[good]), snr[good], cut[good], ring[good]
    cut -= np.maximum(ring, 0)[:, None, None]
    inner = np.where(radius <= 2.5, cut, 0)
    total = np.maximum(inner.sum(axis=(1, 2)), 1e-6)
    dx, dy = (inner * around).sum(axis=(1, 2)) / total, (inner * around[:, None]).sum(axis=(1, 2)) / total
    dx, dy = np.clip(dx, -1, 1), np.clip(dy, -1, 1)
    from_centre = np.hypot(around[None, None, :] - dx[:, None, None], around[None, :, None] - dy[:, None, None])
    light = np.where((from_centre <= REACH - 0.5) & (cut > 0), cut, 0)
    flux = light.sum(axis=(1, 2))
    hfr = (light * from_centre).sum(axis=(1, 2)) / np.maximum(flux, 1e-6)
    return Stars(*(values.astype(np.float32) for values in (peaks.x + dx, peaks.y + dy, total, snr, hfr)), alone)


def _brightest(field: Field) -> tuple[Peaks, Floats]:
    """Peaks above STAR_SNR by falling height, and their signal to noise."""
    peaks = field.peaks
    snr = peaks.value / field.noise_at(peaks.x, peaks.y)
    chosen = np.flatnonzero(snr > STAR_SNR)
    chosen = chosen[np.argsort(-peaks.value[chosen], kind="stable")][:MOST]
    return Peaks(peaks.x[chosen], peaks.y[chosen], peaks.value[chosen]), snr[chosen]


def _means() -> Floats:
    """(pixels of a patch, 9): weights that give the mean of a star's skirt, and of each eighth of the ring around it."""
    around = np.arange(-REACH, REACH + 1)
    radius, angle = np.hypot(around[:, None], around), np.arctan2(around[:, None], around)
    sector = np.floor((angle + np.pi) / (np.pi / 4)).astype(int) % 8
    inside = (radius >= _RING[0]) & (radius <= _RING[1])
    skirt = (radius >= _SKIRT[0]) & (radius <= _SKIRT[1])
    weights = np.stack([skirt.ravel(), *((inside & (sector == i)).ravel() for i in range(8))], axis=1).astype(np.float32)
    return weights / weights.sum(axis=0)


def _in_halo(peaks: Peaks) -> npt.NDArray[np.bool_]:
    """Which peaks, by falling height, lie near another that is so bright that they are ripples of its light."""
    bad = np.zeros(len(peaks.x), bool)
    if not len(bad):
        return bad
    bright: Indices = np.flatnonzero(peaks.value > peaks.value[-1] / HALO_SHARE)[:200]
    for i in bright:
        if not bad[i]:
            near = np.hypot(peaks.x - peaks.x[i], peaks.y - peaks.y[i]) < HALO_PX
            bad |= near & (peaks.value < HALO_SHARE * peaks.value[i])
    return bad
