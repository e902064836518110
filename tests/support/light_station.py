"""A station without cameras in one process: a real catalogue, bus and publisher, with numbered events and stills made by itself.

Run: python -m tests.support.light_station FOLDER REDIS_URL [--name N] [--events-per-s X] [--stills-per-s X] [--live-fps X] [--still-bytes N] [--seconds S]
Prints `event N` when a subscriber of the bus has it, `still NAME` when it is in the catalogue, `up` once it runs; `live {...}` at the end. Continues where the one before ended.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from cupola.config.redis import Redis
from cupola.core.bus import Bus, Subscription
from cupola.core.clock import monotonic_ns, utc_now
from cupola.core.events import SensorReading
from cupola.core.frame import Packet, Station
from cupola.storage.catalogue import Catalogue
from cupola.storage.files import jpg_path, relative_name, write_durable
from cupola.storage.rows import FileRow, NewImage, captured_event
from cupola.stream.publisher import Publisher

PLACE = Station("light", 47.0, 8.0, 400.0, "UTC")
CAMERA = "sky"
GAP = 100_000


def jpeg_of(size: int, number: int) -> bytes:
    """Bytes that begin and end as a JPEG does; each still its own."""
    seed = number.to_bytes(8, "big")
    return b"\xff\xd8" + (seed * (size // 8 + 1))[: size - 4] + b"\xff\xd9"


class LightStation:
    """`name` of the station; its state and images lie in `folder`."""

    def __init__(self, folder: Path, url: str, name: str, **block: Any) -> None:
        self.root, self.state = folder / "images", folder / "state"
        for made in (self.root, self.state):
            made.mkdir(parents=True, exist_ok=True)
        self.logged: list[tuple[str, str]] = []
        self.bus, self.catalogue = Bus(), Catalogue(self.state / "catalogue.sqlite")
        settings = Redis.model_validate({"url": url, "live": [CAMERA], **block})
        self.publisher = Publisher(settings, name, self.state, self.root, self.catalogue, self.bus, self._log)
        self.take = self.publisher.look(CAMERA)
        self.sequence = self.catalogue.last_sequence(CAMERA)
        self._task: asyncio.Task[None] | None = None

    def _log(self, level: str, words: str, **_: object) -> None:
        self.logged.append((level, words))
        print(f"# {level} {words}", file=sys.stderr, flush=True)

    async def start(self) -> None:
        self.loop = asyncio.get_running_loop()
        await self.publisher.take_up()
        self._task = asyncio.create_task(self.publisher.run())
        await asyncio.sleep(0)

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await asyncio.to_thread(self.publisher.close)
        self.catalogue.close()

    async def __aenter__(self) -> LightStation:
        await self.start()
        return self

    async def __aexit__(self, *unused: object) -> None:
        await self.close()

    def event(self, number: int) -> None:
        self.bus.publish(SensorReading(series="test.number", value=float(number), unit=""))

    async def still(self, size: int = 30_000) -> str:
        """One more: durable, in the catalogue, announced. Its path below the root."""
        return await asyncio.to_thread(self._still, size)

    def _still(self, size: int) -> str:
        self.sequence += 1
        at = utc_now()
        path = jpg_path(self.root, CAMERA, at, self.sequence, PLACE)
        written = write_durable(path, jpeg_of(size, self.sequence))
        name = relative_name(path, self.root)
        file = FileRow("jpg", name, written.bytes, written.sha256)
        row = self.catalogue.add_image(NewImage(CAMERA, self.sequence, at, "/".join(name.split("/")[1:4]).replace("/", "-"), (file,), ended_at=at))
        self.loop.call_soon_threadsafe(self.bus.publish, captured_event(row, name))
        self.publisher.wake()
        return name

    def packet(self, number: int, data: bytes, opened_at: datetime | None = None) -> None:
        at = opened_at or utc_now()
        self.take(Packet(number, at, at, monotonic_ns(), "jpeg", data, 1280, 720))


async def _main(args: argparse.Namespace) -> None:
    station = LightStation(args.folder, args.url, args.name, spool_mb=args.spool_mb)
    ending = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ending.set)
    progress = args.folder / "events"
    told = progress.read_text().split() if progress.exists() else []
    first = int(told[-1]) + GAP if told else 1  # what was published and not told must not come again under its number
    async with station:
        with station.bus.subscribe(100_000) as heard, progress.open("a", buffering=1) as numbers:
            tasks = [asyncio.create_task(_say(heard, numbers)), asyncio.create_task(_events(station, first, args.events_per_s))]
            tasks += [asyncio.create_task(_stills(station, args.stills_per_s, args.still_bytes))] if args.stills_per_s else []
            tasks += [asyncio.create_task(_live(station, args.live_fps, args.live_bytes))] if args.live_fps else []
            print("up", flush=True)
            with suppress(TimeoutError):
                await asyncio.wait_for(ending.wait(), args.seconds)
            for task in tasks[1:]:
                task.cancel()
            await asyncio.gather(*tasks[1:], return_exceptions=True)
            await asyncio.sleep(0.5)
            with suppress(TimeoutError):
                await asyncio.wait_for(_until_told(station), 10)
            tasks[0].cancel()
    print("live " + json.dumps(station.publisher.live.counts[CAMERA]), flush=True)


async def _until_told(station: LightStation) -> None:
    """Of each live packet whether it was delivered or dropped."""
    while (now := station.publisher.live.counts[CAMERA])["produced"] != now["delivered"] + now["dropped"]:
        await asyncio.sleep(0.05)


async def _say(heard: Subscription, numbers: TextIO) -> None:
    """What somebody outside has been told; also kept, so that the next start counts on."""
    async for event in heard:
        if isinstance(event, SensorReading):
            numbers.write(f"{event.value:.0f}\n")
            os.write(1, b"event %d\n" % int(event.value))


async def _events(station: LightStation, first: int, per_s: float) -> None:
    number = first
    began = time.monotonic()
    while True:
        station.event(number)
        number += 1
        await asyncio.sleep(max(0.0, began + (number - first) / per_s - time.monotonic()))


async def _stills(station: LightStation, per_s: float, size: int) -> None:
    began, count = time.monotonic(), 0
    while True:
        name = await station.still(size)
        os.write(1, f"still {name}\n".encode())
        count += 1
        await asyncio.sleep(max(0.0, began + count / per_s - time.monotonic()))


async def _live(station: LightStation, fps: float, size: int) -> None:
    data, began, count = jpeg_of(size, 1), time.monotonic(), 0
    while True:
        count += 1
        station.packet(count, data)
        await asyncio.sleep(max(0.0, began + count / fps - time.monotonic()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("url")
    parser.add_argument("--name", default="light")
    parser.add_argument("--events-per-s", type=float, default=50.0)
    parser.add_argument("--stills-per-s", type=float, default=5.0)
    parser.add_argument("--still-bytes", type=int, default=30_000)
    parser.add_argument("--live-fps", type=float, default=0.0)
    parser.add_argument("--live-bytes", type=int, default=50_000)
    parser.add_argument("--spool-mb", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=None)
    asyncio.run(_main(parser.parse_args()))


if __name__ == "__main__":
    main()
