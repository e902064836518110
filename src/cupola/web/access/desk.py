"""Finds out who asks, and lets people in and out: claim, login, logout, users, tokens.

The file behind it is `store`'s, what each may do `rights`'. Everything here runs in the event loop; the disk and
argon2 have threads of their own.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace

from cupola.core.errors import CupolaError, NotAllowed
from cupola.core.events import SessionEvent
from cupola.web.access.claim import Claim
from cupola.web.access.lease import Leases
from cupola.web.access.passwords import Passwords, TooBusy, check_passphrase, digest, generated_passphrase, new_secret
from cupola.web.access.place import place_of
from cupola.web.access.store import Session, Store, Token, User
from cupola.web.access.streams import Streams
from cupola.web.access.throttle import Throttle
from cupola.web.access.who import ROLES, SCOPES, Role, RoleName, Scope, Who

REMEMBERED_S = 30 * 86400.0
TRIES, WITHIN_S = 5, 60.0
AGENT_MAX = 200


class WrongLogin(CupolaError):
    """User or passphrase are wrong; which of them is not told."""


class LoggedOut(CupolaError):
    """Whoever asked lost the right to it while it was prepared."""


@dataclass(frozen=True, slots=True)
class Client:
    """Where a request comes from. `local`: from this machine, by no proxy."""

    address: str
    local: bool
    agent: str = ""

    @property
    def place(self) -> str:
        """What tries are counted by."""
        return place_of(self.address)


class Desk:
    """`owner_token` is for the owner's shell, and new at each start."""

    def __init__(
        self, store: Store, leases: Leases, publish: Callable[[SessionEvent], None], *, session_minutes: float, renewed: Callable[[str], None]
    ) -> None:
        self.store, self.leases, self.streams = store, leases, Streams()
        self.claim = Claim(renewed)
        self.claimed = bool(store.users())
        self.owner_token = new_secret()
        self._owner_digest = digest(self.owner_token)
        self._idle_s = session_minutes * 60.0
        self._publish, self._passwords = publish, Passwords()
        self._logins = Throttle(TRIES, WITHIN_S)
        self._claims = Throttle(TRIES * 2, WITHIN_S)
        self._seen: dict[str, float] = {}
        self._used: dict[int, float] = {}

    # Who asks

    def by_session(self, secret: str) -> Who | None:
        """The person behind a cookie, whose session goes on by this."""
        session = self.store.session(digest(secret))
        if session is None or not self._alive(session):
            return None
        self._seen[session.id] = self.store.clock()
        return Who("session", session.id, session.user, ROLES[session.role])

    def by_token(self, secret: str, client: Client) -> Who | None:
        """The token's holder, or the owner when it is the owner's and comes from this machine."""
        hashed = digest(secret)
        if hmac.compare_digest(hashed, self._owner_digest):
            return Who("owner", "owner", "owner", Role.ADMIN) if client.local else None
        token = self.store.token(hashed)
        if token is None:
            return None
        self._used[token.id] = self.store.clock()
        return Who("token", f"token-{token.id}", token.name, SCOPES[token.scope])

    def sessions(self) -> list[Session]:
        """Those that have not run out, the newest use first."""
        current = (replace(session, seen_at=max(session.seen_at, self._seen.get(session.id, 0.0))) for session in self.store.sessions())
        return [session for session in current if self._alive(session)]

    def session_of(self, session_id: str) -> Who | None:
        """The person of a session that is alive, by its public id."""
        found = next((session for session in self.sessions() if session.id == session_id), None)
        return None if found is None else Who("session", found.id, found.user, ROLES[found.role])

    def _alive(self, session: Session) -> bool:
        if self.streams.ended(session.id):
            return False  # the disk has not heard of it yet, or fails
        seen = max(session.seen_at, self._seen.get(session.id, 0.0))
        return self.store.clock() - seen <= (REMEMBERED_S if session.remembered else self._idle_s)

    # In and out

    async def make_first_admin(self, name: str, passphrase: str | None, code: str | None, client: Client) -> tuple[User, str | None]:
        """Claim the station, by the code or (`code` None) by the owner's shell; the admin, and the passphrase if it was made here.

        Raises WrongCode, NotAllowed when it is claimed, InvalidSetting, TooManyTries.
        """
        if self.claimed:
            raise NotAllowed("This station is claimed already. Log in, or set a new passphrase with: cupola passwd")
        if code is not None:
            self._claims.take(client.place)
            self.claim.check(code)
        generated, hashed = await self._hashed(passphrase)
        if code is not None:
            self.claim.check(code)  # it may have changed while the hash was made
        await self.store.run(self.store.add_user, name, "admin", hashed, first=True)
        self.claimed = True
        self.claim.use_up()
        self._tell("claimed", "", name, client.address)
        return User(name, "admin", hashed, self.store.clock(), None), generated

    async def login(self, name: str, passphrase: str, client: Client) -> User:
        """Raises WrongLogin, TooManyTries, TooBusy.

        Five tries a minute from one place (an address, or an IPv6 network). Tries at one account from places it was never used from
        share five, too, so that guessing from many places is slow and yet nobody can lock a person out of the places they know.
        """
        keys = [f"address {client.place}"]
        if not self.store.knows_place(name, client.address):
            keys.append(f"user {name}")
        self._logins.take(*keys)
        user = self.store.user(name)
        try:
            right = await self._passwords.verify(user.hash if user else None, passphrase, client.place)
        except TooBusy:
            self._logins.forgive(*keys)  # nothing was tried
            raise
        if not right or user is None:
            self._tell("login_failed", "", name, client.address)
            raise WrongLogin("User or passphrase are wrong. If it is forgotten: cupola passwd, on the machine itself.")
        self._logins.forgive(*keys)
        return user

    async def open_session(self, user: User, client: Client, *, remember: bool, instead_of: Who | None = None) -> tuple[Who, str]:
        """A new session and its secret, of the person as they proved to be. The one this browser had before ends. Raises PassphraseChanged."""
        session_id, secret = secrets.token_hex(8), new_secret()
        role = await self.store.run(
            self.store.add_session,
            session_id,
            digest(secret),
            user.name,
            user.hash,
            remembered=remember,
            address=client.address,
            agent=client.agent[:AGENT_MAX],
        )
        if instead_of is not None and instead_of.kind == "session":
            await self.end_sessions([instead_of.id], "logged in anew")
        self._tell("logged_in", session_id, user.name, client.address)
        return Who("session", session_id, user.name, ROLES[role]), secret

    async def end_sessions(self, session_ids: list[str], why: str) -> None:
        """They are over at once, for every open socket and every request, also where that cannot be written (StorageFailed): `tidy` tries again."""
        ended = [session for session in self.store.sessions() if session.id in session_ids]
        for session_id in session_ids:
            self._cut(session_id)
        await self.store.run(self.store.end_sessions, session_ids)
        for session in ended:
            self._tell("logged_out", session.id, session.user, why)

    # People

    async def add_user(self, name: str, role: RoleName, passphrase: str | None, by: Who) -> str | None:
        """The passphrase, if it was made here. Raises NotAllowed when the name is taken, InvalidSetting, LoggedOut."""
        generated, hashed = await self._hashed(passphrase)
        self._still(by)
        await self.store.run(self.store.add_user, name, role, hashed)
        return generated

    async def change_user(
        self, name: str, by: Who, *, role: RoleName | None = None, passphrase: str | None = None, generate: bool = False
    ) -> str | None:
        """All sessions of the person end. Returns the passphrase if it was made here. Raises NotAllowed, InvalidSetting, LoggedOut."""
        generated, hashed = await self._hashed(passphrase) if passphrase is not None or generate else (None, None)
        self._still(by)
        await self._change(name, role=role, hashed=hashed)
        return generated

    async def change_own(self, who: Who, old: str, new: str, client: Client) -> tuple[str, bool]:
        """Another passphrase. All sessions of the person end; the secret of a new one for this browser, and whether it is remembered as before.

        Raises InvalidSetting, WrongLogin, TooManyTries, TooBusy, LoggedOut, PassphraseChanged.
        """
        check_passphrase(new, "new")
        remember = any(session.remembered for session in self.store.sessions() if session.id == who.id)
        user = await self.login(who.user, old, client)
        hashed = await self._passwords.hash(new)
        self._still(who)
        await self._change(who.user, hashed=hashed, instead_of=user.hash)
        _, secret = await self.open_session(replace(user, hash=hashed), client, remember=remember)
        return secret, remember

    async def _change(self, name: str, *, role: RoleName | None = None, hashed: str | None = None, instead_of: str | None = None) -> None:
        for session_id in await self.store.run(self.store.change_user, name, role=role, hashed=hashed, instead_of=instead_of):
            self._cut(session_id)
        self._tell("user_changed", "", name, "")

    def _still(self, who: Who) -> None:
        """Hashing takes a while, in which whoever asked for it may have been logged out or lost their role. Raises LoggedOut."""
        if self.streams.ended(who.id):
            raise LoggedOut("You are logged out. Nothing was changed.")

    async def delete_user(self, name: str) -> None:
        for session_id in await self.store.run(self.store.delete_user, name):
            self._cut(session_id)
        self._tell("user_deleted", "", name, "")

    async def _hashed(self, passphrase: str | None) -> tuple[str | None, str]:
        generated = None if passphrase is not None else generated_passphrase()
        chosen = passphrase if passphrase is not None else generated or ""
        check_passphrase(chosen)
        return generated, await self._passwords.hash(chosen)

    # Tokens

    async def add_token(self, name: str, scope: Scope) -> tuple[Token, str]:
        """The token and its secret, which nobody can see again."""
        secret = new_secret()
        return await self.store.run(self.store.add_token, name, scope, digest(secret)), secret

    async def revoke_token(self, number: int) -> bool:
        """Whether there was one."""
        found = await self.store.run(self.store.delete_token, number)
        self._cut(f"token-{number}")
        return found

    # Housekeeping

    async def tidy(self) -> None:
        """Write down what was used, end what ran out. Called every few seconds."""
        for who_id in self.streams.count():
            self._seen[who_id] = self.store.clock()  # an open view is use, too; ids that are no session's do no harm
        sessions = dict(self._seen)
        tokens, self._used = self._used, {}
        if sessions or tokens:
            await self.store.run(self.store.touch, sessions, tokens)
            self._seen = {name: seen for name, seen in self._seen.items() if sessions.get(name) != seen}
        over = [session.id for session in self.store.sessions() if not self._alive(session)]
        if over:
            await self.end_sessions(over, "ran out")

    def close(self) -> None:
        self._passwords.close()
        self.store.touch(self._seen, self._used)
        self.store.close()

    def _cut(self, who_id: str) -> None:
        self.streams.end(who_id)
        self.leases.leave(who_id)
        self._seen.pop(who_id, None)

    def _tell(self, action: str, session_id: str, user: str, detail: str) -> None:
        self._publish(SessionEvent(action=action, session_id=session_id, user=user, detail=detail))
