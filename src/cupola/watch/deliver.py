"""A process that hands one message to Apprise and ends: `python -m cupola.watch.deliver`, the order as JSON on stdin, the outcome on stdout.

Libraries of a hundred services, name servers and far ends that say nothing cost the server neither memory nor time this way: whoever hangs
is ended. Addresses come by stdin, where no list of processes shows them, and are struck from what is answered. Whatever address Apprise
connects to is judged by `core.reach` first.
"""

from __future__ import annotations

import json
import logging
import re
import socket
import sys
from typing import Any
from urllib.parse import unquote

from cupola.core.reach import why_refused

TIMEOUT_S = 20.0
_TYPES = {"INFO": "info", "WARNING": "warning", "ERROR": "failure", "CRITICAL": "failure"}


class _JudgedSocket(socket.socket):
    """Connects only where own requests may go. `loopback`: to this machine, too."""

    loopback = False

    def connect(self, address: Any, /) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and (why := why_refused(address[0], loopback=self.loopback)) is not None:
            hint = " Set loopback: true if that is meant." if why_refused(address[0], loopback=True) is None else ""
            raise ConnectionRefusedError(f"{address[0]} is not asked: it {why}.{hint}")
        super().connect(address)


def outcome(order: dict[str, Any]) -> dict[str, Any]:
    """Do what is asked; the error in words without secrets, null where there is none."""
    address = str(order["address"])
    _JudgedSocket.loopback = bool(order["loopback"])
    socket.socket = _JudgedSocket
    socket.setdefaulttimeout(TIMEOUT_S)
    try:
        error = _send(address, order)
    except Exception as problem:  # whatever a plugin does is told, not shown as a crash
        error = f"{type(problem).__name__}: {problem}"
    return {"error": None if error is None else scrubbed(error, address)[:400]}


def _send(address: str, order: dict[str, Any]) -> str | None:
    try:
        import apprise
    except ImportError:
        return "Apprise is not installed: install Cupola with its dependencies"
    said: list[str] = []

    class _Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    log = logging.getLogger("apprise")
    log.addHandler(_Listener())
    log.setLevel(logging.DEBUG)  # why a connection failed is told there only
    sender = apprise.Apprise()
    if not sender.add(address):
        return "Apprise does not know this kind of address, or something in it is missing"
    said.clear()
    kind = apprise.NotifyType("success" if order["kind"] == "recovered" else _TYPES[order["level"]])
    done = sender.notify(body=order["text"], title=order["title"], notify_type=kind, attach=order["picture"])
    return (
        None if done else next((words for words in reversed(said) if "xception" in words or "error" in words.lower()), "the service did not take it")
    )


def scrubbed(text: str, address: str) -> str:
    """`text` without anything of `address` but its scheme: which part of it is the secret differs from service to service."""
    rest = address.partition("://")[2]
    parts = re.split(r"[/:@?&=#]+", rest)
    for part in sorted({address, rest, *parts, *map(unquote, parts)}, key=len, reverse=True):
        if len(part) >= 4:
            text = text.replace(part, "***")
    return text


def main() -> int:
    print(json.dumps(outcome(json.load(sys.stdin))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
