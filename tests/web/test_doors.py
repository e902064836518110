"""Connections that ask nothing, or never finish asking."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
from tests.support.station import eventually, running_station

from cupola.web.wire import OPEN_MAX, SILENT_OF_ONE_MAX, SPARE, Doors

SILENT = 300


class _Visitor:
    """A connection, as far as it is counted."""

    def __init__(self, doors: Doors, address: str) -> None:
        self._doors, self._address, self.stays = doors, address, True
        self.entered = doors.enter(self, address)

    def ask(self) -> None:
        self._doors.asked(self)

    def hang_up(self) -> None:
        self.stays = False
        self._doors.leave(self)


def _asking(doors: Doors, address: str) -> bool:
    """Whether one more that asks something is let in."""
    visitor = _Visitor(doors, address)
    visitor.ask()
    return visitor.entered


def test_the_addresses_of_one_ipv6_network_share_the_connections_of_one_place() -> None:
    doors = Doors(lambda _: False, 2000)
    assert all(_asking(doors, f"2001:db8:0:1:{number:x}::1") for number in range(OPEN_MAX))
    assert not _asking(doors, "2001:db8:0:1::ffff")
    assert _asking(doors, "2001:db8:0:2::1"), "the neighbour's"
    assert all(_asking(doors, f"192.0.2.{number}") for number in range(4)), "of IPv4 each address is a place"


def test_silent_ones_of_one_ipv6_network_make_place_for_each_other() -> None:
    doors = Doors(lambda _: False, 2000)
    visitors = [_Visitor(doors, f"2001:db8::{number:x}") for number in range(SILENT_OF_ONE_MAX + 5)]
    assert [visitor.stays for visitor in visitors] == [False] * 5 + [True] * SILENT_OF_ONE_MAX


def test_there_are_no_more_connections_than_places_and_the_machine_itself_gets_in_beyond() -> None:
    doors = Doors(lambda address: address == "127.0.0.9", 50)
    silent = _Visitor(doors, "198.51.100.1")
    assert all(_asking(doors, f"203.0.113.{number}") for number in range(49))
    assert _asking(doors, "203.0.113.200") and not silent.stays, "who has not asked anything makes place"
    assert not _asking(doors, "203.0.113.201")
    assert not _asking(doors, "127.0.0.9"), "a proxy on this machine stands for strangers"
    assert [_asking(doors, "127.0.0.1") for _ in range(SPARE + 1)] == [True] * SPARE + [False]


@contextlib.contextmanager
def _descriptors(number: int) -> Iterator[None]:
    """What is started in here may have so many."""
    own = psutil.Process()
    before = own.rlimit(psutil.RLIMIT_NOFILE)
    own.rlimit(psutil.RLIMIT_NOFILE, (number, before[1]))
    try:
        yield
    finally:
        own.rlimit(psutil.RLIMIT_NOFILE, before)


def test_connections_from_many_places_leave_the_cameras_what_they_need(tmp_path: Path) -> None:
    places = 130
    with ExitStack() as stack:
        with _descriptors(2 * places):
            station = stack.enter_context(running_station(tmp_path))
        let_in = 0
        for number in range(places + SPARE + 20):
            connection = socket.create_connection(("127.0.0.1", station.port), timeout=10, source_address=(f"127.0.1.{number + 1}", 0))
            stack.enter_context(connection)
            with contextlib.suppress(ConnectionError):
                connection.sendall(b"GET /api/health HTTP/1.1\r\nHost: localhost\r\n\r\n")
                let_in += connection.recv(12) == b"HTTP/1.1 200"
        assert places <= let_in <= places + SPARE
        assert station.snap()["developed"]
        assert psutil.Process(station.process.pid).num_fds() < 2 * places


def test_300_silent_and_trickling_connections_keep_nobody_from_an_answer(tmp_path: Path) -> None:
    with running_station(tmp_path) as station, ExitStack() as stack:
        server = psutil.Process(station.process.pid)
        server.rlimit(psutil.RLIMIT_NOFILE, (1024, 1024))
        before = server.num_fds()
        connections: list[socket.socket] = []
        longest = 0.0
        for number in range(SILENT):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", station.port), timeout=10))
            if number % 2:
                connection.sendall(b"GET /api/health HTTP/1.1\r\nHost: loc")
            connections.append(connection)
            if number % 10 == 0:
                begun = time.monotonic()
                assert station.http.get("/api/health").status_code == 200
                longest = max(longest, time.monotonic() - begun)
        print(f"\n{SILENT} silent and trickling connections: the longest answer took {longest:.3f} s")
        assert longest < 1
        eventually(lambda: psutil.Process(station.process.pid).num_fds() < before + 130)  # most of them have been hung up on


def test_a_head_and_a_body_that_do_not_end_are_given_up(tmp_path: Path) -> None:
    with running_station(tmp_path) as station, socket.create_connection(("127.0.0.1", station.port), timeout=20) as connection:
        begun = time.monotonic()
        connection.settimeout(1)
        ended = False
        while not ended and time.monotonic() - begun < 20:
            try:
                connection.sendall(b"\r\n" if time.monotonic() - begun < 1 else b"G")
                ended = connection.recv(1) == b""
            except TimeoutError:
                continue
            except OSError:
                ended = True
        assert ended and time.monotonic() - begun < 15
