"""What the API answers and accepts about people, sessions, tokens and control."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from cupola.web.access.lease import Lease, Leases, NotInControl
from cupola.web.access.store import Session as SessionRow
from cupola.web.access.store import Token as TokenRow
from cupola.web.access.store import User as UserRow
from cupola.web.access.who import Kind, RoleName, Scope, Who

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,31}$", description="Small letters, digits, - _ and . , at most 32.")]
Passphrase = Annotated[str, Field(min_length=1, max_length=400, description="12 characters at least when it is a new one.")]
# neither controls of a terminal (C0, C1) nor what turns lines around or ends them: these are written into the log
PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]*$"
Epoch = Annotated[int, Field(ge=0, le=2**53)]


class _Answer(BaseModel):
    pass


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


def moment(unix_s: float) -> datetime:
    return datetime.fromtimestamp(unix_s, UTC)


class Me(_Answer):
    """Who asks, and what the page has to know before a login."""

    claimed: bool
    user: str | None = None
    role: RoleName | None = Field(default=None, description="observer: looks; master: may take control; admin: may do everything.")
    kind: Kind | None = None
    session: str | None = Field(default=None, description="Public id of this session.")
    plain_http: bool = Field(description="What is sent can be read on the way: no TLS, and not from this machine itself.")
    session_minutes: float = Field(description="Without use a session ends after this time.")


class Claimed(Me):
    generated: str | None = Field(default=None, description="The passphrase that was made; it is not shown again.")


class ClaimRequest(_Request):
    """`code` is not needed from the owner's shell. Without a passphrase one is made."""

    code: Annotated[str, Field(max_length=40)] | None = None
    user: Name = "admin"
    passphrase: Passphrase | None = None


class ClaimCode(_Answer):
    code: str
    urls: list[str] = Field(description="Open one of these.")
    expires_in_s: float | None = Field(default=None, description="How long the claim page is open to the LAN.")


class LoginRequest(_Request):
    user: Annotated[str, Field(max_length=64, pattern=PRINTABLE)]
    passphrase: Passphrase
    remember: bool = Field(default=False, description="Stay logged in for 30 days on this device.")


class PasswdRequest(_Request):
    old: Passphrase
    new: Passphrase


class User(_Answer):
    name: str
    role: RoleName
    created_at: datetime
    last_seen_at: datetime | None = Field(description="The last login.")


class UserWithPassphrase(User):
    generated: str | None = Field(default=None, description="The passphrase that was made; it is not shown again.")


class UserList(_Answer):
    items: list[User]
    next: str | None = None


class NewUser(_Request):
    """Without a passphrase one is made."""

    name: Name
    role: RoleName
    passphrase: Passphrase | None = None


class UserChange(_Request):
    """Ends all sessions of this person."""

    role: RoleName | None = None
    passphrase: Passphrase | None = None
    generate: bool = Field(default=False, description="Make a new passphrase.")


class Login(_Answer):
    """One browser that is logged in."""

    id: str
    user: str
    role: RoleName
    address: str
    agent: str
    created_at: datetime
    seen_at: datetime
    remembered: bool
    current: bool = Field(description="The one that asks.")
    viewing: int = Field(description="Sockets and streams it has open.")


class LoginList(_Answer):
    items: list[Login]
    next: str | None = None


class Token(_Answer):
    id: int
    name: str
    scope: Scope
    created_at: datetime
    used_at: datetime | None


class NewToken(_Request):
    name: Annotated[str, Field(min_length=1, max_length=64, pattern=PRINTABLE)]
    scope: Scope


class TokenWithSecret(Token):
    token: str = Field(description="Shown this once.")


class TokenList(_Answer):
    items: list[Token]
    next: str | None = None


class Holder(_Answer):
    user: str
    session: str
    since: datetime


class Asking(_Answer):
    user: str
    session: str
    at: datetime


class Held(_Answer):
    """Who has control of a camera, and who would like to; the same for all who look."""

    holder: Holder | None
    requests: list[Asking] = Field(description="Who would like to have control, the latest last.")


class Control(Held):
    camera: str
    mine: bool = Field(description="The session that asks has control.")
    epoch: int | None = Field(default=None, description="Of the holder only: to be sent as X-Control-Epoch.")
    expires_in_s: float | None = None


class ControlList(_Answer):
    items: list[Control]
    next: str | None = None


class AcquireRequest(_Request):
    take_over: bool | None = Field(default=None, description="False: an admin, too, takes control only if nobody has it.")


class EpochRequest(_Request):
    epoch: Epoch


class ControlMessage(EpochRequest):
    """What a page says on /ws/events."""

    type: Literal["renew", "release"]
    camera: Annotated[str, Field(max_length=40)]


def user(row: UserRow) -> User:
    return User(name=row.name, role=row.role, created_at=moment(row.created_at), last_seen_at=None if row.seen_at is None else moment(row.seen_at))


def token(row: TokenRow) -> Token:
    used = None if row.used_at is None else moment(row.used_at)
    return Token(id=row.id, name=row.name, scope=row.scope, created_at=moment(row.created_at), used_at=used)


def session(row: SessionRow, *, current: bool, viewing: int) -> Login:
    return Login(
        id=row.id,
        user=row.user,
        role=row.role,
        address=row.address,
        agent=row.agent,
        created_at=moment(row.created_at),
        seen_at=moment(row.seen_at),
        remembered=row.remembered,
        current=current,
        viewing=viewing,
    )


def held(lease: Lease | None) -> Held:
    if lease is None:
        return Held(holder=None, requests=[])
    asking = [Asking(user=asked.user, session=asked.session, at=asked.at) for asked in lease.requests]
    return Held(holder=Holder(user=lease.who.user, session=lease.who.id, since=lease.since), requests=asking)


def control(leases: Leases, camera: str, who: Who) -> Control:
    lease = leases.of(camera)
    mine = lease is not None and lease.who == who
    told = held(lease)
    return Control(
        camera=camera,
        holder=told.holder,
        requests=told.requests,
        mine=mine,
        epoch=lease.epoch if lease is not None and mine else None,
        expires_in_s=None if lease is None else round(leases.left_s(lease), 1),
    )


def problem_of(error: NotInControl) -> dict[str, Any]:
    """What a refusal says beyond its words."""
    holder = held(error.holder).holder
    return {"holder": None if holder is None else holder.model_dump(mode="json")}
