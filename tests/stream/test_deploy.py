"""What lies in deploy/ for a Redis, as it lies there: a real Redis started with these files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError
from tests.support.live_packets import again_and_again, jpegs
from tests.support.receiving import SOON_S, Stored, receiving
from tests.support.redis_server import RedisServer
from tests.support.redis_station import PublishedStation
from tests.support.station import eventually

from cupola.stream import frames
from cupola.stream.format import frames_key, pack_frame

DEPLOY = Path(__file__).parents[2] / "deploy"
USERS = ("admin", "roof", "dome", "archive", "viewer")


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    folder = tmp_path_factory.mktemp("deployed")
    text = (DEPLOY / "redis" / "users.acl").read_text()
    for user in USERS:
        assert text.count(f"REPLACE-{user} ") == 1
        text = text.replace(f"REPLACE-{user}", f"secret-of-{user}")
    (folder / "users.acl").write_text(text)
    own = [f"aclfile {folder / 'users.acl'}", f"dir {folder}"]
    with RedisServer(folder, own, include=DEPLOY / "redis" / "redis.conf", user="admin", password="secret-of-admin") as server:
        yield server


def as_user(deployed: RedisServer, user: str) -> Redis:
    return Redis.from_url(deployed.url_of(user, f"secret-of-{user}"))


def test_it_keeps_what_it_answered_and_refuses_rather_than_forget(deployed: RedisServer) -> None:
    wanted = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction", "aof-load-truncated": "yes", "protected-mode": "yes"}
    admin: Any = deployed.client()
    assert {name: admin.config_get(name)[name] for name in wanted} == wanted
    assert int(admin.config_get("maxmemory")["maxmemory"]) > 0
    with pytest.raises(AuthenticationError):
        Redis.from_url(deployed.url_of(None, None)).ping()


def test_stations_publish_a_receiver_stores_and_a_viewer_looks(deployed: RedisServer, tmp_path: Path) -> None:
    made = [PublishedStation("roof"), PublishedStation("dome")]
    for station in made:
        station.still(b"x" * 1_500_000)
        station.event()
        station.send(as_user(deployed, station.name))
    with receiving(deployed.url_of("archive", "secret-of-archive"), tmp_path, claim_after_s=0.5) as work:
        work.until(stills=2, events=2)
    assert all(Stored(tmp_path / station.name).listed == station.files for station in made)
    assert [message for level, message, _ in work.told if level != "info"] == []

    watching = frames(deployed.url_of("viewer", "secret-of-viewer"), station="roof", camera="sky")
    station, fields = as_user(deployed, "roof"), pack_frame(jpegs([2])[0])
    with closing(watching), again_and_again(lambda: station.xadd(frames_key("roof", "sky"), fields, maxlen=10)):  # type: ignore[arg-type]
        assert next(watching).array.shape == (48, 64, 3)


MAY_NOT: list[tuple[str, str, Callable[[Any], Any]]] = [
    ("roof", "read another's stills", lambda redis: redis.xrange("cupola:{dome}:images")),
    ("roof", "look at another's stream", lambda redis: redis.xinfo_stream("cupola:{dome}:images")),
    ("roof", "forge another's events", lambda redis: redis.xadd("cupola:{dome}:log", {"event": "{}"})),
    ("roof", "forge another's live frames", lambda redis: redis.xadd("cupola:{dome}:sky:frames", {"x": "y"})),
    ("roof", "cut another's stream", lambda redis: redis.xtrim("cupola:{dome}:log", maxlen=0)),
    ("roof", "write another's status", lambda redis: redis.hset("cupola:{dome}:status", "document", "{}")),
    ("roof", "reach another by a script", lambda redis: redis.evalsha(redis.script_load("return redis.call('GET', 'x')"), 1, "cupola:{dome}:log")),
    ("roof", "read as a receiver", lambda redis: redis.xreadgroup("archive", "me", {"cupola:{roof}:log": ">"})),
    ("roof", "acknowledge for receivers", lambda redis: redis.xack("cupola:{roof}:log", "archive", "1-1")),
    ("roof", "delete its stream", lambda redis: redis.delete("cupola:{roof}:log")),
    ("roof", "list all keys", lambda redis: redis.keys("*")),
    ("roof", "empty the database", lambda redis: redis.flushall()),
    ("archive", "forge a station's events", lambda redis: redis.xadd("cupola:{roof}:log", {"event": "{}"})),
    ("archive", "delete records", lambda redis: redis.xdel("cupola:{roof}:images", "1-1")),
    ("archive", "cut a stream", lambda redis: redis.xtrim("cupola:{roof}:images", maxlen=0)),
    ("archive", "change the configuration", lambda redis: redis.config_set("maxmemory", 0)),
    ("viewer", "read stills", lambda redis: redis.xread({"cupola:{roof}:images": 0})),
    ("viewer", "read events", lambda redis: redis.xread({"cupola:{roof}:log": 0})),
    ("viewer", "write", lambda redis: redis.xadd("cupola:{roof}:sky:frames", {"x": "y"})),
]


@pytest.mark.parametrize(("user", "what", "attempt"), MAY_NOT, ids=[f"{user} may not {what}" for user, what, _ in MAY_NOT])
def test_who_steals_one_password_gets_no_further(deployed: RedisServer, user: str, what: str, attempt: Callable[[Any], Any]) -> None:
    client = as_user(deployed, user)
    client.ping()
    with pytest.raises(NoPermissionError):
        attempt(client)


def test_a_station_that_may_not_be_read_is_told_and_the_others_are_received(deployed: RedisServer, tmp_path: Path) -> None:
    deployed.client().flushall()
    made = [PublishedStation("roof"), PublishedStation("dome")]
    for station in made:
        station.event()
        station.send(as_user(deployed, station.name))
    deployed.client().execute_command(
        "ACL SETUSER half on >secret-of-half ~cupola:{roof}:* -@all +ping +client +scan +xgroup|create +xreadgroup +xack +xautoclaim +xclaim +xrange"
    )
    with receiving(deployed.url_of("half", "secret-of-half"), tmp_path) as work:
        work.until(events=1)
        eventually(lambda: any(station == "dome" and level == "error" for level, _, station in work.told), SOON_S)
        assert work.receiver.problems().keys() == {"dome"}
    assert Stored(tmp_path / "roof").events == made[0].events
