"""Which images are still to be measured, and what becomes of the numbers: the server's side, asked by `darkroom.queue`.

A sensor's image is measured while it is developed. One that came as a JPEG (a network camera, a DSLR) has no such job and gets one of
its own when nothing waits to be developed. How measuring is done is the business of `darkroom.measure`, in the darkroom's process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from cupola.core.clock import utc_now
from cupola.core.events import Event, StreakFound
from cupola.process.wire import Head
from cupola.storage.catalogue import Catalogue
from cupola.storage.files import ORIGINAL_SUFFIX, inside, relative_name
from cupola.storage.measurements import Measurements
from cupola.storage.rows import FileRow, ImageRow

NOT_OLDER = timedelta(days=1)  # a catalogue made anew from a disk full of images does not measure them all


class Measuring:
    """One for the darkroom's queue. `scale_of`: what a gain of a camera means, where that is known."""

    def __init__(self, catalogue: Catalogue, root: Path, publish: Callable[[Event], None], scale_of: Callable[[str], str | None]) -> None:
        self._catalogue, self._root, self._publish, self._scale_of = catalogue, root, publish, scale_of
        self._rows = Measurements(catalogue)
        self._looked_up_to = 0

    def facts(self, image: ImageRow) -> Head:
        """What a job has to say about an image for it to be measured."""
        return {"camera": image.camera, "exposure_s": image.exposure_s, "gain": image.gain, "gain_scale": self._scale_of(image.camera)}

    async def developed(self, image: ImageRow, file: FileRow, head: Head) -> tuple[ImageRow, ImageRow]:
        """The image's JPEG and its numbers into the catalogue, in one; the image as it was, and as it is. Raises StorageFull, StorageFailed."""
        measured = self._relative(head.get("measured") or {})
        return await self._catalogue.run(self._rows.developed, image.id, file, measured, width=head["width"], height=head["height"])

    async def next(self) -> ImageRow | None:
        """The oldest image that waits to be measured."""
        return await self._catalogue.run(self._rows.unmeasured, self._looked_up_to, utc_now() - NOT_OLDER)

    def job(self, image: ImageRow) -> Head | None:
        """The message to the process; None when there is no file to measure. Looks at the disk."""
        for kind in ("raw", "jpg"):
            file, jpg = image.file(kind), image.file("jpg")
            if file is None or jpg is None or file.missing or (kind == "raw" and not file.path.endswith(ORIGINAL_SUFFIX)):
                continue
            with suppress(ValueError):
                paths = {"path": str(inside(self._root, file.path)), "image": str(inside(self._root, jpg.path))}
                return {"type": "measure", **paths, **self.facts(image)}
        return None

    async def measured(self, image: ImageRow, measured: Mapping[str, Any]) -> None:
        """Keep an image's numbers, {} when there are none to be had. Raises StorageFull, StorageFailed."""
        kept = self._relative(measured)
        await self._catalogue.run(self._rows.put, image.id, kept)
        self._looked_up_to = image.id
        self.tell(image, kept)

    def tell(self, image: ImageRow, measured: Mapping[str, Any]) -> None:
        """Announce the streaks of an image whose numbers are committed."""
        for streak in self._relative(measured).get("streaks", []):
            self._publish(StreakFound(camera=image.camera, id=image.id, sequence=image.sequence, opened_at=image.opened_at, **streak))

    def _relative(self, measured: Mapping[str, Any]) -> dict[str, Any]:
        """With the paths of crops relative to storage.root."""
        streaks: list[dict[str, Any]] = []
        for streak in measured.get("streaks", []):
            crop = streak.get("crop")
            streaks.append({**streak, "crop": relative_name(Path(crop), self._root) if crop and Path(crop).is_absolute() else crop})
        return {**measured, "streaks": streaks} if measured else {}
