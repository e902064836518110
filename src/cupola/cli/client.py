"""Talks to the running server for the commands that need one."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from cupola.core.errors import CupolaError

if TYPE_CHECKING:
    from http.client import HTTPConnection, HTTPResponse

    from rich.console import RenderableType

    from cupola.web.endpoint import Announced

TIMEOUT_S = 30.0


class Refused(CupolaError):
    """The server answered with a problem."""


def request(method: str, path: str, body: dict[str, Any] | None = None, *, timeout_s: float = TIMEOUT_S, server: Announced | None = None) -> Any:
    """The JSON answer, None for an empty one, or the bytes of anything else; of the running server, if no other is named. Raises CupolaError with what to do."""
    with _asked(method, path, body, timeout_s, server) as answer:
        content, kind = answer.read(), answer.headers.get_content_type()
    if not content:
        return None
    if kind != "application/json":
        return content
    try:
        return json.loads(content)
    except ValueError:
        raise CupolaError(f"The answer to {method} {path} is no JSON: another program is where Cupola should be. See: cupola doctor server") from None


def lines(path: str, *, timeout_s: float = TIMEOUT_S) -> Iterator[Any]:
    """Each line of an answer without end, from JSON; `timeout_s` is the longest silence. Raises CupolaError with what to do."""
    with _asked("GET", path, None, timeout_s) as answer:
        while line := answer.readline():
            yield json.loads(line)


@contextmanager
def _asked(method: str, path: str, body: dict[str, Any] | None, timeout_s: float, server: Announced | None = None) -> Iterator[HTTPResponse]:
    """The answer, before it is read; what goes wrong also while it is read is raised in words."""
    from http.client import HTTPException

    from cupola.web.endpoint import announced

    server = server or announced()
    if server is None:
        raise CupolaError("Cupola is not running on this machine. Start it with: cupola run")
    url = server.url
    connection = _connection(server, timeout_s)
    try:
        text = json.dumps(body) if body is not None else None
        headers = {"Authorization": f"Bearer {server.token}", **({"Content-Type": "application/json"} if text else {})}
        connection.request(method, path, text, headers)
        answer = connection.getresponse()
        if answer.status >= 400:
            raise _refusal(answer, method, path)
        yield answer
    except TimeoutError:
        raise CupolaError(f"The server at {url} did not answer within {timeout_s:.0f} s. See its log: cupola-error.log") from None
    except (OSError, HTTPException) as error:
        raise _gone(url, error) from None
    finally:
        connection.close()


def _gone(url: str, error: Exception) -> CupolaError:
    if isinstance(error, OSError) and error.errno in (errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EPERM, errno.EACCES):
        return CupolaError(
            f"This machine does not let {url} be reached ({error.strerror}): look at its loopback interface (ip link set lo up) and its firewall."
        )
    return CupolaError(f"The server that was at {url} is gone ({error}). Start it again with: cupola run")


def _refusal(answer: HTTPResponse, method: str, path: str) -> Refused:
    try:
        problem = json.loads(answer.read())
        return Refused(f"{problem['title']}: {problem['detail']}")
    except (ValueError, KeyError, TypeError):
        return Refused(f"The server answered {answer.status} to {method} {path}.")


def _connection(server: Announced, timeout_s: float) -> HTTPConnection:
    """Under TLS only to the certificate that the server has announced, whatever its names."""
    from http.client import HTTPConnection, HTTPSConnection

    parts = urlsplit(server.url)
    host = parts.hostname or "127.0.0.1"
    if server.fingerprint is None:
        return HTTPConnection(host, parts.port, timeout=timeout_s)
    import hashlib
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # pinned below instead
    connection = HTTPSConnection(host, parts.port, timeout=timeout_s, context=context)
    try:
        connection.connect()
    except OSError as error:
        raise _gone(server.url, error) from None
    shown = connection.sock.getpeercert(binary_form=True) or b""
    if hashlib.sha256(shown).hexdigest() != server.fingerprint:
        connection.close()
        raise CupolaError(f"Something else than Cupola answers at {server.url}: its certificate is another one. Nothing was sent to it.")
    return connection


def pick_camera(name: str | None) -> str:
    """The camera that was named, or the only one there is."""
    if name:
        return name
    names = list(request("GET", "/api/health")["cameras"])
    if len(names) == 1:
        return names[0]
    raise click.UsageError(f"Name a camera: {', '.join(names)}." if names else "No camera is configured.")


@contextmanager
def busy(words: str, *, quiet: bool) -> Iterator[None]:
    """Says on the terminal, beside the output, what is waited for; nothing when `quiet`, for programs."""
    if quiet:
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(f"{words} …"):
        yield


def show(data: Any, as_json: bool, table: Callable[[Any], RenderableType]) -> None:
    """Print an answer, as JSON or as rich draws it."""
    if as_json:
        click.echo(json.dumps(data, indent=2))
        return
    from rich.console import Console

    Console().print(table(data))
