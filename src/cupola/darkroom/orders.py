"""What the darkroom's process is told about one image: which files, which recipe, which facts.

When it is told, and what its answer means, is decided by `darkroom.queue`; what the process makes of it is `darkroom.job`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cupola.core.clock import iso_utc
from cupola.core.errors import NotAllowed
from cupola.process.wire import Head
from cupola.storage.files import camera_folder, image_stem, inside
from cupola.storage.rows import FileKind, ImageRow


class Orders:
    """`root` and `queue`: the folders that the paths of `raw` and `jpg`, and of `queue` files are relative to.

    `quality_of` and `order_of` answer for any camera's name, also of one that is no longer configured.
    """

    def __init__(self, root: Path, queue: Path, quality_of: Callable[[str], int], order_of: Callable[[str], Head]) -> None:
        self._root, self._queue = root, queue
        self._quality_of, self._order_of = quality_of, order_of

    def of(self, image: ImageRow) -> Head:
        """How a picture of this image is made: recipe, station, masters, facts for the overlay. Without its files."""
        shot = {name: getattr(image, name) for name in ("camera", "exposure_s", "gain", "f_number", "temperature_c")}
        shot["opened_at"] = iso_utc(image.opened_at)
        return {**self._order_of(image.camera), "quality": self._quality_of(image.camera), "shot": shot, "correction": image.correction}

    def original(self, image: ImageRow) -> Path:
        """The file a picture of this image can be made of: its original, else its JPEG. Raises NotAllowed when there is none."""
        places: tuple[tuple[FileKind, Path], ...] = (("raw", self._root), ("queue", self._queue), ("jpg", self._root))
        for kind, base in places:
            if (file := image.file(kind)) is not None and not file.missing:
                with suppress(ValueError):
                    return inside(base, file.path)
        raise NotAllowed(f"Image {image.id} has no file any more that a picture could be made of.")

    def target(self, image: ImageRow) -> Path:
        """Where the JPEG of this image belongs. Raises ValueError for a camera's name that is none."""
        folder = camera_folder(self._root, image.camera).joinpath(*image.day.split("-"), "jpg")
        return folder / f"{image_stem(image.opened_at, image.sequence)}.jpg"

    def develop(self, image: ImageRow) -> Head | str:
        """The job that develops an image, or why there can be none. Looks at the disk."""
        file = next(file for file in image.files if file.kind in ("raw", "queue") and not file.missing)
        try:
            original = inside(self._root if file.kind == "raw" else self._queue, file.path)
            target = self.target(image)
        except ValueError as error:
            return f"Image {image.id} cannot be developed: {error}."
        return {**self.of(image), "type": "develop", "original": str(original), "target": str(target)}
