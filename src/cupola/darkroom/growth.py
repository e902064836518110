"""What all products that grow with each image have in common: the image as they are told of it, their account of what they contain, and
the checkpoint they continue from after a kill.

The products themselves are `keogram`, `startrails` and `timelapse`; `products` feeds them.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from cupola.core.clock import parse_utc
from cupola.core.errors import CupolaError
from cupola.darkroom.encode import uncover
from cupola.storage.files import TMP, WrittenFile, store_durable, telling

Picture = npt.NDArray[np.uint8]  # (H, W, 3) RGB
Kind = Literal["keogram", "startrails", "timelapse"]
KINDS: tuple[Kind, ...] = ("keogram", "startrails", "timelapse")
EVERY = 25  # images from one checkpoint to the next
NAMED = 20  # of the images left out, so many are named; the others are counted
JPEG_QUALITY = 92


class LeftOut(Exception):
    """An image that a product cannot take, and why in words. It is skipped and named."""


@dataclass(frozen=True, slots=True)
class Shot:
    """A developed image. `unusable`: it has no picture, for this reason, and is only to be named."""

    id: int
    path: Path
    opened_at: datetime
    exposure_s: float | None
    unusable: str | None = None

    @classmethod
    def of(cls, head: dict[str, Any]) -> Shot:
        return cls(head["id"], Path(head["path"]), parse_utc(head["opened_at"]), head["exposure_s"], head["unusable"])


@dataclass(frozen=True, slots=True)
class Window:
    """From when to when a night or day goes. `interval_s`: opening to opening, as planned; None: one exposure after the other."""

    starts_at: datetime
    ends_at: datetime
    interval_s: float | None
    timezone: str

    @classmethod
    def of(cls, head: dict[str, Any]) -> Window:
        return cls(parse_utc(head["starts_at"]), parse_utc(head["ends_at"]), head["interval_s"], head["timezone"])


@dataclass(slots=True)
class Ledger:
    """What a product contains: `images` of those up to the id `upto`; `skipped` of them it could not take, the first of which are named."""

    upto: int = 0
    images: int = 0
    skipped: int = 0
    named: list[str] = field(default_factory=list[str])

    def took(self, shot: Shot) -> None:
        self.upto = shot.id
        self.images += 1

    def left_out(self, shot: Shot, reason: str) -> None:
        self.upto = shot.id
        self.skipped += 1
        if len(self.named) < NAMED:
            self.named.append(f"{shot.path.name}: {reason}")

    @property
    def message(self) -> str | None:
        """For the owner: which images are not in it, and why."""
        if not self.skipped:
            return None
        more = f"; and {self.skipped - len(self.named)} more" if self.skipped > len(self.named) else ""
        return f"Left out {self.skipped} of {self.skipped + self.images} images. {'; '.join(self.named)}{more}."


class Product(Protocol):
    """An accumulator. Its memory does not depend on how many images it has taken.

    `made_with`: everything but the images that its result depends on (JSON). `shows_words`: whether it takes the images with what is
    written on them, rather than the sky beneath.
    """

    kind: Kind
    shows_words: bool

    @property
    def made_with(self) -> dict[str, Any]: ...

    def add(self, picture: Picture, shot: Shot) -> None:
        """Take one image more; raises LeftOut for one that does not fit to the others, and is then as before."""
        ...

    def state(self) -> tuple[dict[str, Any], Picture | None]:
        """What `restore` needs: facts (JSON) and pixels."""
        ...

    def restore(self, facts: dict[str, Any], pixels: Picture | None) -> None:
        """Continue from a state. Raises ValueError when that is not possible."""
        ...

    def preview(self, target: Path) -> bool:
        """The file as it would be now, not durable; False, and no file, without an image. Raises StorageFull, StorageFailed."""
        ...

    def write(self, target: Path) -> WrittenFile:
        """The finished file, durable. Raises StorageFull, StorageFailed."""
        ...


class Checkpoint:
    """A product's state on disk: pixels in a file of their own, so that they need not be copied, and a JSON file that names it.

    The JSON file is replaced at once, after the pixels are durable: there is always one whole state, the old or the new.
    """

    def __init__(self, folder: Path, kind: Kind) -> None:
        self._folder, self._kind = folder, kind
        self._file = folder / f"{kind}.json"

    def save(self, product: Product, ledger: Ledger) -> None:
        """Raises StorageFull, StorageFailed; then the one before is still there."""
        facts, pixels = product.state()
        head: dict[str, Any] = {"made_with": product.made_with, "ledger": asdict(ledger), "facts": facts, "pixels": None}
        if pixels is not None:
            content, name = np.ascontiguousarray(pixels).data, f"{self._kind}-{ledger.upto}.raw"
            store_durable(self._folder / name, content)
            head["pixels"] = {"name": name, "crc32": zlib.crc32(content), "shape": list(pixels.shape)}
        store_durable(self._file, json.dumps(head).encode())
        for old in self._folder.glob(f"{self._kind}-*.raw"):
            if head["pixels"] is None or old.name != head["pixels"]["name"]:
                old.unlink(missing_ok=True)

    def load(self, product: Product) -> Ledger:
        """Set `product` to the state on disk. A fresh ledger, and the product as it was, when there is none, it is damaged, or was made with something else."""
        try:
            head: dict[str, Any] = json.loads(self._file.read_bytes())
            if head["made_with"] != json.loads(json.dumps(product.made_with)):
                return Ledger()
            ledger, pixels = Ledger(**head["ledger"]), None
            if (stored := head["pixels"]) is not None:
                pixels = np.fromfile(self._folder / stored["name"], np.uint8).reshape(stored["shape"])
                if zlib.crc32(pixels.data) != stored["crc32"]:
                    return Ledger()
            product.restore(head["facts"], pixels)
        except (OSError, CupolaError, ValueError, KeyError, TypeError):
            return Ledger()
        return ledger

    def discard(self) -> None:
        self._file.unlink(missing_ok=True)
        for old in self._folder.glob(f"{self._kind}-*.raw"):
            old.unlink(missing_ok=True)


def read_picture(path: Path) -> Picture:
    """A stored JPEG's pixels. Raises LeftOut, with the reason, when it is gone or damaged."""
    import simplejpeg

    try:
        return simplejpeg.decode_jpeg(path.read_bytes(), "RGB")
    except (OSError, ValueError) as error:
        raise LeftOut(words(error)) from error


def clear_words(picture: Picture, path: Path) -> None:
    """Take off the pixels of a stored JPEG what developing wrote on it. Raises LeftOut as `read_picture`."""
    try:
        uncover(picture, path.read_bytes())
    except (OSError, ValueError) as error:
        raise LeftOut(words(error)) from error


def put(target: Path, content: bytes) -> None:
    """Replace a file that need not survive a power cut. Raises StorageFull, StorageFailed."""
    with telling(target, "write"):
        tmp = target.with_name(target.name + TMP)
        tmp.write_bytes(content)
        tmp.replace(target)


def words(reason: Exception) -> str:
    """An exception's reason as part of a sentence."""
    return (reason.strerror if isinstance(reason, OSError) and reason.strerror else str(reason)).rstrip(".")
