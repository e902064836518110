"""The `indi` driver against the real indiserver with its camera simulator, and against servers that are no INDI."""

from __future__ import annotations

import http.server
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from cupola.core.errors import CameraBusy, CameraLost, CameraNotFound, CameraUnresponsive, CaptureCancelled
from cupola.core.frame import Capability, ControlRange, Controls, PixelKind, Station, Stop
from cupola.drivers.abort import Abort
from cupola.drivers.indi import Indi, discover
from cupola.drivers.indi_client import IndiClient, range_of
from cupola.storage.originals import encode_original, read_original
from tests.drivers.indi_sources import indi_server, options, without
from tests.support.indi_server import CAMERA, TELESCOPE, IndiServer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IndiServer]:
    with indi_server(tmp_path_factory.mktemp("indi")) as running:
        yield running


@contextmanager
def opened(server: IndiServer, **others: Any) -> Iterator[Indi]:
    camera = Indi(options(server, **others), Station())
    try:
        camera.open()
        yield camera
    finally:
        camera.close()


@contextmanager
def other_client(server: IndiServer) -> Iterator[IndiClient]:
    """Another program at the same server."""
    from cupola.drivers.abort import Abort

    with closing(IndiClient("127.0.0.1", server.port)) as client:
        client.connect(5, Abort())
        assert client.wait(lambda: client.vector(CAMERA, "CONNECTION"), 5, lambda: False)
        yield client


def change(server: IndiServer, name: str, **members: float | str) -> None:
    with other_client(server) as client:
        assert client.wait(lambda: client.vector(CAMERA, name), 5, lambda: False)
        client.change(CAMERA, name, members, 5, lambda: False)


def test_exposures_show_stars_and_carry_what_the_camera_reports(server: IndiServer) -> None:
    with opened(server, temperature_c=-5.0) as camera:
        taken = camera.apply(Controls(exposure_s=1.0, gain=37.0))
        frame = camera.expose(Stop())
    assert taken == frame.applied == Controls(exposure_s=1.0, gain=37.0)
    assert (frame.width, frame.height, frame.format.kind, frame.format.bits) == (1280, 1024, PixelKind.MONO, 16)
    assert frame.temperature_c is not None
    pixels = np.asarray(frame.data, np.float64)
    assert np.count_nonzero(pixels > np.median(pixels) + 10 * max(1.0, pixels.std() / 10)) > 50, "no stars: gsc was not asked"
    reported = {key: value for key, value, _ in frame.header}
    assert (reported["EXPTIME"], reported["GAIN"], reported["INSTRUME"]) == (1.0, 37.0, CAMERA)


def test_the_shutter_opens_after_the_request_and_closes_before_the_picture_comes(server: IndiServer) -> None:
    with opened(server) as camera:
        camera.apply(Controls(exposure_s=1.5))
        for _ in range(2):
            asked_ns = time.monotonic_ns()
            frame = camera.expose(Stop())
            arrived_ns = time.monotonic_ns()
            assert asked_ns <= frame.monotonic_ns <= arrived_ns - 1.5e9
            assert frame.ended_at - frame.opened_at == timedelta(seconds=1.5)
            written = datetime.fromisoformat(next(str(value) for key, value, _ in frame.header if key == "DATE-OBS")).replace(tzinfo=UTC)
            assert abs(frame.opened_at - written) < timedelta(seconds=0.1)


def test_binning_region_and_bayer_pattern_are_what_the_camera_delivers(server: IndiServer) -> None:
    with opened(server, roi={"x": 100, "y": 200, "width": 640, "height": 480}, binning=2) as camera:
        info = camera.open()
        assert (info.width, info.height) == (320, 240)
        camera.apply(Controls(exposure_s=0.05))
        frame = camera.expose(Stop())
    assert (frame.width, frame.height) == (320, 240)
    assert (frame.format.roi, frame.format.binning) == ((100, 200, 640, 480), 2)
    change(server, "CONNECTION", DISCONNECT="On")  # the driver says on connecting that there are colour filters
    change(server, "SIMULATE_BAYER", INDI_ENABLED="On")
    try:
        with opened(server) as camera:
            info = camera.open()
            assert (info.width, info.height) == (1280, 1024), "the region of the camera's last user is still set"
            camera.apply(Controls(exposure_s=0.05))
            frame = camera.expose(Stop())
    finally:
        change(server, "CONNECTION", DISCONNECT="On")
        change(server, "SIMULATE_BAYER", INDI_DISABLED="On")
    assert info.format.kind is frame.format.kind is PixelKind.BAYER
    assert info.format.bayer == frame.format.bayer == "RGGB"


