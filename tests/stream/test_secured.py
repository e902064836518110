"""A publisher and the check from outside, with a Redis that has TLS and the users that lie in deploy/."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from redis import Redis
from tests.support.light_station import LightStation
from tests.support.live_packets import again_and_again, jpegs, publish
from tests.support.receiving import Stored, receiving
from tests.support.redis_server import RedisServer
from tests.support.redis_station import PublishedStation
from tests.support.station import eventually

from cupola.config.load import from_text
from cupola.config.model import Settings, Tls
from cupola.stream import frames
from cupola.stream.check import check_redis
from cupola.stream.format import frames_key, key
from cupola.web.tls import certificate_for

DEPLOY = Path(__file__).parents[2] / "deploy" / "redis"


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    folder = tmp_path_factory.mktemp("secured")
    (folder / "users.acl").write_text((DEPLOY / "users.acl").read_text().replace("REPLACE-", "secret-of-"))
    made = certificate_for(Tls(mode="self_signed"), folder, ["127.0.0.1"])
    assert made is not None
    with RedisServer(
        folder, [f"aclfile {folder / 'users.acl'}"], tls=(made.certificate, made.key), user="admin", password="secret-of-admin"
    ) as server:
        yield server


def url_of(server: RedisServer, user: str, password: str | None = None) -> str:
    return server.url_of(user, password or f"secret-of-{user}").partition("?")[0]


def settings_of(folder: Path, url: str, more: str = "") -> Settings:
    text = f"station: {{name: roof}}\nstorage: {{root: images}}\ncameras: [{{name: sky, driver: simulator}}]\nredis: {{url: '{url}', {more}}}\n"
    return from_text(text, "cupola.yaml", folder)


def findings(settings: Settings) -> list[str]:
    return [f"{one.level}: {one.message} {one.fix}" for one in asyncio.run(check_redis(settings))]


def ca_of(server: RedisServer) -> str:
    return str(server.folder / "certificate.pem")


async def test_a_station_with_its_own_user_publishes_by_tls(secured: RedisServer, tmp_path: Path) -> None:
    async with LightStation(tmp_path, url_of(secured, "roof"), "roof", ca=ca_of(secured)) as station:
        station.event(1)
        name = await station.still(1_500_000)
        station.packet(1, b"\xff\xd8\xff\xd9")
        client = secured.client()
        look = lambda: (client.xlen(key("roof", "log")), client.xlen(key("roof", "images")))  # noqa: E731
        await asyncio.to_thread(eventually, lambda: look() == (2, 2), 120)
        client.xgroup_create(key("roof", "images"), "archive", "0")
        ids = [id_ for _, entries in client.xreadgroup("archive", "one", {key("roof", "images"): ">"}) for id_, _ in entries]
        client.xack(key("roof", "images"), "archive", *ids)
        await asyncio.to_thread(eventually, lambda: look() == (2, 0), 120)
        await asyncio.to_thread(eventually, lambda: station.publisher.state == "connected", 60)
        station.packet(2, b"\xff\xd8\xff\xd9")
        await asyncio.to_thread(eventually, lambda: station.publisher.live.counts["sky"]["delivered"], 60)
        assert (station.publisher.problem, station.publisher.live_problem) == (None, None)
        assert name.startswith("sky/")


def test_a_receiver_and_a_viewer_get_it_all_by_tls_with_their_own_users(secured: RedisServer, tmp_path: Path) -> None:
    dome = PublishedStation("dome")
    dome.still(b"x" * 1_500_000)
    dome.event()
    dome.send(Redis.from_url(secured.url_of("dome", "secret-of-dome")))
    publish(secured, jpegs([1]), frames_key("dome", "sky"))
    with receiving(secured.url_of("archive", "secret-of-archive"), tmp_path, stations=["dome"], frames_every_s=0.0) as work:
        work.until(stills=1, events=1, frames=1)
        assert work.receiver.problems() == {}
    assert Stored(tmp_path / "dome").listed == dome.files
    with receiving(url_of(secured, "archive"), tmp_path, stations=["dome"]) as work:  # without the authority
        work.until_told("certificate", "error")
    watching = frames(secured.url_of("viewer", "secret-of-viewer"), station="dome", camera="sky")
    with closing(watching), again_and_again(lambda: publish(secured, jpegs([2]), frames_key("dome", "sky"))):
        assert next(watching).array.shape == (48, 64, 3)


async def test_a_station_that_may_only_write_another_name_is_told_so(secured: RedisServer, tmp_path: Path) -> None:
    async with LightStation(tmp_path, url_of(secured, "dome"), "roof", ca=ca_of(secured)) as station:
        await asyncio.to_thread(eventually, lambda: station.publisher.problem, 120)
        assert "does not allow this station" in str(station.publisher.problem)


def test_the_check_finds_nothing_where_nothing_is_wrong(secured: RedisServer, tmp_path: Path) -> None:
    assert findings(settings_of(tmp_path, url_of(secured, "roof"), f"ca: '{ca_of(secured)}', live: [sky]")) == []
    assert findings(settings_of(tmp_path, url_of(secured, "admin"), f"ca: '{ca_of(secured)}', live: [sky]")) == []
    assert secured.client().exists(key("roof", "status") + "x") == 0


@pytest.mark.parametrize(
    ("user", "password", "ca", "said"),
    [
        ("roof", "wrong", True, "refuses the user or the password"),
        ("roof", None, False, "certificate"),
        ("dome", None, True, "does not let this station"),
    ],
)
def test_the_check_says_what_is_wrong_and_what_to_do(
    secured: RedisServer, tmp_path: Path, user: str, password: str | None, ca: bool, said: str
) -> None:
    found = findings(settings_of(tmp_path, url_of(secured, user, password), f"ca: '{ca_of(secured)}'" if ca else ""))
    assert found and said in found[0] and found[0].startswith("error")
    assert not any("secret-of" in one for one in found)


def test_the_check_says_that_nobody_answers_and_that_records_would_be_thrown_away(tmp_path: Path) -> None:
    assert ["cannot be reached" in one for one in findings(settings_of(tmp_path, "redis://127.0.0.1:1/0"))] == [True]
    with RedisServer(tmp_path / "redis", ["maxmemory-policy allkeys-lru", "appendfsync everysec"]) as server:
        found = findings(settings_of(tmp_path, server.url))
    assert ["maxmemory-policy" in found[0], "appendfsync" in found[1]] == [True, True]


def test_no_redis_no_finding(tmp_path: Path) -> None:
    assert asyncio.run(check_redis(from_text("cameras: []\n", "cupola.yaml", tmp_path))) == []
