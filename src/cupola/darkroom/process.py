"""The darkroom's own process: one job in, one answer out; kept is only what spares the next job a reading, and what grows with each image.

Heavy libraries are imported at the first job that needs them, so that an idle darkroom is small. Which images
are developed, in which order, and what a failure means is decided by `darkroom.queue`, in the server; the way
of the pixels from sample to JPEG is `darkroom.job`.

From the server, first of all:

    configure  lock (absolute path)  →  nothing; or refused with a message, and the process ends, when the lock is not to be had

Then, each with a `job` number that every answer repeats:

    develop  original, target (absolute paths), quality, what `job.Order` takes, camera, exposure_s, gain, gain_scale
                                                                                     →  started, then developed or failed
    measure  path, image (the JPEG; absolute paths), camera, exposure_s, gain, gain_scale  →  started, then measured or failed
    preview  as develop without target, with format and width_max                    →  started, then preview (the payload is the picture) or failed
    dark     originals, folder (absolute paths)                                      →  started, then dark or failed
    thumb    path, width                                                             →  started, then thumb (the payload is the JPEG) or failed
    grow, so_far, finish                                                             →  started, then as `darkroom.growjobs` says, or failed
    close                                                                            →  the process ends

`developed` has path, bytes, sha256, width, height, took_ms and, as `measured`, what `darkroom.measure` made of it; `dark` the `name` of the
master's file; `failed` a `kind` (see FailureKind) and a `message`.
`log` (level, event, message) may come at any time. A death before `started` says nothing about the job.

When the server is gone the process ends after the job at hand, whose result is on disk for the next server. The lock is
held for the process's life: who holds it is the one writer of developed images.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cupola.core.errors import CupolaError, StorageFailed, StorageFull
from cupola.process.wire import Head, Link, WireError, serve_server
from cupola.storage.space import Lock

if TYPE_CHECKING:
    from cupola.core.frame import PixelFormat, Pixels
    from cupola.darkroom.job import Developer, Made, Measure
    from cupola.darkroom.measure import Measurer

NICENESS = 10  # cameras come first
REST_S = 5.0  # with nothing to do for so long, memory is given back

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
            del message
            if not link.waits(REST_S):
                _give_back()
    except (OSError, WireError):  # the server is gone; what was done is on disk
        pass
    return 0


def _answer(link: Link, head: Head) -> tuple[Head, bytes]:
    number = head["job"]
    try:
        answer, payload = JOBS[head["type"]](head, lambda: link.send({"type": "started", "job": number}))
        for problem in answer.pop("problems", ()):
            if problem not in _TOLD:
                _TOLD.add(problem)
                link.send({"type": "log", "level": "WARNING", "event": "capture", "message": problem})
        return {**answer, "job": number}, payload
    except Failed as failure:
        return {"type": "failed", "job": number, "kind": failure.kind, "message": str(failure)}, b""
    except Exception as error:  # the edge of a job: the next one has nothing to do with it
        link.send({"type": "log", "level": "ERROR", "event": "capture", "message": f"The darkroom failed at a job.\n{traceback.format_exc()}"})
        return {"type": "failed", "job": number, "kind": "error", "message": f"{type(error).__name__}: {error}"}, b""


def _give_back() -> None:
    """What pictures of many megabytes left free in the heap: 40 MB after one of 1080p, which glibc would keep."""
    if sys.platform != "linux":
        return
    import ctypes

    with contextlib.suppress(AttributeError):  # musl keeps nothing
        ctypes.CDLL(None).malloc_trim(0)


_TOLD: set[str] = set()  # problems with a recipe that were logged: the next thousand pictures have the same


@functools.cache
def _developer() -> Developer:
    """One for the process's life, with what the next picture needs again."""
    from cupola.darkroom.job import Developer

    return Developer()


def _load(*libraries: str) -> None:
    """What a job will need, so that its absence is told from a bad original."""
    try:
        for library in libraries:
            importlib.import_module(library)
    except ImportError as error:
        raise Failed("installation", f"The darkroom cannot load a library: {error}. Install Cupola again.") from error


def _make(head: Head, started: Callable[[], None], measure: Measure | None = None) -> Made:
    _load("astropy.io.fits", "cv2", "simplejpeg")
    from cupola.darkroom.job import Order

    started()
    path = Path(head["original"])
    order = Order.from_head(head)
    try:
        return _developer().make(path, order, measure)
    except StorageFailed as error:
        raise Failed("original", str(error)) from error
    except ValueError as error:
        raise Failed("original", f"{path} cannot be developed: {error}.") from error