@pytest.mark.parametrize("compressed", ["INDI_DISABLED", "INDI_ENABLED"])
def test_the_header_of_the_driver_is_in_the_stored_original(server: IndiServer, tmp_path: Path, compressed: str) -> None:
    with opened(server) as camera:
        change(server, "CCD_COMPRESSION", **{compressed: "On"})
        try:
            info = camera.open()
            camera.apply(Controls(exposure_s=0.5))
            frame = camera.expose(Stop())
        finally:
            change(server, "CCD_COMPRESSION", INDI_DISABLED="On")
    path = tmp_path / "a.fits.fz"
    path.write_bytes(encode_original(frame, camera="north", sequence=7, station=Station("roof", 47.0, 8.0), info=info, software="Cupola"))
    original = read_original(path)
    assert np.array_equal(original.data, frame.data)
    assert original.facts.applied == frame.applied and abs(original.facts.opened_at - frame.opened_at) < timedelta(microseconds=2)
    with fits.open(path) as hdus:
        header: Any = hdus[1].header  # pyright: ignore[reportAttributeAccessIssue]
        comments = [str(line) for line in header["COMMENT"]]
        assert header["IMAGETYP"] == "Light Frame" and "Generated by INDI" in comments
        assert len(frame.header) > 10
        for key, value, _ in frame.header:
            kept = value in comments if key == "COMMENT" else header[key] == value or f"the camera's own {key}: {value}" in comments
            assert kept, f"{key} of the driver is gone"
        assert (header["OBSERVAT"], header["CUPSEQ"]) == ("roof", 7)
        assert abs(datetime.fromisoformat(header["DATE-OBS"]).replace(tzinfo=UTC) - frame.opened_at) < timedelta(microseconds=2)
        assert header.count("DATE-OBS") == 1


def test_a_long_exposure_is_given_up_within_a_second_and_the_next_has_the_new_gain(server: IndiServer) -> None:
    with opened(server) as camera:
        camera.apply(Controls(exposure_s=60.0, gain=10.0))
        outcome: list[object] = []

        def take(stop: Stop) -> None:
            try:
                outcome.append(camera.expose(stop))
            except CaptureCancelled:
                outcome.append(time.monotonic())

        for cancel_by_stop in (True, False):
            stop = Stop()
            thread = threading.Thread(target=take, args=(stop,))
            thread.start()
            thread.join(1.5)
            cancelled = time.monotonic()
            stop.set() if cancel_by_stop else camera.interrupt()
            thread.join(5)
            ended = outcome.pop()
            assert isinstance(ended, float) and ended - cancelled < 1.0
            assert camera.apply(Controls(exposure_s=0.2, gain=64.0 if cancel_by_stop else 65.0)).gain == (64.0 if cancel_by_stop else 65.0)
            assert time.monotonic() - cancelled < 5
            frame = camera.expose(Stop())
            assert frame.applied == Controls(exposure_s=0.2, gain=64.0 if cancel_by_stop else 65.0)
            assert next(value for key, value, _ in frame.header if key == "EXPTIME") == 0.2, (
                "the picture of the aborted exposure was taken for this one's"
            )
            camera.apply(Controls(exposure_s=60.0))


def test_an_exposure_left_behind_by_a_dead_process_is_ended(server: IndiServer) -> None:
    change(server, "CCD_EXPOSURE", CCD_EXPOSURE_VALUE=300)
    with opened(server) as camera:
        camera.apply(Controls(exposure_s=0.1))
        assert camera.expose(Stop()).applied.exposure_s == 0.1


