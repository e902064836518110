"""The darkroom process's jobs for what grows with each image, and the products it has at hand.

From the server, in the manner of `darkroom.process`:

    grow     after, shot       →  grown (upto, images, saved), or behind (upto)
    so_far   product, target   →  previewed (made)
    finish   after, targets    →  finished (products), or behind (upto)

each with period, folder, recipe, window and generation; when one of these is another than before, the states on disk are read again.

`after` is the image the server takes as the last that was fed. A process that was started anew, or finds that something else is wanted now, has less:
it says `behind`, has done nothing, and wants to be fed from `upto` on. `finished` has, for each product, images,
upto and message (what was left out), and path, bytes and sha256 if it has an image.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cupola.darkroom.growth import Kind, Shot, Window
from cupola.darkroom.products import Growth
from cupola.process.wire import Head
from cupola.storage.files import ensure_folder

_open: dict[int, tuple[dict[str, Any], Growth]] = {}  # period → what it was opened with, its products


def _growth(head: Head) -> Growth:
    wanted = {key: head[key] for key in ("folder", "recipe", "window", "generation")}
    known = _open.get(head["period"])
    if known is None or known[0] != wanted:
        known = _open[head["period"]] = (wanted, Growth(Path(head["folder"]), head["recipe"], Window.of(head["window"])))
    return known[1]


def _behind(growth: Growth, after: int) -> Head | None:
    upto = min((ledger.upto for ledger in growth.ledgers.values()), default=after)
    return {"type": "behind", "upto": upto} if upto < after else None


def grow(head: Head) -> Head:
    growth = _growth(head)
    if (behind := _behind(growth, head["after"])) is not None:
        return behind
    saved = growth.add(Shot.of(head["shot"]))
    images = {kind: ledger.images for kind, ledger in growth.ledgers.items()}
    return {"type": "grown", "upto": head["shot"]["id"], "images": images, "saved": saved}


def preview(head: Head) -> Head:
    target = Path(head["target"])
    ensure_folder(target.parent)  # the first checkpoint may be still to come
    return {"type": "previewed", "made": _growth(head).preview(head["product"], target)}


def finish(head: Head) -> Head:
    growth = _growth(head)
    if (behind := _behind(growth, head["after"])) is not None:
        return behind
    products: dict[str, Any] = {}
    try:
        targets: dict[Kind, str] = head["targets"]
        for kind, target in targets.items():
            written = growth.write(kind, Path(target))
            ledger = growth.ledgers.get(kind)
            facts = {} if written is None else {"path": str(written.path), "bytes": written.bytes, "sha256": written.sha256}
            if ledger is not None:
                products[kind] = {**facts, "images": ledger.images, "upto": ledger.upto, "message": ledger.message}
    finally:
        del _open[head["period"]]  # it is done, or to be taken up again from the disk
    return {"type": "finished", "products": products}


JOBS = {"grow": grow, "so_far": preview, "finish": finish}
