"""Claiming the station, logging in and out, people, their sessions, tokens."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request
from fastapi.responses import Response

from cupola.core.errors import InvalidSetting
from cupola.web.access import models
from cupola.web.access.claim import LAN_S, link
from cupola.web.access.desk import REMEMBERED_S, Client
from cupola.web.access.gate import CLIENT, COOKIE, SECURE, SECURE_COOKIE
from cupola.web.access.who import Role, Who, known, who_of
from cupola.web.runtime import NoSuchThing, NotYours, Runtime, runtime_of

router = APIRouter(tags=["access"])
Id = Annotated[int, Path(ge=1, le=2**53)]


def _client(request: Request) -> Client:
    return request.scope[CLIENT]


def _me(request: Request, who: Who | None) -> models.Me:
    runtime = runtime_of(request)
    return models.Me(
        claimed=runtime.desk.claimed,
        user=who.user if who else None,
        role=who.role_name if who else None,
        kind=who.kind if who else None,
        session=who.id if who else None,
        plain_http=not (request.scope[SECURE] or _client(request).local),
        session_minutes=runtime.settings.web.session_minutes,
    )


def _set_cookie(request: Request, response: Response, secret: str, *, remember: bool) -> None:
    secure: bool = request.scope[SECURE]
    response.set_cookie(
        SECURE_COOKIE if secure else COOKIE,
        secret,
        max_age=int(REMEMBERED_S) if remember else None,
        path="/",
        secure=secure,
        httponly=True,
        samesite="strict",
    )


@router.get("/api/me")
async def me(request: Request) -> models.Me:
    """Who asks; also for those who are not logged in."""
    return _me(request, who_of(request))


@router.post("/api/claim")
async def claim(request: Request, response: Response, wanted: models.ClaimRequest) -> models.Claimed:
    """Become the first admin, by the one-use code that Cupola printed."""
    desk, who, client = runtime_of(request).desk, who_of(request), _client(request)
    owner = who is not None and who.kind == "owner"
    if wanted.code is None and not owner:
        raise InvalidSetting("code", "code: give the code that Cupola printed when it started.")
    admin, generated = await desk.make_first_admin(wanted.user, wanted.passphrase, None if owner else wanted.code, client)
    if not owner:
        who, secret = await desk.open_session(admin, client, remember=False)
        _set_cookie(request, response, secret, remember=False)
    return models.Claimed(**_me(request, who).model_dump(), generated=generated)


@router.post("/api/claim/code")
async def claim_code(request: Request) -> models.ClaimCode:
    """The code in force, for the owner's shell."""
    return _code(runtime_of(request), [], None)


@router.post("/api/claim/lan")
async def claim_lan(request: Request) -> models.ClaimCode:
    """Open the claim page, and nothing else, to the LAN for 15 minutes."""
    runtime = runtime_of(request)
    if not runtime.desk.claimed:
        await runtime.lan.open(LAN_S)
    return _code(runtime, runtime.lan.urls, LAN_S)


def _code(runtime: Runtime, urls: list[str], expires_in_s: float | None) -> models.ClaimCode:
    if runtime.desk.claimed:
        raise NotYours("This station is claimed already. For a new passphrase: cupola passwd")
    code = runtime.desk.claim.code
    return models.ClaimCode(code=code, urls=[link(url, code) for url in urls or [runtime.url]], expires_in_s=expires_in_s)


@router.post("/api/login")
async def login(request: Request, response: Response, wanted: models.LoginRequest) -> models.Me:
    desk, client = runtime_of(request).desk, _client(request)
    user = await desk.login(wanted.user, wanted.passphrase, client)
    who, secret = await desk.open_session(user, client, remember=wanted.remember, instead_of=who_of(request))
    _set_cookie(request, response, secret, remember=wanted.remember)
    return _me(request, who)


