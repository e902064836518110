"""Requests of our own to URLs that the owner named: a polled robot, a webhook, a heartbeat.

    reply = await request("http://192.168.1.20/status", timeout_s=5, most_bytes=100_000)

The name is looked up once, each address is judged by `core.reach`, and the connection goes to the one that passed: a name that means
another machine a moment later changes nothing. Redirects are refused, as they would go elsewhere. One deadline holds for all of it: name,
connection, TLS, answer. HTTP is h11's, the parser that uvicorn brings along.
"""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from urllib.parse import SplitResult, unquote, urlsplit

import h11

from cupola import __version__
from cupola.core.errors import CupolaError
from cupola.core.reach import why_refused

HEADERS_MOST = 1 << 14  # bytes


class Refused(CupolaError):
    """The URL leads where nothing is sent to: change it."""

    kind = "address_refused"


class Unreachable(CupolaError):
    """Nobody answered, or not in a way that could be used: check what the message names."""

    kind = "unreachable"


@dataclass(frozen=True, slots=True)
class Reply:
    """What was answered. Header names are in small letters."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def place(url: str) -> str:
    """A URL's scheme, host and port: what may be told and logged, as secrets stand in all the rest."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "")


async def addresses(host: str, port: int, *, loopback: bool = False) -> list[str]:
    """The IP addresses of a host that may be asked, best first. Raises Refused, Unreachable.

    Also for whoever lets a library send: judged so right before it does.
    """
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise Unreachable(f"The name {host} has no address. Check it, and the name service of this network.") from None
    every = [str(sockaddr[0]) for *_, sockaddr in found]
    good = [address for address in dict.fromkeys(every) if why_refused(address, loopback=loopback) is None]
    if not good:
        why = why_refused(every[0], loopback=loopback)
        hint = " Set loopback: true if that is meant." if why_refused(every[0], loopback=True) is None else ""
        raise Refused(f"{host} is not asked: {every[0]} {why}.{hint}")
    return good


async def request(
    url: str,
    *,
    method: str = "GET",
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    loopback: bool = False,
    timeout_s: float = 10.0,
    most_bytes: int = 1 << 20,
) -> Reply:
    """Ask, and read the whole answer, whatever its status but a redirect. User and password in the URL go as Basic authentication.

    Raises Refused, Unreachable. Neither message tells more of the URL than `place`.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await _request(url, method, body, headers or {}, loopback, most_bytes)
    except TimeoutError:
        raise Unreachable(f"{place(url)} did not answer within {timeout_s:g} s.") from None
    except h11.RemoteProtocolError as error:
        raise Unreachable(f"{place(url)} does not answer as HTTP asks: {error}.") from None
    except ssl.SSLCertVerificationError as error:
        raise Unreachable(f"{place(url)} has a certificate that this machine does not trust ({error.verify_message}).") from None
    except ssl.SSLError:
        raise Unreachable(f"{place(url)} does not speak TLS there.") from None
    except (OSError, EOFError) as error:
        number = getattr(error, "errno", None)  # asyncio's own words name the address once more
        raise Unreachable(f"{place(url)} cannot be reached: {os.strerror(number) if number else error}.") from None


async def _request(url: str, method: str, body: bytes, headers: Mapping[str, str], loopback: bool, most_bytes: int) -> Reply:
    parts = urlsplit(url)
    host, tls = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if tls else 80)
    failed: OSError | None = None
    for address in (await addresses(host, port, loopback=loopback))[:3]:
        try:
            reader, writer = await asyncio.open_connection(address, port, ssl=_tls() if tls else None, server_hostname=host if tls else None)
            break
        except OSError as error:
            failed = error
    else:
        assert failed is not None
        raise failed
    try:
        connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEADERS_MOST)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        given = {"Host": _host(parts), "User-Agent": f"Cupola/{__version__}", "Accept-Encoding": "identity", "Connection": "close", **_login(parts)}
        if body:
            given["Content-Length"] = str(len(body))
        sent = connection.send(h11.Request(method=method, target=target, headers=list({**given, **headers}.items())))
        writer.write((sent or b"") + (connection.send(h11.Data(data=body)) or b"" if body else b"") + (connection.send(h11.EndOfMessage()) or b""))
        await writer.drain()
        return await _answer(connection, reader, place(url), most_bytes)
    finally:
        writer.transport.abort()


async def _answer(connection: h11.Connection, reader: asyncio.StreamReader, where: str, most_bytes: int) -> Reply:
    reply, body = None, bytearray()
    while True:
        match connection.next_event():
            case h11.NEED_DATA:
                data = await reader.read(1 << 16)
                if not data and reply is None:
                    raise EOFError("the connection ended before an answer came")
                connection.receive_data(data)
            case h11.Response() as response:
                reply = response
                if 300 <= response.status_code < 400 and response.status_code != 304:
                    raise Unreachable(f"{where} sends the asker elsewhere (HTTP {response.status_code}). Write the address that it leads to.")
            case h11.Data() as data:
                body += data.data
                if len(body) > most_bytes:
                    raise Unreachable(f"{where} answered with more than {most_bytes} bytes.")
            case h11.EndOfMessage() if reply is not None:
                fields = {name.decode("latin-1"): value.decode("latin-1") for name, value in reply.headers}
                return Reply(reply.status_code, fields, bytes(body))
            case _:
                pass  # an interim answer (1xx)


def _host(parts: SplitResult) -> str:
    """As in the URL, without user and password."""
    return parts.netloc.rpartition("@")[2]


def _login(parts: SplitResult) -> dict[str, str]:
    if parts.username is None:
        return {}
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()
