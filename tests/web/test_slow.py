"""Sockets whose other end takes nothing: closed after five seconds, with the reason behind what was on its way."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.station import RunningStation, eventually, running_station

from cupola.web import events, live

SLEPT_S = 8.0  # more than what is waited for, less than until the connection is cut
LAVISH = """
import sys
if "run" in sys.orig_argv:
    import cupola.web.wire
    cupola.web.wire.FRAMES_AT_ONCE = 10**9
    cupola.web.wire.Frugal._left = 1e9
"""


@contextmanager
def _opened(station: RunningStation, path: str) -> Iterator[socket.socket]:
    """A WebSocket with a small window, from which nothing was read behind the answer's head."""
    head = (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{station.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\nSec-WebSocket-Version: 13\r\n"
        f"Authorization: {station.owner['Authorization']}\r\n\r\n"
    )
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(20)
        connection.connect(("127.0.0.1", station.port))
        connection.sendall(head.encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += connection.recv(1)
        assert answer.startswith(b"HTTP/1.1 101 "), answer
        yield connection


def _said(text: str) -> bytes:
    """A masked text frame (RFC 6455, section 5.2), of less than 126 bytes."""
    return bytes([0x81, 0x80 | len(text)]) + bytes(4) + text.encode()


def _last(connection: socket.socket) -> tuple[int, bytes]:
    """Opcode and payload of the last frame."""
    data = bytearray()
    while more := connection.recv(1 << 20):
        data += more
    at, last = 0, (0, b"")
    while at < len(data):
        opcode, size, begin = data[at] & 15, data[at + 1], at + 2
        if size == 126:
            size, begin = struct.unpack_from("!H", data, begin)[0], begin + 2
        elif size == 127:
            size, begin = struct.unpack_from("!Q", data, begin)[0], begin + 8
        last, at = (opcode, bytes(data[begin : begin + size])), begin + size
    assert at == len(data), "the last frame is whole"
    return last


def _closed(connection: socket.socket) -> tuple[int, str]:
    opcode, payload = _last(connection)
    assert opcode == 8, (opcode, payload[:80])
    return struct.unpack("!H", payload[:2])[0], payload[2:].decode()


def test_who_takes_no_events_is_closed_with_1013_and_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a station that lets everybody send as much as they like: else who fills its buffers is turned out for that."""
    assert events.SEND_TIMEOUT_S + 1 < SLEPT_S
    (tmp_path / "sitecustomize.py").write_text(LAVISH)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path), os.environ.get("PYTHONPATH", ""))))
    with running_station(tmp_path) as station, _opened(station, "/ws/events") as connection:
        connection.settimeout(1)
        message = _said(json.dumps({"type": "renew", "camera": "there is no such camera, and no other one", "epoch": 1}))
        with contextlib.suppress(TimeoutError):
            for _ in range(100_000):  # each is answered; at some time the server waits for its answers to be read, and reads no more
                connection.sendall(message)
            pytest.fail("the server reads on and on")
        time.sleep(SLEPT_S)
        connection.settimeout(20)
        assert _closed(connection) == (1013, "too slow: nothing was taken for 5 s")


def test_a_viewer_who_takes_no_pictures_is_closed_with_1013_and_the_reason(station: RunningStation) -> None:
    assert live.SEND_TIMEOUT_S + 1 < SLEPT_S
    with _opened(station, "/ws/live/sky") as connection:
        eventually(lambda: station.http.get("/api/health").json()["viewers"] == 1)
        eventually(lambda: station.http.get("/api/health").json()["viewers"] == 0, 60)
        assert _closed(connection) == (1013, "too slow: nothing was taken for 5 s")
