"""In front of every route and every message: finds the entry in the table of rights, finds out who asks, lets pass or answers.

A route without an entry answers to nobody. What stays open (sockets, streams) is run beside a watch that ends it together with
the session or token it was opened with. Hosts, origins and sizes were looked at before, by `web.guard`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any

from fastapi.routing import iter_route_contexts
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Mount, compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cupola.core.errors import StorageFailed
from cupola.web.access.desk import Client
from cupola.web.access.lease import NotInControl
from cupola.web.access.models import problem_of
from cupola.web.access.rights import PAGE, RULES, Rule
from cupola.web.access.who import WHO, Role, Who
from cupola.web.guard import SAFE
from cupola.web.runtime import Runtime
from cupola.web.slow import Slow

CLIENT, SECURE = "cupola.client", "cupola.secure"
COOKIE, SECURE_COOKIE = "cupola", "__Host-cupola"
EPOCH_HEADER = b"x-control-epoch"
MESSAGE_MAX = 4096
CAMERA_NAME_MAX = 40
CLOSE_S = 2.0
LEASE_LOOK_S = 1.0


@dataclass(frozen=True, slots=True)
class Refusal:
    status: int
    title: str
    detail: str
    more: dict[str, Any] | None = None

    def body(self) -> dict[str, Any]:
        return {"type": "about:blank", "title": self.title, "status": self.status, "detail": self.detail, **(self.more or {})}


LOGIN = Refusal(401, "Log in", "This needs a login, or a token: Authorization: Bearer …")
UNCLAIMED = Refusal(
    403,
    "Not claimed yet",
    "This station has no owner yet. Open the link that Cupola printed when it started, or run on the machine itself: cupola claim",
    {"unclaimed": True},
)
FORBIDDEN = Refusal(403, "Not allowed", "Your rights do not reach that far.")
NO_ENTRY = Refusal(403, "Not allowed", "Nobody has a right to this address: it is missing in the table of rights. This is a mistake in Cupola.")


@dataclass(frozen=True, slots=True)
class Entry:
    """A route as the application has it: its key in the table, and what its address looks like."""

    key: str
    method: str
    pattern: re.Pattern[str]


def entries(routes: list[BaseRoute]) -> list[Entry]:
    """All routes of an application, in its order. The page's folder is last and takes what is left."""
    found: list[Entry] = []
    for context in iter_route_contexts(routes):
        route = context.route
        if isinstance(route, Mount):
            found.append(Entry(PAGE, "*", re.compile(r"^(?!/api(?:/|$)|/ws(?:/|$))")))
            continue
        pattern = compile_path(context.path or "")[0]
        methods = context.methods or {"WS"}
        found += [Entry(f"{method} {context.path}", method, pattern) for method in sorted(methods) if method != "HEAD"]
    return found


class Gate:
    def __init__(self, app: ASGIApp, slow: Slow) -> None:
        self._app, self._slow = app, slow
        self._entries: list[Entry] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        runtime: Runtime = scope["app"].state.runtime
        if self._entries is None:
            self._entries = entries(scope["app"].routes)
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        client = scope[CLIENT] = runtime.addresses.client(scope, headers)
        secure = scope[SECURE] = runtime.addresses.secure(scope, headers)
        key, values, known = self._find(scope)
        rule = RULES.get(key) if key else None

        def judged() -> tuple[Who | None, Refusal | None]:
            unknown: Refusal | None = None
            try:
                who = identify(runtime, headers, client, secure)
            except StorageFailed as error:  # then everybody is a stranger
                who, unknown = None, Refusal(503, "This does not work at the moment", str(error))
            if not runtime.desk.claimed and not client.local:
                who = None  # before the claim, to others than this machine, everybody is a stranger
            scope[WHO] = who
            refusal = _judge(runtime, rule, known, who, values, headers)
            return who, unknown if refusal is not None and unknown is not None else refusal

        who, refusal = judged()
        if refusal is None and scope["type"] == "http" and scope["method"] not in SAFE:
            whole = await _whole(receive)
            if whole is None:
                return  # what was not said to its end is not done
            receive = whole
            who, refusal = judged()  # the body may have taken its time; from here on nothing waits for the client any more
        if refusal is not None:
            await _refuse(scope, receive, send, refusal)
        elif rule is not None and rule.stream and who is not None:
            await self._stream(
                scope, receive, send, runtime, who, (lambda: _judge_lease(runtime, who, values, headers) is None) if rule.lease else None
            )
        elif scope["type"] == "http" and scope["method"] in SAFE:  # others wait for what they cause
            await self._app(scope, receive, self._slow.timed(key or PAGE, send))
        else:
            await self._app(scope, receive, send)

    def _find(self, scope: Scope) -> tuple[str | None, dict[str, str], bool]:
        """The key of the route, what its address names, and whether there is such a route at all."""
        method = "WS" if scope["type"] == "websocket" else "GET" if scope["method"] == "HEAD" else scope["method"]
        for entry in self._entries or ():
            found = entry.pattern.match(scope["path"])
            if found and (entry.method == method or (entry.key == PAGE and method != "WS")):
                return entry.key, found.groupdict(), True
        return None, {}, False

    async def _stream(self, scope: Scope, receive: Receive, send: Send, runtime: Runtime, who: Who, in_control: Callable[[], bool] | None) -> None:
        """Until it ends by itself, or the session or token does, or the control of the camera that it needs."""
        started = finished = False

        async def noting(message: Message) -> None:
            nonlocal started, finished
            started = started or message["type"] in ("http.response.start", "websocket.accept")
            finished = finished or message["type"] == "websocket.close" or (message["type"] == "http.response.body" and not message.get("more_body"))
            await send(message)

        listen = _checked(scope["path"], receive, send, who) if scope["type"] == "websocket" else receive
        with runtime.desk.streams.opened(who.id) as over:
            running = asyncio.create_task(self._run(scope, listen, noting))
            watching = asyncio.create_task(_either(over.wait(), in_control))
            try:
                await asyncio.wait({running, watching}, return_when=asyncio.FIRST_COMPLETED)
                if running.done():
                    running.result()
                    return
            finally:
                for task in (running, watching):
                    task.cancel()
                await asyncio.gather(running, watching, return_exceptions=True)
        if finished:
            return
        with contextlib.suppress(Exception):
            async with asyncio.timeout(CLOSE_S):
                if scope["type"] == "websocket" and started:
                    await send({"type": "websocket.close", "code": 4401, "reason": "You are logged out."})
                elif started:
                    await send({"type": "http.response.body", "body": b""})
                else:
                    await _refuse(scope, receive, send, LOGIN)

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


