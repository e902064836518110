"""MJPEG over HTTP (multipart/x-mixed-replace), read without FFmpeg: a picture is handed on with its last byte.

FFmpeg holds a picture back until the next boundary when parts carry no length (measured: 33 ms at
30 fps against under 1 ms here), and importing it costs 38 MB. Everything that is no multipart
stream is left to `av_source`.
"""

import base64
import contextlib
import hashlib
import http.client
import secrets
import socket
import ssl
from collections.abc import Callable, Iterator
from email.message import Message
from urllib.parse import SplitResult, unquote, urljoin, urlsplit
from urllib.request import parse_http_list, parse_keqv_list

from cupola.core.clock import clock_synced, monotonic_ns, utc_now
from cupola.core.errors import CameraLost, CameraNotFound, CameraUnresponsive, CaptureCancelled
from cupola.core.frame import Packet
from cupola.drivers.abort import Abort, connect, shut_down, without_password
from cupola.drivers.jpeg import SOI, BadJpeg, EndFinder, inspect

MAX_PART_BYTES = 32 << 20
_MAX_HEADER_BYTES = 64 << 10
_CHUNK_BYTES = 128 << 10
_MAX_REDIRECTS = 3
_MAX_BAD_IN_A_ROW = 50


class HttpAnswer:
    """An open GET request: `content_type`, and the body by `read`."""

    def __init__(self, url: str, timeout_s: float, abort: Abort) -> None:
        """Ask for `url`, follow redirects, log in. Raises CameraNotFound saying what to check."""
        self.shown = without_password(url)
        self._timeout_s, self._abort = timeout_s, abort
        self._sock: socket.socket | None = None
        parts = urlsplit(url)
        login, host, authorization, redirects = (parts.username, parts.password), parts.hostname, None, 0
        while True:
            response = self._get(parts, authorization)
            if response.status == http.client.UNAUTHORIZED and authorization is None and login[0] is not None and parts.hostname == host:
                authorization = _authorization(parts, response.headers, unquote(login[0]), unquote(login[1] or ""))
                self._drop(response)
                continue
            if response.status in (301, 302, 303, 307, 308) and response.headers["Location"] and redirects < _MAX_REDIRECTS:
                parts, authorization, redirects = urlsplit(urljoin(parts.geturl(), response.headers["Location"])), None, redirects + 1
                self._drop(response)
                continue
            break
        self._response = response
        self.headers: Message = response.headers
        self.content_type = response.headers.get_content_type()
        if response.status != http.client.OK:
            self.close()
            raise CameraNotFound(f"{self.shown} answered {response.status} {response.reason}. {_advice(response.status, login[0] is not None)}")

    def read(self, most: int) -> bytes:
        """Up to `most` bytes as soon as any are there; b"" at the end."""
        try:
            return self._response.read1(most)
        except TimeoutError:
            raise CameraUnresponsive(
                f"{self.shown} has sent nothing for {self._timeout_s:g} s. Cupola connects again; check the camera's network."
            ) from None
        except (http.client.HTTPException, OSError, ValueError):
            return b""

    def close(self) -> None:
        self._drop(self._response)

    def _drop(self, response: http.client.HTTPResponse) -> None:
        with contextlib.suppress(OSError):
            response.close()
        if self._sock is not None:
            self._sock.close()

    def _get(self, parts: SplitResult, authorization: str | None) -> http.client.HTTPResponse:
        host = parts.hostname
        if parts.scheme not in ("http", "https") or not host:
            raise CameraNotFound(f"{self.shown} is not a complete http address. It looks like http://user:password@host:port/path.")
        try:
            port = parts.port or (443 if parts.scheme == "https" else 80)
            self._sock = sock = self._connected(host, port, parts.scheme == "https")
            connection = http.client.HTTPConnection(host, port, timeout=self._timeout_s)
            connection.sock = sock
            headers = {"Accept": "*/*", "User-Agent": "cupola", **({"Authorization": authorization} if authorization else {})}
            connection.request("GET", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""), headers=headers)
            return connection.getresponse()
        except (OSError, ValueError, http.client.HTTPException) as problem:
            if self._sock is not None:
                self._sock.close()
            if self._abort.is_set():
                raise CaptureCancelled(f"opening {self.shown} was cancelled") from None
            raise CameraNotFound(f"{self.shown} {unreachable(problem, host, self._timeout_s)}") from problem

    def _connected(self, host: str, port: int, secured: bool) -> socket.socket:
        sock = connect(host, port, self._timeout_s, self._abort)
        try:
            if secured:
                sock = ssl.create_default_context().wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
            self._abort.add(lambda: shut_down(sock))
            if isinstance(sock, ssl.SSLSocket):
                sock.do_handshake()
        except (OSError, ValueError):
            sock.close()
            raise
        return sock


