"""What encodes and stores beside the driver fails: it is told, and the rest goes on; one that ends takes its process with it, which comes back."""

import asyncio

import pytest
from tests.support.testcard import TestCard

from cupola.camera.live import LiveWorker
from cupola.camera.messages import Plan
from cupola.camera.storer import Storer
from cupola.core.frame import Station
from cupola.core.hub import LivePacket


class Unencodable(TestCard):
    """The first five live pictures fail as with a library that does not load."""

    def __init__(self, options, station: Station) -> None:
        super().__init__(options, station)
        encode, left = LiveWorker._encode, iter(range(5))

        def broken(self, frame):
            if next(left, None) is not None:
                raise ImportError("libssl: failed to map segment from shared object")
            return encode(self, frame)

        LiveWorker._encode = broken


async def test_live_pictures_that_cannot_be_encoded_are_told_once_and_the_live_view_goes_on(rig):
    async with rig("tests.camera.test_workers:Unencodable") as r:
        await r.until(lambda: r.camera.info)
        viewer = r.camera.hub.join("jpeg")
        assert isinstance(await asyncio.wait_for(viewer.next(), 10), LivePacket)
        r.camera.hub.leave(viewer)
        told = [line for line in r.log if "could not be encoded" in line]
        assert told == ["ERROR A live picture could not be encoded: ImportError('libssl: failed to map segment from shared object')"]
        assert r.camera.restarts == 0
        await r.until(lambda: r.camera.beat["dropped"] >= 5)


class Mortal(TestCard):
    """Its live worker, or its storing one, ends at the first picture of the first process."""

    def __init__(self, options, station: Station) -> None:
        super().__init__(options, station)
        name, mark = options["ends"], options["mark"]

        def end(*_):
            open(mark, "x").close()
            raise SystemExit

        try:
            open(mark).close()
        except FileNotFoundError:
            setattr(*((LiveWorker, "_publish") if name == "live" else (Storer, "_store")), end)


@pytest.mark.parametrize("name", ["live", "storer"])
async def test_a_worker_that_ended_is_a_failure_of_the_camera_and_comes_back(rig, tmp_path, name):
    async with rig("tests.camera.test_workers:Mortal", ends=name, mark=str(tmp_path / "ended")) as r:
        await r.until(lambda: r.camera.info)
        viewer = r.camera.hub.join("jpeg") if name == "live" else None
        r.archive.running = Plan(session=1, remaining=2)
        r.camera.plan_changed()
        await r.until(lambda: r.camera.restarts == 1 and len(r.archive.rows) == 2, 20)
        (lost,) = r.told("camera_lost")
        assert f'The thread "{name}" of the camera process ended' in lost.message
        assert [row["sequence"] for row in r.archive.rows] == [1, 2]
        if viewer is not None:
            while not isinstance(await asyncio.wait_for(viewer.next(), 10), LivePacket):
                pass
