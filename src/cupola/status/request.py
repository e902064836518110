"""Reads the head of an HTTP request, strictly: what is not as it should be is refused, never guessed at.

Standard library only, like all of the status server.
"""

from __future__ import annotations

HEAD_MAX = 8192
LINES_MAX = 64
TARGET_MAX = 1024
END = b"\r\n\r\n"
ONCE = ("host", "authorization", "content-length", "transfer-encoding")
NAME_BYTES = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")


class Refused(Exception):
    """`status` of HTTP, and what was wrong."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status, self.words = status, words


class Request:
    """`path` as it was sent: it is compared, never decoded. `headers` by their names in small letters."""

    __slots__ = ("headers", "method", "path", "query")

    def __init__(self, method: str, path: str, query: dict[str, str], headers: dict[str, str]) -> None:
        self.method, self.path, self.query, self.headers = method, path, query, headers


def parse(head: bytes) -> Request:
    """Of everything before the empty line. Raises Refused."""
    first, *lines = head.split(b"\r\n")
    if len(lines) > LINES_MAX:
        raise Refused(431, f"A request may have {LINES_MAX} header lines at most.")
    words = first.split(b" ")
    if len(words) != 3 or words[2] not in (b"HTTP/1.1", b"HTTP/1.0") or not all(0x20 < byte < 0x7F for byte in first.replace(b" ", b"")):
        raise Refused(400, "That is no request line of HTTP/1.1.")
    method, target = words[0], words[1]
    if method not in (b"GET", b"HEAD"):
        raise Refused(405, "Only GET and HEAD are answered here.")
    if len(target) > TARGET_MAX:
        raise Refused(414, f"An address may have {TARGET_MAX} characters at most.")
    if not target.startswith(b"/"):
        raise Refused(400, "An address begins with /.")
    headers: dict[str, str] = {}
    for line in lines:
        name, value = _header(line)
        if name in headers and name in ONCE:
            raise Refused(400, f"{name} stands there twice.")
        headers[name] = value
    if words[2] == b"HTTP/1.1" and "host" not in headers:
        raise Refused(400, "The Host header is missing.")
    if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
        raise Refused(400, "A request has no body here.")
    path, _, query = target.decode("ascii").partition("?")
    return Request(method.decode("ascii"), path, _query(query), headers)


def _header(line: bytes) -> tuple[str, str]:
    name, colon, value = line.partition(b":")
    value = value.strip(b" \t")
    if not colon or not 0 < len(name) <= 64 or not NAME_BYTES.issuperset(name) or any((byte < 0x20 and byte != 9) or byte == 0x7F for byte in value):
        raise Refused(400, "A header line is no header.")
    return name.decode("ascii").lower(), value.decode("latin-1")


def _query(text: str) -> dict[str, str]:
    """`a=b&c=d`; nothing here needs escapes."""
    found: dict[str, str] = {}
    for part in text.split("&") if text else ():
        name, _, value = part.partition("=")
        if name in found:
            raise Refused(400, f"{name[:40]} stands there twice.")
        found[name] = value
    return found