def unreachable(problem: Exception, host: str, timeout_s: float) -> str:
    """Why an address does not answer, and what to check."""
    match problem:
        case socket.gaierror():
            return f"cannot be found: no host is called {host!r}. Check the name, or give the camera's IP address."
        case ConnectionRefusedError():
            return "refuses the connection. Is the camera on, and its port right?"
        case TimeoutError():
            return f"did not answer within {timeout_s:g} s. Check that the camera is on and in this network; a larger timeout_s gives it more time."
        case ssl.SSLCertVerificationError():
            return f"has a certificate that cannot be trusted ({problem.verify_message}). Use http://, or install the camera's certificate."
        case ConnectionError() | http.client.HTTPException():
            return "closed the connection without an answer. Is this the address of its video, and http/https right?"
        case _:
            return f"cannot be reached: {problem}. Check the address and the network."


def _advice(status: int, had_login: bool) -> str:
    if status in (http.client.UNAUTHORIZED, http.client.FORBIDDEN):
        return "Check user and password in the address." if had_login else "It wants a login: write the address as http://user:password@host/…"
    if status == http.client.NOT_FOUND:
        return "The host is there, the path is not: check the address in the camera's manual."
    if status < http.client.BAD_REQUEST:
        return "It redirects again and again: check the address."
    return "Check the camera; it may have too many viewers."


def _authorization(parts: SplitResult, headers: Message, user: str, password: str) -> str:
    """The Authorization header for the offered scheme: Digest (RFC 7616, MD5 and SHA-256) or Basic (RFC 7617)."""
    offers = [str(value) for value in headers.get_all("WWW-Authenticate", [])]
    digest = next((offer for offer in offers if offer.lower().startswith("digest")), None)
    if digest is None:
        return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    fields = parse_keqv_list(parse_http_list(digest.split(None, 1)[1]))
    algorithm = fields.get("algorithm", "MD5")
    hashed: Callable[[str], str] = lambda text: (hashlib.sha256 if algorithm.upper() == "SHA-256" else hashlib.md5)(text.encode()).hexdigest()  # noqa: E731
    uri = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    realm, nonce, client_nonce = fields.get("realm", ""), fields.get("nonce", ""), secrets.token_hex(8)
    secret, request = hashed(f"{user}:{realm}:{password}"), hashed(f"GET:{uri}")
    sent = {"username": user, "realm": realm, "nonce": nonce, "uri": uri}
    if "auth" in [option.strip() for option in fields.get("qop", "").split(",")]:
        response = hashed(f"{secret}:{nonce}:00000001:{client_nonce}:auth:{request}")
        bare = f', qop=auth, nc=00000001, cnonce="{client_nonce}"'
    else:
        response, bare = hashed(f"{secret}:{nonce}:{request}"), ""
    sent["response"] = response
    if "opaque" in fields:
        sent["opaque"] = fields["opaque"]
    return "Digest " + ", ".join(f'{key}="{value}"' for key, value in sent.items()) + f", algorithm={algorithm}" + bare


