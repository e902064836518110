"""kill -9 of the server at random moments of a series: nothing acknowledged is lost, nothing half is visible, the series goes on.

The full run, by hand: `CUPOLA_SERVER_KILLS=200 pytest -s tests/torture/test_server_kill.py`.
"""

import os
import random
import time
from pathlib import Path

import pytest
from tests.torture.station import CAMERA, Listener, Station, sky, until

pytestmark = pytest.mark.torture
_KILLS = int(os.environ.get("CUPOLA_SERVER_KILLS", "3"))


def _captured(events: Listener) -> dict[int, int]:
    """The sequence numbers of the images that were announced, by their ids."""
    return {event["id"]: event["sequence"] for event in events.events("image_captured")}


@pytest.mark.timeout(60 + 30 * _KILLS)
@pytest.mark.parametrize("originals", ["keep", "off"])
def test_a_killed_server_loses_no_acknowledged_image_and_its_series_goes_on(tmp_path: Path, originals: str) -> None:
    rng, promised, whole = random.Random(11), dict[int, int](), set[str]()
    with Station(tmp_path, sky(autostart=True), originals=originals) as station:
        for kill in range(_KILLS):
            with Listener(station, "/ws/events") as events:
                until(lambda known=promised: _captured(events).keys() - known.keys(), 30, f"the series goes on after kill {kill}")
                time.sleep(rng.uniform(0, 1.5))
                station.kill()
                until(lambda: events.ended, 10, "the socket of a killed server ends")
                promised |= _captured(events)
            station.verify_whole(whole)
            station.start()
            rows = {row["id"]: row["sequence"] for row in station.captures()}
            assert promised.items() <= rows.items(), f"acknowledged and lost at kill {kill}: {promised.items() - rows.items()}"
            promised = rows
        station.running()
        assert station.camera()["session"]["id"] == 1, "one series all along"
        rows = station.verify_storage()
        station.verify_whole(whole)
        assert promised.items() <= {row["id"]: row["sequence"] for row in rows}.items()
        assert all(row["developed"] for row in rows)
        print(f"originals {originals}: {_KILLS} kills, {len(rows)} images, {len(whole)} files whole, {len(station.processes(CAMERA))} camera process")
        assert len(station.processes(CAMERA)) == 1, "no orphan is left"
        assert station.stop() == 0