def test_a_driver_that_cannot_abort_finishes_a_cancelled_exposure_and_is_waited_for(server: IndiServer) -> None:
    with without(server, b"CCD_ABORT_EXPOSURE") as port:
        camera = Indi(options(server, port=port), Station())
        try:
            assert camera.open().finishes_exposures
            camera.apply(Controls(exposure_s=7.0))
            stop = Stop()
            threading.Timer(0.5, stop.set).start()
            begun = time.monotonic()
            with pytest.raises(CaptureCancelled):
                camera.expose(stop)
            assert time.monotonic() - begun < 3, "who cancels does not wait"
            camera.apply(Controls(exposure_s=0.1))
            assert camera.expose(Stop()).applied.exposure_s == pytest.approx(0.1)
            assert time.monotonic() - begun > 7, "the long exposure went on until its end"
        finally:
            camera.close()
    with opened(server) as camera:
        assert not camera.open().finishes_exposures


def test_an_exposure_that_nobody_can_end_is_told_at_opening(server: IndiServer) -> None:
    with without(server, b"CCD_ABORT_EXPOSURE") as port:
        with other_client(server) as client:
            client.send(CAMERA, "CONNECTION", {"CONNECT": "On"})
            assert client.wait(lambda: client.vector(CAMERA, "CCD_EXPOSURE"), 10, lambda: False)
            client.send(CAMERA, "CCD_EXPOSURE", {"CCD_EXPOSURE_VALUE": 60.0})
            assert client.wait(lambda: client.vector(CAMERA, "CCD_EXPOSURE").state == "Busy", 10, lambda: False)
        camera = Indi(options(server, port=port), Station())
        try:
            with pytest.raises(CameraBusy, match=r"exposes for another \d+ s, and its driver cannot end that"):
                camera.open()
        finally:
            camera.close()
    with opened(server) as camera:  # with its abort it is no trouble
        camera.apply(Controls(exposure_s=0.1))
        camera.expose(Stop())


def test_an_exposure_aborted_by_another_program_is_told(server: IndiServer) -> None:
    with opened(server) as camera:
        camera.apply(Controls(exposure_s=20.0))
        started = time.monotonic()
        problem = _during(camera, lambda: change(server, "CCD_ABORT_EXPOSURE", ABORT="On"))
        assert isinstance(problem, CameraLost) and "another program aborted it" in str(problem)
        assert time.monotonic() - started < 6


def _during(camera: Indi, what: Any) -> BaseException | None:
    """What an exposure ends with when something happens in its middle."""
    problems: list[BaseException] = []

    def take() -> None:
        try:
            camera.expose(Stop())
        except Exception as problem:
            problems.append(problem)

    thread = threading.Thread(target=take)
    thread.start()
    thread.join(1.0)
    what()
    thread.join(30)
    assert not thread.is_alive(), "the exposure did not end"
    return problems[0] if problems else None


def test_a_camera_disconnected_by_another_program_is_lost_and_opens_again(server: IndiServer) -> None:
    with opened(server) as camera:
        camera.apply(Controls(exposure_s=20.0))
        problem = _during(camera, lambda: change(server, "CONNECTION", DISCONNECT="On"))
        assert isinstance(problem, CameraLost) and "another program" in str(problem)
        camera.close()
        camera.open()
        camera.apply(Controls(exposure_s=0.1))
        camera.expose(Stop())


def test_a_driver_that_dies_is_told_at_once_and_opens_again(server: IndiServer) -> None:
    with opened(server) as camera:
        camera.apply(Controls(exposure_s=20.0))
        started = time.monotonic()
        problem = _during(camera, lambda: os.kill(server.driver_pid(), signal.SIGKILL))
        assert isinstance(problem, CameraLost) and f'driver of "{CAMERA}"' in str(problem) and "ended" in str(problem)
        assert time.monotonic() - started < 3
        camera.close()
        camera.open()
        camera.apply(Controls(exposure_s=0.1))
        camera.expose(Stop())


