"""A real MQTT broker (Debian's Mosquitto) on a free port of this machine."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from pathlib import Path
from typing import Self

from tests.support.station import eventually, free_port


class Mosquitto:
    """`users`: their passwords; anybody may come in without any. `reads`: the only topics they may read. `tls`: certificate and key."""

    def __init__(
        self, folder: Path, *, users: dict[str, str] | None = None, reads: list[str] | None = None, tls: tuple[Path, Path] | None = None
    ) -> None:
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._config = folder / "mosquitto.conf"
        lines = [f"listener {self.port} 127.0.0.1", f"allow_anonymous {'false' if users else 'true'}", "persistence false"]
        if users:
            passwords = folder / "passwords"
            passwords.touch(mode=0o600)
            for name, password in users.items():
                subprocess.run(["mosquitto_passwd", "-b", str(passwords), name, password], check=True, capture_output=True)
            lines.append(f"password_file {passwords}")
        if reads is not None:
            (folder / "acl").write_text("".join(f"topic read {topic}\n" for topic in reads) + "topic write #\n")
            lines.append(f"acl_file {folder / 'acl'}")
        if tls is not None:
            lines += [f"certfile {tls[0]}", f"keyfile {tls[1]}"]
        self._config.write_text("\n".join(["user root", *lines]) + "\n")

    def start(self) -> Self:
        self._process = subprocess.Popen(["mosquitto", "-c", str(self._config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            eventually(self._listens, 10)
        except BaseException:
            self.kill()
            raise
        return self

    def _listens(self) -> bool:
        assert self._process is not None and self._process.poll() is None, "mosquitto ended at once"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *unused: object) -> None:
        self.kill()


async def until(fact: object, seconds: float = 10.0) -> None:
    """Wait until `fact()` is true, looking at it again and again."""
    assert callable(fact)
    async with asyncio.timeout(seconds):
        while not fact():
            await asyncio.sleep(0.02)
