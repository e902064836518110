"""What the tests of the `indi` driver share: its options, and a running indiserver."""

from __future__ import annotations

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


def options(server: IndiServer, **others: Any) -> dict[str, Any]:
    return {**INDI, "port": server.port, **others}
