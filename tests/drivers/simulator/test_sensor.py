"""The sensor obeys photon transfer: linear in exposure, noise by the square root, gain multiplies, wells fill up."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cupola.core.frame import PixelKind
from cupola.drivers.sky.sensor import Sensor

Options = Callable[..., dict[str, Any]]


def flat(sensor: Sensor, electrons: float) -> np.ndarray:
    return np.full((sensor.height, sensor.width), electrons, np.float32)


def counts(sensor: Sensor, pixels: np.ndarray) -> np.ndarray:
    return (pixels >> sensor.format.padding_bits).astype(float) - sensor.black


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("gain", [0.0, 200.0])
def test_variance_grows_with_the_mean_by_the_electrons_a_count(options: Options, gain: float, pooled: bool) -> None:
    """The photon transfer curve: its slope is one over e-/ADU, its foot the read noise."""
    sensor = Sensor(options(bits=14, read_noise_e=8.0, hot_pixels=0.0))
    rng = np.random.default_rng(1)
    read = sensor.reread if pooled else sensor.read
    levels = [0.0, 5.0, 50.0, 300.0, 1000.0]
    samples = [counts(sensor, read(flat(sensor, level), gain, rng)) for level in levels]
    slope, foot = np.polyfit([s.mean() for s in samples], [s.var() for s in samples], 1)
    per_adu = sensor.electrons_per_adu(gain)
    assert slope == pytest.approx(1 / per_adu, rel=0.03)
    assert np.sqrt(samples[0].var()) * per_adu == pytest.approx(8.0, rel=0.03)
    assert foot == pytest.approx(samples[0].var(), rel=0.2)
    for level, sample in zip(levels, samples, strict=True):
        assert sample.mean() * per_adu == pytest.approx(level, abs=0.12 + 0.005 * level)


def test_few_photons_are_counted_as_poisson_does(options: Options) -> None:
    sensor = Sensor(options(bits=16, read_noise_e=0.05, hot_pixels=0.0, full_well_e=2000.0))
    electrons = np.rint(counts(sensor, sensor.read(flat(sensor, 1.5), 0.0, np.random.default_rng(2))) * sensor.electrons_per_adu(0.0))
    share = [float((electrons == k).mean()) for k in range(4)]
    assert share == pytest.approx([0.2231, 0.3347, 0.2510, 0.1255], abs=0.01)


def test_gain_halves_the_electrons_a_count_every_sixty_point_two(options: Options) -> None:
    sensor = Sensor(options())
    assert sensor.electrons_per_adu(60.2) == pytest.approx(sensor.electrons_per_adu(0.0) / 2, rel=1e-3)
    assert sensor.electrons_per_adu(200.0) == pytest.approx(sensor.electrons_per_adu(0.0) / 10)
    assert sensor.electrons_per_adu(0.0) == pytest.approx(15000 / (4095 - 256))


def test_a_full_well_is_the_top_of_the_range_at_any_gain(options: Options) -> None:
    sensor = Sensor(options(hot_pixels=0.0))
    for gain in (0.0, 300.0):
        for read in (sensor.read, sensor.reread):
            light = flat(sensor, 1e9)
            sensor.collect(light, 1.0)
            assert set(np.unique(read(light, gain, np.random.default_rng(3)))) == {4095 << 4}
    at_200 = counts(sensor, sensor.read(flat(sensor, 15000 / 10 * 0.5), 200.0, np.random.default_rng(3)))
    assert at_200.mean() == pytest.approx((4095 - 256) / 2, rel=0.01)  # ten times the gain: half scale at a twentieth of the well


@pytest.mark.parametrize(("bits", "padding"), [(8, 0), (10, 6), (12, 4), (14, 2), (16, 0)])
def test_samples_have_the_bits_asked_for_and_padding_is_zero(options: Options, bits: int, padding: int) -> None:
    sensor = Sensor(options(bits=bits))
    pixels = sensor.read(flat(sensor, 3000.0), 0.0, np.random.default_rng(4))
    assert pixels.dtype == (np.uint8 if bits == 8 else np.uint16)
    assert sensor.format.padding_bits == padding
    assert not (pixels & ((1 << padding) - 1)).any()
    assert counts(sensor, pixels).mean() == pytest.approx(3000 / sensor.electrons_per_adu(0.0), rel=0.01)


def test_dark_current_doubles_every_six_degrees_and_grows_with_exposure(options: Options) -> None:
    cold, warm = Sensor(options(temperature_c=8.0)), Sensor(options(temperature_c=14.0))
    assert warm.dark_e(30.0) == pytest.approx(2 * cold.dark_e(30.0)) == pytest.approx(60 * cold.dark_e(1.0))
    assert Sensor(options(temperature_c=20.0)).dark_e(10.0) == pytest.approx(0.5)


def test_hot_pixels_are_as_many_as_asked_stay_where_they_are_and_glow_with_exposure(options: Options) -> None:
    sensor, again = Sensor(options(hot_pixels=0.001)), Sensor(options(hot_pixels=0.001))
    assert len(sensor.hot) == round(0.001 * 320 * 240)
    assert np.array_equal(sensor.hot, again.hot)
    short, long = flat(sensor, 0.0), flat(sensor, 0.0)
    sensor.collect(short, 1.0)
    sensor.collect(long, 30.0)
    assert long.reshape(-1)[sensor.hot] == pytest.approx(30 * short.reshape(-1)[sensor.hot], rel=1e-3)
    assert np.median(short.reshape(-1)[sensor.hot]) > 20 * np.median(short)


def test_light_added_to_a_pooled_frame_arrives_where_it_falls(options: Options) -> None:
    sensor = Sensor(options(hot_pixels=0.0))
    base, rng = flat(sensor, 100.0), np.random.default_rng(5)
    pixels = sensor.reread(base, 0.0, rng)
    before = pixels.copy()
    places = np.array([500, 501, 501, 70000])
    sensor.add(pixels, base, 0.0, places, np.array([4000.0, 2000.0, 2000.0, 1e9], np.float32), rng)
    assert set(np.flatnonzero(pixels.reshape(-1) != before.reshape(-1))) == {500, 501, 70000}
    assert counts(sensor, pixels.reshape(-1)[[500, 501]]) * sensor.electrons_per_adu(0.0) == pytest.approx(4100, rel=0.08)
    assert pixels.reshape(-1)[70000] == 4095 << 4


def test_the_format_names_the_kind_of_pixels(options: Options) -> None:
    assert Sensor(options(bayer=None)).format.kind is PixelKind.MONO
    colour = Sensor(options(bayer="GBRG")).format
    assert (colour.kind, colour.bayer, colour.bits, colour.black_level) == (PixelKind.BAYER, "GBRG", 12, 256)
