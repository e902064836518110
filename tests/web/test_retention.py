"""What is told of the disk's future, and a run by hand."""

from __future__ import annotations

from tests.support.station import RunningStation, eventually


def test_the_status_tells_the_forecast(station: RunningStation) -> None:
    station.snap()
    told = eventually(lambda: (answer := station.http.get("/api/status").json()["retention"])["bytes_per_night"] and answer, 60)
    assert told["keep_free_percent"] == 3.0, "3 more than min_free_percent"
    assert told["words"].startswith("full in ") and told["nights_left"] > 0
    assert (told["low"], told["stored"], told["problem"]) == (False, "all", None)


def test_a_dry_run_and_a_run_by_hand_tell_what_goes_and_what_is_held(station: RunningStation) -> None:
    image = station.snap()
    for answer, dry_run in ((station.http.get("/api/retention"), True), (station.http.post("/api/retention"), False)):
        assert answer.status_code == 200, answer.text
        report = answer.json()
        assert (report["dry_run"], report["deleted"], report["gone"]) == (dry_run, [], 0), "there is room"
        held = {one["kind"]: one for one in report["held"]}
        assert list(held) == ["originals", "jpg", "clips", "products", "logs"]
        assert held["jpg"]["files"] >= 1 and held["originals"]["bytes"] >= image["files"][0]["bytes"]
    assert station.http.get(f"/api/captures/{image['id']}/image").status_code == 200


def test_the_command_prints_the_same(station: RunningStation) -> None:
    station.snap()
    report = station.json("retention", "--dry-run", "--json")
    assert report["dry_run"] is True and report["deleted"] == []
    table = station.cupola("retention").stdout
    assert "3 % kept free" in table and "originals" in table
    assert report["words"] in station.cupola("status").stdout
