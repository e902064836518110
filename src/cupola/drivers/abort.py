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
import weakref
from collections.abc import Callable, Iterator

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
            with _guard:
                _connected.add(sock)
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


_guard = threading.Lock()  # of the three below, shared by all as the descriptors are
_connected: weakref.WeakSet[socket.socket] = weakref.WeakSet()  # by `connect`
_sources: weakref.WeakSet["Connections"] = weakref.WeakSet()
_turns: dict[tuple[str, int], threading.Lock] = {}


class Connections:
    """What a library connects by itself to one address for one source, so that a call of it that blocks can be ended.

    FFmpeg hands out neither its sockets nor a way to end a call before its timeout. A camera may have a second source with the
    same address, whose connections must stay: sources of one address are opened one after the other, and what appears meanwhile
    belongs to the one being opened. What appears later (HLS connects again and again) is nobody else's. Where /proc tells
    no open files (macOS, Windows) nothing can be cut and the timeout has to do.
    """

    def __init__(self, host: str, port: int) -> None:
        self._address = host, port
        self._before: set[int] = set()
        self._own: set[int] | None = None

    @contextlib.contextmanager
    def opening(self, abort: Abort) -> Iterator[None]:
        """While the library connects. Raises ConnectionAbortedError when given up before its turn."""
        with _guard:
            turn = _turns.setdefault(self._address, threading.Lock())
        while not turn.acquire(timeout=_TICK_S):
            if abort.is_set():
                raise ConnectionAbortedError("the connection was given up")
        try:
            self._before = set(self._there())
            with _guard:
                _sources.add(self)
            abort.add(self.cut)
            yield
        finally:
            self._own = self.made()
            turn.release()

    def cut(self) -> None:
        """Wake whoever blocks on one of them, from any thread."""
        with _guard:
            others, ours = [other for other in _sources if other is not self], list(_connected)
        not_mine = self._before.union(*(other.made() for other in others))
        not_mine |= {_inode(sock) for sock in ours}
        for inode, sock in self._sockets():
            with sock:
                if inode not in not_mine:
                    shut_down(sock)

    def made(self) -> set[int]:
        """Inodes of what the library connected while it opened the source, so far."""
        return self._own if self._own is not None else set(self._there()) - self._before

    def _there(self) -> Iterator[int]:
        for inode, sock in self._sockets():
            sock.close()
            yield inode

    def _sockets(self) -> Iterator[tuple[int, socket.socket]]:
        """Inode and a duplicate, to be closed, of each socket of this process that is connected to the address."""
        host, port = self._address
        try:
            wanted = {(info[4][0], port) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
            descriptors = os.listdir("/proc/self/fd")
        except OSError:
            return
        for name in descriptors:
            try:
                if not os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                    continue
                sock = socket.socket(fileno=os.dup(int(name)))
            except OSError:
                continue
            try:
                theirs = sock.family in (socket.AF_INET, socket.AF_INET6) and sock.getpeername()[:2] in wanted
            except OSError:
                theirs = False
            if theirs:
                yield _inode(sock), sock
            else:
                sock.close()


def _inode(sock: socket.socket) -> int:
    try:
        return os.fstat(sock.fileno()).st_ino
    except OSError:
        return 0  # it is closed
