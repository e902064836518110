"""Every refusal is a problem document that says what, where, and what to do; nothing a client sends is a failure of the server."""

from __future__ import annotations

import http.client
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import httpx
import pytest
from fastapi import FastAPI
from tests.support.station import RunningStation

from cupola.darkroom.queue import DarkroomUnavailable
from cupola.web import problems
from cupola.web.app import _Page  # pyright: ignore[reportPrivateUsage]


def _problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert {"type", "title", "status", "detail"} <= set(document)
    assert document["status"] == status and document["title"] and document["detail"]
    return document


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/nothing", "/nothing"),
        ("/api/nothing", "/api/nothing"),
        ("/api/cameras/nowhere", "Configured: sky"),
        ("/api/cameras/nowhere/live.jpg", "Configured: sky"),
        ("/api/cameras/nowhere/live.mjpg", "Configured: sky"),
        ("/api/cameras/nowhere/latest.jpg", "Configured: sky"),
        ("/api/captures?camera=nowhere", "Configured: sky"),
        ("/api/captures/987654321", "987654321"),
        ("/api/captures/987654321/image", "987654321"),
        ("/api/captures/987654321/thumb", "987654321"),
        ("/api/captures/987654321/raw", "987654321"),
        ("/..%2f..%2f..%2fetc/passwd", "etc/passwd"),
        ("/%00", "nothing at"),
    ],
)
def test_what_does_not_exist_is_named(station: RunningStation, path: str, named: str) -> None:
    assert named in _problem(station.http.get(path), 404)["detail"]


@pytest.mark.parametrize("action", ["connect", "disconnect", "stop", "snap", "start"])
def test_actions_on_an_unknown_camera_name_those_there_are(station: RunningStation, action: str) -> None:
    assert "Configured: sky" in _problem(station.http.post(f"/api/cameras/nowhere/{action}", json={}), 404)["detail"]


@pytest.mark.parametrize(("method", "path"), [("PUT", "/api/health"), ("DELETE", "/api/captures/1"), ("POST", "/")])
def test_a_method_an_address_does_not_have(station: RunningStation, method: str, path: str) -> None:
    _problem(station.http.request(method, path), 405)


@pytest.mark.parametrize("body", [b"{", b"\xff\xfe", b"[" * 60_000, b'{"exposure_s": 1,}', b"exposure_s=1"])
def test_a_body_that_is_not_json(station: RunningStation, body: bytes) -> None:
    _problem(station.http.post("/api/cameras/sky/start", content=body, headers={"Content-Type": "application/json"}), 400)
    assert station.camera()["session"] is None


@pytest.mark.parametrize("body", [b"[1]", b'"text"', b"7", b"true"])
def test_json_that_is_not_an_object(station: RunningStation, body: bytes) -> None:
    _problem(station.http.post("/api/cameras/sky/snap", content=body, headers={"Content-Type": "application/json"}), 400)


@pytest.mark.parametrize(
    ("method", "action", "body", "field"),
    [
        ("POST", "start", '{"exposure": 1}', "exposure"),
        ("POST", "snap", '{"gain": 1}', "gain"),
        ("PATCH", "settings", '{"iso": 100}', "iso"),
        ("POST", "start", '{"count": 0}', "count"),
        ("POST", "start", '{"count": 1.5}', "count"),
        ("POST", "start", '{"delay_s": -1}', "delay_s"),
        ("POST", "start", '{"interval_s": 1e99}', "interval_s"),
        ("POST", "start", '{"exposure_s": "long"}', "exposure_s"),
        ("POST", "start", '{"exposure_s": {}}', "exposure_s"),
        ("POST", "snap", '{"exposure_s": 0}', "exposure_s"),
        ("POST", "snap", '{"exposure_s": -1}', "exposure_s"),
        ("POST", "snap", '{"exposure_s": NaN}', "exposure_s"),
        ("POST", "snap", '{"exposure_s": Infinity}', "exposure_s"),
        ("PATCH", "settings", '{"mode": "both"}', "mode"),
        ("PATCH", "settings", '{"gain": 1e7}', "gain"),
        ("PATCH", "settings", '{"f_number": 0}', "f_number"),
    ],
)
def test_a_field_that_cannot_be_used_is_named(station: RunningStation, method: str, action: str, body: str, field: str) -> None:
    before = station.camera()["settings"]
    answer = station.http.request(method, f"/api/cameras/sky/{action}", content=body, headers={"Content-Type": "application/json"})
    document = _problem(answer, 400)
    assert document["field"] == field and field in document["detail"]
    assert station.camera()["session"] is None
    assert station.camera()["settings"]["still"]["generation"] == before["still"]["generation"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=1e99", "limit"),
        ("limit=-1", "limit"),
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        (f"limit={'9' * 5000}", "limit"),
        ("after=garbage", "after"),
        ("after=%00", "after"),
        ("after=W10", "after"),  # [] in base64
        ("after=WyJ4IiwgMV0", "after"),  # ["x", 1]
        (f"after={'A' * 300}", "after"),
        (f"camera={'x' * 300}", "camera"),
    ],
)
def test_a_query_that_cannot_be_used_is_named(station: RunningStation, query: str, field: str) -> None:
    assert _problem(station.http.get(f"/api/captures?{query}"), 400)["field"] == field


@pytest.mark.parametrize("age", ["-1", "inf", "nan", "61", "x"])
def test_an_age_no_picture_can_have(station: RunningStation, age: str) -> None:
    assert _problem(station.http.get(f"/api/cameras/sky/live.jpg?max_age_s={age}"), 400)["field"] == "max_age_s"