async def _either(over: Coroutine[Any, Any, object], in_control: Callable[[], bool] | None) -> None:
    """Until the session or token is over, or control is lost."""
    ended = asyncio.ensure_future(over)
    try:
        while in_control is None or in_control():
            if (await asyncio.wait({ended}, timeout=None if in_control is None else LEASE_LOOK_S))[0]:
                return
    finally:
        ended.cancel()


async def _whole(receive: Receive) -> Receive | None:
    """Reads the body to its end; what hands it on in one piece. None when the client has gone before. Its size is `web.guard`'s business."""
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        more = message.get("more_body", False)
    handed = False

    async def hand_on() -> Message:
        nonlocal handed
        if handed:
            return await receive()
        handed = True
        return {"type": "http.request", "body": bytes(body), "more_body": False}

    return hand_on


def identify(runtime: Runtime, headers: dict[bytes, str], client: Client, secure: bool) -> Who | None:
    """Whoever proves to be somebody: by a token, else by the cookie of a session."""
    authorization = headers.get(b"authorization", "")
    scheme, _, secret = authorization.partition(" ")
    if authorization:
        return runtime.desk.by_token(secret.strip(), client) if scheme.lower() == "bearer" else None
    secret = cookie(headers, secure)
    return runtime.desk.by_session(secret) if secret else None


def cookie(headers: dict[bytes, str], secure: bool) -> str | None:
    """The secret of the session in the request's cookie, whatever cookies other programs on this host have set."""
    return cookie_parser(headers.get(b"cookie", "")).get(SECURE_COOKIE if secure else COOKIE) or None


def _judge(runtime: Runtime, rule: Rule | None, known: bool, who: Who | None, values: dict[str, str], headers: dict[bytes, str]) -> Refusal | None:
    if not runtime.desk.claimed and not (rule is not None and rule.unclaimed) and who is None:
        return UNCLAIMED
    if rule is None:
        return LOGIN if who is None else NO_ENTRY if known else None  # without a route the application says 404 or 405
    least = Role.NONE if rule.public and runtime.is_public(values.get("cam", "")) else rule.least
    if who is None:
        return None if least == Role.NONE else LOGIN
    if who.role < least or (rule.owner and who.kind != "owner"):
        return FORBIDDEN
    return _judge_lease(runtime, who, values, headers) if rule.lease else None


def _judge_lease(runtime: Runtime, who: Who, values: dict[str, str], headers: dict[bytes, str]) -> Refusal | None:
    camera = values.get("cam") or next(iter(runtime.cameras), "")
    if camera not in runtime.cameras:
        return None  # the application says which there are
    given = headers.get(EPOCH_HEADER, "")
    epoch = int(given) if given.isascii() and given.isdecimal() and len(given) < 18 else None
    try:
        runtime.leases.check(camera, who, epoch)
    except NotInControl as error:
        return Refusal(409, "Not in control", str(error), problem_of(error))
    return None


def _checked(path: str, receive: Receive, send: Send, who: Who) -> Receive:
    """Hands on what a client says as far as the table allows it, and answers the rest."""

    async def checked() -> Message:
        while True:
            message = await receive()
            if message["type"] != "websocket.receive":
                return message
            refusal = _judge_message(path, message.get("text"), who)
            if refusal is None:
                return message
            await send({"type": "websocket.send", "text": json.dumps({**refusal.body(), "type": "problem"})})

    return checked


def _judge_message(path: str, text: str | None, who: Who) -> Refusal | None:
    if text is None or len(text) > MESSAGE_MAX:
        return Refusal(400, "Not understood", f"A message is JSON text of at most {MESSAGE_MAX} characters.")
    try:
        message = json.loads(text)
        kind = message["type"]
    except (ValueError, TypeError, KeyError, IndexError, RecursionError):
        kind = None
    if not isinstance(kind, str):
        return Refusal(400, "Not understood", "A message is a JSON object with a type.")
    rule = RULES.get(f"MSG {path} {kind}")
    if rule is None:
        return Refusal(400, "Not understood", f"There is no message {kind[:40]!r} on this socket.")
    return replace(FORBIDDEN, more=camera_named(message)) if who.role < rule.least else None


def camera_named(message: dict[str, Any]) -> dict[str, str]:
    """What a problem says about which camera a message was for."""
    camera = message.get("camera")
    return {"camera": camera[:CAMERA_NAME_MAX]} if isinstance(camera, str) else {}


async def _refuse(scope: Scope, receive: Receive, send: Send, refusal: Refusal) -> None:
    if scope["type"] != "websocket":
        headers = {"WWW-Authenticate": "Bearer"} if refusal.status == 401 else None
        await JSONResponse(refusal.body(), refusal.status, headers, media_type="application/problem+json")(scope, receive, send)
        return
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.close", "code": 4401 if refusal.status == 401 else 4403, "reason": refusal.detail[:120]})