class MultipartSource:
    """The JPEG parts of a multipart answer as packets, byte for byte the camera's."""

    fps: float | None = None
    recorded = False

    def __init__(self, answer: HttpAnswer) -> None:
        self.model = f"MJPEG {answer.headers.get('Server', '')}".strip()
        self._answer = answer
        self._boundary = str(answer.headers.get_param("boundary") or "").strip().lstrip("-").encode()
        self._delimiter = b""  # as the camera writes it: cameras differ in how many dashes belong to it
        self._buffer = bytearray()

    def pictures(self) -> Iterator[Packet]:
        size, bad = None, 0
        started_ns = monotonic_ns()
        while True:
            data = self._next_part()
            at_ns = monotonic_ns()
            try:
                found = inspect(data)
                if size not in (None, found):
                    raise BadJpeg(f"it is {found.width} x {found.height} where the others are {size[0]} x {size[1]}")
            except BadJpeg as reason:
                bad += 1
                if bad >= _MAX_BAD_IN_A_ROW:
                    raise CameraLost(
                        f"{self._answer.shown} sent {bad} broken pictures in a row; the last one: {reason}. Cupola connects again; if this repeats, "
                        "check the network and restart the camera."
                    ) from None
                continue
            size, now = found, utc_now()
            yield Packet(
                0, now, now, at_ns, "jpeg", data, size.width, size.height,
                pts_s=(at_ns - started_ns) / 1e9, clock_synced=clock_synced(), dropped_before=bad,
            )  # fmt: skip
            bad = 0

    def close(self) -> None:
        self._answer.close()

    def _next_part(self) -> bytes:
        """The body of the next image part."""
        while True:
            headers = self._part_headers()
            length = headers.get(b"content-length", b"")
            body = self._exactly(int(length)) if length.isdigit() else self._until_end()
            if headers.get(b"content-type", b"image/jpeg").startswith(b"image/"):
                return body

    def _part_headers(self) -> dict[bytes, bytes]:
        """Skip to the next boundary and read what stands below it."""
        skipped = 0
        while not self._is_boundary(line := self._line()):
            skipped += len(line) + 2
            if skipped > MAX_PART_BYTES:
                raise CameraLost(f"{self._answer.shown} sends no part boundary. Is this the address of an MJPEG stream?")
        line = line.rstrip()
        if self._delimiter and line == self._delimiter + b"--":
            raise CameraLost(f"{self._answer.shown} ended its stream. Cupola connects again by itself.")
        self._delimiter = line
        headers: dict[bytes, bytes] = {}
        while line := self._line().strip():
            name, _, value = line.partition(b":")
            headers[name.strip().lower()] = value.strip()
        return headers

    def _is_boundary(self, line: bytes) -> bool:
        return line.startswith(b"--") and line.lstrip(b"-").startswith(self._boundary) if not self._delimiter else line.startswith(self._delimiter)

    def _line(self) -> bytes:
        searched = 0
        while (end := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer)
            if searched > _MAX_HEADER_BYTES:  # rubbish between parts, not a line: go on behind it
                del self._buffer[:-1]
                return b"?" * searched
            self._more("between two pictures")
        line = bytes(self._buffer[:end]).rstrip(b"\r")
        del self._buffer[: end + 1]
        return line

    def _exactly(self, length: int) -> bytes:
        if length > MAX_PART_BYTES:
            raise CameraLost(
                f"{self._answer.shown} announces a picture of {length} bytes, more than the {MAX_PART_BYTES >> 20} MB any camera sends. Check it."
            )
        pieces, missing = [bytes(self._buffer[:length])], length - len(self._buffer)
        del self._buffer[:length]
        while missing > 0:
            piece = self._answer.read(min(missing, _CHUNK_BYTES))
            if not piece:
                raise self._closed("in the middle of a picture")
            pieces.append(piece)
            missing -= len(piece)
        return b"".join(pieces)

    def _until_end(self) -> bytes:
        """A part without a length: up to its JPEG's end mark or the next boundary, whichever comes first."""
        delimiter, finder, searched = b"\n" + self._delimiter, EndFinder(), 0
        while len(self._buffer) < len(SOI):
            self._more("in the middle of a picture")
        jpeg = self._buffer.startswith(SOI)
        while True:
            end = finder.find(self._buffer) if jpeg else None
            cut = self._buffer.find(delimiter, max(0, searched - len(delimiter)), end or len(self._buffer))
            if cut >= 0 or end is not None:
                end = cut if cut >= 0 else end
                body = bytes(self._buffer[:end])
                del self._buffer[:end]
                return body
            searched = len(self._buffer)
            if searched > MAX_PART_BYTES:
                raise CameraLost(
                    f"{self._answer.shown} sends a picture without end (over {MAX_PART_BYTES >> 20} MB). Is this the address of an MJPEG stream?"
                )
            self._more("in the middle of a picture")

    def _more(self, where: str) -> None:
        piece = self._answer.read(_CHUNK_BYTES)
        if not piece:
            raise self._closed(where)
        self._buffer += piece

    def _closed(self, where: str) -> CameraLost:
        return CameraLost(f"{self._answer.shown} closed the connection {where}. Cupola connects again by itself.")
