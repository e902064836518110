"""The listening socket and uvicorn around the application. Signals are handled by `cupola.app`, certificates made by `tls`."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import sys
from collections.abc import Callable, Generator
from ipaddress import ip_address

import uvicorn
from fastapi import FastAPI

from cupola.core.errors import ConfigError
from cupola.web.front import HANDSHAKE_S, Front
from cupola.web.tls import Certificate
from cupola.web.wire import Doors, LiveHttp, LiveSocket

MESSAGE_LIMIT = 64 * 1024
STALLED_MS = 10_000
PLACES_MAX = 2000
RESERVED = 224  # descriptors that are not connections: cameras, files that are read or written, sockets that listen
SEND_BUFFER = 512 * 1024  # a frame goes out in one system call; a slow viewer's lag stays within two of them


class Server(uvicorn.Server):
    """Listens as uvicorn does, but under TLS by `web.front`, and on further sockets when it is asked to."""

    doors: Doors

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self.lifespan.startup()
        self.servers = [await self.listen(sock) for sock in sockets or []]  # type: ignore[misc]  # of a Front it needs `close` only
        self.started = True

    async def listen(self, sock: socket.socket) -> asyncio.Server | Front:
        config = self.config

        def protocol() -> asyncio.Protocol:
            made = LiveHttp(config=config, server_state=self.server_state, app_state=self.lifespan.state)
            made.doors = self.doors
            return made

        if config.ssl is not None and sys.platform != "win32":
            return Front(sock, config.ssl, protocol, self.doors, config.backlog)
        handshake_s = HANDSHAKE_S if config.ssl is not None else None
        return await asyncio.get_running_loop().create_server(
            protocol, sock=sock, ssl=config.ssl, backlog=config.backlog, ssl_handshake_timeout=handshake_s
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def listen(host: str, port: int) -> socket.socket:
    """Bind before anything else starts. Raises ConfigError: port in use, no such address."""
    if not host:
        raise ConfigError("No address to listen on was given: it would be every one. Name one with --host, or leave that out.")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)  # inherited by accepted connections
    if sys.platform == "linux":
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, STALLED_MS)
    try:
        sock.bind(("127.0.0.1" if host == "localhost" else host, port))
        sock.listen(256)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"Port {port} on {host} is in use, perhaps by another Cupola (see `cupola status`). Stop it, or choose another port with --port."
            ) from None
        raise ConfigError(f"Cannot listen on {host} port {port}: {error.strerror}. Check web.host and web.port.") from None
    except (TypeError, UnicodeError):  # no name that can be asked for
        sock.close()
        raise ConfigError(f"Cannot listen on {host[:80]!r}: that is no host name. Check web.host, or what was given with --host.") from None
    sock.setblocking(False)
    return sock


def listen_locally(sock: socket.socket) -> socket.socket | None:
    """A socket on loopback beside one on an address of a network, for the owner's commands: who comes by that address may be anybody, this
    machine included. None where `sock` is reached by loopback already. On the same port if that is free there.
    """
    host, port = sock.getsockname()[:2]
    address = ip_address(host.partition("%")[0])
    if address.is_loopback or address.is_unspecified:
        return None
    for loopback, wanted in (("127.0.0.1", port), ("127.0.0.1", 0), ("::1", 0)):
        with contextlib.suppress(ConfigError):
            return listen(loopback, wanted)
    return None


def is_loopback(host: str) -> bool:
    """Whether only this machine itself can reach what listens there."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def make_server(app: FastAPI, certificate: Certificate | None, proxied: Callable[[str], bool]) -> Server:
    """`proxied`: whether an address is that of a trusted proxy. Per-message deflate is off: JPEG does not shrink, it would only cost. Forwarded headers are `access.address`'s business."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        ws=LiveSocket,
        ws_per_message_deflate=False,
        ws_max_size=MESSAGE_LIMIT,
        http=LiveHttp,
        lifespan="off",
        timeout_graceful_shutdown=2,
        timeout_keep_alive=30,
        server_header=False,
        proxy_headers=False,
        ssl_certfile=None if certificate is None else certificate.certificate,
        ssl_keyfile=None if certificate is None else str(certificate.key),
    )
    server = Server(config)
    server.doors = Doors(proxied, _places())
    return server


def _places() -> int:
    """How many connections this process can take and still open cameras, files and its catalogue."""
    try:
        from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit
    except ImportError:  # Windows
        return PLACES_MAX
    soft = getrlimit(RLIMIT_NOFILE)[0]
    return PLACES_MAX if soft == RLIM_INFINITY else min(PLACES_MAX, soft - min(RESERVED, soft // 2))
