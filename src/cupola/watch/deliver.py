"""A process that hands one message to one channel and ends: `python -m cupola.watch.deliver`, the order as JSON on stdin, the outcome on stdout.

Libraries of a hundred services, name servers and far ends that say nothing cost the server neither memory nor time this way: whoever hangs
is ended. Addresses come by stdin, where no list of processes shows them, and are struck from what is answered. Standard library only,
and Apprise where it is asked for.
"""

from __future__ import annotations

import base64
import http.client
import json
import logging
import mimetypes
import re
import socket
import ssl
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

TIMEOUT_S = 20.0
PICTURE_MAX = 8 << 20  # larger ones stay at home
_TYPES = {"INFO": "info", "WARNING": "warning", "ERROR": "failure", "CRITICAL": "failure"}


def outcome(order: dict[str, Any]) -> dict[str, Any]:
    """Do what is asked. `{"ok": True}`, or what went wrong in words without secrets, and whether it is the message that was refused."""
    address = str(order["address"])
    try:
        refused, error = (_by_apprise if order["way"] == "apprise" else _by_http)(address, order)
    except (OSError, http.client.HTTPException, ValueError) as problem:
        refused, error = False, str(problem) or type(problem).__name__
    if error is None:
        return {"ok": True}
    return {"ok": False, "error": scrubbed(error, address, host_too=order["way"] == "apprise")[:400], "refused": refused}


def _by_apprise(address: str, order: dict[str, Any]) -> tuple[bool, str | None]:
    try:
        import apprise
    except ImportError:
        return False, "Apprise is not installed: install Cupola with its dependencies"
    said: list[str] = []

    class _Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    log = logging.getLogger("apprise")
    log.addHandler(_Listener())
    log.setLevel(logging.WARNING)
    sender = apprise.Apprise()
    if not sender.add(address):
        return False, "Apprise does not know this kind of address, or something in it is missing"
    picture = _picture(order)
    kind = "success" if order["kind"] == "recovered" else _TYPES[order["level"]]
    done = sender.notify(
        body=order["text"], title=order["title"], notify_type=apprise.NotifyType(kind), attach=None if picture is None else str(picture)
    )
    return False, None if done else "; ".join(said) or "the service did not take it"


def _by_http(address: str, order: dict[str, Any]) -> tuple[bool, str | None]:
    """Post `order["document"]`, or get the address where there is none. No redirect is followed: it would take the message elsewhere."""
    parts = urlsplit(address)
    host, port = parts.hostname or "", parts.port
    connection = (
        http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=ssl.create_default_context())
        if parts.scheme == "https"
        else http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    )
    headers = {"User-Agent": "cupola"}
    if parts.username is not None:
        secret = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = f"Basic {base64.b64encode(secret.encode()).decode()}"
    document = order.get("document")
    if document is not None:
        headers["Content-Type"] = "application/json"
        if (picture := _picture(order)) is not None:
            data = base64.b64encode(picture.read_bytes()).decode()
            kind = mimetypes.guess_type(picture.name)[0] or "application/octet-stream"
            document = {**document, "picture": {"name": picture.name, "type": kind, "base64": data}}
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request("GET" if document is None else "POST", target, None if document is None else json.dumps(document).encode(), headers)
        answer = connection.getresponse()
        answer.read(1 << 16)
    finally:
        connection.close()
    if 200 <= answer.status < 300:
        return False, None
    refused = 400 <= answer.status < 500 and answer.status not in (404, 408, 429)
    return refused, f"{host} answered {answer.status} {answer.reason}"


def _picture(order: dict[str, Any]) -> Path | None:
    """Unless it is gone by now, or too large."""
    path = Path(order["picture"]) if order.get("picture") else None
    return path if path is not None and path.is_file() and path.stat().st_size <= PICTURE_MAX else None


def scrubbed(text: str, address: str, *, host_too: bool) -> str:
    """`text` without what of `address` may be a secret: all of it but the scheme, and the host where that is none."""
    rest = address.partition("://")[2]
    keep = "" if host_too else (urlsplit(address).hostname or "")
    for part in sorted({address, rest, *re.split(r"[/:@?&=#]+", rest), *map(unquote, re.split(r"[/:@?&=#]+", rest))}, key=len, reverse=True):
        if len(part) >= 4 and part != keep:
            text = text.replace(part, "***")
    return text


def main() -> int:
    socket.setdefaulttimeout(TIMEOUT_S)
    print(json.dumps(outcome(json.load(sys.stdin))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
