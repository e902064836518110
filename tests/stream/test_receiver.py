"""What a receiver stores, and what it does when something is not as it should be. Redis is Debian's."""

from __future__ import annotations

import json
import os
import random
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.support.ext4 import Disk, missing_feature
from tests.support.receiving import SOON_S, Receiving, Stored, receiving
from tests.support.redis_server import RedisServer
from tests.support.redis_station import PublishedStation
from tests.support.station import eventually

from cupola.storage.catalogue import Catalogue

DICE = random.Random(8)
GROUP = "archive"


def pending(redis: RedisServer, station: str = "roof") -> int:
    client = redis.client()
    return sum(client.xpending(f"cupola:{{{station}}}:{stream}", GROUP)["pending"] for stream in ("log", "images"))


def complete(into: Path, station: PublishedStation) -> bool:
    stored = Stored(into / station.name)
    return stored.listed == station.files and stored.events == station.events


def test_stills_clips_and_events_lie_as_at_the_station_and_are_listed(redis: RedisServer, into: Path) -> None:
    roof = PublishedStation("roof")
    for _ in range(3):
        roof.still(DICE.randbytes(30_000))
        roof.event()
    roof.clip(DICE.randbytes(3_500_000))
    with receiving(redis.url, into) as work:
        roof.send(redis.client())
        work.until(stills=3, clips=1, events=3)
        eventually(lambda: pending(redis) == 0, SOON_S)
    stored = Stored(into / "roof")
    assert stored.files == roof.files == stored.listed
    assert stored.events == roof.events
    assert stored.arriving == []
    assert work.total["again"] == work.total["set_aside"] == work.total["gone"] == 0
    with Catalogue(into / "roof" / ".cupola" / "catalogue.sqlite") as catalogue:
        images, _ = catalogue.images()
        assert [(image.camera, image.sequence, image.developed, image.temperature_c) for image in images] == [
            ("sky", n, True, 4.5) for n in (3, 2, 1)
        ]
        clip = catalogue.read("SELECT * FROM clip")[0]
        assert (clip["label"], clip["state"], clip["frames"], clip["bytes"]) == ("door", "saved", 450, 3_500_000)
        assert catalogue.integrity_check() == []


def test_what_was_published_before_and_stations_that_come_later_are_received(redis: RedisServer, into: Path) -> None:
    roof, dome = PublishedStation("roof"), PublishedStation("dome")
    for station in (roof, dome):
        station.still(b"a picture")
        station.event()
    roof.send(redis.client())
    with receiving(redis.url, into) as work:
        work.until(stills=1, events=1)
        dome.send(redis.client())
        work.until(stills=2, events=2)
    assert complete(into, roof) and complete(into, dome)


def test_only_the_stations_and_cameras_that_were_named_are_stored_and_nothing_is_kept_from_others(redis: RedisServer, into: Path) -> None:
    roof, dome = PublishedStation("roof"), PublishedStation("dome")
    roof.still(b"the sky")
    roof.camera = "yard"
    roof.still(b"the yard")
    dome.still(b"elsewhere")
    for station in (roof, dome):
        station.send(redis.client())
    with receiving(redis.url, into / "yard", stations=["roof"], cameras=["yard"]) as work:
        work.until(stills=1)
        eventually(lambda: redis.client().xpending("cupola:{roof}:images", "archive:yard")["pending"] == 0, SOON_S)
    assert [name.split("/")[0] for name in Stored(into / "yard" / "roof").files] == ["yard"]
    assert not (into / "yard" / "dome").exists()
    with receiving(redis.url, into / "all") as work:  # another group
        work.until(stills=3)
    assert Stored(into / "all" / "roof").files == roof.files


