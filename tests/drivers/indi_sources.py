"""What the tests of the `indi` driver share: its options, and a running indiserver."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.indi_server import CAMERA, IndiServer, namespace_command

INDI: dict[str, Any] = {
    "host": "127.0.0.1",
    "port": 7624,
    "device": CAMERA,
    "binning": 1,
    "roi": None,
    "temperature_c": None,
    "timeout_s": 10.0,
}


@contextmanager
def indi_server(home: Path) -> Iterator[IndiServer]:
    if namespace_command() is None:
        pytest.skip("this machine allows no network namespaces, and indiserver would listen on every address")
    with IndiServer(home) as server:
        yield server


@contextmanager
def without(server: IndiServer, name: bytes) -> Iterator[int]:
    """The port of a relay to the server behind which no property has this name: it goes by another one, in both directions."""
    other = b"NO_" + name[3:]
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

        def copy(source: socket.socket, target: socket.socket, there: bytes, here: bytes) -> None:
            kept = b""
            with contextlib.suppress(OSError):
                while data := source.recv(1 << 18):
                    data = (kept + data).replace(there, here)
                    kept = next((there[:size] for size in range(len(there) - 1, 0, -1) if data.endswith(there[:size])), b"")
                    target.sendall(data[: len(data) - len(kept)])
            for one in (source, target):
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    outside, _ = listening.accept()
                    inside = socket.create_connection(("127.0.0.1", server.port))
                    for one in (stack.enter_context(outside), stack.enter_context(inside)):
                        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    for pair in ((outside, inside, other, name), (inside, outside, name, other)):
                        threading.Thread(target=copy, args=pair, daemon=True).start()

        serving = threading.Thread(target=serve, daemon=True)
        serving.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
        serving.join(5)


def options(server: IndiServer, **others: Any) -> dict[str, Any]:
    return {**INDI, "port": server.port, **others}
