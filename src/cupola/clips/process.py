"""The process of one clip: writes its packets down as they come, and makes the MP4 of them at the end.

A process of its own, because FFmpeg reads here what cameras sent, and because a disk that stalls must not stall the server. It
begins with the standard library alone; PyAV is loaded while packets still come. The MP4 is made behind the journal (`growing`), so
that H.264 and H.265 are ready when the clip is, and most JPEGs are encoded by then.

From the server:

    start    journal, target (absolute paths), clip (facts of the first trigger), seconds (expected)  →  ready: `upto`, the last packet an earlier life wrote
    packet   n, facts of the packet; the payload is its data                      →  written: n, now and then, for all up to it
    finish   after_s                                                              →  progress (frames) now and then, then saved or failed
    close                                                                         →  the process ends
    copy     source, target (absolute paths); instead of start                    →  progress, then saved or failed

`saved` is what `mp4.make` answers; `failed` has kind and message. When the server is gone the
process ends; the journal is for the next server.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from cupola.clips import journal
from cupola.clips.growing import Growing
from cupola.core.errors import CupolaError
from cupola.process.wire import Head, Link, WireError, serve_server

NICENESS = 10
SYNC_S = 1.0
TELL_EACH, TELL_BYTES = 8, 1 << 20  # packets, or bytes, that are written before the server is told: it has other things to do


def serve(link: Link) -> int:
    """One clip, until the server says so or is gone."""
    try:
        if (first := link.receive()) is None:
            return 0
        head = first[0]
        if head["type"] == "copy":
            _copy(link, Path(head["source"]), Path(head["target"]))
            _until_closed(link)
            return 0
        book, target = Path(head["journal"]), Path(head["target"])
        made = _write(link, book, target, head["clip"], head["seconds"])
        if isinstance(made, dict):
            link.send({"type": "saved", **made})
        else:
            _finish(link, book, target, made)
        _until_closed(link)
    except (OSError, WireError):
        pass  # the server is gone
    except CupolaError as error:
        with contextlib.suppress(OSError):
            link.send({"type": "failed", "kind": error.kind, "message": str(error)})
            _until_closed(link)
    return 0


def _until_closed(link: Link) -> None:
    """What is still on its way has to be read: closing before would take the answer from the server."""
    while (message := link.receive()) is not None and message[0]["type"] != "close":
        pass


def _write(link: Link, book: Path, target: Path, clip: Head, seconds: float) -> Head | float:
    """Append what comes, until `finish`; what is in the MP4 when it is there by then, else how long after the first trigger it was to go on.

    Raises OSError when the server goes away before that.
    """
    upto = -1
    if book.exists():
        for head, _ in journal.read(book):
            upto = max(upto, head.get("n", -1))
    growing: Growing | None = None
    with journal.Journal(book) as pages:
        if upto < 0:
            pages.append({"type": "clip", "n": -1, **clip}, b"")
        link.send({"type": "ready", "upto": upto})
        synced, untold = time.monotonic(), 0
        while (message := link.receive()) is not None:
            head, data = message
            if head["type"] == "finish":
                after_s = float(head["after_s"])
                if growing is not None and (made := growing.finish(after_s)) is not None:
                    return made
                pages.sync()
                return after_s
            if head["type"] == "close":
                break
            pages.append(head, data)
            if upto < 0 and growing is None:
                growing = Growing(book, target, seconds, _progress(link))
                growing.start()
            if growing is not None:
                growing.grown()
            untold += len(data)
            if head["n"] % TELL_EACH == 0 or untold > TELL_BYTES:
                link.send({"type": "written", "n": head["n"]})
                untold = 0
            if time.monotonic() - synced > SYNC_S:
                pages.sync()
                synced = time.monotonic()
        pages.sync()
    raise ConnectionAbortedError("the server is gone")


def _finish(link: Link, book: Path, target: Path, after_s: float) -> None:
    from cupola.clips import mp4

    _answer(link, lambda: mp4.make(book, target, after_s, _progress(link)))


def _copy(link: Link, source: Path, target: Path) -> None:
    """An H.264 copy; nobody is in a hurry."""
    from cupola.clips import mp4

    if hasattr(os, "nice"):
        os.nice(19)
    _answer(link, lambda: mp4.copy(source, target, _progress(link)))


def _progress(link: Link) -> Callable[[int], None]:
    return lambda frames: link.send({"type": "progress", "frames": frames})


def _answer(link: Link, make: Callable[[], Head]) -> None:
    from cupola.clips.mp4 import NothingToShow

    try:
        made = make()
    except NothingToShow as error:
        link.send({"type": "failed", "kind": "clip_empty", "message": str(error)})
    except Exception as error:
        if isinstance(error, CupolaError):
            raise
        link.send({"type": "failed", "kind": "error", "message": f"The clip could not be made: {type(error).__name__}: {error}"})
    else:
        link.send({"type": "saved", **made})


if __name__ == "__main__":
    sys.exit(serve_server(serve, NICENESS))
