"""Requests made up from the OpenAPI document, by its rules and against them, and WebSocket messages of any kind: nothing is a failure of the server.

A few of each by default; the whole run: HOSTILE_CASES=1000, which is so many requests for each group of operations and as many messages.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import random
import socket
import struct
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import SkipTest

import psutil
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, example, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.core.result import Ok
from tests.support.station import RunningStation, eventually, running_station

pytestmark = pytest.mark.torture
SLOW_IS_FINE = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much, HealthCheck.function_scoped_fixture)
CASES = int(os.environ.get("HOSTILE_CASES", "40"))
HANG_S = 20.0
SLOW = {
    "GET /api/discover": 3,
    "GET /api/cameras/{cam}/live.jpg": 5,
}  # a look around takes seconds, a picture that never comes ten: so many are enough
SEEN = "a token for requests"


class Target(NamedTuple):
    station: RunningStation
    paths: dict[str, Any]


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with running_station(tmp_path_factory.mktemp("hostile")) as station:
        station.claim()
        station.snap()
        station.http.post("/api/tokens", json={"name": SEEN, "scope": "view"}).raise_for_status()
        yield Target(station, {"cam": "sky", "number": 1, "name": "admin", "session": "x"})
    assert station.process.returncode == 0
    logged = (station.folder / "output").read_text() + (station.folder / "logs" / "cupola-error.log").read_text()
    assert "Traceback" not in logged and " failed: " not in logged, logged[-5000:]


@contextlib.contextmanager
def _unharmed(target: Target) -> Iterator[None]:
    """The same process, its camera's process not restarted, answering at once, afterwards."""
    server = psutil.Process(target.station.process.pid)
    target.station.open()  # another group may have closed it
    restarts = target.station.camera()["restarts"]
    yield
    assert target.station.process.poll() is None and server.is_running()
    begun = time.monotonic()
    assert target.station.http.get("/api/health").json()["status"] == "ok"
    assert time.monotonic() - begun < 1
    target.station.open()
    assert target.station.camera()["restarts"] == restarts


def _operations() -> dict[str, list[Any]]:
    """By their group."""
    document = json.loads((Path(__file__).parents[2] / "ui" / "openapi.json").read_text())
    found: dict[str, list[Any]] = defaultdict(list)
    for result in schemathesis.openapi.from_dict(document).get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()
        found[operation.definition.raw["tags"][0]].append(operation)
    return found


OPERATIONS = _operations()