def test_a_restart_stores_nothing_twice_and_takes_its_own_pending_records_first(redis: RedisServer, into: Path) -> None:
    roof = PublishedStation("roof")
    for _ in range(5):
        roof.still(b"picture %d" % roof.number)
        roof.event()
    roof.send(redis.client())
    with receiving(redis.url, into) as work:
        work.until(stills=5, events=5)
        name = work.receiver.slot.consumer
    roof.still(b"handed out, and the answer never came")
    roof.event()
    roof.send(redis.client())
    for stream in ("log", "images"):
        assert redis.client().xreadgroup(GROUP, name, {f"cupola:{{roof}}:{stream}": ">"})
    with receiving(redis.url, into) as work:
        assert work.receiver.slot.consumer == name
        work.until(stills=1, events=1)
        eventually(lambda: pending(redis) == 0, SOON_S)
    assert complete(into, roof) and work.total["again"] == 0


def test_two_receivers_share_the_work_in_one_folder_and_in_two(redis: RedisServer, into: Path, tmp_path: Path) -> None:
    roof = PublishedStation("roof")
    with (
        receiving(redis.url, into) as one,
        receiving(redis.url, into) as two,
        receiving(redis.url, tmp_path / "elsewhere") as three,
    ):
        names = {work.receiver.slot.consumer for work in (one, two, three)}
        assert len(names) == 3

        def all_have_some() -> bool:
            for _ in range(10):
                roof.still(DICE.randbytes(20_000))
                roof.event()
            roof.send(redis.client())
            return all(work.total["stills"] and work.total["events"] for work in (one, two, three))

        eventually(all_have_some, SOON_S)
        eventually(lambda: sum(work.total["stills"] for work in (one, two, three)) == len(roof.files), SOON_S)
        eventually(lambda: sum(work.total["events"] for work in (one, two, three)) == len(roof.events), SOON_S)
    here, there = Stored(into / "roof"), Stored(tmp_path / "elsewhere" / "roof")
    assert not here.files.keys() & there.files.keys()
    assert here.files | there.files == roof.files and here.listed == here.files and there.listed == there.files
    assert sorted(here.numbers + there.numbers) == list(range(len(roof.events)))
    assert here.numbers == sorted(here.numbers)


def test_what_a_dead_receiver_was_handed_is_taken_over(redis: RedisServer, into: Path) -> None:
    roof = PublishedStation("roof")
    roof.clip(DICE.randbytes(2_500_000))
    roof.still(b"a picture")
    roof.event()
    roof.send(redis.client())
    client = redis.client()
    for stream in ("log", "images"):
        client.xgroup_create(f"cupola:{{roof}}:{stream}", GROUP, id="0")
        entries: Any = client.xreadgroup(GROUP, "dead", {f"cupola:{{roof}}:{stream}": ">"})
        if stream == "images":  # it had acknowledged the parts before the last, as it does
            client.xack("cupola:{roof}:images", GROUP, *(id_ for id_, raw in entries[0][1] if raw[b"part"] != b"%d" % (int(raw[b"parts"]) - 1)))
    with receiving(redis.url, into, claim_after_s=0.3) as work:
        work.until(stills=1, clips=1, events=1)
        eventually(lambda: pending(redis) == 0, SOON_S)
        assert work.total["taken_over"] == 3
    assert complete(into, roof)


def test_a_stream_deleted_behind_our_back_is_told_and_comes_again_once(redis: RedisServer, into: Path) -> None:
    roof = PublishedStation("roof")
    for _ in range(3):
        roof.still(b"picture %d" % roof.number)
        roof.event()
    roof.send(redis.client())
    with receiving(redis.url, into) as work:
        work.until(stills=3, events=3)
        redis.client().delete("cupola:{roof}:images", "cupola:{roof}:log")
        work.until_told("was deleted from Redis", "warning")
        roof.still(b"one more")
        roof.event()
        roof.send(redis.client())
        work.until(stills=4, events=4, again=6)
        redis.client().xgroup_destroy("cupola:{roof}:images", GROUP)
        work.until(again=10)
    assert complete(into, roof)
    assert work.total["gone"] == work.total["set_aside"] == 0


