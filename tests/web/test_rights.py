"""The table of rights against the application: nothing is missing, nothing is left over, and nobody gets in who should not."""

from __future__ import annotations

import re

import pytest
from fastapi import FastAPI

from cupola.web.access import models
from cupola.web.access.gate import entries
from cupola.web.access.rights import RULES
from cupola.web.access.who import Role
from cupola.web.app import create_app


class _Runtime:
    """As much of a runtime as putting the application together needs."""

    addresses = None
    log = staticmethod(print)


@pytest.fixture(scope="module")
def app() -> FastAPI:
    return create_app(_Runtime())  # pyright: ignore[reportArgumentType]


def test_every_route_socket_and_message_has_an_entry_and_every_entry_is_used(app: FastAPI) -> None:
    messages = {f"MSG /ws/events {kind}" for kind in models.ControlMessage.model_json_schema()["properties"]["type"]["enum"]}
    assert {entry.key for entry in entries(app.routes)} | messages == set(RULES)


def test_every_key_of_the_openapi_document_is_in_the_table(app: FastAPI) -> None:
    described = {f"{method.upper()} {path}" for path, operations in app.openapi()["paths"].items() for method in operations}
    assert described <= set(RULES)
    assert len(described) > 30


def test_only_these_answer_to_strangers() -> None:
    open_to_all = {key for key, rule in RULES.items() if rule.least == Role.NONE}
    assert open_to_all == {"PAGE", "GET /", "GET /viewer", "GET /health", "GET /api/health", "GET /api/me", "POST /api/claim", "POST /api/login"}
    assert {key for key, rule in RULES.items() if rule.unclaimed} == open_to_all - {"POST /api/login", "GET /viewer"}


def test_what_moves_a_camera_needs_its_lease() -> None:
    moves = {key for key in RULES if re.search(r"^(POST|PATCH) /api/(connect$|cameras/)", key)}
    moves.discard("POST /api/cameras/{cam}/trigger")  # keeps what there is; a machine that reports a fault waits for nobody
    moves.add("GET /api/cameras/{cam}/focus")  # has a camera without video take test shots
    assert moves == {key for key, rule in RULES.items() if rule.lease}
    assert all(RULES[key].least == Role.MASTER for key in moves)
