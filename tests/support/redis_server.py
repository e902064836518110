"""A real Redis (Debian's redis-server) on a free port of this machine, that can be killed, paused and started again with its data."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from tests.support.station import eventually, free_port

UP_S = 60.0
# the append-only file as docs ask for it; what a test gives comes behind and wins
_CONFIG = """
bind {host}
port {port}
dir {folder}
save ""
appendonly yes
appendfsync always
aof-load-truncated yes
maxmemory-policy noeviction
"""


class RedisServer:
    """Its data lies in `folder`, which is made. `config`: further lines, which win over ours; `include`: a file read before all of them.

    `host`: an address of this machine, for other network namespaces. `tls`: certificate and key; then the port speaks TLS only,
    and `folder`'s certificate is what clients have to trust. `user` and `password`: who `client()` and `url` are.
    """

    def __init__(
        self,
        folder: Path,
        config: Sequence[str] = (),
        *,
        include: Path | None = None,
        host: str = "127.0.0.1",
        tls: tuple[Path, Path] | None = None,
        user: str | None = None,
        password: str | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.host, self.port = folder, host, free_port()
        self.user, self.password, self._tls = user, password, tls
        self._process: subprocess.Popen[bytes] | None = None
        self._file = folder / "redis.conf"
        lines = [f"include {include}"] if include else []
        lines += _CONFIG.format(host=host, port=0 if tls else self.port, folder=folder).strip().splitlines()
        if tls is not None:
            lines += [f"tls-port {self.port}", f"tls-cert-file {tls[0]}", f"tls-key-file {tls[1]}", "tls-auth-clients no"]
        self._file.write_text("\n".join([*lines, *config]) + "\n")
        self._file.chmod(0o600)

    @property
    def url(self) -> str:
        return self.url_of(self.user, self.password)

    def url_of(self, user: str | None, password: str | None) -> str:
        """The URL for somebody else."""
        who = f"{user or ''}:{password or ''}@" if user or password else ""
        ca = f"?ssl_ca_certs={self._tls[0]}" if self._tls else ""
        return f"{'rediss' if self._tls else 'redis'}://{who}{self.host}:{self.port}/0{ca}"

    def client(self, **options: Any) -> Any:  # its types allow for answers that these options rule out
        """A client that repeats nothing behind the caller's back; bytes in, bytes out. For the test itself."""
        from redis import Redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        return Redis.from_url(self.url, **{"socket_timeout": 10.0, "retry": Retry(NoBackoff(), 0), **options})

    @property
    def log(self) -> str:
        """What it printed since its first start."""
        path = self.folder / "output"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> Self:
        """Until it answers commands: a large append-only file is loaded by then. Also after `kill` or `stop`, with the same data and port."""
        with (self.folder / "output").open("ab") as output:
            self._process = subprocess.Popen(["redis-server", str(self._file)], stdout=output, stderr=subprocess.STDOUT)
        try:
            eventually(self._answers, UP_S)
        except BaseException:
            self.kill()
            raise
        return self

    def _answers(self) -> bool:
        assert self._process is not None and self._process.poll() is None, f"redis-server ended at once: {self.log[-2000:]}"
        try:
            with socket.create_connection((self.host, self.port), timeout=5) as plain:
                if self._tls is None:
                    return self._ready(plain)
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                with context.wrap_socket(plain) as wrapped:
                    return self._ready(wrapped)
        except OSError:
            return False

    @staticmethod
    def _ready(connection: socket.socket) -> bool:
        connection.sendall(b"PING\r\n")
        return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))  # -LOADING before that

    def kill(self) -> None:
        """SIGKILL: as when its power is cut, but the system keeps what it was given."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM: it writes what it has and ends."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGCONT)
        process.send_signal(how)
        try:
            process.wait(30)
        finally:
            process.kill()
            process.wait(10)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """It takes connections (the kernel does) and answers nothing."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self._process.pid, signal.SIGCONT)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *unused: object) -> None:
        self.kill()
