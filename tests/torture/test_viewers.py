"""Viewers that come and go, viewers that take nothing, a camera opened and closed again and again: nothing is left behind."""

import socket
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from tests.torture.station import CAMERA, DARKROOM, Listener, Station, sky, until

pytestmark = pytest.mark.torture
STALLED = 50
SPARE_BYTES = 20_000_000  # what allocators keep, far below what 50 viewers or 100 visits would pile up


def _held(station: Station) -> tuple[int, int, int]:
    """Descriptors, threads, resident bytes of the server."""
    server = station.server
    return server.num_fds(), server.num_threads(), server.memory_info().rss


def _assert_no_growth(station: Station, before: tuple[int, int, int], what: str) -> None:
    until(lambda: _held(station)[0] <= before[0], 10, f"descriptors of {what} given back: {_held(station)[0]}, before {before[0]}")
    after = _held(station)
    print(f"\n{what}: descriptors {before[0]} -> {after[0]}, threads {before[1]} -> {after[1]}, {before[2] / 1e6:.1f} -> {after[2] / 1e6:.1f} MB")
    assert after[1] <= before[1] + 1
    assert after[2] <= before[2] + SPARE_BYTES


def _look(station: Station, pictures: int) -> None:
    with Listener(station, "/ws/live/north") as viewer:
        until(lambda: len(viewer.pictures) >= pictures, 15, f"{pictures} pictures")


UPGRADE = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
STREAM = "/api/cameras/north/live.mjpg"
WAYS = {
    "WebSocket": ("/ws/live/north HTTP/1.1", UPGRADE),
    "MJPEG": (f"{STREAM} HTTP/1.1", ""),
    "MJPEG over HTTP 1.0": (f"{STREAM} HTTP/1.0", ""),
}


@contextmanager
def _stalled_viewer(station: Station, way: str) -> Generator[socket.socket]:
    """A viewer who asked for pictures and never reads one."""
    with socket.socket() as never_read:
        never_read.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        never_read.connect(("127.0.0.1", station.port))
        what, headers = WAYS[way]
        headers += f"Authorization: {station.owner['Authorization']}\r\n"
        never_read.sendall(f"GET {what}\r\nHost: 127.0.0.1:{station.port}\r\n{headers}\r\n".encode())
        yield never_read


def test_a_hundred_visits_of_viewers_leave_nothing_behind(tmp_path: Path) -> None:
    with Station(tmp_path, sky()) as station:
        station.running()
        for _ in range(10):
            _look(station, 1)
        until(lambda: station.get("/api/health")["viewers"] == 0, 10, "nobody watches")
        before = _held(station)
        for _ in range(100):
            _look(station, 1)
        until(lambda: station.get("/api/health")["viewers"] == 0, 10, "nobody watches")
        _assert_no_growth(station, before, "100 visits")


@pytest.mark.parametrize("way", WAYS)
def test_fifty_stalled_viewers_do_not_slow_a_fast_one_and_are_turned_out(tmp_path: Path, way: str) -> None:
    with Station(tmp_path, sky(), max_viewers=60) as station, ExitStack() as stalled:
        station.running()
        _look(station, 30)
        with Listener(station, "/ws/live/north") as fast:
            until(lambda: len(fast.pictures) > 20, 15, "pictures")

            def rate() -> float:
                """Pictures a second, over 4 s."""
                first, begun = len(fast.pictures), time.monotonic()
                until(lambda: time.monotonic() - begun >= 4, 10, "4 s")
                return (len(fast.pictures) - first) / (time.monotonic() - begun)

            before, alone = _held(station), rate()
            for _ in range(STALLED):
                stalled.enter_context(_stalled_viewer(station, way))
            until(lambda: station.get("/api/health")["viewers"] == STALLED + 1, 10, "all are let in")
            among, begun = rate(), time.monotonic()
            until(lambda: station.get("/api/health")["viewers"] == 1, 60, "those who take nothing are turned out")
            print(
                f"\nfast viewer: {alone:.1f} fps alone, {among:.1f} beside {STALLED} stalled ones, all of them gone {time.monotonic() - begun + 4:.0f} s on"
            )
            assert not fast.ended
            assert among > 0.8 * alone
            _assert_no_growth(station, before, f"{STALLED} stalled viewers")


def test_a_camera_opened_and_closed_twenty_times_leaves_nothing_behind(tmp_path: Path) -> None:
    with Station(tmp_path, sky()) as station:
        before = (0, 0, 0)
        for cycle in range(23):
            station.post("/api/cameras/north/connect")
            station.running()
            assert station.post("/api/cameras/north/disconnect")["state"] == "stopped"
            if cycle == 2:
                before = _held(station)
        assert not station.processes(CAMERA) + station.processes(DARKROOM)
        _assert_no_growth(station, before, "20 openings")