def test_a_driver_that_hangs_misses_its_deadline(server: IndiServer) -> None:
    with opened(server, timeout_s=3.0) as camera:
        camera.apply(Controls(exposure_s=0.5))
        pid = server.driver_pid()
        os.kill(pid, signal.SIGSTOP)
        try:
            started = time.monotonic()
            with pytest.raises(CameraUnresponsive, match="sent no picture within"):
                camera.expose(Stop())
            assert time.monotonic() - started < 6
        finally:
            os.kill(pid, signal.SIGCONT)


def test_a_server_that_is_killed_is_told_at_once_and_waited_for_when_opening(tmp_path: Path) -> None:
    with indi_server(tmp_path) as server, opened(server) as camera:
        camera.apply(Controls(exposure_s=20.0))
        started = time.monotonic()
        problem = _during(camera, server.kill)
        assert isinstance(problem, CameraLost) and "closed the connection" in str(problem)
        assert time.monotonic() - started < 3
        with pytest.raises(CameraLost):
            camera.apply(Controls(gain=1.0))
        camera.close()
        later = threading.Timer(1.0, server.start)
        later.start()
        try:
            camera.open()
        finally:
            later.join()
        camera.apply(Controls(exposure_s=0.1))
        camera.expose(Stop())


def test_a_server_that_takes_nothing_more_does_not_hold_up_closing(tmp_path: Path) -> None:
    with indi_server(tmp_path) as server, opened(server) as camera:
        os.kill(server.pid, signal.SIGSTOP)
        try:
            started = time.monotonic()
            camera.close()
            assert time.monotonic() - started < 5
        finally:
            os.kill(server.pid, signal.SIGCONT)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _refusal(server: IndiServer | None = None, **others: Any) -> str:
    """What a camera that cannot be opened says."""
    told = {**(options(server) if server else {"device": None, "binning": 1, "roi": None, "temperature_c": None, "host": "127.0.0.1"}), **others}
    camera = Indi(told, Station())
    with closing(camera), pytest.raises(CameraNotFound) as refused:
        camera.open()
    return str(refused.value)


def test_nobody_listening_is_said_so() -> None:
    port = _free_port()
    assert f"Nobody listens at 127.0.0.1:{port}. Start indiserver" in _refusal(port=port, timeout_s=1.0)


def test_an_unknown_host_is_said_so() -> None:
    assert 'no host "nowhere.invalid"' in _refusal(host="nowhere.invalid", port=7624, timeout_s=2.0)


def test_a_web_server_is_no_indi() -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as web:
        http.server.BaseHTTPRequestHandler.log_message = lambda *_: None  # type: ignore[method-assign]
        thread = threading.Thread(target=web.serve_forever, daemon=True)
        thread.start()
        try:
            words = _refusal(port=web.server_port, timeout_s=5.0)
        finally:
            web.shutdown()
            thread.join()
    assert "is no INDI server: it answers" in words and "<!DOCTYPE" in words.upper()