@pytest.mark.parametrize("number", ["0", "-1", "x", "1.5", str(2**70), "1%00"])
def test_an_id_no_image_can_have(station: RunningStation, number: str) -> None:
    assert _problem(station.http.get(f"/api/captures/{number}"), 400)["field"] == "number"


def test_a_body_over_64_kb_is_too_large_whether_announced_or_not(station: RunningStation) -> None:
    chunk = b"9c40\r\n" + b" " * 40_000 + b"\r\n"
    for header, value, sent in (("Content-Length", "66000", b""), ("Content-Length", "-1", b""), ("Transfer-Encoding", "chunked", 2 * chunk)):
        connection = http.client.HTTPConnection("127.0.0.1", station.port, timeout=10)
        try:
            connection.putrequest("POST", "/api/cameras/sky/snap")
            connection.putheader("Content-Type", "application/json")
            connection.putheader("Authorization", station.owner["Authorization"])
            connection.putheader(header, value)
            connection.endheaders(sent or None)
            answer = connection.getresponse()
            assert answer.status == (400 if value == "-1" else 413)
            if value != "-1":
                assert answer.headers["Content-Type"] == "application/problem+json"
                assert "65536 bytes" in answer.read().decode()
        finally:
            connection.close()
    fits = b'{"exposure_s": 0.05' + b" " * 60 * 1024 + b"}"
    assert station.http.post("/api/cameras/sky/snap", content=fits, headers={"Content-Type": "application/json"}).status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "http://127.0.0.1:1", "null", "http://localhost", "http://[broken"])
def test_a_page_of_another_site_cannot_control_the_camera(station: RunningStation, origin: str) -> None:
    answer = station.http.post("/api/cameras/sky/disconnect", headers={"Origin": origin})
    _problem(answer, 400 if "broken" in origin else 403)
    assert station.camera()["state"] == "running"


def test_the_browsers_own_word_for_another_site_is_enough(station: RunningStation) -> None:
    _problem(station.http.post("/api/cameras/sky/disconnect", headers={"Sec-Fetch-Site": "cross-site"}), 403)
    assert station.camera()["state"] == "running"


def test_our_own_page_may_control_the_camera(station: RunningStation) -> None:
    own = {"Origin": station.url, "Sec-Fetch-Site": "same-origin"}
    assert station.http.post("/api/cameras/sky/stop", headers=own).status_code == 200


@pytest.mark.parametrize("path", ["/ws/live/sky", "/ws/events", "/ws/captures/"])
@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Host": "evil.example"}])
async def test_a_socket_from_elsewhere_is_refused_before_it_opens(sockets: aiohttp.ClientSession, path: str, headers: dict[str, str]) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await sockets.ws_connect(path, headers=headers)
    assert refused.value.status == 403


async def test_a_socket_at_an_address_that_is_none_is_refused(sockets: aiohttp.ClientSession) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await sockets.ws_connect("/ws/nothing")
    assert refused.value.status in (403, 404)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "192.168.1.5", "localhost.evil.example", "127.0.0.1.evil.example"])
def test_another_host_name_is_not_answered(station: RunningStation, host: str) -> None:
    for path in ("/", "/api/health", "/api/captures"):
        _problem(station.http.get(path, headers={"Host": host}), 421)


@pytest.mark.parametrize(
    "twice", ["Host: {0}\r\nHost: evil.example", "Host: evil.example\r\nHost: {0}", "Host: {0}\r\nOrigin: x://y\r\nOrigin: http://{0}"]
)
def test_of_two_hosts_or_origins_none_is_believed(station: RunningStation, twice: str) -> None:
    with socket.create_connection(("127.0.0.1", station.port), timeout=10) as connection:
        connection.sendall(f"GET /api/health HTTP/1.1\r\n{twice.format(f'127.0.0.1:{station.port}')}\r\n\r\n".encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "[::1]"])
def test_names_of_this_machine_are_answered_with_any_port(station: RunningStation, host: str) -> None:
    for port in ("", ":8000"):
        assert station.http.get("/api/health", headers={"Host": host + port}).status_code == 200


@pytest.mark.parametrize("raw", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\r\n\r\n", b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n"])
def test_what_is_not_http_gets_an_error_and_harms_nobody(station: RunningStation, raw: bytes) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", station.port, timeout=10)
    connection.connect()
    try:
        connection.sock.sendall(raw)
        answer = connection.sock.recv(200)
        assert answer == b"" or answer.split()[1].startswith(b"4"), answer
    except ConnectionError:
        pass  # cut off in the middle of what it sent: as good
    finally:
        connection.close()
    assert station.http.get("/api/health").status_code == 200


@pytest.mark.parametrize(("retry_in_s", "header"), [(3.2, "4"), (0.0, "1"), (None, None)])
async def test_a_darkroom_that_is_down_says_when_to_ask_again(retry_in_s: float | None, header: str | None) -> None:
    app = FastAPI()
    problems.install(app, SimpleNamespace)  # pyright: ignore[reportArgumentType]

    @app.get("/thumb")
    async def thumb() -> None:
        raise DarkroomUnavailable("The darkroom is being restarted.", retry_in_s)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        answer = await client.get("/thumb")
    assert _problem(answer, 503)["detail"] == "The darkroom is being restarted."
    assert answer.headers.get("retry-after") == header


@pytest.mark.parametrize(("method", "status"), [("GET", 404), ("PUT", 405)])
async def test_where_the_page_is_not_built_an_address_that_is_none_is_no_failure(tmp_path: Path, method: str, status: int) -> None:
    app = FastAPI()
    app.mount("/", _Page(tmp_path / "not built"))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        assert (await client.request(method, "/api/nothing")).status_code == status