def _short(value: Any) -> Any:
    """No exposure that a test would have to wait for; all else as it was made up."""
    if isinstance(value, dict):
        return {key: 0.05 if key == "exposure_s" and type(item) in (int, float) and item > 0.05 else _short(item) for key, item in value.items()}
    return value


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("group", OPERATIONS)
def test_no_request_is_a_failure_of_the_server(target: Target, group: str) -> None:
    operations = OPERATIONS[group]
    each = -(-CASES // len([operation for operation in operations if operation.label not in SLOW]))
    answers: Counter[int] = Counter()
    longest = 0.0

    def ask(case: Case) -> None:
        nonlocal longest
        case.body = _short(case.body)
        if draws.random() < 0.5:  # made-up names hardly ever are names of something
            case.path_parameters = {name: target.paths.get(name, value) for name, value in (case.path_parameters or {}).items()}
        begun = time.monotonic()
        made = case.as_transport_kwargs(base_url=target.station.url, headers=target.station.owner | dict(case.headers or {}))
        try:
            with session.request(**made, timeout=HANG_S, stream=True) as answer:  # a stream has no end: its head is enough
                kind = answer.headers.get("content-type", "")
        except (requests.exceptions.InvalidHeader, requests.exceptions.InvalidURL, UnicodeEncodeError):
            return  # the client itself cannot say it
        longest = max(longest, time.monotonic() - begun)
        answers[answer.status_code] += 1
        assert answer.status_code not in (500, 501, 502, 504), f"{answer.status_code}: {case.as_curl_command()}"
        if answer.status_code >= 400:
            assert kind == "application/problem+json" or answer.status_code == 400, case.as_curl_command()

    with _unharmed(target), requests.Session() as session:
        session.trust_env = False
        for operation in operations:
            draws, number, goal = random.Random(operation.label), SLOW.get(operation.label, each), sum(answers.values())
            for again in range(number):  # few parameters make few different requests: then they come again
                if sum(answers.values()) >= goal + number:
                    break
                for mode in (GenerationMode.NEGATIVE, GenerationMode.POSITIVE):
                    with contextlib.suppress(Unsatisfiable, SkipTest):  # an operation without parameters cannot be asked wrongly
                        run = settings(
                            max_examples=number // 2 + 1,
                            deadline=None,
                            database=None,
                            suppress_health_check=SLOW_IS_FINE,
                            phases=[Phase.generate],
                        )
                        seed(again)(run(given(operation.as_strategy(generation_mode=mode))(ask)))()
    print(
        f"\n{group}: {sum(answers.values())} requests to {len(operations)} operations, {dict(sorted(answers.items()))}, the longest {longest:.2f} s"
    )
    assert sum(answers.values()) >= CASES


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
TYPES = st.sampled_from(["renew", "release", "hello", "", "RENEW", "renew ", "../renew"]) | st.text(max_size=50)
NEAR = st.fixed_dictionaries(
    {},
    optional={
        "type": TYPES | JSON,
        "camera": st.sampled_from(["sky", "x" * 5000]) | JSON,
        "epoch": st.integers() | st.sampled_from([2**53, 2**64, -1, 1e999]) | JSON,
        "more": JSON,
    },
)
TEXTS = (
    NEAR.map(json.dumps)
    | JSON.map(json.dumps)
    | st.text(max_size=200)
    | st.sampled_from(
        ["", "{", "[" * 2000, '{"type":' * 500, "x" * 4096, "x" * 4097, "\x00", '{"type":"renew","camera":"sky","epoch":' + "9" * 4000 + "}"]
    )
)


def _frame(opcode: int, payload: bytes, *, final: bool = True, masked: bool = True, reserved: int = 0) -> bytes:
    """RFC 6455, section 5.2."""
    head = bytes([(0x80 if final else 0) | reserved << 4 | opcode])
    mask = 0x80 if masked else 0
    size = len(payload)
    head += (
        bytes([mask | size])
        if size < 126
        else bytes([mask | 126]) + struct.pack("!H", size)
        if size < 65536
        else bytes([mask | 127]) + struct.pack("!Q", size)
    )
    return head + ((b"\0\0\0\0" + payload) if masked else payload)


FRAMES = st.one_of(
    TEXTS.map(lambda text: _frame(1, text.encode("utf-8", "surrogatepass"))),
    TEXTS.map(lambda text: _frame(1, text.encode("utf-8", "surrogatepass"))),
    st.binary(max_size=300).map(lambda data: _frame(2, data)),
    st.binary(max_size=300).map(lambda data: _frame(1, data)),  # rarely UTF-8
    st.builds(_frame, st.integers(0, 15), st.binary(max_size=200), final=st.booleans(), masked=st.booleans(), reserved=st.integers(0, 7)),
    st.binary(max_size=100),
    st.sampled_from([70_000, 5_000]).map(lambda size: _frame(1, b"x" * size)),
    st.sampled_from(
        [b"\x81\xff" + struct.pack("!Q", 2**62) + b"\0\0\0\0", _frame(8, b"\x03"), _frame(8, b"\xff\xff"), _frame(9, b"p" * 126), _frame(0, b"")]
    ),
)


@contextlib.contextmanager
def _opened(station: RunningStation, path: str) -> Iterator[socket.socket]:
    key = base64.b64encode(os.urandom(16)).decode()
    head = (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{station.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nAuthorization: {station.owner['Authorization']}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", station.port), timeout=HANG_S) as connection:
        connection.sendall(head.encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += connection.recv(1)
        assert answer.startswith(b"HTTP/1.1 101 "), answer
        yield connection


def _ends(connection: socket.socket) -> None:
    """The server closes; what it says before is passed over. A hang is a TimeoutError."""
    with contextlib.suppress(OSError):  # closed already
        connection.sendall(_frame(8, struct.pack("!H", 1000)))
        connection.shutdown(socket.SHUT_WR)
    with contextlib.suppress(ConnectionError):
        end = time.monotonic() + HANG_S
        while connection.recv(65536):
            assert time.monotonic() < end, "it is not closed"


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("path", ["/ws/events", "/ws/captures/", "/ws/live/sky"])
def test_no_message_is_a_failure_of_the_server(target: Target, path: str) -> None:
    sent = 0

    @seed(7)
    @settings(
        max_examples=-(-CASES // 3),
        deadline=None,
        database=None,
        suppress_health_check=SLOW_IS_FINE,
        phases=[Phase.explicit, Phase.generate],
    )
    @example([2 * _frame(1, b"\x8c"), _frame(9, b"")])  # in one packet: the second one met a connection that was closing
    @given(st.lists(FRAMES, min_size=3, max_size=8))
    def say(frames: list[bytes]) -> None:
        nonlocal sent
        with _opened(target.station, path) as connection:
            with contextlib.suppress(ConnectionError):
                for frame in frames:
                    connection.sendall(frame)
                    sent += 1
            _ends(connection)

    with _unharmed(target):
        say()
        eventually(lambda: target.station.http.get("/api/health").json()["viewers"] == 0)
    print(f"\n{path}: {sent} hostile messages")
    assert sent >= CASES
