"""The log for programs: newest records, records as they come, and going on after an interruption."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
from tests.support.station import RunningStation, eventually

SSE = {"Accept": "text/event-stream"}


def _lines(station: RunningStation, **query: Any) -> list[dict[str, Any]]:
    answer = station.http.get("/logs", params=query)
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    return [json.loads(line) for line in answer.text.splitlines()]


async def _records(answer: aiohttp.ClientResponse, wanted: str) -> list[dict[str, Any]]:
    """Of a stream of events, up to the one whose message has these words."""
    found: list[dict[str, Any]] = []
    number = None
    async for line in answer.content:
        if line.startswith(b"id: "):
            number = int(line[4:])
        elif line.startswith(b"data: "):
            found.append(json.loads(line[6:]))
            assert found[-1]["id"] == number
            if wanted in found[-1]["message"]:
                return found
    raise AssertionError(f"the stream ended without {wanted!r}: {found}")


def test_the_newest_lines_of_a_level_are_given_as_json(station: RunningStation) -> None:
    station.http.post("/api/cameras/sky/disconnect")
    eventually(lambda: "closed" in _lines(station, lines=1)[-1]["message"])
    some = _lines(station, lines=3)
    assert len(some) == 3 and [line["id"] for line in some] == sorted(line["id"] for line in some)
    assert set(some[-1]) == {"id", "at", "level", "event", "camera", "message"} and some[-1]["camera"] == "sky"
    assert all(line["level"] in ("ERROR", "CRITICAL") for line in _lines(station, level="error", lines=1000))
    assert station.http.get("/logs", params={"level": "loud"}).status_code == 400


async def test_a_stream_begins_with_a_backlog_and_goes_on_where_it_was_interrupted(station: RunningStation, sockets: aiohttp.ClientSession) -> None:
    async with sockets.get("/logs?lines=1", headers=SSE) as answer:
        assert answer.content_type == "text/event-stream"
        station.http.post("/api/cameras/sky/disconnect")
        seen = await _records(answer, "closed")
    assert len(seen) >= 2 and "is open" in seen[0]["message"], "one of before, and those that came"
    station.open()
    station.http.post("/api/cameras/sky/disconnect")
    async with sockets.get("/logs?lines=0", headers=SSE | {"Last-Event-ID": str(seen[-1]["id"])}) as answer:
        missed = await _records(answer, "closed")
    everything = [line["id"] for line in _lines(station, lines=1000)]
    after = everything[everything.index(seen[-1]["id"]) + 1 :]
    assert [line["id"] for line in missed] == after[: len(missed)] and any("is open" in line["message"] for line in missed)


_TWO_LIVES = """
import sys
from pathlib import Path
from cupola import logs
logs.set_up(Path(sys.argv[1]), debug=False, console=False)
for number in range(3):
    logs.write("WARNING", f"{sys.argv[2]} {number}\\nand more", event="camera_lost", camera="sky")
try:
    raise ValueError("bad")
except ValueError as error:
    logs.write("ERROR", "broken", exception=error)
logs.finish()
for line in logs.tail.newest(100, lambda line: True):
    print(line.id, repr(line.message.splitlines()), line.level, line.camera, line.at)
"""


def test_after_a_restart_the_records_of_before_have_the_same_numbers(tmp_path: Path) -> None:
    def life(name: str) -> list[str]:
        done = subprocess.run([sys.executable, "-c", _TWO_LIVES, str(tmp_path), name], capture_output=True, text=True, check=True)
        return done.stdout.splitlines()

    first, second = life("first"), life("second")
    assert len(first) == 4 and "ValueError: bad" in first[3] and "and more" in first[0]
    assert second[:4] == first and len(second) == 8
    assert len({line.split()[0] for line in second}) == 8
