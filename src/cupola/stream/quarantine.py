"""Records that are not as agreed, set aside as files for the owner to look at; what is good goes on past them."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cupola.core.clock import iso_utc, utc_now
from cupola.storage.files import store_durable, telling
from cupola.stream.archive import STATE
from cupola.stream.format import Malformed

KEPT_MOST = 1000  # records of one station: whoever sends rubbish without end fills no disk with it
BYTES_MOST = 2_000_000  # of one record
TOLD_EVERY_S = 60.0


class Quarantine:
    """One station's, below its `root`."""

    def __init__(self, root: Path, station: str, tell: Callable[[str, str, str], None]) -> None:
        self.folder = root / STATE / "quarantine"
        self._station, self._tell = station, tell
        self._told_at: float | None = None
        self._untold = 0

    def set_aside(self, stream: str, id_: str, raw: Mapping[bytes, bytes], error: Malformed) -> None:
        """Keep it as `images-3-17.json` and tell. Of very many only the first are kept. Raises StorageFull, StorageFailed."""
        path = self.folder / f"{stream}-{id_}.json"
        with telling(self.folder, "list"):
            kept = sum(1 for _ in self.folder.iterdir()) if self.folder.is_dir() else 0
        if kept < KEPT_MOST or path.exists():
            record = {"why": str(error), "set_aside_at": iso_utc(utc_now()), "stream": error.stream, "id": id_, **_fields(raw)}
            store_durable(path, json.dumps(record, indent=1).encode())
            where = f"The record is kept as {path}."
        else:
            where = f"It is not kept: there are {kept} in {self.folder} already. Delete them when you have seen them."
        self._untold += 1
        if self._told_at is None or time.monotonic() - self._told_at >= TOLD_EVERY_S:
            more = f" ({self._untold} since this was told last)" if self._untold > 1 else ""
            self._tell("warning", f"{error}. {where}{more} See who writes to that stream.", self._station)
            self._told_at, self._untold = time.monotonic(), 0


def _fields(raw: Mapping[bytes, bytes]) -> dict[str, Any]:
    """Text as text, all else in base64, within BYTES_MOST."""
    fields: dict[str, Any] = {}
    left = BYTES_MOST
    for name, value in raw.items():
        if left <= 0:
            return {"fields": fields, "cut": True}
        taken = value[:left]
        left -= len(taken) + len(name)
        key = name[:200].decode(errors="backslashreplace")
        try:
            text = taken.decode()
            fields[key] = text if text.isprintable() else {"base64": base64.b64encode(taken).decode()}
        except UnicodeDecodeError:
            fields[key] = {"base64": base64.b64encode(taken).decode()}
    return {"fields": fields, "cut": left <= 0}