def test_a_station_restored_from_a_backup_is_told_and_loses_no_picture(redis: RedisServer, into: Path) -> None:
    roof = PublishedStation("roof")
    for number in range(4):
        roof.still(b"before %d" % number)
        roof.event()
    roof.send(redis.client())
    with receiving(redis.url, into) as work:
        work.until(stills=4, events=4)
        roof.restored(stills=2)
        for number in range(3):  # numbers 3, 4, 5 once more, at other times: other names
            data = b"after %d" % number
            roof.number += 1
            at = f"20261122T01000{number}Z_{roof.number:06d}"
            meta = {
                "sequence": roof.number,
                "opened_at": f"2026-11-22T01:00:0{number}Z",
                "ended_at": None,
                "clock_synced": True,
                "day": "2026-11-21",
                "id": 9,
            }
            meta |= dict.fromkeys(("exposure_s", "gain", "f_number", "temperature_c", "width", "height"))
            roof.file("still", f"sky/2026/11/21/jpg/{at}.jpg", data, meta)
            roof.event()
        roof.send(redis.client())
        work.until(stills=7, events=7)
    assert work.heard("begins incarnation 2 of images (it was 1)") and work.heard("begins incarnation 2 of log")
    assert complete(into, roof)
    numbers = [row["sequence"] for row in Stored(into / "roof").query("SELECT sequence FROM image ORDER BY id")]
    assert numbers == [1, 2, 3, 4, 5, 6, 7]


def test_a_picture_developed_again_replaces_the_old_one_and_never_the_other_way_round(redis: RedisServer, into: Path) -> None:
    roof = PublishedStation("roof")
    roof.still(b"first")
    name = next(iter(roof.files))
    meta = json.loads(str(roof.records("images")[0]["meta"]))
    roof.file("still", name, b"second", meta)
    client = redis.client()
    client.xgroup_create("cupola:{roof}:images", GROUP, id="0", mkstream=True)
    roof.send(client)
    client.xreadgroup(GROUP, "dead", {"cupola:{roof}:images": ">"}, count=1)
    with receiving(redis.url, into, claim_after_s=0.5) as work:
        work.until(stills=2)
    stored = Stored(into / "roof")
    assert stored.listed == stored.files == roof.files
    assert (into / "roof" / name).read_bytes() == b"second"


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
    assert complete(into, roof)


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


def test_a_record_deleted_while_it_was_pending_is_counted_as_gone(redis: RedisServer, into: Path) -> None:
    roof = PublishedStation("roof")
    roof.still(b"never stored")
    roof.still(b"stored")
    client = redis.client()
    roof.send(client)
    with receiving(redis.url, into) as work:
        work.until(stills=2)
        name = work.receiver.slot.consumer
    roof.still(b"deleted")
    roof.send(client)
    client.xreadgroup(GROUP, name, {"cupola:{roof}:images": ">"})
    client.xdel("cupola:{roof}:images", "1-3")
    with receiving(redis.url, into) as work:
        work.until(gone=1)
        work.until_told("Record 1-3 of images was deleted from Redis before any receiver had stored it", "error")
        eventually(lambda: pending(redis) == 0, SOON_S)


def test_a_redis_that_dies_is_told_once_and_nothing_is_lost(tmp_path: Path, into: Path) -> None:
    roof = PublishedStation("roof")
    with RedisServer(tmp_path / "redis") as redis, receiving(redis.url, into) as work:
        for round_ in range(3):
            for _ in range(10):
                roof.still(DICE.randbytes(5_000))
                roof.event()
            roof.send(redis.client())
            work.until(events=10 * round_ + 5)
            redis.kill()
            work.until_told("cannot be reached")
            redis.start()
            eventually(lambda: complete(into, roof), SOON_S)
            work.until_told("answers again")
            work.told.clear()


def test_a_wrong_password_is_told_without_it_and_mended_while_it_runs(tmp_path: Path, into: Path) -> None:
    roof = PublishedStation("roof")
    roof.still(b"a picture")
    with RedisServer(tmp_path / "redis") as redis:
        roof.send(redis.client())
        redis.client().execute_command("ACL SETUSER archive on >right ~* +@all")
        redis.client().execute_command("ACL SETUSER default off")
        url = redis.url_of("archive", "wr0ng-Secret")
        with receiving(url, into) as work:
            work.until_told("refuses", "error")
            redis.user, redis.password = "archive", "right"
            redis.client().execute_command("ACL SETUSER archive >wr0ng-Secret")
            work.until(stills=1)
            assert not any("wr0ng-Secret" in message for _, message, _ in work.told)


