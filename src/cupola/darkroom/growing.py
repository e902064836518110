"""What grows next: the images of nights and days, in the order of their ids, are fed to keogram, startrails and video.

Runs in the server's loop, one step after another between the jobs of `darkroom.queue`; the pixels are the business of `darkroom.products`, in the
darkroom's process. An image is fed once it is developed, or will never be. What the process contains it says itself, so a kill costs only
that the images since the last checkpoint are fed again.

An image with which the process died or failed three times is left out and named. A disk that takes nothing is waited for, by who calls `step`.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import Any

from cupola.core.clock import iso_utc, utc_now
from cupola.core.errors import CupolaError, NotAllowed, StorageFailed, StorageFull
from cupola.core.events import Event, ProductFailed, ProductFinished, ProductUpdated
from cupola.core.frame import Station
from cupola.darkroom.worker import Answer, DarkroomUnavailable, Log, WorkerDied
from cupola.process.wire import Head
from cupola.storage.catalogue import Catalogue
from cupola.storage.files import camera_folder, day_of, image_stem, relative_name
from cupola.storage.products import PRODUCTS, Feed, PeriodKind, ProductKind, ProductRow, Products, Span, product_name

ATTEMPTS = 3
GROW_S, FINISH_S = 60.0, 900.0  # a video of gigabytes on a slow card takes its time
TOLD_S = 1.0
PATIENCE_S = 30.0
Request = Callable[[Head, float], Awaitable[Answer]]


class Growing:
    """`root` is the folder of the images, `folder` that of the accumulators. `recipe_of` answers for any camera's name with its `products` block (JSON types)."""

    def __init__(
        self,
        catalogue: Catalogue,
        publish: Callable[[Event], None],
        root: Path,
        folder: Path,
        *,
        recipe_of: Callable[[str], dict[str, Any]],
        station: Station,
        log: Log,
    ) -> None:
        self.products = Products(catalogue)
        self.wake: Callable[[], None] = lambda: None  # who calls `step` is told here that there is work
        self.images: dict[int, dict[str, int]] = {}  # period → images in each product, as of the last step
        self._catalogue, self._publish, self._log = catalogue, publish, log
        self._root, self._folder = root.absolute(), folder.absolute()
        self._recipe_of, self._station = recipe_of, station
        self._after: dict[int, int] = {}  # period → the last image that was fed
        self._tries: dict[tuple[int, int], int] = {}  # (period, image; 0: its end) → failures
        self._told: dict[int, float] = {}
        self._ending: set[int] = set()  # periods whose images are all there
        self._empty: set[int] = set()  # periods that ended without an image, or make nothing
        self._asked: dict[tuple[int, ProductKind], tuple[Span, asyncio.Future[bool]]] = {}  # previews
        self._shown: dict[tuple[int, ProductKind], int] = {}  # images in the preview on disk
        self._anew: list[tuple[int, tuple[ProductKind, ...], asyncio.Future[None]]] = []
        self._generation: dict[int, int] = {}  # period → how often something of it was begun anew
        self._changed = asyncio.Event()

    async def finish(self, period: int) -> list[ProductRow]:
        """Finish a period whose images are all there, and wait until every product is finished or failed. Returns them."""
        self._ending.add(period)
        try:
            while True:
                changed = self._changed
                rows = await self._catalogue.run(self.products.of, period)
                if period in self._empty or (rows and all(row.state != "growing" for row in rows)):
                    return rows
                self.wake()
                await changed.wait()
        finally:
            self._ending.discard(period)

    async def span(self, camera: str, day: str, kind: PeriodKind) -> Span | None:
        """The night or day of a date; for a date that is over and whose images belong to none, a night is made of them."""
        found = await self._catalogue.run(self.products.span_of, camera, day, kind)
        if found is None and kind == "night" and day < day_of(utc_now(), self._station):
            found = await self._catalogue.run(self.products.gather, camera, day)
        return found

    async def again(self, period: int, kinds: Collection[ProductKind]) -> list[ProductRow]:
        """Begin products of a period anew from its stored images; what `render` does. Raises NotAllowed for one without images, or that is not over."""
        span = await self._catalogue.run(self.products.span, period)
        if span is None or not await self._catalogue.run(self.products.count, period):
            raise NotAllowed("There are no images of that night or day to make anything of.")
        if not span.over:
            raise NotAllowed(f"The {span.kind} of {span.day} is not over: what is made of it grows, and is finished with it.")
        begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._anew.append((period, tuple(kinds), begun))
        self.wake()
        try:
            async with asyncio.timeout(PATIENCE_S):
                await asyncio.shield(begun)
        except TimeoutError:
            raise DarkroomUnavailable("The darkroom is busy or has trouble: see its log. It begins as soon as it can.", None) from None
        return await self._catalogue.run(self.products.of, period)

    async def _begin_anew(self) -> None:
        """Between two jobs, so that none of them writes what is discarded here."""
        period, kinds, begun = self._anew[0]
        await asyncio.to_thread(lambda: [(self._place(period) / f"{kind}.json").unlink(missing_ok=True) for kind in kinds])
        await self._catalogue.run(self.products.begin, period, kinds, again=True)
        self._anew.pop(0)
        self._generation[period] = self._generation.get(period, 0) + 1  # the process then looks at the disk again
        self._after.pop(period, None)
        self._empty.discard(period)
        if not begun.done():
            begun.set_result(None)

    async def preview(self, span: Span, kind: ProductKind) -> Path | None:
        """The file of a product that still grows, as it would be now; None without an image.

        Raises DarkroomUnavailable when nobody could make it within PATIENCE_S.
        """
        key = (span.id, kind)
        path = self._place(span.id) / f"preview-{product_name(kind, span.kind)}"
        if self._shown.get(key) == self.images.get(span.id, {}).get(kind, -1) and path.is_file():
            return path
        if key not in self._asked:
            self._asked[key] = (span, asyncio.get_running_loop().create_future())
        asked = self._asked[key][1]
        self.wake()
        try:
            async with asyncio.timeout(PATIENCE_S):
                return path if await asyncio.shield(asked) else None
        except TimeoutError:
            raise DarkroomUnavailable(
                f"The darkroom could not make a preview of the {kind}. It is busy, or has trouble: see its log.", None
            ) from None

    async def step(self, request: Request, only: int | None = None) -> bool:
        """One image fed, one preview or one ending, of any period or `only` this; False when there is nothing to do now.

        Raises WorkerDied, StorageFull, StorageFailed: nothing is lost, try again after a pause.
        """
        if self._anew:
            await self._begin_anew()
            return True
        if self._asked:
            return await self._preview(request)
        for span in await self._catalogue.run(self.products.growing):
            if span.id in self._empty or (only is not None and span.id != only):
                continue
            feed = await self._catalogue.run(self.products.next, span.id, self._after.get(span.id, 0))
            if feed is not None and not feed.waits:
                await self._grow(request, span, feed)
                return True
            if feed is None and (span.concluded or span.id in self._ending):
                await self._end(request, span)
                return True
        return False

    async def _grow(self, request: Request, span: Span, feed: Feed) -> None:
        kinds: list[ProductKind] = [row.kind for row in await self._begin(span) if row.state == "growing"]
        if not kinds:
            self._settle(span.id, empty=True)
            return
        tries = self._tries.get((span.id, feed.id), 0)
        reason = "the darkroom failed with it three times" if tries >= ATTEMPTS else feed.reason
        name = Path(feed.path).name if feed.path else f"{image_stem(feed.opened_at, feed.sequence)}.jpg"
        shot = {
            "id": feed.id,
            "path": str(self._root / feed.path if feed.path else Path(name)),
            "opened_at": iso_utc(feed.opened_at),
            "exposure_s": feed.exposure_s,
            "unusable": reason,
        }
        answer = await self._ask(request, {"type": "grow", **self._head(span, kinds), "shot": shot}, GROW_S, (span.id, feed.id))
        if answer is None:
            return
        if answer["type"] == "behind":
            self._after[span.id] = answer["upto"]
            return
        self._after[span.id] = feed.id
        self.images[span.id] = answer["images"]
        if answer["saved"]:
            await self._catalogue.run(self.products.grown, span.id, feed.id, answer["images"])
        now = time.monotonic()
        if now - self._told.get(span.id, 0.0) >= TOLD_S:
            self._told[span.id] = now
            self._publish(ProductUpdated(camera=span.camera, period=span.id, period_kind=span.kind, day=span.day, images=answer["images"]))

    async def _begin(self, span: Span) -> list[ProductRow]:
        rows = await self._catalogue.run(self.products.of, span.id)
        if rows:
            return rows
        return await self._catalogue.run(self.products.begin, span.id, self.kinds_of(span.camera))

    def kinds_of(self, camera: str) -> list[ProductKind]:
        """What is made of the nights and days of a camera."""
        recipe = self._recipe_of(camera)
        return [kind for kind in PRODUCTS if recipe[kind]["make"]]

    async def _end(self, request: Request, span: Span) -> None:
        """No image comes any more: write the files, then the rows, then tell, then let go of the accumulators."""
        kinds: list[ProductKind] = [row.kind for row in await self._catalogue.run(self.products.of, span.id) if row.state == "growing"]
        if not kinds:
            self._settle(span.id, empty=True)
            return
        folder = camera_folder(self._root, span.camera).joinpath(*span.day.split("-"))
        targets = {kind: str(folder / product_name(kind, span.kind)) for kind in kinds}
        answer = await self._ask(request, {"type": "finish", **self._head(span, kinds), "targets": targets}, FINISH_S, (span.id, 0))
        if answer is None:
            if self._tries[span.id, 0] >= ATTEMPTS:
                for kind in kinds:
                    await self._failed(span, kind, "The darkroom failed three times to finish it; see the log. Try again with: cupola render")
                self._settle(span.id)
            return
        if answer["type"] == "behind":
            self._after[span.id] = answer["upto"]
            return
        for kind in kinds:
            made = answer["products"][kind]
            if "path" not in made:
                await self._failed(span, kind, f"None of its images could be used. {made['message'] or ''}".rstrip())
                continue
            path = relative_name(Path(made["path"]), self._root)
            facts = {name: made[name] for name in ("images", "upto", "message")}
            await self._catalogue.run(self.products.finished, span.id, kind, path, made["bytes"], made["sha256"], **facts)
            about: dict[str, Any] = {"camera": span.camera, "period": span.id, "period_kind": span.kind, "day": span.day}
            self._publish(ProductFinished(product=kind, path=path, bytes=made["bytes"], images=made["images"], message=made["message"], **about))
            self._log("INFO", f"Made {path} of {made['images']} images.", event="capture", camera=span.camera)
            if made["message"]:
                self._log("WARNING", f"{path}: {made['message']}", event="capture", camera=span.camera)
        await asyncio.to_thread(shutil.rmtree, self._place(span.id), ignore_errors=True)
        self._settle(span.id)

    async def _failed(self, span: Span, kind: ProductKind, message: str) -> None:
        await self._catalogue.run(self.products.failed, span.id, kind, message)
        self._publish(ProductFailed(camera=span.camera, product=kind, period=span.id, period_kind=span.kind, day=span.day, message=message))
        self._log("ERROR", f"The {kind} of {span.day} was not made. {message}", event="capture", camera=span.camera)

    def _settle(self, period: int, *, empty: bool = False) -> None:
        """Nothing is to be done for this period any more."""
        if empty:
            self._empty.add(period)
        for known in (self._after, self._told, self.images):
            known.pop(period, None)
        self._tries = {key: count for key, count in self._tries.items() if key[0] != period}
        self._shown = {key: count for key, count in self._shown.items() if key[0] != period}
        self._changed.set()
        self._changed = asyncio.Event()

    async def _preview(self, request: Request) -> bool:
        (period, kind), (span, asked) = next(iter(self._asked.items()))
        path = self._place(period) / f"preview-{product_name(kind, span.kind)}"
        try:
            kinds: list[ProductKind] = [row.kind for row in await self._catalogue.run(self.products.of, period) if row.state == "growing"]
            made = False
            if kind in kinds:
                count = self.images.get(period, {}).get(kind, -1)
                head = {"type": "so_far", **self._head(span, kinds), "product": kind, "target": str(path)}
                answer = await self._ask(request, head, GROW_S, (period, -1))
                made = answer is not None and answer["made"]
                self._shown[period, kind] = count
            asked.set_result(made)
        except CupolaError as error:
            asked.set_exception(DarkroomUnavailable(f"No preview of the {kind}. {error}", getattr(error, "retry_in_s", None)))
            asked.exception()  # nobody may be left to hear of it
            raise
        finally:
            del self._asked[period, kind]
            if not asked.done():
                asked.cancel()
        return True

    def _head(self, span: Span, kinds: Collection[ProductKind]) -> Head:
        recipe = self._recipe_of(span.camera)
        return {
            "period": span.id,
            "folder": str(self._place(span.id)),
            "recipe": {kind: {**recipe[kind], "make": kind in kinds} for kind in PRODUCTS},
            "window": {
                "starts_at": iso_utc(span.starts_at),
                "ends_at": iso_utc(span.ends_at),
                "interval_s": span.interval_s,
                "timezone": self._station.timezone,
            },
            "generation": self._generation.get(span.id, 0),
            "after": self._after.get(span.id, 0),
        }

    def _place(self, period: int) -> Path:
        return self._folder / str(period)

    async def _ask(self, request: Request, head: Head, deadline_s: float, concerns: tuple[int, int]) -> Head | None:
        """The process's answer; None after a failure that this image (or ending) has to answer for, which is counted."""
        try:
            answer, _ = await request(head, deadline_s)
        except WorkerDied as death:
            if death.began:
                self._tries[concerns] = self._tries.get(concerns, 0) + 1
            raise
        if answer["type"] != "failed":
            return answer
        message: str = answer["message"]
        match answer["kind"]:
            case "storage_full":
                raise StorageFull(message)
            case "storage_failed":
                raise StorageFailed(message)
            case "installation":
                raise WorkerDied(message, began=False)
            case _:
                self._tries[concerns] = self._tries.get(concerns, 0) + 1
                self._log("ERROR", f"The darkroom failed at what grows of the images: {message}", event="capture")
                return None
