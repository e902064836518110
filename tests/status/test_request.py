"""The reader of requests, fed with anything: it refuses in words or understands, and never anything else."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cupola.status.request import HEAD_MAX, Refused, Request, parse

GOOD = b"GET /logs?lines=5&level=error HTTP/1.1\r\nHost: localhost\r\nX-A: \t b \r\nX-A: c"
PIECES = st.lists(
    st.one_of(
        st.binary(max_size=12), st.sampled_from([b"\r\n", b"\n", b" ", b":", b"GET", b"/", b"HTTP/1.1", b"Host", b"\x00", b"?", b"&", b"=", b"%"])
    )
)


def test_a_request_is_understood() -> None:
    found = parse(GOOD)
    assert (found.method, found.path, found.query) == ("GET", "/logs", {"lines": "5", "level": "error"})
    assert found.headers == {"host": "localhost", "x-a": "c"}


def _parsed(data: bytes) -> tuple[Request | None, Refused | None]:
    try:
        return parse(data), None
    except Refused as refused:
        return None, refused


@given(st.one_of(st.binary(max_size=300), PIECES.map(b"".join), PIECES.map(lambda parts: GOOD + b"".join(parts))))
@example(b"GET / HTTP/1.1\r\nHost: x\r\n" + b" " * 8000)
def test_any_bytes_are_a_request_or_are_refused(data: bytes) -> None:
    found, refused = _parsed(data)
    if found is None:
        assert refused is not None and 400 <= refused.status < 500 and refused.words
        return
    assert isinstance(found, Request) and found.method in ("GET", "HEAD") and found.path.startswith("/") and found.path.isascii()
    assert not any(char in text for text in (found.path, *found.headers.values()) for char in "\r\n\0")


@pytest.mark.parametrize("filler", [b" ", b"\t", b":", b"a:", b"&", b"=", b"?", b"/", b"\r", b"\xff"])
def test_nothing_that_fits_into_a_head_takes_long(filler: bytes) -> None:
    """A parser that looks back over what it has seen would take minutes for these."""
    for start in (b"GET /?", b"GET / HTTP/1.1\r\nHost: x\r\nA: ", b""):
        begun = time.monotonic()
        with contextlib.suppress(Refused):
            parse((start + filler * HEAD_MAX)[:HEAD_MAX])
        assert time.monotonic() - begun < 5