@contextmanager
def _listener(says: bytes) -> Iterator[int]:
    """A server that greets each client with the same bytes and then waits."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        links: list[socket.socket] = []

        def serve() -> None:
            try:
                while True:
                    link, _ = listening.accept()
                    links.append(link)
                    link.sendall(says)
            except OSError:
                return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield int(listening.getsockname()[1])
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()
            for link in links:
                link.close()


@pytest.mark.parametrize(
    "says", [b"SSH-2.0-OpenSSH_9.2\r\n" * 4, bytes(range(256)), b"\0" * 100, b"<html><body>Hello, I am a router, please log in</body></html>....."]
)
def test_rubbish_is_no_indi(says: bytes) -> None:
    with _listener(says) as port:
        assert "is no INDI server: it answers" in _refusal(port=port, timeout_s=3.0)


def test_what_a_driver_does_not_know_is_no_number() -> None:
    says = b"""<defNumberVector device="CCD" name="CCD_TEMPERATURE" label="t" group="g" state="Ok" perm="rw" timeout="60">
    <defNumber name="CCD_TEMPERATURE_VALUE" label="t" format="%g" min="nan" max="inf" step="0">nan</defNumber></defNumberVector>"""
    with _listener(says) as port, closing(IndiClient("127.0.0.1", port)) as client:
        client.connect(5.0, Abort())
        vector = client.wait(lambda: client.vector("CCD", "CCD_TEMPERATURE"), 5.0, lambda: False)
        assert client.number("CCD", "CCD_TEMPERATURE", "CCD_TEMPERATURE_VALUE") is None
        assert range_of(vector, "CCD_TEMPERATURE_VALUE", 1.0) == ControlRange(0.0, 3600.0, 1.0)


def test_a_silent_server_may_have_no_driver() -> None:
    with _listener(b"") as port:
        started = time.monotonic()
        assert "named no INDI device within 2 s" in _refusal(port=port, timeout_s=2.0)
        assert time.monotonic() - started < 4


def test_a_device_that_is_not_there_is_told_with_those_that_are(server: IndiServer) -> None:
    words = _refusal(server, device="ZWO CCD ASI178MM", timeout_s=2.0)
    assert 'has no device "ZWO CCD ASI178MM"' in words and f'It has "{CAMERA}"' in words


def test_a_telescope_is_no_camera(server: IndiServer) -> None:
    words = _refusal(server, device=TELESCOPE, timeout_s=3.0)
    assert f'"{TELESCOPE}"' in words and "Is it a camera?" in words and CAMERA in words


def test_a_region_beyond_the_sensor_is_refused(server: IndiServer) -> None:
    assert "which has 1280 x 1024 pixels" in _refusal(server, roi={"x": 0, "y": 0, "width": 5000, "height": 5000})


def test_without_a_name_the_only_camera_is_taken_and_can_cool(server: IndiServer) -> None:
    with opened(server, device=None) as camera:
        info = camera.open()
    assert info.model == CAMERA and Capability.COOLING in info.capabilities


def test_opening_can_be_interrupted() -> None:
    camera = Indi(
        {"device": None, "binning": 1, "roi": None, "temperature_c": None, "host": "127.0.0.1", "port": _free_port(), "timeout_s": 30.0},
        Station(),
    )
    later = threading.Timer(0.3, camera.interrupt)
    later.start()
    started = time.monotonic()
    with closing(camera), pytest.raises(CaptureCancelled):
        camera.open()
    later.join()
    assert time.monotonic() - started < 2


def test_discovery_looks_on_this_machine_and_finds_nothing_where_nobody_listens(monkeypatch: pytest.MonkeyPatch, server: IndiServer) -> None:
    monkeypatch.setattr("cupola.drivers.indi.LOCAL", ("127.0.0.1", _free_port()))
    assert discover() == []
    monkeypatch.setattr("cupola.drivers.indi.LOCAL", ("127.0.0.1", server.port))
    (found,) = discover()
    assert (found.driver, found.model, found.options["device"]) == ("indi", CAMERA, CAMERA)


def test_other_programs_that_ask_for_everything_are_not_taken_for_answers(server: IndiServer) -> None:
    """What a driver tells one client anew goes to all of them, at any time."""
    ended = threading.Event()

    def ask() -> None:
        with socket.create_connection(("127.0.0.1", server.port)) as link:
            link.settimeout(0.05)
            while not ended.is_set():
                link.sendall(b"<getProperties version='1.7'/>\n")
                try:
                    while link.recv(1 << 20):
                        pass
                except TimeoutError:
                    continue

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for gain in (11.0, 12.0, 13.0):
            change(server, "CONNECTION", DISCONNECT="On")
            with opened(server) as camera:
                assert camera.apply(Controls(exposure_s=0.05, gain=gain)).gain == gain
                assert camera.expose(Stop()).applied == Controls(exposure_s=0.05, gain=gain)
    finally:
        ended.set()
        asking.join()


def test_a_stream_is_one_exposure_after_the_other(server: IndiServer) -> None:
    with opened(server) as camera:
        camera.apply(Controls(exposure_s=0.3))
        stop, frames = Stop(), []
        for frame in camera.stream(stop):
            frames.append(frame)
            if len(frames) == 3:
                stop.set()
    assert len(frames) == 3
    assert all(one.ended_at <= other.opened_at for one, other in pairwise(frames))
