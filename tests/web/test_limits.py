"""What a client may send: heads, trailers, lengths, pings, names, cookies, and how long it may take. Said byte by byte."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
from tests.support.station import RunningStation, eventually, running_station
from websockets.http11 import Request

from cupola.web.guard import BODY_LIMIT
from cupola.web.wire import BODY_S, FRAMES_AT_ONCE, HEAD_MAX, HEADER_S, Frugal, TooManyFrames

ADMIN, ANNA = "clear sky over the dome", "anna watches Saturn"
KEEP_ALIVE_S = 30.0


@pytest.fixture(scope="module")
def claimed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStation]:
    """With the master `anna`; nothing that is sent here may be a failure of the server."""
    folder = tmp_path_factory.mktemp("claimed")
    with running_station(folder) as station:
        station.claim(ADMIN)
        station.http.post("/api/users", json={"name": "anna", "role": "master", "passphrase": ANNA}).raise_for_status()
        yield station
    text = (folder / "output").read_text() + (folder / "logs" / "cupola-error.log").read_text()
    assert "Traceback" not in text and " failed: " not in text, text


@contextmanager
def _connected(station: RunningStation) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", station.port), timeout=20) as connection:
        yield connection


def _head(station: RunningStation, request: str = "GET /api/health HTTP/1.1", *lines: str) -> bytes:
    return "\r\n".join((request, f"Host: 127.0.0.1:{station.port}", *lines, "", "")).encode()


def _answer(connection: socket.socket) -> tuple[int, bytes]:
    """Status and body of one answer that says its length; status 0 when the server hung up without a word."""
    data = b""
    try:
        while b"\r\n\r\n" not in data:
            if not (more := connection.recv(65536)):
                return 0, data
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head.lower())
        while length and len(body) < int(length[1]):
            body += connection.recv(65536)
    except ConnectionError:
        return 0, data
    return int(head.split()[1]), body


def _hung_up(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def _taken(connection: socket.socket, piece: bytes) -> int:
    """How many bytes of this, again and again, are taken before the connection is cut; 256 MiB when it is not."""
    sent = 0
    with contextlib.suppress(ConnectionError):
        while sent < 256 << 20:
            sent += connection.send(piece)
    return sent


def _descriptors(station: RunningStation) -> int:
    return psutil.Process(station.process.pid).num_fds()


def test_a_head_beyond_its_limit_is_hung_up_on_and_one_below_is_answered(claimed: RunningStation) -> None:
    with _connected(claimed) as connection:
        connection.sendall(_head(claimed, "GET /api/health HTTP/1.1", f"X-Long: {'x' * 60_000}"))
        assert _answer(connection)[0] == 200
    for size in (HEAD_MAX + 300_000, 8 << 20):  # beyond it by more than one read takes
        with _connected(claimed) as connection:
            try:
                connection.sendall(_head(claimed, "GET /api/health HTTP/1.1", *(f"X-{n}: {'x' * 8000}" for n in range(size // 8000))))
                assert _answer(connection)[0] in (0, 400)
            except ConnectionError:
                pass  # cut off while it was sent


def test_a_head_that_grows_for_ever_takes_no_memory(claimed: RunningStation) -> None:
    before = psutil.Process(claimed.process.pid).memory_info().rss
    with _connected(claimed) as connection:
        connection.sendall(_head(claimed)[:-2])
        assert _taken(connection, b"X-More: " + b"x" * 60_000 + b"\r\n") < 64 << 20, "some of it lies in the system's buffers"
    assert psutil.Process(claimed.process.pid).memory_info().rss < before + (32 << 20)


def _chunked(station: RunningStation, *trailers: str) -> bytes:
    """A login that says who it is in trailers behind its body."""
    body = json.dumps({"user": "admin", "passphrase": "not the passphrase"}).encode()
    head = _head(station, "POST /api/login HTTP/1.1", "Transfer-Encoding: chunked", "Content-Type: application/json")
    return head + f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n" + "".join(f"{line}\r\n" for line in trailers).encode() + b"\r\n"


def test_trailers_are_nobodys_headers(claimed: RunningStation) -> None:
    token = claimed.owner["Authorization"]
    body = json.dumps({"name": "by trailer", "scope": "admin"}).encode()
    for trailer in (f"Authorization: {token}", f"Cookie: cupola={token}"):
        with _connected(claimed) as connection:
            head = _head(claimed, "POST /api/tokens HTTP/1.1", "Transfer-Encoding: chunked", "Content-Type: application/json")
            connection.sendall(head + f"{len(body):x}\r\n".encode() + body + f"\r\n0\r\n{trailer}\r\n\r\n".encode())
            assert _answer(connection)[0] == 401
    assert claimed.http.get("/api/tokens").json()["items"] == []


def test_trailers_do_not_reach_the_request_behind_them(claimed: RunningStation) -> None:
    with _connected(claimed) as connection:
        connection.sendall(_chunked(claimed, f"Authorization: {claimed.owner['Authorization']}"))
        assert _answer(connection)[0] == 401
        connection.sendall(_head(claimed, "GET /api/users HTTP/1.1"))
        assert _answer(connection)[0] == 401


def test_trailers_beyond_the_limit_of_a_head_are_hung_up_on(claimed: RunningStation) -> None:
    with _connected(claimed) as connection:
        connection.sendall(_chunked(claimed)[:-2])
        assert _taken(connection, b"X-More: " + b"x" * 60_000 + b"\r\n") < 64 << 20


@pytest.mark.parametrize("length", ["9" * 11, "9" * 5000, "-1", "+5", "1e3", "0x10", " ", "5, 5", "٣"])
def test_a_length_that_is_none_or_too_long_is_refused_without_waiting_for_it(claimed: RunningStation, length: str) -> None:
    with _connected(claimed) as connection:
        connection.sendall(_head(claimed, "POST /api/login HTTP/1.1", "Content-Type: application/json").removesuffix(b"\r\n"))
        begun = time.monotonic()
        connection.sendall(f"Content-Length: {length}\r\n\r\n".encode())
        assert _answer(connection)[0] in (400, 413)
        assert time.monotonic() - begun < 5


@pytest.mark.parametrize("length", [BODY_LIMIT + 1, 10**9])
def test_a_body_that_is_too_large_is_refused_before_it_comes(claimed: RunningStation, length: int) -> None:
    with _connected(claimed) as connection:
        connection.sendall(_head(claimed, "POST /api/login HTTP/1.1", f"Content-Length: {length}"))
        status, body = _answer(connection)
        assert status == 413 and str(BODY_LIMIT).encode() in body


def test_a_body_that_says_no_length_and_does_not_end_is_refused(claimed: RunningStation) -> None:
    with _connected(claimed) as connection:
        connection.sendall(_head(claimed, "POST /api/login HTTP/1.1", "Transfer-Encoding: chunked"))
        try:
            for _ in range(BODY_LIMIT // 4096 + 1):
                connection.sendall(b"1000\r\n" + b" " * 4096 + b"\r\n")
        except ConnectionError:
            return
        assert _answer(connection)[0] == 413


def test_connections_that_stop_anywhere_are_given_up_in_time(claimed: RunningStation) -> None:
    """Before a head, in it, behind an answer, in a body, in trailers. All at the same time: it lasts as long as the slowest."""
    eventually(lambda: claimed.http.get("/api/health").status_code == 200)
    before = _descriptors(claimed)
    body = _head(claimed, "POST /api/login HTTP/1.1", "Content-Length: 100", "Content-Type: application/json") + b'{"user": '
    begun_with = {
        "nothing": (b"", 0, HEADER_S),
        "half a head": (b"GET /api/hea", 0, HEADER_S),
        "half a head behind an answer": (_head(claimed) + b"GET /api/hea", 1, HEADER_S),
        "an answer": (_head(claimed), 1, KEEP_ALIVE_S),
        "half a body": (body, 0, BODY_S),
        "trailers without an end": (_chunked(claimed)[:-2] + b"X-More: 1\r\n", 0, BODY_S),
    }
    begun = time.monotonic()
    connections: dict[str, socket.socket] = {}
    try:
        for name, (said, answers, _) in begun_with.items():
            connections[name] = socket.create_connection(("127.0.0.1", claimed.port), timeout=60)
            connections[name].sendall(said)
            if answers:
                assert _answer(connections[name])[0] == 200, name
        took: dict[str, float] = {}
        for name in sorted(begun_with, key=lambda name: begun_with[name][2]):
            assert _hung_up(connections[name]), name
            took[name] = time.monotonic() - begun
        late = {name: took[name] for name, (_, _, within_s) in begun_with.items() if took[name] > within_s + 5}
        assert not late, took
    finally:
        for connection in connections.values():
            connection.close()
    eventually(lambda: _descriptors(claimed) <= before)


def test_the_head_of_a_request_behind_another_one_may_not_trickle(claimed: RunningStation) -> None:
    with _connected(claimed) as connection:
        connection.sendall(_head(claimed) + b"GET /api/hea")  # in one packet
        assert _answer(connection)[0] == 200
        begun, ended = time.monotonic(), False
        connection.settimeout(0.5)
        while not ended and time.monotonic() - begun < HEADER_S + 5:
            try:
                connection.sendall(b"l")
                ended = connection.recv(1) == b""
            except TimeoutError:
                continue
            except OSError:
                ended = True
        assert ended


def _frame(opcode: int, payload: bytes) -> bytes:
    """RFC 6455, section 5.2: masked with zeros, of less than 126 bytes."""
    return bytes([0x80 | opcode, 0x80 | len(payload)]) + bytes(4) + payload


def _upgrade(station: RunningStation, path: str) -> bytes:
    key = base64.b64encode(os.urandom(16)).decode()
    lines = ("Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13")
    return _head(station, f"GET {path} HTTP/1.1", *lines, f"Authorization: {station.owner['Authorization']}")


def test_a_viewer_who_pings_without_end_and_reads_nothing_is_turned_out_and_piles_up_nothing(claimed: RunningStation) -> None:
    claimed.open()
    server = psutil.Process(claimed.process.pid)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(5)
        connection.connect(("127.0.0.1", claimed.port))
        connection.sendall(_upgrade(claimed, "/ws/live/sky"))
        eventually(lambda: claimed.http.get("/api/health").json()["viewers"] == 1)
        before, sent, pings = server.memory_info().rss, 0, _frame(9, b"p" * 125) * 500
        with contextlib.suppress(OSError):
            while sent < 16 << 20:
                sent += connection.send(pings)
        assert server.memory_info().rss - before < 8 << 20
        eventually(lambda: claimed.http.get("/api/health").json()["viewers"] == 0)
    assert sent < 16 << 20


FLOODS = {"pings": _frame(9, b""), "messages": _frame(1, b"{"), "fragments": b"\x00\x80" + bytes(4), "bytes": b"\x00\x81" + bytes(5)}


@pytest.mark.parametrize("kind", FLOODS)
def test_whoever_sends_frames_without_end_is_told_so_and_holds_up_nobody(claimed: RunningStation, kind: str) -> None:
    with _connected(claimed) as connection:
        connection.sendall(_upgrade(claimed, "/ws/captures/"))
        assert _answer(connection)[0] == 101
        begun = b"\x01\x80" + bytes(4) if kind in ("fragments", "bytes") else FLOODS[kind]
        connection.sendall(begun + FLOODS[kind] * (FRAMES_AT_ONCE + 50))
        heard = b""
        with contextlib.suppress(ConnectionResetError):
            while more := connection.recv(65536):
                heard += more
        assert b"\x88\x12" + struct.pack("!H", 1008) + b"Too many frames." in heard
    assert "more than 20 frames a second" in (claimed.folder / "logs" / "cupola.log").read_text()


@pytest.mark.parametrize("answered", [True, False])
def test_the_parser_stops_at_the_first_frame_too_many_of_one_read(answered: bool) -> None:
    parser = Frugal(max_size=65536)
    key = base64.b64encode(os.urandom(16)).decode()
    lines = ("Host: x", "Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", "", "")
    parser.receive_data("\r\n".join(("GET / HTTP/1.1", *lines)).encode())
    (request,) = parser.events_received()
    assert isinstance(request, Request)
    if answered:
        parser.send_response(parser.accept(request))
    parser.receive_data(_frame(9, b"") * 43_000)
    assert FRAMES_AT_ONCE <= len(parser.events_received()) <= FRAMES_AT_ONCE + 20  # a second may pass on a busy machine
    assert isinstance(parser.parser_exc, TooManyFrames)
    assert (parser.close_sent is not None and parser.close_sent.code == 1008) if answered else parser.close_sent is None


def test_a_ping_of_a_viewer_who_reads_is_answered(claimed: RunningStation) -> None:
    with _connected(claimed) as connection:
        connection.sendall(_upgrade(claimed, "/ws/captures/"))
        assert _answer(connection)[0] == 101
        connection.sendall(_frame(9, b"still there?"))
        assert connection.recv(100) == bytes([0x8A, 12]) + b"still there?"
        connection.sendall(_frame(8, struct.pack("!H", 1000)))


def test_focusing_ends_with_control_of_the_camera(claimed: RunningStation) -> None:
    claimed.until(lambda camera: camera["state"] == "running", 60)
    claimed.open()
    with httpx.Client(base_url=claimed.url, timeout=30, trust_env=False) as anna:
        assert anna.post("/api/login", json={"user": "anna", "passphrase": ANNA}).status_code == 200
        assert anna.get("/api/cameras/sky/focus").status_code == 409, "not without control"
        epoch = anna.post("/api/control/sky/acquire").json()["epoch"]
        with anna.stream("GET", "/api/cameras/sky/focus", headers={"X-Control-Epoch": str(epoch)}) as stream:
            lines = stream.iter_lines()
            assert stream.status_code == 200 and "stars" in json.loads(next(lines))
            assert anna.post("/api/control/sky/renew", json={"epoch": epoch}).status_code == 200
            assert "stars" in json.loads(next(lines)), "it goes on as long as control does"
            taken = claimed.http.post("/api/control/sky/acquire").json()
            begun = time.monotonic()
            for _ in lines:
                pass
            assert time.monotonic() - begun < 5
        claimed.http.post("/api/control/sky/release", json={"epoch": taken["epoch"]})


FOREIGN = [
    "",
    "theme=dark; ",
    "broken; =; ==; ;; ",
    'quoted="a; b"; ',
    'json={"a":1,"b":[2]}; ',
    "umlaut=\xfc; ",
    "cupolax=1; x-cupola=2; Cupola=3; __Secure-cupola=4; ",
    "a=1; " * 200,
]


@pytest.mark.parametrize("foreign", FOREIGN)
def test_cookies_of_other_programs_on_this_host_log_nobody_out(claimed: RunningStation, foreign: str) -> None:
    secret = httpx.post(f"{claimed.url}/api/login", json={"user": "anna", "passphrase": ANNA}, trust_env=False).cookies["cupola"]
    for text in (f"{foreign}cupola={secret}", f"cupola={secret}; {foreign}".removesuffix("; ")):
        answer = httpx.get(f"{claimed.url}/api/me", headers=[(b"Cookie", text.encode("latin-1"))], trust_env=False)
        assert (answer.status_code, answer.json()["user"]) == (200, "anna"), text[:80]
    answer = httpx.get(f"{claimed.url}/api/me", headers=[(b"Cookie", f"{foreign}__Host-cupola={secret}".encode("latin-1"))], trust_env=False)
    assert answer.json()["user"] is None, "without TLS the cookie has the other name"


@pytest.mark.parametrize("name", ["anna\n", "\x00", "anna\x1b[2J", "a\r\nevent=forged", "\x7f", "x" * 65, "anna\x9b2J", "\u202enna", "a\u2028forged"])
def test_a_name_that_would_spoil_the_log_is_refused_and_not_logged(claimed: RunningStation, name: str) -> None:
    answer = httpx.post(f"{claimed.url}/api/login", json={"user": name, "passphrase": ANNA}, trust_env=False)
    assert (answer.status_code, answer.json()["field"]) == (400, "user")
    logged = Path(claimed.folder / "logs" / "cupola.log").read_text()
    assert "forged" not in logged and "\x1b" not in logged


@pytest.mark.parametrize("name", ["Anna", "äöü", "no body", "../etc", "'; DROP TABLE user; --", "x" * 64])
def test_any_other_name_is_a_wrong_login(claimed: RunningStation, name: str, request: pytest.FixtureRequest) -> None:
    answer = httpx.post(f"{claimed.url}/api/login", json={"user": name, "passphrase": "not a passphrase"}, trust_env=False)
    assert answer.status_code in (401, 429)
    assert claimed.http.get("/api/users").json()["items"][0]["name"] == "admin"
