"""Whoever asks: what kind of proof they gave, and which rights follow from it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

from fastapi import Request, WebSocket

RoleName = Literal["observer", "master", "admin"]
Scope = Literal["view", "control", "admin"]
Kind = Literal["session", "token", "owner"]


class Role(IntEnum):
    """Each may do what those before it may. A master may take control of a camera; whether one has it is the lease's business."""

    NONE = 0
    OBSERVER = 1
    MASTER = 2
    ADMIN = 3


ROLES: dict[RoleName, Role] = {"observer": Role.OBSERVER, "master": Role.MASTER, "admin": Role.ADMIN}
SCOPES: dict[Scope, Role] = {"view": Role.OBSERVER, "control": Role.MASTER, "admin": Role.ADMIN}
WHO = "cupola.who"


@dataclass(frozen=True, slots=True)
class Who:
    """`id` is public: a session's or token's number or name, never its secret. `user` is what others are shown."""

    kind: Kind
    id: str
    user: str
    role: Role

    @property
    def role_name(self) -> RoleName:
        return next(name for name, role in ROLES.items() if role == self.role)


def who_of(connection: Request | WebSocket) -> Who | None:
    """Whoever the gate found behind this connection; None where the table lets strangers in."""
    return connection.scope.get(WHO)


def known(connection: Request | WebSocket) -> Who:
    """The same where the table lets no strangers in."""
    who = who_of(connection)
    assert who is not None, "the table of rights lets a stranger in where a route wants to know who asks"
    return who
