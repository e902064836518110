"""Connections that ask nothing, or never finish asking."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack
from pathlib import Path

import psutil
from tests.support.station import eventually, running_station

SILENT = 300


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
