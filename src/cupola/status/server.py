"""`cupola status-server`: tells how the station is, also while everything else of it is dead. Standard library only.

One thread accepts and reads heads of requests, within bounds of size, number and time; each whole request is answered in a thread of its own, of which there are
few. Those that wait for a disk have their own share, so that a disk that does not answer cannot silence the rest. What is answered is `answers`'.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import sys
import threading
import time
from collections import deque

from cupola.status import HOST, PORT, files
from cupola.status.answers import DISK, Answer, Answers, as_json
from cupola.status.request import END, HEAD_MAX, Refused, Request, parse

HEAD_S = 5.0  # to send the head of a request in
LINGER_S = 1.0  # for a refused client to read why
WAITING_MAX = 200  # clients that have not sent a whole head; one more, and the oldest has to go
AT_ONCE, AT_ONCE_DISK = 8, 4
CHUNK, CHUNK_S, SLOWEST = 65536, 10.0, 50_000  # bytes, seconds for each, bytes a second over all
STACK = 256 * 1024
REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    414: "URI Too Long",
    421: "Misdirected Request",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
HEADERS = (
    "Cache-Control: no-store\r\nConnection: close\r\nContent-Security-Policy: default-src 'none'; frame-ancestors 'none'\r\n"
    "Cross-Origin-Resource-Policy: same-origin\r\nReferrer-Policy: no-referrer\r\nX-Content-Type-Options: nosniff\r\n"
)


class _Client:
    __slots__ = ("head", "refused", "sock", "until")

    def __init__(self, sock: socket.socket, until: float) -> None:
        self.sock, self.until, self.head, self.refused = sock, until, bytearray(), False


class StatusServer:
    """`run` answers until the process ends."""

    def __init__(self, sock: socket.socket, answers: Answers) -> None:
        self._sock, self._answers = sock, answers
        self._selector = selectors.DefaultSelector()
        self._clients: dict[socket.socket, _Client] = {}  # in the order in which they came
        self._free = {False: threading.BoundedSemaphore(AT_ONCE), True: threading.BoundedSemaphore(AT_ONCE_DISK)}

    def run(self) -> None:
        self._sock.setblocking(False)
        self._selector.register(self._sock, selectors.EVENT_READ)
        while True:
            for key, _ in self._selector.select(0.5 if self._clients else None):
                if key.fileobj is self._sock:
                    self._accept()
                elif (client := self._clients.get(key.fileobj)) is not None:  # type: ignore[arg-type]
                    self._read(client)
            now = time.monotonic()
            for client in [client for client in self._clients.values() if client.until < now]:
                if client.refused or not client.head:
                    self._drop(client)
                else:
                    self._refuse(client, Refused(408, f"A request has to be there within {HEAD_S:.0f} s."))

    def _accept(self) -> None:
        for _ in range(64):
            try:
                sock, _ = self._sock.accept()
            except BlockingIOError:
                return
            except OSError:  # it went away again, or there are no descriptors left
                time.sleep(0.01)
                return
            if len(self._clients) >= WAITING_MAX:
                self._drop(next(iter(self._clients.values())))
            sock.setblocking(False)
            self._clients[sock] = _Client(sock, time.monotonic() + HEAD_S)
            self._selector.register(sock, selectors.EVENT_READ)

    def _read(self, client: _Client) -> None:
        try:
            data = client.sock.recv(HEAD_MAX)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(client)
        elif not client.refused:
            client.head += data
            end = client.head.find(END)
            if (end if end >= 0 else len(client.head)) > HEAD_MAX:
                self._refuse(client, Refused(431, f"The head of a request may have {HEAD_MAX} bytes at most."))
            elif end >= 0:
                try:
                    self._hand_on(client, parse(bytes(client.head[:end])))
                except Refused as refused:
                    self._refuse(client, refused)

    def _hand_on(self, client: _Client, request: Request) -> None:
        disk = request.path in DISK
        if not self._free[disk].acquire(blocking=False):
            raise Refused(503, "The disk does not answer." if disk else "Too many ask at the same time. Try again.")
        self._forget(client)
        threading.Thread(target=self._serve, args=(client.sock, request, disk), daemon=True).start()

    def _serve(self, sock: socket.socket, request: Request, disk: bool) -> None:
        try:
            sock.settimeout(CHUNK_S)
            try:
                answer = self._answers(request)
            except Refused as refused:
                answer = _problem(refused)
            except Exception as error:  # a mistake of ours, or half of a file: it must not end the server
                print(f"cupola status-server: {request.path}: {error!r}", file=sys.stderr, flush=True)
                answer = _problem(Refused(500, "This is a mistake in Cupola; its words are in the journal."))
            _send(sock, answer, body=request.method != "HEAD")
        except OSError:
            pass  # the client has gone, or takes nothing
        finally:
            sock.close()
            self._free[disk].release()

    def _refuse(self, client: _Client, refused: Refused) -> None:
        """Say why, and let what is still coming go past, as an answer is lost with a connection that is closed upon it."""
        client.refused, client.until = True, time.monotonic() + LINGER_S
        client.head.clear()
        answer = _problem(refused)
        try:
            client.sock.send(_head(answer) + bytes(answer.body))  # type: ignore[arg-type]
            client.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._drop(client)

    def _forget(self, client: _Client) -> None:
        self._selector.unregister(client.sock)
        del self._clients[client.sock]

    def _drop(self, client: _Client) -> None:
        self._forget(client)
        client.sock.close()


def _problem(refused: Refused) -> Answer:
    answer = as_json(refused.status, {"type": "about:blank", "title": REASONS[refused.status], "status": refused.status, "detail": refused.words})
    answer.kind = "application/problem+json"
    more = {401: ("WWW-Authenticate", "Bearer"), 405: ("Allow", "GET, HEAD"), 503: ("Retry-After", "5")}
    answer.headers = (more[refused.status],) if refused.status in more else ()
    return answer


def _head(answer: Answer) -> bytes:
    more = "".join(f"{name}: {value}\r\n" for name, value in answer.headers)
    first = f"HTTP/1.1 {answer.status} {REASONS[answer.status]}\r\nContent-Type: {answer.kind}\r\nContent-Length: {answer.size}\r\n"
    return f"{first}{more}{HEADERS}\r\n".encode("latin-1")


def _send(sock: socket.socket, answer: Answer, *, body: bool) -> None:
    sent = answer.body
    if isinstance(sent, bytes):
        sock.sendall(_head(answer) + (sent if body else b""))
        return
    with sent:
        sock.sendall(_head(answer))
        left, until = answer.size if body else 0, time.monotonic() + CHUNK_S + answer.size / SLOWEST
        while left > 0 and time.monotonic() < until:
            data = sent.read(min(CHUNK, left))
            if not data:
                return  # it became shorter: the client sees that something is missing
            sock.sendall(data)
            left -= len(data)


def words(arguments: list[str]) -> tuple[str, int] | None:
    """Host and port of a command line; None for one that is not understood, or asks for help: that is the business of `cli`."""
    host, port = HOST, PORT
    waiting = deque(arguments)
    while waiting:
        name, equals, value = waiting.popleft().partition("=")
        if name not in ("--host", "--port") or not (equals or waiting):
            return None
        value = value if equals else waiting.popleft()
        if name == "--host":
            host = value
        elif value.isascii() and value.isdecimal() and len(value) <= 5 and 0 <= int(value) <= 65535:
            port = int(value)
        else:
            return None
    return host, port


def serve(host: str, port: int) -> int:
    """Until the process is ended; the exit code, when it cannot begin. Port 0: any that is free; which, is printed."""
    threading.stack_size(STACK)
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        if os.name == "posix":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(128)
    except OSError as error:
        print(f"cupola: The status server cannot listen on {host} port {port}: {error.strerror}. Choose another --host or --port.", file=sys.stderr)
        return 1
    address, port = sock.getsockname()[:2]
    open_to_all = address == "::1" or address.startswith("127.")
    folder = files.runtime_folder()
    needs = "" if open_to_all else ", for those with a token"
    print(f"Status of the station in {folder} at http://{f'[{address}]' if ':' in address else address}:{port}/status{needs}", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        StatusServer(sock, Answers(folder, open_to_all=open_to_all)).run()
    return 0
