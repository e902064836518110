"""The darkroom's own process: one job in, one answer out, nothing kept but what grows with each image, which is on disk too.

Heavy libraries are imported at the first job that needs them, so that an idle darkroom is small. Which images
are developed, in which order, and what a failure means is decided by `darkroom.queue`, in the server; the way
of the pixels from sample to JPEG is `darkroom.develop`.

From the server, first of all:

    configure  lock (absolute path)  →  nothing; or refused with a message, and the process ends, when the lock is not to be had

Then, each with a `job` number that every answer repeats:

    develop  original, target (absolute paths), quality  →  started, then developed or failed
    thumb    path, width                                 →  started, then thumb (the payload is the JPEG) or failed
    grow, preview, finish                                →  started, then as `darkroom.growjobs` says, or failed
    close                                                →  the process ends

`developed` has path, bytes, sha256, width, height, took_ms; `failed` a `kind` (see FailureKind) and a `message`.
`log` (level, event, message) may come at any time. A death before `started` says nothing about the job.

When the server is gone the process ends after the job at hand, whose result is on disk for the next server. The lock is
held for the process's life: who holds it is the one writer of developed images.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from cupola.core.errors import CupolaError, StorageFailed, StorageFull
from cupola.process.wire import Head, Link, WireError
from cupola.storage.space import Lock

NICENESS = 10  # cameras come first

# installation: this process cannot work at all; original: this file will not do; storage_full, storage_failed: the disk does
# not take the result, whatever it is; error: none of these, so a mistake in here.
FailureKind = Literal["installation", "original", "storage_full", "storage_failed", "error"]


class Failed(Exception):
    """A job that cannot be done, for a reason that is known."""

    def __init__(self, kind: FailureKind, message: str) -> None:
        super().__init__(message)
        self.kind: FailureKind = kind


def serve(link: Link) -> int:
    """Do jobs until the server says so or is gone. The exit code: 1 when another process has the lock."""
    try:
        if (first := link.receive()) is None:
            return 0
        lock = Lock(Path(first[0]["lock"]))  # never released: the kernel does when the last thread has written
        try:
            refusal = None if lock.acquire() else f"Another process holds the darkroom, by {lock.path}."
        except CupolaError as error:
            refusal = str(error)
        if refusal is not None:
            link.send({"type": "refused", "message": refusal})
            return 1
        while (message := link.receive()) is not None and message[0]["type"] != "close":
            link.send(*_answer(link, message[0]))
    except (OSError, WireError):  # the server is gone; what was done is on disk
        pass
    return 0


def _answer(link: Link, head: Head) -> tuple[Head, bytes]:
    number = head["job"]
    try:
        answer, payload = JOBS[head["type"]](head, lambda: link.send({"type": "started", "job": number}))
        return {**answer, "job": number}, payload
    except Failed as failure:
        return {"type": "failed", "job": number, "kind": failure.kind, "message": str(failure)}, b""
    except Exception as error:  # the edge of a job: the next one has nothing to do with it
        link.send({"type": "log", "level": "ERROR", "event": "capture", "message": f"The darkroom failed at a job.\n{traceback.format_exc()}"})
        return {"type": "failed", "job": number, "kind": "error", "message": f"{type(error).__name__}: {error}"}, b""


def _develop(head: Head, started: Callable[[], None]) -> tuple[Head, bytes]:
    try:
        import astropy.io.fits  # noqa: F401 - what read_original will need, so that its absence is told from a bad original
        import cv2  # noqa: F401
        import simplejpeg  # noqa: F401
    except ImportError as error:
        raise Failed("installation", f"The darkroom cannot load a library: {error}. Install Cupola again.") from error
    from cupola.darkroom.develop import develop, encode_jpeg
    from cupola.darkroom.native import develop_native
    from cupola.storage.files import ORIGINAL_SUFFIX, write_durable
    from cupola.storage.originals import read_original

    started()
    begun = time.monotonic()
    path = Path(head["original"])
    try:
        if path.name.endswith(ORIGINAL_SUFFIX):
            original = read_original(path)
            picture = develop(original.data, original.facts.format)
            height, width = picture.shape[:2]
            jpeg = encode_jpeg(picture, head["quality"])
        else:
            jpeg, width, height = develop_native(path, head["quality"])
    except StorageFailed as error:
        raise Failed("original", str(error)) from error
    except ValueError as error:
        raise Failed("original", f"{path} cannot be developed: {error}.") from error
    try:
        written = write_durable(Path(head["target"]), jpeg)
    except StorageFull as error:
        raise Failed("storage_full", str(error)) from error
    except StorageFailed as error:
        raise Failed("storage_failed", str(error)) from error
    took_ms = round(1000 * (time.monotonic() - begun), 1)
    facts = {"path": str(written.path), "bytes": written.bytes, "sha256": written.sha256, "width": width, "height": height, "took_ms": took_ms}
    return {"type": "developed", **facts}, b""


def _thumb(head: Head, started: Callable[[], None]) -> tuple[Head, bytes]:
    try:
        import simplejpeg  # noqa: F401
    except ImportError as error:
        raise Failed("installation", f"The darkroom cannot load a library: {error}. Install Cupola again.") from error
    from cupola.darkroom.develop import thumbnail

    started()
    path = Path(head["path"])
    try:
        return {"type": "thumb"}, thumbnail(path.read_bytes(), width=head["width"])
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise Failed(
            "original", f"{path} cannot be shown small: {reason}. It was deleted or changed after it was written; check the disk."
        ) from error


def _growing(head: Head, started: Callable[[], None]) -> tuple[Head, bytes]:
    try:
        import av.logging
        import cv2
        import simplejpeg  # noqa: F401
    except ImportError as error:
        raise Failed("installation", f"The darkroom cannot load a library: {error}. Install Cupola again.") from error
    from cupola.darkroom import growjobs

    cv2.setNumThreads(1)
    av.logging.set_level(av.logging.PANIC)  # what goes wrong is raised as well
    started()
    try:
        return growjobs.JOBS[head["type"]](head), b""
    except StorageFull as error:
        raise Failed("storage_full", str(error)) from error
    except StorageFailed as error:
        raise Failed("storage_failed", str(error)) from error


JOBS: dict[str, Callable[[Head, Callable[[], None]], tuple[Head, bytes]]] = {
    "develop": _develop,
    "thumb": _thumb,
    **dict.fromkeys(("grow", "preview", "finish"), _growing),
}


def main(argv: list[str]) -> int:
    faulthandler.enable()
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    return serve(Link.from_argv(argv))


if __name__ == "__main__":
    sys.exit(main(sys.argv))
