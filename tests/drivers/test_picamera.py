"""The `picamera` driver against stand-ins: programs that write the bytes of rpicam-apps, a module with picamera2's calls. No Pi is involved."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg

from cupola.core.errors import CameraBusy, CameraLost, CameraNotFound, CameraUnresponsive, CupolaError, LibraryMissing
from cupola.core.frame import Camera, Controls, Frame, Packet, PixelKind, Station, Stop
from cupola.drivers import picamera_programs as programs
from cupola.drivers.picamera import PiCamera, discover
from cupola.drivers.picamera_facts import obeys, raw_format
from cupola.drivers.picamera_stream import AccessUnitCutter, RawCutter
from cupola.testing import DriverContract
from tests.support.mjpeg_source import read_barcode
from tests.support.pi import OPTIONS, SUPPORT, install_programs


def pi(**options: Any) -> PiCamera:
    return PiCamera({**OPTIONS, "width": 640, "height": 480, **options}, Station())


@pytest.fixture
def a_pi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The programs are installed, a camera is attached."""
    for name, value in install_programs(tmp_path / "bin").items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.fixture
def camera(a_pi: pytest.MonkeyPatch) -> Iterator[PiCamera]:
    made = pi()
    yield made
    made.close()


@pytest.mark.tried("picamera", "programs", "stand-in")
class TestJpegOfThePrograms(DriverContract):
    long_exposure_s = 30.0
    open_close_cycles = 3
    picture = "jpeg"

    @pytest.fixture(autouse=True)
    def raspberry(self, a_pi: pytest.MonkeyPatch) -> None:
        pass

    def make_camera(self) -> Camera:
        return pi(picture=self.picture)


@pytest.mark.variant
class TestH264OfThePrograms(TestJpegOfThePrograms):
    picture = "h264"


@pytest.mark.variant
class TestRawOfThePrograms(TestJpegOfThePrograms):
    picture = "raw"