@pytest.mark.skipif(missing_feature() is not None, reason=str(missing_feature()))
def test_a_full_disk_stops_acknowledging_is_told_and_goes_on_by_itself(redis: RedisServer, tmp_path: Path) -> None:
    roof = PublishedStation("roof")
    with Disk(tmp_path, 24).mounted() as disk:
        ballast = disk / "ballast"
        with receiving(redis.url, disk / "archive") as work:
            roof.still(b"there is room")
            roof.event()
            roof.send(redis.client())
            work.until(stills=1, events=1)
            with ballast.open("wb") as file:
                file.write(bytes(os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize - 700_000))
                file.flush()
                os.fsync(file.fileno())
            for _ in range(6):
                roof.still(DICE.randbytes(400_000))
                roof.event()
            roof.send(redis.client())
            work.until_told("free", "error")
            assert work.receiver.problems().keys() == {"roof"}
            eventually(lambda: pending(redis) >= 1, SOON_S)
            assert not complete(disk / "archive", roof)
            ballast.unlink()
            eventually(lambda: complete(disk / "archive", roof), SOON_S)
            eventually(lambda: pending(redis) == 0, SOON_S)
            work.until_told("is stored again", "info")
        assert Stored(disk / "archive" / "roof").files == roof.files


def test_while_one_disk_is_full_another_receiver_takes_over(redis: RedisServer, tmp_path: Path) -> None:
    """The full one is a folder that cannot be written: its station's place is taken by a file."""
    roof = PublishedStation("roof")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "roof").write_text("in the way")
    with receiving(redis.url, tmp_path / "bad", claim_after_s=1.0) as bad:
        for _ in range(4):
            roof.still(DICE.randbytes(1000))
            roof.event()
        roof.send(redis.client())
        bad.until_told("in the way", "error")
        with receiving(redis.url, tmp_path / "good", claim_after_s=1.0) as good:
            good.until(stills=4, events=4)
        assert bad.total["stills"] == 0
    assert complete(tmp_path / "good", roof)


def test_a_damaged_catalogue_is_set_aside_and_made_again_from_the_files(redis: RedisServer, into: Path) -> None:
    roof = PublishedStation("roof")
    roof.still(b"not a JPEG")
    picture = b"\xff\xd8\xff\xc0\x00\x0b\x08\x00\x10\x00\x10\x01\x01\x11\x00\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" + b"\x11" * 50 + b"\xff\xd9"
    roof.still(picture)
    roof.send(redis.client())
    with receiving(redis.url, into) as work:
        work.until(stills=2)
    catalogue = into / "roof" / ".cupola" / "catalogue.sqlite"
    catalogue.write_bytes(b"this is no database" * 1000)
    roof.still(b"after the damage")
    roof.send(redis.client())
    with receiving(redis.url, into) as work:
        work.until(stills=1)
        assert work.heard("was damaged", "error")
    names = list(roof.files)
    assert Stored(into / "roof").listed == {name: roof.files[name] for name in names[1:]}
    assert Stored(into / "roof").files == roof.files


def test_a_stop_ends_it_in_the_middle_of_a_long_clip(redis: RedisServer, into: Path) -> None:
    roof = PublishedStation("roof")
    roof.clip(bytes(20_000_000))
    roof.send(redis.client())
    work: Receiving
    with receiving(redis.url, into) as work:
        eventually(lambda: Stored(into / "roof").arriving or work.total["clips"], SOON_S)
    with receiving(redis.url, into) as work:
        eventually(lambda: complete(into, roof), SOON_S)
    assert Stored(into / "roof").arriving == []
    assert threading.active_count() < 50
