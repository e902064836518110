"""The outermost layer: which hosts and origins may ask, and how much they may send.

A page of another site, open in a browser that may reach this machine, must not reach the station: the Host
(against DNS rebinding) and the Origin have to be ours. Who asks, and what they may, is looked at behind this, by `access.gate`.
"""

from __future__ import annotations

import contextlib
import json
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cupola.web.access.address import Addresses

LENGTH_DIGITS = 10  # int() refuses thousands of them
BODY_LIMIT = 64 * 1024
SAFE = {"GET", "HEAD", "OPTIONS"}
ONCE = (b"host", b"origin")  # of two, a proxy may believe the other one (RFC 9112, 3.2)
SECURITY_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (
        b"content-security-policy",
        b"default-src 'self'; img-src 'self' blob: data:; connect-src 'self' ws: wss:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
    ),
]


HSTS = (b"strict-transport-security", b"max-age=31536000")


class _TooLarge(Exception):
    pass


class Guard:
    """`tls`: the server has a certificate, and what comes in the clear is sent on to https."""

    def __init__(self, app: ASGIApp, addresses: Addresses, *, tls: bool = False) -> None:
        self._app, self._addresses, self._tls = app, addresses, tls

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        refused = self._refusal(scope, headers, secure=self._addresses.secure(scope, headers))
        if refused is not None:
            await _refuse(scope, receive, send, *refused)
        elif self._tls and not self._addresses.secure(scope, headers):
            await _to_https(scope, receive, send, headers[b"host"])
        elif scope["type"] == "websocket":
            await self._app(scope, receive, send)
        else:
            await self._http(scope, receive, send, secure=self._addresses.secure(scope, headers))

    def _refusal(self, scope: Scope, headers: dict[bytes, str], *, secure: bool) -> tuple[int, str, str] | None:
        host = headers.get(b"host", "")
        names = [name for name, _ in scope["headers"]]
        if any(names.count(name) > 1 for name in ONCE):
            return 400, "Bad request", "The request has more than one Host or Origin."
        try:
            if not self._addresses.ours(host, scope):
                return 421, "Not for this host", f"{host[:100]!r} is no name of this machine that is known here. Add it to web.hosts if it is one."
            origin = headers.get(b"origin")
            foreign = origin is not None and _is_foreign(origin, host, secure=secure)
        except ValueError:
            return 400, "Bad request", "The Host or Origin header is not an address."
        unsafe = scope["type"] == "websocket" or scope["method"] not in SAFE
        if foreign or (unsafe and headers.get(b"sec-fetch-site", "none") not in ("none", "same-origin")):
            return 403, "Not from another site", "A page of another site may not control this camera."
        length = headers.get(b"content-length", "0")
        if not length.isdecimal() or len(length) > LENGTH_DIGITS or int(length) > BODY_LIMIT:
            return 413, "Too large", f"A request may have {BODY_LIMIT} bytes at most."
        return None

    async def _http(self, scope: Scope, receive: Receive, send: Send, *, secure: bool) -> None:
        received, started, large = 0, False, False

        async def limited() -> Message:
            nonlocal received, large
            message = await receive()
            received += len(message.get("body", b""))
            if received > BODY_LIMIT:
                large = True
                raise _TooLarge
            return message

        async def secured(message: Message) -> None:
            nonlocal started
            if large and not started:
                return  # the framework's own words about a body it could not read
            if message["type"] == "http.response.start":
                started = True
                hsts = [HSTS] if secure else []
                message = {**message, "headers": [*message["headers"], *SECURITY_HEADERS, *hsts]}
            await send(message)

        with contextlib.suppress(_TooLarge):
            await self._app(scope, limited, secured)
        if large and not started:
            await _refuse(scope, receive, send, 413, "Too large", f"A request may have {BODY_LIMIT} bytes at most.")


def _is_foreign(origin: str, host: str, *, secure: bool) -> bool:
    """A page that came in the clear may be anybody's, so it is not ours where we are encrypted. Raises ValueError."""
    parts = urlsplit(origin)
    return parts.netloc.lower() != host.lower() or parts.scheme not in (("https",) if secure else ("http", "https"))


async def _to_https(scope: Scope, receive: Receive, send: Send, host: str) -> None:
    """Say where the encrypted address is, to those who only look: what else was sent could be read by anybody and is not taken."""
    if scope["type"] == "websocket" or scope["method"] not in SAFE:
        await _refuse(
            scope,
            receive,
            send,
            403,
            "Only encrypted",
            "This station speaks HTTPS only. Nothing was done; change secrets that were sent in the clear.",
        )
        return
    host = host if urlsplit(f"//{host}").port is not None else f"{host}:80"  # the port that was reached is the one that speaks TLS
    query = b"?" + scope["query_string"] if scope["query_string"] else b""
    location = b"https://" + host.encode("latin-1") + scope["raw_path"] + query
    headers = [(b"location", location), (b"content-length", b"0"), *SECURITY_HEADERS]
    await send({"type": "http.response.start", "status": 308, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


async def _refuse(scope: Scope, receive: Receive, send: Send, status: int, title: str, detail: str) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 4403, "reason": detail[:120]})
        return
    body = json.dumps({"type": "about:blank", "title": title, "status": status, "detail": detail}).encode()
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(body)).encode()),
        # a small body that is still on its way must not meet a closed connection: the answer would be lost with it
        *([(b"connection", b"close")] if status == 413 else []),
        *SECURITY_HEADERS,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
