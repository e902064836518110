"""What the status server answers: from the two files, the newest picture and video, and the end of the log.

No path of the file system is ever made of what a client sends: an address is compared with a short list, and the files are those that the main
server named. Standard library only.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import sys
import time
from collections import deque
from pathlib import Path

from cupola.status import files, logfiles, metrics
from cupola.status.logfiles import LEVELS
from cupola.status.request import Refused, Request

try:  # hashlib would bring all of OpenSSL: four megabytes
    from _sha2 import sha256  # type: ignore[import-not-found]  # Python 3.12
except ImportError:
    try:
        from _sha256 import sha256  # type: ignore[import-not-found]
    except ImportError:
        from hashlib import sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from io import BufferedReader
    from typing import Any

LINES_MOST = 1000
TAIL_BYTES = 1_000_000
PACKED_MOST = 1_000_000  # bytes of a packed log that are unpacked for its end: about 10 MB of text
FILES_MOST = 4  # files of one log that are looked into, when those after them tell nothing
FILES = {"debug": "cupola-debug.log", "error": "cupola-error.log", "critical": "cupola-error.log"}  # else cupola.log
NO_LOGIN = "This needs a token: Authorization: Bearer … (made with: cupola token create NAME --scope view)"
SILENT = "Cupola has told nothing since this machine started: it does not run, or not as this user. See: cupola service status"
DISK = ("/latest/photo", "/latest/video", "/logs")  # these wait for a disk, which may not answer
PROTECTED = ("/config", "/logs")  # what only an admin may see


class Answer:
    """`body`: bytes, or an open file of `size` bytes."""

    __slots__ = ("body", "headers", "kind", "size", "status")

    def __init__(
        self, status: int, kind: str, body: bytes | BufferedReader, size: int | None = None, headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        self.status, self.kind, self.body, self.headers = status, kind, body, headers
        self.size = len(body) if isinstance(body, bytes) else size or 0


def as_json(status: int, value: object) -> Answer:
    return Answer(status, "application/json", json.dumps(value, ensure_ascii=False).encode() + b"\n")


class Answers:
    """`folder`: where the two files lie. `open_to_all`: only this machine can reach the server, so that nobody needs a token."""

    def __init__(self, folder: Path, *, open_to_all: bool) -> None:
        self._folder, self._open = folder, open_to_all
        self._paths = {
            "/health": self._health,
            "/status": self._status,
            "/latest/photo": lambda request: self._picture("photo", "image/jpeg"),
            "/latest/video": lambda request: self._picture("video", "video/mp4"),
            "/logs": self._logs,
            "/config": lambda request: as_json(200, self._private()["config"]),
            "/metrics": self._metrics,
        }

    def __call__(self, request: Request) -> Answer:
        """Raises Refused."""
        answer = self._paths.get(request.path)
        self._admit(request)
        if answer is None:
            raise Refused(404, f"There is nothing at this address. There are: {' '.join(self._paths)}")
        known = ("lines", "level") if request.path == "/logs" else ()
        if unknown := sorted(request.query.keys() - set(known)):
            raise Refused(400, f"{request.path} knows no {unknown[0][:40]}. It knows: {' '.join(known) or 'nothing'}")
        return answer(request)

    def _admit(self, request: Request) -> None:
        """A proxy on this machine forwards what strangers ask, so that it needs a token as they do."""
        if self._open and not any(name in request.headers for name in ("forwarded", "x-forwarded-for", "x-real-ip")):
            host = request.headers.get("host", "localhost")
            name = host[: host.find("]") + 1] if host.startswith("[") else host.partition(":")[0]
            ours = name.lower() == "localhost" or name == "[::1]" or (name.startswith("127.") and not name.strip("0123456789."))
            if not ours:
                raise Refused(421, "Ask for 127.0.0.1 or localhost: a page of another name may not reach this.")  # DNS rebinding
            return
        scheme, _, secret = request.headers.get("authorization", "").partition(" ")
        tokens = (files.read(self._folder, files.PRIVATE) or {}).get("tokens", {})
        scope = tokens.get(sha256(secret.strip().encode("latin-1", "replace")).hexdigest()) if scheme.lower() == "bearer" else None
        if scope is None:
            raise Refused(401, NO_LOGIN)
        if request.path in PROTECTED and scope != "admin":
            raise Refused(403, f"{request.path} needs a token with the scope admin.")

    def _private(self) -> dict[str, Any]:
        found = files.read(self._folder, files.PRIVATE)
        if found is None:
            raise Refused(503, SILENT)
        return found

    def _told(self) -> dict[str, Any]:
        """The status file, and how old it is: `stale` names the moment since when nothing was heard."""
        document = files.read(self._folder, files.DOCUMENT)
        if document is None:
            return {"status": "unknown", "stale": True, "stale_since": None, "age_seconds": None, "detail": SILENT}
        age_s = files.age_s(document)
        stale = not document.get("running") or age_s > files.STALE_S
        words = f"Cupola {'was stopped' if not document.get('running') else 'has said nothing since'} at {document['updated_at']}."
        told = {"stale": stale, "stale_since": document["updated_at"] if stale else None, "age_seconds": None if age_s == float("inf") else age_s}
        return {**document, **told, **({"detail": words} if stale else {})}

    def _health(self, request: Request) -> Answer:
        """503 while the main server is not well, for those who only look at the number."""
        told = self._told()
        keys = ("device_id", "stale", "stale_since", "age_seconds", "updated_at", "running", "detail")
        return as_json(
            503 if told["stale"] else 200, {"status": "stale" if told["stale"] else "ok", **{key: told[key] for key in keys if key in told}}
        )

    def _status(self, request: Request) -> Answer:
        told = self._told()
        return as_json(503 if told["status"] == "unknown" else 200, told)

    def _metrics(self, request: Request) -> Answer:
        document = files.read(self._folder, files.DOCUMENT)
        if not (files.read(self._folder, files.PRIVATE) or {}).get("metrics", document is None):
            raise Refused(404, "Metrics are switched off (monitoring.prometheus).")
        age_s = float("inf") if document is None else files.age_s(document)
        stale = document is None or not document.get("running") or age_s > files.STALE_S
        return Answer(200, metrics.CONTENT_TYPE, metrics.text(metrics.families(document, age_s, stale=stale)).encode())

    def _picture(self, which: str, kind: str) -> Answer:
        path = self._private()[which]
        if path is None:
            raise Refused(404, f"There is no {which} yet.")
        file, size, changed = self._opened(path)
        when = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(changed))
        return Answer(200, kind, file, size, (("Last-Modified", when),))

    def _opened(self, path: str) -> tuple[BufferedReader, int, float]:
        """A regular file that the main server named. Root reads only what belongs to whom the server runs as. Raises Refused."""
        name, mode = os.path.basename(path), os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        try:
            descriptor = os.open(path, mode)
        except OSError as error:
            raise Refused(404, f"{name} cannot be read: {error.strerror}.") from None
        facts = os.fstat(descriptor)
        strange = sys.platform != "win32" and os.geteuid() == 0 and facts.st_uid != (self._folder / files.PRIVATE).stat().st_uid
        if not stat.S_ISREG(facts.st_mode) or strange:
            os.close(descriptor)
            raise Refused(404, f"{name} is no file of the station's.")
        return os.fdopen(descriptor, "rb"), facts.st_size, facts.st_mtime

    def _logs(self, request: Request) -> Answer:
        """The last records, one JSON object a line, oldest first."""
        level, lines = request.query.get("level", "info").lower(), request.query.get("lines", "50")
        if level not in LEVELS:
            raise Refused(400, f"level is one of {', '.join(LEVELS)}.")
        if not lines.isascii() or not lines.isdecimal() or not 1 <= int(lines[:5]) <= LINES_MOST or len(lines) > 4:
            raise Refused(400, f"lines is a number from 1 to {LINES_MOST}.")
        wanted, most = FILES.get(level, "cupola.log"), int(lines)
        found: list[logfiles.Record] = []
        refusals, paths = list[Refused](), self._newest_first(wanted)
        for path in paths:
            try:
                tail, whole = self._tail(path)
            except Refused as refused:  # the logger has just packed or deleted it
                refusals.append(refused)
                continue
            told = self._told_at(level, most, tail, whole=whole)
            found = (told + found)[-most:]
            if len(found) == most or not whole or (told and os.path.basename(path) != wanted):
                break
        if len(refusals) == len(paths):
            raise refusals[0]
        return Answer(200, "application/x-ndjson", "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in found).encode())

    def _newest_first(self, wanted: str) -> list[str]:
        """What is being written, and those before it: it may be new, and the one before it damaged. Raises Refused."""
        folder = self._private()["logs"]
        try:
            return logfiles.rotations(folder, wanted)[: -FILES_MOST - 1 : -1] or [os.path.join(folder, wanted)]
        except OSError as error:
            raise Refused(404, f"The folder of the logs cannot be read: {error.strerror}.") from None

    def _tail(self, path: str) -> tuple[bytes, bool]:
        """The end of a log, and whether that is all of it; of a damaged one what can be read, none of one that is larger than can be unpacked in time.
        Raises Refused.
        """
        file, size, _ = self._opened(path)
        with file:
            packed, tail, whole = path.endswith(".gz"), b"", True
            if size > (PACKED_MOST if packed else TAIL_BYTES):
                if packed:
                    return b"", True
                file.seek(size - TAIL_BYTES)
                whole = False
            with contextlib.suppress(OSError):  # a bad place of the disk
                for piece in logfiles.pieces(file, packed):
                    tail += piece
                    if len(tail) > 2 * TAIL_BYTES:
                        tail, whole = tail[-TAIL_BYTES:], False
        return tail, whole

    @staticmethod
    def _told_at(level: str, most: int, tail: bytes, *, whole: bool) -> list[logfiles.Record]:
        """The last `most` records of a level or worse. Not `whole`: the first line is a part of one."""
        found = logfiles.records(tail.decode("utf-8", "replace").split("\n")[0 if whole else 1 :])
        return list(deque((record for record in found if LEVELS.index(record["level"].lower()) >= LEVELS.index(level)), most))
