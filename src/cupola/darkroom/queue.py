"""What the darkroom does next: the catalogue's undeveloped images, oldest first, thumbnails and errands in between, and what grows of them.

Runs in the server's loop and touches no pixel; `darkroom.process` does the work, `darkroom.worker` keeps that
process. The queue itself is the catalogue: an image waits there until its JPEG is durable and committed, so
whatever dies at whatever time, the image is simply done again.

Who is to blame for a failure decides what follows. An image that could not be read, or with which the process died,
gets three attempts, others go first. A disk that takes nothing, or a process that does not come up, is waited for
with a growing pause, and no image is blamed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cupola.core.errors import NotAllowed, StorageFailed, StorageFull
from cupola.core.events import DevelopFailed, Event, ImageDeveloped
from cupola.darkroom.errands import Errand, Errands, refusal
from cupola.darkroom.growing import Growing
from cupola.darkroom.measuring import Measuring
from cupola.darkroom.orders import Orders
from cupola.darkroom.thumbs import Thumbs
from cupola.darkroom.worker import Answer, DarkroomUnavailable, Log, Worker, WorkerDied
from cupola.process.wire import Head
from cupola.storage.catalogue import Catalogue
from cupola.storage.files import inside, relative_name
from cupola.storage.rows import FileRow, ImageRow, captured_event

ATTEMPTS = 3
THUMB_WIDTH = 320
THUMB_PATIENCE_S = 15.0
State = Literal["stopped", "idle", "developing", "waiting"]


def _closed() -> DarkroomUnavailable:
    return DarkroomUnavailable("The darkroom is closed: Cupola is starting or closing.", None)


@dataclass(slots=True)
class Pause:
    """A pause that doubles with every failure in a row. Times are of the monotonic clock."""

    first_s: float
    longest_s: float
    until: float = 0.0
    next_s: float = 0.0

    def begin(self) -> float:
        """Seconds of the pause that begins now."""
        pause_s = max(self.next_s, self.first_s)
        self.until, self.next_s = time.monotonic() + pause_s, min(2 * pause_s, self.longest_s)
        return pause_s

    def reset(self) -> None:
        self.until = self.next_s = 0.0

    def over(self, now: float) -> bool:
        return now >= self.until


class Darkroom:
    """Develops what the catalogue says is undeveloped, for as long as `run` runs.

    `root` and `queue` are the folders that the paths of `raw`, `jpg` and of `queue` files are relative to; `lock_file` is
    held by the one process that may write there. `jpeg_quality_of` answers
    for any camera's name, also of one that is no longer configured; so does `order_of`, with the recipe and the facts that
    `darkroom.job` needs beside it. `deadline_s`: a job that takes longer is killed.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        publish: Callable[[Event], None],
        root: Path,
        queue: Path,
        lock_file: Path,
        *,
        jpeg_quality_of: Callable[[str], int],
        log: Log,
        order_of: Callable[[str], Head] = lambda camera: {},
        gain_scale_of: Callable[[str], str | None] = lambda camera: None,
        deadline_s: float = 60.0,
        pause_s: tuple[float, float] = (1.0, 20.0),
        idle_s: float = 600.0,
        cache_bytes: int = 8_000_000,
        growing: Growing | None = None,
    ) -> None:
        self.pending = 0  # images that wait, as of the last look
        self.problem: str | None = None  # why `state` is "waiting", for the owner
        self._catalogue, self._publish, self._log = catalogue, publish, log
        self._root, self._queue = root.absolute(), queue.absolute()
        self.orders = Orders(self._root, self._queue, jpeg_quality_of, order_of)
        self._deadline_s, self._idle_s = deadline_s, idle_s
        self._worker = Worker(log, lock_file.absolute(), wanted=lambda: not self._stopping)
        self._broken, self._disk = Pause(*pause_s), Pause(*pause_s)  # the process does not live; the disk takes nothing
        self._again_s = pause_s
        self._later: dict[int, float] = {}  # image → not before
        self._thumbs = Thumbs(cache_bytes)
        self._errands = Errands()
        self._growing = growing
        if growing is not None:
            growing.wake = self.wake
        self._measuring = Measuring(catalogue, self._root, publish, gain_scale_of)
        self._awake = asyncio.Event()
        self._awake.set()
        self._ended: asyncio.Event | None = None  # while running
        self._stopping = self._busy = False

    @property
    def state(self) -> State:
        """waiting: after a failure that concerns every image; `problem` says which, `retry_in_s` for how long."""
        if self._ended is None:
            return "stopped"
        if self._busy:
            return "developing"
        return "waiting" if self.problem else "idle"

    @property
    def retry_in_s(self) -> float | None:
        """Seconds until the end of the pause while there is a problem."""
        return max(0.0, max(self._broken.until, self._disk.until) - time.monotonic()) if self.problem else None

    @property
    def worker_pid(self) -> int | None:
        """The darkroom's process, while there is one."""
        return self._worker.pid

    def wake(self) -> None:
        """There is a new image: look now."""
        self._awake.set()

    async def run(self) -> None:
        """Develop until `stop`. Failures are told and survived; none ends this."""
        self._ended = asyncio.Event()
        try:
            while not self._stopping:
                now = time.monotonic()  # one for the round: a pause that ended between two looks would be due in neither
                try:
                    if (file := self._thumbs.oldest()) is not None and self._broken.over(now):
                        await self._make_thumb(file)
                        continue
                    if self._broken.over(now) and (errand := self._errands.due()) is not None:
                        await self._run(errand)
                        continue
                    if (image := await self._next(now)) is not None:
                        await self._develop(image)
                    grown = await self._grow(now)  # one for one, so that the end of a night is near when its last image is developed
                    busy = image is not None or grown or await self._measure(now)
                    if not self._errands.their_turn() and not busy:
                        await self._rest(now)
                except (StorageFull, StorageFailed) as error:  # the catalogue cannot be read or written
                    self._wait_for_disk(str(error))
        finally:
            self._thumbs.refuse_all(_closed())
            self._errands.refuse_all(_closed())
            await self._worker.end(ask_s=1.0)
            self._ended.set()
            self._ended = None

    async def stop(self, within_s: float) -> None:
        """Finish the image at hand if that is possible in time, then end. What is not done waits for the next start."""
        self._stopping = True
        self._awake.set()
        ended = self._ended
        if ended is None:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(max(within_s - 1.0, 0.1)):
                await ended.wait()
        if not ended.is_set():
            await self._worker.kill()
            with suppress(TimeoutError):
                async with asyncio.timeout(2.0):
                    await ended.wait()

    async def _next(self, now: float) -> ImageRow | None:
        """The oldest image that may be developed at `now`."""
        if self._awake.is_set():
            self._awake.clear()
            self.pending = await self._catalogue.run(self._catalogue.undeveloped_count)
        if not (self._broken.over(now) and self._disk.over(now)):
            return None
        self._later = {image: until for image, until in self._later.items() if until > now}
        found = await self._catalogue.run(self._catalogue.undeveloped, 1, list(self._later))
        if found:
            return found[0]
        if not self._later:
            self.pending, self.problem = 0, None
        return None

    async def _grow(self, now: float) -> bool:
        """One step of what grows with each image; False when there is none to do at `now`."""
        if self._growing is None or self._stopping or not (self._broken.over(now) and self._disk.over(now)):
            return False
        self._busy = True
        try:
            done = await self._growing.step(self._worker.request)
        except WorkerDied as death:
            self._process_failed(str(death), "-")
            return False
        finally:
            self._busy = False
        if done:
            self._broken.reset()
            self._disk.reset()
        return done

    async def _rest(self, now: float) -> None:
        """Until `wake`, the end of a pause that ran at `now`, or the moment an idle process is no longer worth its memory."""
        due = [until for until in (self._broken.until, self._disk.until, *self._later.values()) if until > now]
        seconds = max(0.0, min(due) - time.monotonic()) if due else self._idle_s if self._worker.pid else None
        try:
            async with asyncio.timeout(seconds):
                await self._awake.wait()
        except TimeoutError:
            if not due:
                await self._worker.end(ask_s=2.0)

    async def _develop(self, image: ImageRow) -> None:
        job = await asyncio.to_thread(self.orders.develop, image)
        if isinstance(job, str):
            return await self._failed(image, job)
        job |= self._measuring.facts(image)
        self._busy = True
        try:
            head, _ = await self._worker.request(job, self._deadline_s)
        except WorkerDied as death:
            self._process_failed(str(death), image.camera)
            if death.began:
                await self._failed(image, str(death))
            return None
        finally:
            self._busy = False
        if head["type"] == "developed":
            self._broken.reset()
            return await self._developed(image, head)
        message: str = head["message"]
        match head["kind"]:
            case "storage_full" | "storage_failed":
                self._later[image.id] = self._wait_for_disk(message)
            case "installation":  # a new process may find it repaired
                self._process_failed(message, image.camera)
                await self._worker.end(ask_s=1.0)
            case _:
                await self._failed(image, message)

    async def _developed(self, image: ImageRow, head: Head) -> None:
        """The JPEG is on disk: into the catalogue, then tell, then let go of an original that is not kept."""
        file = FileRow("jpg", relative_name(self.orders.target(image), self._root), head["bytes"], head["sha256"])
        try:
            was, row = await self._measuring.developed(image, file, head)
        except (StorageFull, StorageFailed) as error:
            self._later[image.id] = self._wait_for_disk(str(error))
            return
        self._disk.reset()
        self.problem = None
        self.pending = max(0, self.pending - 1)
        if not was.acknowledged:  # its JPEG is the first of it that lasts
            self._publish(captured_event(row, file.path))
        took_ms: float = head["took_ms"]
        self._publish(ImageDeveloped(camera=row.camera, id=row.id, sequence=row.sequence, path=file.path, took_ms=took_ms))
        self._measuring.tell(row, head.get("measured") or {})
        self._log("INFO", f"Developed {file.path}", event="capture", camera=row.camera, took_s=took_ms / 1000)
        if (waiting := image.file("queue")) is not None:
            with suppress(OSError, ValueError):  # if it stays, reconciliation deletes it at the next start
                await asyncio.to_thread(lambda: inside(self._queue, waiting.path).unlink())

    async def _measure(self, now: float) -> bool:
        """Measure one image that came as a JPEG; False when there is none, or not at `now`. One that cannot be measured is left at that."""
        if self._stopping or not (self._broken.over(now) and self._disk.over(now)):
            return False
        if (image := await self._measuring.next()) is None:
            return False
        if (job := await asyncio.to_thread(self._measuring.job, image)) is None:
            await self._measuring.measured(image, {})
            return True
        try:
            head, _ = await self._worker.request(job, self._deadline_s)
        except WorkerDied as death:
            self._process_failed(str(death), image.camera)
            if death.began and not self._stopping:
                await self._measuring.measured(image, {})
            return True
        if head["type"] == "failed" and head["kind"] == "installation":  # a new process may find it repaired
            self._process_failed(head["message"], image.camera)
            await self._worker.end(ask_s=1.0)
            return True
        self._broken.reset()
        if head["type"] == "failed":
            self._log("WARNING", f"{head['message']} It is not measured.", event="capture", camera=image.camera)
        await self._measuring.measured(image, head.get("measured") or {})
        return True

    async def _failed(self, image: ImageRow, message: str) -> None:
        """An attempt that the image has to answer for."""
        if self._stopping:
            return
        final = image.attempts + 1 >= ATTEMPTS
        first_s, longest_s = self._again_s
        self._later[image.id] = time.monotonic() + min(first_s * 2**image.attempts, longest_s)
        await self._catalogue.run(self._catalogue.develop_failed, image.id, message, final=final)
        if final:
            self.pending = max(0, self.pending - 1)
            message = f"Gave up developing image {image.sequence} after {ATTEMPTS} attempts. {message} Its original stays where it is."
            self._publish(DevelopFailed(camera=image.camera, id=image.id, message=message))
        self._log("ERROR" if final else "WARNING", message, event="capture", camera=image.camera)

    def _process_failed(self, message: str, camera: str) -> None:
        if self._stopping:
            return
        pause_s = self._broken.begin()
        self.problem = message
        self._log("ERROR", f"{message} Trying again in {pause_s:.0f} s.", event="capture", camera=camera)

    def _wait_for_disk(self, message: str) -> float:
        """Returns the moment until which the image concerned stands back, so that one bad place does not hold up all."""
        pause_s = self._disk.begin()
        self.problem = message
        self._log("ERROR", f"{message} Trying again in {pause_s:.0f} s.", event="storage")
        return self._disk.until + pause_s

    async def thumb(self, image: ImageRow) -> bytes:
        """A JPEG of at most THUMB_WIDTH pixels in width. Made at most once a picture while it is in the cache.

        Raises NotAllowed for an image that is not developed, StorageFailed when its JPEG is gone or damaged,
        DarkroomUnavailable when nobody could make it within THUMB_PATIENCE_S.
        """
        file = image.file("jpg")
        if file is None:
            raise NotAllowed(f"Image {image.id} is not developed yet.")
        if (jpeg := self._thumbs.kept(file)) is not None:
            return jpeg
        if self._ended is None or self._stopping:
            raise _closed()
        asked = self._thumbs.ask(file)
        self._awake.set()
        try:
            async with asyncio.timeout(THUMB_PATIENCE_S):
                return await asked
        except TimeoutError:
            reason = self.problem or "It is busy with something that takes long."
            raise DarkroomUnavailable(f"The darkroom could not make a thumbnail of {file.path}. {reason}", self.retry_in_s) from None

    async def errand(self, job: Head, deadline_s: float | None = None) -> Answer:
        """Have another job done between images: its answer. No more than one between two images that wait.

        Raises NotAllowed, in words for the owner, for what cannot be done; DarkroomUnavailable when nobody can do it now, or too much
        is asked already; StorageFull and StorageFailed for a disk that takes nothing.
        """
        if self._ended is None or self._stopping:
            raise _closed()
        asked = self._errands.ask(job, deadline_s or self._deadline_s)
        if asked is None:
            raise DarkroomUnavailable("The darkroom has enough to do beside its images: try again in a moment.", 2.0)
        self._awake.set()
        return await asked

    async def _run(self, errand: Errand) -> None:
        try:
            head, payload = await self._worker.request(errand.job, errand.deadline_s)
        except WorkerDied as death:
            self._process_failed(str(death), "-")
            return errand.refuse(DarkroomUnavailable(str(death), self.retry_in_s))
        if head["type"] != "failed":
            self._broken.reset()
            return errand.give((head, payload))
        if head["kind"] != "installation":
            return errand.refuse(refusal(head))
        self._process_failed(head["message"], "-")
        await self._worker.end(ask_s=1.0)
        return errand.refuse(DarkroomUnavailable(head["message"], self.retry_in_s))

    async def _make_thumb(self, file: FileRow) -> None:
        try:
            path = await asyncio.to_thread(inside, self._root, file.path)
            head, payload = await self._worker.request({"type": "thumb", "path": str(path), "width": THUMB_WIDTH}, self._deadline_s)
        except ValueError as error:
            return self._thumbs.refuse(file, StorageFailed(f"{file.path} cannot be shown small: {error}."))
        except WorkerDied as death:
            self._process_failed(str(death), "-")
            return self._thumbs.refuse(file, DarkroomUnavailable(f"No thumbnail of {file.path}. {death}", self.retry_in_s))
        self._broken.reset()
        if head["type"] != "thumb":
            return self._thumbs.refuse(file, StorageFailed(head["message"]))
        return self._thumbs.give(file, bytes(payload))
