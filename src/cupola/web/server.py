"""The listening socket and uvicorn around the application. Signals are handled by `cupola.app`."""

from __future__ import annotations

import contextlib
import errno
import socket
import sys
from collections.abc import Generator
from ipaddress import ip_address

import uvicorn
from fastapi import FastAPI

from cupola.core.errors import ConfigError
from cupola.web.wire import LiveHttp, LiveSocket

MESSAGE_LIMIT = 64 * 1024
STALLED_MS = 10_000
SEND_BUFFER = 512 * 1024  # a frame goes out in one system call; a slow viewer's lag stays within two of them


class Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def listen(host: str, port: int) -> socket.socket:
    """Bind before anything else starts. Raises ConfigError: not loopback, port in use, no such address."""
    try:
        loopback = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise ConfigError(
            f"web.host is {host}, but this version has no access control yet and answers on this machine only. "
            "Use 127.0.0.1, and reach it through an SSH tunnel: ssh -L 8000:127.0.0.1:8000 THIS_MACHINE"
        )
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
    sock.setblocking(False)
    return sock


def make_server(app: FastAPI) -> Server:
    """Per-message deflate is off: JPEG does not shrink, it would only cost."""
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
    )
    return Server(config)
