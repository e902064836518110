"""Behind a reverse proxy, whose word about address and scheme counts only if it is named; and the one picture that may be public."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from tests.support.station import as_owner, eventually, free_port, station_at

from cupola.web.access.address import Addresses

PASSPHRASE = "clear sky over the dome"
BY_PROXY = {"X-Forwarded-For": "203.0.113.5, 198.51.100.7", "X-Forwarded-Proto": "https", "Host": "sky.example.org"}
CAMERA = "{{name: {0}, driver: simulator, simulator: {{width: 320, height: 240, sky_time: night, readout_s: 0}}, exposure: {{exposure_s: 0.05}}{1}}}"


@contextmanager
def _station(folder: Path, web: str) -> Iterator[httpx.Client]:
    """A claimed one, and a stranger to it."""
    port = free_port()
    (folder / "home").mkdir()
    cameras = f"[{CAMERA.format('sky', ', public_latest: true')}, {CAMERA.format('dome', '')}]"
    (folder / "cupola.yaml").write_text(
        f"cameras: {cameras}\nstorage: {{root: images, min_free_percent: 0, reserve_mb: 1}}\nlogging: {{folder: logs}}\nweb: {{port: {port}, {web}}}\n"
    )
    with station_at(folder, "--config", "cupola.yaml"), httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20, trust_env=False) as http:
        http.post("/api/claim", headers=as_owner(folder), json={"passphrase": PASSPHRASE}).raise_for_status()
        yield http


def _login(http: httpx.Client, headers: dict[str, str]) -> httpx.Response:
    return http.post("/api/login", headers=headers, json={"user": "admin", "passphrase": PASSPHRASE})


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, Path]]:
    folder = tmp_path_factory.mktemp("proxied")
    with _station(folder, "hosts: [sky.example.org], trusted_proxies: [127.0.0.1, 198.51.100.0/24]") as http:
        yield http, folder


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, Path]]:
    folder = tmp_path_factory.mktemp("alone")
    with _station(folder, "hosts: [sky.example.org]") as http:
        yield http, folder


def test_a_named_proxy_tells_address_and_encryption(proxied: tuple[httpx.Client, Path]) -> None:
    http, folder = proxied
    answer = _login(http, BY_PROXY)
    assert answer.headers["set-cookie"].startswith("__Host-cupola=") and "; Secure" in answer.headers["set-cookie"]
    assert answer.json()["plain_http"] is False and "strict-transport-security" in answer.headers
    session = next(row for row in http.get("/api/sessions", headers=as_owner(folder)).json()["items"] if row["id"] == answer.json()["session"])
    assert session["address"] == "203.0.113.5", "the nearest address that is no trusted proxy"
    secret = answer.headers["set-cookie"].partition("=")[2].partition(";")[0]
    assert http.get("/api/me", headers=BY_PROXY | {"Cookie": f"__Host-cupola={secret}"}).json()["user"] == "admin"
    assert http.get("/api/me", headers=BY_PROXY | {"Cookie": f"cupola={secret}"}).json()["user"] is None, "a cookie that a plain page could have set"


def test_over_a_named_proxy_nobody_is_the_owner(proxied: tuple[httpx.Client, Path]) -> None:
    http, folder = proxied
    for forwarded in (BY_PROXY, {"X-Forwarded-For": "127.0.0.1"}, {"Forwarded": "for=127.0.0.1"}, {"X-Forwarded-For": ""}):
        assert http.get("/api/cameras", headers=as_owner(folder) | forwarded).status_code == 401, forwarded
    assert http.get("/api/cameras", headers=as_owner(folder)).status_code == 200


def test_a_page_that_came_in_the_clear_is_another_site_where_the_station_is_encrypted(proxied: tuple[httpx.Client, Path]) -> None:
    http, _ = proxied
    for scheme, status in (("http", 403), ("https", 401)):
        assert http.post("/api/logout", headers=BY_PROXY | {"Origin": f"{scheme}://sky.example.org"}).status_code == status


def test_guessing_through_a_proxy_is_counted_by_the_guessers_address(proxied: tuple[httpx.Client, Path]) -> None:
    http, _ = proxied

    def guess(address: str) -> int:
        return http.post(
            "/api/login", headers=BY_PROXY | {"X-Forwarded-For": address}, json={"user": f"nobody-{address}", "passphrase": "x"}
        ).status_code

    assert [guess("203.0.113.66") for _ in range(6)] == [401] * 5 + [429]
    assert guess("203.0.113.67") == 401
    assert guess("203.0.113.68, 203.0.113.66") == 429, "what a client says in front of its proxy's word does not count"


def test_without_a_named_proxy_forwarded_headers_are_not_believed(alone: tuple[httpx.Client, Path]) -> None:
    http, folder = alone
    answer = _login(http, BY_PROXY)
    assert answer.headers["set-cookie"].startswith("cupola=") and "strict-transport-security" not in answer.headers
    assert answer.json()["plain_http"] is True, "somebody is between, and nobody knows who"
    session = next(row for row in http.get("/api/sessions", headers=as_owner(folder)).json()["items"] if row["id"] == answer.json()["session"])
    assert session["address"] == "127.0.0.1"
    tried = [
        http.post("/api/login", headers={"X-Forwarded-For": f"203.0.113.{n}"}, json={"user": f"nobody{n}", "passphrase": "x"}).status_code
        for n in range(6)
    ]
    assert tried == [401] * 5 + [429], "a new address each time does not give new tries"


def test_addresses_that_are_none_stop_at_the_last_one_that_is() -> None:
    addresses = Addresses([], ["10.0.0.0/8", "::1"])
    for peer, forwarded, expected in (
        ("10.0.0.2", "192.0.2.1", "192.0.2.1"),
        ("10.0.0.2", "192.0.2.1, 10.0.0.3", "192.0.2.1"),
        ("10.0.0.2", "nonsense, 192.0.2.9", "192.0.2.9"),
        ("10.0.0.2", "192.0.2.9, nonsense", "10.0.0.2"),
        ("10.0.0.2", "10.0.0.9, 10.0.0.3", "10.0.0.9"),
        ("::1", "[2001:db8::1]", "2001:db8::1"),
        ("::ffff:10.0.0.2", "192.0.2.1", "192.0.2.1"),
        ("192.0.2.50", "192.0.2.1", "192.0.2.50"),
        ("192.0.2.50", "10.0.0.2", "192.0.2.50"),
    ):
        found = addresses.client({"client": (peer, 1), "type": "http"}, {b"x-forwarded-for": forwarded})
        assert (found.address, found.local) == (expected, False), (peer, forwarded)


def test_only_the_camera_that_is_public_shows_its_newest_still_to_strangers(alone: tuple[httpx.Client, Path]) -> None:
    http, folder = alone
    owner = as_owner(folder)
    for camera in ("sky", "dome"):
        eventually(lambda camera=camera: http.get(f"/api/cameras/{camera}", headers=owner).json()["state"] == "running")
        assert http.post(f"/api/cameras/{camera}/snap", headers=owner, json={"exposure_s": 0.05}).status_code == 200
        eventually(lambda camera=camera: http.get(f"/api/cameras/{camera}/latest.jpg", headers=owner).status_code == 200)
    http.cookies.clear()
    assert http.get("/api/cameras/sky/latest.jpg").content.startswith(b"\xff\xd8")
    for path in ("dome/latest.jpg", "nowhere/latest.jpg", "sky/live.jpg", "sky/live.mjpg", "sky", "SKY/latest.jpg", "sky%2f..%2fdome/latest.jpg"):
        assert http.get(f"/api/cameras/{path}").status_code in (401, 404), path
        assert http.get(f"/api/cameras/{path}").content[:2] != b"\xff\xd8", path
    assert http.get("/api/captures/1/image").status_code == 401
    assert http.get("/api/health").json()["cameras"] is None