@pytest.mark.tried("picamera", "picamera2", "stand-in")
class TestRawOfPicamera2(DriverContract):
    long_exposure_s = 30.0
    open_close_cycles = 5
    picture = "raw"

    @pytest.fixture(autouse=True)
    def library(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        monkeypatch.syspath_prepend(str(SUPPORT / "picamera2_standin"))
        monkeypatch.setenv("PICAMERA2_LOCK", str(tmp_path / "camera"))
        yield
        sys.modules.pop("picamera2", None)  # the tests after this one have no such library

    def make_camera(self) -> Camera:
        return pi(backend="picamera2", picture=self.picture)

    def test_pixels_come_out_of_their_padding(self, camera: Camera) -> None:
        frame = camera.expose(Stop())
        assert isinstance(frame, Frame)
        width = frame.width
        if frame.format.kind is PixelKind.BAYER:
            assert np.array_equal(frame.data[1] >> frame.format.padding_bits, np.arange(width) % 4096)
            assert (frame.format.bits, frame.format.bayer, frame.format.black_level) == (12, "RGGB", 256)
            assert frame.temperature_c == 30.0
        else:
            assert frame.chroma is not None
            assert (frame.data == frame.data[0, 0]).all() and (frame.chroma[0] == 100).all() and (frame.chroma[1] == 150).all()


@pytest.mark.variant
class TestJpegOfPicamera2(TestRawOfPicamera2):
    picture = "jpeg"


@pytest.mark.variant
class TestRawOfAPi5(TestRawOfPicamera2):
    """A Pi 5 shifts the samples of every sensor up to 16 bits."""

    @pytest.fixture(autouse=True)
    def platform(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PICAMERA2_PLATFORM", "pisp")

    def test_the_padding_of_a_pi_5_is_told(self, camera: Camera) -> None:
        assert camera.open().format.padding_bits == 4


def test_long_exposures_follow_each_other_without_a_gap(camera: PiCamera) -> None:
    camera.open()
    camera.apply(Controls(exposure_s=1.2))
    pictures = [camera.expose(Stop()) for _ in range(3)]
    gaps = [(later.monotonic_ns - before.monotonic_ns) / 1e9 - 1.2 for before, later in pairwise(pictures)]
    assert all(gap < 0.1 for gap in gaps), gaps
    assert [picture.applied.exposure_s for picture in pictures] == [pytest.approx(1.2, abs=0.001)] * 3


def test_a_pi_that_takes_long_to_deliver_loses_no_exposure_by_that(a_pi: pytest.MonkeyPatch, camera: PiCamera) -> None:
    """Who asks directly behind a picture has the next one, though that began while this one was encoded."""
    a_pi.setenv("RPICAM_FAULT", "slow=1.2")
    camera.open()
    camera.apply(Controls(exposure_s=2.0))
    assert [_number(camera.expose(Stop())) for _ in range(3)] == [0, 1, 2]


def test_an_exposure_asked_for_late_is_not_one_from_before(camera: PiCamera) -> None:
    camera.open()
    camera.apply(Controls(exposure_s=1.0))
    camera.expose(Stop())
    threading.Event().wait(2.2)  # the sensor went on
    asked_ns = time.monotonic_ns()
    assert camera.expose(Stop()).monotonic_ns > asked_ns - 0.5e9


def test_a_long_exposure_begun_long_ago_is_broken_off_for_one_that_is_asked_for(camera: PiCamera, monkeypatch: pytest.MonkeyPatch) -> None:
    """A snap or an interval, when the sensor has gone on by itself: the end of that exposure and then a whole one would miss the deadline."""
    monkeypatch.setattr("cupola.drivers.picamera._WAITS_S", 0.5)
    camera.open()
    camera.apply(Controls(exposure_s=3.0))
    in_a_row = [_number(camera.expose(Stop())) for _ in range(2)]
    assert in_a_row == [0, 1], "nothing is broken off while one follows the other"
    threading.Event().wait(1.3)  # the next exposure is under way
    asked_ns = time.monotonic_ns()
    picture = camera.expose(Stop())
    assert _number(picture) == 0, "the first one of a new start"
    assert picture.monotonic_ns > asked_ns and picture.applied.exposure_s == pytest.approx(3.0, abs=0.001)
    threading.Event().wait(2.6)  # under way too, but soon over
    assert _number(camera.expose(Stop())) == 2


def _number(picture: Frame | Packet) -> int | None:
    """Which picture it is since the program's start."""
    assert isinstance(picture, Packet)
    return read_barcode(simplejpeg.decode_jpeg(picture.data))


def test_pictures_with_other_settings_are_skipped(a_pi: pytest.MonkeyPatch, camera: PiCamera) -> None:
    camera.open()
    a_pi.setenv("RPICAM_FAULT", "late=3")
    taken = camera.apply(Controls(exposure_s=0.05, gain=8.0))
    assert taken.exposure_s == pytest.approx(0.05, abs=0.001)
    with closing(camera.stream(Stop())) as stream:
        assert all(picture.applied == taken for picture in islice(stream, 5))


def test_a_sensor_that_cannot_expose_as_long_says_what_it_did(a_pi: pytest.MonkeyPatch, camera: PiCamera) -> None:
    camera.open()
    a_pi.setenv("RPICAM_FAULT", "clamp=0.1")
    assert camera.apply(Controls(exposure_s=0.5)).exposure_s == pytest.approx(0.1, abs=0.001)


@pytest.mark.parametrize("platform", ["vc4", "pisp"])
def test_raw_pictures_are_cut_right_with_and_without_bytes_behind_them(a_pi: pytest.MonkeyPatch, platform: str) -> None:
    a_pi.setenv("RPICAM_PLATFORM", platform)
    camera = pi(picture="raw")
    try:
        info = camera.open()
        with closing(camera.stream(Stop())) as stream:
            numbers = [read_barcode(frame.data >> (info.format.padding_bits + 4)) for frame in islice(stream, 6) if isinstance(frame, Frame)]
    finally:
        camera.close()
    assert info.format.padding_bits == (4 if platform == "pisp" else 0)
    assert None not in numbers and numbers == sorted(numbers, key=lambda number: number or 0) and len(set(numbers)) == 6


def test_the_jpegs_are_the_programs_own(camera: PiCamera) -> None:
    camera.open()
    with closing(camera.stream(Stop())) as stream:
        pictures = [picture for picture in islice(stream, 4) if isinstance(picture, Packet)]
    assert None not in [read_barcode(simplejpeg.decode_jpeg(picture.data)) for picture in pictures]


@pytest.mark.parametrize("behind", [0, 4096 - 640 * 8 % 4096, 1500])
def test_raw_pictures_are_cut_right_by_a_reader_that_is_always_late(behind: int) -> None:
    least = 640 * 8
    pictures = [bytes([number]) * (least + behind) for number in range(6)]
    stream, cutter, seen, out = b"".join(pictures), RawCutter(), 0, list[bytes]()
    cutter.least = least
    for written, told in ((1.5, 1), (2.5, 2), (3, 3), (4, 4), (5.25, 5), (6, 6)):  # pictures written so far, and of how many there is metadata
        end = int(written * len(pictures[0]))
        cutter.add(stream[seen:end])
        seen = end
        while len(out) < told and (whole := cutter.take(told - len(out))) is not None:
            out.append(whole)
    assert out == pictures


def test_h264_pictures_are_cut_at_any_byte() -> None:
    import argparse

    from tests.support.rpicam import h264_maker

    make = h264_maker(320, 240, argparse.Namespace(intra=5))
    pictures = [make(number) for number in range(12)]
    stream, cutter, out = b"".join(pictures), AccessUnitCutter(), list[bytes]()
    for at in range(0, len(stream), 997):
        cutter.add(stream[at : at + 997])
        while (picture := cutter.take(0)) is not None:
            out.append(picture)
    assert (last := cutter.take(1)) is not None
    assert [*out, last] == pictures


def test_a_camera_in_use_is_busy(camera: PiCamera, a_pi: pytest.MonkeyPatch) -> None:
    camera.open()
    other = pi()
    with pytest.raises(CameraBusy, match="in use by another program"):
        other.open()
    camera.close()
    other.open()
    other.close()


def test_a_program_that_ends_is_a_lost_camera(camera: PiCamera, a_pi: pytest.MonkeyPatch) -> None:
    a_pi.setenv("RPICAM_FAULT", "end=5")
    camera.open()
    with pytest.raises(CameraLost, match="failed to queue request"), closing(camera.stream(Stop())) as stream:
        for _ in stream:
            pass


def test_a_program_that_falls_silent_is_noticed(a_pi: pytest.MonkeyPatch) -> None:
    a_pi.setenv("RPICAM_FAULT", "silent=5")
    camera = pi(timeout_s=3.0)
    try:
        camera.open()
        with pytest.raises(CameraUnresponsive, match="no picture for 3 s"), closing(camera.stream(Stop())) as stream:
            for _ in stream:
                pass
    finally:
        camera.close()


def test_without_a_camera_the_message_says_what_to_check(camera: PiCamera, a_pi: pytest.MonkeyPatch) -> None:
    a_pi.setenv("RPICAM_FAULT", "none")
    with pytest.raises(CameraNotFound, match="ribbon cable"):
        camera.open()
    assert discover() == []


def test_without_the_programs_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LibraryMissing, match="apt install rpicam-apps-lite"):
        pi().open()
    with pytest.raises(LibraryMissing):
        discover()


def test_without_picamera2_the_message_says_what_to_install() -> None:
    with pytest.raises(LibraryMissing, match="apt install python3-picamera2"):
        pi(backend="picamera2").open()


def test_programs_under_their_older_names_are_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in install_programs(tmp_path / "bin", "libcamera").items():
        monkeypatch.setenv(name, value)
    assert [found.model for found in discover()] == ["imx477", "imx219"]


def test_discovery_tells_model_modes_and_the_lines_to_use(a_pi: pytest.MonkeyPatch) -> None:
    first, second = discover()
    assert (first.model, first.options, first.capabilities) == ("imx477", {"index": 0}, ("640 x 480", "12 bit", "exposures up to 674.192 s"))
    assert second.options == {"index": 1}
    assert "exposures up to 11.76 s" in second.capabilities


def test_the_real_list_of_an_older_program_is_understood() -> None:
    text = """Available cameras
-----------------
0 : imx477 [4056x3040] (/base/soc/i2c0mux/i2c@1/imx477@1a)
    Modes: 'SRGGB10_CSI2P' : 1332x990 [120.05 fps - (696, 528)/2664x1980 crop]
           'SRGGB12_CSI2P' : 2028x1080 [50.03 fps - (0, 440)/4056x2160 crop]
                             2028x1520 [40.01 fps - (0, 0)/4056x3040 crop]
                             4056x3040 [10.00 fps - (0, 0)/4056x3040 crop]
"""
    (camera,) = programs.parse_list(text)
    assert camera.mode_for(None, None) == programs.SensorMode(4056, 3040, 12, 10.0)
    assert camera.mode_for(1332, 990).bits == 10
    assert camera.exposure_range_s[1] == 670.0
    with pytest.raises(CameraNotFound, match="2028 x 1520"):
        camera.mode_for(1000, 1000)


def test_what_is_wanted_reaches_the_command_line(a_pi: pytest.MonkeyPatch) -> None:
    options = {**OPTIONS, "white_balance": (2.2, 1.6), "focus_dioptres": 0.0, "picture": "raw"}
    line = " ".join(programs.command_line(options, programs.chosen(0), Controls(10.0, 4.0), 7, Path("/t.json")))
    for part in (
        "--shutter 10000000", "--gain 4 ", "--framerate 0 ", "--awbgains 2.2,1.6", "--lens-position 0", "--mode 640:480:12:U", "--metadata /dev/fd/7",
        "--tuning-file /t.json", "--denoise cdn_off",
    ):  # fmt: skip
        assert part in line


def test_a_pi_5_has_no_h264(tmp_path: Path) -> None:
    board = tmp_path / "compatible"
    board.write_bytes(b"raspberrypi,5-model-b\0brcm,bcm2712\0")
    assert programs.without_h264(board)
    board.write_bytes(b"raspberrypi,4-model-b\0brcm,bcm2711\0")
    assert not programs.without_h264(board)


def test_a_sensor_that_eats_stars_is_told_of(tmp_path: Path) -> None:
    switch = tmp_path / "dpc_enable"
    switch.write_text("1\n")
    assert "dpc_enable=0" in programs.star_eater("imx477", switch)
    assert programs.star_eater("imx219", switch) == ""
    switch.write_text("0\n")
    assert programs.star_eater("imx477", switch) == ""
    assert programs.star_eater("imx477", tmp_path / "none") == ""


def test_the_image_processors_defect_correction_is_switched_off_in_the_tuning(tmp_path: Path) -> None:
    (tmp_path / "imx477.json").write_text('{"version": 2.0, "algorithms": [{"rpi.black_level": {"black_level": 4096}}, {"rpi.dpc": {}}]}')
    (tmp_path / "imx219.json").write_text('{"version": 2.0, "algorithms": [{"rpi.black_level": {}}]}')
    for model in ("imx477", "imx219"):
        tuning = programs.tuning_without_correction(model, tmp_path / "out.json", (tmp_path,))
        assert tuning is not None and '{"rpi.dpc": {"strength": 0}}' in tuning.read_text()
        assert "rpi.black_level" in tuning.read_text()
    assert programs.tuning_without_correction("ov5647", tmp_path / "out.json", (tmp_path,)) is None


@pytest.mark.parametrize(
    ("name", "bits", "expected"),
    [("SRGGB12", 12, (12, "RGGB", 0)), ("SBGGR16", 10, (10, "BGGR", 6)), ("R10", 10, (10, None, 0)), ("SRGGB16", 16, (16, "RGGB", 0))],
)
def test_raw_formats_are_understood(name: str, bits: int, expected: tuple[int, str | None, int]) -> None:
    found = raw_format(name, bits)
    assert (found.bits, found.bayer, found.padding_bits) == expected


def test_packed_raw_formats_are_refused_in_words() -> None:
    for name in ("SRGGB12_CSI2P", "RGGB_PISP_COMP1"):
        with pytest.raises(CameraNotFound, match="packed"):
            raw_format(name, 12)


def test_steps_of_the_sensor_count_as_obedience_and_other_values_do_not() -> None:
    wanted = Controls(exposure_s=0.0001, gain=20.0)
    assert obeys(Controls(0.000095, 20.08), wanted)
    assert not obeys(Controls(0.0002, 20.08), wanted)
    assert not obeys(Controls(0.0001, 16.0), wanted)
    assert not obeys(Controls(), wanted)


def test_a_killed_camera_process_leaves_no_program_behind(a_pi: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code = "import sys, os; from tests.drivers.test_picamera import pi; c = pi(); c.open(); print(c._feed.source._process.pid, flush=True); sys.stdin.read()"
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{root / 'src'}:{root}"}
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout
        pid = int(process.stdout.readline())
        process.kill()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]:
        threading.Event().wait(0.02)
    other = pi()
    try:
        other.open()
    except CupolaError as problem:  # what would happen with the program still there
        pytest.fail(str(problem))
    finally:
        other.close()