@router.post("/api/logout", status_code=204)
async def logout(request: Request, response: Response) -> None:
    who = known(request)
    if who.kind == "session":
        await runtime_of(request).desk.end_sessions([who.id], "logged out")
        secure: bool = request.scope[SECURE]
        response.delete_cookie(SECURE_COOKIE if secure else COOKIE, path="/", secure=secure, httponly=True, samesite="strict")


@router.post("/api/passwd", status_code=204)
async def passwd(request: Request, response: Response, wanted: models.PasswdRequest) -> None:
    """Change one's own passphrase. All sessions end; this browser gets a new one."""
    desk, who, client = runtime_of(request).desk, known(request), _client(request)
    if who.kind != "session":
        raise NotYours("Only somebody who is logged in has a passphrase of their own.")
    secret, remember = await desk.change_own(who, wanted.old, wanted.new, client)
    _set_cookie(request, response, secret, remember=remember)


def _user(runtime: Runtime, name: str) -> models.User:
    row = runtime.desk.store.user(name)
    if row is None:
        raise NoSuchThing(f'There is no user "{name[:40]}".')
    return models.user(row)


@router.get("/api/users")
async def users(request: Request) -> models.UserList:
    return models.UserList(items=[models.user(row) for row in runtime_of(request).desk.store.users()])


@router.post("/api/users", status_code=201)
async def add_user(request: Request, wanted: models.NewUser) -> models.UserWithPassphrase:
    runtime = runtime_of(request)
    generated = await runtime.desk.add_user(wanted.name, wanted.role, wanted.passphrase, known(request))
    return models.UserWithPassphrase(**_user(runtime, wanted.name).model_dump(), generated=generated)


@router.patch("/api/users/{name}")
async def change_user(request: Request, name: str, wanted: models.UserChange) -> models.UserWithPassphrase:
    """Another role or passphrase; all sessions of this person end."""
    runtime = runtime_of(request)
    _user(runtime, name)
    generated = await runtime.desk.change_user(name, known(request), role=wanted.role, passphrase=wanted.passphrase, generate=wanted.generate)
    return models.UserWithPassphrase(**_user(runtime, name).model_dump(), generated=generated)


@router.delete("/api/users/{name}", status_code=204)
async def delete_user(request: Request, name: str) -> None:
    runtime = runtime_of(request)
    _user(runtime, name)
    await runtime.desk.delete_user(name)


@router.get("/api/sessions")
async def sessions(request: Request) -> models.LoginList:
    """One's own; an admin sees everybody's."""
    desk, who = runtime_of(request).desk, known(request)
    viewing = desk.streams.count()
    rows = [row for row in desk.sessions() if who.role >= Role.ADMIN or (who.kind == "session" and row.user == who.user)]
    return models.LoginList(items=[models.session(row, current=row.id == who.id, viewing=viewing[row.id]) for row in rows])


@router.delete("/api/sessions/{session}", status_code=204)
async def end_session(request: Request, session: str) -> None:
    """Log a session out, with everything it has open. Others' only by an admin."""
    desk, who = runtime_of(request).desk, known(request)
    found = desk.session_of(session)
    if found is None or not (who.role >= Role.ADMIN or (who.kind == "session" and found.user == who.user)):
        raise NoSuchThing("There is no such session of yours.")
    await desk.end_sessions([session], f"ended by {who.user}")


@router.get("/api/tokens")
async def tokens(request: Request) -> models.TokenList:
    return models.TokenList(items=[models.token(row) for row in runtime_of(request).desk.store.tokens()])


@router.post("/api/tokens", status_code=201)
async def add_token(request: Request, wanted: models.NewToken) -> models.TokenWithSecret:
    """A token for a program; its text is shown this once."""
    row, secret = await runtime_of(request).desk.add_token(wanted.name, wanted.scope)
    return models.TokenWithSecret(**models.token(row).model_dump(), token=secret)


@router.delete("/api/tokens/{number}", status_code=204)
async def revoke_token(request: Request, number: Id) -> None:
    if not await runtime_of(request).desk.revoke_token(number):
        raise NoSuchThing(f"There is no token {number}.")
