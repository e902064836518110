"""What other machines send is not trusted: names that lead elsewhere, records that are not as agreed, parts that are gone or another file's."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from tests.support.receiving import SOON_S, Stored, pending, receiving
from tests.support.redis_server import RedisServer
from tests.support.redis_station import PublishedStation
from tests.support.station import eventually

DICE = random.Random(9)


def part(**changed: Any) -> dict[str, Any]:
    """A still of one record, whose fields are as agreed but for what is given; None: without that one."""
    roof = PublishedStation("roof")
    roof.still(b"x" * 100)
    return {name: value for name, value in (roof.records("images")[0] | changed).items() if value is not None}


ATTACKS = [
    "../../../etc/cron.d/x.jpg",
    "/etc/cron.d/x.jpg",
    "sky/2026/11/21/jpg/../../../../../x.jpg",
    "sky/2026/11/21/jpg/x\0.jpg",
    "sky/2026/11/21/jpg/x\n.jpg",
    "sky\\2026\\11\\21\\jpg\\x.jpg",
    "sky/2026/11/21/jpg/.hidden.jpg",
    "sky/2026/11/21/jpg/x.jpg.exe",
    "sky/2026/11/21/jpg/x.jpg/",
    "sky/2026/11/21/jpg//x.jpg",
    "sky/2026/02/31/jpg/x.jpg",
    "sky/2026/11/21/raw/x.jpg",
    ".cupola/2026/11/21/jpg/x.jpg",
    "yard/2026/11/21/jpg/x.jpg",  # another camera's than it says
    f"sky/2026/11/21/jpg/{'x' * 300}.jpg",
    "sky/2026/11/21/jpg/\u2025.jpg",
    "",
]
BROKEN: list[tuple[dict[str, Any], str]] = [
    ({"data": None}, "data"),
    ({"name": b"\xff\xfe"}, "name"),
    ({"kind": "raw"}, "kind"),
    ({"size": 10**15}, "size"),
    ({"parts": 2}, "parts"),
    ({"part": 1}, "part"),
    ({"part": -1}, "part"),
    ({"sha256": "0" * 64}, "sha256"),
    ({"sha256": "0" * 63}, "sha256"),
    ({"meta": None}, "meta"),
    ({"meta": "{}"}, "meta"),
    ({"meta": "[" * 10_000}, "meta"),
    ({"meta": json.dumps({"sequence": "1"})}, "meta"),
    ({"media_type": "text/html"}, "media_type"),
    ({"data": b"x" * 1_000_001}, "data"),
]


def test_records_that_are_not_as_agreed_are_set_aside_told_and_hold_nothing_up(redis: RedisServer, into: Path) -> None:
    roof = PublishedStation("roof")
    before = set(into.parent.rglob("*"))
    for name in ATTACKS:
        roof.record("images", part(name=name))
    for changed, _ in BROKEN:
        roof.record("images", part(**changed))
    for text in ("{}", "no JSON", '{"kind": "x", "at": "yesterday"}', '{"kind": "../x", "at": "2026-11-21T00:00:00Z"}', b"\xff\xfe{\0}\0"):
        roof.record("log", {"event": text})
    roof.record("log", {"something": "else"})
    roof.record("log", {"event": json.dumps({"kind": "x", "at": "2026-11-21T00:00:00Z", "text": "x" * 1_000_000})})
    roof.still(b"the good one behind")
    roof.event()
    roof.send(redis.client())
    with receiving(redis.url, into) as work:
        work.until(stills=1, events=1)
        eventually(lambda: pending(redis) == 0, SOON_S)
        work.until_told("The record is kept as", "warning")
    stored = Stored(into / "roof")
    assert stored.files == roof.files and stored.events == roof.events
    assert len(stored.set_aside) == len(ATTACKS) + len(BROKEN) + 7 == work.total["set_aside"]
    images = sorted((one for one in stored.set_aside if one["stream"].endswith("images")), key=lambda one: int(one["id"].split("-")[1]))
    fields = ["name"] * len(ATTACKS) + [field for _, field in BROKEN]
    assert [field for one, field in zip(images, fields, strict=True) if f": field {field} " not in one["why"]] == []
    new = set(into.parent.rglob("*")) - before
    assert all(path.is_relative_to(into) for path in new)


def test_a_link_in_the_archive_leads_nothing_out_of_it(redis: RedisServer, into: Path, tmp_path: Path) -> None:
    (into / "roof").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (into / "roof" / "sky").symlink_to(tmp_path / "outside")
    roof = PublishedStation("roof")
    roof.still(b"a picture")
    roof.send(redis.client())
    with receiving(redis.url, into) as work:
        work.until_told("leads out of", "error")
        assert pending(redis) == 1 and not list((tmp_path / "outside").iterdir())
        (into / "roof" / "sky").unlink()
        work.until(stills=1)
    assert Stored(into / "roof").listed == roof.files


def test_a_clip_whose_parts_are_gone_or_anothers_is_set_aside(redis: RedisServer, into: Path) -> None:
    roof = PublishedStation("roof")
    roof.clip(DICE.randbytes(2_500_000))
    roof.clip(DICE.randbytes(2_500_000))
    mixed = roof.records("images")
    mixed[4] = mixed[1]
    broken = PublishedStation("roof")
    for fields in mixed:
        broken.record("images", fields)
    broken.still(b"the good one behind")
    client = redis.client()
    broken.send(client)
    client.xdel("cupola:{roof}:images", "1-2")
    with receiving(redis.url, into) as work:
        work.until(stills=1, set_aside=2)
        eventually(lambda: pending(redis) == 0, SOON_S)
    why = [record["why"] for record in Stored(into / "roof").set_aside]
    assert "part 1 is not in the stream" in why[0] and "part 1 is another file's" in why[1]
    assert Stored(into / "roof").arriving == []


def test_a_station_that_puts_something_else_in_place_of_its_streams_holds_up_no_other(redis: RedisServer, into: Path) -> None:
    client = redis.client()
    client.hset("cupola:{evil}:log", "event", "{}")
    client.set("cupola:{evil}:images", "x")
    roof = PublishedStation("roof")
    roof.still(b"a picture")
    roof.event()
    roof.send(client)
    with receiving(redis.url, into) as work:
        work.until(stills=1, events=1)
        work.until_told("WRONGTYPE", "error")
        client.delete("cupola:{roof}:log")
        client.set("cupola:{roof}:log", "it, too, while it is read")
        roof.still(b"another picture")
        roof.send_stream(client, "images")
        work.until(stills=2)
        eventually(lambda: work.receiver.problems().keys() == {"evil", "roof"}, SOON_S)
    assert Stored(into / "roof").listed == roof.files


def test_a_redis_that_is_full_is_emptied_all_the_same(redis: RedisServer, into: Path) -> None:
    client = redis.client()
    roof, late = PublishedStation("roof"), PublishedStation("late")
    with receiving(redis.url, into) as work:
        roof.still(b"there is room")
        roof.send(client)
        work.until(stills=1)
        for _ in range(20):
            roof.still(DICE.randbytes(100_000))
        roof.event()
        late.event()
        roof.send(client)
        late.send_stream(client, "log")
        client.config_set("maxmemory", 1)
        try:
            work.until(stills=21, events=1)
            eventually(lambda: work.receiver.problems().keys() <= {"late"}, SOON_S)
        finally:
            client.config_set("maxmemory", 0)
    assert Stored(into / "roof").listed == roof.files
