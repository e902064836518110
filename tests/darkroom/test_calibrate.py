"""Master darks and flats: made from the simulator's own dark frames, chosen by what the header says, and taken away exactly."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.darkroom.station import AT, STATION

from cupola.config.drivers import SimulatorOptions
from cupola.core.errors import StorageFailed
from cupola.core.frame import CameraInfo, Controls, Frame, PixelFormat, PixelKind, Pixels
from cupola.darkroom import masters, stacking
from cupola.darkroom.calibrate import Calibrator
from cupola.darkroom.masters import Entry, Match, best, masters_in
from cupola.darkroom.recipe import Recipe
from cupola.drivers.sky.sensor import Sensor
from cupola.storage.originals import Facts, encode_original, read_original

WIDTH, HEIGHT = 320, 240
ONLY_DARKS = Recipe(hot_pixels=False)


def _sensor(**changed: Any) -> Sensor:
    given = {"width": WIDTH, "height": HEIGHT, "hot_pixels": 0.003, "temperature_c": 20.0, "dark_current_e_s": 3.0, **changed}
    return Sensor({**SimulatorOptions.model_validate({}).model_dump(), **given})


def _file(folder: Path, number: int, pixels: Pixels, layout: PixelFormat, exposure_s: float = 30.0, warm: float | None = 20.0) -> Path:
    opened = AT + timedelta(seconds=40 * number)
    frame = Frame(number, opened, opened, 1, pixels, layout, Controls(exposure_s, 100.0), temperature_c=warm)
    info = CameraInfo("simulator", "test", WIDTH, HEIGHT, layout, frozenset())
    path = folder / f"{number:06d}.fits.fz"
    path.write_bytes(encode_original(frame, camera="north", sequence=number, station=STATION, info=info, software="test"))
    return path


def _exposure(sensor: Sensor, seed: int, exposure_s: float = 30.0, light_e: float = 0.0) -> Pixels:
    electrons = np.full((HEIGHT, WIDTH), light_e, np.float32)
    sensor.collect(electrons, exposure_s)
    return sensor.read(electrons, 100.0, np.random.default_rng(seed))


def _darks(folder: Path, sensor: Sensor, count: int = 12) -> list[Path]:
    return [_file(folder, n, _exposure(sensor, n), sensor.format) for n in range(1, count + 1)]


def test_a_master_of_the_same_kind_takes_the_dark_signal_away(tmp_path: Path) -> None:
    sensor = _sensor()
    entry = stacking.make(_darks(tmp_path, sensor), tmp_path / "darks")
    assert entry.path.name == "dark_30s_g100_20C_320x240.fits.fz"
    assert (entry.exposure_s, entry.gain, entry.temperature_c, entry.frames) == (30.0, 100.0, 20.0, 12)
    light = read_original(_file(tmp_path, 50, _exposure(sensor, 50, light_e=400.0), sensor.format))
    done = Calibrator().calibrate(light.data, light.facts, ONLY_DARKS, tmp_path / "darks")
    assert done.dark == entry.path.name
    adu = 400.0 / sensor.electrons_per_adu(100.0)
    assert np.median(done.pixels) - done.layout.black_level == pytest.approx(adu, abs=1.5)
    before = light.data.astype(float).ravel()[sensor.hot] - np.median(light.data)
    after = done.pixels.astype(float).ravel()[sensor.hot] - np.median(done.pixels)
    strong = before > 8 * np.std(done.pixels)
    assert strong.sum() > 100
    assert np.abs(after[strong]).mean() < 0.06 * before[strong].mean(), "what glows is gone"
    assert (light.data == read_original(tmp_path / "000050.fits.fz").data).all(), "the original is as it was"


def test_one_cosmic_ray_leaves_no_trace_in_a_master(tmp_path: Path) -> None:
    sensor = _sensor(hot_pixels=0.0)
    paths = _darks(tmp_path, sensor, 8)
    struck = _exposure(sensor, 3)
    struck[100:103, 150:160] = 65520
    _file(tmp_path, 3, struck, sensor.format)
    master = stacking.load(stacking.make(paths, tmp_path / "darks"))
    assert np.abs(master.mean[100:103, 150:160] - np.median(master.mean)).max() < 8
    assert not np.isin(master.bad, np.ravel_multi_index((101, 155), (HEIGHT, WIDTH))).any()


def test_pixels_that_flicker_are_named_bad_and_mended_in_pictures(tmp_path: Path) -> None:
    sensor = _sensor(hot_pixels=0.0)
    paths = []
    for n in range(1, 11):
        pixels = _exposure(sensor, n)
        pixels[50, 60] = np.uint16(16 * (300 + 400 * (n % 2)))
        paths.append(_file(tmp_path, n, pixels, sensor.format))
    entry = stacking.make(paths, tmp_path / "darks")
    place = 50 * WIDTH + 60
    assert place in stacking.load(entry).bad
    light = _exposure(sensor, 50, light_e=300.0)
    light[50, 60] = 16 * 2000
    original = read_original(_file(tmp_path, 50, light, sensor.format))
    done = Calibrator().calibrate(original.data, original.facts, ONLY_DARKS, tmp_path / "darks")
    assert abs(int(done.pixels[50, 60]) - np.median(done.pixels)) < 6 * np.std(done.pixels.astype(float)[:40])


def _facts(exposure_s: float = 30.0, gain: float = 100.0, warm: float | None = 20.0, **changed: Any) -> Facts:
    layout = PixelFormat(PixelKind.BAYER, 12, "RGGB", 0, 64)
    return replace(Facts(AT, AT, True, "north", 1, None, 100, 80, layout, Controls(exposure_s, gain), warm, ""), **changed)


def _entry(exposure_s: float, gain: float = 100.0, warm: float | None = 20.0, width: int = 100) -> Entry:
    path = Path(f"dark_{exposure_s:g}s_g{gain:g}_{warm}C_{width}.fits.fz")
    return Entry(path, exposure_s, gain, warm, width, 80, 1, None, 20, 0, AT)


def test_the_nearest_master_is_taken_as_it_is() -> None:
    entries = [_entry(10.0), _entry(30.0, warm=21.0), _entry(30.0, warm=5.0), _entry(60.0)]
    assert best(entries, _facts()) == Match(entries[1], 1.0)
    assert best(entries, _facts(warm=None)) == Match(entries[1], 1.0)


def test_else_one_is_scaled_by_exposure_and_by_two_each_six_degrees() -> None:
    assert best([_entry(60.0)], _facts(30.0)) == Match(_entry(60.0), 0.5)
    assert best([_entry(30.0, warm=26.0)], _facts(30.0)) == Match(_entry(30.0, warm=26.0), 0.5)
    assert best([_entry(30.0, warm=14.0)], _facts(30.0)) == Match(_entry(30.0, warm=14.0), 2.0)


@pytest.mark.parametrize("entry", [_entry(30.0, gain=200.0), _entry(30.0, width=50), _entry(600.0), _entry(5.0)])
def test_another_gain_another_size_or_too_far_off_is_no_match(entry: Entry) -> None:
    assert best([entry], _facts()) is None


def test_a_scaled_master_fits_a_shorter_exposure(tmp_path: Path) -> None:
    sensor = _sensor(dark_current_e_s=20.0, hot_pixels=0.0)
    stacking.make(_darks(tmp_path, sensor), tmp_path / "darks")
    light = read_original(_file(tmp_path, 50, _exposure(sensor, 50, 15.0, light_e=400.0), sensor.format, 15.0))
    done = Calibrator().calibrate(light.data, light.facts, ONLY_DARKS, tmp_path / "darks")
    assert done.dark is not None
    assert np.median(done.pixels) - done.layout.black_level == pytest.approx(400.0 / sensor.electrons_per_adu(100.0), abs=1.5)


def test_frames_that_do_not_go_together_are_refused_with_a_reason(tmp_path: Path) -> None:
    sensor = _sensor()
    paths = _darks(tmp_path, sensor, 5)
    with pytest.raises(ValueError, match="5 frames at least"):
        stacking.make(paths[:4], tmp_path / "darks")
    _file(tmp_path, 3, _exposure(sensor, 3), sensor.format, 20.0)
    with pytest.raises(ValueError, match=r"000003.* another exposure"):
        stacking.make(paths, tmp_path / "darks")
    _file(tmp_path, 3, _exposure(sensor, 3, light_e=8000.0), sensor.format)
    with pytest.raises(ValueError, match=r"000003.*not dark.*cover the lens"):
        stacking.make(paths, tmp_path / "darks")
    assert not (tmp_path / "darks").exists()


def test_a_damaged_master_is_told_and_the_picture_goes_on_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sensor = _sensor()
    entry = stacking.make(_darks(tmp_path, sensor, 5), tmp_path / "darks")
    light = read_original(_file(tmp_path, 50, _exposure(sensor, 50, light_e=400.0), sensor.format))
    assert masters_in(tmp_path / "darks") == [entry]
    entry.path.write_bytes(entry.path.read_bytes()[:5000])
    with pytest.raises(StorageFailed, match=r"dark_30s"):
        stacking.load(entry)
    monkeypatch.setattr("cupola.darkroom.calibrate.masters_in", lambda folder: [entry])  # read before it was damaged
    done = Calibrator().calibrate(light.data, light.facts, ONLY_DARKS, tmp_path / "darks")
    assert done.dark is None
    assert "dark_30s" in done.problems[0]
    masters.forget()
    assert masters_in(tmp_path / "darks") == []
    assert masters_in(tmp_path / "none") == []


def test_a_flat_evens_the_light_out_and_leaves_what_is_saturated(tmp_path: Path) -> None:
    sensor = _sensor(dark_current_e_s=0.0, hot_pixels=0.0)
    columns = np.linspace(1.0, 0.5, WIDTH, dtype=np.float32)[np.newaxis, :]

    def lit(electrons: float, seed: int) -> Pixels:
        return sensor.read(np.repeat(electrons * columns, HEIGHT, axis=0), 0.0, np.random.default_rng(seed))

    flat = _file(tmp_path, 1, lit(9000.0, 1), sensor.format)
    sky = lit(2000.0, 2)
    sky[10, 10] = 65520
    original = read_original(_file(tmp_path, 2, sky, sensor.format))
    done = Calibrator().calibrate(original.data, original.facts, Recipe(flat=str(flat), hot_pixels=False), None)
    light = done.pixels.astype(float) - done.layout.black_level
    assert done.problems == ()
    assert np.median(light[:, :40]) == pytest.approx(np.median(light[:, -40:]), rel=0.02)
    assert done.pixels[10, 10] == 4095


def test_a_flat_that_is_not_there_or_of_another_sensor_is_told(tmp_path: Path) -> None:
    sensor = _sensor()
    original = read_original(_file(tmp_path, 2, _exposure(sensor, 2), sensor.format))
    done = Calibrator().calibrate(original.data, original.facts, Recipe(flat=str(tmp_path / "none.fits.fz")), None)
    assert "none.fits.fz" in done.problems[0]
    small = replace(original, data=original.data[:120])
    done = Calibrator().calibrate(small.data, small.facts, Recipe(flat=str(tmp_path / "000002.fits.fz")), None)
    assert "320 x 240" in done.problems[0]
    assert "320 x 120" in done.problems[0]
