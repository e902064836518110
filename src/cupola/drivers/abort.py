"""Ends blocked calls of an open source from another thread, and hides passwords in what is said about it.

Sockets are shut down, which wakes whoever reads them; what to do then is the reader's business.
"""

import contextlib
import os
import re
import select
import socket
import threading
import time
from collections.abc import Callable

_TICK_S = 0.1


class Abort:
    """Set once, by any thread; runs what was added, at once when it is added too late."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._event = threading.Event()
        self._actions: list[Callable[[], None]] = []

    def add(self, action: Callable[[], None]) -> None:
        with self._lock:
            self._actions.append(action)
            late = self._event.is_set()
        if late:
            action()

    def set(self) -> None:
        with self._lock:
            self._event.set()
            actions = list(self._actions)
        for action in actions:
            action()

    def is_set(self) -> bool:
        return self._event.is_set()

    def wait(self, seconds: float) -> bool:
        return self._event.wait(max(0.0, seconds))


def without_password(url: str) -> str:
    """The address as it may be shown: `rtsp://user:***@host/…?token=***`; rather too much is hidden than too little."""
    shown = re.sub(r"(?<=://)([^/@:]*):[^\s\"']*@", r"\1:***@", url)
    return re.sub(r"(?i)((?:passw(?:or)?d|pass|pwd|token|secret|api_?key|key|auth)=)[^&;/\s\"']+", r"\1***", shown)


def connect(host: str, port: int, timeout_s: float, abort: Abort) -> socket.socket:
    """A TCP connection without Nagle's delay; raises OSError (gaierror, refused, TimeoutError, aborted)."""
    problem: OSError = OSError(f"{host} has no address")
    deadline = time.monotonic() + timeout_s
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                sock.connect(address)
            while not select.select([], [sock], [sock], _TICK_S)[1]:
                if abort.is_set():
                    raise ConnectionAbortedError("the connection was given up")
                if time.monotonic() > deadline:
                    raise TimeoutError("no answer")
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                raise OSError(code, os.strerror(code))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(timeout_s)
            return sock
        except OSError as reason:
            sock.close()
            problem = reason
            if abort.is_set():
                break
    raise problem


def shut_down(sock: socket.socket) -> None:
    """Wake whoever blocks on this socket; it stays to be closed by its owner."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def shut_down_connections_to(host: str, port: int) -> None:
    """Wake a library that blocks on connections of its own to this address.

    FFmpeg hands out neither its sockets nor a way to end a call before its timeout. Where /proc tells
    no open files (macOS, Windows) this does nothing and the timeout has to do.
    """
    try:
        wanted = {info[4][0] for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
        descriptors = os.listdir("/proc/self/fd")
    except OSError:
        return
    for name in descriptors:
        try:
            if not os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(name))) as sock:
                if sock.family in (socket.AF_INET, socket.AF_INET6) and sock.getpeername()[:2] in {(one, port) for one in wanted}:
                    sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            continue
