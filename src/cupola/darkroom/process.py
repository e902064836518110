"""The darkroom's own process: one job in, one answer out, nothing kept.

Heavy libraries are imported at the first job that needs them, so that an idle darkroom is small. Which images are
developed, in which order, and what a failure means is decided by `darkroom.queue`, in the server; the pixels' way
from sample to JPEG is `darkroom.develop`.

From the server, each with a `job` number that the answer repeats:
  develop  original, target (absolute paths), quality  →  started, then developed (bytes, sha256, width, height, took_ms) or failed
  thumb    path, width                                 →  started, then thumb (payload: the JPEG) or failed
  close                                                →  the process ends
`failed` has a `kind` (see FailureKind) and a `message`. `log` (level, event, message) may come at any time.

The process ends when the server does: after the job at hand, whose result then lies on disk for the next server.
"""

import faulthandler
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Literal

from cupola.core.errors import StorageFailed, StorageFull
from cupola.process.wire import Head, Link

# installation: this process cannot work at all; original: this file will not do; storage_…: the disk does not take
# the result, whatever it is; error: none of these, so a mistake in here.
FailureKind = Literal["installation", "original", "storage_full", "storage_failed", "error"]


class Failed(Exception):
    """A job that will not be done, for a known reason."""

    def __init__(self, kind: FailureKind, message: str) -> None:
        super().__init__(message)
        self.kind: FailureKind = kind


def serve(link: Link) -> None:
    """Do jobs until the server closes or is gone."""
    jobs = {"develop": _develop, "thumb": _thumb}
    try:
        while (message := link.receive()) is not None:
            head, _ = message
            if head["type"] == "close":
                return
            job = jobs.get(head["type"])
            if job is None:
                link.send({"type": "failed", "job": head.get("job"), "kind": "error", "message": f"the darkroom knows no job {head['type']!r}"})
                continue
            link.send(*_answer(job, head, link))
    except OSError:  # the server is gone; what was done lies on disk
        return


def _answer(job, head: Head, link: Link) -> tuple[Head, bytes]:  # type: ignore[no-untyped-def]
    number = head["job"]
    try:
        answer, payload = job(head, lambda: link.send({"type": "started", "job": number}))
        return {**answer, "job": number}, payload
    except Failed as failure:
        return {"type": "failed", "job": number, "kind": failure.kind, "message": str(failure)}, b""
    except Exception as error:
        link.send({"type": "log", "level": "error", "event": "capture", "message": traceback.format_exc()})
        return {"type": "failed", "job": number, "kind": "error", "message": f"{type(error).__name__}: {error}"}, b""