def _develop(head: Head, started: Callable[[], None]) -> tuple[Head, bytes]:
    from cupola.storage.files import write_durable

    begun = time.monotonic()
    made = _make(head, started, lambda pixels, layout, _: _measured(head, pixels, layout))
    try:
        written = write_durable(Path(head["target"]), made.data)
    except StorageFull as error:
        raise Failed("storage_full", str(error)) from error
    except StorageFailed as error:
        raise Failed("storage_failed", str(error)) from error
    measurer = _measurer()
    measurer.save(made.measured, written.path)
    took_ms = round(1000 * (time.monotonic() - begun), 1)
    facts = {"path": str(written.path), "bytes": written.bytes, "sha256": written.sha256, "width": made.width, "height": made.height}
    problems = [*made.problems, *measurer.taken()]
    return {"type": "developed", **facts, "took_ms": took_ms, "measured": made.measured, "problems": problems}, b""


def _preview(head: Head, started: Callable[[], None]) -> tuple[Head, bytes]:
    made = _make(head, started)
    return {"type": "preview", "width": made.width, "height": made.height, "notes": list(made.problems)}, made.data


def _dark(head: Head, started: Callable[[], None]) -> tuple[Head, bytes]:
    _load("astropy.io.fits", "cv2")
    from cupola.darkroom.stacking import make

    started()
    try:
        entry = make([Path(original) for original in head["originals"]], Path(head["folder"]))
    except StorageFull as error:
        raise Failed("storage_full", str(error)) from error
    except StorageFailed as error:
        raise Failed("original", str(error)) from error
    except ValueError as error:
        raise Failed("original", f"No master dark: {error}.") from error
    return {"type": "dark", "name": entry.path.name}, b""


@functools.cache
def _measurer() -> Measurer:
    """One for the process's life: it remembers each camera's frame before."""
    from cupola.darkroom.measure import Measurer

    return Measurer()


def _measured(head: Head, pixels: Pixels, layout: PixelFormat) -> dict[str, Any]:
    facts = {name: head.get(name) for name in ("exposure_s", "gain")}
    return _measurer().measure(pixels, layout, camera=head.get("camera", ""), scale=head.get("gain_scale"), **facts)


def _measured_jpeg(head: Head, jpeg: bytes) -> dict[str, Any]:
    """A picture that a camera has developed itself, on its luma. Raises ValueError for a damaged JPEG."""
    import simplejpeg

    from cupola.darkroom.measure import LINEAR, linear_luma

    return _measured(head, linear_luma(simplejpeg.decode_jpeg(jpeg, "GRAY")[:, :, 0]), LINEAR)


def _measure(head: Head, started: Callable[[], None]) -> tuple[Head, bytes]:
    """Measure an image that is developed already."""
    _load("astropy.io.fits", "cv2", "simplejpeg")
    from cupola.storage.files import ORIGINAL_SUFFIX
    from cupola.storage.originals import read_original

    started()
    path = Path(head["path"])
    try:
        if path.name.endswith(ORIGINAL_SUFFIX):
            original = read_original(path)
            measured = _measured(head, original.data, original.facts.format)
        else:
            measured = _measured_jpeg(head, path.read_bytes())
    except (OSError, ValueError, StorageFailed) as error:
        raise Failed("original", f"{path} cannot be read: {error}.") from error
    measurer = _measurer()
    measurer.save(measured, Path(head["image"]))
    return {"type": "measured", "measured": measured, "problems": measurer.taken()}, b""


def _thumb(head: Head, started: Callable[[], None]) -> tuple[Head, bytes]:
    _load("simplejpeg")
    from cupola.darkroom.encode import thumbnail

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
    _load("av.logging", "cv2", "simplejpeg")
    import av.logging
    import cv2

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


Job = Callable[[Head, Callable[[], None]], tuple[Head, bytes]]
JOBS: dict[str, Job] = {
    "develop": _develop,
    "measure": _measure,
    "preview": _preview,
    "dark": _dark,
    "thumb": _thumb,
    **dict.fromkeys(("grow", "so_far", "finish"), _growing),
}


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy's threads wait for each other in a loop, on cores that cameras need
    sys.exit(serve_server(serve, NICENESS))
